"""The way of a schema change: a border that nothing passes, one piece of work however many messages announce it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Protocol

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.decode.spoken import message_of
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import PlanError, StopError
from pydbsync.model import Column, Delivery, RowChange, SchemaChange, TableName
from pydbsync.plan.after_parked import means_the_same
from pydbsync.plan.altered_copy import AlteredCopy
from pydbsync.plan.ddl import PlannedSchemaChange, action_of, plan_schema_change
from pydbsync.plan.dialect import Server
from pydbsync.plan.lexer import shorten
from pydbsync.plan.online import NoCopyError, Observed, OnlineChanges
from pydbsync.plan.row_order import unproven_of
from pydbsync.plan.statement import Statement, parse_statement
from pydbsync.protocols import Catalog, Decode
from pydbsync.route.filters import Filters
from pydbsync.work import (
    CopyRows,
    ParkedChange,
    ParkedRows,
    Pauses,
    SchemaMessage,
    SchemaStep,
    SchemaWork,
    defaults_of,
    park_messages,
    structure_of,
)

_ROWS_MORE = {"insert": 1, "delete": -1}


class TargetTables(Protocol):
    """What has to be known of the target's tables."""

    @property
    def catalog(self) -> Catalog: ...

    def databases_with_table(self, table: str) -> Sequence[str]: ...

    def count_rows(self, table: TableName) -> int | None: ...

    @property
    def parked(self) -> ParkedRows: ...

    @property
    def pauses(self) -> Pauses: ...

    def collation_of(self, database: str) -> str | None: ...

    def misfit_of_copy(self, wanted: AlteredCopy, decode: Decode) -> str: ...


