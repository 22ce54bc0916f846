"""A row's JSON tokens as exact texts, by the types of the source's table: the same text however the value came."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any, TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import BYTES_KINDS, GEOMETRY_KINDS, Column

ColumnText: TypeAlias = "str | bytes | None"
Read: TypeAlias = Callable[[bytes], ColumnText]
"""JSON token → text; bytes for binary values; None for NULL. Raises PlanError."""

_decode_text = msgspec.json.Decoder(str).decode
_NULL = b"null"
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation])
NUMBER_KINDS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "year", "bit"})


def reader_for(column: Column | None) -> Read:
    """How the tokens of a column are read; None for a column that the source does not have any more."""
    kind = column.kind if column is not None else ""
    if column is not None and kind in BYTES_KINDS:
        size = column.size if kind == "binary" else None
        return lambda token: _bytes(token, size)
    if kind == "json":
        return lambda token: None if token == _NULL else canonical_json(token.decode("utf-8"))
    if column is not None and kind == "decimal":
        scale = re.search(r",\s*(\d+)\)", column.column_type)
        return lambda token: _decimal(token, int(scale[1]) if scale else 0)
    if kind in ("float", "double"):
        return _float32 if kind == "float" else _float64
    if kind in GEOMETRY_KINDS:
        return _geometry
    if column is not None and kind in ("datetime", "timestamp", "time"):
        digits = column.digits
        return lambda token: _fraction(_plain(token), digits)
    return _plain


def _plain(token: bytes) -> str | None:
    if token == _NULL:
        return None
    if token[:1] == b'"':
        return _decode_text(token)
    if token[:1] == b"[":  # a SET, by its labels
        return ",".join(msgspec.json.decode(token, type=list[str]))
    return token.decode("utf-8")


def _geometry(token: bytes) -> str | None:
    """WKT, without the SRID that capture can put before it: not every source tells it."""
    text = _plain(token)
    return None if text is None else re.sub(r"^SRID=\d+;", "", text)


def _decimal(token: bytes, scale: int) -> str | None:
    """In full, with the digits behind the point that the column has."""
    text = _plain(token)
    if text is None:
        return None
    try:
        return format(Decimal(text).quantize(Decimal(1).scaleb(-scale), context=_EXACT), "f")
    except DecimalException:
        raise PlanError(f"{text!r} is no DECIMAL") from None


def _float64(token: bytes) -> str | None:
    text = _plain(token)
    return None if text is None else show_float(float(text))


def _float32(token: bytes) -> str | None:
    text = _plain(token)
    return None if text is None else show_float32(float(text))


def show_float(number: float) -> str:
    """The shortest text of a DOUBLE."""
    return repr(number)


def show_float32(number: float) -> str:
    """The shortest text that is the same FLOAT."""
    (wanted,) = struct.unpack("f", struct.pack("f", number))
    for digits in range(1, 10):
        text = f"{wanted:.{digits}g}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == wanted:
            return repr(float(text))
    return repr(wanted)


def _fraction(text: str | None, digits: int) -> str | None:
    """A time with as many digits behind the point as its column has."""
    if text is None:
        return None
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:digits].ljust(digits, '0')}" if digits else whole


def _bytes(token: bytes, size: int | None) -> bytes | None:
    text = _plain(token)
    if text is None:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PlanError(f"a binary value is no base64: {exc}") from exc
    # The binlog has BINARY without the zero bytes at its end.
    return data if size is None else data.ljust(size, b"\0")


def canonical_json(text: str) -> str:
    """One text for all that are the same document."""
    try:
        return show_json(read_json(text), sort_keys=True)
    except (ValueError, RecursionError) as exc:
        raise PlanError(f"a JSON value cannot be read: {exc}") from exc


def read_json(text: str) -> Any:
    """The document; a number that no DOUBLE has (a DECIMAL of MySQL can be in one) as a Decimal."""
    return json.loads(text, parse_float=_json_number)


def _json_number(text: str) -> float | Decimal:
    number, exact = float(text), Decimal(text)
    return number if Decimal(repr(number)) == exact else exact.normalize(Context(prec=len(text)))


def show_json(document: Any, *, sort_keys: bool = False) -> str:
    """A document as text, Decimals as numbers digit by digit."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)
    except TypeError:  # a Decimal, which json does not write as a number
        pass
    if isinstance(document, dict):
        items = sorted(document.items()) if sort_keys else document.items()
        parts = (f"{show_json(name)}:{show_json(each, sort_keys=sort_keys)}" for name, each in items)
        return "{" + ",".join(parts) + "}"
    if isinstance(document, list):
        return "[" + ",".join(show_json(each, sort_keys=sort_keys) for each in document) + "]"
    return str(document)


def as_text(value: ColumnText, binary: str) -> str | bytes | None:
    """The value as a field of a hash."""
    if not isinstance(value, bytes):
        return value
    if binary == "raw":
        return value
    return value.hex() if binary == "hex" else base64.b64encode(value).decode("ascii")


def as_json(value: ColumnText, column: Column | None, binary: str) -> Any:
    """The value in a JSON document: whole numbers and FLOATs as numbers, DECIMAL and dates as text, JSON as it is."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.hex() if binary == "hex" else base64.b64encode(value).decode("ascii")
    kind = column.kind if column is not None else ""
    if kind in NUMBER_KINDS:
        return int(value) if value.lstrip("-").isdecimal() else value
    if kind in ("float", "double"):
        return float(value)
    return read_json(value) if kind == "json" else value
