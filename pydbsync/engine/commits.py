"""What is committed, what is on its way to be, and the acknowledgement of both: the only place that acknowledges."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.engine.observe import Observer
from pydbsync.engine.open_batch import OpenBatch
from pydbsync.engine.pace import BatchPace
from pydbsync.errors import StructureChanged
from pydbsync.killpoints import kill_point
from pydbsync.protocols import Sink, Source, StateStore
from pydbsync.work import Conflict, CopyRows, ParkedChange, SchemaStep, SchemaWork, StreamState, Work, describe_change

DECISIONS = {
    "source": "the source's row is taken",
    "target": "the target's stays",
    "same": "it is the same already",
    "parked": "it is parked",
}
"""What was decided of a conflict, for people."""


class _Begun(NamedTuple):
    """A batch that the target works on."""

    batch: OpenBatch
    work: Work[Any]
    at: float


class Commits:
    """Commits one piece of work after the other, and acknowledges what each of them held."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: StateStore,
        sink: Sink[Any, Any],
        source: Source,
        observer: Observer,
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._sink = sink
        self._source = source
        self._observer = observer
        self._log = log
        self._begun: _Begun | None = None
        self.is_under_way = False
        """Whether the target works on a batch."""
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self.pace = BatchPace(
            most_rows=settings.batch_rows, time_s=settings.batch_time_s, rows_per_s=settings.target_rows_per_s
        )

    @property
    def state(self) -> StreamState:
        """The state as it is committed, with what is under way."""
        if self._begun is not None:
            return self._begun.work.state
        state = self._store.state
        assert state is not None  # noqa: S101 (the stream is owned)
        return state

    def _next(self, state: StreamState, *, applied: int = 0) -> StreamState:
        """This state as the next commit stores it."""
        former = self.state
        return msgspec.structs.replace(state, commits=former.commits + 1, applied=former.applied + applied)

    def has_answer(self) -> bool:
        """Give the target the next statement if it has done the last; whether `settle` would not wait."""
        return self._sink.advance()

    def begin(self, batch: OpenBatch, state: StreamState) -> None:
        """Have the target work on this batch, which leads to this state; `settle` before the next one is begun."""
        work = batch.work(self._next(state, applied=len(batch.entries) - batch.words))
        now = time.monotonic()
        self.pace.began(len(batch.entries), now)
        self._begun, self.is_under_way = _Begun(batch, work, now), True
        self._sink.begin(work)

    def settle(self) -> bool:
        """Wait for the end of what is under way and acknowledge it; whether what was taken in meanwhile must be planned
        again: something is parked now, or tables were altered. Raises StopError by policy, CheckpointConflict,
        SourceError."""
        if self._begun is None:
            return False
        (batch, work, at), self._begun, self.is_under_way = self._begun, None, False
        is_changed = False
        while True:
            try:
                refused = self._sink.finish(work)
                break
            except StructureChanged as exc:
                self._log.warning("%s; what was taken in is planned again", exc)
                batch.plan_again(look_again=True)
                is_changed = True
                work = batch.work(work.state)
                self._sink.begin(work)
        entries, parked = work.entries, work.parked
        seconds = time.monotonic() - at
        self.pace.took(len(entries), seconds)
        kill_point("after-commit")
        for each in (*refused, *parked):
            self._tell_parked(each)
        for conflict in work.conflicts:
            self._tell_conflict(conflict)
        self._observer.parked_now(self._store.parked.count)
        self._observer.committed(
            rows=max(len(entries) - batch.words - len(refused), 0), parked=len(refused) + len(parked), ts=batch.ts,
            seconds=seconds,
        )  # fmt: skip
        self.acknowledge(batch.tag)
        return bool(refused) or is_changed

    def run_schema_change(
        self, work: SchemaWork[Any], batch: OpenBatch, *, generation: int, fill: Callable[[CopyRows], object]
    ) -> None:
        """Run the steps of a schema change, and `fill` copies between them. They leave the place before it; all that
        could not be run is parked with the batch, whose commit passes the place, so that a crash in between finds the
        statement again, and the journal what has run. Raises StopError by policy."""
        for parked in work.parked:
            batch.park(parked)
        if work.fills and self.state.ghosts != work.ghosts:
            self._store_alone(msgspec.structs.replace(self._next(self.state), ghosts=work.ghosts), [])
        for place, step in enumerate(work.steps):
            if place == work.fills_behind:
                self._fill(work, fill)
            behind = max(
                filter(None, (*map(batch.blocker, step.waits_for), *map(batch.blocker_of_all, step.waits_for_rows))),
                default=None,
            )
            if behind is not None and place < work.fills_behind and work.fills:
                # The rows behind it are stored before the batch is, so that it goes by the journal as well.
                step.policy, step.why = "park", "waits behind a parked change of the same table"
                self._change_schema(step, generation)
            elif behind is not None and not self._sink.has_decided(step):
                for parked in step.park(step.messages, "waits behind a parked change of the same table", behind):
                    batch.park(parked)
            elif self._change_schema(step, generation) == "parked":
                first = batch.blocker(step.target())
                for parked in step.park(step.siblings, "is part of a parked statement", first):
                    batch.park(parked)
        if work.fills_behind == len(work.steps):
            self._fill(work, fill)

    def _fill(self, work: SchemaWork[Any], fill: Callable[[CopyRows], object]) -> None:
        for copy in work.fills:
            fill(copy)

    def _change_schema(self, step: SchemaStep[Any], generation: int) -> str:
        """Run one statement of a schema change; the place stays before it until all of the change is done. What became
        of it: done, skipped, parked, or "again" where it had run before."""
        state = msgspec.structs.replace(self._next(self.state), generation=generation)
        status = self._sink.change_schema(step, state)
        kill_point("after-schema-step")
        self._observer.schema_changed(ran=status == "done")
        if status == "parked":
            kind, position, source = describe_change(step.change)
            self._observer.parked(ParkedChange(message=b"", reason="", kind=kind, position=position, source=source))
        return status

    def store(self, parked: list[ParkedChange]) -> None:
        """Store what came back late, whatever the limit says; the place stays. Waits while the target is away."""
        self._store_alone(self._next(self.state), parked)
        for each in parked:
            self._tell_parked(each)

    def _store_alone(self, state: StreamState, parked: list[ParkedChange]) -> None:
        work: Work[Any] = Work(batch=None, entries=[], parked=parked, state=state, keeps_all=True)
        self._sink.begin(work)
        self._sink.finish(work)

    def acknowledge(self, tag: int) -> None:
        """This delivery and all before it are safe; 0 for none."""
        if tag:
            self._source.acknowledge(tag)
            kill_point("after-ack")

    def _tell_conflict(self, conflict: Conflict) -> None:
        self._observer.conflict(conflict)
        self._log.info(
            "conflict: %s of %s at %s found the target's row %s; %s by %s", conflict.kind, conflict.source,
            conflict.position, conflict.found, DECISIONS[conflict.decision], conflict.policy,
        )  # fmt: skip

    def _tell_parked(self, parked: ParkedChange) -> None:
        self._observer.parked(parked)
        self._log.warning("parked %s of %s at %s: %s", parked.kind, parked.source, parked.position, parked.reason)
