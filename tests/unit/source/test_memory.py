"""The source in memory behaves as a queue does."""

from __future__ import annotations

import threading

from pydbsync.model import Delivery
from pydbsync.protocols import Source
from pydbsync.source.memory import MemorySource

STOP = threading.Event()


def test_deliveries_come_in_order_and_in_blocks() -> None:
    source: Source = MemorySource([b"a", b"b", b"c"], block=2)
    source.open(STOP)
    assert source.depth() == 3
    assert source.take(timeout_s=0) == [Delivery(b"a", 1), Delivery(b"b", 2)]
    assert not source.is_drained()
    assert source.take(timeout_s=0) == [Delivery(b"c", 3)]
    assert source.is_drained()
    assert source.take(timeout_s=0) == []


def test_what_was_not_acknowledged_comes_again_and_is_marked() -> None:
    source = MemorySource([b"a", b"b", b"c"], block=2)
    source.open(STOP)
    source.take(timeout_s=0)
    source.acknowledge(1)
    assert source.acknowledged == 1
    source.close()
    source.open(STOP)
    assert source.take(timeout_s=0) == [Delivery(b"b", 2, True), Delivery(b"c", 3, False)]
