"""What a change is to this stream: new, a repeat, a duplicate, late, copied already, or the source's heartbeat.

The judge answers; what is done about the answer is the pipeline's. It owns all that an answer depends on: how far the
stream has got, where a copy lets replay begin, which tables came by a bootstrap, the heartbeats and the holes.
"""

from __future__ import annotations

import contextlib
import enum
from typing import NamedTuple

import msgspec

from pydbsync.engine.gaps import HeartbeatWatch, TransactionWatch
from pydbsync.model import Delivery, Place, RowChange, SchemaChange, TableName
from pydbsync.places import Standing, StreamProgress
from pydbsync.plan.agreement import Word
from pydbsync.protocols import CopyStart
from pydbsync.work import StreamState


class Verdict(enum.Enum):
    """What is to be done with a change."""

    NEW = "new"
    """Apply it."""
    REPEAT = "repeat"
    """Applied before, but rows of a bootstrap may have been written over it: make it again where that is harmless."""
    DUPLICATE = "duplicate"
    """Applied before: leave it out."""
    COPIED = "copied"
    """The rows that `pydbsync copy` wrote hold it: leave it out."""
    LATE = "late"
    """It came back behind newer ones, and was never applied: store it and stop."""
    HEARTBEAT = "heartbeat"
    """The source's heartbeat: nothing is to be applied."""
    ECHO = "echo"
    """Our own replay in the other direction has written it there: leave it out."""
    STATE = "state"
    """A row of the source's state schema, which only says something: leave it out; the place behind it is not worth a
    commit of its own, which would be a row of the state schema for the other direction in turn."""
    UNTOLD = "untold"
    """What would tell whether our own replay has written it did not come: park it."""
    UNREADABLE = "unreadable"
    """Its place, or the heartbeat in it, cannot be read: park the delivery."""


class Judgement(NamedTuple):
    """A verdict, and what else the change has shown."""

    verdict: Verdict
    reason: str = ""
    """Why it is unreadable, or untold."""
    missing: str | None = None
    """What did not come right before it, as a sentence."""
    is_new_stream: bool = False
    """Places went back while time went on: the stream is another one from here on."""


PLAINLY_NEW = Judgement(Verdict.NEW)
"""New, and nothing else is to be said: nearly every change of a stream."""
_DUPLICATE = Judgement(Verdict.DUPLICATE)
_COPIED = Judgement(Verdict.COPIED)
_LATE = Judgement(Verdict.LATE)
_REPEAT = Judgement(Verdict.REPEAT)


