"""Online schema changes (gh-ost, pt-online-schema-change) as one change of the real table.

Both tools copy a table into a new one of the wanted shape, keep the copy up to date, and swap the two by a rename.
The target needs none of that: the copy is never made there, its rows are left out, and at the swap the changes that
the tool made to the copy are made to the real table. docs/schema-changes.md says when that is not the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange, SchemaKind, TableName
from pydbsync.plan.ddl.definition import read_description
from pydbsync.plan.ddl.kept import KeptMessage, keep, resume, retarget
from pydbsync.plan.ddl.lexer import Edit, apply_edits, cut_members, shorten
from pydbsync.plan.ddl.names import StatementNames
from pydbsync.plan.ddl.statement import Item, NameRef, Statement, parse_statement
from pydbsync.plan.ddl.tool_tables import (
    ANY_TABLE,
    LOG_COMMENT,
    SENTRY_COMMENT,
    bases_of,
    has_string,
    is_log_of_gh_ost,
    is_marked_by_gh_ost,
    is_old_name,
    is_shown_table,
    log_beside,
    renamed_constraints,
)
from pydbsync.plan.quoting import quote_table
from pydbsync.work import CopyRows

ColumnNamesOf: TypeAlias = Callable[[TableName], Sequence[str] | None]
"""A source's table → names of the columns that its table on the target has, in order; None if there is none."""


class RealRows(NamedTuple):
    """The rows that a real table has on the target."""

    total: int
    is_shared: bool = False
    """Whether rows of other sources may be among them."""


RowsOf: TypeAlias = Callable[[TableName, TableName], RealRows | None]
"""(copy, real table) → the real table's rows; None if the copy's cannot be held against them."""
MisfitOf: TypeAlias = Callable[[CopyRows, TableName, Sequence[SchemaChange]], str]
"""(copy, real table, what the swap would do to it) → in what the rows that came for the copy are other than the real
table's would be then; empty where they are the same."""
CopyRole: TypeAlias = Literal["copy", "log", "old"]


class Absent(msgspec.Struct, frozen=True):
    """A table of the source that the target does not have."""

    name: TableName
    role: CopyRole
    """copy: the table of the wanted shape; log: gh-ost's changelog; old: the real table as it was, moved away."""
    real: TableName
    changes: tuple[KeptMessage, ...] = ()
    """What was changed on the copy, in order."""
    rows: int | None = None
    """How many rows the copy has by the rows that came for it; None where that is not known."""
    unfit: str = ""
    """What happened that no tool does, so that the copy must not take the real table's place here."""
    renames: tuple[KeptMessage, ...] = ()
    """What gives the real table's constraints the names that they have in the copy; comes before `changes`."""
    made: KeptMessage | None = None
    """The statement that made the copy, where it could be made here as it was at the source."""
    began: str = ""
    """Tells the copy from an earlier one of its name; empty where its rows are not kept."""


class Gone(msgspec.Struct, frozen=True):
    """A real table that the source has moved away or dropped, so that the copy can take its name."""

    name: TableName
    held: KeptMessage
    """The statement, which runs on the target if the copy does not come."""


class Observed(NamedTuple):
    """What is to be done about one statement."""

    state: OnlineChanges
    changes: tuple[SchemaChange, ...]
    """What to plan and run, in order: the change itself where it is an ordinary one (its siblings belong to it), else
    statements that stand alone, at the same position; none where the statement is left out."""
    note: str = ""
    warning: str = ""
    """That a copy is none, and is made from the rows that came."""
    fills: tuple[CopyRows, ...] = ()
    """Copies that get the rows that were kept of them, before the last of `changes`."""
    decided: OnlineChanges | None = None
    """Where there are such, the state before the statement with that decision: once it has been run, what is there does
    not tell any more what it was."""


class NoCopyError(PlanError):
    """What was left out as a copy is none. `state` is the one behind the statement, which is to be parked."""

    def __init__(self, text: str, state: OnlineChanges) -> None:
        super().__init__(text)
        self.state = state


