"""One connection to RabbitMQ, kept alive by a thread of its own: ask it and wait, or be told of deliveries."""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import suppress
from typing import Any, TypeAlias

from pika import exceptions
from pika.adapters.select_connection import IOLoop

from pydbsync.config.settings import AmqpSettings
from pydbsync.errors import ConfigError, PydbsyncError, SourceError
from pydbsync.model import Delivery
from pydbsync.source.connection import TRICKLE_PAUSE_S, BrokerConnection, connection_parameters
from pydbsync.source.reasons import address, connection_error

Channel: TypeAlias = Any
"""A pika channel: a handle here, used by the connection's thread only."""
Reply: TypeAlias = Callable[..., None]
"""What a request has to call with the broker's answer."""

ANSWER_S = 30
_STOP_CHECK_S = 0.05
_GOODBYE_S = 1.5
_ABORT_S = 0.3


class ChannelRefused(SourceError):
    """The broker closed a channel instead of doing what was asked; `code` is AMQP's reply code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class LinkStopped(Exception):
    """The stop event was set while something was waited for."""


class BrokerLink:
    """A connection and its thread.

    `on_deliveries(deliveries, size_bytes)` runs in that thread and says whether to go on reading; if not, `resume` must
    be called later. `on_lost(error)` runs there too, once, when the connection or its consumer has gone for another
    reason than `close`.
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
        self._can_pause = False
        self._loop: Any = None
        self._connection: BrokerConnection | None = None
        self._thread: threading.Thread | None = None
        self._pending: dict[Future[Any], int] = {}
        """Questions without an answer yet, each with its channel's number, 0 for none. Who pops one answers it."""
        self._fault: SourceError | ConfigError | None = None
        self._most_returns = 0
        self._is_closing = False
        self._is_paused = False
        self._is_trickle_due = False

    # --- for the thread that uses the link

    def connect(self, stop: threading.Event) -> None:
        """Start the thread and wait until the broker has let us in. Raises ConfigError, SourceError, LinkStopped."""
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # a failure takes it many lines; ours is one sentence
        parameters = connection_parameters(self._amqp, name=self._name)
        self._loop = IOLoop()
        opened: Future[None] = Future()
        self._pending[opened] = 0
        self._thread = threading.Thread(target=self._run, args=(parameters, opened), name="amqp", daemon=True)
        self._thread.start()
        self._wait(opened, timeout_s=self._amqp.connect_timeout_s + ANSWER_S, stop=stop)

    @property
    def server_version(self) -> str:
        """RabbitMQ's version, such as `3.10.8`; empty where it does not tell."""
        return self._told("version")

    @property
    def server_numbers(self) -> tuple[int, ...]:
        """The same as numbers: (3, 10, 8)."""
        return tuple(int(part) for part in re.match(r"[\d.]*", self.server_version)[0].split(".") if part)  # type: ignore[index]

    @property
    def cluster_name(self) -> str:
        """What RabbitMQ calls itself, such as `rabbit@host`; empty where it does not tell."""
        return self._told("cluster_name")

    def certificate(self) -> dict[str, Any]:
        """RabbitMQ's certificate as Python's ssl shows it; empty without TLS, or where it is not checked."""
        sock = getattr(getattr(self._connection, "_transport", None), "_sock", None)
        return (sock.getpeercert() or {}) if isinstance(sock, ssl.SSLSocket) else {}

    def _told(self, name: str) -> str:
        told = self._connection.server_properties if self._connection is not None else None
        return str((told or {}).get(name, ""))

    def open_channel(self, stop: threading.Event | None = None, *, prefetch: int = 0) -> Channel:
        """A new channel, whose consumers get up to `prefetch` deliveries unacknowledged; 0 is any number. When the
        broker closes it, what was asked on it raises Refused."""

        def request(reply: Reply) -> None:
            assert self._connection is not None  # noqa: S101
            self._connection.channel(on_open_callback=reply).add_on_close_callback(self._on_channel_closed)

        channel = self._wait(self._begin(0, request), timeout_s=ANSWER_S, stop=stop)
        if prefetch:
            self.ask(channel, lambda reply: channel.basic_qos(prefetch_count=prefetch, callback=reply), stop=stop)
        return channel

    def ask(self, channel: Channel, request: Callable[[Reply], object], stop: threading.Event | None = None) -> Any:
        """Call `request(reply)` in the connection's thread and return what `reply` is called with.

        Raises Refused when the broker closes `channel` for it, SourceError when the connection ends or gives no answer,
        LinkStopped.
        """
        return self._wait(self.begin(channel, request), timeout_s=ANSWER_S, stop=stop)

    def begin(self, channel: Channel, request: Callable[[Reply], object]) -> Future[Any]:
        """As `ask`, without waiting."""
        return self._begin(channel.channel_number, request)

    def consume(self, channel: Channel, *, queue: str, consumer_tag: str, is_exclusive: bool = False) -> None:
        """Subscribe on `channel`: from now on whatever closes it ends the link. Raises as `ask`."""
        cancelled = SourceError(
            f"RabbitMQ has ended the subscription: queue {queue!r} was deleted or moved; if it was deleted, what it"
            " held, and what is published until it is there again, is lost: compare with the source (`pydbsync verify`)"
        )

        def request(reply: Reply) -> None:
            assert self._connection is not None  # noqa: S101
            channel.add_on_close_callback(self._on_consumer_closed)
            channel.add_on_cancel_callback(lambda _: self._lose(cancelled))
            if self._fast:
                self._connection.read_fast(channel.channel_number, consumer_tag, self._hand_over)
            channel.basic_consume(
                queue, self._on_message, exclusive=is_exclusive, consumer_tag=consumer_tag, callback=reply
            )

        self.ask(channel, request)

    @property
    def published_at(self) -> float | None:
        """When a message that came lately was published, where messages tell."""
        return self._connection.published_at if self._connection is not None else None

    @property
    def most_returns(self) -> int:
        """How often the delivery was given back before that was given back most; a quorum queue counts that."""
        fast = self._connection.most_returns if self._connection is not None else 0
        return max(fast, self._most_returns)

    def later(self, call: Callable[[], object]) -> None:
        """Have the connection's thread call `call` soon; nothing happens if the link has ended."""

        def run() -> None:
            if self._fault is None and not self._is_closing:
                with suppress(exceptions.AMQPError):  # the channel has gone: on_lost says so
                    call()

        self._loop.add_callback_threadsafe(run)

    def resume(self) -> None:
        """Read on after `on_deliveries` said to stop."""
        self._loop.add_callback_threadsafe(self._resume)

    def close(self) -> None:
        """Say goodbye and end the thread, within two seconds. Nothing is handed over any more."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._on_deliveries = lambda deliveries, size_bytes: True
        self._on_lost = lambda error: None
        self._loop.add_callback_threadsafe(self._close)
        thread.join(_GOODBYE_S)
        if thread.is_alive():
            self._loop.add_callback_threadsafe(self._abort)
            thread.join(_ABORT_S)

    def _begin(self, channel_number: int, request: Callable[[Reply], object]) -> Future[Any]:
        answer: Future[Any] = Future()

        def settle(*frame: Any) -> None:
            if self._pending.pop(answer, None) is not None:
                answer.set_result(frame[0] if frame else None)

        def run() -> None:
            if self._fault is None:
                try:
                    request(settle)
                except Exception as error:  # pika refuses to use a closed channel in several ways
                    self._settle(answer, SourceError(f"the channel to RabbitMQ is closed ({error})"))

        self._pending[answer] = channel_number
        self._loop.add_callback_threadsafe(run)
        if self._fault is not None:
            self._settle(answer, self._fault)
        return answer

    def _wait(self, answer: Future[Any], *, timeout_s: float, stop: threading.Event | None) -> Any:
        step_s = timeout_s if stop is None else _STOP_CHECK_S
        left_s = timeout_s
        while left_s > 0:
            try:
                return answer.result(step_s)
            except NoAnswer:
                if stop is not None and stop.is_set():
                    raise LinkStopped from None
                left_s -= step_s
            except ChannelRefused as error:  # raised in the other thread: a fresh one shows where it was waited for
                raise ChannelRefused(str(error), error.code) from error
            except PydbsyncError as error:
                raise type(error)(str(error)) from error
        raise SourceError(f"no answer from RabbitMQ at {address(self._amqp)} within {timeout_s:g} s")

    # --- for the connection's thread

    def _run(self, parameters: Any, opened: Future[None]) -> None:
        failure: object = None
        try:
            self._connection = BrokerConnection(
                parameters,
                on_open_callback=lambda _: self._on_opened(opened),
                on_open_error_callback=self._on_closed,
                on_close_callback=self._on_closed,
                custom_ioloop=self._loop,
            )
            self._loop.start()
        except Exception as error:  # a fault of pika's own or of the system: the connection has gone either way
            failure = error
        self._lose(connection_error(failure, self._amqp))
        if self._connection is not None:
            self._connection.close_socket()
        self._loop.close()

    def _on_opened(self, opened: Future[None]) -> None:
        assert self._connection is not None  # noqa: S101
        problem = self._connection.prepare()
        self._can_pause = problem is None
        if problem is not None:
            self._fast = False
            self._log.warning("this version of pika is used in its own, slower way, and is not held back: %s", problem)
        if self._pending.pop(opened, None) is not None:
            opened.set_result(None)

    def _on_closed(self, _: Any, error: Any) -> None:
        self._lose(connection_error(error, self._amqp))
        self._loop.stop()

    def _on_channel_closed(self, channel: Any, error: Any) -> None:
        if isinstance(error, exceptions.ChannelClosedByBroker):
            self._settle_all(ChannelRefused(error.reply_text, error.reply_code), channel.channel_number)

    def _on_consumer_closed(self, _: Any, error: Any) -> None:
        if isinstance(error, exceptions.ChannelClosed):
            self._lose(SourceError(f"RabbitMQ has ended the subscription: {error.reply_code} {error.reply_text}"))
        else:
            self._lose(connection_error(error, self._amqp))

    def _lose(self, fault: SourceError | ConfigError) -> None:
        if self._fault is None:
            self._fault = fault
            if not self._is_closing:
                self._on_lost(fault if isinstance(fault, SourceError) else SourceError(str(fault)))
                # A connection without its consumer would keep what it holds unacknowledged from others.
                self._loop.add_callback_threadsafe(self._close)
        self._settle_all(self._fault)

    def _settle(self, answer: Future[Any], error: Exception) -> None:
        if self._pending.pop(answer, None) is not None:
            answer.set_exception(error)

    def _settle_all(self, error: Exception, channel_number: int = 0) -> None:
        """Answer all that was asked on the channel (0: on any) with `error`."""
        for answer, number in self._pending.copy().items():
            if channel_number in (0, number):
                self._settle(answer, error)

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        if method.redelivered:
            returns = (properties.headers or {}).get("x-delivery-count", 0)
            self._most_returns = max(self._most_returns, returns)
        self._hand_over([Delivery(body, method.delivery_tag, method.redelivered)], len(body))

    def _hand_over(self, deliveries: list[Delivery], size_bytes: int) -> None:
        if self._is_closing or self._fault is not None or self._connection is None:
            return
        if not self._on_deliveries(deliveries, size_bytes) and self._can_pause and not self._is_paused:
            self._is_paused = True
            self._connection.stop_reading()
            self._set_trickle()

    def _resume(self) -> None:
        if self._is_paused and self._connection is not None:
            self._is_paused = False
            if self._connection.is_open or self._connection.is_closing:
                self._connection.read_on()

    def _set_trickle(self) -> None:
        if not self._is_trickle_due:
            self._is_trickle_due = True
            self._loop.call_later(TRICKLE_PAUSE_S, self._trickle)

    def _trickle(self) -> None:
        self._is_trickle_due = False
        if self._is_paused and self._connection is not None and self._connection.is_open:
            self._connection.read_a_little()
            self._set_trickle()

    def _close(self) -> None:
        self._is_closing = True
        self._resume()  # the broker's goodbye stands behind what was not read yet
        if self._connection is None or self._connection.is_closed:
            self._loop.stop()
        else:
            with suppress(exceptions.AMQPError):  # it is closing already
                self._connection.say_goodbye()

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()
        self._loop.call_later(_ABORT_S / 3, self._loop.stop)


def link_for_questions(amqp: AmqpSettings, asks: str) -> BrokerLink:
    """One that consumes nothing; `asks` is the command that asks, by which the broker names the connection."""
    return BrokerLink(
        amqp,
        name=f"pydbsync {asks}",
        log=logging.getLogger(f"pydbsync.{asks}"),
        on_deliveries=lambda deliveries, size_bytes: True,
        on_lost=lambda error: None,
    )


def check_broker(amqp: AmqpSettings) -> str:
    """Connect and leave again; what the broker calls itself, its cluster's name.

    Raises ConfigError if we are refused, SourceError if nobody answers.
    """
    link = link_for_questions(amqp, "check")
    try:
        link.connect(threading.Event())
        return link.cluster_name
    finally:
        link.close()
