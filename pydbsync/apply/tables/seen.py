"""What the source was seen to have: the table `source_seen`, by which the watch knows what came and what went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.plan.quoting import quote_name

SEEN_TABLES: Final = {
    "source_seen": """
        origin VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        kind VARCHAR(16) CHARACTER SET ascii NOT NULL,
        name VARCHAR(150) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        definition LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        seen_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        PRIMARY KEY (origin, kind, name)
    """,
}
"""`source_seen`: a row a table, database, view, trigger, event, routine and sequence of a source; `origin` is its
address."""


class DefinedThing(NamedTuple):
    """What has a definition: `kind` is table, database, view, trigger, event, routine or sequence; `look` tells which
    of them were looked for."""

    kind: str
    name: str


class SeenTable:
    """What was seen of one source."""

    def __init__(self, schema: str, origin: str) -> None:
        self._table = f"{quote_name(schema)}.`source_seen`"
        self._origin = origin[:255]

    def read(self, connection: Connection) -> dict[DefinedThing, str]:
        """All definitions."""
        rows = connection.rows(f"SELECT kind, name, definition FROM {self._table} WHERE origin = %s", (self._origin,))
        return {DefinedThing(str(kind), str(name)): str(definition) for kind, name, definition in rows}

    def write(self, connection: Connection, seen: Mapping[DefinedThing, str], gone: Iterable[DefinedThing]) -> None:
        """Add and replace definitions, and forget others."""
        with connection.transaction():
            for thing, definition in seen.items():
                connection.run(
                    f"REPLACE INTO {self._table} (origin, kind, name, definition) VALUES (%s, %s, %s, %s)",
                    (self._origin, *thing, definition),
                )
            for thing in gone:
                connection.run(
                    f"DELETE FROM {self._table} WHERE origin = %s AND kind = %s AND name = %s", (self._origin, *thing)
                )