class OnlineChanges(msgspec.Struct, frozen=True):
    """The online schema changes under way on the source. It is saved with the checkpoint, in the same transaction."""

    absent: tuple[Absent, ...] = ()
    gone: tuple[Gone, ...] = ()

    def to_json(self) -> str:
        """For the checkpoint; empty where there is nothing to keep."""
        return msgspec.json.encode(self).decode() if self.absent or self.gone else ""

    @classmethod
    def from_json(cls, text: str) -> OnlineChanges:
        """Raises PlanError if the text was not written by `to_json`."""
        try:
            return msgspec.json.decode(text, type=cls) if text else cls()
        except msgspec.MsgspecError as exc:
            raise PlanError(f"the saved state of online schema changes cannot be read: {exc}") from exc

    def hides(self, table: TableName, columns_of: ColumnNamesOf | None = None) -> bool:
        """Whether the rows of this source's table are to be left out.

        With `columns_of` also the rows of gh-ost's copy whose beginning was not seen; its swap will be refused.
        """
        if any(item.name == table for item in self.absent):
            return True
        return columns_of is not None and table.table.endswith("_gho") and _unseen_real(table, columns_of) is not None

    def real_of(self, table: TableName) -> TableName | None:
        """The table whose copy this one is; None for a table that is none."""
        return next((item.real for item in self.absent if item.name == table and item.role == "copy"), None)

    def keeps(self, table: TableName) -> CopyRows | None:
        """The copy of this name, if its rows are kept."""
        found = next((item for item in self.absent if item.name == table and item.began), None)
        return None if found is None else CopyRows(found.name, found.began)

    @property
    def kept(self) -> frozenset[str]:
        """By what the copies whose rows are kept are told."""
        return frozenset(item.began for item in self.absent if item.began)

    def counted(self, came: Mapping[TableName, int | None]) -> OnlineChanges:
        """The state after these numbers of rows more have come for tables that are left out; None: not known."""
        absent = [
            msgspec.structs.replace(item, rows=None if item.rows is None or more is None else item.rows + more)
            if item.role == "copy" and (more := came.get(item.name, 0)) != 0
            else item
            for item in self.absent
        ]
        return OnlineChanges(tuple(absent), self.gone)

    def observe(
        self,
        change: SchemaChange,
        *,
        statement: Statement,
        columns_of: ColumnNamesOf,
        siblings: Sequence[SchemaChange] = (),
        rows_of: RowsOf = lambda copy, real: None,
        misfit_of: MisfitOf = lambda copy, real, changes: "",
        keeps: Callable[[TableName], bool] = lambda copy: False,
        are_alike: Callable[[TableName, TableName], bool] = lambda copy, real: True,
        has_columns: Callable[[TableName, Sequence[str]], bool] | None = None,
    ) -> Observed:
        """Take one statement in, with the other messages that announce it, before filters leave tables out.

        `keeps` tells whether the rows of a copy can be kept, `are_alike` whether those of a copy and of its real table
        come to the target alike, so that it can be made of them; `has_columns` whether the target's table of a source's
        has these columns of the source. Raises PlanError where the stream began in the middle of an online schema
        change, or where a table comes back that the target does not have; NoCopyError where a swap does not fit what
        came before, and the copy cannot be made of what was kept.
        """
        if statement.action == "drop-database":
            absent = tuple(item for item in self.absent if item.name.database != change.database)
            gone = tuple(item for item in self.gone if item.name.database != change.database)
            return Observed(OnlineChanges(absent, gone), (change,))
        concerned = self.absent or any(ANY_TABLE.fullmatch(ref.table or "") for ref in statement.names)
        if not statement.items or not concerned:
            return Observed(self, (change,))
        try:
            names = StatementNames(statement, (change, *siblings), None, are_all=True)
        except PlanError:  # the planner has more to ask, and says what is missing
            return Observed(self, (change,))
        return _Taking(
            self, change, statement, names, columns_of, rows_of, misfit_of, keeps, are_alike, has_columns
        ).observed()


_DIFFERS_BY_ROW = frozenset({
    "CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP", "UUID", "RAND", "AUTO_INCREMENT",
})  # fmt: skip


