"""A queue is consumed by one worker at a time, for the sake of its order."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import pytest

from pydbsync.config.settings import FrozenMapping
from pydbsync.source.amqp import AmqpSource
from tests.integration.amqp.steps import KINDS, LIMIT_S, QUEUE, MakeSource, bodies, numbered, opened, take, until
from tests.servers import Vhost


@pytest.mark.parametrize("kind", KINDS)
def test_the_queue_is_waited_for_until_its_consumer_has_gone_and_what_it_held_comes_first(
    make_source: MakeSource, vhost: Vhost, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    vhost.declare(QUEUE, arguments=KINDS[kind])
    vhost.publish(numbered(300))
    settings = {"arguments": FrozenMapping(KINDS[kind])}
    first, second = make_source(queue=settings, prefetch=100), make_source(queue=settings)
    take(opened(first), 100)
    waiting = threading.Thread(daemon=True, target=opened, args=(second,))
    waiting.start()
    until(lambda: "waiting until" in caplog.text)
    assert vhost.consumers(QUEUE) == 1
    first.acknowledge(40)  # forty more are on their way to the first one when it leaves
    first.close()
    waiting.join(LIMIT_S)
    taken = take(second, 260)
    assert bodies(taken) == numbered(260, first=40)
    assert [delivery.redelivered for delivery in taken] == [True] * 100 + [False] * 160
    messages = [record.getMessage() for record in caplog.records]
    assert len([each for each in messages if "waiting until" in each]) == 1
    assert len([each for each in messages if "free after" in each]) == 1


@pytest.mark.parametrize("kind", ["classic", "single-active"])
def test_of_two_that_saw_the_queue_free_at_one_moment_one_waits(
    make_source: MakeSource, vhost: Vhost, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    vhost.declare(QUEUE, arguments=KINDS[kind])
    vhost.publish(numbered(300))
    settings = {"arguments": FrozenMapping(KINDS[kind])}
    first, second = make_source(queue=settings), make_source(queue=settings, prefetch=100)
    waits = AmqpSource._wait_for_turn
    overtaken = threading.Event()

    def wait_and_be_overtaken(self: AmqpSource, *arguments: Any) -> bool:
        has_waited = waits(self, *arguments)
        if self is first and not overtaken.is_set():
            overtaken.set()
            take(opened(second), 100)
        return has_waited

    monkeypatch.setattr(AmqpSource, "_wait_for_turn", wait_and_be_overtaken)
    opening = threading.Thread(daemon=True, target=opened, args=(first,))
    opening.start()
    until(lambda: "waiting until" in caplog.text and vhost.consumers(QUEUE) == 1)
    second.acknowledge(40)
    second.close()
    opening.join(LIMIT_S)
    assert bodies(take(first, 260)) == numbered(260, first=40)


def test_waiting_for_the_turn_ends_when_stop_is_set(make_source: MakeSource, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened(make_source())
    second, stop = make_source(), threading.Event()
    waiting = threading.Thread(daemon=True, target=second.open, args=(stop,))
    waiting.start()
    until(lambda: "waiting until" in caplog.text)
    stop.set()
    waiting.join(LIMIT_S)
    assert not waiting.is_alive()
    assert second.take(timeout_s=0) == []


def test_connecting_ends_when_stop_is_set(make_source: MakeSource) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = make_source(port=server.getsockname()[1], connect_timeout_s=LIMIT_S)
        opening = threading.Thread(daemon=True, target=source.open, args=(stop,))
        opening.start()
        accepted, _ = server.accept()
        stop.set()
        opening.join(LIMIT_S / 2)
        assert not opening.is_alive()
        accepted.close()


def test_a_quorum_queue_gives_messages_back_any_number_of_times(make_source: MakeSource, vhost: Vhost) -> None:
    source = make_source(queue={"arguments": FrozenMapping(KINDS["quorum"])})
    opened(source)
    vhost.publish(numbered(3))
    for _ in range(25):
        assert bodies(take(opened(source), 3)) == numbered(3)
