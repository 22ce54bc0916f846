"""A sink and its state apart: first the rows, which may come again, then the state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pydbsync.backoff import Backoff
from pydbsync.config.settings import Settings
from pydbsync.errors import StopError, Stopped, TransientError
from pydbsync.killpoints import kill_point
from pydbsync.model import TableName
from pydbsync.places import Checkpoint
from pydbsync.route.filters import Filters
from pydbsync.sinks.keep import Keep, KeepWentBack
from pydbsync.sinks.plans import SinkPlan, rows_of
from pydbsync.sinks.writer import RowWriter, SinkSchemaChange, place_of
from pydbsync.work import CopyRows, ParkedChange, ParkedRows, Pauses, SchemaStep, StreamState, Work, park_row

_T = TypeVar("_T")
_LOOK_S = 1.0
_POLL_S = 0.5


class ApartSink:
    """State store and sink of one stream. Used by one thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        writer: RowWriter,
        keep: Keep,
        stream: str,
        log: logging.Logger,
        tell: Callable[[str], object] = lambda state: None,
        connected: Callable[[], object] = lambda: None,
    ) -> None:
        """`tell` hears in a word or two what is waited for; `connected` is called after each loss, too."""
        self._settings = settings
        self._writer = writer
        self._keep = keep
        self._stream = stream
        self._log = log
        self._tell = tell
        self._connected = connected
        self._stop = threading.Event()
        self._is_owner = False
        self._looked_at = 0.0
        self.state: StreamState | None = None
        self.parked = ParkedRows()
        self.pauses = Pauses()

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self._settings = settings

    # -- the state ---------------------------------------------------------------------------------------------------

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None:
        """Connect, wait for the lock, take the state over; None if `stop` was set first. Raises ConfigError."""
        self._stop = stop
        backoff = self._backoff()
        is_waiting = False
        while not stop.is_set():
            try:
                if self._is_owner and self._keep.is_ours():
                    return self.state
                self._is_owner = False
                self._writer.open()
                self._keep.open()
                self._connected()
                if not self._keep.lock():
                    if not is_waiting:
                        self._log.info("waiting for %s: it is owned by %s", self._stream, self._keep.holder())
                        self._tell("standing by")
                    is_waiting = True
                    stop.wait(_POLL_S)
                    continue
                self._take_over()
                if is_away:
                    self._log.info("the target is back")
                return self.state
            except TransientError as exc:
                self._is_owner = False
                self._tell("waiting for the target")
                if not is_away:
                    self._log.warning("the target is away, waiting: %s", exc)
                is_away = True
                backoff.wait(stop)
        return None

    def _take_over(self) -> None:
        known, self.state = self.state, self._keep.take_over()
        if known is not None and self.state.commits < known.commits:
            self._log.warning(
                "the target has gone back: the checkpoint of %s is at commit %d, but %d was committed; what was not"
                " acknowledged comes again", self._stream, self.state.commits, known.commits,
            )  # fmt: skip
        self._load_parked()
        self._load_pauses()
        self._is_owner = True

    def _load_parked(self) -> None:
        self.parked = ParkedRows()
        for kept in self._keep.parked():
            if kept.status == "parked":
                self.parked.remember(kept.id, kept.change)

    def _load_pauses(self) -> None:
        found = self._keep.pauses()
        whole = next((each for each in found if not each.schema_changes_of), None)
        self.pauses = Pauses(
            f"{self._stream} {whole}" if whole is not None else "",
            tuple(each.schema_changes_of for each in found if each.schema_changes_of),
        )

    def release(self) -> None:
        """Give the lock back. Never raises."""
        self._is_owner = False
        self._keep.close()
        self._writer.close()

    def keep_alive(self) -> None:
        """Go on owning the stream. Raises CheckpointConflict, TransientError."""
        self._keep.keep_alive()

    def look_around(self) -> bool:
        """Notice, at most once a second, what the operator has paused, and mended, meanwhile."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return False
        self._looked_at = time.monotonic()
        self._load_pauses()
        if self.parked.count and self._keep.parked_count() != self.parked.count:
            self._load_parked()
        return False

    def was_parked(self, position: str, message: bytes) -> bool:
        """Whether this very message was parked before, whatever became of it since."""
        return any(kept.change.message == message for kept in self._keep.parked())

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""
        if self._settings.on_error == "stop":
            raise StopError(
                f"{parked.kind} of {parked.source} at {parked.position or 'no position'}: {parked.reason}"
                " (on_error is stop); nothing after it was applied"
            )

    def copy_start(self, checkpoint: Checkpoint) -> None:
        """A copy leaves its place with each row that it writes."""
        return None

    def kept_rows(self, copy: CopyRows) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """Copies of online schema changes are tables like others here."""
        return (), ()

    # -- the sink ----------------------------------------------------------------------------------------------------

    def begin(self, work: Work[SinkPlan]) -> None:
        """All is done in `finish`."""

    def advance(self) -> bool:
        return True

    def finish(self, work: Work[SinkPlan]) -> list[ParkedChange]:
        """Write the rows, then keep the state; what was refused and parked instead. Waits while the target is away."""
        rows = rows_of(work)

        def write() -> list[ParkedChange]:
            refused = (self._writer.write(rows) if rows else ()) or ()  # whoever writes a sink forgets `return []`
            kill_point("mid-batch")
            return [park_row(work.entries[index], reason) for index, reason in refused]

        refused = self._repeat(write)
        for each in refused:
            self.refuse_if_stopping(each)
        self._commit(work.state, [*refused, *work.parked], keeps_all=work.keeps_all)
        return refused

    def _commit(self, state: StreamState, parked: list[ParkedChange], *, keeps_all: bool = False) -> None:
        limit = self._settings.max_parked
        if parked and limit and not keeps_all and self.parked.count + len(parked) > limit:
            raise StopError(f"more than max_parked ({limit}) changes are parked; mend them, then start again")
        kill_point("before-commit")
        ids = self._repeat(lambda: self._keep.commit(state, parked))
        self.state = state
        for parked_id, change in zip(ids, parked, strict=True):
            self.parked.remember(parked_id, change)

    def has_decided(self, step: SchemaStep[SinkSchemaChange]) -> bool:
        """What is done again does nothing, by its place."""
        return False

    def change_schema(self, step: SchemaStep[SinkSchemaChange], state: StreamState) -> str:
        """Hand the statement to the sink, by policy; what became of it. Raises StopError."""
        change = step.change
        if step.policy == "stop":
            raise StopError(f"schema change {change.sql!r} at {change.position}: schema_changes says stop")
        paused = self._paused_of(step)
        if paused or step.policy == "park":
            why = f"the schema changes of {paused} are paused (`pydbsync resume` ends it)" if paused else ""
            if not self.was_parked(change.position or "", step.messages[0].delivery.body):
                self._commit(state, step.park(step.messages[:1], why or "schema_changes says park", None))
            return "parked"
        if step.policy == "skip":
            return "skipped"
        planned = msgspec.structs.replace(step.planned, place=place_of(change, state.generation))
        self._repeat(lambda: self._writer.change_schema(planned))
        return "done"

    def _paused_of(self, step: SchemaStep[SinkSchemaChange]) -> str:
        """The glob by which a table of the statement is paused; empty if none is."""
        names = {TableName(each.change.database, each.change.table or "") for each in step.messages}
        for glob in self.pauses.schema_changes_of:
            filters = Filters(include=(glob,))
            if any(filters.takes(name) if name.table else filters.takes_database(name.database) for name in names):
                return glob
        return ""

    # -- what is lost on the way -------------------------------------------------------------------------------------

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.retry.first_s, self._settings.retry.max_s)

    def _repeat(self, step: Callable[[], _T]) -> _T:
        """Run a step until the target takes it. Raises WentBack where what was committed before is gone, Stopped,
        CheckpointConflict."""
        backoff = self._backoff()
        while True:
            try:
                if backoff.attempts:
                    self._writer.open()
                    self._keep.open()
                    self._connected()
                    self._keep.keep_alive()
                result = step()
                if backoff.attempts:
                    self._log.info("the target takes it again")
                    self._tell("following")
                return result
            except KeepWentBack:
                raise
            except TransientError as exc:
                if not backoff.attempts:
                    self._log.warning("the target does not take it now, trying again: %s", exc)
                    self._tell("waiting for the target")
                if backoff.wait(self._stop):
                    raise Stopped("stopped while the target was away") from exc
