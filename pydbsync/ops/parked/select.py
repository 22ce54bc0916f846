"""Which parked changes are meant: by queue, table, kind, reason, error number and age; as conditions in SQL."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.plan.quoting import quote_name
from pydbsync.route.filters import Filters

WhereClause = tuple[str, tuple[object, ...]]
"""SQL, and the values of its parameters."""


class Selection(msgspec.Struct, frozen=True):
    """All that is left out means all. Those that are mended are meant only where they are named, or `every_status`."""

    ids: tuple[int, ...] = ()
    stream: str | None = None
    tables: tuple[str, ...] = ()
    """Globs of `database.table`, by the names of the source or of the target."""
    kinds: tuple[str, ...] = ()
    """Globs such as `insert`, `table-*`."""
    because: str = ""
    """A part of the reason, in upper or lower case."""
    code: int | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None
    every_status: bool = False

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it down."""
        return msgspec.structs.replace(self, every_status=False) == Selection()

    def condition(self, connection: Connection, schema: str) -> WhereClause:
        """What a row of the table `parked` must fulfil."""
        parts: list[str] = []
        values: list[object] = []
        if not self.every_status and not self.ids:
            parts.append("status = 'parked'")
        for sql, value in (
            ("stream = %s", self.stream),
            ("LOCATE(%s, reason) > 0", self.because or None),
            ("code = %s", self.code),
            ("parked_at <= CURRENT_TIMESTAMP(6) - INTERVAL %s SECOND", self.older_than_s),
            ("parked_at >= CURRENT_TIMESTAMP(6) - INTERVAL %s SECOND", self.newer_than_s),
        ):
            if value is not None:
                parts.append(sql)
                values.append(value)
        if self.ids:
            parts.append(f"id IN ({', '.join(str(int(each)) for each in self.ids)})")
        if self.kinds:
            parts.append(_one_of(["kind LIKE %s" for _ in self.kinds]))
            values += [_like(each) for each in self.kinds]
        if self.tables:
            names = self._names(connection, schema)
            parts.append(
                _one_of(
                    [
                        "(source_database = %s AND source_table = %s AND target_database = %s AND target_table = %s)"
                        for _ in names
                    ]
                )
            )
            values += [part for name in names for part in name]
        return " AND ".join(parts) or "TRUE", tuple(values)

    def _names(self, connection: Connection, schema: str) -> Sequence[tuple[str, str, str, str]]:
        """The names in the table that the globs mean: few, where the changes are many."""
        for glob in self.tables:
            if "." not in glob:
                raise OperationError(f"--table: expected database.table, got {glob!r}; for a whole database '{glob}.*'")
        globs = Filters(include=self.tables)
        status = "TRUE" if self.every_status or self.ids else "status = 'parked'"
        found = connection.rows(
            "SELECT DISTINCT source_database, source_table, target_database, target_table"
            f" FROM {quote_name(schema)}.`parked` WHERE {status}"
        )
        return [
            (database, table, target, renamed)
            for database, table, target, renamed in found
            if globs.takes(TableName(database, table)) or globs.takes(TableName(target or database, renamed or table))
        ]


def _one_of(parts: Sequence[str]) -> str:
    return f"({' OR '.join(parts)})" if parts else "FALSE"


def _like(glob: str) -> str:
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
