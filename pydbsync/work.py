"""The words of the engine: what it takes in, stores beside the rows, parks and hands to a sink. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from pydbsync.model import Change, Delivery, RowChange, SchemaChange, TableName
from pydbsync.places import Checkpoint


class Transit(NamedTuple):
    """Of the messages of one subscription, and the newest one that is committed; times in seconds since 1970."""

    held: int
    """Taken in and not acknowledged."""
    acknowledged: int
    """Acknowledged since the subscription began."""
    received_at: float
    """When the newest acknowledged one came in; 0.0 where none is."""
    committed_at: float
    published_at: float | None = None
    """Where the message tells: the property `timestamp`."""


class RowPlan(Protocol):
    """How the changes of one source table are written to one table of the target; what is in it is the sink's."""

    @property
    def name(self) -> TableName:
        """The target's table."""

    @property
    def has_key(self) -> bool:
        """Whether the table has a key that tells its rows apart."""

    def identity(self, change: RowChange) -> Sequence[bytes]:
        """Digests of the row before and after the change; nothing where the row cannot be told from others."""

    def passes_to(self, change: RowChange) -> Sequence[TableName]:
        """The tables whose rows the target changes along with the row, by foreign keys."""


PlanT = TypeVar("PlanT", bound=RowPlan)
_PlanT_contra = TypeVar("_PlanT_contra", bound=RowPlan, contravariant=True)
StepT = TypeVar("StepT")

Entry: TypeAlias = tuple[Delivery, RowChange, PlanT]
"""One row change on its way to one target table."""


class Batch(Protocol[_PlanT_contra]):
    """Row changes put together, in the sink's own form."""

    def add(self, change: RowChange, plan: _PlanT_contra) -> None:
        """Take in the next change of the stream. Raises PlanError; the batch is then as before."""


class StreamState(msgspec.Struct):
    """What the checkpoint row says, counters included."""

    checkpoint: Checkpoint
    epoch: int = 0
    commits: int = 0
    applied: int = 0
    duplicates: int = 0
    heartbeat: int | None = None
    heartbeat_ts: int | None = None
    ghosts: str = ""
    generation: int = 0
    """How often the stream has begun anew at places before those it had. Kept by sinks that compare places."""
    echoes: str | None = None
    """What has to be known of the other direction's transactions and schema changes that are not over; None where
    replay runs one way."""
    bootstrapped: frozenset[TableName] = frozenset()
    """Source tables whose rows came by a bootstrap, and no newer change since: what Maxwell held back is still due."""


class Pauses(NamedTuple):
    """What of a stream an operator has paused."""

    whole: str = ""
    """Since when, by whom and why, where it is the stream itself."""
    schema_changes_of: tuple[str, ...] = ()
    """Globs of source tables whose schema changes are parked until they are resumed."""


PENDING = 2**62
"""Added to the place of a change in the list of those that are about to be parked: its id is not known yet."""


class ParkedChange(msgspec.Struct, frozen=True):
    """One change that was not applied, as the table `parked` keeps it."""

    message: bytes
    """The message as it arrived."""
    reason: str
    code: int = 0
    """The server's error number, 0 where the target was not asked."""
    kind: str = ""
    position: str = ""
    source: TableName = TableName("", "")
    target_database: str = ""
    target_table: str = ""
    """Empty where it is the source's."""
    row_keys: tuple[bytes, ...] = ()
    """Identities of the row (before and after): later changes of either are parked behind this one."""
    is_whole_table: bool = False
    input_format: str = "maxwell"
    """What the message is of: Maxwell's form, but for one that came in another and could not be read."""
    behind: int | None = None
    """The id of the parked change that this one waits for, or PENDING and its place in the same transaction."""

    @property
    def target(self) -> TableName:
        """The table that it would have changed; a database itself has no table."""
        return TableName(self.target_database or self.source.database, self.target_table or self.source.table)


