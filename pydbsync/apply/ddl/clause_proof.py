"""Proves an ALTER TABLE or CREATE TABLE that was refused clause by clause, with an empty copy of the table."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.shown import show_create
from pydbsync.errors import PermanentError
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl.altered_copy import on_copy
from pydbsync.plan.ddl.definition import Description, read_description
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.proof import Demand, Demands, Named, read_demands, table_like
from pydbsync.plan.ddl.shown_table import ShownTable, missing, read_shown
from pydbsync.plan.ddl.table_definition import unlike
from pydbsync.plan.quoting import quote_name, quote_table

_NO_SUCH = (1146, 1049)


class Proof(NamedTuple):
    """What is left of a statement."""

    is_done: bool = False
    rest: str = ""
    """The clauses that are missing, where running them alone leads to what the whole statement does."""
    reason: str = ""
    """Why it is neither done nor can be finished; where it counts as done, what is otherwise all the same."""


DONE = Proof(is_done=True)


def show_table(connection: Connection, name: TableName, *, database: str | None = None) -> ShownTable | None:
    """The table as the server shows it, as one of `database`; None where there is none."""
    try:
        text = show_create(connection, f"SHOW CREATE TABLE {quote_table(name)}")
    except PermanentError as exc:
        if exc.code in _NO_SUCH:
            return None
        raise
    return read_shown(text, database=database or name.database)


@contextmanager
def _copy_of(connection: Connection, copy: TableName, sql: str) -> Iterator[None]:
    """An empty table, made by this statement, which is gone afterwards."""
    drop = f"DROP TABLE IF EXISTS {quote_table(copy)}"
    connection.execute(drop)
    connection.execute(sql.encode("utf-8"))
    try:
        yield
    finally:
        if connection.is_open():
            connection.execute(drop)


def prove_create(connection: Connection, planned: PlannedSchemaChange, copy: TableName) -> Proof:
    """CREATE TABLE: the live table may have more. Raises ApplyError, PlanError."""
    name = planned.touched[0].after
    live = show_table(connection, name) if name else None
    if name is None or live is None:
        return Proof()
    collation = connection.value(
        "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = %s", (name.database,)
    )
    connection.use(planned.default_database)
    sql = table_like(planned.sql, copy, brand=connection.dialect.brand, collation=collation)
    with _copy_of(connection, copy, sql):
        made = show_table(connection, copy, database=name.database)
    if made is None:
        return Proof()
    faults = missing(made, live, names_differ=True)
    return Proof(reason=_both(faults, name)) if faults else DONE


def _both(faults: list[tuple[str, str]], name: TableName) -> str:
    return f"{name} has " + "; ".join(
        f"{there or 'nothing'} where the statement makes {line}" for line, there in faults
    )


def prove_alter(connection: Connection, change: SchemaChange, planned: PlannedSchemaChange, copy: TableName) -> Proof:
    """ALTER TABLE, CREATE INDEX and DROP INDEX. Raises ApplyError, PlanError."""
    before, after = planned.touched[0]
    name, live = before, show_table(connection, before) if before else None
    is_renamed = live is None and after != before
    if is_renamed and after is not None:
        name, live = after, show_table(connection, after)
    if live is None or name is None:
        return Proof()
    demands = read_demands(planned.sql, brand=connection.dialect.brand)
    if remade := sorted(demands.remade_columns() & set(live.columns)):
        return Proof(
            reason=f"it takes {remade[0]} away and makes it anew, and which of the two {name} has cannot be told"
        )
    described = read_description(change.def_)
    if doubtful := demands.doubtful_renaming(live.columns, is_described=described is not None):
        return Proof(
            reason=f"{name} has what {doubtful} leads to, and lacks another column too: which of them has the new name"
            " cannot be told by the structure; compare it with the source, then mark this one as done"
        )
    if own := _named_after_source(change, name, demands):
        return Proof(
            reason=f"the server has named {own} after the table, which is called {name.table} here: drop by hand what"
            " stands for it (SHOW CREATE TABLE), then mark this one as done"
        )
    if is_renamed and (fault := other_columns(connection, described, name, but=demands.made_columns())):
        return Proof(reason=fault)
    return _Looking(connection, name, live, copy, described, is_renamed=is_renamed).prove(demands)


def _named_after_source(change: SchemaChange, name: TableName, demands: Demands) -> str:
    """A foreign key or CHECK that the statement drops, whose name is made of the source's table; empty where the table
    has that name here too, or there is none."""
    if not change.table or change.table.lower() == name.table.lower():
        return ""
    own = re.compile(rf"{re.escape(change.table.lower())}_(ibfk|chk)_\d+")
    gone = [each.name for part in demands.parts for demand in part.demands for each in demand.gone]
    return next(filter(own.fullmatch, gone), "")


class _Fault(NamedTuple):
    """A clause that is not done."""

    text: str
    is_final: bool = False
    """The structure cannot tell whether it is."""


class _Looking:
    """Looks at one table for what a statement's clauses lead to."""

    def __init__(
        self,
        connection: Connection,
        name: TableName,
        live: ShownTable,
        copy: TableName,
        described: Description | None,
        *,
        is_renamed: bool,
    ) -> None:
        self._connection = connection
        self._name = name
        self._live = live
        self._copy = copy
        self._described = described
        self._is_renamed = is_renamed

    def prove(self, demands: Demands) -> Proof:
        """What is left of the clauses."""
        faults = {demand: self._fault(demand) for part in demands.parts for demand in part.demands}
        # DROP KEY k, ADD KEY k (…): the old one is gone if the new one is there.
        made = {each for demand, fault in faults.items() if fault is None for each in demand.makes}
        for demand, fault in faults.items():
            still = [each for each in demand.gone if each.is_in(self._live) and not each.is_among(made)]
            if fault is None and still:
                faults[demand] = _Fault(f"{self._name} still has the {still[0].thing} {still[0].name}".rstrip())
        found = [fault for fault in faults.values() if fault is not None]
        if final := [fault.text for fault in found if fault.is_final]:
            return Proof(reason="; ".join(final))
        done = [all(faults[demand] is None for demand in part.demands) for part in demands.parts]
        texts = [fault.text for fault in found if fault.text]
        if all(done):
            other = _other_order(list(self._live.columns), self._described)
            return Proof(reason=f"{self._name} has its columns in another order: {other}") if other else DONE
        return self._finish(demands, done, texts) if any(done) else Proof(reason="; ".join(texts))

    def _fault(self, demand: Demand) -> _Fault | None:
        """What is not as the clause makes it; None where it is done, but for what it takes away."""
        if demand.unproven:
            return _Fault(f"{demand.text}: {demand.unproven}", is_final=True)
        if demand.is_rename:
            return None if self._is_renamed else _Fault(f"{self._name} has its old name")
        if demand.is_traceless:
            return _Fault("")
        if demand.described:
            return self._described_fault(demand)
        if not demand.restated:
            return None
        for made in demand.makes:
            if made.thing == "column" and not made.is_in(self._live):
                return _Fault(f"{self._name} has no column {made.name}")
        return self._restated_fault(demand)

    def _described_fault(self, demand: Demand) -> _Fault | None:
        table = read_table(self._connection, self._name)
        found = next((each for each in (table.columns if table else ()) if each.name == demand.described), None)
        if found is None:
            return _Fault(f"{self._name} has no column {demand.described}")
        wanted = [each for each in (self._described.columns if self._described else ()) if each.name == found.name]
        if not wanted:
            return _Fault(f"{demand.text}: the message does not describe that column", is_final=True)
        if fault := unlike(wanted[0], found):
            return _Fault(f"{self._name} has the column {fault}", is_final=True)
        if not demand.gone:  # only its letters are others
            return None
        if demand.gone[0].is_in(self._live):
            return _Fault(
                f"{self._name} has the column {demand.gone[0].name} still, and {found.name} too", is_final=True
            )
        return _Fault(
            f"{demand.text}: {self._name} has {found.name} {found.column_type}, and the message does not tell its"
            " length, default and whether it may be NULL; compare it with the source, then mark this one as done",
            is_final=True,
        )

    def _restated_fault(self, demand: Demand) -> _Fault | None:
        with _copy_of(self._connection, self._copy, self._like()):
            copied = self._shown_copy()
            drops = [drop for made in demand.makes if (drop := _drop(made, copied))]
            try:
                self._connection.execute(
                    f"ALTER TABLE {quote_table(self._copy)} {', '.join([*drops, demand.restated])}".encode()
                )
            except PermanentError as exc:
                return _Fault(f"{demand.text}: {exc}")
            after = self._shown_copy()
        # Foreign keys are not copied, and MySQL gives copied CHECKs names of its own.
        own = {name: line for name, line in after.constraints.items() if copied.constraints.get(name) != line}
        there = msgspec.structs.replace(copied, constraints=self._live.constraints)
        # A foreign key brings a key along, under its own name.
        keys = copied.keys if demand.makes_constraint else after.keys
        wanted = msgspec.structs.replace(after, constraints=own, keys=keys)
        faults = missing(wanted, there, names_differ=demand.names_itself)
        return _Fault(_both(faults, self._name)) if faults else None

    def _like(self) -> str:
        return f"CREATE TABLE {quote_table(self._copy)} LIKE {quote_table(self._name)}"

    def _shown_copy(self) -> ShownTable:
        shown = show_table(self._connection, self._copy, database=self._name.database)
        if shown is None:
            raise PermanentError(f"{self._copy} was removed while it was looked at", code=1146)
        return shown

    def _finish(self, demands: Demands, done: list[bool], faults: list[str]) -> Proof:
        """The statement without what is done, if that leads on a copy to what the message describes."""
        not_renaming = [
            each or all(demand.is_rename for demand in part.demands)
            for each, part in zip(done, demands.parts, strict=True)
        ]
        # LIKE copies no foreign keys, and MySQL gives copied CHECKs names of its own: no column depends on them.
        brand = self._connection.dialect.brand
        tried = "" if all(not_renaming) else on_copy(demands.without(not_renaming), self._copy, brand=brand)
        columns = list(self._live.columns)
        if tried:
            with _copy_of(self._connection, self._copy, self._like()):
                try:
                    self._connection.execute(tried.encode())
                except PermanentError as exc:
                    return Proof(reason="; ".join([*filter(None, faults), str(exc)]))
                columns = list(self._shown_copy().columns)
        if fault := _other_order(columns, self._described):
            return Proof(reason=f"without the clauses that are done {self._name} would have the columns {fault}")
        return Proof(rest=demands.without(done, table=self._name if self._is_renamed else None))


