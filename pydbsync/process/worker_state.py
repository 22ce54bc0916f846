"""What one worker writes about itself: its figures, with the rates of the last seconds and the lag in its parts."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydbsync import __version__
from pydbsync.apply.state_writer import Openable, StateWriter
from pydbsync.apply.tables.worker import Incident, Minute, WorkerRow
from pydbsync.config.settings import Settings
from pydbsync.engine.observe import Observer
from pydbsync.errors import BrokenOrderError, CheckpointConflict, ConfigError, StopError
from pydbsync.process.status import WorkerStatus
from pydbsync.protocols import Source, StateStore
from pydbsync.work import Transit

_WINDOW_S = 15.0
"""Rates are those of so many seconds."""
_CLEAR_EVERY_S = 3600.0
_MINUTE_S = 60.0
_BUSY_AFTER_S = 2.0
"""A worker that said nothing for longer is at one thing: the loop comes round twice a second."""

REMEDIES = {
    ConfigError: "correct what the sentence names, and start again",
    BrokenOrderError: "see that nothing else consumes from the queue, compare the tables that were named with `pydbsync"
    " verify`, then `pydbsync parked retry`, and start again (docs/operations.md, Fail-over)",
    StopError: "mend the cause that the sentence names, and start again: a policy of the configuration said to stop",
    CheckpointConflict: "nothing: the supervisor starts the worker again, and it stands by",
}


class _Figures(NamedTuple):
    at: float
    applied: int
    transactions: int
    batch_s: float
    acknowledged: int
    waiting: int | None
    """Messages that wait in the queue or are held."""


_C = TypeVar("_C", bound=Openable)
_In_contra = TypeVar("_In_contra", contravariant=True)


class FiguresLedger(Protocol[_In_contra]):
    """Where the figures of one process are written."""

    def write(self, connection: _In_contra, row: WorkerRow) -> None: ...

    def add_minute(self, connection: _In_contra, minute: Minute) -> None: ...

    def add_incidents(self, connection: _In_contra, incidents: Iterable[Incident]) -> None: ...

    def clear(self, connection: _In_contra, *, is_start: bool) -> None: ...


class WorkerState(Observer, Generic[_C]):
    """Writes the rows of this worker until it ends: its figures, and what it is told is missing in the stream."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        *,
        status: WorkerStatus,
        store: StateStore,
        ledger: FiguresLedger[_C],
        connect: Callable[[], _C],
        log: logging.Logger,
        read: Callable[[_C], None] = lambda connection: None,
    ) -> None:
        """`connect` and `read` are handed to StateWriter."""
        self._every_s = settings.state_interval_s
        self._conflict_rule = settings.conflicts.to_json() if settings.detects_conflicts else None
        self._status = status
        self._store = store
        transit: Callable[[], Transit] | None = getattr(source, "transit", None)
        self._transit = transit or (lambda: Transit(held=0, acknowledged=0, received_at=0.0, committed_at=0.0))
        self._ledger = ledger
        self._samples: deque[_Figures] = deque()
        self._started_at = time.monotonic()
        self._cleared_at: float | None = None
        self._minute_at = time.monotonic()
        self._minute_applied = 0
        self._most_lag_s: float | None = None
        self._most_depth: int | None = None
        self._fault: tuple[str, str, float] | None = None
        """The last error, its remedy, and when it was."""
        self._log = log
        self._lines = _LastError(self)
        self._incidents: deque[Incident] = deque(maxlen=100)
        self._gaps: deque[str] = deque(maxlen=100)
        self._writer = StateWriter(connect, write=self.write, read=read, every_s=max(self._every_s, 0.1), log=log)

    def start(self) -> None:
        """Begin to write, unless the operator wants none."""
        if self._every_s:
            self._log.addHandler(self._lines)
            self._writer.start()

    def failed(self, exc: BaseException) -> None:
        """The worker ends by this error."""
        remedy = next((text for kind, text in REMEDIES.items() if isinstance(exc, kind)), "")
        self._fault = (str(exc), remedy, time.monotonic())
        self._incidents.append(Incident("ended", str(exc), remedy))

    def said(self, text: str) -> None:
        """A line of the log that is about something wrong."""
        self._fault = (text, "", time.monotonic())

    def gap(self, text: str) -> None:
        self._gaps.append(text)

    def end(self) -> None:
        """Write how it ended."""
        if self._every_s:
            self._log.removeHandler(self._lines)
            self._writer.end()

    def write(self, connection: _C) -> None:
        """Store how it is now. Called by the writer's thread."""
        now = time.monotonic()
        row = self._row(self._status, now)
        self._ledger.write(connection, row)
        while self._gaps:
            self._incidents.append(Incident("gap", self._gaps.popleft(), GAP_REMEDY))
        while self._incidents:
            self._ledger.add_incidents(connection, [self._incidents[0]])
            self._incidents.popleft()
        self._keep_minute(connection, row, now)
        if self._cleared_at is None or now - self._cleared_at > _CLEAR_EVERY_S:
            self._ledger.clear(connection, is_start=self._cleared_at is None)
            self._cleared_at = now

    def _row(self, status: WorkerStatus, now: float) -> WorkerRow:
        state, transit = self._store.state, self._transit()
        waiting = None if status.depth is None else status.depth + transit.held
        sample = _Figures(
            now, status.applied, status.transactions, status.batch_time.sum, transit.acknowledged, waiting
        )
        first = self._first_sample(sample)
        seconds = max(sample.at - first.at, 1e-3)
        transactions = sample.transactions - first.transactions
        done = max(0, sample.acknowledged - first.acknowledged) / seconds
        grown = None if sample.waiting is None or first.waiting is None else (sample.waiting - first.waiting) / seconds
        is_alone = first is sample
        fault = self._fault
        heartbeat_age_s = None
        if status.heartbeat_ts is not None:
            heartbeat_age_s = max(0.0, time.time() - status.heartbeat_ts)
        busy_s = max(0.0, now - status.seen_at) if status.state == "following" and status.seen_at else None
        return WorkerRow(
            queue=status.stream,
            pydbsync_version=__version__,
            state=status.state,
            every_s=self._every_s,
            epoch=None if state is None else state.epoch,
            busy_s=busy_s if busy_s is not None and busy_s > _BUSY_AFTER_S else None,
            applied=status.applied,
            transactions=status.transactions,
            schema_changes=status.schema_changes,
            duplicates=status.duplicates,
            redelivered=status.redelivered,
            new_streams=status.new_streams,
            gaps=status.gaps,
            parked=status.parked,
            parked_now=status.parked_now,
            rows_per_s=None if is_alone else (sample.applied - first.applied) / seconds,
            messages_per_s=None if is_alone else done,
            arriving_per_s=None if is_alone or grown is None else max(0.0, done + grown),
            depth=status.depth,
            held=transit.held,
            level_s=_time_to_level(waiting, grown),
            newest_ts=status.newest_ts or None,
            lag_s=status.lag_s(),
            **_parts(status.newest_ts, transit),
            batch_rows=(sample.applied - first.applied) / transactions if transactions > 0 else None,
            batch_s=(sample.batch_s - first.batch_s) / transactions if transactions > 0 else None,
            heartbeat=status.heartbeat,
            heartbeat_age_s=heartbeat_age_s,
            broker_reconnects=status.broker_reconnects,
            target_reconnects=status.target_reconnects,
            resident_bytes=status.resident_bytes or None,
            last_error=fault[0] if fault else None,
            remedy=fault[1] or None if fault else None,
            conflict_rule=self._conflict_rule,
            commit_lag=status.commit_lag.to_json(),
            last_error_age_s=now - fault[2] if fault else None,
            state_age_s=max(0.0, now - status.state_at) if status.state_at else 0.0,
            started_age_s=now - self._started_at,
            last_commit_age_s=max(0.0, now - status.last_at) if status.last_at else None,
        )

    def _first_sample(self, sample: _Figures) -> _Figures:
        """The sample that rates are reckoned from."""
        samples = self._samples
        if samples and sample.acknowledged < samples[-1].acknowledged:
            samples.clear()  # another subscription: its messages are counted from the beginning
        samples.append(sample)
        while len(samples) > 2 and sample.at - samples[1].at >= _WINDOW_S:
            samples.popleft()
        return samples[0]

    def _keep_minute(self, connection: _C, row: WorkerRow, now: float) -> None:
        if row.lag_s is not None:
            self._most_lag_s = max(row.lag_s, self._most_lag_s or 0.0)
        if row.depth is not None:
            self._most_depth = max(row.depth, self._most_depth or 0)
        if now - self._minute_at < _MINUTE_S and row.state != "stopped":
            return
        applied = row.applied - self._minute_applied
        self._ledger.add_minute(connection, Minute(applied, self._most_lag_s, self._most_depth, row.parked_now))
        self._minute_at, self._minute_applied = now, row.applied
        self._most_lag_s = self._most_depth = None