class Conflict(msgspec.Struct, frozen=True):
    """A change that did not find the target's row as the source's was, and whose row stays."""

    position: str
    kind: str
    source: TableName
    target: TableName
    found: str
    """What the target had against it: exists, changed, missing, unique."""
    policy: str
    decision: str
    """source, target, same or parked."""
    before: msgspec.Raw | None
    after: msgspec.Raw | None
    there: msgspec.Raw | None
    """The target's row; None where it has none."""
    note: str = ""


_TABLE = b"\0table\0"


def key_of_table(name: TableName) -> bytes:
    """Stands among the `row_keys` of a parked statement for one more table that waits behind it."""
    return _TABLE + msgspec.msgpack.encode(name)


def table_of_key(key: bytes) -> TableName | None:
    """The table; None for a key of a row."""
    return msgspec.msgpack.decode(key[len(_TABLE) :], type=TableName) if key.startswith(_TABLE) else None


def defaults_of(database: str) -> TableName:
    """Stands for what a table gets that is made in the database, as ALTER DATABASE changes it: no row depends on it."""
    return TableName(database, "\0defaults")


_STRUCTURE = "\0structure\0"
_PARENT = "\0parent\0"


def structure_of(table: TableName) -> TableName:
    """Stands for how a table is made, where another is to be made like it: no row depends on it."""
    return TableName(table.database, _STRUCTURE + table.table)


def parent_of(table: TableName) -> TableName:
    """Stands for a table as foreign keys point at it, by its name and those of its columns: no row depends on it."""
    return TableName(table.database, _PARENT + table.table)


def table_behind(name: TableName) -> TableName | None:
    """The table whose structure that is, or at which foreign keys point; None for a table itself."""
    for prefix in (_STRUCTURE, _PARENT):
        if name.table.startswith(prefix):
            return TableName(name.database, name.table[len(prefix) :])
    return None


def held_by(kind: str, target: TableName) -> tuple[bool, tuple[bytes, ...]]:
    """Of a parked statement on this table, or with no name on the whole database: whether all of that waits behind it,
    and what else does. Behind a statement on a table that nothing names nobody waits: that would be all tables."""
    if kind == "database-alter":
        return False, (key_of_table(defaults_of(target.database)),)
    return bool(target.table) or kind.startswith("database-"), ()


class ParkedRows:
    """Which rows and tables of a stream have something parked, so that what follows keeps its order behind it."""

    def __init__(self) -> None:
        self._tables: dict[TableName, int] = {}
        self._rows: dict[tuple[TableName, bytes], int] = {}
        self._touched: dict[TableName, int] = {}
        self._left: dict[tuple[TableName, TableName, bytes], int] = {}
        self.count = 0
        self.is_empty = True
        """Whether no change of a row need be held against what is here; asked for each row."""

    def __bool__(self) -> bool:
        return not self.is_empty

    def blocker(self, target: TableName, keys: Iterable[bytes] = ()) -> int | None:
        """The id of the newest parked change that a change of these rows, or of what concerns no row, must wait for;
        None if there is none."""
        found = [self._tables[name] for name in (target, TableName(target.database, "")) if name in self._tables]
        found += [self._rows[target, key] for key in keys if (target, key) in self._rows]
        return max(found, default=None)

    def blocker_of_row(self, target: TableName, keys: Collection[bytes], along: Iterable[TableName] = ()) -> int | None:
        """The same for the change of a row, and of any rows of other tables `along` with it; without keys it may be any
        row of the table."""
        own = self.blocker(target, keys) if keys else self.blocker_of_table(target)
        return max(filter(None, (own, *map(self.blocker_of_table, along))), default=None)

    def blocker_of_table(self, target: TableName) -> int | None:
        """The same for a change of the whole table, which waits for each of its rows."""
        return max(filter(None, (self.blocker(target), self._touched.get(target))), default=None)

    def blocker_of_database(self, database: str) -> int | None:
        """The same for a change of the whole database: the newest that is parked for a whole table of it."""
        return max((found for name, found in self._tables.items() if name.database == database), default=None)

    def left(self, source: TableName, target: TableName, keys: Iterable[bytes]) -> int | None:
        """The id of a change of this source's row that met a row of another one, and was given up: at the target the
        row may be that other one's. None where there is none."""
        return max(filter(None, (self._left.get((source, target, key)) for key in keys)), default=None)

    def leave(self, parked_id: int, given_up: ParkedChange) -> None:
        """This one was given up."""
        self.is_empty = self.is_empty and not given_up.row_keys
        for key in given_up.row_keys:
            self._left[given_up.source, given_up.target, key] = parked_id

    def remember(self, parked_id: int, parked: ParkedChange) -> None:
        """Later changes wait behind this one."""
        target = parked.target
        self.count += 1
        self.is_empty = False
        if not any(target):
            return  # it could not be read: nobody knows what it is about
        self._touched[target] = parked_id
        if parked.is_whole_table:
            self._tables[target] = parked_id
        for key in parked.row_keys:
            if (name := table_of_key(key)) is not None:
                self._touched[name] = self._tables[name] = parked_id
            else:
                self._rows[target, key] = parked_id