def other_columns(
    connection: Connection, described: Description | None, name: TableName, *, but: Container[str] = ()
) -> str:
    """What is otherwise in the table than the message says of it, `but` for these columns; empty where nothing is."""
    table = read_table(connection, name)
    if described is None or table is None:
        return f"the message does not describe {name}"
    live = {column.name: column for column in table.columns}
    for column in described.columns:
        if column.name.lower() in but:
            continue
        if column.name not in live:
            return f"{name} has no column {column.name}"
        if fault := unlike(column, live[column.name]):
            return f"{name} has the column {fault}"
    return ""


def _drop(made: Named, table: ShownTable) -> str:
    """The clause that takes away what is to be made anew; empty where it is not there."""
    if made.thing == "column" or not made.is_in(table):
        return ""
    if made.thing == "primary key":
        return "DROP PRIMARY KEY"
    return f"DROP {'KEY' if made.thing == 'key' else 'CONSTRAINT'} {quote_name(made.name)}"


def _other_order(columns: list[str], described: Description | None) -> str:
    """Which order of columns is another one than the message says; empty where none is. There may be more columns."""
    wanted = [column.name.lower() for column in described.columns] if described else []
    there = [name for name in columns if name in wanted]
    return "" if not wanted or there == wanted else f"{', '.join(there)} instead of {', '.join(wanted)}"
