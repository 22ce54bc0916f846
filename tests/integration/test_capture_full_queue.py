"""Capture and a broker that does not take everything: full queues, messages that are too large."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pydbsync.config.settings import AmqpSettings, RetrySettings, Secret
from pydbsync.errors import OperationError
from pydbsync.ops.capture import run_capture
from pydbsync.ops.told import Told
from tests.integration.amqp.test_silent_leader import evaluate
from tests.integration.captured import Capture, head, run
from tests.matrices import LONG
from tests.processes import wait_for
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.mariadb
MOST = 20
COUNT = 200


def amqp(vhost: Vhost) -> AmqpSettings:
    info = vhost.conn_info
    return AmqpSettings(
        host=info["host"], port=info["port"], user=info["user"], password=Secret(info["password"]), vhost=info["vhost"]
    )


@pytest.fixture
def capture(fresh_source: Endpoint, vhost: Vhost, tmp_path: Path) -> Capture:
    """A capture to RabbitMQ that has begun, and rows that wait in the binlog."""
    run(fresh_source, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v LONGTEXT, b LONGBLOB)"])
    begun = Capture(
        fresh_source, tmp_path, output="rabbitmq", amqp=amqp(vhost), retry=RetrySettings(first_s=0.05, max_s=0.2)
    )
    run_capture(begun.settings(), threading.Event())
    return begun


class Reader:
    """Takes messages off a queue, a few at a time, as a worker does that is slower than capture."""

    def __init__(self, vhost: Vhost, queue: str) -> None:
        self.bodies: list[bytes] = []
        self._vhost, self._queue = vhost, queue
        self._stop = threading.Event()
        self._thread = threading.Thread(daemon=True, target=self._run)

    def take(self, count: int | None = None) -> int:
        with self._vhost.connect() as connection:
            channel = connection.channel()
            before = len(self.bodies)
            while count is None or len(self.bodies) < before + count:
                method, _, body = channel.basic_get(self._queue, auto_ack=True)
                if method is None:
                    break
                self.bodies.append(body)
            return len(self.bodies) - before

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self.take(3):
                self._stop.wait(0.01)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def ids(self) -> list[int]:
        return [message["data"]["id"] for message in map(json.loads, self.bodies) if "data" in message]


def test_a_queue_that_refuses_is_waited_for_and_gets_each_message_once_in_order(
    capture: Capture, vhost: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    vhost.declare("full", arguments={"x-max-length": MOST, "x-overflow": "reject-publish", "x-message-ttl": 10**7})
    run(capture.source, [f"INSERT INTO shop.t (id) VALUES ({number})" for number in range(COUNT)])
    reader = Reader(vhost, "full")
    with working(capture, queues=("full",)) as capturing:
        wait_for(lambda: "'shop.t' is full and refuses messages" in caplog.text, what="capture to wait")
        assert vhost.depth("full") == MOST
        with reader:
            capturing.join()
    reader.take()
    assert reader.ids() == list(range(COUNT))
    file, offset, *_ = json.loads((capture.state / "place.json").read_text())
    assert f"{file}:{offset}" == head(capture.source)


def test_what_a_queue_took_is_not_sent_again_although_nobody_said_that_it_refuses(
    capture: Capture, vhost: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    """As by a policy, which capture cannot see."""
    vhost.declare("full", arguments={"x-max-length": MOST, "x-overflow": "reject-publish"})
    run(capture.source, [f"INSERT INTO shop.t (id) VALUES ({number})" for number in range(COUNT)])
    reader = Reader(vhost, "full")
    with working(capture) as capturing:
        wait_for(lambda: "is full and refuses messages" in caplog.text, what="capture to wait")
        while capturing.is_alive():
            reader.take()
    reader.take()
    assert reader.ids() == list(range(COUNT))


def tells(told: Told) -> tuple[str, bool]:
    """What is told now, and whether it names the alarm."""
    told.look()
    return told.row.state, "low on memory" in (told.row.last_error or "")


@pytest.mark.parametrize("gives_up_after_s", [300, pytest.param(0.3, marks=LONG)])
def test_a_broker_without_memory_is_named_while_capture_waits_for_it(
    capture: Capture, vhost: Vhost, caplog: pytest.LogCaptureFixture, gives_up_after_s: float
) -> None:
    """Where the connection is given up meanwhile, what the broker had of it may come twice, in order nevertheless."""
    caplog.set_level(logging.INFO)
    vhost.declare("all")
    told, said = Told("capture", "c", "rows"), "RabbitMQ takes no messages now (low on memory)"
    run(capture.source, [f"INSERT INTO shop.t (id) VALUES ({number})" for number in range(COUNT)])
    patient = replace(amqp(vhost), blocked_timeout_s=gives_up_after_s)
    evaluate(vhost, "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1000000}).")
    with working(capture, told=told, amqp=patient) as capturing:
        try:
            tries = 1 if gives_up_after_s > 1 else 3
            wait_for(lambda: caplog.text.count(said) >= tries, what="the line")
            wait_for(lambda: tells(told) == ("waiting", True), what="its state")
        finally:
            evaluate(vhost, "vm_memory_monitor:set_vm_memory_high_watermark(0.4).")
        capturing.join()
    assert "RabbitMQ takes messages again" in caplog.text or gives_up_after_s < 1
    reader = Reader(vhost, "all")
    reader.take()
    assert list(dict.fromkeys(reader.ids())) == list(range(COUNT))


@pytest.fixture
def small_limit(vhost: Vhost) -> Iterator[None]:
    evaluate(vhost, "application:set_env(rabbit, max_message_size, 1000000).")
    yield
    evaluate(vhost, "application:set_env(rabbit, max_message_size, 134217728).")


@pytest.mark.parametrize("bundle_bytes", [0, pytest.param(4096, marks=LONG)])
def test_a_message_that_is_too_large_stops_capture_with_its_row(
    capture: Capture, vhost: Vhost, small_limit: None, bundle_bytes: int
) -> None:
    vhost.declare("all")
    run(
        capture.source,
        [
            "INSERT INTO shop.t (id, v) VALUES (1, 'small')", "INSERT INTO shop.t (id, v) VALUES (2, 'small')",
            "INSERT INTO shop.t VALUES (3, 'x', REPEAT('b', 5000000))",
            "INSERT INTO shop.t (id, v) VALUES (4, 'after')",
        ],
    )  # fmt: skip
    errors = []
    for _ in range(3):
        with pytest.raises(
            OperationError, match=r"of shop\.t, key \[3\].*bytes.*takes 1,000,000.*max_message"
        ) as caught:
            run_capture(capture.settings(bundle_bytes=bundle_bytes), threading.Event())
        errors.append(str(caught.value))
    reader = Reader(vhost, "all")
    reader.take()
    assert len(reader.bodies) == (2 if not bundle_bytes else 1)
    place = errors[0].rpartition("--skip-at ")[2].split()[0]
    run_capture(capture.settings(skip_at=(place,)), threading.Event())
    reader.bodies.clear()
    reader.take()
    assert reader.ids() == [4]


class working:
    """A capture that ends with the binlog, in a thread."""

    def __init__(self, capture: Capture, *, told: Told | None = None, **settings: Any) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            daemon=True, target=run_capture, args=(capture.settings(**settings), self._stop, told)
        )

    def __enter__(self) -> threading.Thread:
        self._thread.start()
        return self._thread

    def __exit__(self, *exc: object) -> None:
        self._thread.join(30)
        self._stop.set()
        self._thread.join()
