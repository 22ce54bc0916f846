"""One connection to RabbitMQ, kept by a thread of its own; pika stays inside this module."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import suppress
from typing import Any, TypeAlias

import pika
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils import io_services_utils

from pydbsync.errors import ConfigError, PydbsyncError, SourceError
from pydbsync.model import Delivery
from pydbsync.settings import AmqpSettings, TlsSettings
from pydbsync.source.frames import DeliveryReader

Channel: TypeAlias = Any
"""A pika channel: a handle here, used by the connection's thread only."""

ANSWER_S = 30
_RECEIVE_BYTES = 256 * 1024
"""pika asks for 4 KiB at a time, which costs a pass through its loop for every few messages."""
_TRICKLE_BYTES = 4096
_POLL_S = 0.05


class Refused(SourceError):
    """The broker closed a channel instead of doing what was asked; `code` is AMQP's reply code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Stopped(Exception):
    """The stop event was set while something was waited for."""


class BrokerLink:
    """A connection with its thread: asks the broker and waits, and hands deliveries over as they come.

    `on_deliveries(deliveries, size_bytes)` runs in the connection's thread and says whether to go on reading; if not,
    `resume` must be called later. `on_lost(error)` runs there too, once, when the connection or its consumer has gone.
    """

    def __init__(
        self,
        amqp: AmqpSettings,
        *,
        name: str,
        log: logging.Logger,
        on_deliveries: Callable[[list[Delivery], int], bool],
        on_lost: Callable[[SourceError], None],
        fast: bool = True,
    ) -> None:
        self._amqp = amqp
        self._name = name
        self._log = log
        self._on_deliveries = on_deliveries
        self._on_lost = on_lost
        self._fast = fast
        self._loop: Any = None
        self._connection: Any = None
        self._thread: threading.Thread | None = None
        self._pending: dict[Future[Any], int] = {}
        """Questions without an answer yet, each with its channel number (0: the connection)."""
        self._fault: SourceError | ConfigError | None = None
        self._closing = False
        self._paused = False
        self._trickle_due = False

    # --- called by the thread that uses the link

    def connect(self, stop: threading.Event) -> None:
        """Start the thread and wait until the broker has let us in. Raises ConfigError, SourceError, Stopped."""
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # a failure takes it many lines; ours is one sentence
        parameters = self._parameters()
        self._loop = IOLoop()
        opened: Future[None] = Future()
        self._pending[opened] = 0
        self._thread = threading.Thread(target=self._run, args=(parameters, opened), name="amqp", daemon=True)
        self._thread.start()
        self._wait(opened, timeout_s=self._amqp.connect_timeout_s + ANSWER_S, stop=stop)

    def ask(
        self,
        channel: Channel | None,
        request: Callable[[Callable[..., None]], object],
        *,
        stop: threading.Event | None = None,
        timeout_s: float = ANSWER_S,
    ) -> Any:
        """Call `request(reply)` in the connection's thread and return what `reply` is called with.

        Raises Refused when the broker closes `channel` for it, SourceError when the connection ends or no answer comes
        within `timeout_s`, Stopped.
        """
        return self._wait(self.begin(channel, request), timeout_s=timeout_s, stop=stop)

    def begin(self, channel: Channel | None, request: Callable[[Callable[..., None]], object]) -> Future[Any]:
        """As `ask`, without waiting."""
        answer: Future[Any] = Future()

        def reply(*frame: Any) -> None:
            if self._pending.pop(answer, None) is not None:
                answer.set_result(frame[0] if frame else None)

        def run() -> None:
            self._pending[answer] = channel.channel_number if channel is not None else 0
            if self._fault is not None:
                self._fail(0, self._fault)
                return
            try:
                request(reply)
            except Exception as error:  # pika refuses to use a closed channel in several ways
                self._pending.pop(answer, None)
                answer.set_exception(SourceError(f"the channel to RabbitMQ is closed ({error})"))

        if self._fault is not None:
            answer.set_exception(self._fault)
        else:
            self._loop.add_callback_threadsafe(run)
        return answer

    def open_channel(self, stop: threading.Event | None = None) -> Channel:
        """A new channel. When the broker closes it, what was asked on it raises Refused."""

        def request(reply: Callable[..., None]) -> None:
            channel = self._connection.channel(on_open_callback=reply)
            channel.add_on_close_callback(self._on_channel_closed)

        return self.ask(None, request, stop=stop)

    def consume(self, channel: Channel, *, queue: str, consumer_tag: str, prefetch: int) -> None:
        """Subscribe on `channel`: from now on whatever closes it ends the link."""
        self.ask(channel, lambda reply: channel.basic_qos(prefetch_count=prefetch, callback=reply))

        def request(reply: Callable[..., None]) -> None:
            channel.add_on_close_callback(lambda _, error: self._lose(_reason(error, self._amqp)))
            cancelled = SourceError(f"RabbitMQ has ended the subscription: queue {queue!r} was deleted or moved")
            channel.add_on_cancel_callback(lambda _: self._lose(cancelled))
            if self._fast:
                self._connection.read_fast(channel.channel_number, consumer_tag)
            channel.basic_consume(queue, self._on_message, consumer_tag=consumer_tag, callback=reply)

        self.ask(channel, request)

    def later(self, call: Callable[[], object]) -> None:
        """Have the connection's thread call `call` soon; nothing happens if the link has ended."""

        def run() -> None:
            if self._fault is None and not self._closing:
                with suppress(pika.exceptions.AMQPError):  # the loss itself is reported by on_lost
                    call()

        self._loop.add_callback_threadsafe(run)

    def resume(self) -> None:
        """Read on after `on_deliveries` said to stop."""
        self._loop.add_callback_threadsafe(self._resume)

    def close(self) -> None:
        """Say goodbye and end the thread, within two seconds."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self._loop.add_callback_threadsafe(self._close)
        thread.join(1.5)
        if thread.is_alive():
            self._loop.add_callback_threadsafe(self._abort)
            thread.join(0.5)
        self._thread = None

    def _wait(self, answer: Future[Any], *, timeout_s: float, stop: threading.Event | None) -> Any:
        waited_s = 0.0
        while True:
            try:
                return answer.result(_POLL_S if stop else timeout_s)
            except NoAnswer:
                waited_s += _POLL_S if stop else timeout_s
                if stop is not None and stop.is_set():
                    raise Stopped from None
                if waited_s >= timeout_s:
                    raise SourceError(f"no answer from RabbitMQ at {_where(self._amqp)} for {timeout_s:g} s") from None
            except PydbsyncError as error:
                # raised in the other thread: a fresh one shows where it was waited for
                if isinstance(error, Refused):
                    raise Refused(error.code, str(error)) from error
                raise type(error)(str(error)) from error

    # --- called in the connection's thread

    def _run(self, parameters: Any, opened: Future[None]) -> None:
        failure: BaseException = SourceError("the connection to RabbitMQ was closed")
        sock: socket.socket | None = None
        try:
            self._connection = _Connection(
                parameters,
                on_open_callback=lambda _: self._opened(opened),
                on_open_error_callback=self._on_closed,
                on_close_callback=self._on_closed,
                custom_ioloop=self._loop,
            )
            self._connection.on_deliveries = self._hand_over
            self._loop.start()
        except Exception as error:  # a fault of pika's own or of the system: the connection is gone either way
            failure = error
        finally:
            sock = self._connection.socket() if self._connection is not None else None
            self._lose(_reason(failure, self._amqp))
            with suppress(OSError):
                if sock is not None:
                    sock.close()
            self._loop.close()

    def _opened(self, opened: Future[None]) -> None:
        if self._fast:
            problem = self._connection.speed_up()
            if problem:
                self._fast = False
                self._log.warning("this version of pika is read the slow way: %s", problem)
        if self._pending.pop(opened, None) is not None:
            opened.set_result(None)

    def _on_closed(self, _: Any, error: Any) -> None:
        self._lose(_reason(error, self._amqp))
        self._loop.stop()

    def _on_channel_closed(self, channel: Any, error: Any) -> None:
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            self._fail(channel.channel_number, Refused(error.reply_code, error.reply_text))

    def _lose(self, fault: SourceError | ConfigError) -> None:
        if self._fault is None:
            self._fault = fault
            if not self._closing:
                self._on_lost(fault if isinstance(fault, SourceError) else SourceError(str(fault)))
        self._fail(0, self._fault)

    def _fail(self, channel_number: int, error: Exception) -> None:
        """Answer what was asked on the channel (0: on any) with `error`."""
        for answer, number in list(self._pending.items()):
            if channel_number in (0, number):
                del self._pending[answer]
                answer.set_exception(error)

    def _on_message(self, _: Any, method: Any, __: Any, body: bytes) -> None:
        self._hand_over([Delivery(body, method.delivery_tag, method.redelivered)], len(body))

    def _hand_over(self, deliveries: list[Delivery], size_bytes: int) -> None:
        if self._closing or self._fault is not None:
            return
        if not self._on_deliveries(deliveries, size_bytes) and not self._paused and self._fast:
            self._paused = True
            self._connection.stop_reading()
            self._set_trickle()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._connection.is_open:
                self._connection.read_on()

    def _set_trickle(self) -> None:
        """A paused connection takes a few bytes now and then, so that pika's heartbeat check sees the broker alive."""
        heartbeat_s = self._connection.params.heartbeat
        if heartbeat_s and not self._trickle_due:
            self._trickle_due = True
            self._loop.call_later(heartbeat_s / 4, self._trickle)

    def _trickle(self) -> None:
        self._trickle_due = False
        if self._paused and self._connection.is_open:
            self._connection.read_a_little()
            self._set_trickle()

    def _close(self) -> None:
        self._closing = True
        self._resume()  # the goodbye stands behind what was not read yet
        try:
            self._connection.close()
        except Exception:  # closed already, or on its way
            if self._connection is None or self._connection.is_closed:
                self._loop.stop()

    def _abort(self) -> None:
        with suppress(Exception):
            self._connection.abort()
        self._loop.call_later(0.1, self._loop.stop)

    def _parameters(self) -> Any:
        amqp = self._amqp
        return pika.ConnectionParameters(
            host=amqp.host,
            port=amqp.port,
            virtual_host=amqp.vhost,
            credentials=pika.PlainCredentials(amqp.user, amqp.password.reveal()),
            heartbeat=amqp.heartbeat_s,
            blocked_connection_timeout=amqp.blocked_timeout_s or None,
            ssl_options=_ssl_options(amqp.tls, amqp.host) if amqp.tls else None,
            connection_attempts=1,
            socket_timeout=amqp.connect_timeout_s,
            stack_timeout=amqp.connect_timeout_s,
            client_properties={"product": "pydbsync", "connection_name": self._name},
            tcp_options={
                "TCP_KEEPIDLE": 30,
                "TCP_KEEPINTVL": 10,
                "TCP_KEEPCNT": 3,
                "TCP_USER_TIMEOUT": 1000 * max(30, 2 * amqp.heartbeat_s),
            },
        )


