"""What a table looked like when a row of it was written: the followed definition, checked against the table map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from pydbsync.errors import OperationError
from pydbsync.model import Column, TableName
from pydbsync.ops.capture.rows import values as v
from pydbsync.ops.capture.rows.charsets import Charsets
from pydbsync.ops.capture.rows.tablemap import TableMap
from pydbsync.ops.capture.rows.text import quote_raw

INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
WITH_DIGITS: Final = frozenset({"time", "datetime", "timestamp"})
TEXT: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
BINARY: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
LABELLED: Final = frozenset({"enum", "set"})
_SHAPES: Final = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
)  # fmt: skip
_BLOB_BYTES: Final = ("tiny", "", "medium", "long")
BINARY_COLLATION: Final = 63


_HIDDEN_TIMES: Final = tuple(Column(name, "timestamp", digits=6) for name in ("row_start", "row_end"))


class TableDef(msgspec.Struct, frozen=True):
    """A table of the source: its columns in order, its primary key in the key's order, its default character set."""

    name: TableName
    charset: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    has_hidden_times: bool = False
    """A system-versioned table of MariaDB without period columns of its own: its rows end with two that no list of
    columns shows."""

    def as_stored(self, columns: int) -> TableDef:
        """With the hidden columns, where rows have so many; the server adds the second one to the primary key."""
        if not self.has_hidden_times or columns != len(self.columns) + len(_HIDDEN_TIMES):
            return self
        key = (*self.primary_key, _HIDDEN_TIMES[1].name) if self.primary_key else ()
        return msgspec.structs.replace(self, columns=(*self.columns, *_HIDDEN_TIMES), primary_key=key)

    def as_shown(self) -> TableDef:
        """`as_stored` taken back."""
        if not self.has_hidden_times or self.columns[-len(_HIDDEN_TIMES) :] != _HIDDEN_TIMES:
            return self
        key = tuple(name for name in self.primary_key if name != _HIDDEN_TIMES[1].name)
        return msgspec.structs.replace(self, columns=self.columns[: -len(_HIDDEN_TIMES)], primary_key=key)

    def renamed(self, name: TableName) -> TableDef:
        """The same table under another name."""
        return msgspec.structs.replace(self, name=name)


def write_definition(table: TableDef) -> str:
    """The table as Maxwell's `def` and `old` describe it, as JSON text."""
    key = ",".join(map(quote_raw, table.primary_key))
    columns = ",".join(map(_write_column, table.columns))
    return (
        f'{{"database":{quote_raw(table.name.database)},"charset":{quote_raw(table.charset)},'
        f'"table":{quote_raw(table.name.table)},"primary-key":[{key}],"columns":[{columns}]}}'
    )


def _write_column(column: Column) -> str:
    kind = column.kind
    text = f'{{"type":{quote_raw(kind)},"name":{quote_raw(column.name)}'
    if kind in INTEGERS:
        text += f',"signed":{"false" if column.unsigned else "true"}'
    elif kind in WITH_DIGITS:
        text += f',"column-length":{column.digits}'
    elif kind in LABELLED:
        text += f',"enum-values":[{",".join(map(quote_raw, column.labels))}]'
    elif kind in TEXT or kind in BINARY:
        text += f',"charset":{quote_raw(column.charset or "binary")}'
    return text + "}"


def is_binary(column: Column) -> bool:
    """Whether the column's bytes are printed in base64."""
    return column.kind in BINARY or column.charset in (None, "binary")


_KINDS_OF_WIRE: Final[Mapping[int, frozenset[str]]] = {
    v.TINY: frozenset({"tinyint"}),
    v.SHORT: frozenset({"smallint"}),
    v.INT24: frozenset({"mediumint"}),
    v.LONG: frozenset({"int"}),
    v.LONGLONG: frozenset({"bigint"}),
    v.FLOAT: frozenset({"float"}),
    v.DOUBLE: frozenset({"double"}),
    v.NEWDECIMAL: frozenset({"decimal"}),
    v.DATE: frozenset({"date"}),
    v.NEWDATE: frozenset({"date"}),
    v.YEAR: frozenset({"year"}),
    v.BIT: frozenset({"bit"}),
    v.TIMESTAMP: frozenset({"timestamp"}),
    v.TIMESTAMP2: frozenset({"timestamp"}),
    v.DATETIME: frozenset({"datetime"}),
    v.DATETIME2: frozenset({"datetime"}),
    v.TIME: frozenset({"time"}),
    v.TIME2: frozenset({"time"}),
    v.ENUM: frozenset({"enum"}),
    v.SET: frozenset({"set"}),
    v.JSON: frozenset({"json"}),
    v.VECTOR: frozenset({"vector"}),
    v.GEOMETRY: frozenset({*_SHAPES, "geomcollection"}),
    v.STRING: frozenset({"char", "binary", "uuid", "inet4", "inet6"}),
    v.VARCHAR: frozenset({"varchar", "varbinary"}),
    v.VARCHAR_COMPRESSED: frozenset({"varchar", "varbinary"}),
    v.VAR_STRING: frozenset({"varchar", "varbinary"}),
}
_LARGE: Final = frozenset({v.BLOB, v.BLOB_COMPRESSED})


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
    if wire.kind in _LARGE:
        if not (kind.endswith(("blob", "text")) or kind == "json"):
            return None
    elif kind not in _KINDS_OF_WIRE.get(wire.kind, ()):
        return None
    if seen.names is not None and seen.names[index] != column.name:
        return None
    changes: dict[str, object] = {}
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
    decode = charsets.decoder("latin1" if charset == "binary" else charset)
    return tuple(map(decode, seen.labels[index])) if seen.labels is not None else ()


def _column_of(index: int, seen: TableMap, charsets: Charsets, names: Mapping[int, str]) -> Column:
    """A column from a table map with full metadata alone."""
    wire = seen.wires[index]
    name = seen.names[index] if seen.names is not None else ""
    collation = seen.collations[index] if seen.collations is not None else None
    binary = collation in (None, BINARY_COLLATION)
    if wire.kind in _LARGE:
        kind = _BLOB_BYTES[wire.size - 1] + ("blob" if binary else "text")
    elif wire.kind in (v.STRING, v.VARCHAR, v.VAR_STRING, v.VARCHAR_COMPRESSED):
        kind = ("" if wire.kind == v.STRING else "var") + ("binary" if binary else "char")
    elif wire.kind == v.GEOMETRY:
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
