"""Schema changes on their way to a sink: one statement, however many messages announce it."""

from __future__ import annotations

from pydbsync.config.settings import Settings
from pydbsync.errors import PlanError
from pydbsync.model import Delivery, RowChange, SchemaChange, TableName
from pydbsync.plan.ddl import PlannedSchemaChange, plan_schema_change
from pydbsync.route.router import Router
from pydbsync.sinks.writer import RowWriter, SinkSchemaChange
from pydbsync.work import CopyRows, ParkedChange, SchemaMessage, SchemaStep, SchemaWork, park_whole


class SinkSchemaFlow:
    """Collects the messages of one statement; a sink needs no copies of online schema changes."""

    def __init__(self, settings: Settings, *, router: Router, writer: RowWriter) -> None:
        self._settings = settings
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
        return plan_schema_change(
            first,
            rename=lambda name: self._router.rename(
                name, shard_of=first.database if is_sharded else None, shard=target if is_sharded else None
            ),
            in_scope=lambda database, table: True,
            siblings=siblings,
        )

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
