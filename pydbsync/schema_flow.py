"""The way of a schema change: a border that nothing passes, run once however many messages announce it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydbsync.apply.applier import Applier
from pydbsync.apply.parked import ParkedChange, describe_change
from pydbsync.errors import PlanError
from pydbsync.model import Delivery, SchemaChange, TableName
from pydbsync.plan.ddl import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.dialect import Server
from pydbsync.settings import Settings
from pydbsync.table_plans import TablePlans

if TYPE_CHECKING:
    from pydbsync.pipeline import _Run


class SchemaFlow:
    """Collects the messages of one statement, plans it for each target database and has it run."""

    def __init__(self, settings: Settings, *, applier: Applier, plans: TablePlans, log: logging.Logger) -> None:
        self._settings = settings
        self._applier = applier
        self._plans = plans
        self._log = log
        self._open: list[tuple[Delivery, SchemaChange]] = []

    @property
    def is_open(self) -> bool:
        """Whether a statement waits for the rest of its messages."""
        return bool(self._open)

    def belongs(self, change: SchemaChange) -> bool:
        """Whether the change is one more message of the statement that is open."""
        if not self._open:
            return False
        first = self._open[0][1]
        return first.sql == change.sql and first.position == change.position and first.ts == change.ts

    def add(self, delivery: Delivery, change: SchemaChange) -> None:
        """Take in one message of the open statement."""
        self._open.append((delivery, change))

    def ghosts(self) -> str:
        """The state of online schema changes under way, for the checkpoint row."""
        return self._applier.state.ghosts if self._applier.state else ""

    def close(self, run: _Run) -> None:
        """Run the open statement, if there is one. Raises StopError by policy."""
        if not self._open:
            return
        messages, self._open = self._open, []
        body = messages[0][0].body
        changes = [change for _, change in messages]
        in_scope = [change for change in changes if self._takes(change)]
        if not in_scope:
            return
        router = self._plans.router
        for target in router.databases(in_scope[0].database):
            try:
                planned = self._plan(in_scope, target)
            except PlanError as exc:
                self._park(run, messages, target, str(exc))
                continue
            if planned is None:
                continue
            policy = self._settings.schema_changes.get(planned.action, "apply")
            state = run.schema_state()
            status = self._applier.change_schema(in_scope[0], planned, policy=policy, state=state, body=body)
            run.schema_changed(state, ran=status == "done")
            if status == "done":
                notes = f" ({'; '.join(planned.notes)})" if planned.notes else ""
                self._log.info("schema change: %s%s", " ".join(planned.sql.split())[:300], notes)
            else:
                self._log.warning("schema change %s: %s", status, planned.sql)
        self._plans.forget()

    def _plan(self, changes: list[SchemaChange], target: str) -> PlannedSchemaChange | None:
        router, first = self._plans.router, changes[0]

        def rename(database: str) -> str:
            return router.rename(database, shard_of=first.database, shard=target)

        def in_scope(database: str, table: str | None) -> bool:
            if table is None:
                return router.filters.takes_database(database)
            return router.takes(TableName(database, table))

        dialect = self._plans.dialect
        server = Server("mariadb" if dialect.is_mariadb else "mysql", dialect.version)
        return plan_schema_change(
            first, rename=rename, in_scope=in_scope, target=server, source=self._source_server(first),
            siblings=changes[1:],
        )  # fmt: skip

    def _source_server(self, change: SchemaChange) -> Server | None:
        brand, version = self._plans.source_server
        if brand is None:
            # MariaDB's GTIDs have dashes, and Maxwell publishes none of them.
            brand = "mysql" if change.gtid and ":" in change.gtid else None
        return None if brand is None else Server("mysql" if brand == "mysql" else "mariadb", version)

    def _takes(self, change: SchemaChange) -> bool:
        filters = self._plans.router.filters
        if change.table is None:
            return filters.takes_database(change.database)
        return filters.takes(TableName(change.database, change.table))

    def _park(self, run: _Run, messages: list[tuple[Delivery, SchemaChange]], target: str, reason: str) -> None:
        for delivery, change in messages:
            kind, position, source = describe_change(change)
            parked = ParkedChange(
                message=delivery.body, reason=reason, kind=kind, position=position, source=source,
                target_database=target, is_whole_table=True,
            )  # fmt: skip
            run.park_whole_table(parked)
