"""Takes deliveries out of the bytes of an AMQP 0-9-1 connection, many at a time, and hands every other frame on."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

from pydbsync.errors import SourceError
from pydbsync.model import Delivery

_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME_END = 0xCE
_PROTOCOL_HEADER = ord("A")  # "AMQP": the broker's answer to a version it does not speak; not a frame
_BASIC_DELIVER = 60 << 16 | 60
_ENVELOPE = 7  # type, channel and size stand before a frame's payload, one end octet behind it

_unpack_frame = struct.Struct(">BHL").unpack_from
_unpack_method = struct.Struct(">L").unpack_from
_unpack_content = struct.Struct(">BHL4xQ").unpack_from  # class and weight say nothing here; then the body's size
_unpack_body_size = struct.Struct(">4xQ").unpack_from
_DELIVERY_COUNT = b"\x10x-delivery-countl"
"""A header of deliveries from quorum queues that were given back: the length of its name, the name, its type."""
_unpack_long = struct.Struct(">q").unpack_from


class DeliveryReader:
    """Reads the frames of one consumer on one channel.

    A message comes as a method frame (Basic.Deliver), a content header and as many body frames as it needs; frames of
    other channels may stand between them. Properties are skipped unread, since Maxwell's message says all in its body;
    but for how often a message was given back, where it was.
    Source: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 4.2.
    """

    def __init__(self, *, channel: int, consumer_tag: str, pass_on: Callable[[bytes], None]) -> None:
        """`pass_on` gets each complete frame that is no part of a delivery of `channel`, in order."""
        self._channel = channel
        self._tag_length = len(consumer_tag.encode())
        self._unpack_deliver = struct.Struct(f">BHLLB{self._tag_length}xQB").unpack_from
        self._pass_on = pass_on
        self._rest = b""
        self._begun: tuple[int, bool] | None = None
        """Delivery tag and redelivered flag of the message whose content is still to come."""
        self._body: io.BytesIO | None = None
        self._missing = 0
        self.passed_on_bytes = 0
        """Bytes handed on so far."""
        self.published_at: float | None = None
        """The property `timestamp` of a message that came lately, where messages have one; in seconds since 1970."""
        self.most_returns = 0
        """How often the message was given back that a quorum queue was given back most."""

    def feed(self, data: bytes) -> list[Delivery]:
        """The deliveries that `data` completes. What is incomplete waits for the next call.

        Raises SourceError where the bytes are no frames of AMQP.
        """
        buffer = self._rest + data if self._rest else data
        deliveries: list[Delivery] = []
        position = 0
        if self._begun is None:
            self._look_at_time(buffer)
        while True:
            if self._begun is None:
                position = self._take_whole(buffer, position, deliveries)
            following = self._take_frame(buffer, position, deliveries)
            if following == position:
                break
            position = following
        self._rest = buffer[position:]
        return deliveries

    def _take_whole(self, buffer: bytes, position: int, deliveries: list[Delivery]) -> int:
        """Append the deliveries that stand in one piece with one body frame at `position`; return where they end.

        This loop runs once a message and is all that the connection's thread does for it: no call that could be spared.
        """
        own, tag_length = self._channel, self._tag_length
        unpack_deliver, unpack_content, unpack_frame = self._unpack_deliver, _unpack_content, _unpack_frame
        append, new = deliveries.append, tuple.__new__
        try:
            while True:
                kind, channel, size, method, length, tag, flags = unpack_deliver(buffer, position)
                if method != _BASIC_DELIVER or kind != _METHOD or channel != own or length != tag_length:
                    return position
                content = position + size + 8
                kind, channel, size, body_size = unpack_content(buffer, content)
                if kind != _HEADER or channel != own or buffer[content - 1] != _FRAME_END:
                    return position
                body = content + size + 8
                kind, channel, size = unpack_frame(buffer, body)
                end = body + 7 + size
                if size != body_size or kind != _BODY or channel != own:
                    return position
                if buffer[body - 1] != _FRAME_END or buffer[end] != _FRAME_END:
                    return position
                append(new(Delivery, (buffer[body + 7 : end], tag, flags & 1 == 1)))
                if flags & 1:
                    self._count_returns(buffer, content, body)
                position = end + 1
        except (struct.error, IndexError):
            return position  # the buffer ends within this message

    def _take_frame(self, buffer: bytes, position: int, deliveries: list[Delivery]) -> int:
        """Deal with the one frame at `position`; return where it ends, or `position` if it is not yet complete."""
        if len(buffer) - position < _ENVELOPE:
            return position
        if buffer[position] == _PROTOCOL_HEADER:
            self._hand_on(buffer[position:])
            return len(buffer)
        kind, channel, size = _unpack_frame(buffer, position)
        payload = position + _ENVELOPE
        end: int = payload + size
        if end >= len(buffer):
            return position
        if buffer[end] != _FRAME_END:
            raise SourceError("the broker's bytes are no frames of AMQP 0-9-1 any more: the connection is broken")
        if channel != self._channel or not self._is_ours(kind, buffer, payload):
            self._hand_on(buffer[position : end + 1])
        elif kind == _METHOD:
            _, _, _, _, _, tag, flags = self._unpack_deliver(buffer, position)
            self._begun = (tag, flags & 1 == 1)
        elif kind == _HEADER:
            (self._missing,) = _unpack_body_size(buffer, payload)
            self._count_returns(buffer, payload, end)
            self._body = io.BytesIO()
        elif self._body is not None:
            self._body.write(memoryview(buffer)[payload:end])
            self._missing -= size
            if self._missing < 0:
                raise SourceError("the broker sent a message longer than it had announced: the connection is broken")
        if self._begun is not None and self._body is not None and self._missing == 0:
            # getvalue shares the buffer of BytesIO: a body of 64 MB is held once, not twice
            deliveries.append(Delivery(self._body.getvalue(), *self._begun))
            self._begun = self._body = None
        return end + 1

    def _is_ours(self, kind: int, buffer: bytes, payload: int) -> bool:
        """Whether a frame of our channel belongs to a delivery (and not, say, to the answer of a declare)."""
        if kind == _METHOD:
            method: int = _unpack_method(buffer, payload)[0]
            if method != _BASIC_DELIVER:
                return False
            if buffer[payload + 4] != self._tag_length:
                raise SourceError("the broker delivers for a consumer that pydbsync did not start")
            return True
        return self._begun is not None and kind == (_HEADER if self._body is None else _BODY)

    def _look_at_time(self, buffer: bytes) -> None:
        """When the first message of what has come was published: once for many, since it costs more than the rest."""
        try:
            kind, channel, size, method, *_ = self._unpack_deliver(buffer, 0)
            header = size + 8
            if method != _BASIC_DELIVER or kind != _METHOD or channel != self._channel or buffer[header] != _HEADER:
                return
            size = _unpack_frame(buffer, header)[2]
            self.published_at = timestamp_of(buffer[header + 19 : header + 7 + size])
        except (struct.error, IndexError):
            return  # the next ones will tell

    def _count_returns(self, buffer: bytes, start: int, end: int) -> None:
        found = buffer.find(_DELIVERY_COUNT, start, end)
        if found >= 0:
            (returns,) = _unpack_long(buffer, found + len(_DELIVERY_COUNT))
            self.most_returns = max(self.most_returns, returns)

    def _hand_on(self, frame: bytes) -> None:
        self.passed_on_bytes += len(frame)
        self._pass_on(frame)


_HAS_TIMESTAMP = 0x0040
_BEFORE_TIMESTAMP = (
    (0x8000, 1), (0x4000, 1), (0x2000, 4), (0x1000, 0), (0x0800, 0), (0x0400, 1), (0x0200, 1), (0x0100, 1), (0x0080, 1)
)  # fmt: skip
"""The flags of the properties in front of `timestamp`, and how many bytes tell the length of each; none: one octet."""


def timestamp_of(properties: bytes) -> float | None:
    """The property `timestamp` of a content header's flags and properties; None where there is none.

    Source: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 4.2.6.1.
    """
    flags = int.from_bytes(properties[:2], "big")
    if not flags & _HAS_TIMESTAMP:
        return None
    at = 2
    for flag, length_bytes in _BEFORE_TIMESTAMP:
        if flags & flag:
            at += length_bytes + int.from_bytes(properties[at : at + length_bytes], "big") if length_bytes else 1
    seconds = properties[at : at + 8]
    return float(int.from_bytes(seconds, "big")) if len(seconds) == 8 else None
