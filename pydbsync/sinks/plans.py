"""Which rows go to a sink, and how they are told apart: the plans of a target that has no tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, RowChange, SchemaChange, TableName, read_image
from pydbsync.plan.identity import Readings, row_identity
from pydbsync.route.router import Router
from pydbsync.sinks.routes import SinkRoutes
from pydbsync.sinks.writer import RowWriter, SinkRow, place_of
from pydbsync.work import Batch, Work


class SinkPlan(NamedTuple):
    """The rows of one table on their way to a sink."""

    name: TableName
    row_key: tuple[str, ...]

    @property
    def has_key(self) -> bool:
        """What comes again changes nothing, by its place."""
        return True

    @property
    def key_readings(self) -> Readings:
        """A sink has no collations: it tells keys apart as they are spelled."""
        return {}

    def old_image(self, change: RowChange) -> msgspec.Raw:
        """The row before an update. Raises PlanError."""
        image = dict(read_image(change.data))
        if change.old is not NO_JSON:
            image.update(read_image(change.old))
        return msgspec.Raw(msgspec.json.encode(image))

    def identity(self, change: RowChange) -> Sequence[bytes]:
        """Digests of the key before and after; nothing where the sink knows none."""
        return row_identity(change, self) if self.row_key else ()

    def passes_to(self, change: RowChange) -> Sequence[TableName]:
        """A sink has no foreign keys."""
        return ()


class SinkBatch:
    """Only looks whether each row can be written; the work has them in order."""

    def __init__(self, writer: RowWriter) -> None:
        self._writer = writer

    def add(self, change: RowChange, plan: SinkPlan) -> None:
        """Raises PlanError for a row that cannot be written."""
        self._writer.check(SinkRow(plan.name, change, ""))


class SinkPlans:
    """Finds the plans of a change: filters, rewritten names and shards as for MySQL, and what the sink takes."""

    def __init__(self, router: Router, writer: RowWriter, routes: SinkRoutes | None = None) -> None:
        self._router = router
        self._routes = routes
        self._writer = writer
        self._plans: dict[tuple[str, str], SinkPlan | None] = {}
        self._by_target: dict[TableName, SinkPlan | None] = {}

    def use(self, router: Router) -> None:
        """This one holds from now on."""
        self._router = router
        self.forget()

    def attach(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._plans.clear()
        self._by_target.clear()
        if self._routes is not None:
            self._routes.forget()

    def plan_of(self, change: RowChange) -> SinkPlan | None:
        """The plan of a change that goes to exactly one table and was routed before."""
        return self._plans.get((change.database, change.table))

    def current(self, plan: SinkPlan) -> SinkPlan:
        return self._target(plan.name) or plan

    def renew(self, plan: SinkPlan) -> SinkPlan | None:
        """There is no table to look at."""
        return None

    def is_fed(self, change: RowChange) -> bool:
        """Nobody asks: there is no way back from a sink."""
        return True

    def route(self, change: RowChange) -> Sequence[tuple[SinkPlan, RowChange]]:
        """None if it is filtered out or not for the sink. Raises PlanError where no shard can be told."""
        source = TableName(change.database, change.table)
        if not self._router.takes(source):
            return ()
        if not self._router.is_sharded(change.database):
            plan = self._target(TableName(self._router.rename(change.database), change.table))
            if plan is None:
                return ()
            route = self._routes.route(source) if self._routes is not None else None
            if route is not None:
                sent = route.changed(change)
                return [] if sent is None else [(plan, sent)]
            self._plans[source] = plan
            return [(plan, change)]
        found = [(TableName(target, change.table), sent) for target, sent in self._router.row_targets(change)]
        return [(plan, sent) for name, sent in found if (plan := self._target(name)) is not None]

    def named_rows(self, change: RowChange) -> Sequence[tuple[SinkPlan, RowChange]]:
        """The rows of a change of which a route cannot tell whether it takes them."""
        source = TableName(change.database, change.table)
        try:
            plan = self._target(TableName(self._router.rename(change.database), change.table))
            route = self._routes.route(source) if self._routes is not None else None
            return [] if plan is None or route is None else [(plan, route.named(change))]
        except PlanError:
            return ()

    def targets(self, change: RowChange | SchemaChange) -> Sequence[TableName]:
        return self._router.targets(TableName(change.database, change.table or ""))

    def batch(self) -> Batch[SinkPlan]:
        return SinkBatch(self._writer)

    def _target(self, name: TableName) -> SinkPlan | None:
        if name not in self._by_target:
            key = self._writer.key_columns(name)
            self._by_target[name] = None if key is None else SinkPlan(name, tuple(key))
        return self._by_target[name]


def rows_of(work: Work[SinkPlan]) -> list[SinkRow]:
    """The rows of the work with their places, in order."""
    generation, begins = work.state.generation, work.new_streams
    if not begins:
        return [SinkRow(plan.name, change, place_of(change, generation)) for _, change, plan in work.entries]
    return [
        SinkRow(plan.name, change, place_of(change, generation - sum(begin > delivery.tag for begin in begins)))
        for delivery, change, plan in work.entries
    ]
