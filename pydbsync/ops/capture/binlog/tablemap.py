"""The table map event: how each column of the rows behind it is stored, and what it is called if the source says so.

With `binlog_row_metadata=FULL` (MySQL 8.0.1, MariaDB 10.5) it carries names, character sets, labels and the primary
key; otherwise only types, and on MySQL the signs.
Source: https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydbsync.model import TableName
from pydbsync.ops.capture.binlog import wires as w
from pydbsync.ops.capture.binlog.wires import Wire

_NUMERIC = frozenset({w.TINY, w.SHORT, w.INT24, w.LONG, w.LONGLONG, w.NEWDECIMAL, w.FLOAT, w.DOUBLE, w.YEAR})
_TEXT = frozenset({w.STRING, w.VAR_STRING, w.VARCHAR, w.BLOB, w.BLOB_COMPRESSED, w.VARCHAR_COMPRESSED})
_LABELLED = frozenset({w.ENUM, w.SET})

_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _NAMES, _SET_LABELS, _ENUM_LABELS = 1, 2, 3, 4, 5, 6
_GEOMETRY, _PRIMARY_KEY, _PREFIX_KEY, _DEFAULT_LABEL_CHARSET, _LABEL_CHARSET = 7, 8, 9, 10, 11


@dataclass(frozen=True, slots=True)
class TableMap:
    """What one table map event says; lists are in column order, None where the event does not say."""

    name: TableName
    wires: tuple[Wire, ...]
    unsigned: tuple[bool, ...] | None = None
    collations: tuple[int | None, ...] | None = None
    """Collation ids of text, ENUM and SET columns; text without one in the event and other columns have None."""
    names: tuple[str, ...] | None = None
    labels: tuple[tuple[bytes, ...], ...] | None = None
    """In the column's character set."""
    geometry: tuple[int | None, ...] | None = None
    primary_key: tuple[int, ...] | None = None
    """Column numbers in the key's order; () says that there is none."""

    def without_last(self, count: int) -> TableMap:
        """Without so many columns at the end."""
        return self.only(range(len(self.wires) - count))

    def only(self, kept: Sequence[int]) -> TableMap:
        """With these columns alone."""
        per_column: dict[str, Any] = {
            name: tuple(value[index] for index in kept)
            for name in ("wires", "unsigned", "collations", "names", "labels", "geometry")
            if (value := getattr(self, name)) is not None
        }
        places = {index: place for place, index in enumerate(kept)}
        key = self.primary_key
        if key is not None:
            key = tuple(places[index] for index in key) if places.keys() >= set(key) else ()
        return replace(self, **per_column, primary_key=key)


