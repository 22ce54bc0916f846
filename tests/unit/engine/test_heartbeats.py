"""A stall is told by our own clock; a source's clock that is wrong is named once and raises no alarm."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.gaps import HeartbeatWatch
from pydbsync.model import RowChange

STALL_S = 10.0
NOW = 1_700_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """clock(s): that many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr("pydbsync.engine.gaps.time.monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def beat(number: int, ts: int) -> RowChange:
    message = {
        "database": "h",
        "table": "h",
        "type": "update",
        "ts": ts,
        "data": {"id": 1, "number": number},
        "old": {},
    }
    change = decode_message(msgspec.json.encode(message))
    assert isinstance(change, RowChange)
    return change


@pytest.mark.parametrize("skew", [-3600, -30, 0, 30, 3600])
def test_heartbeats_that_come_are_no_stall_and_their_end_is_one_whatever_the_source_s_clock_says(
    clock: Callable[[float], None], skew: int
) -> None:
    watch = HeartbeatWatch(None, None)
    told = []
    for number in range(30):
        watch.take(beat(number, NOW + number + skew))
        told.append(watch.skew(NOW + number, limit_s=STALL_S))
        clock(1)
        assert watch.is_silent(stall_s=STALL_S) is None
    skews = [text for text in told if text]
    assert len(skews) == (1 if skew else 0)
    if skew:
        assert f"{abs(skew)} s a" in skews[0]
        assert ("ahead" in skews[0]) is (skew > 0)
    clock(STALL_S)
    assert "stands still" in (watch.is_silent(stall_s=STALL_S) or "")
    assert watch.stalled
    assert watch.is_silent(stall_s=STALL_S) is None  # said once
    watch.take(beat(30, NOW + 30 + skew))
    assert not watch.stalled
    clock(STALL_S + 1)
    assert watch.is_silent(stall_s=STALL_S)


def test_a_source_that_stands_still_since_before_the_start_is_a_stall(clock: Callable[[float], None]) -> None:
    watch = HeartbeatWatch(7, NOW - 86400)
    assert watch.is_silent(stall_s=STALL_S) is None
    assert watch.skew(NOW, limit_s=STALL_S) is None  # nothing has come: that says nothing of the clock
    clock(STALL_S + 1)
    assert watch.is_silent(stall_s=STALL_S)
    assert watch.skew(NOW, limit_s=STALL_S) is None


def test_no_heartbeat_ever_is_no_stall(clock: Callable[[float], None]) -> None:
    watch = HeartbeatWatch(None, None)
    clock(1e6)
    assert watch.is_silent(stall_s=STALL_S) is None
