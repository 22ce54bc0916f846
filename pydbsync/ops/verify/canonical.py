"""A row as text that is the same on both servers exactly if the row is the same, and its digest as SQL.

Each column is spelled in a form that does not depend on brand, character set or collation: text as its UTF-8 bytes,
times in UTC, numbers as they print. So 'a' differs from 'A', 'x' from 'x ', NULL from the empty string. Where a brand
spells one value in two ways (JSON, floating point), the digest may differ although the row does not; `equal` decides
on the rows themselves, and a digest that is the same never hides a difference.
"""

from __future__ import annotations

import enum
import json
import re
import struct
from collections.abc import Sequence
from decimal import Context, Decimal

import msgspec

from pydbsync.model import Column
from pydbsync.plan.literals import BINARY_KINDS, FLOAT_KINDS, GEOMETRY_KINDS, INTEGER_KINDS, TEMPORAL_KINDS, TEXT_KINDS
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import Dialect

Values = tuple[bytes | None, ...]
"""One row in canonical form, a value a column."""


class Form(enum.Enum):
    """How a column is spelled."""

    PLAIN = "plain"
    """Short, without '#': numbers, times, UUIDs."""
    FLOAT = "float"
    TEXT = "text"
    BINARY = "binary"
    JSON = "json"


_UTF8 = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})
_LARGE_BYTES = 65535
"""Columns that may hold more enter the row's text by a digest of their own: CONCAT_WS gives NULL for a row that is
longer than max_allowed_packet."""
_SHOWN_BYTES = 1 << 20
"""Larger values are compared by their SHA-256, so that a row of many gigabytes does not have to be held."""
_DOUBLE_DIGITS = 17
_WIDE = Context(prec=1000)
"""Decimals are not rounded."""
_TOO_LONG = 10**30
"""Stands for a row that the server could not spell; more than all 64-bit digests of a chunk together."""


class ComparedColumn(msgspec.Struct, frozen=True):
    """One column as it is at the source and at the target."""

    source: Column
    target: Column
    shift_s: int = 0
    """What replay adds to the source's time (`timestamp_columns`)."""

    @property
    def name(self) -> str:
        """As the source spells it."""
        return self.source.name

    @property
    def form(self) -> Form:
        """The most demanding one of the two sides."""
        forms = {form_of(self.source), form_of(self.target)}
        return next(form for form in (Form.JSON, Form.BINARY, Form.TEXT, Form.FLOAT, Form.PLAIN) if form in forms)

    def equal(self, source: bytes | None, target: bytes | None, *, across_brands: bool) -> bool:
        """Whether two canonical values are the same value."""
        if source is None or target is None or source == target:
            return source == target
        return self.normal(source, across_brands=across_brands) == self.normal(target, across_brands=across_brands)

    def normal(self, value: bytes | None, *, across_brands: bool) -> bytes | None:
        """The one spelling of all that `equal` holds for the same."""
        if value is None:
            return None
        if self.form is Form.JSON:
            return normal_json(value, across_brands=across_brands)
        if self.form is Form.FLOAT:
            is_single = self.source.kind == self.target.kind == "float"
            return normal_float(value, is_single=is_single, across_brands=across_brands)
        return value


class RowText:
    """The compared columns of one side as SQL."""

    def __init__(
        self, columns: Sequence[ComparedColumn], dialect: Dialect, *, is_source: bool, across_brands: bool
    ) -> None:
        own = [(each.source if is_source else each.target, each) for each in columns]
        spelled = [
            (column, spell(column, dialect, form=each.form, shift_s=each.shift_s if is_source else 0), each)
            for column, each in own
        ]
        self.values = tuple(_shown(text, each.form) for _, text, each in spelled)
        """An expression a column, for reading whole rows."""
        if across_brands:
            spelled = [
                (column, portable_float(text, column) if each.form is Form.FLOAT else text, each)
                for column, text, each in spelled
            ]
        # Behind the separator '#', which none of them holds, come values that may hold it, then the lengths of these
        # and a mark for each that may be NULL: so no two different rows have the same text. The order is the source's
        # on both sides.
        short = [_short(text, each) for _, text, each in spelled if _is_short(each)]
        long = [text for _, text, each in spelled if not _is_short(each)]
        lengths = [f"LENGTH({_uncast(text)})" for text in long]
        marks = [
            f"ISNULL({quote_name(column.name)})"
            for column, _, each in spelled
            if each.source.nullable or each.target.nullable
        ]
        parts = [*short, *long, *lengths, *marks]
        # SHA-256, since MySQL 9.7 has no MD5 and SHA1 any more, and CRC32 is linear: two rows that swap a value would
        # cancel each other out.
        self.digest = f"SHA2(CONCAT_WS('#', {', '.join(parts)}), 256)"
        self.number = f"CAST(CONV(LEFT({self.digest}, 16), 16, 10) AS UNSIGNED)"
        # A sum, unlike XOR, tells three equal rows of a table without a key from one. Two chunks that differ have the
        # same sum of 64-bit digests with a probability of 2^-64.
        self.sum = f"SUM(IFNULL({self.number}, {_TOO_LONG}))"


def is_whole(total: int) -> bool:
    """Whether the server could spell every row that went into this sum."""
    return total < _TOO_LONG


