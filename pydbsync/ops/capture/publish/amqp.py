"""RabbitMQ as the receiver of messages: confirmed, mandatory, many on their way at once."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import pika

from pydbsync.config.settings import AmqpSettings
from pydbsync.errors import ConfigError, OperationError, SourceError
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import TableMessages
from pydbsync.ops.capture.publish.bundle import Bundle
from pydbsync.ops.capture.publish.frames import PublishFrames
from pydbsync.ops.capture.publish.inflight import InFlight, Sent
from pydbsync.ops.capture.publish.overflow import refuses_when_full
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.source.link import BrokerLink, ChannelRefused, LinkStopped, Reply
from pydbsync.source.sequence import CONTENT_TYPE as SEQUENCE_TYPE
from pydbsync.source.sequence import is_sequence

log = logging.getLogger("pydbsync.capture")

_WINDOW_MESSAGES: Final = 20_000
_WINDOW_BYTES: Final = 64 * 2**20
"""Unconfirmed messages that may be on their way."""
_CHUNK_MESSAGES: Final = 500
_CHUNK_BYTES: Final = 2**20
_CONFIRM_CHECK_S: Final = 0.05
_STOP_GRACE_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.05
_LAST_PAUSE_S: Final = 2.0
_LARGE_BYTES: Final = 4 * 2**20
"""Such a message is sent alone: the broker may have a limit, which it tells by closing the channel."""
_NAMED_BYTES: Final = 2**16
_HEAD_BYTES: Final = 8192
"""Of a message from so many bytes on, so much is kept to name it by."""
_SEPARATOR: Final = b"\x1e"
_TOO_LARGE: Final = re.compile(r"message size \d+ is larger than .*?(\d+)")
_ROW: Final = re.compile(
    rb'"database":"(?P<database>(?:[^"\\]|\\.)*)","table":"(?P<table>(?:[^"\\]|\\.)*)".*?'
    rb'"position":"(?P<position>[^"]*)".*?"primary_key":(?P<key>\[.*?\]),"primary_key_columns"',
    re.DOTALL,
)
_NOT_FOUND: Final = 404
_PERSISTENT: Final = 2
_LONGEST_KEY_BYTES: Final = 255


class AmqpPublisher:
    """RabbitMQ with publisher confirms; a message that no queue takes is an error.

    The connection's thread sends; `publish` hands it some hundred messages at a time and waits while too many are not
    yet confirmed. pika would make half a dozen objects of each message; their frames are made here, and handed over
    where its own are. That is no part of its published interface: where it is missing, pika's way remains.
    """

    def __init__(
        self,
        amqp: AmqpSettings,
        *,
        exchange: str,
        exchange_type: str | None,
        routing_key: Callable[[TableName], str],
        stop: threading.Event,
        bundle_bytes: int = 0,
        queues: Sequence[str] = (),
        one_by_one: bool = False,
    ) -> None:
        """Connect and look for the exchange; with an `exchange_type` a missing one is made, durable.

        With `bundle_bytes` consecutive messages with the same routing key become one of about this size.
        With `one_by_one` each message is confirmed before the next is sent, as for queues that refuse when they are
        full: of several on their way one could be refused and the next one taken, and replay would then take the
        first for a repeat. `queues` are looked at for that.
        Raises ConfigError, SourceError, OperationError where there is no such exchange.
        """
        self._exchange = exchange
        self._stop = stop
        self._routing_key = routing_key
        self._keys: dict[TableName, str] = {}
        self._bundle = Bundle(bundle_bytes) if bundle_bytes else None
        self._chunk: list[tuple[str, bytes]] = []
        self._chunk_bytes = 0
        self._changed = threading.Condition()
        self._handed_over = self._handed_over_bytes = 0
        """What waits for the connection's thread."""
        self._flight = InFlight()
        self._is_one_by_one = one_by_one
        self._said_full = ""
        self._waits_for = ""
        self._fault: Exception | None = None
        self._link = BrokerLink(
            amqp,
            name="capture",
            log=log,
            on_deliveries=_no_deliveries,
            on_lost=self._fail,
            fast=False,
        )
        self._of_one = _properties("application/json")
        self._of_several = _properties(SEQUENCE_TYPE)
        try:
            self._link.connect(stop)
            self._open_exchange(exchange_type)
            full = next((queue for queue in queues if refuses_when_full(self._link, queue)), None)
            if full is not None:
                self._is_one_by_one = True
                log.info("queue %r refuses messages when it is full: they are sent one by one, which is slower", full)
            self._channel = self._link.open_channel(stop)
            self._link.ask(self._channel, self._start_confirms)
        except LinkStopped:
            self._link.close()
            raise SourceError("stopped while connecting to RabbitMQ") from None
        except BaseException:
            self._link.close()
            raise

    def publish(self, batch: TableMessages) -> None:
        key = self._keys.get(batch.table)
        if key is None:
            key = self._keys[batch.table] = self._routing_key(batch.table)
            if len(key.encode("utf-8")) > _LONGEST_KEY_BYTES:
                raise OperationError(
                    f"the routing key of {batch.table} is longer than AMQP's 255 bytes: change the template"
                )
        if self._bundle is not None:
            self._take(self._bundle.add(key, batch.bodies))
        else:
            self._take([(key, body) for body in batch.bodies])

    def push(self) -> None:
        if self._bundle is not None:
            self._take(self._bundle.close())
        if self._chunk:
            self._hand_over()

    def flush(self) -> None:
        self.push()
        self._wait(lambda: self._pending == 0)

    @property
    def confirmed(self) -> int:
        return self._flight.confirmed

    @property
    def waits_for(self) -> str:
        return self._waits_for

    def close(self) -> None:
        self._link.close()

    @property
    def _pending(self) -> int:
        # A refusal ends the link once all have their answer: until then nothing counts as done.
        is_ending = self._flight.refused is not None and not self._is_one_by_one
        return self._handed_over + self._flight.count + is_ending

    def _take(self, messages: Iterable[tuple[str, bytes]]) -> None:
        for message in messages:
            is_large = len(message[1]) >= _LARGE_BYTES
            if is_large and self._chunk:  # if it is too large, what came before is confirmed
                self._hand_over()
            self._chunk.append(message)
            self._chunk_bytes += len(message[1])
            if is_large:
                self._wait(lambda: self._pending == 0)
                self._hand_over()
                self._wait(lambda: self._pending == 0)
            elif len(self._chunk) >= _CHUNK_MESSAGES or self._chunk_bytes >= _CHUNK_BYTES:
                self._hand_over()

    def _hand_over(self) -> None:
        self._wait(
            lambda: (
                self._pending < _WINDOW_MESSAGES and self._handed_over_bytes + self._flight.size_bytes < _WINDOW_BYTES
            )
        )
        chunk = self._chunk
        self._chunk, self._chunk_bytes = [], 0
        if self._is_one_by_one:
            for message in chunk:
                self._send_until_taken(message)
        else:
            self._give(chunk)

    def _give(self, chunk: list[tuple[str, bytes]]) -> None:
        with self._changed:
            self._handed_over += len(chunk)
            self._handed_over_bytes += sum(len(body) for _, body in chunk)
        self._link.later(lambda: self._send(chunk))

    def _send_until_taken(self, message: tuple[str, bytes]) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._give([message])
            self._wait(lambda: self._pending == 0)
            if self._flight.refused is None:
                self._waits_for = ""
                return
            self._flight.forget_refusal()
            self._waits_for = _full(message[0])
            if self._said_full != message[0]:
                self._said_full = message[0]
                log.warning("capture waits: %s", self._waits_for)
            if self._stop.wait(pause_s):
                raise SourceError("stopped while a queue was full; what it has not taken is sent again")
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    def _wait(self, reached: Callable[[], bool]) -> None:
        grace_s = _STOP_GRACE_S
        with self._changed:
            while self._fault is None and not reached():
                self._changed.wait(_CONFIRM_CHECK_S)
                if self._stop.is_set():
                    grace_s -= _CONFIRM_CHECK_S
                    if grace_s <= 0:
                        raise SourceError("stopped before RabbitMQ confirmed all messages; they are sent again")
            if self._fault is not None:
                raise self._fault

    def _open_exchange(self, exchange_type: str | None) -> None:
        if not self._exchange:
            return
        channel = self._link.open_channel()
        try:
            self._link.ask(channel, lambda r: channel.exchange_declare(self._exchange, passive=True, callback=r))
            return
        except ChannelRefused as exc:
            if exc.code != _NOT_FOUND:
                raise ConfigError(f"RabbitMQ refuses the exchange {self._exchange!r}: {exc}") from exc
        if exchange_type is None:
            raise OperationError(
                f"RabbitMQ has no exchange {self._exchange!r}: make it, or say of which type to make it"
            )
        again = self._link.open_channel()
        self._link.ask(again, lambda r: again.exchange_declare(self._exchange, exchange_type, durable=True, callback=r))

    # in the connection's thread

    def _start_confirms(self, reply: Reply) -> None:
        self._channel.add_on_return_callback(self._on_return)
        self._channel.add_on_close_callback(self._on_channel_closed)
        self._channel.connection.add_on_connection_blocked_callback(self._on_blocked)
        self._channel.connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._channel.confirm_delivery(self._on_confirm, callback=reply)
        self._frames_of_one, self._frames_of_several = (
            PublishFrames(
                channel=self._channel.channel_number,
                exchange=self._exchange,
                properties=b"".join(properties.encode()),
                frame_max_bytes=self._channel.connection.params.frame_max,
            )
            for properties in (self._of_one, self._of_several)
        )

    def _send(self, chunk: list[tuple[str, bytes]]) -> None:
        with self._changed:
            self._handed_over -= len(chunk)
            self._handed_over_bytes -= sum(len(body) for _, body in chunk)
            if self._flight.refused is not None:
                return  # nothing is to be taken behind it
            for key, body in chunk:
                texts = body.count(_SEPARATOR) if is_sequence(body) else 1
                self._flight.add(Sent(len(body), texts, key, body[:_HEAD_BYTES] if len(body) >= _NAMED_BYTES else b""))
        emit = getattr(self._channel.connection, "_output_marshaled_frames", None)
        self._stamp()
        if emit is not None and self._channel.is_open:
            one, several = self._frames_of_one.encode, self._frames_of_several.encode
            emit([b"".join([(several if is_sequence(body) else one)(key, body) for key, body in chunk])])
            return
        for key, body in chunk:
            properties = self._of_several if is_sequence(body) else self._of_one
            self._channel.basic_publish(self._exchange, key, body, properties, mandatory=True)

    def _stamp(self) -> None:
        """Messages bear the second in which they go to RabbitMQ: by it replay tells the parts of its lag."""
        now = int(time.time())
        if now != self._of_one.timestamp:
            for properties, frames in (
                (self._of_one, self._frames_of_one), (self._of_several, self._frames_of_several)
            ):  # fmt: skip
                properties.timestamp = now
                frames.bear(b"".join(properties.encode()))

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        is_refused = isinstance(method, pika.spec.Basic.Nack)
        with self._changed:
            self._flight.answer(method.delivery_tag, multiple=method.multiple, is_refused=is_refused)
            self._changed.notify()
            refused = self._flight.refused
            if refused is None or self._is_one_by_one or self._flight.count:
                return
        # All that was on its way has its answer: it is known what was taken.
        if self._flight.is_out_of_order:
            log.error(
                "messages behind one that a queue refused (routing key %r) had been taken already; replay that reads "
                "them first takes the refused ones for repeats: compare the tables by verify",
                refused.key,
            )
        self._fail(QueueFull(_full(refused.key)))

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        with self._changed:
            self._flight.is_frozen = True
        self._fail(
            OperationError(
                f"no queue of exchange {self._exchange!r} takes messages with the routing key {method.routing_key!r}: "
                "bind one, or exclude the table; nothing was lost, capture goes on from there at the next start"
            )
        )

    def _on_blocked(self, connection: Any, frame: Any) -> None:
        self._waits_for = (
            f"RabbitMQ takes no messages now ({frame.method.reason}): make room there, and it takes them again"
        )
        log.warning("capture waits: %s", self._waits_for)

    def _on_unblocked(self, connection: Any, frame: Any) -> None:
        self._waits_for = ""
        log.info("RabbitMQ takes messages again")

    def _on_channel_closed(self, channel: Any, error: Any) -> None:
        too_large = _TOO_LARGE.search(str(error))
        if too_large is None:
            self._fail(SourceError(f"RabbitMQ closed the channel: {error}"))
            return
        limit = int(too_large[1])
        with self._changed:
            sent = self._flight.first_larger(limit)
        self._fail(OperationError(_larger(sent, limit)))

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if self._fault is None:
                self._fault = error
            self._changed.notify()


