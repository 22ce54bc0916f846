"""What pika's exceptions mean to a person, and whether trying again can help."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

from pika import exceptions
from pika.adapters.utils import connection_workflow

from pydbsync.config.settings import AmqpSettings
from pydbsync.errors import ConfigError, SourceError

_ACCESS_REFUSED, _COMMAND_INVALID, _NOT_ALLOWED = 403, 503, 530
_WAITING_HELPS = ("limit", "is down")
"""A vhost that is being started, or has no room for one more connection, is refused like one that does not exist."""
_TIMEOUTS = (connection_workflow.AMQPConnectorException, exceptions.ConnectionOpenAborted)
_CLOSE_IN_TEXT = re.compile(r"ConnectionClosedByBroker: \((\d+)\) (?:'(.*)'|\"(.*)\")", re.DOTALL)


def connection_error(error: object, amqp: AmqpSettings) -> SourceError | ConfigError:
    """The reason why there is no connection to `amqp` (any more). What pika raised is its cause."""
    if isinstance(error, (SourceError, ConfigError)):
        return error
    chain = list(_nested(error))
    reason = _refusal(chain, amqp) or _certificate_fault(chain, amqp) or _loss(chain, amqp)
    if reason is None:
        reason = SourceError(f"the connection to RabbitMQ at {address(amqp)} is lost: {error or 'no reason given'}")
    reason.__cause__ = error if isinstance(error, BaseException) else None
    return reason


def address(amqp: AmqpSettings) -> str:
    """`host:port` for people."""
    return f"{amqp.host}:{amqp.port}"


def _refusal(chain: list[BaseException], amqp: AmqpSettings) -> SourceError | ConfigError | None:
    """The broker's own words, if it closed the connection with any."""
    code, text = 0, ""
    for error in chain:
        if isinstance(error, exceptions.ConnectionClosed):
            code, text = error.reply_code, error.reply_text
        elif found := _CLOSE_IN_TEXT.search(str(error)):  # pika keeps but the repr of what it guesses a meaning for
            code, text = int(found[1]), found[2] or found[3]
    at = address(amqp)
    if code == _ACCESS_REFUSED:
        return ConfigError(
            f"RabbitMQ at {at} refuses user {amqp.user!r}: check name and password", key="rabbitmq_conn_info.user"
        )
    if code == _NOT_ALLOWED and not any(word in text for word in _WAITING_HELPS):
        return ConfigError(
            f"RabbitMQ at {at} does not let user {amqp.user!r} into vhost {amqp.vhost!r}: {text}",
            key="rabbitmq_conn_info.vhost",
        )
    if code == _COMMAND_INVALID and "exchange type" in text:
        return ConfigError(f"RabbitMQ at {at} does not make the exchange: {text}", key="rabbitmq_queue_bind")
    return SourceError(f"RabbitMQ at {at} closed the connection: {code} {text}") if code else None


def _certificate_fault(chain: list[BaseException], amqp: AmqpSettings) -> ConfigError | None:
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ConfigError(
                f"the certificate of RabbitMQ at {address(amqp)} is not trusted: {error.verify_message}",
                key="rabbitmq_conn_info.tls",
            )
    return None


def _loss(chain: list[BaseException], amqp: AmqpSettings) -> SourceError | None:
    at = address(amqp)
    for error in chain:
        if isinstance(error, exceptions.AMQPHeartbeatTimeout):
            return SourceError(f"RabbitMQ at {at} was silent for over {amqp.heartbeat_s} s: the connection is given up")
        if isinstance(error, exceptions.ConnectionBlockedTimeout):
            return SourceError(f"RabbitMQ at {at} has blocked the connection for over {amqp.blocked_timeout_s:g} s")
        if isinstance(error, _TIMEOUTS) and "imeout" in str(error):
            return SourceError(f"RabbitMQ at {at} did not answer within {amqp.connect_timeout_s:g} s")
        if isinstance(error, exceptions.IncompatibleProtocolError):
            return SourceError(f"{at} closed the connection at once: is it RabbitMQ, and is `tls` set as it needs?")
        if isinstance(error, socket.gaierror):
            return SourceError(f"the host name {amqp.host!r} of RabbitMQ cannot be resolved: {error.strerror}")
    for error in chain:
        if isinstance(error, ssl.SSLError):
            return SourceError(f"TLS with RabbitMQ at {at} failed: {error.reason or error}")
        if isinstance(error, OSError):
            return SourceError(f"RabbitMQ at {at} cannot be reached: {error.strerror or error}")
    return None


def _nested(error: object) -> Iterator[BaseException]:
    """The error and those that pika has wrapped in it."""
    if isinstance(error, BaseException):
        yield error
        for inner in (*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None)):
            yield from _nested(inner)
