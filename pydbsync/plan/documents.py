"""JSON in conditions: a row is found by its document, and of several equal ones goes that which is spelled most alike.

MariaDB's JSON is text. A copy from MySQL writes the document as MySQL prints it, the stream as Maxwell or capture print
it: blanks and the spelling of numbers differ. MySQL compares documents, and holds 1 and 1.0 for one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias

from pydbsync.model import Column

DocumentTerm: TypeAlias = Callable[[bytes, bytes], bytes]
"""Quoted name and literal → an expression."""

_NORMALIZE_SINCE = (10, 7)
_NUMBER = re.compile(rb"[0-9]")


def document_condition(column: Column, version: tuple[int, ...]) -> DocumentTerm:
    """What is true where the column holds this document."""
    if column.native_json:
        return lambda name, literal: b"%s = CAST(%s AS JSON)" % (name, literal)
    # Of text that is no JSON, or nested deeper than MariaDB reads, both give NULL. JSON_COMPACT knows only the blanks.
    normal = b"JSON_NORMALIZE" if version >= _NORMALIZE_SINCE else b"JSON_COMPACT"
    exact = _same_text(column)

    def condition(name: bytes, literal: bytes) -> bytes:
        normals = b"CAST(%s(%s) AS BINARY) = CAST(%s(%s) AS BINARY)" % (normal, name, normal, literal)
        return b"(%s OR %s)" % (exact(name, literal), normals)

    return condition


def document_likeness(column: Column) -> DocumentTerm:
    """A number, greater where the document is spelled more alike: 1 is not 1.0, a blank more is a blank more."""
    exact = _same_text(column)
    if column.native_json:
        return exact

    def likeness(name: bytes, literal: bytes) -> bytes:
        compact = b"CAST(JSON_COMPACT(%s) AS BINARY) <=> CAST(JSON_COMPACT(%s) AS BINARY)" % (name, literal)
        return b"(%s) + (%s)" % (exact(name, literal), compact)

    return likeness


def are_spelled_apart(former: bytes, token: bytes) -> bool:
    """Whether two texts may be one document to MySQL, and print as two: 1 and 1.0. False where they are certainly not.

    MySQL writes no row in which nothing else changes: it keeps the former.
    """
    if former == token or _NUMBER.search(token) is None:
        return False
    try:
        return bool(_read(former) == _read(token))
    except (ValueError, RecursionError):
        return True  # whatever it is, the server is asked


def _read(token: bytes) -> object:
    found = json.loads(token, parse_int=float)
    return json.loads(found, parse_int=float) if isinstance(found, str) else found


def _same_text(column: Column) -> DocumentTerm:
    if column.native_json:
        return lambda name, literal: (
            b"CAST(CAST(%s AS CHAR) AS BINARY) = CAST(CAST(CAST(%s AS JSON) AS CHAR) AS BINARY)" % (name, literal)
        )
    charset = (column.charset or "utf8mb4").encode()
    if charset == b"binary":
        return lambda name, literal: b"CAST(%s AS BINARY) = CAST(%s AS BINARY)" % (name, literal)
    return lambda name, literal: b"CAST(%s AS BINARY) = CAST(CONVERT(%s USING %s) AS BINARY)" % (name, literal, charset)
