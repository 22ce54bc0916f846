"""A lost, silent or refused connection ends the subscription, and the next one starts where it has to."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pydbsync.config.settings import FrozenMapping
from pydbsync.errors import MessagesGoneError, SourceError
from tests.integration.amqp.steps import (
    KINDS,
    QUEUE,
    MakeSource,
    bodies,
    check_heartbeats_every,
    numbered,
    opened,
    patterned,
    publish_raw,
    take,
    take_until_lost,
    until,
)
from tests.matrices import LONG
from tests.proxy import Proxy
from tests.servers import Vhost


def test_a_lost_connection_voids_what_was_read_ahead(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(100))
    source = opened(make_source(prefetch=60))
    take(source, 60)
    source.acknowledge(10)
    until(lambda: vhost.depth(QUEUE) == 30)  # ten more have come and were not taken
    until(lambda: vhost.broker.close_connections(vhost.name))
    assert "CONNECTION_FORCED" in take_until_lost(source)
    with pytest.raises(SourceError, match="CONNECTION_FORCED"):
        source.take(timeout_s=0)
    with pytest.raises(SourceError, match="CONNECTION_FORCED"):
        source.acknowledge(20)
    assert not source.is_drained()
    taken = take(opened(source), 60)
    assert bodies(taken) == numbered(60, first=10)
    assert [delivery.redelivered for delivery in taken] == [True] * 60


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_a_connection_cut_in_the_middle_of_a_message_starts_anew(
    make_source: MakeSource, vhost: Vhost, make_proxy: Callable[[int], Proxy], fast: bool
) -> None:
    vhost.declare(QUEUE)
    sent = [patterned(3 * 2**20) for _ in range(5)]
    publish_raw(vhost, sent)
    proxy = make_proxy(vhost.broker.port)
    source = opened(make_source(port=proxy.port, fast=fast))
    until(lambda: source.take(timeout_s=1))  # one, or some at once
    proxy.cut()
    take_until_lost(source)
    assert bodies(take(opened(source), 5)) == sent


def test_a_silent_connection_is_given_up_by_the_heartbeat_and_the_order_is_kept(
    make_source: MakeSource,
    vhost: Vhost,
    make_proxy: Callable[[int], Proxy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_heartbeats_every(1.5, monkeypatch)
    vhost.declare(QUEUE)
    vhost.publish(numbered(50))
    proxy = make_proxy(vhost.broker.port)
    source = opened(make_source(port=proxy.port, heartbeat_s=1, prefetch=30))
    take(source, 30)
    source.acknowledge(10)
    take(source, 10)
    proxy.swallow("to_client")
    assert "silent for over 1 s" in take_until_lost(source)
    proxy.resume()
    assert bodies(take(opened(source), 30)) == numbered(30, first=10)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_messages_that_are_purged_behind_the_ones_taken_are_missed(
    make_source: MakeSource, vhost: Vhost, kind: str
) -> None:
    source = opened(make_source(prefetch=10, queue={"arguments": FrozenMapping(KINDS[kind])}))
    source.close()
    vhost.publish(numbered(200))
    until(lambda: vhost.depth(QUEUE) == 200)
    take(opened(source), 10)
    source.acknowledge(4)
    take(source, 4)
    with vhost.connect() as broker:
        broker.channel().queue_purge(QUEUE)

    with pytest.raises(MessagesGoneError, match="at least 186 messages have gone"):
        until(lambda: (source.depth(), source.take(timeout_s=0.1))[1])
    source.open(threading.Event(), goes_on=True)
    assert bodies(take(source, 10)) == numbered(10, first=4)
    source.acknowledge(3)
    source.close()
    until(lambda: vhost.depth(QUEUE) == 7)
    with vhost.connect() as broker:
        broker.channel().queue_purge(QUEUE)
    vhost.publish(numbered(2))
    until(lambda: vhost.depth(QUEUE) == 2)
    with pytest.raises(MessagesGoneError, match="at least 5 messages have gone"):
        source.open(threading.Event(), goes_on=True)
    source.open(threading.Event(), goes_on=True)
    assert bodies(take(source, 2)) == numbered(2)
    source.close()
    with vhost.connect() as broker:
        broker.channel().queue_purge(QUEUE)
    opened(source)  # others may have read it


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_deleted_queue_ends_the_subscription_and_is_made_again(
    make_source: MakeSource, vhost: Vhost, kind: str
) -> None:
    source = opened(make_source(queue={"arguments": FrozenMapping(KINDS[kind])}))
    with vhost.connect() as broker:
        broker.channel().queue_delete(QUEUE)
    assert "was deleted or moved" in take_until_lost(source)
    assert opened(source).is_new
    vhost.publish(numbered(1))
    assert bodies(take(source, 1)) == numbered(1)


def test_a_queue_that_somebody_else_has_made_anew_is_known_by_its_properties(
    make_source: MakeSource, vhost: Vhost
) -> None:
    source = opened(make_source())
    with vhost.connect() as broker:
        broker.channel().queue_delete(QUEUE)
    take_until_lost(source)
    vhost.declare(QUEUE, arguments=KINDS["quorum"])
    assert opened(source).is_new
    until(lambda: vhost.broker.close_connections(vhost.name))
    take_until_lost(source)
    assert not opened(source).is_new
    # As one that was made by a subscription which then failed, so that nobody was told.
    with vhost.connect() as broker:
        broker.channel().queue_delete(QUEUE)
    take_until_lost(source)
    stop = threading.Event()

    def lose() -> None:
        raise SourceError("the target is asked meanwhile")

    with vhost.connect() as other:
        vhost.declare(QUEUE)
        other.channel().basic_consume(QUEUE, lambda *_: None)
        with pytest.raises(SourceError, match="meanwhile"):
            source.open(stop, lose, goes_on=True)
    until(lambda: vhost.consumers(QUEUE) == 0)
    assert opened(source).is_new


def test_an_acknowledgement_that_the_broker_refuses_ends_the_subscription(
    make_source: MakeSource, vhost: Vhost
) -> None:
    source = opened(make_source())
    vhost.publish(numbered(1))
    take(source, 1)
    source.acknowledge(99)
    assert "unknown delivery tag" in take_until_lost(source)


def test_closing_gives_back_what_was_not_acknowledged_and_ends_the_thread(
    make_source: MakeSource, vhost: Vhost
) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(50))
    before = set(threading.enumerate())
    source = opened(make_source())
    take(source, 50)
    source.acknowledge(20)
    source.close()
    assert set(threading.enumerate()) == before
    until(lambda: vhost.depth(QUEUE) == 30)
    assert vhost.consumers(QUEUE) == 0
    source.close()


def test_closing_does_not_wait_for_a_broker_that_does_not_answer(
    make_source: MakeSource, vhost: Vhost, make_proxy: Callable[[int], Proxy]
) -> None:
    before = set(threading.enumerate())
    proxy = make_proxy(vhost.broker.port)
    proxy_threads = set(threading.enumerate()) - before
    source = opened(make_source(port=proxy.port))
    proxy.swallow()
    source.close()
    assert set(threading.enumerate()) - proxy_threads == before


def test_a_killed_broker_is_away_until_it_is_started_again(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(20))
    source = opened(make_source())
    take(source, 20)
    vhost.broker.kill()
    take_until_lost(source)
    with pytest.raises(SourceError, match="cannot be reached"):
        opened(source)
    vhost.broker.start()
    assert bodies(take(opened(source), 20)) == numbered(20)


@pytest.mark.parametrize("kind", ["quorum", pytest.param("classic", marks=LONG)])
def test_what_is_held_for_longer_than_the_broker_allows_comes_again_in_order(
    make_source: MakeSource, vhost: Vhost, kind: str
) -> None:
    set_to = (
        "application:set_env(rabbit, consumer_timeout, {}), application:set_env(rabbit, channel_tick_interval, {})."
    )
    control = vhost.broker.control
    source = make_source(queue={"arguments": FrozenMapping(KINDS[kind])})
    try:
        control("eval", set_to.format(1000, 200))
        opened(source)
        vhost.publish(numbered(20))
        assert "timeout" in take_until_lost(source)
    finally:
        control("eval", set_to.format(1_800_000, 60_000))
    taken = take(opened(source), 20)
    assert bodies(taken) == numbered(20)
    assert all(delivery.redelivered for delivery in taken)


def test_messages_come_and_are_acknowledged_while_the_broker_has_no_memory_and_no_disk(
    make_source: MakeSource, vhost: Vhost
) -> None:
    """Its alarms hold back who publishes."""
    vhost.declare(QUEUE)
    vhost.publish(numbered(20))
    control = vhost.broker.control
    limits = "vm_memory_monitor:set_vm_memory_high_watermark({}), rabbit_disk_monitor:set_disk_free_limit({})."
    try:
        control("eval", limits.format("{absolute, 1000000}", 10**15))
        source = opened(make_source())
        taken = take(source, 20)
        assert bodies(taken) == numbered(20)
        source.acknowledge(taken[-1].tag)
        until(source.is_drained)
        source.close()
    finally:
        control("eval", limits.format("0.4", 64 * 10**6))
    assert vhost.depth(QUEUE) == 0
