"""JSON tokens of columns as values that compare as the server compares them."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import BINARY_KINDS, INTEGER_KINDS, TEXT_KINDS, Column
from pydbsync.plan.literals import NULL, text_of

RoutedValue: TypeAlias = str | int | Decimal | None

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?")
_NUMBER = re.compile(rb'"?-?[0-9]{1,100}(?:\.[0-9]{0,100})?(?:[eE][-+]?[0-9]{1,2})?"?')


def reader_for(column: Column) -> Callable[[bytes], RoutedValue]:
    """Token → value. The function raises PlanError for a token that is no value of such a column."""
    if column.kind in INTEGER_KINDS:
        return _whole
    if column.kind == "decimal":
        return _decimal
    if column.kind == "date":
        return _date
    if column.kind in ("datetime", "timestamp"):
        return _datetime
    if column.kind == "enum" and not column.nullable:
        return lambda token: "" if token == NULL else text_of(token)  # the error value, whose label is empty
    if column.kind in TEXT_KINDS or column.kind == "enum":
        return _text
    return lambda token: None if token == NULL else ""  # whether it is NULL is all that is asked of it


def _whole(token: bytes) -> int | None:
    if token == NULL:
        return None
    if token in (b"true", b"false"):
        return int(token == b"true")
    try:
        return int(token.strip(b'"'))
    except ValueError as exc:
        raise PlanError(f"{token[:40]!r} is no whole number") from exc


def _decimal(token: bytes) -> Decimal | None:
    if token == NULL:
        return None
    if _NUMBER.fullmatch(token) is None:
        raise PlanError(f"{token[:40]!r} is no DECIMAL")
    try:
        return Decimal(token.strip(b'"').decode("ascii"))
    except InvalidOperation as exc:
        raise PlanError(f"{token[:40]!r} is no DECIMAL") from exc


def _text(token: bytes) -> str | None:
    return None if token == NULL else text_of(token)


def _date(token: bytes) -> str | None:
    """The day with the time 0, so that it compares with a DATETIME."""
    text = _text(token)
    if text is None:
        return None
    if not _DATE.fullmatch(text):
        raise PlanError(f"{text[:40]!r} is no DATE")
    return f"{text} 00:00:00.000000"


def _datetime(token: bytes) -> str | None:
    text = _text(token)
    match = _DATETIME.fullmatch(text) if text is not None else None
    if text is None:
        return None
    if match is None:
        raise PlanError(f"{text[:40]!r} is no DATETIME")
    return f"{match[1]} {match[2]}.{(match[3] or '').ljust(6, '0')}"


def time_literal(text: str) -> tuple[str, str] | None:
    """(value, SQL) of a text that is a date or a time on a day, as DATE and DATETIME compare; None for others."""
    try:
        if _DATE.fullmatch(text):
            dt.date.fromisoformat(text)
            return f"{text} 00:00:00.000000", f"DATE'{text}'"
        if (match := _DATETIME.fullmatch(text)) and dt.datetime.fromisoformat(f"{match[1]} {match[2]}"):
            return f"{match[1]} {match[2]}.{(match[3] or '').ljust(6, '0')}", f"TIMESTAMP'{text}'"
    except ValueError:
        return None
    return None


def bytes_of(column: Column, token: bytes) -> bytes | None:
    """What a mask is made of: the bytes of the value, a text as UTF-8. Raises PlanError."""
    if token == NULL:
        return None
    text = text_of(token)
    if column.kind not in BINARY_KINDS:
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError as exc:
            raise PlanError("a text value has half of a surrogate pair, which is no character") from exc
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise PlanError(f"the value of {column.name} is no base64") from exc
    if column.kind == "binary" and column.size:
        value = value.ljust(column.size, b"\0")
    return value


def token_of(value: str | int | bytes | None) -> bytes:
    """A value as the JSON token that a message has for it."""
    return msgspec.json.encode(value)
