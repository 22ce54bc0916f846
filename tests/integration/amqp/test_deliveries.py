"""What a queue holds arrives as it is, once, in order, until it is acknowledged."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pydbsync.config.settings import FrozenMapping
from pydbsync.model import Delivery
from pydbsync.source import connection
from pydbsync.source.sequence import join_texts
from tests.integration.amqp.steps import (
    LIMIT_S,
    QUEUE,
    MakeSource,
    bodies,
    numbered,
    opened,
    patterned,
    publish_raw,
    take,
    until,
)
from tests.matrices import LONG
from tests.servers import Vhost

FRAME_BODY = 131072 - 8
SIZES = [0, 1, 400, FRAME_BODY - 1, FRAME_BODY, FRAME_BODY + 1, 2 * FRAME_BODY, 262_144, 5 * 2**20, 0, 3, 0]


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_messages_of_any_size_arrive_as_they_are(make_source: MakeSource, vhost: Vhost, fast: bool) -> None:
    vhost.declare(QUEUE)
    sent = [patterned(size) for size in SIZES]
    publish_raw(vhost, sent)
    taken = take(opened(make_source(fast=fast)), len(sent))
    assert taken == [Delivery(body, tag) for tag, body in enumerate(sent, start=1)]


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_a_small_frame_size_of_the_broker_makes_no_difference(
    make_source: MakeSource, vhost: Vhost, fast: bool
) -> None:
    vhost.declare(QUEUE)
    sent = [patterned(size) for size in range(0, 30_000, 997)]
    publish_raw(vhost, sent, frame_max=4096)
    assert bodies(take(opened(make_source(fast=fast)), len(sent))) == sent


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=LONG)], ids=["fast", "plain"])
def test_questions_and_heartbeats_between_deliveries_do_no_harm(
    make_source: MakeSource, vhost: Vhost, fast: bool
) -> None:
    count = 20_000
    source = opened(make_source(fast=fast, heartbeat_s=1, prefetch=50))
    publisher = threading.Thread(daemon=True, target=vhost.publish, args=(numbered(count),))
    publisher.start()
    taken: list[Delivery] = []
    while len(taken) < count:
        source.is_drained()
        source.depth()
        taken += source.take(timeout_s=LIMIT_S)
        source.acknowledge(taken[-1].tag)
    publisher.join()
    assert bodies(taken) == numbered(count)
    assert [delivery.tag for delivery in taken] == list(range(1, count + 1))


def test_a_pika_with_other_internals_is_used_in_its_own_way(
    make_source: MakeSource, vhost: Vhost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "_missing_internals", lambda transport: "it is another one")
    vhost.declare(QUEUE)
    vhost.publish(numbered(1000))
    source = opened(make_source(read_ahead_bytes=1))
    assert bodies(take(source, 1000)) == numbered(1000)
    assert "it is another one" in caplog.text


def test_the_installed_pika_is_read_in_the_fast_way(make_source: MakeSource, caplog: pytest.LogCaptureFixture) -> None:
    opened(make_source())
    assert "slower way" not in caplog.text


def test_taking_from_an_empty_queue_gives_nothing(make_source: MakeSource) -> None:
    source = opened(make_source())
    assert source.take(timeout_s=0) == []
    assert source.take(timeout_s=0.05) == []


def test_what_is_acknowledged_does_not_come_again_and_the_rest_does_in_order(
    make_source: MakeSource, vhost: Vhost
) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(100))
    source = opened(make_source())
    take(source, 100)
    source.acknowledge(10)
    source.acknowledge(70)
    source.close()
    assert take(opened(source), 30) == [
        Delivery(body, tag, redelivered=True) for tag, body in enumerate(numbered(30, first=70), start=1)
    ]


def test_a_sequence_comes_again_as_a_whole_until_its_last_message_is_acknowledged(
    make_source: MakeSource, vhost: Vhost
) -> None:
    vhost.declare(QUEUE)
    sent = numbered(12)
    publish_raw(vhost, [sent[0], join_texts(sent[1:5]), join_texts(sent[5:11]), sent[11]])
    source = opened(make_source())
    taken = take(source, 12)
    assert bodies(taken) == sent
    for delivery in taken[:8]:
        source.acknowledge(delivery.tag)
    source.close()
    again = take(opened(source), 7)
    assert bodies(again) == sent[5:]
    assert all(delivery.redelivered for delivery in again)
    for delivery in again:
        source.acknowledge(delivery.tag)
    assert source.is_drained()
    source.close()
    until(lambda: vhost.depth(QUEUE) == 0)
    assert opened(source).take(timeout_s=0) == []


def test_no_more_than_the_prefetch_is_with_the_process(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(50))
    source = opened(make_source(prefetch=20))
    take(source, 20)
    assert source.take(timeout_s=0.2) == []
    assert vhost.depth(QUEUE) == 30
    source.acknowledge(20)
    assert bodies(take(source, 20)) == numbered(20, first=20)


def test_drained_means_that_nothing_is_left_anywhere(make_source: MakeSource, vhost: Vhost) -> None:
    source = opened(make_source())
    assert source.is_drained()
    for round_number in range(60):
        count = round_number * 7 % 40 + 1
        vhost.publish(numbered(count))
        taken: list[Delivery] = []
        while not source.is_drained():
            taken += source.take(timeout_s=0)
        assert len(taken) == count
        source.acknowledge(taken[-1].tag)


def test_depth_is_what_waits_at_the_broker(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(30))
    source = opened(make_source(prefetch=10))
    take(source, 10)
    until(lambda: source.depth() == 20)
    source.acknowledge(10)
    until(lambda: source.depth() == 10)


@pytest.mark.parametrize("arguments", [{"x-queue-type": "quorum", "x-delivery-limit": 3}, {}])
def test_a_queue_that_counts_what_is_given_back_is_left_when_all_that_was_taken_is_acknowledged(
    make_source: MakeSource, vhost: Vhost, arguments: dict[str, Any]
) -> None:
    vhost.declare(QUEUE, arguments=arguments)
    vhost.publish(numbered(30))
    source = opened(make_source(prefetch=10))
    taken = take(source, 10)
    assert source.finish() is bool(arguments)
    if arguments:
        assert source.finish()
        source.acknowledge(taken[-1].tag)
        until(lambda: not source.finish())
        assert source.take(timeout_s=0) == []
        assert vhost.consumers(QUEUE) == 0
        assert vhost.depth(QUEUE) == 20


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("limit", [2, None])
def test_messages_that_the_next_return_drops_are_named_once(
    make_source: MakeSource, vhost: Vhost, caplog: pytest.LogCaptureFixture, fast: bool, limit: int | None
) -> None:
    kind = {"x-queue-type": "quorum"} | ({} if limit is None else {"x-delivery-limit": limit})
    vhost.declare(QUEUE, arguments=kind)
    vhost.publish(numbered(20))
    source = make_source(queue={"arguments": FrozenMapping(kind)}, fast=fast)
    for number in range(3):
        assert len(take(opened(source), 20)) == 20
        assert ("were given back 2 times, and it drops them" in caplog.text) is (number == 2 and limit is not None)
        source.close()
    assert caplog.text.count("and it drops them") == (1 if limit is not None else 0)
    until(lambda: vhost.depth(QUEUE) == (20 if limit is None else 0))
