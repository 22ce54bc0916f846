"""The copies of online schema changes as they pass: whose rows are left out, and whether they are what they seem."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from pydbsync.config.settings import Settings
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import PlanError
from pydbsync.model import RowChange, SchemaChange, TableName, TableSchema
from pydbsync.plan.ddl.altered_copy import AlteredCopy
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.online import NoCopyError, Observed, OnlineChanges, RealRows
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.routed.rows import RowRoute
from pydbsync.plan.routed.tables import are_alike
from pydbsync.protocols import Catalog, Decode
from pydbsync.work import CopyRows, ParkedRows, Pauses, SchemaStep

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

    def has_begun(self, step: SchemaStep[PlannedSchemaChange]) -> bool: ...

    def misfit_of_copy(self, wanted: AlteredCopy, decode: Decode) -> str: ...


class Copies:
    """What is known of the copies of one stream; saved with its checkpoint."""

    def __init__(
        self,
        settings: Settings,
        *,
        tables: TargetTables,
        plans: TablePlans,
        log: logging.Logger,
        decode: Decode,
        plan: Callable[[SchemaChange, str], PlannedSchemaChange | None],
    ) -> None:
        """`decode` reads the messages that were kept; `plan` says what a statement is in a database of the target."""
        self._settings = settings
        self._tables = tables
        self._plans = plans
        self._log = log
        self._decode = decode
        self._plan = plan
        self._online = OnlineChanges()
        self._came: dict[TableName, int | None] = {}
        """How many rows more of each copy have come since `_online` was brought up to date; None: not known."""
        self._kept_of: OnlineChanges | None = None
        self._kept: dict[tuple[str, str], CopyRows | None] = {}
        """What `keeps` has answered of that."""
        self._named: set[TableName] = set()
        self._routes: dict[TableName, RowRoute | None] = {}
        """Table that is left out → the route of the real table, where it takes not all of its rows."""

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self._settings = settings

    def start(self, ghosts: str) -> None:
        """Go on from what the checkpoint row says of them."""
        self._online, self._came = OnlineChanges.from_json(ghosts), {}
        if self._settings.online_schema_change == "collapse":
            self._plans.hide(self._hides, self._count)

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

    def observe(
        self, changes: list[SchemaChange]
    ) -> tuple[Sequence[SchemaChange], Sequence[SchemaChange], Observed | None]:
        """The statements to run for these messages, and the siblings of the first: others where an online schema change
        is under way, and what was observed of that. Raises PlanError."""
        first, siblings = changes[0], changes[1:]
        if self._settings.online_schema_change == "off":
            return [first], siblings, None
        self._bring_up_to_date()
        self._routes.clear()
        try:
            observed = self._online.observe(
                first,
                statement=parse_statement(first.sql),
                columns_of=self._columns_of,
                siblings=siblings,
                rows_of=self._rows_of,
                misfit_of=self._misfit_of,
                keeps=self._keeps_rows_of,
                are_alike=self._are_alike,
                has_columns=self._has_columns,
            )
        except NoCopyError as exc:
            self._online = exc.state
            raise
        self._online = observed.state
        if observed.note:
            self._log.info("online schema change: %s", observed.note)
        if observed.warning:
            self._log.warning("%s", observed.warning)
        return observed.changes, siblings, observed

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
        elif came is not None:
            more = self._rows_more(name, change)
            self._came[name] = None if more is None else came + more

    def _rows_more(self, name: TableName, change: RowChange) -> int | None:
        """How many rows more the copy has by this one, in all shards together; None where that cannot be told."""
        router = self._plans.router
        if not self._online.hides(name):
            return 0  # a table that is no copy is not counted, and its rows are not read
        try:
            if router.is_sharded(change.database):
                if not router.tells_shard(change):  # all shards get it, those of the real table have their own rows
                    return None
                return sum(_ROWS_MORE.get(sent.kind, 0) for _, sent in router.row_targets(change))
            if name not in self._routes:
                self._routes[name] = self._choosing(name)
            route = self._routes[name]
            sent = change if route is None else route.changed(change)
        except PlanError:
            return None
        return 0 if sent is None else _ROWS_MORE.get(sent.kind, 0)

    def _choosing(self, name: TableName) -> RowRoute | None:
        """The route of the table whose copy this is, where it has a condition."""
        real = self._online.real_of(name)
        route = None if real is None else self._plans.route_of(real)
        return self._plans.row_route(real) if real is not None and route is not None and route.where else None

    def _bring_up_to_date(self) -> None:
        if self._came:
            self._online, self._came = self._online.counted(self._came), {}

    @property
    def _is_written_by_others(self) -> bool:
        return self._settings.two_way is not None or self._settings.detects_conflicts

    def _keeps_rows_of(self, copy: TableName) -> bool:
        # A copy that is made of the rows which came would lack those that others have written here.
        return not self._is_written_by_others and self._plans.router.takes(copy)

    def _are_alike(self, copy: TableName, real: TableName) -> bool:
        return are_alike(*map(self._plans.route_of, (copy, real)))

    def _has_columns(self, real: TableName, columns: Sequence[str]) -> bool:
        present, wanted = self._columns_of(real) or (), list(columns)
        if (route := self._plans.route_of(real)) is not None:
            kept = [name for name in columns if name.lower() not in route.leave_out]
            wanted = [route.rename.get(name.lower(), name) for name in kept]
            present = [name for name in present if name.lower() not in map(str.lower, route.add)]
        if any(map(self._plans.has_several_sources, self._plans.router.targets(real))):
            present = [name for name in present if name in wanted]  # the others may be another source's
        return list(present) == wanted

    def _rows_of(self, copy: TableName, real: TableName) -> RealRows | None:
        router, route = self._plans.router, self._plans.route_of(real)
        if self._is_written_by_others or not (router.takes(copy) and router.takes(real)):
            return None
        if route is not None and route.is_by_history:
            return None
        found = 0
        for target in router.targets(real):
            has = self._tables.count_rows(target)
            if has is None:
                return None
            found += has
        return RealRows(found, is_shared=any(map(self._plans.has_several_sources, router.targets(real))))

    def _misfit_of(self, copy: CopyRows, real: TableName, changes: Sequence[SchemaChange]) -> str:
        for target in self._plans.router.targets(real):
            planned = [self._plan(change, target.database) for change in changes]
            if any(map(self._has_begun, changes, planned)):
                continue  # it was found to be a copy, and then the worker died
            self._log.info("the rows that came for %s are compared with those of %s", copy.copy, target)
            made = [each for each in planned if each is not None]
            # What a route has made of rows is no proof against a copy where it cannot be followed, and of several
            # sources another one's statement may have run here before.
            has_to_be = self._plans.route_of(real) is None and not self._plans.has_several_sources(target)
            wanted = AlteredCopy(
                copy, target, made, self._plans.overrides(real), partial(self._sent_to, real, target.database),
                has_to_be,
            )  # fmt: skip
            if misfit := self._tables.misfit_of_copy(wanted, self._decode):
                return misfit
        return ""

    def _has_begun(self, change: SchemaChange, planned: PlannedSchemaChange | None) -> bool:
        if planned is None:
            return False
        return self._tables.has_begun(SchemaStep(change, planned, "apply", "", messages=[], siblings=[]))

    def _sent_to(
        self, real: TableName, database: str, shape: TableSchema
    ) -> Callable[[RowChange], Sequence[RowChange]]:
        """What becomes of rows of a copy of this shape on their way to this database of the target. Raises PlanError,
        as what is returned does."""
        router, route = self._plans.router, self._plans.row_route(real, shape)

        def sent(change: RowChange) -> Sequence[RowChange]:
            if router.is_sharded(change.database):
                return [each for name, each in router.row_targets(change) if name == database]
            routed = change if route is None else route.changed(change)
            return [] if routed is None else [routed]

        return sent

    def _columns_of(self, source: TableName) -> Sequence[str] | None:
        targets = self._plans.router.targets(source)
        if not targets:
            return None
        schema = self._tables.catalog.table(targets[0])
        if schema is None:  # what is parked may make it yet
            return None if self._tables.parked.blocker(targets[0]) is None else []
        return [column.name for column in schema.columns]