class CopyRows(NamedTuple):
    """The rows that came for the copy of an online schema change and were left out, kept until its swap."""

    copy: TableName
    began: str
    """Tells this copy from an earlier one of the same name."""

    def rows_in(self, changes: Iterable[Change]) -> list[RowChange]:
        """Those that are of the copy, of the changes that a kept message tells."""
        return [
            change
            for change in changes
            if isinstance(change, RowChange) and (change.database, change.table) == self.copy
        ]


class Work(msgspec.Struct, Generic[PlanT]):
    """What one transaction on the target will hold."""

    batch: Batch[PlanT] | None
    """None where there are no entries."""
    entries: list[Entry[PlanT]]
    parked: list[ParkedChange]
    state: StreamState
    """The checkpoint row as it will be after the commit."""
    keeps_all: bool = False
    """What is parked is stored whatever the limit says, since it does not come again as new."""
    new_streams: tuple[int, ...] = ()
    """The tags of deliveries with which the stream begins anew, each a generation of its own."""
    outside: int = 0
    """How many changes of tables without transactions are done already, before the transaction."""
    outside_refused: list[ParkedChange] = msgspec.field(default_factory=list)
    """What the target refused of them."""
    conflicts: list[Conflict] = msgspec.field(default_factory=list)
    """Those that were decided, once the work is committed."""
    kept: Mapping[CopyRows, Sequence[bytes]] = {}
    """Messages of rows that are left out and kept, in order."""
    taken_up: Sequence[int] = ()
    """Which of those that were kept before are applied by this work."""


class SchemaMessage(NamedTuple):
    """One of the messages that announce a statement."""

    delivery: Delivery
    change: SchemaChange

    def announces(self, change: SchemaChange) -> bool:
        """Whether a change is another message of the same statement."""
        own = self.change
        return own.sql == change.sql and own.position == change.position and own.ts == change.ts