GAP_REMEDY = (
    "something may be missing at the target: `pydbsync verify` finds it, `pydbsync repair` mends it"
    " (docs/operations.md, Gaps)"
)


class _LastError(logging.Handler):
    """Remembers the last warning or error, but for those that are counted and shown elsewhere."""

    def __init__(self, state: WorkerState[Any]) -> None:
        super().__init__(logging.WARNING)
        self._state = state

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith("parked "):
            self._state.said(text)


def _parts(newest_ts: int, transit: Transit) -> dict[str, float | None]:
    """How long the last batch was on each part of its way."""
    parts: dict[str, float | None] = {"published_s": None, "received_s": None, "committed_s": None}
    if not transit.received_at:
        return parts
    parts["committed_s"] = max(0.0, transit.committed_at - transit.received_at)
    if transit.published_at is not None:
        parts["received_s"] = max(0.0, transit.received_at - transit.published_at)
        if newest_ts:
            parts["published_s"] = max(0.0, transit.published_at - newest_ts)
    elif newest_ts:
        parts["received_s"] = max(0.0, transit.received_at - newest_ts)
    return parts


def _time_to_level(waiting: int | None, grown: float | None) -> float | None:
    """Seconds until nothing waits, as it goes now; None where it does not get less, or nobody knows."""
    if waiting is None:
        return None
    if not waiting:
        return 0.0
    return waiting / -grown if grown is not None and grown < 0 else None
