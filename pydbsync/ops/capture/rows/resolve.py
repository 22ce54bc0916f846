"""What a table looked like when a row of it was written: the followed definition, checked against the table map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pydbsync.errors import OperationError
from pydbsync.model import Column
from pydbsync.ops.capture.binlog import wires as w
from pydbsync.ops.capture.binlog.tablemap import TableMap
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.history.schema import INTEGERS, LABELLED, TEXT, WITH_DIGITS, TableDef

_SHAPES: Final = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
)  # fmt: skip
_BLOB_BYTES: Final = ("tiny", "", "medium", "long")
_BINARY_COLLATION: Final = 63
_TOO_LONG: Final[Mapping[str, str]] = {"varchar": "text", "varbinary": "blob"}
"""What servers make of these where a value may have more than 65,535 bytes and sql_mode is not strict."""
_MEDIUM: Final = 3

_KINDS_OF_WIRE: Final[Mapping[int, frozenset[str]]] = {
    w.TINY: frozenset({"tinyint"}),
    w.SHORT: frozenset({"smallint"}),
    w.INT24: frozenset({"mediumint"}),
    w.LONG: frozenset({"int"}),
    w.LONGLONG: frozenset({"bigint"}),
    w.FLOAT: frozenset({"float"}),
    w.DOUBLE: frozenset({"double"}),
    w.NEWDECIMAL: frozenset({"decimal"}),
    w.DATE: frozenset({"date"}),
    w.NEWDATE: frozenset({"date"}),
    w.YEAR: frozenset({"year"}),
    w.BIT: frozenset({"bit"}),
    w.TIMESTAMP: frozenset({"timestamp"}),
    w.TIMESTAMP2: frozenset({"timestamp"}),
    w.DATETIME: frozenset({"datetime"}),
    w.DATETIME2: frozenset({"datetime"}),
    w.TIME: frozenset({"time"}),
    w.TIME2: frozenset({"time"}),
    w.ENUM: frozenset({"enum"}),
    w.SET: frozenset({"set"}),
    w.JSON: frozenset({"json"}),
    w.VECTOR: frozenset({"vector"}),
    w.GEOMETRY: frozenset({*_SHAPES, "geomcollection"}),
    w.STRING: frozenset({"char", "binary", "uuid", "inet4", "inet6"}),
    w.VARCHAR: frozenset({"varchar", "varbinary", "vector"}),  # MariaDB's vectors are VARBINARYs
    w.VARCHAR_COMPRESSED: frozenset({"varchar", "varbinary"}),
    w.VAR_STRING: frozenset({"varchar", "varbinary"}),
}
_LARGE: Final = frozenset({w.BLOB, w.BLOB_COMPRESSED})


def resolve_table(seen: TableMap, followed: TableDef | None, charsets: Charsets, names: Mapping[int, str]) -> TableDef:
    """The definition to decode rows with: the followed one if the table map bears it out, else the map's own.

    `names` gives a collation's character set by its id. Raises OperationError where the followed definition is missing
    or another table's, and the source does not write names into its binlog.
    """
    if followed is not None and len(followed.columns) == len(seen.wires):
        columns = tuple(_settle(i, column, seen, charsets, names) for i, column in enumerate(followed.columns))
        if all(column is not None for column in columns):
            key = followed.primary_key
            # Without a primary key the servers write the first unique key without NULLs in its place.
            if key and seen.names is not None and seen.primary_key is not None:
                key = tuple(seen.names[i] for i in seen.primary_key)
            settled = tuple(column for column in columns if column is not None)
            if settled == followed.columns and key == followed.primary_key:
                return followed
            return msgspec.structs.replace(followed, columns=settled, primary_key=key)
    if seen.names is None or seen.labels is None:
        known = "is not known" if followed is None else f"had {len(followed.columns)} columns when last heard of"
        raise OperationError(
            f"the columns of {seen.name} at this place of the binlog cannot be told: the table {known} and the binlog "
            f"has a table of {len(seen.wires)} columns without names. Set binlog_row_metadata=FULL on the source, and "
            "start capture at a later place (or with a new state)"
        )
    columns = tuple(_column_of(i, seen, charsets, names) for i in range(len(seen.wires)))
    return TableDef(
        name=seen.name,
        charset=followed.charset if followed else "utf8mb4",
        columns=tuple(column for column in columns if column is not None),
        primary_key=tuple(seen.names[i] for i in seen.primary_key or ()),
    )


def _settle(index: int, column: Column, seen: TableMap, charsets: Charsets, names: Mapping[int, str]) -> Column | None:
    """The followed column with what the table map knows better, or None if the map has another column here."""
    wire = seen.wires[index]
    kind = column.kind
    changes: dict[str, object] = {}
    if wire.kind in _LARGE:
        if kind in _TOO_LONG and wire.size >= _MEDIUM:
            kind = changes["kind"] = _BLOB_BYTES[wire.size - 1] + _TOO_LONG[kind]
        elif not (kind.endswith(("blob", "text")) or kind == "json"):
            return None
    elif kind not in _KINDS_OF_WIRE.get(wire.kind, ()):
        return None
    if seen.names is not None and seen.names[index] != column.name:
        return None
    if seen.unsigned is not None and kind in INTEGERS and seen.unsigned[index] != column.unsigned:
        changes["unsigned"] = seen.unsigned[index]
    if wire.precision != column.digits and kind in WITH_DIGITS:
        changes["digits"] = wire.precision
    collation = seen.collations[index] if seen.collations is not None else None
    if collation is not None and (kind in TEXT or kind in LABELLED):
        charset = names.get(collation)
        if charset is not None and _same_charset(charset) != _same_charset(column.charset):
            changes["charset"] = charset
    if seen.labels is not None and kind in LABELLED:
        labels = _labels(index, seen, charsets, names)
        if labels != column.labels:
            changes["labels"] = labels
    return msgspec.structs.replace(column, **changes) if changes else column


def _same_charset(charset: str | None) -> str:
    return "utf8mb3" if charset == "utf8" else charset or "binary"


def _labels(index: int, seen: TableMap, charsets: Charsets, names: Mapping[int, str]) -> tuple[str, ...]:
    collation = seen.collations[index] if seen.collations is not None else None
    charset = names.get(collation or 0, "utf8mb4")
    decode = _text_of_bytes if charset == "binary" else charsets.decoder(charset)
    return tuple(map(decode, seen.labels[index])) if seen.labels is not None else ()


def _text_of_bytes(label: bytes) -> str:
    """As statements spell the labels of an ENUM of bytes."""
    try:
        return label.decode("utf-8")
    except UnicodeDecodeError:
        return label.decode("latin1")


def _column_of(index: int, seen: TableMap, charsets: Charsets, names: Mapping[int, str]) -> Column:
    """A column from a table map with full metadata alone."""
    wire = seen.wires[index]
    name = seen.names[index] if seen.names is not None else ""
    collation = seen.collations[index] if seen.collations is not None else None
    binary = collation in (None, _BINARY_COLLATION)
    if wire.kind in _LARGE:
        kind = _BLOB_BYTES[wire.size - 1] + ("blob" if binary else "text")
    elif wire.kind in (w.STRING, w.VARCHAR, w.VAR_STRING, w.VARCHAR_COMPRESSED):
        kind = ("" if wire.kind == w.STRING else "var") + ("binary" if binary else "char")
    elif wire.kind == w.GEOMETRY:
        shape = seen.geometry[index] if seen.geometry is not None else None
        kind = _SHAPES[shape or 0]
    elif wire.kind in _KINDS_OF_WIRE:
        (kind,) = _KINDS_OF_WIRE[wire.kind]
    else:
        raise OperationError(f"{seen.name}.{name} has the binlog type {wire.kind}, which is not known")
    return Column(
        name=name,
        kind=kind,
        charset=names.get(collation) if collation is not None else None,
        digits=wire.precision if kind in WITH_DIGITS else 0,
        unsigned=bool(seen.unsigned and seen.unsigned[index]),
        labels=_labels(index, seen, charsets, names) if kind in LABELLED else (),
    )
