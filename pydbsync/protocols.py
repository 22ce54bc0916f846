"""What the engine asks of its stages; each stage is a class that fits one of these."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from pydbsync.model import Change, Delivery, RowChange, SchemaChange, TableName, TableSchema
from pydbsync.places import Checkpoint
from pydbsync.work import (
    Batch,
    CopyRows,
    ParkedChange,
    ParkedRows,
    Pauses,
    PlanT,
    SchemaStep,
    SchemaWork,
    StepT,
    StreamState,
    Work,
)

Decode: TypeAlias = Callable[[bytes], Sequence[Change]]
"""The body of a delivery → the changes in it, in order. Raises DecodeError."""


class Source(Protocol):
    """Where deliveries come from, in order, one subscription at a time.

    After any SourceError the subscription is void: nothing taken from it may be acknowledged any more, and what was
    not acknowledged comes again after the next `open`.
    """

    stream: str
    """The name under which the checkpoint of this source is kept: the queue's name, or the one given for a file."""

    def open(self, stop: threading.Event, while_waiting: Callable[[], object] = ..., *, goes_on: bool = False) -> None:
        """Connect and subscribe; wait for the turn if another consumer is there. Raises SourceError, of that
        MessagesGoneError where messages are proven lost, once.

        `while_waiting` is called now and then meanwhile; what it raises ends the waiting. `goes_on`: the stream's lock
        was held since the last subscription, so that no other worker has read meanwhile.
        """

    @property
    def is_new(self) -> bool:
        """Whether what `open` subscribed to did not exist before: nothing that was sent earlier is in it."""

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        """All deliveries at hand in order, waiting up to `timeout_s`; empty if none came. Raises SourceError."""

    def acknowledge(self, tag: int) -> None:
        """This delivery and all before it are safe in the target; never blocks. Raises SourceError."""

    def is_drained(self) -> bool:
        """Whether nothing is left: no delivery at hand, none at the broker. Raises SourceError."""

    def finish(self) -> bool:
        """Take nothing more in; whether something is held that should rather be applied than given back, since the
        broker counts how often it was. To be asked again until there is nothing."""

    def depth(self) -> int | None:
        """Messages waiting behind the ones taken, where the source knows; a figure for people, not for decisions."""

    def close(self) -> None:
        """Give back what was not acknowledged. Never raises."""


class Catalog(Protocol):
    """The target's tables as they are now."""

    def table(self, name: TableName) -> TableSchema | None:
        """The table's schema, or None where there is no such table."""

    def forget(self, database: str | None = None) -> None:
        """A schema change has run: look again next time."""


class CopyStart(Protocol):
    """What `pydbsync copy` has left to be observed by the stream that goes on behind it."""

    @property
    def is_done(self) -> bool:
        """Whether every start has been passed, so that nobody need ask any more."""

    def skips(self, change: RowChange | SchemaChange) -> bool:
        """Whether the copied rows hold the change already. Raises StopError, and ValueError for a bad position."""


class StateStore(Protocol):
    """What is kept of one stream: who owns it, how far it is applied, and what is parked."""

    @property
    def state(self) -> StreamState | None:
        """The state as it was committed last; None before `acquire`."""

    @property
    def parked(self) -> ParkedRows:
        """What later changes must wait behind."""

    @property
    def pauses(self) -> Pauses:
        """What an operator has paused, as `look_around` has seen it last."""

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None:
        """Connect, wait for the stream's lock, take the state over; None if `stop` was set first.

        Waits while the store is away; `is_away` says that its going was told already. Raises ConfigError.
        """

    def release(self) -> None:
        """Give the lock back. Never raises."""

    def keep_alive(self) -> None:
        """Say something to an idle connection in time. Raises CheckpointConflict."""

    def look_around(self) -> bool:
        """Notice what others have done meanwhile: changes that were mended, tables that were altered. Looks now and
        then only; True where tables may have changed. Not while a transaction is under way."""

    def was_parked(self, position: str, message: bytes) -> bool:
        """Whether this very message of the stream was parked before, whatever became of it since."""

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""

    def copy_start(self, checkpoint: Checkpoint) -> CopyStart | None:
        """What a copy has left to be observed behind this place. Raises StopError while the copy is unfinished."""

    def kept_rows(self, copy: CopyRows) -> tuple[Sequence[int], Sequence[bytes]]:
        """The next messages that were kept of the copy and not taken up, in order, with what tells which they are."""


