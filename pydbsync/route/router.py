"""Where each change goes: filters first, then the rewritten name, or the shards."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pydbsync.model import RowChange, TableName, read_image
from pydbsync.route.filters import Filters
from pydbsync.route.shard import ShardRouter


class Router:
    """From source names to target databases. Tables keep their names."""

    def __init__(self, *, filters: Filters, rewrite: Mapping[str, str], shards: ShardRouter | None = None) -> None:
        self.filters = filters
        self._rewrite = dict(rewrite)
        self._shards = shards

    def is_sharded(self, database: str) -> bool:
        """Whether rows of this source database must each be looked at."""
        return self._shards is not None and database in self._shards.databases

    def databases(self, database: str) -> tuple[str, ...]:
        """All target databases of a source database."""
        if self._shards is not None and database in self._shards.databases:
            return self._shards.every_shard(database)
        return (self._rewrite.get(database, database),)

    def sources(self, target: str) -> tuple[str, ...]:
        """The source databases that go to a target database, as far as the configuration tells."""
        found = [source for source, renamed in self._rewrite.items() if renamed == target]
        if self._shards is not None:
            found += [name for name in sorted(self._shards.databases) if target in self._shards.every_shard(name)]
        return tuple(found) or (() if target in self._rewrite else (target,))

    def is_merged(self, target: str) -> bool:
        """Whether the configuration sends several source databases to this one."""
        return len(self.sources(target)) > 1

    def rename(self, database: str, *, shard_of: str | None = None, shard: str | None = None) -> str:
        """The target name of a database that stands in a statement; `shard` is the name for `shard_of` this time."""
        if shard is not None and database == shard_of:
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

    def takes(self, name: TableName) -> bool:
        """Whether changes of this source table take part."""
        return self.filters.takes(name)
