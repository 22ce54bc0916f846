"""Whether a column of the target takes each value that a column of the source can hold. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from pydbsync.ops.doctor.catalogue import ColumnFacts

_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_EXACT_DIGITS = {"float": 24, "double": 53}
"""Bits of a whole number that a floating point number holds exactly."""
_TIMES = ("date", "datetime", "timestamp", "time", "year")
_LABELS = ("enum", "set")
_SPELLED = {"date": 10, "datetime": 19, "timestamp": 19, "time": 10, "year": 4, "uuid": 36, "inet6": 39, "inet4": 15}
"""Characters of the longest value as text, without fractions of a second."""
_SHAPES = (
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
)  # fmt: skip
_PARENTHESES = re.compile(r"\((\d+)(?:,(\d+))?\)")
_BEYOND_THE_BMP = ("utf8mb4", "utf16", "utf16le", "utf32", "gb18030")
_BMP = ("utf8mb3", "utf8", "ucs2")
_WHOLE_DOCUMENT = 2**24 - 1
"""A text shorter than a MEDIUMTEXT is too short for a JSON document."""


def narrower(column: ColumnFacts, other: ColumnFacts) -> str:
    """Why the target's column does not take each value of the source's; empty if it does, as far as types tell."""
    if column.nullable and not other.nullable:
        return "NULL does not fit"
    mine, theirs = _range(column), _range(other)
    if mine is not None and theirs is not None:
        return _number(mine, theirs)
    if column.kind in _LABELS or other.kind in _LABELS:
        return _labels(column, other)
    if "json" in (column.kind, other.kind) and column.kind != other.kind:
        return _document(column, other)
    if column.octets is not None and other.octets is not None:
        return _text(column, other)
    if column.kind in _TIMES and other.kind in _TIMES:
        return _time(column, other)
    if column.kind in _SHAPES and other.kind in _SHAPES:
        return _shape(column.kind, other.kind)
    is_other_kind = (column.kind in _TIMES) != (other.kind in _TIMES) or (mine is None) != (theirs is None)
    if is_other_kind and other.octets is None:
        return "the values are of another kind"
    if mine is not None and other.octets is not None and _characters(other) < mine.width and not mine.bits:
        return "longer numbers do not fit"
    if (width := _SPELLED.get(column.kind)) and other.octets is not None:
        fraction = (
            (_numbers(column.column_type) or (0, 0))[0] if column.kind in ("datetime", "timestamp", "time") else 0
        )
        return "its values are longer" if _characters(other) < width + (fraction and fraction + 1) else ""
    return ""


def _shape(mine: str, theirs: str) -> str:
    """A column of one shape takes no other; one of collections takes those of several parts."""
    one, other = (kind.replace("geomcollection", "geometrycollection") for kind in (mine, theirs))
    is_fine = other in (one, "geometry") or (other == "geometrycollection" and one.startswith("multi"))
    return "" if is_fine else "other shapes do not fit"


def replayed_otherwise(column: ColumnFacts, other: ColumnFacts, *, is_named: bool) -> str:
    """Why replay would write something else than the value, or nothing: messages have bytes in base64 (those of BINARY
    without the zeros at the end) and do not tell the source's type; empty if it would not. `is_named`: the
    configuration says that the column comes in base64 (binary_columns)."""
    mine, theirs = _is_bytes(column), _is_bytes(other)
    if mine and not theirs and other.octets is not None and not is_named:
        return "its bytes come in base64, and would be stored as that; name it in binary_columns, or change the type"
    if column.kind == "binary" and other.kind != "binary" and other.octets is not None:
        return "the zeros at the end of its values do not come"
    if theirs and not mine and (column.octets is not None or column.kind in ("uuid", "inet4", "inet6")):
        return "its text would be taken for base64"
    return ""


def _is_bytes(column: ColumnFacts) -> bool:
    return column.kind in ("binary", "varbinary") or column.kind.endswith("blob")


def is_cut_at_its_end(column: ColumnFacts, other: ColumnFacts) -> bool:
    """Whether spaces at the end of a value are lost: a CHAR gives none back."""
    return column.kind in ("varchar", "text", "tinytext", "mediumtext", "longtext") and other.kind == "char"


class _Range(NamedTuple):
    """What a number may be: from `low` to `high` with so many digits behind the point. `bits` is there for those that
    are not exact."""

    low: int
    high: int
    fraction: int = 0
    bits: int = 0

    @property
    def width(self) -> int:
        """Characters of the longest one."""
        return max(len(str(self.low)), len(str(self.high))) + (self.fraction and self.fraction + 1)


def _range(column: ColumnFacts) -> _Range | None:
    unsigned = "unsigned" in column.column_type
    if bits := _BITS.get(column.kind):
        return _Range(0, 2**bits - 1) if unsigned else _Range(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    numbers = _numbers(column.column_type)
    if column.kind == "bit":
        return _Range(0, 2 ** (numbers[0] if numbers else 1) - 1)
    if column.kind == "decimal":
        digits, fraction = numbers or (10, 0)
        high = 10 ** (digits - fraction) - 1
        return _Range(0 if unsigned else -high, high, fraction)
    if bits := _EXACT_DIGITS.get(column.kind):
        return _Range(0 if unsigned else -(2**bits), 2**bits, bits=bits)
    return None


def _number(mine: _Range, theirs: _Range) -> str:
    if mine.bits or theirs.bits:
        if not theirs.bits:
            return "digits are lost, and larger numbers do not fit"
        is_fine = theirs.bits >= mine.bits if mine.bits else mine.high <= theirs.high and not mine.fraction
        return "negative numbers do not fit" if mine.low < 0 == theirs.low else "" if is_fine else "digits are lost"
    if mine.fraction > theirs.fraction:
        return "values with more digits behind the point do not fit"
    if mine.low < 0 == theirs.low:
        return "negative numbers do not fit"
    if mine.high > theirs.high and mine.low == 0 and theirs.low < 0 and mine.high == 2 * theirs.high + 1:
        return "numbers above the middle do not fit"
    return "larger numbers do not fit" if mine.high > theirs.high or mine.low < theirs.low else ""


def _labels(column: ColumnFacts, other: ColumnFacts) -> str:
    if column.kind in _LABELS and other.kind in _LABELS:
        return "labels differ" if column.column_type != other.column_type else ""
    if other.kind in _LABELS:
        return "what is none of its labels does not fit"
    return "" if other.octets is not None else "the values are of another kind"


def _document(column: ColumnFacts, other: ColumnFacts) -> str:
    if other.kind == "json":
        return "what is no JSON does not fit"
    if other.octets is None:
        return "the values are of another kind"
    return "longer documents do not fit" if other.octets < _WHOLE_DOCUMENT else ""


def _text(column: ColumnFacts, other: ColumnFacts) -> str:
    if not _holds(column.charset, other.charset):
        return f"characters that {other.charset} lacks do not fit"
    if _characters(other) < _characters(column):
        return "longer values do not fit"
    if other.kind == "binary" and column.kind != "binary":
        return "shorter values are filled with zeros"
    if column.kind == other.kind == "binary" and _characters(other) > _characters(column):
        return "values are filled with zeros"
    return ""


def _holds(mine: str | None, theirs: str | None) -> bool:
    """Whether a character set has each character of another one; bytes hold them all."""
    if theirs is None or mine is None or mine == theirs or theirs in _BEYOND_THE_BMP or theirs == "binary":
        return True
    if theirs in _BMP:
        return mine not in _BEYOND_THE_BMP
    return mine == "ascii" and theirs != "swe7"


def _time(column: ColumnFacts, other: ColumnFacts) -> str:
    if column.kind != other.kind:
        if column.kind == "datetime" and other.kind == "timestamp":
            return "times before 1970 and after 2038 do not fit"
        if other.kind in ("date", "time", "year"):
            return "a part of each value is lost"
        if column.kind in ("time", "year"):
            return "the values are of another kind"
    fractions = [(_numbers(each.column_type) or (0, 0))[0] for each in (column, other)]
    return "fractions of seconds are cut" if column.kind not in ("date", "year") and fractions[1] < fractions[0] else ""


def _characters(column: ColumnFacts) -> int:
    numbers = _numbers(column.column_type)
    return numbers[0] if numbers and ("char" in column.kind or "binary" in column.kind) else int(column.octets or 0)


def _numbers(column_type: str) -> tuple[int, int] | None:
    found = _PARENTHESES.search(column_type)
    return (int(found[1]), int(found[2] or 0)) if found else None