class _Connection(pika.SelectConnection):  # type: ignore[misc]
    """pika's connection with its reading replaced: bigger receives, whole deliveries at once, and a way to pause."""

    on_deliveries: Callable[[list[Delivery], int], None]
    _reader: DeliveryReader | None = None
    _transport_kept: Any = None
    _may_read_bytes: int | None = None
    """How much the next receives may take: None without limit, 0 while paused."""

    def speed_up(self) -> str | None:
        """Prepare the transport; return what is missing in this version of pika, or None."""
        problem = _missing_internals(self._transport)
        if problem is None:
            transport = self._transport_kept = self._transport
            # a TLS record is 16 KiB at most, and one receive never returns more than one
            transport._MAX_RECV_BYTES = 32 * 1024 if self.params.ssl_options else _RECEIVE_BYTES
            transport._sigint_safe_recv = self._receive
        return problem

    def read_fast(self, channel_number: int, consumer_tag: str) -> None:
        """From now on, take the deliveries of this consumer past pika's parser."""
        self._reader = DeliveryReader(
            channel=channel_number, consumer_tag=consumer_tag, pass_on=super()._on_data_available
        )

    def _on_data_available(self, data_in: bytes) -> None:
        if self._reader is None or self._frame_buffer:
            super()._on_data_available(data_in)
            return
        passed_before = self._reader.passed_bytes
        deliveries = self._reader.feed(data_in)
        self.bytes_received += len(data_in) - (self._reader.passed_bytes - passed_before)
        self.on_deliveries(deliveries, len(data_in))

    def _receive(self, sock: Any, max_bytes: int) -> bytes:
        if self._may_read_bytes is None:
            data: bytes = sock.recv(max_bytes)
            return data
        if self._may_read_bytes == 0:
            if isinstance(sock, ssl.SSLSocket):
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "paused")
            raise BlockingIOError(errno.EAGAIN, "paused")
        allowed, self._may_read_bytes = self._may_read_bytes, 0
        data = sock.recv(allowed)
        return data

    def stop_reading(self) -> None:
        """Leave what comes in the socket's buffers, and so with the broker, until `read_on`."""
        if self._transport is not None:
            self._may_read_bytes = 0
            self._nbio.remove_reader(self._transport._sock.fileno())

    def read_on(self) -> None:
        if self._transport is not None:
            self._may_read_bytes = None
            self._nbio.set_reader(self._transport._sock.fileno(), self._transport._on_socket_readable)
            # TLS may hold bytes that were decrypted already: the socket would not become readable for them
            self._nbio.add_callback_threadsafe(self._transport._on_socket_readable)

    def read_a_little(self) -> None:
        if self._transport is not None:
            self._may_read_bytes = _TRICKLE_BYTES
            self._transport._on_socket_readable()
            if self._may_read_bytes is not None:
                self._may_read_bytes = 0

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def socket(self) -> Any:
        """The socket of a transport that was not closed in an orderly way, if any."""
        return getattr(self._transport, "_sock", None)


