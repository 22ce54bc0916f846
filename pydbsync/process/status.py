"""What a worker tells its supervisor: counters and the line of the moment, a few times a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import msgspec

from pydbsync.engine.observe import Observer
from pydbsync.process.histogram import BATCH_ROWS, BATCH_S, LAG_S, Histogram
from pydbsync.work import Conflict, ParkedChange

_REPORT_EVERY_S = 0.25
_OLD_LAG_COUNTS_S: Final = 5.0
"""So long the lag of the last commit is believed of a queue that is empty now: whoever is late publishes more soon."""
WAITS_FOR: Final = {
    "waiting for the target": "target",
    "the target is read-only": "target",
    "waiting for the queue": "broker",
}
"""The server that a worker waits for, by its state."""


DECISIONS: Final = ("source", "target", "same", "parked")
"""Whose row stays in a conflict."""


class WorkerStatus(msgspec.Struct):
    """One worker's counters since it started."""

    stream: str
    pid: int = 0
    applied: int = 0
    transactions: int = 0
    duplicates: int = 0
    echoes: int = 0
    """Changes left out because the replay of the other direction has made them."""
    parked: int = 0
    parked_now: int | None = None
    """Changes of the stream that are parked at this moment, whoever parked them."""
    conflicts_source: int = 0
    """Conflicts in which the source's row was taken."""
    conflicts_target: int = 0
    """Those in which the target's row stayed."""
    conflicts_same: int = 0
    """Those in which both sides had done the same."""
    conflicts_parked: int = 0
    """Those that wait for an operator."""
    schema_changes: int = 0
    new_streams: int = 0
    gaps: int = 0
    redelivered: int = 0
    """Messages that the broker had handed out before."""
    broker_reconnects: int = 0
    target_reconnects: int = 0
    broker_wait_s: float = 0.0
    """Seconds in which the worker waited for the broker or its turn at the queue, the present waiting aside."""
    target_wait_s: float = 0.0
    commit_lag: Histogram = msgspec.field(default_factory=lambda: Histogram.of(LAG_S))
    """From the source's commit to ours, once a batch, by the newest change in it."""
    batch_time: Histogram = msgspec.field(default_factory=lambda: Histogram.of(BATCH_S))
    """What the target took for a batch."""
    batch_rows: Histogram = msgspec.field(default_factory=lambda: Histogram.of(BATCH_ROWS))
    restarts: int = 0
    """How often the supervisor has started the worker again."""
    heartbeat: int | None = None
    heartbeat_ts: int | None = None
    newest_ts: int = 0
    as_of: float = 0.0
    """What the source had committed by then is committed here, as far as is known; 0.0 where nothing is."""
    committed_at: float = 0.0
    """When the last commit was done, in seconds since 1970."""
    depth: int | None = None
    first_at: float = 0.0
    """When the first change was handled, by the monotonic clock; 0.0 before."""
    last_at: float = 0.0
    """When the last commit was done, by the same clock."""
    state_at: float = 0.0
    """When the state began, by the same clock, which is one for all processes of a machine."""
    seen_at: float = 0.0
    """When the worker's loop came round last, by the same clock."""
    resident_bytes: int = 0
    state: str = "starting"

    def copy(self) -> WorkerStatus:
        """As it is now: the worker goes on counting in its own."""
        return msgspec.structs.replace(
            self,
            commit_lag=self.commit_lag.copy(),
            batch_time=self.batch_time.copy(),
            batch_rows=self.batch_rows.copy(),
        )

    def after(self, before: WorkerStatus) -> WorkerStatus:
        """This with the counters of the processes that ran before added."""
        totals = self.copy()
        for name in _SUMS:
            setattr(totals, name, getattr(self, name) + getattr(before, name))
        for name in ("last_at", "newest_ts", "committed_at", "resident_bytes"):
            setattr(totals, name, max(getattr(self, name), getattr(before, name)))
        totals.first_at = before.first_at or self.first_at
        totals.as_of = self.as_of or before.as_of
        for name in ("parked_now", "heartbeat", "heartbeat_ts"):
            if getattr(self, name) is None:
                setattr(totals, name, getattr(before, name))
        return totals

    def lag_s(self, now: float | None = None) -> float | None:
        """Seconds by which the target is behind the source; None while nothing is known of it.

        Time goes on where nothing is committed though something waits. A queue that is empty while no heartbeat tells
        more is level.
        """
        if not self.as_of:
            return None
        return max(0.0, (time.time() if now is None else now) - self.as_of)

    def conflicts(self) -> dict[str, int]:
        """How many were decided, by decision."""
        return {name: int(getattr(self, f"conflicts_{name}")) for name in DECISIONS}

    def wait_s(self, server: str, now: float | None = None) -> float:
        """Seconds spent waiting for the `broker` or the `target`, the present waiting included."""
        spent = self.broker_wait_s if server == "broker" else self.target_wait_s
        if WAITS_FOR.get(self.state) == server and self.state_at:
            spent += max(0.0, (time.monotonic() if now is None else now) - self.state_at)
        return spent

    def seconds(self) -> float:
        """From the first change to the last commit."""
        return max(self.last_at - self.first_at, 0.0)


