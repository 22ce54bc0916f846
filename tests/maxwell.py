"""Messages as Maxwell publishes them, written by hand: places go on, transactions end with their commit row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Step(NamedTuple):
    """One row of a transaction."""

    kind: str
    table: str
    """`database.table`."""
    data: Row
    old: Row | None = None


class _Columns(NamedTuple):
    """What Maxwell describes of a table."""

    names: tuple[str, ...]
    key: tuple[str, ...]


def insert(table: str, data: Row) -> Step:
    return Step("insert", table, data)


def update(table: str, data: Row, old: Row) -> Step:
    return Step("update", table, data, old)


def delete(table: str, data: Row) -> Step:
    return Step("delete", table, data)


class Binlog:
    """A source's binlog as Maxwell tells it. Every call gives the messages of one more transaction or statement."""

    def __init__(self, *, base: str = "binlog", server_id: int = 11, ts: int = 1_700_000_000, uuid: str = "") -> None:
        """`ts` is in seconds; with `uuid` each transaction has a GTID."""
        self.base = base
        self.server_id = server_id
        self.ts = ts
        self.file = 1
        self.offset = 4
        self._uuid = uuid
        self._xid = 0

    @property
    def position(self) -> str:
        """The place of the last event."""
        return f"{self.base}.{self.file:06d}:{self.offset}"

    def transaction(self, *steps: Step) -> list[bytes]:
        """The rows of one transaction, all in one event."""
        self._next()
        return [self._row(step, number, is_last=number == len(steps) - 1) for number, step in enumerate(steps)]

    def each(self, steps: Iterable[Step]) -> list[bytes]:
        """A transaction for each row."""
        return [message for step in steps for message in self.transaction(step)]

    def ddl(
        self, sql: str, *names: str, kind: str = "", columns: Iterable[str] = (), key: Iterable[str] = (), was: str = ""
    ) -> list[bytes]:
        """One statement: a message for each of `names` (`database.table`, or a database alone).

        `kind` is told by the statement where it is not given; `columns` are those of the table afterwards and `key`
        its primary key; `was` is its name before a RENAME.
        """
        self._next()
        kind = kind or _kind_of(sql)
        return [self._schema(sql, name, kind, _Columns(tuple(columns), tuple(key)), was or name) for name in names]

    def bootstrap(self, table: str, rows: Iterable[Row]) -> list[bytes]:
        """A bootstrap of a table: no positions."""
        database, name = table.split(".", 1)
        common = {"database": database, "table": name, "ts": self.ts}
        found = [{**common, "type": "bootstrap-start", "data": {}}]
        found += [{**common, "type": "bootstrap-insert", "data": row} for row in rows]
        found += [{**common, "type": "bootstrap-complete", "data": {}}]
        return [_dump(message) for message in found]

    def reset(self, *, file: int = 1, offset: int = 4) -> None:
        """RESET MASTER at the source, or a new file."""
        self.file, self.offset = file, offset

    def _next(self) -> None:
        self.offset += 100
        self._xid += 1

    def _row(self, step: Step, number: int, *, is_last: bool) -> bytes:
        database, table = step.table.split(".", 1)
        message: dict[str, Any] = {"database": database, "table": table, "type": step.kind, "ts": self.ts}
        message["xid"] = self._xid
        message.update({"commit": True} if is_last else {"xoffset": number})
        message["position"] = self.position
        if self._uuid:
            message["gtid"] = f"{self._uuid}:{self._xid}"
        message["server_id"] = self.server_id
        message["data"] = step.data
        if step.old is not None:
            message["old"] = step.old
        return _dump(message)

    def _schema(self, sql: str, name: str, kind: str, columns: _Columns, was: str) -> bytes:
        database, _, table = was.partition(".")
        message: dict[str, Any] = {"type": kind, "database": database}
        if table:
            message["table"] = table
        if kind == "table-alter":
            message["old"] = _described(was, columns)
        if kind in ("table-create", "table-alter"):
            message["def"] = _described(name, columns)
        message |= {"ts": self.ts * 1000, "sql": sql, "position": self.position}
        if self._uuid:
            message["gtid"] = f"{self._uuid}:{self._xid}"
        return _dump(message)


def _kind_of(sql: str) -> str:
    words = sql.upper().split()
    subject = "database" if words[1] in ("DATABASE", "SCHEMA") else "table"
    return f"{subject}-{ {'CREATE': 'create', 'DROP': 'drop'}.get(words[0], 'alter') }"


def _described(name: str, columns: _Columns) -> dict[str, Any]:
    database, _, table = name.partition(".")
    described = [{"type": "int", "name": column, "signed": True} for column in columns.names]
    return {
        "database": database,
        "charset": "utf8mb4",
        "table": table,
        "columns": described,
        "primary-key": list(columns.key),
    }


def _dump(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
