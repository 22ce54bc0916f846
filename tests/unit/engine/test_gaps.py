"""Heartbeats: a number that was skipped is a loss, a smaller one is a table that was made anew or an older one."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.engine.gaps import HeartbeatWatch
from pydbsync.model import RowChange


def heartbeat(number: int, ts: int, position: str | None = "binlog.000001:4") -> RowChange:
    data = msgspec.Raw(b'{"id":1,"number":%d}' % number)
    return RowChange(kind="update", database="h", table="h", ts=ts, data=data, position=position)


@pytest.mark.parametrize("position", ["binlog.000001:4", None])
def test_a_counter_that_begins_again_is_followed(position: str | None) -> None:
    watch = HeartbeatWatch(100_000, 1_000)
    for number, ts in ((1, 2_000), (2, 2_001), (3, 2_002)):
        assert watch.take(heartbeat(number, ts, position)) is None
        assert watch.is_silent(stall_s=10) is None
        assert watch.number == number
    assert watch.take(heartbeat(6, 2_005, position)) == (
        "heartbeats 4 to 5 did not come: changes were lost between 1970-01-01 00:33:22 UTC and 1970-01-01 00:33:25 UTC"
        " (source time)"
    )


def test_a_counter_that_begins_again_is_followed_though_the_clock_was_set_back() -> None:
    watch = HeartbeatWatch(100_000, 5_000)
    assert watch.take(heartbeat(1, 2_000)) is None
    assert (watch.number, watch.ts) == (1, 2_000)


def test_heartbeats_without_places_that_come_again_are_older_ones() -> None:
    watch = HeartbeatWatch(9, 1_009)
    for number in (7, 8, 9, 10):
        assert watch.take(heartbeat(number, 1_000 + number, None)) is None
    assert (watch.number, watch.ts) == (10, 1_010)


def test_after_a_single_beat_of_a_tool_none_is_missed() -> None:
    watch = HeartbeatWatch(None, None)
    beat = heartbeat(1, 1_000)
    for _ in range(2):
        assert watch.take(msgspec.structs.replace(beat, data=msgspec.Raw(b'{"id":2,"number":7}'))) is None
    assert (watch.number, watch.is_silent(stall_s=-1)) == (None, None)
    watch.take(beat)
    assert watch.is_silent(stall_s=-1) is not None
