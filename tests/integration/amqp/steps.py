"""What tests of the RabbitMQ source do again and again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pika
import pytest
from pika.heartbeat import HeartbeatChecker

from pydbsync.config.settings import AmqpSettings, FrozenMapping, QueueSettings, Secret
from pydbsync.errors import SourceError
from pydbsync.model import Delivery
from pydbsync.source.amqp import AmqpSource
from tests.servers import Vhost

QUEUE = "q.ordérs"
EXCHANGE = "maxwell"
LIMIT_S = 60.0
"""When a test gives up waiting for what must happen."""
SEND_TIMEOUT_S = 3
"""When the broker with TLS gives up a send that does not go through; RabbitMQ's default is ten times as long."""
PUBLISH_STEP = 100
"""Messages in one AMQP transaction; a large one is alone."""
LARGE_BYTES = 2**20
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
        only_looks: bool = False,
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


def check_heartbeats_every(seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[HeartbeatChecker]:
    """pika looks for heartbeats five seconds longer apart than they are due; the list grows with each look."""
    checks: list[HeartbeatChecker] = []
    start, check = HeartbeatChecker._start_check_timer, HeartbeatChecker._check_heartbeat

    def start_sooner(checker: HeartbeatChecker) -> None:
        checker._check_interval = seconds
        start(checker)

    def counted(checker: HeartbeatChecker) -> None:
        checks.append(checker)
        check(checker)

    monkeypatch.setattr(HeartbeatChecker, "_start_check_timer", start_sooner)
    monkeypatch.setattr(HeartbeatChecker, "_check_heartbeat", counted)
    return checks


def numbered(count: int, *, first: int = 0) -> list[bytes]:
    return [b'{"database":"shop","table":"orders","n":%d}' % number for number in range(first, first + count)]


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def patterned(size: int) -> bytes:
    """So many bytes without a pattern behind the brace of a single message: of each size others, each time the same."""
    return (b"{" + random.Random(size).randbytes(size))[:size]


def publish_raw(place: Vhost, messages: list[bytes], **keywords: Any) -> None:
    """Publish to the queue itself, whatever the bodies are; all are in the queue when this returns."""
    with place.connect(heartbeat=0, **keywords) as broker:
        channel = broker.channel()
        channel.tx_select()
        for number, body in enumerate(messages, start=1):
            channel.basic_publish("", QUEUE, body, pika.BasicProperties(headers={"number": 1}))
            if number % PUBLISH_STEP == 0 or len(body) > LARGE_BYTES:
                channel.tx_commit()
        channel.tx_commit()
