"""The tables whose rows are being read: each table map's encoder, found again while the table stays the same."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from typing import Final

import msgspec

from pydbsync.errors import OperationError
from pydbsync.model import ChangeKind, Column, TableName
from pydbsync.ops.capture.binlog import kinds as k
from pydbsync.ops.capture.binlog.query import decompress_rows
from pydbsync.ops.capture.binlog.reader import Event
from pydbsync.ops.capture.binlog.tablemap import TableMap, parse_table_map
from pydbsync.ops.capture.binlog.wires import LONGLONG
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema
from pydbsync.ops.capture.history.schema import TableDef
from pydbsync.ops.capture.rows.encode import NotWhole, RowsEvent, TableEncoder
from pydbsync.ops.capture.rows.resolve import resolve_table

_HASH: Final = re.compile(r"DB_ROW_HASH_\d+")
log = logging.getLogger("pydbsync.capture")

ROWS: Final[dict[int, tuple[ChangeKind, int, bool]]] = {
    k.WRITE_V1: ("insert", 8, False), k.UPDATE_V1: ("update", 8, False), k.DELETE_V1: ("delete", 8, False),
    k.WRITE_V2: ("insert", 10, False), k.UPDATE_V2: ("update", 10, False), k.DELETE_V2: ("delete", 10, False),
    k.MARIADB_WRITE_COMPRESSED_V1: ("insert", 8, True), k.MARIADB_UPDATE_COMPRESSED_V1: ("update", 8, True),
    k.MARIADB_DELETE_COMPRESSED_V1: ("delete", 8, True), k.MARIADB_WRITE_COMPRESSED: ("insert", 10, True),
    k.MARIADB_UPDATE_COMPRESSED: ("update", 10, True), k.MARIADB_DELETE_COMPRESSED: ("delete", 10, True),
    k.PARTIAL_UPDATE: ("update", 10, False),
}  # fmt: skip
"""Kind of the change, bytes of the header, whether the images are compressed."""


class UnknownTable(OperationError):
    """Rows of a table that the source's catalogue did not show, and that no DDL since has made or touched."""

    def __init__(self, name: TableName) -> None:
        super().__init__(
            f"rows of {name}, which the source's catalogue does not show: GRANT SELECT on it to capture's user and "
            "start again, or exclude it"
        )
        self.name = name