_SUMS: Final = (
    "applied", "transactions", "duplicates", "echoes", "parked", "conflicts_source", "conflicts_target",
    "conflicts_same", "conflicts_parked", "schema_changes", "new_streams", "gaps", "redelivered",
    "broker_reconnects", "target_reconnects", "broker_wait_s", "target_wait_s", "commit_lag", "batch_time",
    "batch_rows", "restarts",
)  # fmt: skip
"""What counts up, over all processes of a queue."""


class StatusObserver(Observer):
    """Counts what happens in one worker and hands the status on."""

    def __init__(self, stream: str, send: Callable[[WorkerStatus], None]) -> None:
        self.status = WorkerStatus(stream=stream, pid=os.getpid(), state_at=time.monotonic())
        self._send = send
        self._sent_at = 0.0
        self._depth_at = 0.0
        self._connections = {"broker": 0, "target": 0}
        self._commit_lag_s = 0.0

    def connected(self, server: str) -> None:
        self._connections[server] += 1
        again = self._connections[server] - 1
        if server == "broker":
            self.status.broker_reconnects = again
        else:
            self.status.target_reconnects = again

    def began(self, *, redelivered: int) -> None:
        self.status.redelivered += redelivered
        self.status.seen_at = time.monotonic()
        if not self.status.first_at:
            self.status.first_at = time.monotonic()

    def committed(self, *, rows: int, parked: int, ts: int, seconds: float) -> None:
        status, now = self.status, time.time()
        status.applied += rows
        status.transactions += 1
        status.batch_time.observe(seconds)
        status.batch_rows.observe(rows)
        status.committed_at = now
        if ts:
            status.newest_ts = max(status.newest_ts, ts)
            status.as_of = ts
            self._commit_lag_s = max(0.0, now - ts)
            status.commit_lag.observe(self._commit_lag_s)
        status.last_at = status.seen_at = time.monotonic()
        self.report()

    def duplicate(self) -> None:
        self.status.duplicates += 1

    def echo(self) -> None:
        self.status.echoes += 1

    def parked(self, parked: ParkedChange) -> None:
        self.status.parked += 1

    def conflict(self, conflict: Conflict) -> None:
        name = f"conflicts_{conflict.decision}"
        setattr(self.status, name, getattr(self.status, name) + 1)

    def parked_now(self, count: int) -> None:
        self.status.parked_now = count

    def schema_changed(self, *, ran: bool) -> None:
        self.status.schema_changes += ran
        self.status.last_at = time.monotonic()
        self.report()

    def new_stream(self, position: str) -> None:
        self.status.new_streams += 1

    def gap(self, text: str) -> None:
        self.status.gaps += 1

    def heartbeat(self, number: int, ts: int) -> None:
        self.status.heartbeat, self.status.heartbeat_ts = number, ts

    def idle(self, depth: int | None) -> None:
        status = self.status
        status.depth = depth
        status.seen_at = time.monotonic()
        if not depth and status.heartbeat is None:
            # All that has come is applied. What came last may have been old already when it came.
            now = time.time()
            is_late = now - status.committed_at < _OLD_LAG_COUNTS_S
            status.as_of = now - (self._commit_lag_s if is_late else 0.0)
        self.report()

    def depth(self, read: Callable[[], int | None]) -> None:
        # Not when a report is due: under load the commits nearly always come first and report without it.
        now = time.monotonic()
        if now - self._depth_at > _REPORT_EVERY_S:
            self._depth_at = now
            self.status.depth = read()
            self.report()

    def now(self, state: str) -> None:
        status = self.status
        if state != status.state:
            now = time.monotonic()
            status.broker_wait_s, status.target_wait_s = status.wait_s("broker", now), status.wait_s("target", now)
            status.state, status.state_at = state, now
            self.report(force=True)

    def report(self, *, force: bool = False) -> None:
        """Hand the status on, unless that was done a moment ago."""
        now = time.monotonic()
        if force or now - self._sent_at > _REPORT_EVERY_S:
            self._sent_at = now
            self.status.resident_bytes = _resident_bytes()
            self._send(self.status)


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
