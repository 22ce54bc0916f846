"""RabbitMQ as the receiver of messages: confirmed, mandatory, many on their way at once."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import pika

from pydbsync.config.settings import AmqpSettings
from pydbsync.errors import ConfigError, OperationError, SourceError
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import Batch
from pydbsync.ops.capture.publish.bundle import Bundle
from pydbsync.ops.capture.publish.frames import PublishFrames
from pydbsync.source.link import BrokerLink, Refused, Reply, Stopped
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
_NOT_FOUND: Final = 404
_PERSISTENT: Final = 2
_LONGEST_KEY_BYTES: Final = 255


class AmqpSink:
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
    ) -> None:
        """Connect and look for the exchange; with an `exchange_type` a missing one is made, durable.

        With `bundle_bytes` consecutive messages with the same routing key become one of about this size.
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
        self._unconfirmed = 0
        self._unconfirmed_bytes = 0
        self._sizes: deque[int] = deque()
        """Of the messages on their way, in the order of their tags; -1 for one that was confirmed before others."""
        self._first_tag = 1
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
            self._channel = self._link.open_channel(stop)
            self._link.ask(self._channel, self._start_confirms)
        except Stopped:
            self._link.close()
            raise SourceError("stopped while connecting to RabbitMQ") from None
        except BaseException:
            self._link.close()
            raise

    def publish(self, batch: Batch) -> None:
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
        self._wait(lambda: self._unconfirmed == 0)

    def close(self) -> None:
        self._link.close()

    def _take(self, messages: Iterable[tuple[str, bytes]]) -> None:
        for message in messages:
            self._chunk.append(message)
            self._chunk_bytes += len(message[1])
            if len(self._chunk) >= _CHUNK_MESSAGES or self._chunk_bytes >= _CHUNK_BYTES:
                self._hand_over()

    def _hand_over(self) -> None:
        self._wait(lambda: self._unconfirmed < _WINDOW_MESSAGES and self._unconfirmed_bytes < _WINDOW_BYTES)
        chunk, size = self._chunk, self._chunk_bytes
        self._chunk, self._chunk_bytes = [], 0
        with self._changed:
            self._unconfirmed += len(chunk)
            self._unconfirmed_bytes += size
        self._link.later(lambda: self._send(chunk))

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
        except Refused as exc:
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
        self._sizes.extend([len(body) for _, body in chunk])
        emit = getattr(self._channel.connection, "_output_marshaled_frames", None)
        if emit is not None and self._channel.is_open:
            one, several = self._frames_of_one.encode, self._frames_of_several.encode
            emit([b"".join([(several if is_sequence(body) else one)(key, body) for key, body in chunk])])
            return
        for key, body in chunk:
            properties = self._of_several if is_sequence(body) else self._of_one
            self._channel.basic_publish(self._exchange, key, body, properties, mandatory=True)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if isinstance(method, pika.spec.Basic.Nack):
            self._fail(SourceError("RabbitMQ has refused a message: it could not store it"))
            return
        count = size = 0
        last = method.delivery_tag - self._first_tag
        if method.multiple:
            while last >= 0 and self._sizes:
                found = self._sizes.popleft()
                self._first_tag += 1
                last -= 1
                if found >= 0:
                    count, size = count + 1, size + found
        elif last == 0:
            count, size = 1, self._sizes.popleft()
            self._first_tag += 1
        else:
            count, size = 1, self._sizes[last]
            self._sizes[last] = -1
        while self._sizes and self._sizes[0] < 0:
            self._sizes.popleft()
            self._first_tag += 1
        with self._changed:
            self._unconfirmed -= count
            self._unconfirmed_bytes -= size
            self._changed.notify()

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._fail(
            OperationError(
                f"no queue of exchange {self._exchange!r} takes messages with the routing key {method.routing_key!r}: "
                "bind one, or exclude the table; nothing was lost, capture goes on from there at the next start"
            )
        )

    def _on_channel_closed(self, channel: Any, error: Any) -> None:
        self._fail(SourceError(f"RabbitMQ closed the channel: {error}"))

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if self._fault is None:
                self._fault = error
            self._changed.notify()


def _properties(content_type: str) -> pika.BasicProperties:
    return pika.BasicProperties(content_type=content_type, delivery_mode=_PERSISTENT)


def _no_deliveries(deliveries: Any, size_bytes: int) -> Any:
    raise AssertionError("a publisher has no subscription")