class SchemaStep(msgspec.Struct, Generic[StepT]):
    """One statement to run on one target database."""

    change: SchemaChange
    planned: StepT
    """The statement in the sink's own form."""
    policy: str
    """apply, skip, park or stop."""
    database: str
    messages: list[SchemaMessage]
    """All that announce it; where the step is parked, all of them are."""
    siblings: list[SchemaMessage]
    """Of these, the ones that wait behind the first where the sink parks the statement."""
    why: str = ""
    """Why it is parked, where that is not the policy for its kind."""
    holds: tuple[TableName, ...] = ()
    """What else waits behind it than the tables of its messages."""
    waits_for: tuple[TableName, ...] = ()
    """Tables (or, with no table, databases) that may have nothing parked for the whole of them."""
    waits_for_rows: tuple[TableName, ...] = ()
    """Tables that may have nothing parked at all: what is parked would not mean the same behind the statement."""

    names: Mapping[TableName, TableName] = {}
    """What tables of the source are called at the target, where that is not their name in `database`."""

    def park(self, messages: Iterable[SchemaMessage], reason: str, behind: int | None = None) -> list[ParkedChange]:
        """The record of these messages where the statement is not run."""
        found = park_messages(messages, self.database, reason, behind=behind, names=self.names)
        if self.holds and found:
            found[0] = msgspec.structs.replace(found[0], row_keys=tuple(map(key_of_table, self.holds)))
        return found

    def target(self) -> TableName:
        """The table that the statement's first message is about, at the target; of a database it has no name."""
        name = TableName(self.change.database, self.change.table or "")
        return self.names.get(name, TableName(self.database, name.table))


class SchemaWork(msgspec.Struct, Generic[StepT]):
    """All that one statement of the source leads to: what is to be run, in order, and what cannot be."""

    steps: list[SchemaStep[StepT]]
    parked: list[ParkedChange]
    fills: Sequence[CopyRows] = ()
    """Copies whose rows are made up for, between two steps."""
    fills_behind: int = 0
    """How many of the steps come before that."""
    ghosts: str = ""
    """Where there are such, the state of online schema changes that is committed before the first step."""


def describe_change(change: RowChange | SchemaChange) -> tuple[str, str, TableName]:
    """Kind, position with row number, and source table of a change, for the record."""
    position = change.position or ""
    if isinstance(change, RowChange):
        if change.xoffset is not None:
            position += f"/{change.xoffset}"
        return change.kind, position, TableName(change.database, change.table)
    return change.kind, position, TableName(change.database, change.table or "")


def park_row(entry: Entry[PlanT], reason: str, *, code: int = 0, behind: int | None = None) -> ParkedChange:
    """The record of a row change that is not applied."""
    delivery, change, plan = entry
    kind, position, source = describe_change(change)
    keys = tuple(plan.identity(change))
    if not keys and behind is None:
        reason += (
            f"; which row it is cannot be told by its key, so that all later changes of {plan.name} wait behind it"
        )
    return ParkedChange(
        message=delivery.body, reason=reason, code=code, kind=kind, position=position, source=source,
        target_database=plan.name.database, target_table=_other(plan.name.table, source),
        row_keys=(*keys, *map(key_of_table, plan.passes_to(change))), is_whole_table=not keys, behind=behind,
    )  # fmt: skip


def park_whole(
    delivery: Delivery,
    change: RowChange | SchemaChange,
    database: str,
    reason: str,
    *,
    behind: int | None = None,
    table: str = "",
) -> ParkedChange:
    """The record of a change that no row can be named of: the whole table of this target database waits behind it. The
    table is called as at the source, unless `table` says otherwise."""
    kind, position, source = describe_change(change)
    is_whole, keys = held_by(kind, TableName(database, table or source.table))
    return ParkedChange(
        message=delivery.body, reason=reason, kind=kind, position=position, source=source, target_database=database,
        target_table=_other(table, source), row_keys=keys, is_whole_table=is_whole, behind=behind,
    )  # fmt: skip


def park_messages(
    messages: Iterable[SchemaMessage],
    database: str,
    reason: str,
    *,
    names: Mapping[TableName, TableName],
    behind: int | None = None,
) -> list[ParkedChange]:
    """The records of a statement's messages for one database of the target; `names` as of SchemaStep."""
    found = []
    for message in messages:
        name = TableName(message.change.database, message.change.table or "")
        target = names.get(name, TableName(database, name.table))
        found.append(park_whole(*message, target.database, reason, behind=behind, table=target.table))
    return found


def _other(table: str, source: TableName) -> str:
    return "" if table == source.table else table
