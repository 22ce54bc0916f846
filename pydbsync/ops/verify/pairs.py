"""Which table is compared with which: the routing of replay, read in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.config.routes import RouteSettings
from pydbsync.config.settings import Settings, ShardSettings
from pydbsync.engine.routing import row_settings
from pydbsync.model import TableName
from pydbsync.ops.servers import Server, read_names
from pydbsync.plan.quoting import quote_name
from pydbsync.route.filters import Filters
from pydbsync.route.router import Router


class SourcePart(NamedTuple):
    """A source table, and which of its rows go to the target table."""

    name: TableName
    shard_column: str = ""
    condition: str = ""
    """Holds for these rows; without effect where the table has no such column."""
    route: RouteSettings | None = None
    """What becomes of its rows on their way, if anything."""


class TablePair(msgspec.Struct, frozen=True):
    """A target table and all source tables whose rows it holds."""

    target: TableName
    sources: tuple[SourcePart, ...]
    is_complete: bool = True
    """False where other rows come to the target as well, of other servers or of tables that are not compared now: rows
    that only it has say nothing then."""

    @property
    def label(self) -> str:
        """For people: `shop.orders`, or `shop.orders -> copy.orders`."""
        names = ", ".join(str(part.name) for part in self.sources)
        return names if names == str(self.target) else f"{names or 'nothing'} -> {self.target}"


class Pairs(NamedTuple):
    """What there is to compare."""

    pairs: tuple[TablePair, ...]
    missing: tuple[TablePair, ...]
    """The source has the table, the target has not."""
    extra: tuple[TableName, ...]
    """The target has the table, the source has not, though its rows would come from there."""


def find_pairs(
    settings: Settings,
    router: Router,
    source: Server,
    target: Server,
    *,
    tables: Iterable[str],
    is_shared: bool,
    exclude: Iterable[str] = (),
) -> Pairs:
    """All tables that take part. `tables` and `exclude` are globs of source names; `is_shared` says that other sources
    write too."""
    chosen = Filters(include=tables, exclude=exclude)
    taking_part = [name for name in read_names(source) if router.takes(name) and not _is_own(settings, name)]
    source_names = [name for name in taking_part if chosen.takes(name)]
    fed_by_others = {
        there for name in taking_part if not chosen.takes(name) for _, there in _targets(settings, router, name)
    }
    source_databases = {str(row[0]) for row in source.rows("SHOW DATABASES")} - SYSTEM_DATABASES
    routed: dict[TableName, list[SourcePart]] = {}
    for name in source_names:
        for part, there in _targets(settings, router, name):
            routed.setdefault(there, []).append(part)
    fold = _folding(target)
    target_databases = {fold(name.database) for name in routed}
    present = {_folded(name, fold): name for name in read_names(target) if fold(name.database) in target_databases}
    pairs: list[TablePair] = []
    missing: list[TablePair] = []
    for name, parts in sorted(routed.items()):
        found = present.pop(_folded(name, fold), None)
        is_complete = not is_shared and _all_sources_are_here(settings, name.database, source_databases)
        is_complete = is_complete and name not in fed_by_others
        # What a route has done to rows by the kind of their changes, nobody can tell from the rows that there are.
        is_complete = is_complete and not any(part.route and part.route.is_by_history for part in parts)
        pair = TablePair(target=found or name, sources=tuple(parts), is_complete=is_complete)
        (pairs if found else missing).append(pair)
    extra = [
        name
        for name in sorted(present.values())
        if not is_shared and _would_come(name, settings, router, chosen, source_databases)
    ]
    return Pairs(tuple(pairs), tuple(missing), tuple(extra))


def _is_own(settings: Settings, name: TableName) -> bool:
    return str(name) == settings.heartbeat_table


def _targets(settings: Settings, router: Router, name: TableName) -> list[tuple[SourcePart, TableName]]:
    if settings.sharding is None or not router.is_sharded(name.database):
        part = SourcePart(name, route=row_settings(settings, router, name))
        return [(part, target) for target in router.targets(name)]
    return [
        (
            SourcePart(name, settings.sharding.column, shard_condition(settings.sharding, shard)),
            TableName(f"{name.database}{shard}", name.table),
        )
        for shard in settings.sharding.owned(settings.corpmod)
    ]


def shard_condition(sharding: ShardSettings, shard: int) -> str:
    """Which rows go to this shard. Rows with 0 or NULL go to all; the remainder is never negative, as in Python."""
    column, modulo = quote_name(sharding.column), sharding.modulo
    return f"(IFNULL({column}, 0) = 0 OR MOD(MOD({column}, {modulo}) + {modulo}, {modulo}) = {shard})"


def _all_sources_are_here(settings: Settings, database: str, present: set[str]) -> bool:
    merged = [source for source, target in settings.dbname_rewrite.items() if target == database]
    return len(merged) < 2 or set(merged) <= present


def _would_come(
    name: TableName, settings: Settings, router: Router, chosen: Filters, source_databases: set[str]
) -> bool:
    if not _all_sources_are_here(settings, name.database, source_databases):
        return False
    names = (TableName(each, name.table) for each in source_databases)
    origins = (origin for origin in names if name in router.targets(origin))
    return any(router.takes(origin) and chosen.takes(origin) for origin in origins)


def names_of_both(
    source: Server, target: Server, rename: Callable[[TableName], TableName]
) -> tuple[Callable[[TableName], TableName], Callable[[TableName], TableName]]:
    """The names of other tables in a definition, as the source's and the target's are compared: where one of them
    keeps all names in small letters, both are."""
    if _folding(source) is str and _folding(target) is str:
        return rename, lambda name: name
    return lambda name: _folded(rename(name), str.lower), lambda name: _folded(name, str.lower)


def _folding(server: Server) -> Callable[[str], str]:
    """How the server compares names of databases and tables."""
    return str.lower if int(server.value("SELECT @@lower_case_table_names")) else str


def _folded(name: TableName, fold: Callable[[str], str]) -> TableName:
    return TableName(fold(name.database), fold(name.table))
