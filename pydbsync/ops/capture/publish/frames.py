"""Messages as AMQP 0-9-1 frames: what pika sends for a publish, made without its objects for each message.

Source: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct
from typing import Final

_METHOD, _HEADER, _BODY = 1, 2, 3
_END: Final = b"\xce"
_BASIC, _PUBLISH = 60, 40
_MANDATORY: Final = b"\x01"
_OVERHEAD_BYTES: Final = 8
_pack_frame: Final = struct.Struct(">BHL").pack
_pack_content: Final = struct.Struct(">HHQ").pack


class PublishFrames:
    """The frames of mandatory messages to one exchange, all with the same properties."""

    def __init__(self, *, channel: int, exchange: str, properties: bytes, frame_max_bytes: int) -> None:
        """`properties` are encoded with their flags in front, as the content header has them."""
        self._channel = channel
        self._exchange = _short(exchange)
        self._longest = frame_max_bytes - _OVERHEAD_BYTES
        self._methods: dict[str, bytes] = {}
        self.bear(properties)

    def bear(self, properties: bytes) -> None:
        """The properties of the messages from now on."""
        self._properties = properties
        self._header_bytes = 12 + len(properties)

    def encode(self, routing_key: str, body: bytes) -> bytes:
        """Basic.Publish, the content header and the body of one message."""
        method = self._methods.get(routing_key)
        if method is None:
            method = self._methods[routing_key] = self._method(routing_key)
        size = len(body)
        channel = self._channel
        content = (
            method
            + _pack_frame(_HEADER, channel, self._header_bytes)
            + _pack_content(_BASIC, 0, size)
            + self._properties
        )
        if not size:
            return content + _END
        if size <= self._longest:
            return b"%b\xce%b%b\xce" % (content, _pack_frame(_BODY, channel, size), body)
        parts = [content, _END]
        for at in range(0, size, self._longest):
            part = body[at : at + self._longest]
            parts += [_pack_frame(_BODY, channel, len(part)), part, _END]
        return b"".join(parts)

    def _method(self, routing_key: str) -> bytes:
        payload = struct.pack(">HHH", _BASIC, _PUBLISH, 0) + self._exchange + _short(routing_key) + _MANDATORY
        return _pack_frame(_METHOD, self._channel, len(payload)) + payload + _END


def _short(text: str) -> bytes:
    raw = text.encode("utf-8")
    return bytes([len(raw)]) + raw
