"""What a tool is doing, written for everyone to read: the table `task`, one way for all of them."""

from __future__ import annotations

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError
from pydbsync.plan.quoting import quote_name

KEPT_DAYS = 30
FINDINGS_KEPT = 5
"""Runs of one kind whose findings are kept."""
_NO_TABLE = 1146
_TEXT = 16_000


class TaskRow(msgspec.Struct, kw_only=True):
    """One row of `task`, by the names of its columns; what ends in `_age_s` is stored as the time that it was."""

    kind: str
    """copy, verify, repair, capture, heartbeat or ddl-watch."""
    name: str = ""
    """Tells those of one kind apart."""
    host: str = ""
    pid: int = 0
    pydbsync_version: str = ""
    state: str = "running"
    """running, done, stopped (told to) or failed; or what is waited for."""
    every_s: float = 1.0
    exit_code: int | None = None
    done: int | None = None
    total: int | None = None
    """As far as it can be known: an estimate where it is that of a table's rows."""
    unit: str = "rows"
    size_bytes: int | None = None
    per_s: float | None = None
    detail: str | None = None
    """What it does now, in a few words."""
    result: str | None = None
    """What came out, in a few words."""
    last_error: str | None = None
    remedy: str | None = None
    state_age_s: float = 0.0
    started_age_s: float = 0.0


_TIMES = {"state_age_s": "state_since", "started_age_s": "started_at"}
_FIELDS = TaskRow.__struct_fields__


class TaskTable:
    """The row of one run."""

    def __init__(self, schema: str) -> None:
        self._table = f"{quote_name(schema)}.`task`"
        self._findings = f"{quote_name(schema)}.`task_findings`"
        self._id: int | None = None

    def write(self, connection: Connection, row: TaskRow, *, is_over: bool) -> None:
        """Store how it is now. Raises TransientError, PermanentError."""
        columns = [_TIMES.get(name, name) for name in _FIELDS]
        values = ["CURRENT_TIMESTAMP(6) - INTERVAL %s MICROSECOND" if name in _TIMES else "%s" for name in _FIELDS]
        found = tuple(_stored(name, getattr(row, name)) for name in _FIELDS)
        ended = "CURRENT_TIMESTAMP(6)" if is_over else "NULL"
        if self._id is None:
            connection.run(
                f"DELETE FROM {self._table} WHERE kind = %s"
                f" AND written_at < CURRENT_TIMESTAMP - INTERVAL {KEPT_DAYS} DAY",
                (row.kind,),
            )
            connection.run(
                f"INSERT INTO {self._table} ({', '.join(columns)}, written_at, ended_at)"
                f" VALUES ({', '.join(values)}, CURRENT_TIMESTAMP(6), {ended})",
                found,
            )
            self._id = int(connection.value("SELECT LAST_INSERT_ID()"))
            return
        assigned = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))
        connection.run(
            f"UPDATE {self._table} SET {assigned}, written_at = CURRENT_TIMESTAMP(6), ended_at = {ended} WHERE id = %s",
            (*found, self._id),
        )

    def write_findings(self, connection: Connection, kind: str, findings: str) -> None:
        """Store what the run has found, and forget that of runs long before. Raises TransientError, PermanentError."""
        try:
            connection.run(
                f"REPLACE INTO {self._findings} (task_id, kind, findings) VALUES (%s, %s, %s)",
                (self._id, kind, findings),
            )
        except PermanentError as exc:
            if exc.code == _NO_TABLE:  # the state schema is of an older version: nobody shows them
                return
            raise
        kept = [
            str(int(row[0]))
            for row in connection.rows(
                f"SELECT task_id FROM {self._findings} WHERE kind = %s ORDER BY task_id DESC LIMIT {FINDINGS_KEPT}",
                (kind,),
            )
        ]
        connection.run(f"DELETE FROM {self._findings} WHERE kind = %s AND task_id NOT IN ({', '.join(kept)})", (kind,))


def _stored(name: str, value: object) -> object:
    if name in _TIMES and isinstance(value, int | float):
        return round(value * 1e6)
    return value[:_TEXT] if isinstance(value, str) else value
