"""A row as text that is the same on both servers exactly if the row is the same, and its digest as SQL.

Each column is spelled in a form that does not depend on brand, character set or collation: text as its UTF-8 bytes
(or where both sides have the same other character set, as it is stored), times in UTC, numbers as they print. So 'a'
differs from 'A', 'x' from 'x ', NULL from the empty string. Where a brand spells one value in two ways (JSON, floating
point), the digest may differ although the row does not; `equal` decides on the rows themselves, and a digest that is
the same never hides a difference.

No expression here is longer than max_allowed_packet: CAST and CONCAT would give NULL for it. Long columns enter by a
digest of their own, which no server limits; a row that is too long all the same has no digest, and is read by itself.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence

import msgspec

from pydbsync.model import (
    BINARY_KINDS,
    BYTES_KINDS,
    FLOAT_KINDS,
    GEOMETRY_KINDS,
    INTEGER_KINDS,
    TEMPORAL_KINDS,
    TEXT_KINDS,
    Column,
)
from pydbsync.plan.normal import normal_float, normal_json, normal_number
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.target import Dialect

CanonicalValues = tuple[bytes | None, ...]
"""One row in canonical form, a value a column."""


class ColumnForm(enum.Enum):
    """How a column is spelled."""

    PLAIN = "plain"
    """Short, without '#': numbers, times, UUIDs."""
    FLOAT = "float"
    TEXT = "text"
    BINARY = "binary"
    JSON = "json"


_UTF8 = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})
ONE_TO_ONE = _UTF8 | {"latin1", "ucs2", "utf16", "utf16le", "utf32"}
"""Character sets in which each character has one code, and each code is a character of Unicode."""
_SAME_NAME = {"utf8": "utf8mb3"}
_LARGE_BYTES = 65535
"""Columns that may hold more enter the row's text by a digest of their own."""
_SHOWN_BYTES = 1 << 20
"""Larger values are compared by their SHA-256, so that a row of many gigabytes does not have to be held."""
_GROWTH = 4
"""A text has at most so many times as many bytes in UTF-8."""
UNSPEAKABLE = b"\xff"
"""Begins what stands for a text that UTF-8 cannot tell from another: its bytes in hexadecimal, or their digest."""
_NUMBER_CHARACTERS = 350
"""Of the largest DOUBLE(255,30)."""
_SCALE = re.compile(r"decimal\(\d+,(\d+)\)")
_TOO_LONG = 10**30
"""Stands for a row without a digest; more than all 64-bit digests of a chunk together."""


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
    def is_as_stored(self) -> bool:
        """Whether both sides have one character set that is not UTF-8: then its bytes are compared."""
        charsets = {_SAME_NAME.get(str(each.charset), each.charset) for each in (self.source, self.target)}
        return self.form is ColumnForm.TEXT and len(charsets) == 1 and not charsets & _UTF8

    @property
    def form(self) -> ColumnForm:
        """The most demanding one of the two sides."""
        forms = {form_of(self.source), form_of(self.target)}
        return next(
            form
            for form in (ColumnForm.JSON, ColumnForm.BINARY, ColumnForm.TEXT, ColumnForm.FLOAT, ColumnForm.PLAIN)
            if form in forms
        )

    @property
    def is_single(self) -> bool:
        """Whether the number is a FLOAT, in a DOUBLE of the target too: replay writes its shortest digits there (0.1),
        copy its value (0.10000000149011612), and both are the same FLOAT."""
        return self.source.kind == "float" and self.target.kind in FLOAT_KINDS

    @property
    def has_empty_label(self) -> bool:
        """Whether '' is a label of its own, which prints as no label does."""
        return all(each.kind in ("enum", "set") and "" in each.labels for each in (self.source, self.target))

    def equal(self, source: bytes | None, target: bytes | None, *, across_brands: bool) -> bool:
        """Whether two canonical values are the same value."""
        if source is None or target is None or source == target:
            return source == target
        return self.normal(source, across_brands=across_brands) == self.normal(target, across_brands=across_brands)

    def normal(self, value: bytes | None, *, across_brands: bool) -> bytes | None:
        """The one spelling of all that `equal` holds for the same."""
        if value is None:
            return None
        if self.form is ColumnForm.JSON:
            return normal_json(value, across_brands=across_brands)
        if self.form is ColumnForm.FLOAT and not {self.source.kind, self.target.kind} <= FLOAT_KINDS:
            return normal_number(value)
        if self.form is ColumnForm.FLOAT:
            return normal_float(value, is_single=self.is_single, across_brands=across_brands)
        return value