def _missing_internals(transport: Any) -> str | None:
    """Name what the fast way needs of pika and this version does not have."""
    base = getattr(io_services_utils, "_AsyncTransportBase", None)
    if base is None or not isinstance(transport, base):
        return "its transport is another one"
    for name in ("_MAX_RECV_BYTES", "_sigint_safe_recv", "_on_socket_readable", "_sock"):
        if not hasattr(transport, name):
            return f"its transport has no {name}"
    parameters = list(inspect.signature(pika.SelectConnection._on_data_available).parameters)
    if parameters != ["self", "data_in"]:
        return "its parser is called in another way"
    return None


def connection_name(queue: str) -> str:
    """How RabbitMQ's management shows this worker."""
    return f"pydbsync {queue} {os.getpid()}@{socket.gethostname()}"


def _ssl_options(tls: TlsSettings, host: str) -> Any:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"the certificates cannot be used: {error}", key="rabbitmq_conn_info.tls") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return pika.SSLOptions(context, server_hostname=tls.server_name or host)


def _where(amqp: AmqpSettings) -> str:
    return f"{amqp.host}:{amqp.port}"


def _reason(error: BaseException, amqp: AmqpSettings) -> SourceError | ConfigError:
    """What pika's error means to a person, and whether trying again can help."""
    if isinstance(error, (SourceError, ConfigError)):
        return error
    chain = list(_nested(error))
    text = " ".join(repr(each) for each in chain)
    where = _where(amqp)
    result: SourceError | ConfigError
    closed = re.search(r"\((\d{3})\) ['\"]([^'\"]*(?:'[^']*')?[^'\"]*)", text)
    code, said = (int(closed[1]), closed[2]) if closed else (0, "")
    verification = next((e for e in chain if isinstance(e, ssl.SSLCertVerificationError)), None)
    os_error = next((e for e in chain if isinstance(e, OSError)), None)
    if code == 403:
        result = ConfigError(
            f"RabbitMQ at {where} refuses user {amqp.user!r}: wrong name or password", key="rabbitmq_conn_info.user"
        )
    elif code == 530:
        result = ConfigError(
            f"RabbitMQ at {where} has no vhost {amqp.vhost!r} for user {amqp.user!r} ({said})",
            key="rabbitmq_conn_info.vhost",
        )
    elif verification is not None:
        result = ConfigError(
            f"the certificate of RabbitMQ at {where} is not trusted: {verification.verify_message}",
            key="rabbitmq_conn_info.tls",
        )
    elif any(isinstance(e, pika.exceptions.AMQPHeartbeatTimeout) for e in chain):
        result = SourceError(
            f"RabbitMQ at {where} was silent for over {amqp.heartbeat_s} s: the connection is given up"
        )
    elif code:
        result = SourceError(f"RabbitMQ at {where} closed the connection: {code} {said}")
    elif isinstance(os_error, socket.gaierror):
        result = SourceError(f"RabbitMQ's host {amqp.host!r} is not known: {os_error.strerror}")
    elif os_error is not None:
        result = SourceError(f"RabbitMQ at {where} cannot be reached: {os_error.strerror or os_error}")
    else:
        result = SourceError(f"the connection to RabbitMQ at {where} is lost: {error}")
    result.__cause__ = error
    return result


def _nested(error: object) -> Iterator[BaseException]:
    """The error and those that pika has wrapped in it."""
    if isinstance(error, BaseException):
        yield error
        inner = [*error.args, *getattr(error, "exceptions", ()), getattr(error, "exception", None), error.__cause__]
        for each in inner:
            yield from _nested(each)