class QueueFull(SourceError):
    """A queue refused a message while others were on their way: from now on one is sent after the other."""


def _full(key: str) -> str:
    return f"a queue that takes the routing key {key!r} is full and refuses messages (x-overflow) until there is room"


def _larger(sent: Sent | None, limit: int) -> str:
    """What to do about a message that the broker does not take."""
    size, head = (sent.size, sent.head) if sent is not None else (0, b"")
    found = _ROW.search(head)
    what = f" with the routing key {sent.key!r}" if sent is not None else ""
    place = "its place"
    if found is not None:
        text = found["key"].decode("utf-8", "replace")
        key = f", key {shorten(text, 200)}" if text != "[]" else ""
        place = found["position"].decode("utf-8", "replace")
        what = f" of {found['database'].decode()}.{found['table'].decode()}{key}, at {place},"
    return (
        f"a message{what} has {size:,} bytes, and RabbitMQ takes {limit:,}: raise max_message_size in its "
        f"configuration and start again, or go on without these rows by --skip-at {place} and copy them otherwise"
    )


def _properties(content_type: str) -> pika.BasicProperties:
    return pika.BasicProperties(content_type=content_type, delivery_mode=_PERSISTENT)


def _no_deliveries(deliveries: Any, size_bytes: int) -> Any:
    raise AssertionError("a publisher has no subscription")
