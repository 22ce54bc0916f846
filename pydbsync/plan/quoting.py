"""Names and values as SQL text: the only place where either is quoted."""

from __future__ import annotations

from pydbsync.model import TableName


def quote_name(name: str) -> str:
    """An identifier in backticks. Raises ValueError for what no identifier can hold."""
    if "\0" in name or not name:
        raise ValueError(f"{name!r} is no identifier")
    return "`" + name.replace("`", "``") + "`"


def quote_table(name: TableName) -> str:
    """`database`.`table`, quoted."""
    return f"{quote_name(name.database)}.{quote_name(name.table)}"


# MySQL unescapes \0 \b \n \r \t \Z \" \' \\ and drops the backslash before any other character, except \% and \_.
_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', 0: "\\0", ord("\n"): "\\n", ord("\r"): "\\r", 0x1A: "\\Z"}


def quote_text(text: str) -> bytes:
    """A string literal in UTF-8. Needs a session without ANSI_QUOTES and NO_BACKSLASH_ESCAPES.

    Raises UnicodeEncodeError for a lone surrogate, which no character set of the server can hold.
    """
    return b'"' + text.translate(_ESCAPES).encode("utf-8") + b'"'


def quote_bytes(value: bytes) -> bytes:
    """A binary string literal: hexadecimal, or escaped when it is so large that the packet's size counts."""
    if len(value) < 65536:
        return b"X'" + value.hex().encode("ascii") + b"'"
    return b"_binary'" + escape_bytes(value) + b"'"


def escape_bytes(value: bytes) -> bytes:
    """What stands between the quotes of `_binary'…'`."""
    return value.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\0", b"\\0")


# Of JSON's escapes MySQL reads \" \\ \/ \b \n \r \t as JSON does; \f and \u it does not know.
_SAME_IN_SQL = (b'\\"', b"\\/", b"\\b", b"\\n", b"\\r", b"\\t")


def is_sql_string(token: bytes) -> bool:
    """Whether a JSON string token, read as a MySQL string literal, has the same value."""
    if b"\\" not in token:
        return True
    # Not a regular expression: over a value of 64 MB its stack takes gigabytes.
    rest = token.replace(b"\\\\", b"")
    return rest.count(b"\\") == sum(map(rest.count, _SAME_IN_SQL)) and rest[-1:] == b'"' and rest[-2:] != b'\\"'
