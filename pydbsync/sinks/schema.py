"""Schema changes on their way to a sink: one statement, however many messages announce it."""

from __future__ import annotations

from pydbsync.config.settings import Settings
from pydbsync.errors import PlanError
from pydbsync.model import Delivery, RowChange, SchemaChange, TableName
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.ddl.statement import Statement, parse_statement
from pydbsync.plan.routed.statements import refuse_renames
from pydbsync.plan.routed.tables import TableRoutes, refuse_between
from pydbsync.route.router import Router
from pydbsync.sinks.routes import SinkRoutes
from pydbsync.sinks.writer import RowWriter, SinkSchemaChange
from pydbsync.work import CopyRows, ParkedChange, SchemaMessage, SchemaStep, SchemaWork, park_whole


class SinkSchemaFlow:
    """Collects the messages of one statement; a sink needs no copies of online schema changes."""

    def __init__(
        self, settings: Settings, *, router: Router, writer: RowWriter, routes: SinkRoutes | None = None
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._router = router
        self._writer = writer
        self._open: list[SchemaMessage] = []
        self.is_open = False

    def use(self, settings: Settings, router: Router) -> None:
        """These hold from now on."""
        self._settings, self._router = settings, router

    def start(self, ghosts: str) -> None:
        self._open, self.is_open = [], False

    def belongs(self, change: SchemaChange) -> bool:
        return bool(self._open) and self._open[0].announces(change)

    def add(self, delivery: Delivery, change: SchemaChange) -> None:
        self._open.append(SchemaMessage(delivery, change))
        self.is_open = True

    def ghosts(self) -> str:
        return ""

    def keeps(self, change: RowChange) -> CopyRows | None:
        return None

    def take(self) -> SchemaWork[SinkSchemaChange]:
        """A step for each target database in which the sink takes one of the tables."""
        messages, self._open, self.is_open = self._open, [], False
        work: SchemaWork[SinkSchemaChange] = SchemaWork([], [])
        first, siblings = messages[0].change, [message.change for message in messages[1:]]
        for target in self._router.databases(first.database):
            try:
                planned = self._plan(first, siblings, target)
            except PlanError as exc:
                work.parked += self._unplanned(messages, target, exc)
                continue
            if planned is None or not self._concerns(planned):
                continue
            change = SinkSchemaChange(planned.action, planned.touched, planned.database, "", first)
            policy = self._settings.schema_changes.get(planned.action, "apply")
            names = {name for pair in planned.touched for name in pair if name is not None}
            waits = (TableName(planned.database, ""),) if planned.database is not None else tuple(sorted(names))
            work.steps.append(
                SchemaStep(
                    change=first, planned=change, policy=policy, database=target, messages=messages,
                    siblings=messages[1:], waits_for=waits,
                )
            )  # fmt: skip
        return work

    def _plan(self, first: SchemaChange, siblings: list[SchemaChange], target: str) -> PlannedSchemaChange | None:
        is_sharded = self._router.is_sharded(first.database)
        planned = plan_schema_change(
            first,
            rename=lambda name: self._router.rename(
                name, shard_of=first.database if is_sharded else None, shard=target if is_sharded else None
            ),
            in_scope=lambda database, table: True,
            siblings=siblings,
        )
        if planned is not None and self._routes is not None:
            self._refuse_leaving(planned, parse_statement(first.sql), self._routes)
        return planned

    def _refuse_leaving(self, planned: PlannedSchemaChange, statement: Statement, routes: SinkRoutes) -> None:
        """Raises PlanError where a table or a column leaves its route, so that its values would come unmasked."""

        def source(name: TableName) -> TableName:
            return TableName(next(iter(self._router.sources(name.database)), name.database), name.table)

        of_source = TableRoutes(lambda name: name, routes.settings)
        for before, after in planned.touched:
            if before is not None and after is not None and before != after:
                refuse_between(source(before), source(after), of_source)
        subject = next((name for each in planned.touched for name in each if name is not None), None)
        route = None if subject is None else routes.settings(source(subject))
        if route is not None:
            refuse_renames(statement, route)

    def _concerns(self, planned: PlannedSchemaChange) -> bool:
        if planned.database is not None:
            return True
        names = [name for pair in planned.touched for name in pair if name is not None]
        return any(self._writer.key_columns(name) is not None for name in names)

    def _unplanned(self, messages: list[SchemaMessage], target: str, exc: PlanError) -> list[ParkedChange]:
        """What cannot be read matters only for tables that the sink takes."""
        return [
            park_whole(*message, target, str(exc))
            for message in messages
            if self._writer.key_columns(TableName(target, message.change.table or "")) is not None
        ]
