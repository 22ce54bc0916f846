"""How a column is found in the index, by its type; `_source` has each value exactly, whatever the index makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydbsync.model import BYTES_KINDS, GEOMETRY_KINDS, TEXT_KINDS, Column

FieldMapping = Mapping[str, Any]
_KEYWORD_LIMIT = 8191
"""Characters of a keyword: a term of Lucene has at most 32,766 bytes, a character of UTF-8 four."""
_INTEGERS = {"tinyint": "short", "smallint": "short", "mediumint": "integer", "int": "integer", "bigint": "long"}
_UNSIGNED = {"smallint": "integer", "int": "long", "bigint": "unsigned_long"}
_EXACT: FieldMapping = {"type": "keyword", "ignore_above": _KEYWORD_LIMIT}
_STORED: FieldMapping = {"type": "keyword", "index": False, "doc_values": False}
TOO_WIDE = 1000
"""Fields that an index has room for by default."""


def field_of(column: Column) -> FieldMapping:
    """The mapping of a column.

    Dates that are none (0000-00-00, and others that MySQL takes in some modes) are in `_source` alone; so are the
    digits behind the milliseconds.
    """
    kind = column.kind
    if kind in _INTEGERS:
        return {"type": _UNSIGNED.get(kind, _INTEGERS[kind]) if column.unsigned else _INTEGERS[kind]}
    if kind == "year":
        return {"type": "short"}
    if kind == "bit":
        return {"type": "unsigned_long" if (column.size or 64) > 63 else "long"}
    if kind == "decimal":
        return {"type": "double", "fields": {"exact": {"type": "keyword"}}}
    if kind in ("float", "double"):
        return {"type": kind}
    if kind == "date":
        return {"type": "date", "format": "uuuu-MM-dd", "ignore_malformed": True}
    if kind in ("datetime", "timestamp"):
        fraction = f".{'S' * column.digits}" if column.digits else ""
        return {"type": "date", "format": f"uuuu-MM-dd HH:mm:ss{fraction}", "ignore_malformed": True}
    if kind == "json":
        return {"type": "object", "enabled": False}
    if kind in BYTES_KINDS:
        return {"type": "binary"}
    if kind in GEOMETRY_KINDS:
        return _STORED
    if kind in TEXT_KINDS:
        return {"type": "text", "fields": {"keyword": _EXACT}}
    return _EXACT  # TIME, ENUM, SET, UUID, INET: whole texts


def mark_field() -> FieldMapping:
    """The mapping of the field that keeps a document's place."""
    properties = {
        "place": {"type": "keyword"},
        "gone": {"type": "boolean"},
        "at": {"type": "date", "format": "epoch_millis"},
    }
    return {"dynamic": False, "properties": properties}