class SchemaFlow:
    """Collects the messages of one statement, and plans it for each target database."""

    def __init__(
        self,
        settings: Settings,
        *,
        tables: TargetTables,
        plans: TablePlans,
        log: logging.Logger,
        decode: Decode,
    ) -> None:
        """`decode` reads the messages that were kept of copies."""
        self._settings = settings
        self._decode = decode
        self._tables = tables
        self._plans = plans
        self._log = log
        self._open: list[SchemaMessage] = []
        self.is_open = False
        """Whether a statement waits for the rest of its messages."""
        self._online = OnlineChanges()
        self._came: dict[TableName, int | None] = {}
        """How many rows more of each copy have come since `_online` was brought up to date; None: not known."""
        self._kept_of: OnlineChanges | None = None
        self._kept: dict[tuple[str, str], CopyRows | None] = {}
        """What `keeps` has answered of that."""
        self._named: set[TableName] = set()
        self._told: set[str] = set()
        """Settings of the source that were named."""

    def use(self, settings: Settings) -> None:
        """These hold from now on; nothing is open."""
        self._settings = settings

    def start(self, ghosts: str) -> None:
        """Go on from what the checkpoint row says of online schema changes under way."""
        self._open, self.is_open = [], False
        self._online, self._came = OnlineChanges.from_json(ghosts), {}
        if self._settings.online_schema_change == "collapse":
            self._plans.hide(self._hides, self._count)

    def belongs(self, change: SchemaChange) -> bool:
        """Whether the change is one more message of the statement that is open."""
        return bool(self._open) and self._open[0].announces(change)

    def add(self, delivery: Delivery, change: SchemaChange) -> None:
        """Take in one message of the open statement."""
        self._open.append(SchemaMessage(delivery, _named(change)))
        self.is_open = True

    def ghosts(self) -> str:
        """The state of online schema changes under way, for the checkpoint row."""
        self._bring_up_to_date()
        return self._online.to_json()

    def keeps(self, change: RowChange) -> CopyRows | None:
        """The copy, if this row that is left out is one of it that may have to be made up for."""
        if not self._online.absent or change.position is None:
            return None
        if self._online is not self._kept_of:
            self._kept_of, self._kept = self._online, {}
        name = change.database, change.table
        if name not in self._kept:
            self._kept[name] = self._online.keeps(TableName(*name))
        return self._kept[name]

    def take(self) -> SchemaWork[PlannedSchemaChange]:
        """What the open statement leads to; none is open then. Raises StopError by policy."""
        messages, self._open, self.is_open = self._open, [], False
        work: SchemaWork[PlannedSchemaChange] = SchemaWork([], [])
        first = messages[0].change
        try:
            changes, siblings, observed = self._observe([message.change for message in messages])
        except PlanError as exc:
            if isinstance(exc, NoCopyError):
                self._online = exc.state
            for target in self._plans.targets(first):
                work.parked += self._unplanned(first, messages, target.database, exc)
            return work
        if observed is not None and observed.decided is not None:
            work.fills, work.ghosts = observed.fills, observed.decided.to_json()
        for change in changes:
            # Statements that an online schema change puts in place of this one stand alone.
            is_own = change is first
            if change is changes[-1]:
                work.fills_behind = len(work.steps)
            if is_own:
                self._add_steps(work, change, siblings, messages, is_own=True)
            else:  # what is parked of it is tried again as itself
                own = SchemaMessage(messages[0].delivery._replace(body=message_of(change)), change)
                self._add_steps(work, change, (), [own], is_own=False)
        return work

    def _observe(
        self, changes: list[SchemaChange]
    ) -> tuple[Sequence[SchemaChange], Sequence[SchemaChange], Observed | None]:
        """The statements to run for these messages, and the siblings of the first: others where an online schema change
        is under way, and what was observed of that. Raises PlanError."""
        first, siblings = changes[0], changes[1:]
        if self._settings.online_schema_change == "off":
            return [first], siblings, None
        self._bring_up_to_date()
        observed = self._online.observe(
            first,
            statement=parse_statement(first.sql),
            columns_of=self._columns_of,
            siblings=siblings,
            rows_of=self._rows_of,
            misfit_of=self._misfit_of,
            keeps=self._keeps_rows_of,
        )
        self._online = observed.state
        if observed.note:
            self._log.info("online schema change: %s", observed.note)
        if observed.warning:
            self._log.warning("%s", observed.warning)
        return observed.changes, siblings, observed

    def _add_steps(
        self,
        work: SchemaWork[PlannedSchemaChange],
        change: SchemaChange,
        siblings: Sequence[SchemaChange],
        messages: list[SchemaMessage],
        *,
        is_own: bool,
    ) -> None:
        router = self._plans.router
        names = self._names_at_target((change, *(message.change for message in messages)))
        for target in dict.fromkeys(name.database for name in self._plans.targets(change)):
            try:
                planned = self._plan(change, siblings, target)
            except PlanError as exc:
                work.parked += self._unplanned(change, messages, target, exc)
                continue
            if planned is None:
                continue
            self._tell_untold(planned)
            taken = [each for each in messages[1:] if router.takes(_name_of(each.change))] if is_own else []
            step = SchemaStep(
                change=change,
                planned=planned,
                policy=self._settings.schema_changes.get(planned.action, "apply"),
                database=target,
                messages=messages,
                siblings=taken,
                names=names,
                holds=planned.holds,
            )
            if paused := self._paused_of(change, planned, taken):
                step.policy, step.why = "park", f"the schema changes of {paused} are paused (`pydbsync resume` ends it)"
            source = self._plans.source_of(change)
            statement = parse_statement(change.sql, brand=source.brand if source else None)
            if (
                planned.action == "alter-table"
                and step.policy == "apply"
                and (unproven := self._unproven(planned, statement))
            ):
                if self._settings.lossy_values == "park":
                    work.parked += step.park(messages, unproven)
                    continue
                if self._settings.lossy_values == "stop":
                    raise StopError(f"{unproven} (lossy_values); nothing after it was applied")
                self._log.warning("%s", unproven)
            step.waits_for, step.waits_for_rows = _waits(planned, statement)
            work.steps.append(step)

    def _paused_of(self, change: SchemaChange, planned: PlannedSchemaChange, siblings: Sequence[SchemaMessage]) -> str:
        """The glob by which a table of the statement is paused; empty if none is."""
        paused = self._tables.pauses.schema_changes_of
        if not paused:
            return ""
        names = {_name_of(each) for each in (change, *(message.change for message in siblings))}
        for touched in planned.touched:
            for name in touched:
                if name is not None:
                    names |= {TableName(source, name.table) for source in self._plans.router.sources(name.database)}
        for glob in paused:
            filters = Filters(include=(glob,))
            if any(filters.takes(name) if name.table else filters.takes_database(name.database) for name in names):
                return glob
        return ""

    def _unplanned(
        self, change: SchemaChange, messages: list[SchemaMessage], target: str, error: PlanError
    ) -> list[ParkedChange]:
        """The record of a statement that cannot be run as it is, where the policy for its kind wants any."""
        policy = self._settings.schema_changes.get(action_of(change), "apply")
        if policy == "stop":
            raise StopError(f"a schema change came and the policy says stop: {shorten(change.sql, 300)}")
        if policy == "skip":
            self._log.warning("schema change skipped: %s", shorten(change.sql, 300))
            return []
        return park_messages(messages, target, str(error), names=self._names_at_target(m.change for m in messages))

    def _names_at_target(self, changes: Iterable[SchemaChange]) -> Mapping[TableName, TableName]:
        """The tables that routes give another name, by their names at the source."""
        router = self._plans.router
        if not router.tables:
            return {}
        found = {name: router.tables.target(name) for name in map(_name_of, changes) if name.table}
        return {name: target for name, target in found.items() if target is not None}

    def _tell_untold(self, planned: PlannedSchemaChange) -> None:
        for name in set(planned.untold) - self._told:
            self._told.add(name)
            self._log.warning(
                "what a statement does depends on %s of the source's session, which its message does not tell; the"
                " target's own is taken (give source_db_info, or have capture publish; said once): %s",
                name,
                shorten(planned.sql),
            )

    def _unproven(self, planned: PlannedSchemaChange, statement: Statement) -> str:
        """What the statement may give rows that they do not have at the source, as a sentence; empty if nothing."""
        table = planned.touched[0].before if planned.touched else None
        schema = None if table is None else self._tables.catalog.table(table)
        if table is None or schema is None:
            return ""
        trusted = self._settings.trusted_columns
        found = [
            each
            for each in unproven_of(
                statement,
                has_key=bool(schema.row_key),
                is_merged=planned.is_merged,
                is_zone_near=any(variable.is_near for variable in planned.variables),
            )
            if not any(fnmatchcase(f"{table}.{each.column}", pattern) for pattern in trusted)
        ]
        rows = self._tables.count_rows(table) if found else None
        told = [f"{each.column or 'IGNORE'} {each.why}" for each in found if rows is None or rows >= each.least_rows]
        if not told:
            return ""
        where = f"in {table}" if schema.row_key else f"in {table}, which has no key,"
        return (
            f"{where} {' and '.join(told)}; that the rows get here what they have at the source cannot be proven:"
            f" compare {table} behind this statement (verify, repair), before later changes find rows by these values"
        )

    def _plan(self, first: SchemaChange, siblings: Sequence[SchemaChange], target: str) -> PlannedSchemaChange | None:
        router = self._plans.router

        def rename(database: str) -> str:
            return router.rename(database, shard_of=first.database, shard=target)

        def in_scope(database: str, table: str | None) -> bool:
            if table is None:
                return router.filters.takes_database(database)
            return router.takes(TableName(database, table))

        if first.kind == "database-drop" and len(router.all_databases(first.database)) > 1:
            raise PlanError(
                f"routes send tables of {first.database} to other databases, which this statement leaves as they are:"
                " drop what is to go by hand, then mark it as done"
            )
        dialect = self._plans.dialect
        server = Server("mariadb" if dialect.is_mariadb else "mysql", dialect.version, dialect.charset)
        if first.kind == "table-create":
            server = server._replace(collation=self._tables.collation_of(target))
        planned = plan_schema_change(
            first, rename=rename, in_scope=in_scope, target=server, source=self._plans.source_of(first),
            siblings=siblings, tables_named=self._tables_named,
            is_merged=self._plans.are_merged(first, target),
            routes=self._plans.table_routes(first.database, target),
        )  # fmt: skip
        return planned and msgspec.structs.replace(planned, source=router.source_name(_name_of(first)))

    # -- what the target has -----------------------------------------------------------------------------------------

    def _hides(self, source: TableName) -> bool:
        is_hidden = self._online.hides(source, self._columns_of)
        if is_hidden and not self._online.hides(source) and source not in self._named:
            self._named.add(source)
            self._log.warning(
                "rows of %s are left out: by its name it is the copy of an online schema change that began before this"
                " stream; its swap will be refused", source,
            )  # fmt: skip
        return is_hidden

    def _count(self, change: RowChange) -> None:
        """One row more of a table that is left out; runs once for each."""
        name = TableName(change.database, change.table)
        came = self._came.get(name, 0)
        if change.position is None or change.kind == "bootstrap-insert":
            self._came[name] = None  # it may come twice
        elif came is not None and (change.kind != "update" or self._plans.router.is_sharded(change.database)):
            more = self._rows_more(name, change)
            self._came[name] = None if more is None else came + more

    def _rows_more(self, name: TableName, change: RowChange) -> int | None:
        """How many rows more the copy has by this one, in all shards together; None where that cannot be told."""
        router = self._plans.router
        if not router.is_sharded(change.database):
            return _ROWS_MORE.get(change.kind, 0)
        if not self._online.hides(name):
            return 0  # a table that is no copy is not counted, and its rows are not read
        try:
            if not router.tells_shard(change):  # all shards get it, while those of the real table have their own rows
                return None
            return sum(_ROWS_MORE.get(sent.kind, 0) for _, sent in router.row_targets(change))
        except PlanError:
            return None

    def _bring_up_to_date(self) -> None:
        if self._came:
            self._online, self._came = self._online.counted(self._came), {}

    @property
    def _is_written_by_others(self) -> bool:
        return self._settings.two_way is not None or self._settings.detects_conflicts

    def _keeps_rows_of(self, copy: TableName) -> bool:
        # A copy that is made of the rows which came would lack those that others have written here.
        return not self._is_written_by_others and self._plans.router.takes(copy)

    def _rows_of(self, copy: TableName, real: TableName) -> int | None:
        if self._is_written_by_others:
            return None
        router = self._plans.router
        if not (router.takes(copy) and router.takes(real)) or self._plans.changes_rows(real):
            return None
        found = 0
        for target in router.targets(real):
            # Whose rows a table of several sources has is not known, nor which of their statements it is behind.
            has = None if self._plans.has_several_sources(target) else self._tables.count_rows(target)
            if has is None:
                return None
            found += has
        return found

    def _misfit_of(self, copy: CopyRows, real: TableName, changes: Sequence[SchemaChange]) -> str:
        for target in self._plans.router.targets(real):
            planned = [self._plan(change, (), target.database) for change in changes]
            self._log.info("the rows that came for %s are compared with those of %s", copy.copy, target)
            made = [each for each in planned if each is not None]
            wanted = AlteredCopy(
                copy, target, made, self._plans.overrides(real), partial(self._sent_to, target.database)
            )
            if misfit := self._tables.misfit_of_copy(wanted, self._decode):
                return misfit
        return ""

    def _sent_to(self, database: str, change: RowChange) -> list[RowChange]:
        """What a row of a copy is to this database of the target. Raises PlanError."""
        router = self._plans.router
        if not router.is_sharded(change.database):
            return [change]
        return [sent for name, sent in router.row_targets(change) if name == database]

    def _columns_of(self, source: TableName) -> Sequence[str] | None:
        targets = self._plans.router.targets(source)
        if not targets:
            return None
        schema = self._tables.catalog.table(targets[0])
        if schema is None:  # what is parked may make it yet
            return None if self._tables.parked.blocker(targets[0]) is None else []
        return [column.name for column in schema.columns]

    def _tables_named(self, table: str) -> Iterable[tuple[str, Sequence[Column]]]:
        """Where the target has tables of this name, as (source database, columns)."""
        for target in self._tables.databases_with_table(table):
            schema = self._tables.catalog.table(TableName(target, table))
            if schema is not None:
                for source in self._plans.router.sources(target):
                    yield source, schema.columns


