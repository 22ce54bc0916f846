"""The shard router of binlog_consumer.py: the value of a column, modulo a number, is the suffix of the database."""

from __future__ import annotations

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, RowChange, read_image


class ShardRouter:
    """Picks target databases `name0` … `nameN` by `column % modulo`.

    Rows without the column, or with 0 or NULL in it, and DDL go to every shard that this instance owns. Rows of other
    instances' shards go nowhere here.
    """

    def __init__(self, *, databases: frozenset[str], column: str, modulo: int, owned: tuple[int, ...]) -> None:
        self.databases = databases
        self.column = column
        self._modulo = modulo
        self._owned = owned
        self._is_owned = frozenset(owned)

    def every_shard(self, database: str) -> tuple[str, ...]:
        """All target databases of this instance."""
        return tuple(f"{database}{number}" for number in self._owned)

    def targets(self, change: RowChange) -> tuple[str, ...]:
        """The target databases of a row. Raises PlanError if the value is no whole number."""
        return self._databases(change.database, self._shard(read_image(change.data).get(self.column)))

    def is_told(self, change: RowChange) -> bool:
        """Whether the row has the column."""
        return self.column in read_image(change.data)

    def held(self, change: RowChange) -> tuple[str, ...]:
        """The target databases in which the row was before this update. Raises PlanError as `targets` does."""
        old = {} if change.old is NO_JSON else read_image(change.old)
        if self.column not in old:
            return self.targets(change)
        return self._databases(change.database, self._shard(old[self.column]))

    def _databases(self, database: str, shard: int | None) -> tuple[str, ...]:
        if shard is None:
            return self.every_shard(database)
        return (f"{database}{shard}",) if shard in self._is_owned else ()

    def _shard(self, token: msgspec.Raw | None) -> int | None:
        if token is None:
            return None
        try:
            value = msgspec.json.decode(token, type=int | None)
        except msgspec.MsgspecError as exc:
            raise PlanError(f"{self.column} picks the shard but {bytes(token)!r} is no whole number") from exc
        return value % self._modulo if value else None