class Judge:
    """Follows one subscription from the committed state on."""

    def __init__(
        self,
        state: StreamState,
        *,
        copy: CopyStart | None,
        heartbeat_table: str,
        carries_everything: bool,
        splits_statements: bool = False,
    ) -> None:
        """`carries_everything`: every row of a source transaction comes this way, so that a hole is a loss.
        `splits_statements`: several statements can have one place."""
        self._progress = StreamProgress(state.checkpoint)
        self._since = self._progress.place()
        self._has_fresh = False
        self._copy = copy
        self._bootstrapped = set(state.bootstrapped)
        """Source tables of which rows without a place came, and no newer change since."""
        self._heartbeat_database, _, self._heartbeat_table = heartbeat_table.partition(".")
        self._heartbeats = HeartbeatWatch(state.heartbeat, state.heartbeat_ts)
        self._splits_statements = splits_statements
        self._holes = TransactionWatch(state.checkpoint.place) if carries_everything else None
        self.generation = state.generation
        """How often the stream has begun anew, over all runs."""
        self.duplicates = state.duplicates
        """Changes that were left out, over all runs."""

    def state(self, former: StreamState) -> StreamState:
        """The state as it is once all that was judged so far is committed, counters of commits aside."""
        return msgspec.structs.replace(
            former,
            checkpoint=self._progress.checkpoint(),
            duplicates=self.duplicates,
            generation=self.generation,
            heartbeat=self._heartbeats.number,
            heartbeat_ts=self._heartbeats.ts,
            bootstrapped=frozenset(self._bootstrapped),
        )

    @property
    def word(self) -> Word | None:
        """What the other direction's replay has said, with the row that was judged last, of a row in conflict."""
        return None

    @property
    def heartbeat(self) -> tuple[int, int] | None:
        """Number and source time, in seconds, of the newest heartbeat."""
        number, ts = self._heartbeats.number, self._heartbeats.ts
        return None if number is None or ts is None else (number, ts)

    def silence(self, *, stall_s: float) -> str | None:
        """Said once per silence: no new heartbeat came for `stall_s`; None if all is well or none was ever seen."""
        return self._heartbeats.is_silent(stall_s=stall_s)

    def skew(self, now: float, *, limit_s: float) -> str | None:
        """Said once: the source's clock is not that of `now`. To be asked when nothing is at hand."""
        return self._heartbeats.skew(now, limit_s=limit_s)

    def judge_row(self, delivery: Delivery, change: RowChange) -> Judgement:
        """The judgement of the stream's next change. Raises StopError where a copy's start cannot be right."""
        is_new_stream = False
        if self._copy is not None and self._is_copied(change):
            return _COPIED
        if self._progress.follows(change):
            if not delivery.redelivered:
                self._has_fresh = True
        else:
            judgement = self._judge_place(delivery, change)
            if judgement.verdict is not Verdict.NEW:
                return judgement
            is_new_stream = judgement.is_new_stream
        if change.kind == "bootstrap-insert":
            self._bootstrapped.add(TableName(change.database, change.table))
        elif self._bootstrapped:
            # Maxwell prints what it held back of a table in order, and before all that is newer of it.
            self._bootstrapped.discard(TableName(change.database, change.table))
        missing = None if self._holes is None else self._holes.look_at(change)
        if change.table == self._heartbeat_table and change.database == self._heartbeat_database:
            return self._judge_heartbeat(change, missing, is_new_stream)
        if missing is None and not is_new_stream:
            return PLAINLY_NEW
        return Judgement(Verdict.NEW, missing=missing, is_new_stream=is_new_stream)

    def judge_schema_change(self, delivery: Delivery, change: SchemaChange, *, is_open: bool) -> Judgement:
        """The same for a schema change; `is_open` says that it belongs to a statement that was taken in before it."""
        if self._is_copied(change):
            return _COPIED
        return self._judge_place(delivery, change, is_open=is_open)

    @property
    def lacks_head(self) -> bool:
        """Whether rows are missing at the beginning of the transaction, where that can be told."""
        return self._holes is not None and self._holes.lacks_head

    def leave_out(self) -> None:
        """A repeat was not made: it counts as a duplicate."""
        self.duplicates += 1

    def is_past(self, change: RowChange | SchemaChange) -> bool:
        """Whether the change's place lies at or before the newest one that was judged."""
        place = self._place_of(change)
        return place is not None and place <= self._progress.place()

    def is_late(self, delivery: Delivery, change: RowChange | SchemaChange) -> bool:
        """Whether the change came back behind newer ones in this subscription, without having been applied."""
        if not (delivery.redelivered and self._has_fresh):
            return False
        place = self._place_of(change)
        return place is not None and self._since < place <= self._progress.place()

    def _place_of(self, change: RowChange | SchemaChange) -> Place | None:
        try:
            return self._progress.place_of(change)
        except ValueError:
            return None

    def _judge_place(self, delivery: Delivery, change: RowChange | SchemaChange, *, is_open: bool = False) -> Judgement:
        is_bootstrapped = TableName(change.database, change.table or "") in self._bootstrapped
        # By Maxwell during a bootstrap, or by another consumer, which gives it back behind what came meanwhile.
        is_held = is_bootstrapped or (delivery.redelivered and self._has_fresh)
        try:
            standing = self._progress.judge(change, again=delivery.redelivered, is_held=is_held)
        except ValueError as exc:
            return Judgement(Verdict.UNREADABLE, reason=str(exc))
        if not delivery.redelivered:
            self._has_fresh = True
        if standing is Standing.NEW:
            return PLAINLY_NEW
        if standing is Standing.NEW_STREAM:
            self._since = Place(0, 0, -1)
            self.generation += 1
            return Judgement(Verdict.NEW, is_new_stream=True)
        if standing is Standing.SAME_PLACE:
            # One more message of the open statement, or of one that is over: then all that its messages lead to was
            # committed with its place.
            if is_open or self._splits_statements or change.ts > self._progress.checkpoint().newest_ts:
                return PLAINLY_NEW
        elif self.is_late(delivery, change):
            return _LATE
        if is_bootstrapped and isinstance(change, RowChange):
            return _REPEAT
        self.duplicates += 1
        return _DUPLICATE

    def _is_copied(self, change: RowChange | SchemaChange) -> bool:
        if self._copy is None:
            return False
        try:
            is_copied = self._copy.skips(change)
        except ValueError:
            return False  # its position is none: that is judged where all positions are
        if self._copy.is_done:
            self._copy = None
        if is_copied:
            with contextlib.suppress(ValueError):
                self._progress.pass_over(change)
            self.duplicates += 1
            if self._holes is not None and isinstance(change, RowChange):
                self._holes.look_at(change)
        return is_copied

    def _judge_heartbeat(self, change: RowChange, missing: str | None, is_new_stream: bool) -> Judgement:
        try:
            skipped = self._heartbeats.take(change)
        except msgspec.MsgspecError as exc:
            reason = f"the heartbeat table is not as `pydbsync heartbeat` makes it: {exc}"
            return Judgement(Verdict.UNREADABLE, reason, missing, is_new_stream)
        return Judgement(Verdict.HEARTBEAT, "", missing or skipped, is_new_stream)