class _Taking:
    """The state while one statement is taken in."""

    def __init__(
        self,
        state: OnlineChanges,
        change: SchemaChange,
        statement: Statement,
        names: StatementNames,
        columns_of: ColumnNamesOf,
        rows_of: RowsOf,
        misfit_of: MisfitOf,
        keeps: Callable[[TableName], bool],
        are_alike: Callable[[TableName, TableName], bool],
        has_columns: Callable[[TableName, Sequence[str]], bool] | None,
    ) -> None:
        self.absent = {item.name: item for item in state.absent}
        self.gone = {item.name: item for item in state.gone}
        self.change = change
        self.statement = statement
        self.names = names
        self.columns_of = columns_of
        self.rows_of = rows_of
        self.misfit_of = misfit_of
        self.keeps = keeps
        self.are_alike = are_alike
        self.has_columns = has_columns or (lambda real, columns: list(columns_of(real) or ()) == list(columns))
        self.is_compared = False
        """Whether the rows that came are known to be the real table's."""
        self.refused = ""
        self.warnings: list[str] = []
        self.fills: list[CopyRows] = []
        self.decided = state
        self.moved: dict[TableName, Item] = {}
        """Real tables that this statement moves away, so that a copy can take the name."""
        self.put_back: list[Item] = []
        """What of the statement is ordinary after all."""
        self.instead: list[SchemaChange] = []
        self.notes: list[str] = []

    def observed(self) -> Observed:
        found = [item for index, item in enumerate(self.statement.items) if self.is_ordinary(item, index)]
        ordinary = [item for item in self.statement.items if item in found or item in self.put_back]
        state = OnlineChanges(tuple(self.absent.values()), tuple(self.gone.values()))
        if self.refused:
            raise NoCopyError(self.refused, state)
        if len(ordinary) == len(self.statement.items):
            self.instead.append(self.change)
        elif ordinary:
            self.instead.append(self.restricted(ordinary))
        return Observed(
            state, tuple(self.instead), "; ".join(self.notes), "; ".join(self.warnings), tuple(self.fills),
            self.decided if self.fills else None,
        )  # fmt: skip

    def is_ordinary(self, item: Item, index: int) -> bool:
        """Whether this part of the statement has nothing to do with an online schema change; takes it in if it has."""
        action = self.statement.action
        if self.names.is_open(item):
            return True
        if action == "create-table":
            return self.created(self.full(item.subject))
        if action == "drop-table":
            return self.dropped(self.full(item.subject))
        if item.before is None or item.after is None or item.before is item.after:
            return self.altered(self.full(item.subject))
        before, after = self.full(item.before), self.full(item.after)
        is_ordinary = self.renamed(item, before, after, self.statement.items[index + 1 :])
        if not is_ordinary and len(self.statement.clauses) > 1:
            raise PlanError(f"one statement moves {before} in an online schema change and changes it; run it by hand")
        return is_ordinary

    def created(self, table: TableName) -> bool:
        self.absent.pop(table, None)
        self.release(table)
        found = self.recognised(table)
        if found is None:
            return True
        self.absent[table] = found
        self.notes.append(f"{table} belongs to an online schema change of {found.real} and is not made on the target")
        return False

    def altered(self, table: TableName) -> bool:
        found = self.absent.get(table)
        if found is None:
            if real := _unseen_real(table, self.columns_of):
                raise _began_earlier(table, real)
            self.mark_unfit(table)
            return True
        if found.role == "copy" and self.statement.action == "truncate-table":
            self.absent[table] = msgspec.structs.replace(found, rows=0)
        elif found.role == "copy":
            self.absent[table] = msgspec.structs.replace(found, changes=(*found.changes, keep(self.change)))
            self.notes.append(f"the change of {table} waits until it takes the place of {found.real}")
        return False

    def dropped(self, table: TableName) -> bool:
        found = self.absent.pop(table, None)
        if found is not None:
            if found.role == "copy":
                self.release(found.real)
            return False
        if self.has_copy(table):
            # pt-online-schema-change with drop_swap drops the real table, then gives its name to the copy.
            self.gone[table] = Gone(table, self.held(f"DROP TABLE {quote_table(table)}", table))
            return False
        return not (ANY_TABLE.fullmatch(table.table) and self.columns_of(table) is None)

    def renamed(self, item: Item, before: TableName, after: TableName, later: Sequence[Item]) -> bool:
        found = self.absent.get(before)
        if found is None:
            is_moved_away = self.has_copy(before) and is_old_name(after.table, before.table, statement=self.statement)
            if is_moved_away or self.is_swapped(before, later):
                held = self.held(f"RENAME TABLE {quote_table(before)} TO {quote_table(after)}", before)
                self.gone[before] = Gone(before, held)
                self.absent[after] = Absent(after, "old", before)
                self.moved[before] = item
                return False
            if after.table in bases_of(before.table) and self.columns_of(before) is None:
                raise _began_earlier(before, after)
            self.release(after)
            return True
        if after == found.real and found.role == "copy" and (after in self.gone or self.columns_of(after) is not None):
            real = self.rows_of(before, after) if found.rows is not None else None
            unfit = self.unfit(found, real)
            # One that is made would take the place of other sources' rows.
            if unfit and self.can_be_made(found) and not (real is not None and real.is_shared):
                return self.make(found, after, unfit)
            self.swap(found, unfit)
        elif after == found.real and found.role == "old" and after in self.gone:
            del self.gone[after]
        elif self.can_be_made(found):
            return self.make(found, after, f"it gets the name {after}")
        else:
            raise PlanError(
                f"{before}, which becomes {after}, was left out as a part of an online schema change of {found.real}"
                f" and is not on the target; copy {after} from the source, then go on behind this statement"
            )
        del self.absent[before]
        return False

    def mark_unfit(self, real: TableName) -> None:
        """The real table was changed itself: its copy knows nothing of that."""
        for copy in [item for item in self.absent.values() if item.role == "copy" and item.real == real]:
            unfit = f"{real} was changed itself while it was copied ({shorten(self.statement.sql, 80)})"
            # A copy that was made LIKE it would be made of what it is now.
            is_like = self.statement.action != "truncate-table" and _is_like(copy)
            made = None if is_like else copy.made
            self.absent[copy.name] = msgspec.structs.replace(copy, unfit=unfit, made=made)

    def unfit(self, copy: Absent, real: RealRows | None) -> str:
        """Why the copy is none of the real table, whose rows are these; empty where nothing shows that."""
        if copy.unfit:
            return copy.unfit
        if copy.rows is None or real is None:
            self.warnings.append(
                f"the rows that came for {copy.name} were not compared with those of {copy.real}: verify it"
            )
            return ""
        if copy.rows > real.total or (copy.rows < real.total and not real.is_shared):
            return f"{copy.rows:,} rows came for {copy.name}, and {copy.real} has {real.total:,}"
        if not copy.began:
            return ""
        self.is_compared = True
        misfit = self.misfit_of(CopyRows(copy.name, copy.began), copy.real, self.on_real(copy, copy.changes))
        if not misfit and real.is_shared and copy.rows < real.total:
            self.warnings.append(
                f"several sources feed {copy.real}, so that rows which {copy.name} lacks cannot be told from theirs:"
                " verify it"
            )
        return misfit

    def on_real(self, copy: Absent, changes: Sequence[KeptMessage]) -> list[SchemaChange]:
        """Changes of the copy as such of the real table."""
        return [resume(retarget(kept, copy.name, copy.real), self.change.position) for kept in changes]

    def can_be_made(self, copy: Absent) -> bool:
        """Whether the target can be given the table as it is at the source, by what came of it."""
        return copy.role == "copy" and bool(copy.began) and copy.made is not None and copy.rows is not None

    def make(self, copy: Absent, name: TableName, why: str) -> bool:
        """Make the copy on the target from what was kept, so that the statement runs as any other; that it does."""
        assert copy.made is not None  # noqa: S101 (`can_be_made`)
        self.instead += [resume(kept, self.change.position) for kept in (copy.made, *copy.changes)]
        if name == copy.real and name in self.moved:
            self.put_back.append(self.moved[name])
            self.gone.pop(name, None)
            self.absent = {key: each for key, each in self.absent.items() if (each.role, each.real) != ("old", name)}
        else:
            self.release(copy.real)  # behind the copy, which may be made LIKE it
        del self.absent[copy.name]
        self.fills.append(CopyRows(copy.name, copy.began))
        marked = [
            msgspec.structs.replace(each, unfit=why) if each.name == copy.name else each for each in self.decided.absent
        ]
        self.decided = OnlineChanges(tuple(marked), self.decided.gone)
        self.warnings.append(
            f"{copy.name}, which becomes {name}, began like an online schema change of {copy.real} but is no copy of it"
            f" ({why}): it is made now, of the rows that came for it, and what followed is replayed as it was"
        )
        return True

    def swap(self, copy: Absent, unfit: str) -> None:
        """The copy takes the real table's place: its changes are made to the real table, if it is a copy of it."""
        self.gone.pop(copy.real, None)
        if unfit:
            self.refused = (
                f"{copy.name} takes the place of {copy.real}, but it is no copy of it: {unfit}. It began like an online"
                f" schema change, so that its rows were left out; copy {copy.real} from the source, then go on behind"
                " this statement"
            )
        self.instead += self.on_real(copy, (*copy.renames, *copy.changes))
        self.notes.append(f"{copy.name} takes the place of {copy.real}: its changes are made to {copy.real}")
        words = {token.upper for kept in copy.changes for token in parse_statement(kept.sql).tokens}
        if not self.is_compared and (differing := sorted(words & _DIFFERS_BY_ROW)):
            self.notes.append(
                f"{', '.join(differing)} can give rows other values than at the source: verify {copy.real}"
            )

    def release(self, real: TableName) -> None:
        """The copy does not come: run what was held back."""
        gone = self.gone.pop(real, None)
        if gone is not None:
            self.instead.append(resume(gone.held, self.change.position))
            self.absent = {name: item for name, item in self.absent.items() if (item.role, item.real) != ("old", real)}

    def recognised(self, table: TableName) -> Absent | None:
        """What a new table is to an online schema change; None for an ordinary table."""
        database, name = table
        described = read_description(self.change.def_)
        columns = [column.name for column in described.columns] if described else []
        if has_string(self.statement, SENTRY_COMMENT):
            return Absent(table, "old", TableName(database, name.lstrip("_").removesuffix("_del")))
        is_gh_ost = is_marked_by_gh_ost(self.statement)
        if is_log_of_gh_ost(name, columns) and (is_gh_ost or has_string(self.statement, LOG_COMMENT)):
            return Absent(table, "log", TableName(database, name[1:-4]))
        like = next((self.full(ref) for ref in self.statement.names if ref.role == "like"), None)
        if like is not None:
            has_log = any((item.role, item.name) == ("log", log_beside(table)) for item in self.absent.values())
            is_copy = name.endswith("_gho") and (is_gh_ost or has_log) and like.database == database
            return self.copy_of(table, like) if is_copy and self.columns_of(like) is not None else None
        if not is_shown_table(self.statement):
            return None
        for base in bases_of(name):
            real = TableName(database, base)
            if self.columns_of(real) is not None and self.has_columns(real, columns):
                parts = renamed_constraints(self.statement)
                sql = f"ALTER TABLE {quote_table(table)} {', '.join(parts)}"
                return self.copy_of(table, real, renames=(self.held(sql, table),) if parts else ())
        return None

    def copy_of(self, table: TableName, real: TableName, *, renames: tuple[KeptMessage, ...] = ()) -> Absent:
        found = Absent(table, "copy", real, rows=0, renames=renames)
        position = self.change.position
        if position is None or not self.keeps(table) or self.columns_of(table) is not None:
            return found
        began = hashlib.sha1(f"{table}\0{position}\0{self.change.ts}".encode(), usedforsecurity=False).hexdigest()
        made = keep(self.change) if self.are_alike(table, real) else None
        return msgspec.structs.replace(found, made=made, began=began)

    def restricted(self, items: list[Item]) -> SchemaChange:
        """The statement with only these items, and with full names, so that it stands without its other messages."""
        edits = cut_members([item.span for item in self.statement.items], [i in items for i in self.statement.items])
        for ref in self.statement.names:
            if ref.database is None:
                edits.append(Edit(ref.span, quote_table(self.full(ref))))
        held = self.held(apply_edits(self.statement.sql, edits), self.full(items[0].subject))
        return resume(msgspec.structs.replace(held, kind=self.change.kind), self.change.position)

    def full(self, ref: NameRef) -> TableName:
        return TableName(self.names.database(ref), self.names.table(ref))

    def has_copy(self, real: TableName) -> bool:
        return any(item.role == "copy" and item.real == real for item in self.absent.values())

    def is_swapped(self, real: TableName, later: Sequence[Item]) -> bool:
        """Whether the same statement gives the name of `real` to its copy."""
        pairs = [(self.full(item.before), self.full(item.after)) for item in later if item.before and item.after]
        copies = {item.name for item in self.absent.values() if item.role == "copy" and item.real == real}
        return any(before in copies and after == real for before, after in pairs)

    def held(self, sql: str, table: TableName) -> KeptMessage:
        kind: SchemaKind = "table-drop" if sql.startswith("DROP") else "table-alter"
        return KeptMessage(kind, table.database, table.table, self.change.ts, sql, gtid=self.change.gtid)


def _is_like(copy: Absent) -> bool:
    return copy.made is not None and any(ref.role == "like" for ref in parse_statement(copy.made.sql).names)


def _unseen_real(table: TableName, columns_of: ColumnNamesOf) -> TableName | None:
    """The real table, if this looks like its copy and the target has the one but not the other."""
    if not table.table.startswith("_") or columns_of(table) is not None:
        return None
    reals = (TableName(table.database, base) for base in bases_of(table.table))
    return next((real for real in reals if columns_of(real) is not None), None)


def _began_earlier(copy: TableName, real: TableName) -> PlanError:
    return PlanError(
        f"{copy} is the copy of an online schema change of {real} that began before this stream, or whose tables are"
        " filtered out at Maxwell: what it changes is not known; run its ALTER TABLE on the target by hand, or copy the"
        f" table if {copy} was made by hand, then go on behind this statement"
    )