class RowText:
    """The compared columns of one side as SQL. `packet_bytes` is the smaller max_allowed_packet of both sides."""

    def __init__(
        self,
        columns: Sequence[ComparedColumn],
        dialect: Dialect,
        *,
        is_source: bool,
        across_brands: bool,
        packet_bytes: int,
    ) -> None:
        own = [(each.source if is_source else each.target, each) for each in columns]
        spelled = [
            (column, _spell_as(column, each, dialect, shift_s=each.shift_s if is_source else 0), each)
            for column, each in own
        ]
        shown_bytes = min(_SHOWN_BYTES, packet_bytes // 8)
        self.values = tuple(_shown(text, column, each, shown_bytes) for column, text, each in spelled)
        """An expression a column, for reading whole rows."""
        spelled = [
            (column, _digested(column, text, each, across_brands=across_brands), each) for column, text, each in spelled
        ]
        # Behind the separator '#', which none of them holds, come values that may hold it, then the lengths of these
        # and a mark for each that may be NULL: so no two different rows have the same text. The order is the source's
        # on both sides.
        large_bytes = min(_LARGE_BYTES, packet_bytes // 64)
        short = [_short(text, each) for _, text, each in spelled if _is_short(each, large_bytes)]
        others = [(column, text, each) for column, text, each in spelled if not _is_short(each, large_bytes)]
        long = [in_bytes(text, each.form) for _, text, each in others]
        lengths = [f"LENGTH({text})" for _, text, _ in others]
        marks = [
            f"ISNULL({quote_name(column.name)})"
            for column, _, each in spelled
            if each.source.nullable or each.target.nullable
        ]
        marks += [_is_ambiguous(column) for column, _, each in spelled if each.has_empty_label]
        parts = [*short, *long, *lengths, *marks]
        doubts = [
            *(doubt for column, _, each in spelled for doubt in _doubts(column, each, packet_bytes)),
            *_is_too_long([column for column, _, _ in others], packet_bytes),
        ]
        # Without a separator CONCAT_WS gives NULL, and looks at nothing else.
        separator = f"IF({' OR '.join(doubts)}, NULL, '#')" if doubts else "'#'"
        # SHA-256, since MySQL 9.7 has no MD5 and SHA1 any more, and CRC32 is linear: two rows that swap a value would
        # cancel each other out.
        self.digest = f"SHA2(CONCAT_WS({separator}, {', '.join(parts)}), 256)"
        """NULL for a row that has to be read by itself."""
        self.number = f"CAST(CONV(LEFT({self.digest}, 16), 16, 10) AS UNSIGNED)"
        # A sum, unlike XOR, tells three equal rows of a table without a key from one. Two chunks that differ have the
        # same sum of 64-bit digests with a probability of 2^-64.
        self.sum = f"SUM(IFNULL({self.number}, {_TOO_LONG}))"


def is_whole(total: int) -> bool:
    """Whether every row that went into this sum has a digest."""
    return total < _TOO_LONG


def _spell_as(column: Column, each: ComparedColumn, dialect: Dialect, *, shift_s: int) -> str:
    """The canonical form of a column of one side. Labels of a SET stand in the source's order."""
    wanted = each.source.labels
    if each.source.kind != "set" or each.target.kind != "set" or column.labels == wanted:
        text = spell(column, dialect, form=each.form, shift_s=shift_s)
        return _at_length(text, column, each) if each.form is ColumnForm.PLAIN else text
    name = quote_name(column.name)
    order = sorted(column.labels, key=lambda label: wanted.index(label) if label in wanted else len(wanted))
    members = ", ".join(
        f"IF(CAST({name} AS UNSIGNED) & {1 << column.labels.index(label)}, X'{label.encode().hex()}', NULL)"
        for label in order
    )
    return f"IF({name} IS NULL, NULL, CONCAT_WS(X'2C', {members}))"


def _at_length(text: str, column: Column, each: ComparedColumn) -> str:
    """A spelled number or time in the digits of the other side's: 1.5 and 1.50 are one value."""
    kinds = {each.source.kind, each.target.kind}
    if kinds == {"time"} or kinds <= TEMPORAL_KINDS - {"time"}:
        digits = max(each.source.digits, each.target.digits)
        midnight = " 00:00:00" if column.kind == "date" and kinds != {"date"} else ""
        fraction = "" if column.digits == digits else ("" if column.digits else ".") + "0" * (digits - column.digits)
        return f"CONCAT({text}, '{midnight}{fraction}')" if midnight or fraction else text
    scales = [scale_of(side) for side in (each.source, each.target)]
    if "decimal" in kinds and kinds <= INTEGER_KINDS | {"decimal"} and scales[0] != scales[1] and scale_of(column):
        return f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {printed(text)}))"
    return text


