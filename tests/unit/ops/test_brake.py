"""How the brake decides, by a clock that goes on only while it waits."""

from __future__ import annotations

import logging
import threading
from typing import cast

import pytest

from pydbsync.errors import Stopped
from pydbsync.ops import brake
from pydbsync.ops.brake import Brake, LoadLimits
from pydbsync.ops.servers import Server

LOG = logging.getLogger("tests.brake")


class Clock:
    """`time` and `stop` of a brake in one."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waited: list[float] = []
        self.is_stopped = False

    def monotonic(self) -> float:
        return self.now

    def wait(self, pause_s: float) -> bool:
        self.waited.append(pause_s)
        self.now += pause_s
        return self.is_stopped

    def is_set(self) -> bool:
        return self.is_stopped


class Status:
    """Answers what Threads_running is, one look after another."""

    def __init__(self, *running: int) -> None:
        self._running = list(running)
        self.looks = 0

    def rows(self, sql: str) -> list[tuple[str, str]]:
        assert sql == "SHOW GLOBAL STATUS LIKE 'Threads_running'"
        self.looks += 1
        return [("Threads_running", str(self._running.pop(0) if len(self._running) > 1 else self._running[0]))]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(brake, "time", clock)
    return clock


def made(clock: Clock, limits: LoadLimits, *, status: Status | None = None, lags: list[float] | None = None) -> Brake:
    found = list(lags or [])
    return Brake(
        limits,
        servers=[("source", cast("Server", status))] if status else [],
        lag_s=lambda: found.pop(0),
        stop=cast("threading.Event", clock),
        log=LOG,
    )


def test_without_limits_nothing_waits_and_nobody_is_asked(clock: Clock) -> None:
    status = Status(1000)
    each = made(clock, LoadLimits(), status=status)
    each.worked(10**9)
    each.wait()
    assert (clock.waited, status.looks) == ([], 0)


def test_a_rate_makes_the_next_piece_due_when_the_last_is_paid_for(clock: Clock) -> None:
    each = made(clock, LoadLimits(rows_per_s=100))
    each.wait()
    each.worked(50)
    each.worked(150)
    each.wait()
    assert clock.waited == [2.0]


def test_time_in_which_nothing_was_done_is_not_saved_up(clock: Clock) -> None:
    each = made(clock, LoadLimits(rows_per_s=100))
    each.worked(100)
    clock.now += 60
    each.worked(100)
    each.wait()
    assert sum(clock.waited) == 1.0


def test_a_busy_server_is_waited_for_and_both_ends_of_it_are_told(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    status = Status(9, 8, 7)
    made(clock, LoadLimits(threads_running=7), status=status).wait()
    assert (len(clock.waited), status.looks) == (2, 3)
    assert caplog.messages == ["waiting: the source runs 9 statements at the same time", "going on"]


def test_servers_are_looked_at_once_a_second_at_most(clock: Clock) -> None:
    status = Status(1)
    each = made(clock, LoadLimits(threads_running=7), status=status)
    for _ in range(10):
        each.wait()
        clock.now += 0.25
    assert status.looks == 3


def test_lag_is_waited_for(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    made(clock, LoadLimits(lag_s=5), lags=[30, 6, 5]).wait()
    assert len(clock.waited) == 2
    assert caplog.messages[0] == "waiting: the target is 30 s behind the source"


def test_a_stop_ends_the_wait(clock: Clock) -> None:
    each = made(clock, LoadLimits(lag_s=5), lags=[30] * 5)
    clock.is_stopped = True
    with pytest.raises(Stopped):
        each.wait()
