"""One JSON value of a message as a MySQL literal for one column.

A number or a string of JSON is, but for two escapes, already the literal that MySQL reads as the same value, so most
tokens travel as they are and never pass through a Python value (or a float). What needs more has a function here.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import re
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import BINARY_KINDS, FLOAT_KINDS, GEOMETRY_KINDS, INTEGER_KINDS, Column
from pydbsync.plan.quoting import is_sql_string, quote_bytes, quote_text
from pydbsync.plan.target import DEFAULT_DIALECT, Dialect

Literal: TypeAlias = Callable[[bytes], bytes]
"""JSON token → SQL literal. Raises PlanError for a token that the column cannot take."""

NULL = b"null"

_decode_text = msgspec.json.Decoder(str).decode
_decode_labels = msgspec.json.Decoder(list[str]).decode


def literal_for(
    column: Column, *, is_binary: bool = False, shift_s: int = 0, dialect: Dialect = DEFAULT_DIALECT
) -> tuple[Literal, bool]:
    """The function for this column, and whether a plain token (no escape, no bracket) may pass it by.

    `is_binary` (from the config) says that a text column's value arrives in base64; `shift_s` is added to values of
    DATETIME and text columns that the config lists as timestamps; `dialect` is the target's.
    """
    kind = column.kind
    if is_binary or kind in BINARY_KINDS:
        return (_binary_fixed(column.size) if kind == "binary" and column.size else binary_literal), False
    if kind == "vector":  # the server's own bytes, which every FLOAT in them comes through whole
        return binary_literal, False
    if shift_s and kind != "timestamp":
        return _shifted(shift_s, column), False
    if column.native_json or kind == "json":
        return document_literal if column.nullable else not_null_document_literal, False
    if kind == "set":
        return _set_of(column.labels), False
    if kind == "enum":
        return _enum_of(column), not (_has_odd_labels(column.labels) or not column.nullable)
    if kind in FLOAT_KINDS:
        return (_float if kind == "float" else _double), False
    if kind == "bit":
        size = column.size or 1
        return (_bit32, False) if size == 32 else (_number, True)
    if kind == "year":
        return _year, False
    if kind in GEOMETRY_KINDS:
        return _geometry(column, dialect), False
    if kind == "decimal":
        return _decimal, True
    if kind in INTEGER_KINDS:
        return _number, True
    return scalar_literal, True


def text_of(token: bytes) -> str:
    """The text of a JSON string token; numbers and booleans as they are written. Raises PlanError for others."""
    if token[:1] == b'"':
        try:
            return _decode_text(token)
        except msgspec.MsgspecError as exc:
            raise PlanError(f"a text value cannot be read: {exc}") from exc
    if token[:1] in (b"[", b"{"):
        raise PlanError(f"a JSON {'list' if token[:1] == b'[' else 'object'} came for a column that takes one value")
    return token.decode("ascii")


def scalar_literal(token: bytes) -> bytes:
    first = token[:1]
    if first == b'"':
        return token if is_sql_string(token) else quote_text(_exact_text_of(token))
    if first in (b"[", b"{"):
        raise PlanError(f"a JSON {'list' if first == b'[' else 'object'} came for a column that takes one value")
    return token


def _exact_text_of(token: bytes) -> str:
    text = text_of(token)
    _refuse_halves(text)
    return text


def _quote_exactly(text: str) -> bytes:
    _refuse_halves(text)
    return quote_text(text)


def _refuse_halves(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise PlanError("a text value has half of a surrogate pair, which is no character") from exc


def _number(token: bytes) -> bytes:
    return scalar_literal(token)


_match_number = re.compile(rb'"?-?[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][-+]?[0-9]{1,3})?"?').fullmatch
"""What can be a number of a column. Longer ones are none, and Python would take long over them, or gigabytes."""


def _decimal(token: bytes) -> bytes:
    # In E notation a literal is a DOUBLE, and so is a string where it is compared: either loses digits.
    if b"E" not in token and b"e" not in token:
        return scalar_literal(token)
    if _match_number(token) is None:
        raise PlanError(f"{token[:40]!r} is no DECIMAL")
    return format(Decimal(token.strip(b'"').decode()), "f").encode()


def _double(token: bytes) -> bytes:
    # The literal -0.0 is a DECIMAL and has no sign; the string "-0.0" keeps it.
    return token if token == NULL or token[:1] == b'"' else b'"' + scalar_literal(token) + b'"'


def _float(token: bytes) -> bytes:
    return token if token == NULL else b'"' + float_bits(token) + b'"'


def float_bits(token: bytes) -> bytes:
    """The DOUBLE that has exactly the value of a FLOAT's shortest spelling.

    `f = 0.1` finds no FLOAT 0.1, since the literal is a DOUBLE; and the shortest spelling of the largest FLOAT,
    3.4028235E38, is as a DOUBLE larger than any FLOAT, which strict mode refuses. Raises PlanError if it is no number.
    """
    if _match_number(token) is None:
        raise PlanError(f"{token[:40]!r} is no FLOAT")
    try:
        value = struct.unpack("<f", struct.pack("<f", float(token.strip(b'"'))))[0]
    except OverflowError as exc:
        raise PlanError(f"{token[:40]!r} is no FLOAT") from exc
    if not math.isfinite(value):
        raise PlanError(f"{token[:40]!r} is no FLOAT")
    return repr(value).encode()


def _bit32(token: bytes) -> bytes:
    # Maxwell reads BIT(32) as a signed int: 0x80000000 arrives as -2147483648.
    if token[:1] != b"-":
        return scalar_literal(token)
    if not (token[1:].isdigit() and len(token) < 12):
        raise PlanError(f"{token[:40]!r} is no BIT(32)")
    return b"%d" % (int(token) + 2**32)


def _year(token: bytes) -> bytes:
    # YEAR 0 arrives as 1900, which no YEAR column can hold.
    return b"0" if token == b"1900" else scalar_literal(token)


def binary_literal(token: bytes) -> bytes:
    if token == NULL:
        return b"NULL"
    return quote_bytes(decode_base64(token))


def _binary_fixed(size: int) -> Literal:
    def fixed(token: bytes) -> bytes:
        # The binlog strips trailing zero bytes of BINARY(n); a comparison needs them back.
        return b"NULL" if token == NULL else quote_bytes(decode_base64(token).ljust(size, b"\0"))

    return fixed


def decode_base64(token: bytes) -> bytes:
    """The bytes behind a base64 string token. Raises PlanError if it is none."""
    if token[:1] != b'"':
        raise PlanError(f"a binary value is not a base64 text: {token[:40]!r}")
    try:
        if b"\\" in token:
            return base64.b64decode(_decode_text(token), validate=True)
        return base64.b64decode(token[1:-1], validate=True)
    except (ValueError, msgspec.MsgspecError) as exc:
        raise PlanError(f"a binary value is not base64: {exc}") from exc


def document_literal(token: bytes) -> bytes:
    if token == NULL:
        return b"NULL"
    return b'"' + token.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def not_null_document_literal(token: bytes) -> bytes:
    # Maxwell writes JSON's null like SQL's NULL; where NULL cannot be, it was JSON's.
    return b'"null"' if token == NULL else document_literal(token)


def real_label(label: str, labels: tuple[str, ...]) -> str:
    """The column's own label for the one Maxwell wrote: it keeps doubled quotes and backslashes as the DDL had them."""
    if label in labels or not labels:
        return label
    for known in labels:
        if label in (known.replace("'", "''"), known.replace("\\", "\\\\"), _doubled(known), known.rstrip(" ")):
            return known
        if label.rstrip(" ") == known:
            return known
    return label


