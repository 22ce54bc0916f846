"""Which plan each change goes by: routed names joined with the target's catalogue, remembered per source table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from pydbsync.config.routes import RouteSettings
from pydbsync.config.settings import Settings, source_globs
from pydbsync.engine.routing import (
    apply_mode_of,
    configured_server,
    conflict_policy,
    is_glob,
    router_from,
    row_settings,
    table_routes,
)
from pydbsync.errors import ConfigError, PlanError
from pydbsync.model import Column, RowChange, SchemaChange, TableName, TableSchema
from pydbsync.plan.batch import RowBatch
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.lexer import Brand
from pydbsync.plan.lossy import RULES_BY_INPUT
from pydbsync.plan.routed.rows import RowRoute, source_columns
from pydbsync.plan.routed.tables import TableRoutes
from pydbsync.plan.row_images import column_names
from pydbsync.plan.row_shape import ColumnOverrides, ConflictRule, LossPolicy
from pydbsync.plan.rows import ApplyMode, TablePlan, overrides_for
from pydbsync.plan.target import Dialect
from pydbsync.plan.versioned import current_change, period_of
from pydbsync.protocols import Catalog
from pydbsync.route.filters import other_case
from pydbsync.route.router import Router


class TargetCatalog(Catalog, Protocol):
    """The target's tables, and what the target is."""

    @property
    def dialect(self) -> Dialect: ...

    def feeders(self, name: TableName, server_id: int | None) -> tuple[str, ...]:
        """Streams of other servers than this one that feed the table as well."""

    def is_fed(self, name: TableName) -> bool:
        """Whether this stream has fed the table."""

    def feeders_in(self, database: str, table: str | None) -> tuple[str, ...]:
        """Streams of other servers that feed a table which this stream feeds too, or any one in the database."""


Planned: TypeAlias = Sequence[tuple[TablePlan, RowChange]]
"""The plans that a change goes by, each with the change as it goes there."""


