"""The way of a schema change: a border that nothing passes, one piece of work however many messages announce it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.decode.spoken import message_of
from pydbsync.engine.copies import Copies, TargetTables
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import PlanError, StopError
from pydbsync.model import Column, Delivery, SchemaChange, TableName
from pydbsync.plan.ddl.after_parked import gives_actions, means_the_same
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, action_of, plan_schema_change
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.plan.ddl.row_order import unproven_of
from pydbsync.plan.ddl.statement import NameRole, Statement, parse_statement
from pydbsync.protocols import Decode
from pydbsync.route.filters import Filters
from pydbsync.work import (
    ParkedChange,
    SchemaMessage,
    SchemaStep,
    SchemaWork,
    defaults_of,
    key_of_table,
    parent_of,
    park_messages,
    structure_of,
)


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
        self._copies = Copies(settings, tables=tables, plans=plans, log=log, decode=decode, plan=self._plan_alone)
        self.keeps, self.ghosts = self._copies.keeps, self._copies.ghosts
        self._tables = tables
        self._plans = plans
        self._log = log
        self._open: list[SchemaMessage] = []
        self.is_open = False
        """Whether a statement waits for the rest of its messages."""
        self._told: set[str] = set()
        """Settings of the source that were named."""

    def use(self, settings: Settings) -> None:
        """These hold from now on; nothing is open."""
        self._settings = settings
        self._copies.use(settings)

    def start(self, ghosts: str) -> None:
        """Go on from what the checkpoint row says of online schema changes under way."""
        self._open, self.is_open = [], False
        self._copies.start(ghosts)

    def belongs(self, change: SchemaChange) -> bool:
        """Whether the change is one more message of the statement that is open."""
        return bool(self._open) and self._open[0].announces(change)

    def add(self, delivery: Delivery, change: SchemaChange) -> None:
        """Take in one message of the open statement."""
        self._open.append(SchemaMessage(delivery, _named(change)))
        self.is_open = True

    def take(self) -> SchemaWork[PlannedSchemaChange]:
        """What the open statement leads to; none is open then. Raises StopError by policy."""
        messages, self._open, self.is_open = self._open, [], False
        work: SchemaWork[PlannedSchemaChange] = SchemaWork([], [])
        first = messages[0].change
        try:
            changes, siblings, observed = self._copies.observe([message.change for message in messages])
        except PlanError as exc:
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
        found = park_messages(messages, target, str(error), names=self._names_at_target(m.change for m in messages))
        if found and (held := self._names_held(change, target)):
            found[0] = msgspec.structs.replace(found[0], row_keys=(*found[0].row_keys, *map(key_of_table, held)))
        return found

    def _names_held(self, change: SchemaChange, target: str) -> list[TableName]:
        """As `PlannedSchemaChange.holds`, of a statement that cannot be planned."""
        try:
            statement = parse_statement(change.sql)
        except PlanError:
            return []
        router = self._plans.router
        found = []
        for ref in statement.names:
            name = TableName(ref.database or change.database, ref.table or "")
            if mark := _MARKS.get(ref.role):
                found.append(mark(router.rename_table(name, shard_of=change.database, shard=target)))
        return found

    def _names_at_target(self, changes: Iterable[SchemaChange]) -> Mapping[TableName, TableName]:
        """The tables where there are routes, so that each has its own database, by their names at the source."""
        router = self._plans.router
        if not router.tables:
            return {}
        names = [name for name in map(_name_of, changes) if name.table and not router.is_sharded(name.database)]
        return {name: router.rename_table(name) for name in names}

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

    def _plan_alone(self, change: SchemaChange, target: str) -> PlannedSchemaChange | None:
        return self._plan(change, (), target)

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
        server = self._plans.dialect.server
        if first.kind == "table-create":
            server = server._replace(collation=self._tables.collation_of(target))
        planned = plan_schema_change(
            first, rename=rename, in_scope=in_scope, target=server, source=self._plans.source_of(first),
            siblings=siblings, tables_named=self._tables_named,
            is_merged=self._plans.are_merged(first, target),
            routes=self._plans.table_routes(first.database, target),
        )  # fmt: skip
        return planned and msgspec.structs.replace(planned, source=router.source_name(_name_of(first)))

    def _tables_named(self, table: str) -> Iterable[tuple[str, Sequence[Column]]]:
        """Where the target has tables of this name, as (source database, columns)."""
        for target in self._tables.databases_with_table(table):
            schema = self._tables.catalog.table(TableName(target, table))
            if schema is not None:
                for source in self._plans.router.sources(target):
                    yield source, schema.columns


_MARKS: dict[NameRole, Callable[[TableName], TableName]] = {
    "rename-to": lambda name: name, "exchange": lambda name: name, "like": structure_of, "references": parent_of,
}  # fmt: skip
"""What a name in a statement stands for that is held while the statement is parked."""


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
    needed = (*map(structure_of, sorted(touched)), *planned.refers)
    if planned.action == "create-table":
        needed = (*needed, *planned.reads, *(defaults_of(name.database) for name in touched))
    else:  # the other table of an exchange
        touched |= {*planned.reads}
    is_harmless = means_the_same(statement)
    if not is_harmless:
        needed = (*needed, *map(parent_of, sorted(touched)))
    if planned.action == "drop-table" or is_harmless:
        needed, touched = (*sorted(touched), *needed), set()
    if gives_actions(statement):  # what waits of the parents was without them
        touched |= {*planned.refers}
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