def _waits(planned: PlannedSchemaChange, statement: Statement) -> tuple[tuple[TableName, ...], tuple[TableName, ...]]:
    """The tables that may have nothing parked for all of them, and those that may have nothing parked at all.

    What a DROP or TRUNCATE takes away is done with, parked or not, so that it waits for no single row.
    """
    if planned.database is not None:
        whole = (TableName(planned.database, ""), defaults_of(planned.database))
        return ((), whole) if planned.action == "drop-database" else (whole, ())
    touched = {name for each in planned.touched for name in each if name is not None}
    if planned.action == "truncate-table":
        return tuple(sorted(touched)), ()
    needed = tuple(structure_of(name) for name in sorted(touched))
    if planned.action == "create-table":
        needed = (*needed, *planned.reads, *(defaults_of(name.database) for name in touched))
    else:  # the other table of an exchange
        touched |= {*planned.reads}
    if planned.action == "drop-table" or means_the_same(statement):
        return (*sorted(touched), *needed), ()
    return needed, tuple(sorted(touched))


def _named(change: SchemaChange) -> SchemaChange:
    """The change with the table that its statement is about, where the message names none: Debezium's may not. Where
    that cannot be read either, the name stays empty."""
    if change.table or change.kind.startswith("database-"):
        return change
    try:
        statement = parse_statement(change.sql)
    except PlanError:
        return change
    subject = statement.items[0].subject if statement.items else None
    if subject is None or subject.database not in (None, change.database):  # `database` may be the session's
        return change
    return msgspec.structs.replace(change, table=subject.table)


def _name_of(change: SchemaChange) -> TableName:
    return TableName(change.database, change.table or "")