class TableEncoders:
    """Turns table maps into encoders, and rows events into what an encoder takes."""

    def __init__(
        self,
        schema: FollowedSchema,
        charsets: Charsets,
        collations: Mapping[int, str],
        *,
        takes: Callable[[TableName], bool],
        learn: Callable[[Delta], None],
        mariadb: bool,
        with_srid: bool,
    ) -> None:
        """`takes` says whether a table's rows are wanted; `learn` is told what only the binlog knew of a table."""
        self._schema = schema
        self._charsets = charsets
        self._collations = collations
        self._takes = takes
        self._learn = learn
        self._mariadb = mariadb
        self._with_srid = with_srid
        self._by_map: dict[bytes, TableEncoder | None] = {}
        """By the event's whole body, so that a table of another shape is another entry."""
        self._by_id: dict[int, TableEncoder | None] = {}

    def see(self, body: bytes) -> None:
        """A table map event: the rows behind it with its number are of this table. Raises OperationError."""
        table_id = int.from_bytes(body[:6], "little")
        key = body[6:]
        try:
            self._by_id[table_id] = self._by_map[key]
        except KeyError:
            self._by_id[table_id] = None  # should the table be left out that cannot be read
            encoder = self._encoder(body)
            self._by_id[table_id] = self._by_map[key] = encoder

    def rows(self, event: Event, file: str) -> tuple[TableEncoder, RowsEvent] | None:
        """A rows event and its table's encoder; None where the table is left out.

        Raises OperationError for rows that are not whole.
        """
        body = event.body
        encoder = self._by_id[int.from_bytes(body[:6], "little")]
        if encoder is None:
            return None
        kind, at, is_compressed = ROWS[event.kind]
        if at == 10:
            at = 8 + int.from_bytes(body[8:10], "little")
        if is_compressed:
            body = decompress_rows(body, at, is_update=kind == "update")
        is_partial = event.kind == k.PARTIAL_UPDATE
        images = "partial" if is_partial else kind
        try:
            encoder, at = encoder.reader(body, at, images)
        except NotWhole:
            now = self._as_now(encoder)
            if now is None:
                raise
            self._by_id[int.from_bytes(body[:6], "little")] = now
            encoder, at = now.reader(body, at, images)
        return encoder, RowsEvent(kind, event.ts, event.server_id, f"{file}:{event.start}", body, at, is_partial)

    def forget(self) -> None:
        """A table may have changed: look at the next table map anew."""
        self._by_map.clear()

    def _encoder(self, body: bytes) -> TableEncoder | None:
        seen = parse_table_map(body, mariadb=self._mariadb)
        if seen.name in self._schema.sequences or not self._takes(seen.name):
            return None
        hashes = self._hashes(seen) if self._mariadb else 0
        return self._made(seen.without_last(hashes) if hashes else seen, hashes)

    def _made(self, seen: TableMap, hashes: int) -> TableEncoder:
        return TableEncoder(seen, self._resolved(seen), self._charsets, with_srid=self._with_srid, hashes=hashes)

    def _as_now(self, encoder: TableEncoder) -> TableEncoder | None:
        """With what the catalogue says of generated columns, which a history of before does not know; None where it
        says nothing new."""
        known = self._schema.tables.get(encoder.table.name)
        now = self._schema.look_up(encoder.table.name)
        if known is None or now is None or known.columns == now.columns or _told(known) != _told(now):
            return None
        self._learn(Delta(tables=((known.name, msgspec.structs.replace(known, columns=now.columns)),)))
        self.forget()
        return self._made(encoder.seen, encoder.hashes)

    def _hashes(self, seen: TableMap) -> int:
        """How many columns at the end are MariaDB's own, for unique keys that are kept as a hash: numbers with names of
        a kind. Without names the catalogue must say so, of a table with the columns that are followed."""
        known = self._schema.tables.get(seen.name)
        numbers = _count_last(wire.kind == LONGLONG for wire in reversed(seen.wires))
        if seen.names is not None:
            own = {column.name for column in known.columns} if known is not None else set()
            named = _count_last(_HASH.fullmatch(name) is not None and name not in own for name in reversed(seen.names))
            return min(numbers, named)
        surplus = len(seen.wires) - known.width if known is not None else 0
        if known is None or not 0 < surplus <= numbers:
            return 0
        if known.hash_keys != surplus:
            now = self._schema.look_up(seen.name)
            if now is None or (now.columns, now.hash_keys) != (known.columns, surplus):
                return 0
            self._learn(Delta(tables=((seen.name, msgspec.structs.replace(known, hash_keys=surplus)),)))
        return surplus

    def _resolved(self, seen: TableMap) -> TableDef:
        known = self._schema.tables.get(seen.name)
        followed = known.as_stored(len(seen.wires)) if known is not None else None
        # A table that is not known is looked up as it is now; only the names in the binlog can bear that out.
        found = self._schema.look_up(seen.name) if followed is None and seen.names is not None else None
        candidate = followed or (found.as_stored(len(seen.wires)) if found is not None else None)
        if candidate is None and seen.name not in self._schema.uncertain:
            raise UnknownTable(seen.name)
        table = resolve_table(seen, candidate, self._charsets, self._collations)
        if table is not followed and (followed is None or not followed.lacks_period_end(table)):
            if followed is not None:
                log.warning("the binlog describes %s otherwise than was followed; its description is taken", seen.name)
            self._learn(Delta(tables=((seen.name, table.as_shown()),)))
        return table


def _told(table: TableDef) -> list[Column]:
    return [msgspec.structs.replace(column, generated=False) for column in table.columns]


def _count_last(are_so: Iterable[bool]) -> int:
    """How many are, before the first that is not."""
    return sum(1 for _ in takewhile(bool, are_so))
