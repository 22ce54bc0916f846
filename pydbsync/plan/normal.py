"""One spelling of all that is the same JSON document, or the same floating point number."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

_WIDE = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Decimals are not rounded, however many digits they have."""
_WHOLE = range(-(2**63), 2**64)
"""The integers that MySQL's JSON holds; it takes others for a DOUBLE."""


class _Members(tuple[tuple[str, object], ...]):
    """An object's members as they stand in the text, a key perhaps several times."""

    __slots__ = ()


def normal_json(text: bytes, *, across_brands: bool) -> bytes:
    """One spelling of equal JSON: sorted keys, no blanks, decimals without trailing zeros; 1 and 1.0 stay apart.

    Across brands it is what MySQL makes of the text: a number with a point, an exponent or too many digits is a DOUBLE,
    of a key that stands there twice the last one counts. MariaDB keeps both members, and gives the first one's value.
    """
    try:
        document = json.loads(text, parse_float=Decimal, object_pairs_hook=_Members)
        return _dump(document, as_mysql=across_brands).encode("utf-8", "surrogatepass")
    except (ValueError, ArithmeticError, RecursionError):  # MariaDB keeps 1e99999999999999999999 as the text that it is
        return text


def _dump(value: object, *, as_mysql: bool) -> str:
    if isinstance(value, _Members):
        members = _in_order(tuple(dict(value).items()) if as_mysql else value)
        return "{" + ",".join(f"{_text(key)}:{_dump(each, as_mysql=as_mysql)}" for key, each in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_dump(each, as_mysql=as_mysql) for each in value) + "]"
    if as_mysql and type(value) is int and value not in _WHOLE:
        value = Decimal(value)
    if isinstance(value, Decimal):
        if as_mysql:
            value = Decimal(repr(float(value)))
        text = str(value.normalize(_WIDE))
        return text if re.search(r"[.E]", text) else text + ".0"
    return _text(value)


def _in_order(members: Sequence[tuple[str, object]]) -> list[tuple[str, object]]:
    return sorted(members, key=lambda member: member[0])  # those of one key as they stand


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def is_same_to_mysql(one: bytes, other: bytes) -> bool:
    """Whether MySQL may hold two documents for the same, so that an UPDATE from one to the other changes nothing.

    It compares numbers by their value: 1 with 1.0, 0.0 with -0.0.
    """
    try:
        first, second = (json.loads(each, parse_int=float) for each in (one, other))
    except (ValueError, RecursionError):
        return True
    return bool(first == second)


def normal_float(text: bytes, *, is_single: bool, across_brands: bool) -> bytes:
    """One spelling of equal floating point numbers. Across brands -0 is 0: MariaDB does not keep the sign."""
    try:
        number = float(text)
        if is_single:  # the servers print a FLOAT with more or less digits than it has
            number = struct.unpack("f", struct.pack("f", number))[0]
    except (ValueError, OverflowError):
        return text
    return repr(number + 0.0 if across_brands else number).encode("ascii")


def normal_number(text: bytes) -> bytes:
    """One spelling of a number that is a DOUBLE at one side and has all its digits at the other: a DOUBLE is the number
    that its shortest digits are, and none of those that it was rounded from."""
    try:
        return str(Decimal(text.decode("ascii")).normalize(_WIDE)).encode("ascii")
    except (ValueError, ArithmeticError):
        return text