class TablePlans:
    """Finds the plans of a change; forgets them when the schema changes."""

    def __init__(
        self,
        settings: Settings,
        *,
        router: Router,
        catalog: TargetCatalog,
        log: logging.Logger,
        ask_source: Callable[[], StatementServer | None] = lambda: None,
        ask_collation: Callable[[str], str | None] = lambda database: None,
        ask_table: Callable[[TableName], TableSchema | None] = lambda name: None,
        input_format: str = "maxwell",
        checks_routes: bool = False,
        keeps_others: bool = False,
    ) -> None:
        """`ask_source` is called where the settings do not say what the source is, whenever that matters;
        `ask_collation` for the default collation of one of its databases, `ask_table` for one of its tables.
        `checks_routes`: where the target is first attached, a route that cannot be followed is an error. `keeps_others`
        is TablePlan's."""
        self._catalog = catalog
        self._configured = configured_server(settings.source_server)
        self._ask_source = ask_source
        self._ask_collation = ask_collation
        self._ask_table = ask_table
        self._checks_routes = checks_routes
        self._keeps_others = keeps_others
        self._log = log
        self.dialect = Dialect()
        self._plans: dict[tuple[str, str], tuple[TablePlan, ...]] = {}
        self._only: dict[tuple[str, str], TablePlan] = {}
        """Of `_plans`, what goes to one table: nearly every row asks."""
        self._columns: dict[TableName, Mapping[str, Column]] = {}
        self._is_versioned: dict[TableName, bool] = {}
        self._by_target: dict[tuple[TableName, ColumnOverrides, ApplyMode, ConflictRule | None], TablePlan] = {}
        self._routed: dict[TableName, tuple[TablePlan, RowRoute]] = {}
        """Of the tables whose rows a route changes."""
        self._fed_by: dict[TableName, TableName] = {}
        """Target table → the source table that was first planned for it."""
        self._told: set[str] = set()
        self._looked_at: set[TableName] = set()
        """Source tables whose names were held against the configuration's."""
        self._hides: Callable[[TableName], bool] = lambda source: False
        self._left_out: Callable[[RowChange], None] = lambda change: None
        self._warned: set[tuple[TableName, str]] = set()
        self._server_id: int | None = None
        """Whose rows are planned for."""
        self._rules = RULES_BY_INPUT[input_format]
        self._use(settings, router)

    def use(self, settings: Settings) -> None:
        """These hold from now on: every table is planned for anew."""
        self._use(settings, router_from(settings))
        self.forget()

    def _use(self, settings: Settings, router: Router) -> None:
        self._settings, self.router = settings, router
        self._looked_at.clear()
        self._loss = LossPolicy(
            refuse=settings.lossy_values in ("stop", "park"),
            trusted=settings.trusted_columns,
            rules=self._rules,
            tell=None if settings.lossy_values == "off" else self._tell_loss,
        )

    @property
    def source_server(self) -> tuple[Brand | None, tuple[int, ...]]:
        """What the source is, by the settings or by its own word; (None, ()) where neither tells."""
        server = self._configured or self._ask_source()
        return (None, ()) if server is None else (server.brand, server.version)

    def source_of(self, change: SchemaChange) -> StatementServer | None:
        """The server whose words the statement is in; a GTID tells MySQL, without its version.

        Where the message does not tell the session, the source's global settings stand for it.
        """
        brand, version = self.source_server
        if brand is None:
            # MariaDB's GTIDs have dashes, and Maxwell publishes none of them.
            brand = "mysql" if change.gtid and ":" in change.gtid else None
        asked = self._ask_source() if change.session is None else None
        session = change.session or (asked.session if asked else None)
        if brand is None:
            return None
        collation = self._ask_collation(change.database) if change.kind == "table-create" else None
        return StatementServer(brand, version, session=session, collation=collation)

    def attach(self) -> None:
        """The target was connected anew: plan for it as it is now."""
        self.dialect = self._catalog.dialect
        self.forget()
        if self._checks_routes:
            self._checks_routes = False
            self._check_routes()

    def _check_routes(self) -> None:
        """Refuse at start what would park each row: a route that does not fit a table that is named by it alone.

        Raises ConfigError.
        """
        for number, route in enumerate(self._settings.routes):
            source = TableName(*route.table.split(".", 1))
            if is_glob(route.table) or not route.changes_rows or not self.router.takes(source):
                continue
            for target in self.router.targets(source):
                if self._catalog.table(target) is None:
                    continue  # it may be made yet
                try:
                    self._row_route(source, self._plan(source, target).schema, route)
                except PlanError as exc:
                    raise ConfigError(f"{source} cannot go its way: {exc}", key=f"routes[{number}]") from exc
        self.forget()  # whose rows come was not known: who else feeds the tables is asked with the first of them

    def hide(self, hides: Callable[[TableName], bool], left_out: Callable[[RowChange], None]) -> None:
        """Leave out the rows of source tables that `hides` tells, copies of online schema changes. `left_out` is told
        each row that is not replayed, of other tables too."""
        self._hides, self._left_out = hides, left_out

    def forget(self) -> None:
        """The target's tables may have changed."""
        self._catalog.forget()
        self._plans.clear()
        self._only.clear()
        self._columns.clear()
        self._is_versioned.clear()
        self._by_target.clear()
        self._routed.clear()

    def batch(self) -> RowBatch:
        """An empty batch."""
        return RowBatch()

    def targets(self, change: RowChange | SchemaChange) -> Sequence[TableName]:
        """The tables of the target that a change goes to, for one that cannot be planned; of a change of a database
        itself they have no name."""
        name = TableName(change.database, change.table or "")
        if name.table:
            return self.router.targets(name)
        return [TableName(database, "") for database in self.router.databases(change.database)]

    def route_of(self, source: TableName) -> RouteSettings | None:
        """What makes other rows of those of a source table; None where they come as they are."""
        return row_settings(self._settings, self.router, source)

    def row_route(self, source: TableName, target: TableSchema | None = None) -> RowRoute | None:
        """The same as it is followed, to the target's table or to another one that is shaped so. Raises PlanError."""
        route = self.route_of(source)
        if route is None:
            return None
        (name,) = self.router.targets(source)
        schema = target or self._catalog.table(name)
        if schema is None:
            raise PlanError(f"the target has no table {name}")
        return self._row_route(source, schema, route)

    def table_routes(self, database: str, target: str) -> TableRoutes | None:
        """What schema changes need to know of routes; None where there are none. `target` stands for `database` now."""
        return table_routes(self._settings, self.router, database, target, table=self._catalog.table)

    def target_columns(self, source: TableName) -> Mapping[str, Column] | None:
        """The columns of the table that rows of a source table go to, by name; None where there is none."""
        found = self._columns.get(source)
        if found is None:
            for target in self.router.targets(source):
                schema = self._catalog.table(target)
                if schema is not None:
                    found = self._columns[source] = {column.name: column for column in schema.columns}
                    break
        return found

    def plan_of(self, change: RowChange) -> TablePlan | None:
        """The plan of a change that goes to exactly one table and was routed before; None where `route` must tell."""
        return self._only.get((change.database, change.table))

    def is_fed(self, change: RowChange) -> bool:
        """Whether rows of the change's table have come by this stream."""
        source = TableName(change.database, change.table)
        if self._plans.get(source) or source in self._routed:
            return True
        return self.router.takes(source) and any(map(self._catalog.is_fed, self.router.targets(source)))

    def route(self, change: RowChange) -> Planned:
        """The plans a change goes by: none if it is filtered out, several if it goes to several shards.

        Raises PlanError if the target has no such table, or the value that picks the shard is none.
        """
        plans = self._plans.get((change.database, change.table))
        if plans is None:
            self._server_id = change.server_id
            source = TableName(change.database, change.table)
            if (routed := self._routed.get(source)) is not None and not self._hides(source):
                return self._by_route(source, change, *routed)
            if source not in self._looked_at:
                self._looked_at.add(source)
                self._tell_other_case(source)
            if not self.router.takes(source) or self._hides(source):
                plans = self._plans[source] = ()
            elif self.router.is_sharded(change.database):
                self._refuse_without_shard(source, change)
                return self._current_rows(
                    source,
                    [
                        (self._plan(source, TableName(target, change.table)), sent)
                        for target, sent in self.router.row_targets(change)
                    ],
                )
            else:
                plans = tuple(self._plan(source, target) for target in self.router.targets(source))
                if (route := self.route_of(source)) is not None:
                    self._routed[source] = plans[0], self._row_route(source, plans[0].schema, route)
                    return self._by_route(source, change, *self._routed[source])
                planned = [(plan, change) for plan in plans]
                try:
                    current = self._current_rows(source, planned)
                except PlanError:
                    return planned  # an image that cannot be read: said where it is written, of this row alone
                if not self._is_versioned.get(source):  # else each row is looked at
                    self._plans[source] = plans
                    if len(plans) == 1:
                        self._only[source] = plans[0]
                return current
        if not plans:
            self._left_out(change)
        return [(plan, change) for plan in plans]

    def _refuse_without_shard(self, source: TableName, change: RowChange) -> None:
        """A row that has no such column goes to all shards; one whose source leaves a generated one out of an UPDATE
        (MariaDB 11.8) is in one of them alone. Raises PlanError."""
        name = self.router.shard_column
        if name is None or change.kind != "update" or self.router.tells_shard(change):
            return
        column = (self.target_columns(source) or {}).get(name)
        if column is not None and column.generated:
            raise PlanError(
                f"the update lacks the column {name}, which picks the shard and is generated: MariaDB 11.8 leaves it"
                " out of its binlog; shard by a column that is none"
            )

    def _tell_other_case(self, source: TableName) -> None:
        for text in other_case(source_globs(self._settings), [source]):
            if text not in self._told:
                self._told.add(text)
                self._log.warning("%s", text)

    def _by_route(self, source: TableName, change: RowChange, plan: TablePlan, route: RowRoute) -> Planned:
        current = self._current_rows(source, [(plan, change)])
        found = [(plan, sent) for _, each in current if (sent := route.changed(each)) is not None]
        if not found:
            self._left_out(change)
        return found

    def named_rows(self, change: RowChange) -> Planned:
        """The rows of a change of which a route cannot tell whether it takes them; nothing where none can be named."""
        source = TableName(change.database, change.table)
        if source not in self._routed:
            return ()
        plan, route = self._routed[source]
        try:
            found = [(plan, route.named(each)) for _, each in self._current_rows(source, [(plan, change)])]
            return found if all(plan.identity(sent) for _, sent in found) else ()
        except PlanError:
            return ()

    def _row_route(self, source: TableName, target: TableSchema, route: RouteSettings) -> RowRoute:
        """Raises PlanError, and TransientError where the source has to be asked and does not answer."""
        known: Mapping[str, Column] = {}
        if route.needs_source:
            known = source_columns(self._ask_table(source))
        overrides = self.overrides(source)
        return RowRoute(
            route, target, known, key=self._settings.mask_key, shifted=overrides.timestamp | overrides.binary
        )

    def current(self, plan: TablePlan) -> TablePlan:
        """The plan by which the changes of its table go now; the same one where the table is gone."""
        try:
            return self._plan_for(plan.name, plan.overrides, plan.apply_mode, plan.conflicts)
        except PlanError:
            return plan

    def renew(self, plan: TablePlan) -> TablePlan | None:
        """Look at the plan's table again; a new plan, or None where it has not changed, or is gone."""
        self._catalog.forget()
        schema = self._catalog.table(plan.name)
        if schema is None or schema == plan.schema:
            return None
        self.forget()
        return self.current(plan)

    def _current_rows(self, source: TableName, planned: Planned) -> Planned:
        """The changes of current rows, where the table is a system-versioned one at an end."""
        is_versioned = self._is_versioned.get(source)
        if is_versioned is None and planned:
            is_versioned = self._is_versioned[source] = any(
                period_of(plan.schema, column_names(change.data)) for plan, change in planned
            )
            if is_versioned:
                self._warn_once(
                    planned[0][0].name,
                    f"{source} is system-versioned: its current rows are replayed, its history is not; where the"
                    " target's table is versioned too, it keeps a history of its own",
                )
        if not is_versioned:
            return planned
        found: list[tuple[TablePlan, RowChange]] = []
        for plan, change in planned:
            period = period_of(plan.schema, column_names(change.data))
            current = change if period is None else current_change(change, period)
            if current is not None:
                found.append((plan, current))
        return found

    def _plan(self, source: TableName, target: TableName) -> TablePlan:
        if self.router.tables and not self.router.is_merged_table(target):
            first = self._fed_by.setdefault(target, source)
            if first != source:
                raise PlanError(
                    f"{source} and {first} both go to {target}, and the configuration says so of only one: give both a"
                    " route to it, so that none writes over rows of the other, or one of them another table"
                )
        mode = apply_mode_of(self._settings, self.router, source)
        return self._plan_for(target, self.overrides(source), mode, self._rule_of(source))

    def overrides(self, source: TableName) -> ColumnOverrides:
        """What the configuration says of the columns of a source table."""
        return overrides_for(
            source,
            self._settings.binary_columns,
            self._settings.timestamp_columns,
            self._settings.timestamp_offset_s,
        )

    def _rule_of(self, source: TableName) -> ConflictRule | None:
        """What decides conflicts of the table; None where nobody looks for any."""
        if not self._settings.detects_conflicts:
            return None
        conflicts = self._settings.conflicts
        return ConflictRule(conflict_policy(conflicts, source), conflicts.prefer)

    def _plan_for(
        self, target: TableName, overrides: ColumnOverrides, apply_mode: ApplyMode, rule: ConflictRule | None
    ) -> TablePlan:
        # One plan for all source tables that are merged into a target table, so that their changes batch together.
        plan = self._by_target.get((target, overrides, apply_mode, rule))
        if plan is None:
            schema = self._catalog.table(target)
            if schema is None:
                raise PlanError(f"the target has no table {target}")
            if self._settings.two_way is not None and not schema.transactional:
                raise PlanError(
                    f"{target} has no transactions (its storage engine): with two_way nothing would tell what replay"
                    " has written there from what others write; ALTER TABLE ... ENGINE=InnoDB at both servers"
                )
            self._warn_about(target, triggers=schema.triggers, is_transactional=schema.transactional)
            passes_on = self._passes_actions_on(schema)
            plan = TablePlan(
                schema,
                overrides=overrides,
                dialect=self.dialect,
                loss=self._loss,
                apply_mode=apply_mode,
                passes_actions_on=passes_on,
                is_merged=self.is_merged(target),
                conflicts=rule,
                children=() if passes_on is False else self._children(schema),
                keeps_others=self._keeps_others,
            )
            self._by_target[target, overrides, apply_mode, rule] = plan
        return plan

    def _children(self, schema: TableSchema) -> tuple[TableName, ...]:
        """All tables to which changes of rows may be passed on by foreign keys, over others as well."""
        found: dict[TableName, None] = {}
        parents = [schema]
        while parents:
            for referrer in parents.pop().referrers:
                child = self._catalog.table(referrer.child) if referrer.child not in found else None
                found[referrer.child] = None
                if child is not None:
                    parents.append(child)
        return tuple(found)

    def is_merged(self, target: TableName) -> bool:
        """Whether several sources feed the table, by the configuration or by what other streams say."""
        others = self._catalog.feeders(target, self._server_id)  # which names this stream to the others, too
        if self.router.is_merged_table(target):
            return True
        if others:
            self._warn_once(
                target,
                f"{target} is fed from another server too, by {', '.join(others)}: no row of the other source is"
                " written over, and what meets one is parked",
            )
        return bool(others)

    def are_merged(self, change: SchemaChange, database: str) -> bool:
        """The same of the table that a statement is about, or of a whole database of the target."""
        if change.table is None:
            return self.router.is_merged(database) or bool(self._catalog.feeders_in(database, None))
        source = TableName(change.database, change.table)
        names = self.router.targets(source) if self.router.tables else (TableName(database, source.table),)
        return any(map(self.has_several_sources, names))

    def has_several_sources(self, target: TableName) -> bool:
        """As `is_merged`, where no row of the table need have come yet."""
        return self.router.is_merged_table(target) or bool(self._catalog.feeders_in(target.database, target.table))

    def _tell_loss(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._log.warning("%s (lossy_values; said once for the column)", text)

    def _passes_actions_on(self, schema: TableSchema) -> bool | None:
        """Whether the target must cascade itself; None where it is not known. MySQL 9.6 and newer write the children to
        the binlog."""
        wanted = self._settings.referential_actions
        if wanted != "auto":
            return wanted == "on"
        if not schema.referrers:
            return False
        brand, version = self.source_server
        return None if brand is None else not (brand == "mysql" and version >= (9, 6))

    def _warn_about(self, target: TableName, *, triggers: tuple[str, ...], is_transactional: bool) -> None:
        if triggers:
            self._warn_once(
                target,
                f"{target} has triggers at the target ({', '.join(triggers)}): what they do comes twice if the source"
                " has them too, since their effects arrive as rows; drop them at the target",
            )
        if not is_transactional:
            self._warn_once(
                target,
                f"{target} has no transactions at the target (its storage engine): a crash can apply a change twice",
            )

    def _warn_once(self, target: TableName, text: str) -> None:
        if (target, text) not in self._warned:
            self._warned.add((target, text))
            self._log.warning(text)