def spell(column: Column, dialect: Dialect, *, form: Form, shift_s: int = 0) -> str:
    """The canonical form of one column as SQL; NULL stays NULL."""
    name = quote_name(column.name)
    kind = column.kind
    if form is Form.JSON:
        return _json(column, name, dialect)
    if kind in FLOAT_KINDS:
        # A FLOAT column prints six digits, but whole in an expression; a DOUBLE the other way round (MySQL 9.7).
        return name if kind == "double" else f"({name} * 1e0)"
    if kind in GEOMETRY_KINDS:  # SRID and WKB, longitude first, on both brands
        return f"CAST({name} AS BINARY)"
    if kind in TEXT_KINDS or kind in ("enum", "set"):
        if column.charset in (None, "binary"):
            return name
        text = name if column.charset in _UTF8 else f"CONVERT({name} USING utf8mb4)"
        return f"CAST({text} AS BINARY)"
    if kind in BINARY_KINDS:
        return name
    if kind == "vector":
        return f"CAST({name} AS BINARY)"
    if kind == "bit" or (kind in INTEGER_KINDS and "zerofill" in column.column_type):
        return f"{name} + 0"
    if shift_s and kind in ("timestamp", "datetime"):
        return f"IF({name} + 0 = 0, CAST({name} AS CHAR), CAST({name} + INTERVAL {shift_s} SECOND AS CHAR))"
    if kind in INTEGER_KINDS or kind in TEMPORAL_KINDS or kind in ("decimal", "year"):
        return name
    return f"CAST({name} AS CHAR)"


def _json(column: Column, name: str, dialect: Dialect) -> str:
    if column.native_json:
        return f"CAST(CAST({name} AS CHAR) AS BINARY)"
    if dialect.is_mariadb:  # with blanks as MySQL prints them
        return f"CAST(IFNULL(JSON_LOOSE({name}), {name}) AS BINARY)"
    return f"CAST({name} AS BINARY)"


def portable_float(value: str, column: Column) -> str:
    """A floating point expression spelled alike by both brands, which choose differently between 0.00001 and 1e-5.

    Mantissa and exponent are whole numbers. The exponent is taken one too small, so that nothing is lost where LOG2
    rounds up.
    """
    if column.kind not in FLOAT_KINDS:
        return value
    exponent = f"FLOOR(LOG2(ABS({value})))"
    mantissa = f"CAST({value} / POW(2, {exponent} - 53) AS SIGNED)"
    return f"IFNULL(CONCAT({mantissa}, 'p', {exponent}), IF({value} = 0, '0', CAST({value} AS CHAR)))"


def form_of(column: Column) -> Form:
    """The form of a column by itself."""
    if column.kind == "json":
        return Form.JSON
    if column.kind in FLOAT_KINDS:
        return Form.FLOAT
    if column.kind in TEXT_KINDS and column.charset in (None, "binary"):
        return Form.BINARY
    if column.kind in TEXT_KINDS or column.kind in ("enum", "set"):
        return Form.TEXT
    if column.kind in BINARY_KINDS or column.kind in GEOMETRY_KINDS or column.kind == "vector":
        return Form.BINARY
    return Form.PLAIN


def _is_large(each: ComparedColumn) -> bool:
    sizes = (each.source.size, each.target.size)
    return any(size is None or size > _LARGE_BYTES for size in sizes)


def _is_short(each: ComparedColumn) -> bool:
    return each.form in (Form.PLAIN, Form.FLOAT) or _is_large(each)


def _short(text: str, each: ComparedColumn) -> str:
    return text if each.form in (Form.PLAIN, Form.FLOAT) else f"SHA2({text}, 256)"


def _uncast(text: str) -> str:
    """Without a cast that changes no byte: its length costs as much as the cast."""
    found = re.fullmatch(r"CAST\((`(?:[^`]|``)+`) AS BINARY\)", text)
    return found[1] if found else text


def _shown(text: str, form: Form) -> str:
    if form in (Form.TEXT, Form.BINARY):
        return (
            f"IF(LENGTH({text}) > {_SHOWN_BYTES}, CONCAT('SHA-256 ', SHA2({text}, 256), ' of ', LENGTH({text}),"
            f" ' bytes'), {text})"
        )
    return text if form is Form.JSON else f"CAST({text} AS CHAR)"


def canonical_bytes(value: object) -> bytes | None:
    """What the driver gives for one of `RowText.values`."""
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode("utf-8")


def normal_json(text: bytes, *, across_brands: bool) -> bytes:
    """One spelling of equal JSON: sorted keys, no blanks, decimals without trailing zeros; 1 and 1.0 stay apart.

    Across brands a decimal of more than 17 digits is taken for the double that it spells: MySQL stores doubles, and
    MariaDB the digits in which they were sent.
    """
    try:
        document = json.loads(text, parse_float=Decimal)
        return _dump(document, shortens=across_brands).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return text


def _dump(value: object, *, shortens: bool) -> str:
    if isinstance(value, dict):
        pairs = sorted(value.items())
        members = (f"{json.dumps(key, ensure_ascii=False)}:{_dump(each, shortens=shortens)}" for key, each in pairs)
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_dump(each, shortens=shortens) for each in value) + "]"
    if isinstance(value, Decimal):
        if shortens and len(value.as_tuple().digits) > _DOUBLE_DIGITS:
            value = Decimal(repr(float(value)))
        text = str(value.normalize(_WIDE))
        return text if re.search(r"[.E]", text) else text + ".0"
    return json.dumps(value, ensure_ascii=False)


def normal_float(text: bytes, *, is_single: bool, across_brands: bool) -> bytes:
    """One spelling of equal floating point numbers. Across brands -0 is 0: MariaDB does not keep the sign."""
    try:
        number = float(text)
        if is_single:  # the servers print a FLOAT with more or less digits than it has
            number = struct.unpack("f", struct.pack("f", number))[0]
    except (ValueError, OverflowError):
        return text
    return repr(number + 0.0 if across_brands else number).encode("ascii")