def _doubled(label: str) -> str:
    return label.replace("\\", "\\\\").replace("'", "''")


def _has_odd_labels(labels: tuple[str, ...]) -> bool:
    return any("'" in label or "\\" in label for label in labels) or not labels


def _enum_of(column: Column) -> Literal:
    labels, not_null = column.labels, not column.nullable

    def enum(token: bytes) -> bytes:
        if token == NULL:
            # The error value '' (index 0) arrives as null; where NULL cannot be, it was that.
            return b"0" if not_null else b"NULL"
        if token[:1] != b'"':
            return scalar_literal(token)  # the number of a label: 0 is the error value
        return quote_text(real_label(_exact_text_of(token), labels))

    return enum


def _set_of(labels: tuple[str, ...]) -> Literal:
    def members(token: bytes) -> bytes:
        if token == NULL:
            return b"NULL"
        if token[:1] != b"[":
            return scalar_literal(token)
        try:
            found = _decode_labels(token)
        except msgspec.MsgspecError as exc:
            raise PlanError(f"a SET value is not a list of labels: {exc}") from exc
        return _quote_exactly(",".join(real_label(label, labels) for label in found))

    return members


def _shifted(shift_s: int, column: Column) -> Literal:
    shift = dt.timedelta(seconds=shift_s)

    def shifted(token: bytes) -> bytes:
        if token == NULL:
            return b"NULL"
        text = _exact_text_of(token)
        if text.startswith("0000-00-00"):
            return quote_text(text)
        try:
            moment = dt.datetime.fromisoformat(text) + shift
            if moment.tzinfo is not None:
                raise ValueError("it has a zone")
        except (ValueError, OverflowError) as exc:
            raise PlanError(f"{column.name} is listed in timestamp_columns, but {text!r} is no date and time") from exc
        fraction = text.partition(".")[2]
        return quote_text(moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{fraction}" if fraction else ""))

    return shifted


def _geometry(column: Column, dialect: Dialect) -> Literal:
    default_srid = column.srid or 0

    def geometry(token: bytes) -> bytes:
        if token == NULL:
            return b"NULL"
        text, srid = _exact_text_of(token), default_srid
        if text.startswith("SRID="):
            head, _, text = text.removeprefix("SRID=").partition(";")
            if not (head.isascii() and head.isdigit() and len(head) <= 10):
                raise PlanError(f"{head[:20]!r} is no SRID")
            srid = int(head)
        if not text.rstrip().upper().endswith((")", "EMPTY")):
            raise PlanError(f"{text[:40]!r} is no geometry")
        if dialect.is_mariadb:
            # Of a text that it cannot read MariaDB makes NULL without a word; bytes that are no geometry it refuses.
            made = b"ST_GeomFromText(%s, %d)" % (quote_text(_flat_multipoint(text)), srid)
            return b"IFNULL(CAST(%s AS BINARY), 'no geometry')" % made
        # Maxwell writes the stored order of axes, which is longitude first also where the SRID says latitude first.
        order = b", 'axis-order=long-lat'" if srid and dialect.has_order_of_axes else b""
        return b"ST_GeomFromText(%s, %d%s)" % (quote_text(text), srid, order)

    return geometry


def _flat_multipoint(wkt: str) -> str:
    """MULTIPOINT ((1 1), (2 2)) as MULTIPOINT (1 1, 2 2): MariaDB reads the first as NULL."""
    first, *parts = wkt.split("MULTIPOINT ((")
    out = [first]
    for part in parts:
        points, end, rest = part.partition("))")
        out.append("MULTIPOINT (" + points.replace("), (", ", ").replace("),(", ",") + ")" + (rest if end else ""))
    return "".join(out)
