"""A row of a server as Maxwell would write it in `data`: what is selected of its columns, and the tokens of that."""

from __future__ import annotations

import base64
import re

import msgspec

from pydbsync.errors import OperationError
from pydbsync.model import GEOMETRY_KINDS, Column
from pydbsync.plan.canonical import (
    ONE_TO_ONE,
    UNSPEAKABLE,
    ColumnForm,
    form_of,
    in_bytes,
    is_reversible,
    printed,
    spell,
)
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.target import Dialect


def image_expression(column: Column, dialect: Dialect) -> str:
    """What is selected of a column so that `image_token` can write it."""
    name = quote_name(column.name)
    if column.kind in GEOMETRY_KINDS:
        order = ", 'axis-order=long-lat'" if dialect.has_order_of_axes else ""
        return f"CONCAT('SRID=', ST_SRID({name}), ';', ST_AsText({name}{order}))"
    if column.kind == "json" and not column.native_json:  # as it was stored
        return f"CAST({name} AS BINARY)"
    form = form_of(column)
    text = spell(column, dialect, form=form)
    if form is ColumnForm.TEXT and column.charset is not None and column.charset not in ONE_TO_ONE:
        return f"IF({is_reversible(column)}, {in_bytes(text, form)}, IF(ISNULL({name}), NULL, X'FF'))"
    return printed(text) if form in (ColumnForm.PLAIN, ColumnForm.FLOAT) else text


def image_token(column: Column, value: bytes | None) -> bytes:
    """The JSON token of a column's value. Raises OperationError for what Maxwell's format cannot carry."""
    if value is None:
        return b"null"
    kind = column.kind
    if form_of(column) is ColumnForm.TEXT and value.startswith(UNSPEAKABLE):
        raise OperationError(f"column {column.name} holds a character that Unicode lacks, or has another code for")
    if kind == "json":
        return _json(column, value)
    if kind == "enum" and value == b"" and "" not in column.labels:
        if column.nullable:
            raise OperationError(
                f"column {column.name} holds ENUM's error value, which a message cannot tell from NULL"
            )
        return b"null"
    if kind == "set":
        return msgspec.json.encode(value.decode("utf-8").split(",") if value else [])
    if kind == "year":  # YEAR 0 is 1900 in Maxwell's messages
        return b"1900" if value == b"0000" else value
    if kind in GEOMETRY_KINDS:
        return msgspec.json.encode(value.decode("utf-8"))
    form = form_of(column)
    if form is ColumnForm.BINARY:
        return b'"' + base64.b64encode(value) + b'"'
    if form is ColumnForm.FLOAT or kind in _NUMBERS:
        return _LEADING_ZEROS.sub(b"", value) if "zerofill" in column.column_type else value
    return msgspec.json.encode(value.decode("utf-8"))


_LEADING_ZEROS = re.compile(rb"^0+(?=\d)")
"""Of a DOUBLE with ZEROFILL."""
_NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "bit"})


def _json(column: Column, value: bytes) -> bytes:
    """The text as it was stored, which is as it will be put back; but a plan has a line for a change."""
    try:
        msgspec.json.format(value, indent=-1)
    except msgspec.DecodeError as exc:
        raise OperationError(f"column {column.name} holds text that is no JSON") from exc
    token = value.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    if token == b"null" and column.nullable:
        raise OperationError(f"column {column.name} holds JSON's null, which a message cannot tell from NULL")
    return token
