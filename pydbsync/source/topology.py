"""Exchange, queue and bindings at the broker: made where they are missing, used as they are where they exist."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

from pydbsync.config.settings import QueueSettings
from pydbsync.errors import ConfigError, SourceError
from pydbsync.source.link import BrokerLink, Channel, Refused, Reply

_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406

_Declaration: TypeAlias = Callable[[Channel, Reply, bool], object]
"""Declares over the channel, passively or not, and has the answer sent to the reply."""


def declare(link: BrokerLink, queue: QueueSettings, *, log: logging.Logger, stop: threading.Event) -> None:
    """Have the durable queue, its durable exchange and its bindings. Raises ConfigError, SourceError, Stopped."""
    if queue.exchange:

        def exchange(channel: Channel, reply: Reply, passive: bool) -> None:
            channel.exchange_declare(
                queue.exchange, exchange_type=queue.exchange_type, durable=True, passive=passive, callback=reply
            )

        _declare(link, f"exchange {queue.exchange!r}", exchange, log=log, stop=stop)
    arguments = queue_arguments(queue.arguments, server_version=link.server_version)

    def queue_itself(channel: Channel, reply: Reply, passive: bool) -> None:
        channel.queue_declare(queue.queue, durable=True, passive=passive, arguments=arguments, callback=reply)

    _declare(link, f"queue {queue.queue!r}", queue_itself, log=log, stop=stop)
    if queue.exchange and queue.routing_keys:
        _bind(link, queue, stop)


def queue_arguments(configured: Mapping[str, object], *, server_version: str) -> dict[str, object]:
    """The arguments to declare a queue with: as configured, but a quorum queue must never drop what was given back.

    From RabbitMQ 4.0 on it drops a message that has come back 20 times unless it was declared with a limit of -1, and
    each lost connection of a worker counts for all that it held. Before 4.0 there is no limit, and -1 is taken as none
    to spare: the first return drops the message (seen with 3.10).
    Source: https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
    """
    arguments = dict(configured)
    major = server_version.partition(".")[0]
    if configured.get("x-queue-type") == "quorum" and major.isdecimal() and int(major) >= 4:
        arguments.setdefault("x-delivery-limit", -1)
    return arguments


def explained(error: Refused, what: str) -> SourceError | ConfigError:
    """The broker's refusal of `what` as a sentence; a missing right is a wrong setting."""
    if error.code == _ACCESS_REFUSED:
        return ConfigError(f"the user lacks the right for {what}: {error}", key="rabbitmq_conn_info.user")
    return SourceError(f"{what} failed: {error}")


def _declare(
    link: BrokerLink, what: str, declaration: _Declaration, *, log: logging.Logger, stop: threading.Event
) -> None:
    """A refusal costs the channel, so that each try has one of its own."""
    try:
        _try(link, declaration, passive=False, stop=stop)
        return
    except Refused as error:
        if error.code == _PRECONDITION_FAILED:
            log.warning("%s exists with other properties and is used as it is: %s", what, error)
            return
        if error.code != _ACCESS_REFUSED:
            raise explained(error, f"declaring {what}") from error
        refused = error
    try:
        _try(link, declaration, passive=True, stop=stop)
    except Refused as error:
        if error.code == _NOT_FOUND:
            raise explained(refused, f"creating {what}, which does not exist yet") from refused
        raise explained(error, f"declaring {what}") from error


def _try(link: BrokerLink, declaration: _Declaration, *, passive: bool, stop: threading.Event) -> None:
    channel = link.open_channel(stop)
    link.ask(channel, lambda reply: declaration(channel, reply, passive), stop)
    link.later(channel.close)


def _bind(link: BrokerLink, queue: QueueSettings, stop: threading.Event) -> None:
    channel = link.open_channel(stop)
    for key in queue.routing_keys:

        def request(reply: Reply, key: str = key) -> None:
            channel.queue_bind(queue.queue, queue.exchange, routing_key=key, callback=reply)

        try:
            link.ask(channel, request, stop)
        except Refused as error:
            raise explained(error, f"binding queue {queue.queue!r} to exchange {queue.exchange!r}") from error
    link.later(channel.close)
