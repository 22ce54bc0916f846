"""Parked changes as they stand in the target: found, counted, and read a group at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.parked import read_rests
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError, PermanentError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.parked.counts import Count, counts_by, shape_of
from pydbsync.ops.parked.select import Selection, WhereClause
from pydbsync.plan.quoting import quote_name

ALL = Selection()
UNREADABLE = "unreadable"
PAGE = 2000
_BRIEF_REASON = 1000
_GROUP = 250
_GROUP_BYTES = 8 * 2**20


class Parked(msgspec.Struct, frozen=True):
    """One row of the table `parked`."""

    id: int
    stream: str
    status: str
    position: str
    kind: str
    source_database: str
    source_table: str
    target_database: str
    target_table: str
    behind: int | None
    reason: str
    code: int
    parked_at: dt.datetime
    is_whole_table: bool
    row_keys: tuple[bytes, ...]
    message: bytes
    edited: bytes | None
    input_format: str
    """What the message is of; another than maxwell for one that could not be read."""

    @property
    def is_schema_change(self) -> bool:
        """Whether it is a message of a DDL statement."""
        return is_schema_change(self.kind)

    @property
    def target(self) -> TableName:
        """The table that it would have changed; a database itself has no table."""
        return TableName(self.target_database or self.source_database, self.target_table or self.source_table)

    @property
    def source(self) -> TableName:
        """The table that it comes from."""
        return TableName(self.source_database, self.source_table)

    @property
    def text(self) -> bytes:
        """What a retry uses: the edited message or SQL, else the message as it arrived."""
        return self.message if self.edited is None else self.edited


class Brief(msgspec.Struct, frozen=True):
    """One row of the table `parked` without its message."""

    id: int
    stream: str
    status: str
    kind: str
    source_database: str
    source_table: str
    target_database: str
    behind: int | None
    reason: str
    """The beginning of it."""
    code: int
    age_s: float
    size_bytes: int
    """Of the message."""
    is_edited: bool

    @property
    def source(self) -> TableName:
        """The table that it comes from."""
        return TableName(self.source_database, self.source_table)


def is_schema_change(kind: str) -> bool:
    """Whether a message of this kind is one of a DDL statement."""
    return kind.startswith(("table-", "database-"))


def _read_keys(packed: bytes) -> tuple[bytes, ...]:
    return tuple(msgspec.msgpack.decode(packed, type=list[bytes]))


class ParkedView:
    """All parked changes of one state schema."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._settings, self._connection = settings, connection
        schema = quote_name(settings.state_schema)
        self._table, self._audit = f"{schema}.`parked`", f"{schema}.`parked_audit`"
        self._pieces = f"{schema}.`parked_piece`"

    def find(self, selection: Selection = ALL) -> Iterator[Parked]:
        """Parked changes in order, read as they are asked for. Raises OperationError."""
        for group in self._groups(selection):
            yield from self.read(group)

    def named(self, parked_id: int, *, stream: str | None = None) -> Parked:
        """The one with this id. Raises OperationError."""
        return next(self.find(Selection(ids=(parked_id,), stream=stream)))

    def briefs(self, selection: Selection, *, above: int = 0, limit: int) -> list[Brief]:
        """The next of them in order, those with an id above this one; no message is read."""
        where, values = self._where(selection)
        pieces = f"(SELECT SUM(LENGTH(piece)) FROM {self._pieces} WHERE parked_id = id)"
        found = self.rows(
            "SELECT id, stream, status, kind, source_database, source_table, target_database, behind,"
            f" LEFT(reason, {_BRIEF_REASON}), code, TIMESTAMPDIFF(SECOND, parked_at, CURRENT_TIMESTAMP),"
            f" CAST(LENGTH(message) + COALESCE({pieces}, 0) AS UNSIGNED), edited IS NOT NULL FROM {self._table}"
            f" WHERE {where} AND id > %s ORDER BY id LIMIT {int(limit)}",
            (*values, above),
        )
        return [
            msgspec.convert(dict(zip(Brief.__struct_fields__, row, strict=True)), Brief, strict=False) for row in found
        ]

    def target_table(self, name: TableName) -> TableSchema | None:
        """The table as the target's catalogue describes it now; None where there is none."""
        return read_table(self._connection, name)

    def count(self, selection: Selection) -> int:
        """How many are meant. Raises OperationError where one that is named is not there."""
        where, values = self._where(selection)
        count = int(self.rows(f"SELECT COUNT(*) FROM {self._table} WHERE {where}", values)[0][0])
        if selection.ids and count < len(set(selection.ids)):
            found = {each for group in self._groups(selection, checks=False) for each in group}
            if missing := set(selection.ids) - found:
                raise OperationError(f"there is no parked change {min(missing)}")
        return count

    def counts(self, selection: Selection, *, by: Collection[str]) -> list[Count]:
        """How many are meant, by what is alike in `by`; the most first."""
        where, values = self._where(selection)
        group = "stream, source_database, source_table, kind, code, LEFT(reason, 1000), behind IS NOT NULL"
        found = self.rows(
            f"SELECT {group}, COUNT(*), MIN(id), MIN(parked_at) FROM {self._table} WHERE {where} GROUP BY {group}",
            values,
        )
        return counts_by(found, by)

    def groups(self, selection: Selection, *, limit: int) -> list[Count]:
        """How many are meant, by table and error number, each with the reason of its first: quick with many."""
        where, values = self._where(selection)
        found = self.rows(
            "SELECT source_database, source_table, code, COUNT(*), CAST(SUM(behind IS NOT NULL) AS UNSIGNED), MIN(id),"
            f" MIN(parked_at) FROM {self._table} WHERE {where} GROUP BY source_database, source_table, code"
            f" ORDER BY COUNT(*) DESC, MIN(id) LIMIT {int(limit)}",
            values,
        )
        ids = ", ".join(str(int(row[5])) for row in found)
        reasons = (
            dict(self.rows(f"SELECT id, LEFT(reason, {_BRIEF_REASON}) FROM {self._table} WHERE id IN ({ids})", ()))
            if ids
            else {}
        )
        return [
            Count(
                count=int(count), waiting=int(waiting), first_id=int(first), oldest=oldest, table=f"{database}.{table}",
                code=int(code), reason=shape_of(str(reasons.get(first, ""))),
            )
            for database, table, code, count, waiting, first, oldest in found
        ]  # fmt: skip

    def history(self, parked_id: int, *, stream: str | None = None) -> list[tuple[str, str, str, dt.datetime]]:
        """(action, actor, detail, when) of one parked change."""
        return [
            (str(action), str(actor), str(detail), done_at)
            for action, actor, detail, done_at in self._connection.rows(
                f"SELECT action, actor, detail, done_at FROM {self._audit} WHERE parked_id = %s ORDER BY id",
                (parked_id,),
            )
        ]

    def read(self, ids: Sequence[int]) -> Iterator[Parked]:
        """Those with these ids, in order."""
        found = self.rows(
            "SELECT id, stream, status, position, kind, source_database, source_table,"
            " target_database, target_table, behind, reason, code, parked_at, is_whole_table, row_keys, message,"
            f" edited, input_format FROM {self._table} WHERE id IN ({', '.join(map(str, ids))}) ORDER BY id",
            (),
        )
        rests = read_rests(self._connection, self._settings.state_schema, [int(row[0]) for row in found])
        for row in found:
            yield msgspec.convert(
                {
                    **dict(zip(Parked.__struct_fields__, row, strict=True)),
                    "row_keys": _read_keys(row[14]),
                    "message": row[15] + rests.get(int(row[0]), b""),
                },
                Parked,
                strict=False,
            )

    def _where(self, selection: Selection) -> WhereClause:
        try:
            return selection.condition(self._connection, self._settings.state_schema)
        except PermanentError as exc:
            raise self._unreadable(exc) from exc

    def rows(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """What the state schema answers. Raises OperationError where it cannot be read."""
        try:
            return self._connection.rows(sql, values)
        except PermanentError as exc:
            raise self._unreadable(exc) from exc

    def _unreadable(self, error: PermanentError) -> OperationError:
        return OperationError(f"the state schema {self._settings.state_schema!r} cannot be read in the target: {error}")

    def _groups(self, selection: Selection, *, checks: bool = True) -> Iterator[list[int]]:
        """Ids in order, so many as may be held with their messages."""
        if checks and selection.ids:
            self.count(selection)
        where, values = self._where(selection)
        pieces = f"(SELECT SUM(LENGTH(piece)) FROM {self._pieces} WHERE parked_id = id)"
        group: list[int] = []
        before = size_bytes = 0
        while True:
            found = self.rows(
                f"SELECT id, LENGTH(message) + COALESCE({pieces}, 0) FROM {self._table}"
                f" WHERE {where} AND id > %s ORDER BY id LIMIT {PAGE}",
                (*values, before),
            )
            for parked_id, size in found:
                if group and (len(group) >= _GROUP or size_bytes + int(size) > _GROUP_BYTES):
                    yield group
                    group, size_bytes = [], 0
                group.append(int(parked_id))
                size_bytes += int(size)
            if len(found) < PAGE:
                break
            before = int(found[-1][0])
        if group:
            yield group

    def still_parked(self, parked_id: int, *, stream: str | None = None) -> Parked:
        """The one with this id. Raises OperationError where it is not parked any more."""
        parked = self.named(parked_id, stream=stream)
        if parked.status != "parked":
            raise OperationError(f"{parked_id} is {parked.status} already")
        return parked
