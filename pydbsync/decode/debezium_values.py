"""The values of Debezium's rows: what reads each, by the schema in the message or by the column's type."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

from pydbsync.decode import spoken
from pydbsync.errors import DecodeError
from pydbsync.model import BYTES_KINDS, GEOMETRY_KINDS, Column

ReadField: TypeAlias = Callable[[Any], object]


def null_or(read: ReadField) -> ReadField:
    return lambda value: None if value is None else read(value)


def _plain(value: Any) -> object:
    if isinstance(value, dict | list):
        raise ValueError(f"a {type(value).__name__} came for a column that takes one value")
    return value


def _unsigned(value: Any) -> object:
    """bigint.unsigned.handling.mode long sends the upper half as negative numbers, precise each number as a DECIMAL,
    which without a schema is base64."""
    if isinstance(value, str):
        return int.from_bytes(spoken.base64_bytes(value), "big", signed=True)
    return value + 2**64 if isinstance(value, int) and value < 0 else value


def _bits(value: Any) -> object:
    return int(value) if isinstance(value, bool | int) else spoken.bits(spoken.base64_bytes(value))


def _geometry(value: Any) -> object:
    return spoken.shape(spoken.base64_bytes(value["wkb"]), value.get("srid") or 0)


def _iso(value: Any) -> object:
    """time.precision.mode isostring: `2024-02-29T01:02:03.5Z`, or a part of it, which has no zone at the source."""
    if not value.endswith("Z"):
        raise ValueError(f"{value!r} is no time as the connector spells it")
    return value[:-1].replace("T", " ")


def _uuid(value: Any) -> object:
    """The MariaDB connector (3.6.1) takes what the binlog has of a UUID, which lacks bytes of zero at its end, for the
    whole of it: …0000 comes as 0000…"""
    if value.startswith("00"):
        raise ValueError(f"the UUID {value} may be another one, whose zeros the connector has moved from its end")
    return value


def _vector(value: Any) -> object:
    return base64.b64encode(struct.pack(f"<{len(value)}f", *value)).decode() if isinstance(value, list) else value


def is_binary(column: Column | None) -> bool:
    return column is not None and column.kind in BYTES_KINDS


_split_labels = re.compile(r"(?<!\\),").split


def _enum_of(known: Collection[str]) -> ReadField:
    def enum(value: Any) -> object:
        if value == "" and known and "" not in known:
            return 0  # the error value is the label number 0
        return value.replace("\\,", ",")  # so the connector spells a comma in a label

    return enum


def _unscaled_by(scale: int) -> ReadField:
    return lambda value: spoken.unscaled(int.from_bytes(spoken.base64_bytes(value), "big", signed=True), scale)


def _scale_of(column: Column) -> int:
    """Of DECIMAL(10,2), DECIMAL(10) and DECIMAL."""
    _, _, digits = column.column_type.partition(",")
    return int(digits.partition(")")[0] or 0)


def _time_reader(kind: str, mode: str, digits: int) -> ReadField:
    """How DATE, DATETIME and TIME are written where no schema tells it."""
    if mode == "isostring":
        return _iso
    if kind == "date":
        return spoken.days
    read = spoken.moment if kind == "datetime" else spoken.span
    if mode == "nanoseconds":
        return lambda value: read(value // 1000)
    is_adaptive = mode == "adaptive" or (mode == "adaptive_time_microseconds" and kind == "datetime")
    factor = 1000 if mode == "connect" or (is_adaptive and digits <= 3) else 1
    return lambda value: read(value * factor)


BINARY_READERS: Final[dict[str, ReadField]] = {
    "bytes": _plain,
    "base64": _plain,
    "base64-url-safe": lambda value: value.translate(str.maketrans("-_", "+/")),
    "hex": lambda value: base64.b64encode(bytes.fromhex(value)).decode(),
}
_BY_NAME: Final[dict[str, ReadField]] = {
    "io.debezium.time.Date": spoken.days,
    "org.apache.kafka.connect.data.Date": spoken.days,
    "io.debezium.time.Timestamp": lambda value: spoken.moment(value * 1000),
    "org.apache.kafka.connect.data.Timestamp": lambda value: spoken.moment(value * 1000),
    "io.debezium.time.MicroTimestamp": spoken.moment,
    "io.debezium.time.NanoTimestamp": lambda value: spoken.moment(value // 1000),
    "io.debezium.time.ZonedTimestamp": spoken.utc,
    "io.debezium.time.Time": lambda value: spoken.span(value * 1000),
    "org.apache.kafka.connect.data.Time": lambda value: spoken.span(value * 1000),
    "io.debezium.time.MicroTime": spoken.span,
    "io.debezium.time.NanoTime": lambda value: spoken.span(value // 1000),
    "io.debezium.time.Year": _plain,
    "io.debezium.time.IsoDate": _iso,
    "io.debezium.time.IsoTime": _iso,
    "io.debezium.time.IsoTimestamp": _iso,
    "io.debezium.data.FloatVector": _vector,
    "io.debezium.data.Bits": _bits,
    "io.debezium.data.EnumSet": spoken.labels,
    "io.debezium.data.Json": spoken.document,
    "io.debezium.data.Uuid": _uuid,
    "io.debezium.data.VariableScaleDecimal": lambda value: spoken.unscaled(
        int.from_bytes(spoken.base64_bytes(value["value"]), "big", signed=True), int(value["scale"])
    ),
    "io.debezium.data.geometry.Geometry": _geometry,
    "io.debezium.data.geometry.Geography": _geometry,
    "io.debezium.data.geometry.Point": _geometry,
}
_BY_KIND: Final[dict[str, ReadField]] = {
    "timestamp": spoken.utc,
    "bit": _bits,
    "set": spoken.labels,
    "json": spoken.document,
    "uuid": _uuid,
    "vector": _vector,
    **dict.fromkeys(GEOMETRY_KINDS, _geometry),
}


def reader_of_column(column: Column, *, decimals: str, times: str, binary: ReadField, is_document: bool) -> ReadField:
    """What reads the values of a column where no schema tells it, by the connector's modes. `is_document`: the target's
    column is JSON, which a MariaDB has as text."""
    kind = column.kind
    if kind == "decimal":
        if decimals == "precise":
            return null_or(_unscaled_by(_scale_of(column)))
        return null_or(lambda value: spoken.number(value) if isinstance(value, str) else value)
    if kind == "enum":
        return null_or(_enum_of(column.labels))
    if kind in ("date", "datetime", "time"):
        return null_or(_time_reader(kind, times, column.digits))
    reader = _BY_KIND.get(kind) or (binary if kind in BYTES_KINDS else None)
    if reader is not None:
        return null_or(reader)
    if is_document:
        return null_or(spoken.document)
    return null_or(_unsigned if column.unsigned and kind == "bigint" else _plain)


def reader_of_field(field: dict[str, Any], column: Column | None) -> ReadField:
    """What reads the values of a field by its schema. Raises DecodeError for a type that is not known."""
    name = field.get("name")
    if name == "io.debezium.data.Enum":
        return null_or(_enum_of(_split_labels((field.get("parameters") or {}).get("allowed", ""))))
    if name == "org.apache.kafka.connect.data.Decimal":
        return null_or(_unscaled_by(int(field["parameters"]["scale"])))
    reader = _BY_NAME.get(name or "")
    if reader is None:
        if name and name.startswith(("io.debezium.", "org.apache.kafka.connect.data.")):
            raise DecodeError(f"values of the type {name} are not known")
        is_long = column is not None and column.unsigned and column.kind == "bigint" and field["type"] == "int64"
        reader = _unsigned if is_long else _plain
    return null_or(reader)
