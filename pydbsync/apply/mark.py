"""A connection that marks what it writes, so that the replay of the other direction knows it again and leaves it out.

Every tool that writes rows or runs DDL at a target does so over one of these, whether replay runs in both directions or
not: the other direction may be begun later. The mark is a row of the state schema, changed first in each transaction,
or committed before a schema change and taken back behind it. (Replay has the checkpoint row and its journal for that.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import check_state_version, ensure_state_schema
from pydbsync.errors import PermanentError
from pydbsync.plan.quoting import quote_name

TWO_WAY: Final = "two-way"
"""The tool of marks that are written to see them come."""
_MIXED_ENGINES: Final = 1785
"""MySQL with GTIDs does not take a change of a table without transactions behind one of a table that has them."""
_FIRST_WORDS: Final = re.compile(rb"\s*(\w+)(?:\s+(\w+))?")
_OF_ROWS: Final = frozenset({b"INSERT", b"REPLACE", b"UPDATE", b"DELETE", b"LOAD"})
_OF_TABLES: Final = frozenset({b"CREATE", b"ALTER", b"DROP", b"TRUNCATE", b"RENAME"})


def send_mark(connection: Connection, schema: str, writer: str) -> tuple[int, int, bool]:
    """Write, in one transaction, a row of each table of which the other direction needs the rows, and leave none but
    that of `mark`: the number of the mark, a second of the server that ends behind it, and whether pydbsync had never
    replayed into the server before. Raises ApplyError."""
    of = {name: f"{quote_name(schema)}.{quote_name(name)}" for name in ("checkpoint", "schema_change", "mark")}
    counted = dict(connection.rows(f"SELECT stream, commits FROM {of['checkpoint']} WHERE commits > 0"))
    with connection.transaction():
        connection.run(
            f"INSERT INTO {of['checkpoint']} (stream, owner_info, gtids, ghosts, echoes)"
            " VALUES (%s, 'a mark', '', '', %s)",
            (writer, str(msgspec.json.encode(counted), "utf-8")),
        )
        connection.run(f"DELETE FROM {of['checkpoint']} WHERE stream = %s", (writer,))
        connection.run(
            f"INSERT INTO {of['schema_change']} (statement_hash, position, stream, status, statement, before_state,"
            " note, ts) VALUES (%s, '', %s, 'skipped', '', '{}', 'a mark', 0)",
            (writer, writer),
        )
        connection.run(f"DELETE FROM {of['schema_change']} WHERE statement_hash = %s", (writer,))
        connection.run(
            f"INSERT INTO {of['mark']} (writer, tool) VALUES (%s, %s) ON DUPLICATE KEY UPDATE number = number + 1",
            (writer, TWO_WAY),
        )
        number = connection.value(f"SELECT number FROM {of['mark']} WHERE writer = %s", (writer,))
    found = connection.rows(
        f"SELECT UNIX_TIMESTAMP(), EXISTS (SELECT 1 FROM {of['checkpoint']} WHERE commits > 0)"
        f" OR EXISTS (SELECT 1 FROM {of['schema_change']}) OR EXISTS (SELECT 1 FROM {of['mark']} WHERE tool <> %s)",
        (TWO_WAY,),
    )
    return int(number), int(found[0][0]), not found[0][1]


class MarkedConnection(Connection):
    """One thread at a time may use it. What goes by `execute` is marked; `run` is for the state schema's own rows."""

    def __init__(self, keywords: Mapping[str, Any], *, schema: str, tool: str, **options: Any) -> None:
        """`schema` is the state schema of this server; `tool` names the writer for people. The rest as Connection."""
        self._schema, self._tool = schema, tool
        self._mark_table = f"{quote_name(schema)}.`mark`"
        self._is_ready = self._is_making_ready = self._is_inside = False
        self._has_only_mark = False
        """Nothing but the mark was changed in the transaction."""
        self._default: str | None = None
        super().__init__(keywords, **options)

    def execute(self, sql: bytes | str) -> int:
        start = sql[:40].encode() if isinstance(sql, str) else bytes(sql[:40])
        found = _FIRST_WORDS.match(start)
        first, second = (word.upper() if word else b"" for word in (found.groups() if found else (b"", b"")))
        if (first, second) == (b"SET", b"TRANSACTION"):
            self.make_ready()  # whose questions would be the transaction that it is meant for
        if (first, second) == (b"START", b"TRANSACTION") and len(start.split()) == 2:
            is_ready = self.make_ready()
            count = super().execute(sql)
            self._is_inside = True
            if is_ready:
                try:
                    self._mark()
                except BaseException:
                    self.rollback()  # whoever began it does not know of it
                    raise
            self._has_only_mark = is_ready
            return count
        if first in _OF_TABLES:
            return self._execute_announced(sql)
        if first in _OF_ROWS and not self._is_inside and not self._is_making_ready:
            with self.transaction():
                return self._execute_inside(sql)
        if first in _OF_ROWS and self._is_inside:
            return self._execute_inside(sql)
        if first in (b"COMMIT", b"ROLLBACK") and not second:
            self._is_inside = False
        return super().execute(sql)

    def run(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        self._has_only_mark = False
        return super().run(sql, parameters)

    def _execute_inside(self, sql: bytes | str) -> int:
        """Without the mark where the table does not go with it: two directions take no table without transactions."""
        try:
            count = super().execute(sql)
        except PermanentError as exc:
            if exc.code != _MIXED_ENGINES or not self._has_only_mark:
                raise
            super().rollback()
            super().execute(b"START TRANSACTION")
            count = super().execute(sql)
        self._has_only_mark = False
        return count

    def rollback(self) -> None:
        self._is_inside = False
        super().rollback()

    def close(self) -> None:
        self._is_inside = False
        super().close()

    def use(self, database: str | None) -> None:
        super().use(database)
        self._default = database or self._default

    def _execute_announced(self, sql: bytes | str) -> int:
        """A schema change, which is told before it begins and no longer once it has ended."""
        if not self.make_ready():  # the state schema's own
            return super().execute(sql)
        text = sql if isinstance(sql, str) else bytes(sql).decode("utf-8", "replace")
        self._mark(text)
        try:
            return super().execute(sql)
        finally:
            if self.is_open():
                self._mark()

    def make_ready(self) -> bool:
        """See to it once that the state schema has the table; False where there is no state schema, so that nobody
        replays into this server, or while it is being made. Raises ConfigError."""
        if not self._is_ready and not self._is_making_ready:
            self._is_making_ready = True
            try:
                if check_state_version(self, self._schema):
                    ensure_state_schema(self, self._schema)
                    self._is_ready = True
            finally:
                self._is_making_ready = False
        return self._is_ready

    def _mark(self, statement: str | None = None) -> None:
        self.run(
            f"INSERT INTO {self._mark_table} (writer, tool, default_database, statement)"
            " VALUES (CONNECTION_ID(), %s, %s, %s)"
            " ON DUPLICATE KEY UPDATE number = number + 1, tool = VALUES(tool),"
            " default_database = VALUES(default_database), statement = VALUES(statement)",
            (self._tool[:64], self._default, statement),
        )
