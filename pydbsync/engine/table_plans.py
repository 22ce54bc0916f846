"""Which plan each change goes by: routed names joined with the target's catalogue, remembered per source table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from pydbsync.config.settings import Settings
from pydbsync.errors import PlanError
from pydbsync.model import Column, RowChange, SchemaChange, TableName, TableSchema
from pydbsync.plan.batch import Batch
from pydbsync.plan.dialect import Server
from pydbsync.plan.lexer import Brand
from pydbsync.plan.lossy import RULES_BY_INPUT
from pydbsync.plan.rows import (
    ColumnOverrides,
    ConflictRule,
    Dialect,
    LossPolicy,
    TablePlan,
    column_names,
    overrides_for,
)
from pydbsync.plan.versioned import current_change, period_of
from pydbsync.protocols import Catalog
from pydbsync.route.filters import Filters
from pydbsync.route.router import Router
from pydbsync.route.shard import ShardRouter


def router_from(settings: Settings) -> Router:
    """The router that the settings describe."""
    hidden = [settings.state_schema, settings.heartbeat_table.partition(".")[0]]
    if settings.source_state_schema:
        hidden.append(settings.source_state_schema)
    if not settings.include_maxwell_database:
        hidden.append(settings.maxwell_database)
    shards = None
    if settings.sharding is not None and settings.direction == "replay":
        shards = ShardRouter(
            databases=frozenset(settings.sharding.databases),
            column=settings.sharding.column,
            modulo=settings.sharding.modulo,
            owned=settings.sharding.owned(settings.corpmod),
        )
    return Router(
        filters=Filters(include=settings.include, exclude=settings.exclude, hidden_databases=hidden),
        rewrite=settings.dbname_rewrite,
        shards=shards,
    )


def configured_server(text: str) -> Server | None:
    """`mysql 8.4` as that server; None for auto."""
    if text == "auto":
        return None
    brand, _, version = text.partition(" ")
    return Server("mysql" if brand == "mysql" else "mariadb", tuple(int(number) for number in version.split(".")))


class TargetCatalog(Catalog, Protocol):
    """The target's tables, and what the target is."""

    @property
    def dialect(self) -> Dialect: ...

    def feeders(self, name: TableName, server_id: int | None) -> tuple[str, ...]:
        """Streams of other servers than this one that feed the table as well."""

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
        ask_source: Callable[[], Server | None] = lambda: None,
        ask_collation: Callable[[str], str | None] = lambda database: None,
        input_format: str = "maxwell",
    ) -> None:
        """`ask_source` is called where the settings do not say what the source is, whenever that matters;
        `ask_collation` for the default collation of one of its databases."""
        self._catalog = catalog
        self._configured = configured_server(settings.source_server)
        self._ask_source = ask_source
        self._ask_collation = ask_collation
        self._log = log
        self.dialect = Dialect()
        self._plans: dict[tuple[str, str], tuple[TablePlan, ...]] = {}
        self._columns: dict[TableName, Mapping[str, Column]] = {}
        self._is_versioned: dict[TableName, bool] = {}
        self._by_target: dict[tuple[TableName, ColumnOverrides, ConflictRule | None], TablePlan] = {}
        self._told: set[str] = set()
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

    def source_of(self, change: SchemaChange) -> Server | None:
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
        return Server(brand, version, session=session, collation=collation)

    def attach(self) -> None:
        """The target was connected anew: plan for it as it is now."""
        self.dialect = self._catalog.dialect
        self.forget()

    def hide(self, hides: Callable[[TableName], bool], left_out: Callable[[RowChange], None]) -> None:
        """Leave out the rows of source tables that `hides` tells, copies of online schema changes. `left_out` is told
        each row that is not replayed, of other tables too."""
        self._hides, self._left_out = hides, left_out

    def forget(self) -> None:
        """The target's tables may have changed."""
        self._catalog.forget()
        self._plans.clear()
        self._columns.clear()
        self._is_versioned.clear()
        self._by_target.clear()

    def batch(self) -> Batch:
        """An empty batch."""
        return Batch()

    def targets(self, change: RowChange | SchemaChange) -> Sequence[str]:
        """The databases of the target that a change goes to, for one that cannot be planned."""
        return self.router.databases(change.database)

    def target_columns(self, source: TableName) -> Mapping[str, Column] | None:
        """The columns of the table that rows of a source table go to, by name; None where there is none."""
        found = self._columns.get(source)
        if found is None:
            for database in self.router.databases(source.database):
                schema = self._catalog.table(TableName(database, source.table))
                if schema is not None:
                    found = self._columns[source] = {column.name: column for column in schema.columns}
                    break
        return found

    def plan_of(self, change: RowChange) -> TablePlan | None:
        """The plan of a change that goes to exactly one table and was routed before; None where `route` must tell."""
        plans = self._plans.get((change.database, change.table))
        return plans[0] if plans is not None and len(plans) == 1 else None

    def route(self, change: RowChange) -> Planned:
        """The plans a change goes by: none if it is filtered out, several if it goes to several shards.

        Raises PlanError if the target has no such table, or the value that picks the shard is none.
        """
        plans = self._plans.get((change.database, change.table))
        if plans is None:
            self._server_id = change.server_id
            source = TableName(change.database, change.table)
            if not self.router.takes(source) or self._hides(source):
                plans = self._plans[source] = ()
            elif self.router.is_sharded(change.database):
                return self._current_rows(
                    source,
                    [
                        (self._plan(source, TableName(target, change.table)), sent)
                        for target, sent in self.router.row_targets(change)
                    ],
                )
            else:
                targets = self.router.databases(change.database)
                plans = tuple(self._plan(source, TableName(target, change.table)) for target in targets)
                planned = [(plan, change) for plan in plans]
                try:
                    current = self._current_rows(source, planned)
                except PlanError:
                    return planned  # an image that cannot be read: said where it is written, of this row alone
                if not self._is_versioned.get(source):  # else each row is looked at
                    self._plans[source] = plans
                return current
        if not plans:
            self._left_out(change)
        return [(plan, change) for plan in plans]

    def current(self, plan: TablePlan) -> TablePlan:
        """The plan by which the changes of its table go now; the same one where the table is gone."""
        try:
            return self._plan_for(plan.name, plan.overrides, plan.conflicts)
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
        overrides = overrides_for(
            source,
            self._settings.binary_columns,
            self._settings.timestamp_columns,
            self._settings.timestamp_offset_s,
        )
        return self._plan_for(target, overrides, self._rule_of(source))

    def _rule_of(self, source: TableName) -> ConflictRule | None:
        """What decides conflicts of the table; None where nobody looks for any."""
        if not self._settings.detects_conflicts:
            return None
        conflicts = self._settings.conflicts
        for glob, policy in conflicts.tables.items():
            if Filters(include=(glob,)).takes(source):
                return ConflictRule(policy, conflicts.prefer)
        return ConflictRule(conflicts.other_policy, conflicts.prefer)

    def _plan_for(self, target: TableName, overrides: ColumnOverrides, rule: ConflictRule | None) -> TablePlan:
        # One plan for all source tables that are merged into a target table, so that their changes batch together.
        plan = self._by_target.get((target, overrides, rule))
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
            plan = TablePlan(
                schema,
                overrides=overrides,
                dialect=self.dialect,
                loss=self._loss,
                apply_mode=self._settings.apply_mode,  # type: ignore[arg-type]
                passes_actions_on=self._passes_actions_on(schema),
                is_merged=self.is_merged(target),
                conflicts=rule,
            )
            self._by_target[target, overrides, rule] = plan
        return plan

    def is_merged(self, target: TableName) -> bool:
        """Whether several sources feed the table, by the configuration or by what other streams say."""
        if self.router.is_merged(target.database):
            return True
        others = self._catalog.feeders(target, self._server_id)
        if others:
            self._warn_once(
                target,
                f"{target} is fed from another server too, by {', '.join(others)}: no row of the other source is"
                " written over, and what meets one is parked",
            )
        return bool(others)

    def are_merged(self, database: str, table: str | None) -> bool:
        """The same of a table that a statement is about, or of a whole database."""
        return self.router.is_merged(database) or bool(self._catalog.feeders_in(database, table))

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