def scale_of(column: Column) -> int:
    """How many digits a DECIMAL has behind its point; 0 for any other column."""
    found = _SCALE.match(column.column_type)
    return int(found[1]) if found else 0


def _is_ambiguous(column: Column) -> str:
    """Whether this is one of two values that print alike: ENUM's error value as the label '', or that label in a SET as
    none. NULL for NULL."""
    name = quote_name(column.name)
    if column.kind == "enum":
        return f"({name} + 0 = 0)"
    return f"(CAST({name} AS UNSIGNED) & {1 << column.labels.index('')} > 0)"


def spell(column: Column, dialect: Dialect, *, form: ColumnForm, shift_s: int = 0) -> str:
    """The canonical form of one column as SQL; NULL stays NULL. No server limits its length; text may be text yet."""
    name = quote_name(column.name)
    kind = column.kind
    if form is ColumnForm.JSON:
        return _json(column, name, dialect)
    if kind in FLOAT_KINDS:
        # A FLOAT column prints six digits, but whole in an expression; a DOUBLE the other way round (MySQL 9.7).
        return name if kind == "double" else f"({name} * 1e0)"
    if kind in GEOMETRY_KINDS:  # SRID and WKB, longitude first, on both brands
        return name
    if kind in TEXT_KINDS or kind in ("enum", "set"):
        return _utf8_text(column, name)
    if kind in BINARY_KINDS:
        return name
    if kind == "vector":
        return f"CAST({name} AS BINARY)"
    if kind in ("bit", "year") or (kind in INTEGER_KINDS | {"decimal"} and "zerofill" in column.column_type):
        return f"{name} + 0"
    if shift_s and kind in ("timestamp", "datetime"):
        return f"IF({name} + 0 = 0, CAST({name} AS CHAR), CAST({name} + INTERVAL {shift_s} SECOND AS CHAR))"
    if kind in INTEGER_KINDS or kind in TEMPORAL_KINDS or kind == "decimal":
        return name
    return f"CAST({name} AS CHAR)"


def _utf8_text(column: Column, name: str) -> str:
    is_utf8 = column.charset in (None, "binary") or column.charset in _UTF8
    return name if is_utf8 else f"CONVERT({name} USING utf8mb4)"


def printed(text: str) -> str:
    """A spelled number or time, to be read.

    With a length: a DOUBLE says that it prints 22 characters, a DECIMAL(30,30) forgets its sign, and the table that
    GROUP BY is made in cuts what is longer (MariaDB 10.11, MySQL 9.7).
    """
    return f"CAST({text} AS CHAR({_NUMBER_CHARACTERS}))"


def in_bytes(text: str, form: ColumnForm) -> str:
    """A spelled value of at most max_allowed_packet bytes as bytes, so that no collation has a say."""
    return f"CAST({text} AS BINARY)" if form in (ColumnForm.TEXT, ColumnForm.JSON, ColumnForm.BINARY) else text


def _json(column: Column, name: str, dialect: Dialect) -> str:
    if column.native_json:
        return f"CAST({name} AS CHAR)"
    text = _utf8_text(column, name)
    if dialect.is_mariadb:  # with blanks as MySQL prints them
        return f"IFNULL(JSON_LOOSE({text}), {text})"
    return text


def portable_float(value: str, column: Column) -> str:
    """A floating point expression spelled alike by both brands, which choose differently between 0.00001 and 1e-5.

    Mantissa and exponent are whole numbers. The exponent is taken one too small, so that nothing is lost where LOG2
    rounds up.
    """
    if column.kind not in FLOAT_KINDS:
        return value
    exponent = f"FLOOR(LOG2(NULLIF(ABS({value}), 0)))"
    mantissa = f"CAST({value} / POW(2, {exponent} - 53) AS SIGNED)"
    return f"IFNULL(CONCAT({mantissa}, 'p', {exponent}), IF({value} = 0, '0', CAST({value} AS CHAR)))"


def form_of(column: Column) -> ColumnForm:
    """The form of a column by itself."""
    if column.kind == "json":
        return ColumnForm.JSON
    if column.kind in FLOAT_KINDS:
        return ColumnForm.FLOAT
    if column.kind in TEXT_KINDS and column.charset in (None, "binary"):
        return ColumnForm.BINARY
    if column.kind in TEXT_KINDS or column.kind in ("enum", "set"):
        return ColumnForm.TEXT
    if column.kind in BYTES_KINDS | GEOMETRY_KINDS:
        return ColumnForm.BINARY
    return ColumnForm.PLAIN


