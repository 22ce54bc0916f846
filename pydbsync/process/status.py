"""What a worker tells its supervisor: counters and the line of the moment, a few times a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

from pydbsync.engine.observe import Observer
from pydbsync.work import ParkedChange

_REPORT_EVERY_S = 0.25


class WorkerStatus(msgspec.Struct):
    """One worker's counters since it started. `lag_s` is the age of the newest applied change by its `ts`."""

    stream: str
    pid: int = 0
    applied: int = 0
    transactions: int = 0
    duplicates: int = 0
    parked: int = 0
    schema_changes: int = 0
    new_streams: int = 0
    gaps: int = 0
    heartbeat: int | None = None
    heartbeat_ts: int | None = None
    newest_ts: int = 0
    depth: int | None = None
    first_at: float = 0.0
    """When the first change was handled, by the monotonic clock; 0.0 before."""
    last_at: float = 0.0
    """When the last commit was done."""
    resident_bytes: int = 0
    state: str = "starting"

    def lag_s(self, now: float | None = None) -> float | None:
        """Seconds between the source's clock at the newest applied change and now; None before the first."""
        if not self.newest_ts:
            return None
        return max(0.0, (time.time() if now is None else now) - self.newest_ts)

    def seconds(self) -> float:
        """From the first change to the last commit."""
        return max(self.last_at - self.first_at, 0.0)


class StatusObserver(Observer):
    """Counts what happens in one worker and hands the status on."""

    def __init__(self, stream: str, send: Callable[[WorkerStatus], None]) -> None:
        self.status = WorkerStatus(stream=stream, pid=os.getpid())
        self._send = send
        self._sent_at = 0.0
        self._depth_at = 0.0

    def began(self) -> None:
        if not self.status.first_at:
            self.status.first_at = time.monotonic()

    def committed(self, *, rows: int, parked: int, ts: int) -> None:
        status = self.status
        status.applied += rows
        status.transactions += 1
        status.newest_ts = max(status.newest_ts, ts)
        status.last_at = time.monotonic()
        self.report()

    def duplicate(self) -> None:
        self.status.duplicates += 1

    def parked(self, parked: ParkedChange) -> None:
        self.status.parked += 1

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
        self.status.depth = depth
        self.report()

    def depth(self, read: Callable[[], int | None]) -> None:
        # Not when a report is due: under load the commits nearly always come first and report without it.
        now = time.monotonic()
        if now - self._depth_at > _REPORT_EVERY_S:
            self._depth_at = now
            self.status.depth = read()
            self.report()

    def now(self, state: str) -> None:
        if state != self.status.state:
            self.status.state = state
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