class _Bytes:
    """Reads MySQL's packed integers and strings one after another."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def packed(self) -> int:
        """A length-encoded integer."""
        first = self.byte()
        if first < 251:
            return first
        return int.from_bytes(self.take({252: 2, 253: 3, 254: 8}[first]), "little")

    def text(self) -> bytes:
        return self.take(self.packed())

    def all_packed(self) -> list[int]:
        found = []
        while self.at < self.end:
            found.append(self.packed())
        return found


def packed_integer(data: bytes, at: int) -> tuple[int, int]:
    """A length-encoded integer and the offset behind it."""
    reader = _Bytes(data, at)
    return reader.packed(), reader.at


def parse_table_map(body: bytes, *, mariadb: bool) -> TableMap:
    """Read the body of a TABLE_MAP_EVENT (behind the event's header, without the checksum)."""
    reader = _Bytes(body, 8)  # table id and flags
    database = reader.take(reader.byte()).decode("utf-8")
    reader.byte()
    table = reader.take(reader.byte()).decode("utf-8")
    reader.byte()
    kinds = reader.take(reader.packed())
    metadata = reader.text()
    reader.take((len(kinds) + 7) // 8)  # which columns may be NULL
    wires = _parse_wires(kinds, metadata)
    return _parse_optional(reader, TableName(database, table), wires, mariadb=mariadb)


def _parse_wires(kinds: bytes, metadata: bytes) -> tuple[Wire, ...]:
    reader = _Bytes(metadata)
    return tuple(_parse_wire(kind, reader) for kind in kinds)


def _parse_wire(kind: int, metadata: _Bytes) -> Wire:
    if kind in (w.VARCHAR, w.VARCHAR_COMPRESSED):
        longest = int.from_bytes(metadata.take(2), "little")
        return Wire(kind, size=1 if longest < 256 else 2, length=longest)
    if kind in (w.BLOB, w.BLOB_COMPRESSED, w.JSON, w.GEOMETRY, w.VECTOR):
        return Wire(kind, size=metadata.byte())
    if kind in (w.STRING, w.VAR_STRING):
        real, low = metadata.byte(), metadata.byte()
        if real in _LABELLED:
            return Wire(real, size=low)
        # Two bits of the length hide, inverted, in the type's byte.
        longest = ((real & 0x30) ^ 0x30) << 4 | low
        return Wire(w.STRING, size=1 if longest < 256 else 2, length=longest)
    if kind == w.NEWDECIMAL:
        return Wire(kind, precision=metadata.byte(), scale=metadata.byte())
    if kind in (w.TIMESTAMP2, w.DATETIME2, w.TIME2):
        return Wire(kind, precision=metadata.byte())
    if kind == w.BIT:
        bits, whole = metadata.byte(), metadata.byte()
        return Wire(kind, size=whole + (1 if bits else 0), length=whole * 8 + bits)
    if kind in (w.FLOAT, w.DOUBLE):
        return Wire(kind, size=metadata.byte())
    if kind in _LABELLED:
        metadata.take(2)
    return Wire(kind)


def _parse_optional(reader: _Bytes, name: TableName, wires: tuple[Wire, ...], *, mariadb: bool) -> TableMap:
    fields: dict[int, _Bytes] = {}
    while reader.at < reader.end:
        field = reader.byte()
        size = reader.packed()
        fields[field] = _Bytes(reader.data, reader.at, reader.at + size)
        reader.at += size
    has_charset = _TEXT | {w.GEOMETRY if mariadb else w.VECTOR}  # so do the servers count, though these have no text
    text = [i for i, wire in enumerate(wires) if wire.kind in has_charset]
    labelled = [i for i, wire in enumerate(wires) if wire.kind in _LABELLED]
    shapes = [i for i, wire in enumerate(wires) if wire.kind == w.GEOMETRY]
    collations: dict[int, int] = {}
    _charsets(fields.get(_DEFAULT_CHARSET), fields.get(_COLUMN_CHARSET), text, collations)
    _charsets(fields.get(_DEFAULT_LABEL_CHARSET), fields.get(_LABEL_CHARSET), labelled, collations)
    labels: dict[int, tuple[bytes, ...]] = {}
    for field, kind in ((_SET_LABELS, w.SET), (_ENUM_LABELS, w.ENUM)):
        if field in fields:
            for i in (i for i in labelled if wires[i].kind == kind):
                labels[i] = tuple(fields[field].text() for _ in range(fields[field].packed()))
    columns = range(len(wires))
    has_names = _NAMES in fields
    geometry = dict(zip(shapes, fields[_GEOMETRY].all_packed(), strict=False)) if _GEOMETRY in fields else None
    return TableMap(
        name=name,
        wires=wires,
        unsigned=_signs(fields[_SIGNEDNESS], wires) if _SIGNEDNESS in fields else None,
        collations=tuple(map(collations.get, columns)) if collations else None,
        names=tuple(fields[_NAMES].text().decode("utf-8") for _ in wires) if has_names else None,
        labels=tuple(labels.get(i, ()) for i in columns) if has_names else None,
        geometry=tuple(map(geometry.get, columns)) if geometry is not None else None,
        primary_key=_primary_key(fields) if has_names else None,
    )


def _signs(bits: _Bytes, wires: tuple[Wire, ...]) -> tuple[bool, ...]:
    """Whether each column is unsigned: one bit, from the left, for each numeric column."""
    found, bit = [], 0
    for wire in wires:
        if wire.kind not in _NUMERIC:
            found.append(False)
            continue
        found.append(bool(bits.data[bits.at + bit // 8] << bit % 8 & 0x80))
        bit += 1
    return tuple(found)


def _charsets(default: _Bytes | None, each: _Bytes | None, columns: list[int], found: dict[int, int]) -> None:
    """Collations of the listed columns: one for each, or a default and the exceptions by number in the list."""
    if each is not None:
        found.update(zip(columns, each.all_packed(), strict=False))
    elif default is not None:
        first, *pairs = default.all_packed()
        found.update(dict.fromkeys(columns, first))
        for index, collation in zip(pairs[::2], pairs[1::2], strict=True):
            found[columns[index]] = collation


def _primary_key(fields: dict[int, _Bytes]) -> tuple[int, ...]:
    if _PRIMARY_KEY in fields:
        return tuple(fields[_PRIMARY_KEY].all_packed())
    if _PREFIX_KEY in fields:
        return tuple(fields[_PREFIX_KEY].all_packed()[::2])
    return ()
