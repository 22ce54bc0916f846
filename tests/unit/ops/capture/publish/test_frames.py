"""Frames of published messages are those that pika makes."""

from __future__ import annotations

import math

import pika
import pytest
from pika import frame, spec

from pydbsync.ops.capture.publish.frames import PublishFrames

PROPERTIES = pika.BasicProperties(content_type="application/json", delivery_mode=2)
FRAME_MAX = 4096


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 10_000, 4088 * 3])
@pytest.mark.parametrize("key", ["shop.orders", "shop.", "表.ü"])
def test_a_message_has_pikas_frames(size: int, key: str) -> None:
    body = bytes(range(256)) * 100
    body = body[:size]
    expected = [
        frame.Method(7, spec.Basic.Publish(exchange="maxwell", routing_key=key, mandatory=True)).marshal(),
        frame.Header(7, size, PROPERTIES).marshal(),
        *(
            frame.Body(7, body[at * 4088 : (at + 1) * 4088]).marshal()
            for at in range(math.ceil(size / (FRAME_MAX - 8)))
        ),
    ]
    frames = PublishFrames(
        channel=7, exchange="maxwell", properties=b"".join(PROPERTIES.encode()), frame_max_bytes=FRAME_MAX
    )
    assert frames.encode(key, body) == b"".join(expected)
    assert frames.encode(key, body) == b"".join(expected)
