"""What a worker tells its supervisor, and the figures that are made of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pydbsync.process.run import describe_summary
from pydbsync.process.status import StatusObserver, WorkerStatus
from pydbsync.process.supervisor import summary
from pydbsync.work import ParkedChange


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """clock(s): that many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr("pydbsync.process.status.time.monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_counters_follow_what_happens(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda sent: None)
    observer.began()
    clock(2)
    observer.committed(rows=5, parked=1, ts=100)
    observer.committed(rows=2, parked=0, ts=90)
    observer.duplicate()
    observer.parked(ParkedChange(message=b"", reason=""))
    observer.schema_changed(ran=True)
    observer.schema_changed(ran=False)
    observer.new_stream("binlog.000001:4")
    observer.gap("rows 2 to 3 did not come")
    found = observer.status
    assert (found.applied, found.transactions, found.duplicates, found.parked) == (7, 2, 1, 1)
    assert (found.schema_changes, found.new_streams, found.gaps, found.newest_ts) == (1, 1, 1, 100)
    assert (found.seconds(), found.lag_s(now=130)) == (2, 30)


def test_a_report_is_sent_a_few_times_a_second_and_at_once_when_the_state_changes(
    clock: Callable[[float], None],
) -> None:
    sent: list[str] = []
    observer = StatusObserver("q", lambda status: sent.append(status.state))
    for _ in range(10):
        observer.committed(rows=1, parked=0, ts=1)
        clock(0.1)
    assert 3 <= len(sent) <= 5
    sent.clear()
    observer.now("following")
    observer.now("following")
    assert sent == ["following"]


def test_the_depth_of_the_queue_is_asked_for_under_load_too(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda status: None)
    asked = 0

    def depth() -> int | None:
        nonlocal asked
        asked += 1
        return 50 if asked > 1 else None

    for _ in range(20):
        for _ in range(10):
            clock(0.03)
            observer.committed(rows=1, parked=0, ts=1)
        observer.depth(depth)
    assert observer.status.depth == 50
    assert 10 <= asked <= 20


def test_lag_is_unknown_before_the_first_change_and_never_negative() -> None:
    assert WorkerStatus(stream="q").lag_s() is None
    assert WorkerStatus(stream="q", newest_ts=200).lag_s(now=100) == 0


def test_the_figures_of_a_run_add_up_over_its_queues() -> None:
    one = WorkerStatus(stream="a", applied=1000, first_at=10, last_at=12, parked=1, resident_bytes=5, transactions=3)
    two = WorkerStatus(stream="b", applied=500, first_at=11, last_at=15, duplicates=4, resident_bytes=7)
    idle = WorkerStatus(stream="c")
    figures = summary([one, two, idle])
    assert figures == {
        "applied": 1500, "schema_changes": 0, "duplicates": 4, "parked": 1, "transactions": 3, "seconds": 5.0,
        "rows_per_s": 300, "resident_bytes": 7,
    }  # fmt: skip
    assert describe_summary(figures) == (
        "applied 1,500 row changes and 0 schema changes in 5.0 s (300 rows/s); 4 duplicates left out, 1 parked"
    )


def test_a_run_in_which_nothing_came_has_no_speed() -> None:
    assert summary([WorkerStatus(stream="a")])["rows_per_s"] == 0
