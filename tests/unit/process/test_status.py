"""What a worker tells its supervisor, and the figures that are made of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pydbsync.process.histogram import Histogram
from pydbsync.process.run import describe_summary
from pydbsync.process.status import StatusObserver, WorkerStatus
from pydbsync.process.supervisor import summary
from pydbsync.work import ParkedChange


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """clock(s): that many seconds pass."""
    now = [1000.0]
    monkeypatch.setattr("pydbsync.process.status.time.monotonic", lambda: now[0])
    monkeypatch.setattr("pydbsync.process.status.time.time", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_counters_follow_what_happens(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda sent: None)
    observer.began(redelivered=3)
    clock(2)
    observer.parked_now(4)
    observer.committed(rows=5, parked=1, ts=900, seconds=0.3)
    observer.committed(rows=2, parked=0, ts=890, seconds=20)
    observer.duplicate()
    observer.parked(ParkedChange(message=b"", reason=""))
    observer.schema_changed(ran=True)
    observer.schema_changed(ran=False)
    observer.new_stream("binlog.000001:4")
    observer.gap("rows 2 to 3 did not come")
    found = observer.status
    assert (found.applied, found.transactions, found.duplicates, found.parked) == (7, 2, 1, 1)
    assert (found.schema_changes, found.new_streams, found.gaps, found.newest_ts) == (1, 1, 1, 900)
    assert (found.seconds(), found.redelivered, found.parked_now) == (2, 3, 4)
    assert (sum(found.batch_time.counts), found.batch_time.sum, found.batch_rows.sum) == (2, 20.3, 7)
    assert found.commit_lag.sum == (1002 - 900) + (1002 - 890)


def test_a_report_is_sent_a_few_times_a_second_and_at_once_when_the_state_changes(
    clock: Callable[[float], None],
) -> None:
    sent: list[str] = []
    observer = StatusObserver("q", lambda status: sent.append(status.state))
    for _ in range(10):
        observer.committed(rows=1, parked=0, ts=1, seconds=0.1)
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
            observer.committed(rows=1, parked=0, ts=1, seconds=0.1)
        observer.depth(depth)
    assert observer.status.depth == 50
    assert 10 <= asked <= 20


def test_lag_is_unknown_before_the_first_change_and_never_negative() -> None:
    assert WorkerStatus(stream="q").lag_s() is None
    assert WorkerStatus(stream="q", as_of=200).lag_s(now=100) == 0


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


def test_an_empty_queue_is_level_and_one_that_stands_still_falls_behind(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda status: None)
    lag_s = observer.status.lag_s
    observer.idle(0)
    assert lag_s() == 0
    observer.committed(rows=1, parked=0, ts=1000, seconds=0.1)
    clock(3600)
    observer.idle(0)
    assert lag_s() == 0, "nothing has come for an hour, and nothing waits"
    observer.began(redelivered=0)
    clock(20)
    assert lag_s() == 20, "what came is not committed"
    observer.committed(rows=1, parked=0, ts=4600, seconds=20)
    assert lag_s() == 20
    observer.idle(5)
    clock(5)
    assert lag_s() == 25, "more waits at the broker"


def test_what_comes_old_is_lag_of_the_source_and_not_for_ever(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda status: None)
    observer.committed(rows=1, parked=0, ts=400, seconds=0.1)
    clock(4)
    observer.idle(0)
    assert observer.status.lag_s() == 600
    clock(2)
    observer.idle(0)
    assert observer.status.lag_s() == 0


def test_with_a_heartbeat_an_empty_queue_alone_is_no_proof(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda status: None)
    observer.heartbeat(1, 1000)
    observer.committed(rows=0, parked=0, ts=1000, seconds=0.1)
    clock(30)
    observer.idle(0)
    assert observer.status.lag_s() == 30


def test_waiting_is_counted_by_server_while_it_lasts(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda status: None)
    observer.now("waiting for the target")
    clock(2)
    observer.connected("target")
    observer.now("waiting for the queue")
    clock(3)
    observer.connected("broker")
    observer.now("following")
    clock(50)
    observer.now("the target is read-only")
    observer.connected("target")
    clock(7)
    last = observer.status
    assert (last.wait_s("target"), last.wait_s("broker")) == (9, 3)
    assert (last.target_reconnects, last.broker_reconnects) == (1, 0)


def test_counters_go_on_over_restarts_and_what_is_known_stays(clock: Callable[[float], None]) -> None:
    observer = StatusObserver("q", lambda status: None)
    observer.parked_now(3)
    observer.heartbeat(7, 990)
    observer.committed(rows=5, parked=0, ts=990, seconds=0.3)
    before = observer.status.copy()
    observer.committed(rows=5, parked=0, ts=995, seconds=0.3)
    assert before.applied == sum(before.batch_rows.counts) * 5 == 5, "a copy stays as it was"
    after = WorkerStatus(stream="q", state="restarting").after(before)
    assert (after.applied, after.parked_now, after.heartbeat, after.as_of) == (5, 3, 7, 990)
    assert (after.batch_rows, after.state) == (before.batch_rows, "restarting")
    again = observer.status.after(after)
    assert (again.applied, again.as_of, again.batch_rows.sum) == (15, 995, 15)


def test_a_figure_at_the_limit_of_a_bucket_belongs_to_it() -> None:
    histogram = Histogram.of((1.0, 5.0))
    for value in (0, 1, 1.1, 5, 6):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 2), ("5.0", 4), ("+Inf", 5)]
    assert histogram.sum == 13.1