class Plans(Protocol[PlanT]):
    """Which plan each row change goes by."""

    def attach(self) -> None:
        """The target was connected anew: plan for it as it is now."""

    def forget(self) -> None:
        """The target's tables may have changed: plan anew."""

    def plan_of(self, change: RowChange) -> PlanT | None:
        """The plan of a change that goes to one table and was routed before; None where `route` must tell. Runs once a
        row."""

    def current(self, plan: PlanT) -> PlanT:
        """The plan by which the changes of its table go now; the same one where the table is gone."""

    def renew(self, plan: PlanT) -> PlanT | None:
        """Look at the plan's table again; a new plan, or None where it has not changed, or is gone."""

    def is_fed(self, change: RowChange) -> bool:
        """Whether rows of the change's table have come by this stream."""

    def route(self, change: RowChange) -> Sequence[tuple[PlanT, RowChange]]:
        """The plans a change goes by: none if it is filtered out, several if it goes to several places. Raises
        PlanError."""

    def named_rows(self, change: RowChange) -> Sequence[tuple[PlanT, RowChange]]:
        """The rows that a change which cannot be planned is about; nothing where none can be named."""

    def targets(self, change: RowChange | SchemaChange) -> Sequence[TableName]:
        """The tables of the target that a change goes to, for one that cannot be planned; of a change of a database
        itself they have no name."""

    def batch(self) -> Batch[PlanT]:
        """An empty batch."""


class SchemaPlanner(Protocol[StepT]):
    """Collects the messages of one statement and says what it leads to; runs nothing."""

    is_open: bool
    """Whether a statement waits for the rest of its messages."""

    def start(self, ghosts: str) -> None:
        """Go on from what the state says of online schema changes under way."""

    def belongs(self, change: SchemaChange) -> bool:
        """Whether the change is one more message of the statement that is open."""

    def add(self, delivery: Delivery, change: SchemaChange) -> None:
        """Take in one message of the open statement."""

    def take(self) -> SchemaWork[StepT]:
        """What the open statement leads to; none is open then."""

    def ghosts(self) -> str:
        """The online schema changes under way, for the state."""

    def keeps(self, change: RowChange) -> CopyRows | None:
        """The copy, if this row that is left out is one of it that may have to be made up for."""


class Sink(Protocol[PlanT, StepT]):
    """Where changes end, one transaction after the other. A sink that cannot commit rows and state together writes so
    that the same change may come again."""

    def begin(self, work: Work[PlanT]) -> None:
        """Begin to commit, without a wait for what the target does meanwhile: `advance` now and then, `finish` before
        the next one is begun."""

    def advance(self) -> bool:
        """Go on with what was begun as far as the target has answered; whether `finish` would not wait."""

    def finish(self, work: Work[PlanT]) -> list[ParkedChange]:
        """Commit what was begun, once, whatever is lost on the way; what the target refused and was parked instead.

        Waits while the target is away. Raises StructureChanged if the plans do not fit the target any more, StopError
        by policy, CheckpointConflict, ConfigError; nothing is committed then.
        """

    def has_decided(self, step: SchemaStep[StepT]) -> bool:
        """Whether the statement was run, skipped or parked before the last stop."""

    def change_schema(self, step: SchemaStep[StepT], state: StreamState) -> str:
        """Run one statement and store `state`; what became of it: done, skipped, parked, or "again" where it had run
        before. Once however often it is asked for. Waits while the target is away. Raises StopError by policy."""
