"""Rows of the source as the tokens that a message would have, so that they become what the sink would have written."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import msgspec

from pydbsync.decode.geometry import read_geometry
from pydbsync.errors import OperationError
from pydbsync.model import BYTES_KINDS, GEOMETRY_KINDS, TEMPORAL_KINDS, Column, TableSchema
from pydbsync.ops.chunks import RowKey
from pydbsync.ops.copy.sessions import SourceReader
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.sinks.shapes import RawImage
from pydbsync.sinks.values import NUMBER_KINDS

ROWS = 1000
"""Rows that are held at a time."""


def _selected(column: Column) -> str:
    name = quote_name(column.name)
    if column.kind == "bit":
        return f"CAST({name} AS UNSIGNED)"
    if column.kind == "float":
        return f"({name} * 1e0)"
    if column.kind in BYTES_KINDS | NUMBER_KINDS | GEOMETRY_KINDS or column.kind == "double":
        return name
    if column.kind in TEMPORAL_KINDS or column.kind == "decimal":
        return f"CAST({name} AS CHAR)"
    return f"CONVERT({name} USING utf8mb4)"


def _token(column: Column, value: object) -> msgspec.Raw:
    if value is None:
        return msgspec.Raw(b"null")
    if column.kind in BYTES_KINDS:
        data = value if isinstance(value, bytes) else str(value).encode()
        return msgspec.Raw(b'"' + base64.b64encode(data) + b'"')
    if column.kind in GEOMETRY_KINDS and isinstance(value, bytes):
        return msgspec.Raw(msgspec.json.encode(read_geometry(value)))
    if isinstance(value, int | float):
        return msgspec.Raw(repr(value).encode())
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    if column.kind in ("decimal", "json"):
        return msgspec.Raw(text.encode())
    return msgspec.Raw(msgspec.json.encode(text))


def _select(schema: TableSchema, key: RowKey | None) -> str:
    selected = [_selected(column) for column in schema.columns] + list(key.printed if key else ())
    return f"SELECT {', '.join(selected)} FROM {quote_table(schema.name)}"


def _read(schema: TableSchema, key: RowKey | None, row: Sequence[object]) -> tuple[RawImage, tuple[str, ...]]:
    count = len(schema.columns)
    tokens = zip(schema.columns, row[:count], strict=True)
    image = {column.name: _token(column, value) for column, value in tokens}
    return image, tuple(key.values(row[count:])) if key else ()


def row_chunks(reader: SourceReader, schema: TableSchema) -> Iterator[list[tuple[RawImage, tuple[str, ...]]]]:
    """All rows with their keys, so many at a time. Raises OperationError for a table without a key."""
    if not schema.row_key:
        raise OperationError(f"{schema.name} has no key, by which its rows could be found again")
    key = RowKey(schema)
    rows: list[tuple[RawImage, tuple[str, ...]]] = []
    for row in reader.stream(_select(schema, key)):
        rows.append(_read(schema, key, row))
        if len(rows) >= ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def rows_by_key(
    reader: SourceReader, schema: TableSchema, keys: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], RawImage]:
    key = RowKey(schema)
    found: dict[tuple[str, ...], RawImage] = {}
    for start in range(0, len(keys), ROWS):
        where = key.any_of(keys[start : start + ROWS])
        for row in reader.rows(f"{_select(schema, key)} WHERE {where}"):
            image, row_key = _read(schema, key, row)
            found[row_key] = image
    return found