def _is_short(each: ComparedColumn, large_bytes: int) -> bool:
    sizes = (each.source.size, each.target.size)
    return each.form in (ColumnForm.PLAIN, ColumnForm.FLOAT) or any(
        size is None or size > large_bytes for size in sizes
    )


def _short(text: str, each: ComparedColumn) -> str:
    return text if each.form in (ColumnForm.PLAIN, ColumnForm.FLOAT) else f"SHA2({text}, 256)"


def _digested(column: Column, text: str, each: ComparedColumn, *, across_brands: bool) -> str:
    if each.is_as_stored:
        return quote_name(column.name)
    if each.form is ColumnForm.FLOAT:
        value = _as_single(text) if each.is_single and column.kind == "double" else text
        return portable_float(value, column) if across_brands else value
    return text


def _as_single(value: str) -> str:
    """A DOUBLE rounded to the 24 bits of a FLOAT, as SQL; neither brand has a cast for it in all versions. What is out
    of a FLOAT's range stays as it is."""
    unit = f"POW(2, FLOOR(LOG2(ABS({value}))) - 23)"
    is_within = f"ABS({value}) BETWEEN 1.1754943508222875e-38 AND 3.4028235677973366e38"
    return f"IF({is_within}, ROUND({value} / {unit}) * {unit}, {value})"


def _doubts(column: Column, each: ComparedColumn, packet_bytes: int) -> Iterator[str]:
    """Conditions under which this column cannot be spelled within an expression."""
    name = quote_name(column.name)
    if column.native_json:  # as text it has at most some seven times as many bytes
        yield f"IFNULL(JSON_STORAGE_SIZE({name}) > {packet_bytes // 8}, FALSE)"
    is_text = each.form in (ColumnForm.TEXT, ColumnForm.BINARY) and column.charset not in (None, "binary")
    if is_text and not each.is_as_stored and column.charset not in ONE_TO_ONE:
        yield f"IFNULL({_loses(column)}, FALSE)"


def _is_too_long(columns: Sequence[Column], packet_bytes: int) -> Iterator[str]:
    """The condition under which the columns together are too long for CONCAT_WS, if they can be."""
    if sum(_GROWTH * (column.size or 0) for column in columns) > packet_bytes // 2:
        lengths = (f"IFNULL(LENGTH({quote_name(column.name)}), 0)" for column in columns)
        yield f"{' + '.join(lengths)} > {packet_bytes // (2 * _GROWTH)}"


def _loses(column: Column) -> str:
    """Whether a character that Unicode lacks becomes '?'."""
    name = quote_name(column.name)
    converted = f"REPLACE(CONVERT({name} USING utf8mb4), '?', '')"
    return f"CHAR_LENGTH({converted}) <> CHAR_LENGTH(REPLACE({name}, '?', ''))"


def is_reversible(column: Column) -> str:
    """Whether a text that went through UTF-8 is the same bytes again, as SQL; not where one character has two codes."""
    name = quote_name(column.name)
    back = f"CONVERT(CONVERT({name} USING utf8mb4) USING {column.charset})"
    return f"SHA2({back}, 256) = SHA2({name}, 256)"


def _shown(text: str, column: Column, each: ComparedColumn, shown_bytes: int) -> str:
    form, name = each.form, quote_name(column.name)
    if form is ColumnForm.JSON:
        return text
    if form not in (ColumnForm.TEXT, ColumnForm.BINARY):
        return printed(text)
    shown = (
        f"IF(LENGTH({text}) > {shown_bytes}, CONCAT('SHA-256 ', SHA2({text}, 256), ' of ', LENGTH({text}), ' bytes'),"
        f" {in_bytes(text, form)})"
    )
    if each.has_empty_label:  # a comma is in no label
        shown = f"CONCAT(IF({_is_ambiguous(column)}, ',', ''), {shown})"
    if column.charset in (None, "binary") or column.charset in ONE_TO_ONE:
        return shown
    as_stored = f"CONCAT(X'FF', IF(LENGTH({name}) > {shown_bytes}, SHA2({name}, 256), HEX({name})))"
    is_clear = is_reversible(column) if each.is_as_stored else f"NOT ({_loses(column)})"
    return f"IF({is_clear}, {shown}, {as_stored})"


def canonical_bytes(value: object) -> bytes | None:
    """What the driver gives for one of `RowText.values`."""
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode("utf-8")
