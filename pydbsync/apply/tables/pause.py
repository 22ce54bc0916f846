"""What an operator has paused: the table `pause`, read by the workers and written by `pydbsync pause` and `resume`."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.operator_audit import write_audit
from pydbsync.plan.quoting import quote_name
from pydbsync.work import Pauses


class Pause(NamedTuple):
    """One row. `stream` is empty for every stream, `schema_changes_of` for a whole queue."""

    stream: str
    schema_changes_of: str
    actor: str
    reason: str
    asked_at: dt.datetime

    def __str__(self) -> str:
        what = f"the schema changes of {self.schema_changes_of}" if self.schema_changes_of else self.stream
        return f"{what} since {self.asked_at:%Y-%m-%d %H:%M:%S} UTC by {self.actor}: {self.reason or 'no reason given'}"


class PauseTable:
    """The pauses of one state schema."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._table = f"{quote_name(schema)}.`pause`"

    def all(self, connection: Connection) -> list[Pause]:
        """Every one, the oldest first."""
        return [
            Pause(*row)
            for row in connection.rows(
                f"SELECT stream, schema_changes_of, actor, reason, asked_at FROM {self._table}"
                " ORDER BY asked_at, stream"
            )
        ]

    def of_stream(self, connection: Connection, stream: str) -> Pauses:
        """What one worker has to obey."""
        whole, tables = "", []
        for pause in self.all(connection):
            if pause.schema_changes_of and pause.stream in ("", stream):
                tables.append(pause.schema_changes_of)
            elif pause.stream == stream:
                whole = str(pause)
        return Pauses(whole, tuple(tables))

    def add(self, connection: Connection, stream: str, tables: str, *, actor: str, reason: str) -> bool:
        """Pause; False where it was already."""
        with connection.transaction():
            added = connection.run(
                f"INSERT IGNORE INTO {self._table} (stream, schema_changes_of, actor, reason) VALUES (%s, %s, %s, %s)",
                (stream, tables, actor, reason),
            )
            if added:
                write_audit(connection, self._schema, "pause", about_pause(stream, tables), actor=actor, detail=reason)
        return bool(added)

    def remove(self, connection: Connection, stream: str, tables: str, *, actor: str) -> bool:
        """Resume; False where nothing was paused."""
        with connection.transaction():
            removed = connection.run(
                f"DELETE FROM {self._table} WHERE stream = %s AND schema_changes_of = %s", (stream, tables)
            )
            if removed:
                write_audit(connection, self._schema, "resume", about_pause(stream, tables), actor=actor, detail="")
        return bool(removed)


def about_pause(stream: str, tables: str) -> str:
    """What is paused, for people."""
    return f"schema changes of {tables}" if tables else stream
