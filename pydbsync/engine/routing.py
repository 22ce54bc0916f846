"""What the settings say of a table: where its rows go, by which route, and how they are written."""

from __future__ import annotations

from collections.abc import Callable

from pydbsync.config.conflicts import ConflictPolicy, ConflictSettings
from pydbsync.config.routes import RouteSettings
from pydbsync.config.settings import Settings
from pydbsync.model import TableName, TableSchema
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.routed.rows import RowRoute, source_columns
from pydbsync.plan.routed.tables import TableRoutes
from pydbsync.plan.rows import ApplyMode, overrides_for
from pydbsync.route.filters import Filters
from pydbsync.route.router import Router
from pydbsync.route.shard import ShardRouter
from pydbsync.route.table_map import MapEntry, RouteMap


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
        tables=RouteMap(MapEntry(route.table, _to(route.to)) for route in settings.routes),
    )


def _to(name: str) -> TableName | None:
    database, dot, table = name.partition(".")
    return TableName(database, table) if dot else None


def is_glob(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def row_settings(settings: Settings, router: Router, source: TableName) -> RouteSettings | None:
    """The route of a source table whose rows it changes; None for a table whose rows come as they are."""
    number = router.tables.index(source) if router.tables else None
    route = None if number is None else settings.routes[number]
    return route if route is not None and route.changes_rows else None


def row_route(settings: Settings, route: RouteSettings, source: TableSchema, target: TableSchema) -> RowRoute:
    """The route between these two tables. Raises PlanError where it cannot be followed exactly."""
    overrides = overrides_for(
        source.name, settings.binary_columns, settings.timestamp_columns, settings.timestamp_offset_s
    )
    return RowRoute(
        route, target, source_columns(source), key=settings.mask_key, shifted=overrides.timestamp | overrides.binary
    )


def apply_mode_of(settings: Settings, router: Router, source: TableName) -> ApplyMode:
    """How the rows of a source table are written."""
    number = router.tables.index(source) if router.tables else None
    own = "" if number is None else settings.routes[number].apply_mode
    return own or settings.apply_mode  # type: ignore[return-value]


def conflict_policy(conflicts: ConflictSettings, source: TableName) -> ConflictPolicy:
    """What decides the conflicts of a source table."""
    for glob, policy in conflicts.tables.items():
        if Filters(include=(glob,)).takes(source):
            return policy
    return conflicts.other_policy


def configured_server(text: str) -> StatementServer | None:
    """`mysql 8.4` as that server; None for auto."""
    if text == "auto":
        return None
    brand, _, version = text.partition(" ")
    return StatementServer(
        "mysql" if brand == "mysql" else "mariadb", tuple(int(number) for number in version.split("."))
    )


def table_routes(
    settings: Settings,
    router: Router,
    database: str,
    target: str,
    *,
    table: Callable[[TableName], TableSchema | None] = lambda name: None,
) -> TableRoutes | None:
    """As `TablePlans.table_routes`; `table` reads one of the target."""
    if not router.tables:
        return None
    return TableRoutes(
        rename=lambda name: router.rename_table(name, shard_of=database, shard=target),
        settings=lambda name: row_settings(settings, router, name),
        table=table,
    )
