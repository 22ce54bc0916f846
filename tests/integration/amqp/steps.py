"""What tests of the RabbitMQ source do again and again."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pika

from pydbsync.errors import SourceError
from pydbsync.model import Delivery
from pydbsync.settings import AmqpSettings, FrozenMapping, QueueSettings, Secret
from pydbsync.source.amqp import AmqpSource
from tests.servers import Vhost

QUEUE = "q.ordérs"
EXCHANGE = "maxwell"
LIMIT_S = 60.0
"""When a test gives up waiting for what must happen."""
SEND_TIMEOUT_S = 3
"""When the broker with TLS gives up a send that does not go through; RabbitMQ's default is ten times as long."""
LOG = logging.getLogger("pydbsync.test")

KINDS: dict[str, dict[str, Any]] = {
    "classic": {},
    "quorum": {"x-queue-type": "quorum"},
    "single-active": {"x-single-active-consumer": True},
    "quorum-single-active": {"x-queue-type": "quorum", "x-single-active-consumer": True},
}
"""Kinds of queues by their arguments."""


class MakeSource(Protocol):
    def __call__(
        self,
        place: Vhost | None = None,
        *,
        queue: dict[str, Any] | None = None,
        prefetch: int = 5000,
        read_ahead_bytes: int = 2**26,
        fast: bool = True,
        **amqp: Any,
    ) -> AmqpSource: ...


def queue_settings(**changes: Any) -> QueueSettings:
    settings: dict[str, Any] = {
        "queue": QUEUE,
        "exchange": EXCHANGE,
        "exchange_type": "topic",
        "routing_keys": ("#",),
        "arguments": FrozenMapping({}),
    }
    return QueueSettings(**{**settings, **changes})


def amqp_settings(place: Vhost, **changes: Any) -> AmqpSettings:
    return AmqpSettings(**{**place.conn_info, "password": Secret(place.broker.password), **changes})


def opened(source: AmqpSource) -> AmqpSource:
    source.open(threading.Event())
    return source


def take(source: AmqpSource, count: int) -> list[Delivery]:
    """Exactly so many deliveries."""
    taken: list[Delivery] = []
    deadline = time.monotonic() + LIMIT_S
    while len(taken) < count:
        assert time.monotonic() < deadline, f"{len(taken)} of {count} deliveries came"
        taken += source.take(timeout_s=1)
    assert len(taken) == count
    return taken


def take_until_lost(source: AmqpSource) -> str:
    """What `take` says when the subscription has ended."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            source.take(timeout_s=1)
        except SourceError as error:
            return str(error)
    raise AssertionError("the loss was not noticed")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def numbered(count: int, *, first: int = 0) -> list[bytes]:
    return [b'{"database":"shop","table":"orders","n":%d}' % number for number in range(first, first + count)]


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def patterned(size: int) -> bytes:
    """So many bytes, in which no two pieces of 32 are alike."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32 + 1))[:size]


def publish_raw(place: Vhost, messages: list[bytes], **keywords: Any) -> None:
    """Publish to the queue itself, whatever the bodies are; all are in the queue when this returns."""
    with place.connect(heartbeat=0, **keywords) as broker:
        channel = broker.channel()
        channel.confirm_delivery()
        for body in messages:
            channel.basic_publish("", QUEUE, body, pika.BasicProperties(headers={"number": 1}))
