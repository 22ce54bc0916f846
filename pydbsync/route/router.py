"""Where each change goes: filters first, then the rewritten name, or the shards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from pydbsync.model import RowChange, TableName, read_image
from pydbsync.route.filters import Filters
from pydbsync.route.shard import ShardRouter
from pydbsync.route.table_map import RouteMap

_SOURCE_LIMIT = 64
"""What the state schema has room for."""


class Router:
    """From source names to those of the target. Tables keep their names, unless a route gives them others."""

    def __init__(
        self,
        *,
        filters: Filters,
        rewrite: Mapping[str, str],
        shards: ShardRouter | None = None,
        tables: RouteMap | None = None,
    ) -> None:
        self.filters = filters
        self._rewrite = dict(rewrite)
        self._shards = shards
        self.tables = tables or RouteMap()

    def is_sharded(self, database: str) -> bool:
        """Whether rows of this source database must each be looked at."""
        return self._shards is not None and database in self._shards.databases

    def databases(self, database: str) -> tuple[str, ...]:
        """All target databases of a source database."""
        if self._shards is not None and database in self._shards.databases:
            return self._shards.every_shard(database)
        return (self._rewrite.get(database, database),)

    def all_databases(self, database: str) -> tuple[str, ...]:
        """The same with those that routes send some of its tables to."""
        own = self.databases(database)
        return (*own, *sorted(self.tables.databases(database) - set(own))) if self.tables else own

    def targets(self, name: TableName) -> tuple[TableName, ...]:
        """All tables of the target that take rows of a source table."""
        routed = self.tables.target(name) if self.tables else None
        if routed is not None:
            return (routed,)
        return tuple(TableName(database, name.table) for database in self.databases(name.database))

    def sources(self, target: str) -> tuple[str, ...]:
        """The source databases that go to a target database, as far as the configuration tells."""
        found = [source for source, renamed in self._rewrite.items() if renamed == target]
        if self._shards is not None:
            found += [name for name in sorted(self._shards.databases) if target in self._shards.every_shard(name)]
        return tuple(found) or (() if target in self._rewrite else (target,))

    def is_merged(self, target: str) -> bool:
        """Whether the configuration sends several source databases to this one."""
        return len(self.sources(target)) > 1

    def is_merged_table(self, target: TableName) -> bool:
        """Whether the configuration sends several source tables to this one."""
        if not self.tables:
            return self.is_merged(target.database)
        claims = self.tables.claims(target)
        kept = [
            source
            for source in self.sources(target.database)
            if self.tables.target(TableName(source, target.table)) is None
            and (not claims or source in self._rewrite or self.filters.names(TableName(source, target.table)))
        ]
        return claims + len(kept) > 1

    def source_name(self, source: TableName) -> str:
        """By what a source of a table is told from the others that are merged with it."""
        if not self.tables or self.tables.target(source) is None:
            return source.database
        name = str(source)
        if len(name) <= _SOURCE_LIMIT:
            return name
        return f"{name[:40]}…{hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:16]}"

    def rename_table(self, name: TableName, *, shard_of: str | None = None, shard: str | None = None) -> TableName:
        """The target name of a table that stands in a statement, as `rename` of its database."""
        routed = self.tables.target(name) if self.tables else None
        return routed or TableName(self.rename(name.database, shard_of=shard_of, shard=shard), name.table)

    def rename(self, database: str, *, shard_of: str | None = None, shard: str | None = None) -> str:
        """The target name of a database that stands in a statement; `shard` is the name for `shard_of` this time. Where
        tables have routes, each has its own database, and only shards have a name of the moment."""
        if shard is not None and database == shard_of and (not self.tables or self.is_sharded(database)):
            return shard
        return self._rewrite.get(database, database)

    def row_targets(self, change: RowChange) -> list[tuple[str, RowChange]]:
        """(target database, change) for a row of a sharded database; an update that moves a row between shards
        becomes a deletion of the old image and an insertion of the new one. Raises PlanError."""
        shards = self._shards
        if shards is None:
            return [(self._rewrite.get(change.database, change.database), change)]
        targets = shards.targets(change)
        held = shards.held(change) if change.kind == "update" else targets
        if held == targets:
            return [(target, change) for target in targets]
        old = read_image(change.data)
        old.update(read_image(change.old))
        gone = msgspec.structs.replace(change, kind="delete", data=msgspec.Raw(msgspec.json.encode(old)))
        came = msgspec.structs.replace(change, kind="insert")
        return [(target, gone) for target in held if target not in targets] + [
            (target, change if target in held else came) for target in targets
        ]

    def tells_shard(self, change: RowChange) -> bool:
        """Whether a row of a sharded database has the column that picks the shard."""
        return self._shards is not None and self._shards.is_told(change)

    @property
    def shard_column(self) -> str | None:
        """The column that picks the shard; None where nothing is sharded."""
        return self._shards.column if self._shards is not None else None

    def takes(self, name: TableName) -> bool:
        """Whether changes of this source table take part."""
        return self.filters.takes(name)
