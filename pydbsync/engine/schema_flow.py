"""The way of a schema change: a border that nothing passes, run once however many messages announce it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydbsync.apply.parked import ParkedChange, describe_change
from pydbsync.config.settings import Settings
from pydbsync.engine.table_plans import TablePlans
from pydbsync.engine.target import Target
from pydbsync.errors import PlanError
from pydbsync.model import Column, Delivery, SchemaChange, TableName
from pydbsync.plan.ddl import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.dialect import Server
from pydbsync.plan.online import OnlineChanges
from pydbsync.plan.statement import parse_statement

if TYPE_CHECKING:
    from pydbsync.engine.pipeline import _Run


class _Step(NamedTuple):
    """One statement to run on one target database."""

    change: SchemaChange
    planned: PlannedSchemaChange
    database: str
    messages: list[tuple[Delivery, SchemaChange]]


class SchemaFlow:
    """Collects the messages of one statement, plans it for each target database and has it run."""

    def __init__(self, settings: Settings, *, applier: Target, plans: TablePlans, log: logging.Logger) -> None:
        self._settings = settings
        self._applier = applier
        self._plans = plans
        self._log = log
        self._open: list[tuple[Delivery, SchemaChange]] = []
        self.is_open = False
        """Whether a statement waits for the rest of its messages."""
        self._online = OnlineChanges()

    def start(self, ghosts: str) -> None:
        """Go on from what the checkpoint row says of online schema changes under way."""
        self._open, self.is_open = [], False
        self._online = OnlineChanges.from_json(ghosts)
        if self._settings.online_schema_change == "collapse":
            self._plans.hide(self._hides)

    def belongs(self, change: SchemaChange) -> bool:
        """Whether the change is one more message of the statement that is open."""
        if not self._open:
            return False
        first = self._open[0][1]
        return first.sql == change.sql and first.position == change.position and first.ts == change.ts

    def add(self, delivery: Delivery, change: SchemaChange) -> None:
        """Take in one message of the open statement."""
        self._open.append((delivery, change))
        self.is_open = True

    def ghosts(self) -> str:
        """The state of online schema changes under way, for the checkpoint row."""
        return self._online.to_json()

    def close(self, run: _Run) -> None:
        """Run the open statement, if there is one. Raises StopError by policy."""
        if not self._open:
            return
        messages, self._open, self.is_open = self._open, [], False
        body = messages[0][0].body
        state = self._online
        try:
            changes, siblings = self._observe([change for _, change in messages])
        except PlanError as exc:
            self._park(run, messages, None, str(exc))
            return
        # What is committed before the last statement keeps the old place and state: a crash in between finds all of
        # them again, and the journal knows which have run.
        after, self._online = self._online, state
        steps = []
        for change in changes:
            # Statements that an online schema change puts in place of this one stand alone.
            steps += self._steps(run, change, siblings if change is messages[0][1] else (), messages)
        for step in steps[:-1]:
            self._run_step(run, step, body, is_last=False)
        self._online = after
        for step in steps[-1:]:
            self._run_step(run, step, body, is_last=True)
        self._plans.forget()

    def _observe(self, changes: list[SchemaChange]) -> tuple[Sequence[SchemaChange], Sequence[SchemaChange]]:
        """The statements to run for these messages, and the siblings of the first: others where an online schema change
        is under way. Raises PlanError."""
        first, siblings = changes[0], changes[1:]
        if self._settings.online_schema_change == "off":
            return [first], siblings
        observed = self._online.observe(
            first, statement=parse_statement(first.sql), columns_of=self._columns_of, siblings=siblings
        )
        self._online = observed.state
        if observed.note:
            self._log.info("online schema change: %s", observed.note)
        return observed.changes, siblings

    def _steps(
        self,
        run: _Run,
        change: SchemaChange,
        siblings: Sequence[SchemaChange],
        messages: list[tuple[Delivery, SchemaChange]],
    ) -> list[_Step]:
        steps = []
        for target in self._plans.router.databases(change.database):
            try:
                planned = self._plan(change, siblings, target)
            except PlanError as exc:
                self._park(run, messages, target, str(exc))
                continue
            if planned is None:
                continue
            names = {name for each in planned.touched for name in each if name is not None}
            behind = max(filter(None, map(run.blocker, names)), default=None)
            if behind is not None:
                self._park(run, messages, target, "waits behind a parked change of the same table", behind=behind)
                continue
            steps.append(_Step(change, planned, target, messages))
        return steps

    def _run_step(self, run: _Run, step: _Step, body: bytes, *, is_last: bool) -> None:
        change, planned, database, messages = step
        policy = self._settings.schema_changes.get(planned.action, "apply")
        state = run.schema_state(is_last=is_last)
        status = self._applier.change_schema(change, planned, policy=policy, state=state, body=body)
        run.schema_changed(change, state, status=status)
        if status == "done":
            notes = f" ({'; '.join(planned.notes)})" if planned.notes else ""
            self._log.info("schema change: %s%s", " ".join(planned.sql.split())[:300], notes)
        elif status != "again":
            self._log.warning("schema change %s: %s", status, planned.sql)
        if status == "parked" and change is messages[0][1]:
            first = run.blocker(TableName(database, change.table or ""))
            takes = self._plans.router.takes
            others = [each for each in messages[1:] if takes(TableName(each[1].database, each[1].table or ""))]
            self._park(run, others, database, "is part of a parked statement", behind=first)

    def _plan(self, first: SchemaChange, siblings: Sequence[SchemaChange], target: str) -> PlannedSchemaChange | None:
        router = self._plans.router

        def rename(database: str) -> str:
            return router.rename(database, shard_of=first.database, shard=target)

        def in_scope(database: str, table: str | None) -> bool:
            if table is None:
                return router.filters.takes_database(database)
            return router.takes(TableName(database, table))

        dialect = self._plans.dialect
        server = Server("mariadb" if dialect.is_mariadb else "mysql", dialect.version, dialect.charset)
        return plan_schema_change(
            first, rename=rename, in_scope=in_scope, target=server, source=self._source_server(first),
            siblings=siblings, tables_named=self._tables_named, is_merged=router.is_merged(target),
        )  # fmt: skip

    def _source_server(self, change: SchemaChange) -> Server | None:
        brand, version = self._plans.source_server
        if brand is None:
            # MariaDB's GTIDs have dashes, and Maxwell publishes none of them.
            brand = "mysql" if change.gtid and ":" in change.gtid else None
        return None if brand is None else Server("mysql" if brand == "mysql" else "mariadb", version)

    # -- what the target has -----------------------------------------------------------------------------------------

    def _hides(self, source: TableName) -> bool:
        return self._online.hides(source, self._columns_of)

    def _columns_of(self, source: TableName) -> Sequence[str] | None:
        databases = self._plans.router.databases(source.database)
        if not databases:
            return None
        schema = self._applier.catalog.table(TableName(databases[0], source.table))
        return None if schema is None else [column.name for column in schema.columns]

    def _tables_named(self, table: str) -> Iterable[tuple[str, Sequence[Column]]]:
        """Where the target has tables of this name, as (source database, columns)."""
        for target in self._applier.databases_with_table(table):
            schema = self._applier.catalog.table(TableName(target, table))
            if schema is not None:
                for source in self._plans.router.sources(target):
                    yield source, schema.columns

    def _park(
        self,
        run: _Run,
        messages: list[tuple[Delivery, SchemaChange]],
        target: str | None,
        reason: str,
        *,
        behind: int | None = None,
    ) -> None:
        for delivery, change in messages:
            kind, position, source = describe_change(change)
            for database in [target] if target is not None else self._plans.router.databases(change.database):
                parked = ParkedChange(
                    message=delivery.body, reason=reason, kind=kind, position=position, source=source,
                    target_database=database, is_whole_table=True, behind=behind,
                )  # fmt: skip
                run.park(parked)
