"""A statement so spelled that it means the same in a session with the default settings.

A DDL message has the statement's text but not its session. What the binlog knows of the session is put into the text:
quotes, backslashes, and the default database where the text alone leaves it open.
"""

from __future__ import annotations

import re
from typing import Final

from pydbsync.plan.ddl.statement import Statement
from pydbsync.plan.quoting import quote_name

REAL_AS_FLOAT: Final = 1
ANSI_QUOTES: Final = 4
ORACLE: Final = 1 << 9
_MSSQL: Final = 1 << 10
"""MariaDB's, under which [a name] stands in brackets."""
NO_BACKSLASH_ESCAPES: Final = 1 << 20

_COMMENT: Final = r"--(?=[\0-\x20\x7f])[^\n]*|\#[^\n]*|/\*(?!M?!)(?:.|\n)*?\*/"
_NAME: Final = r"`(?:[^`]|``)*`"
_PLAIN_QUOTED: Final = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\""
_ESCAPED_QUOTED: Final = r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"]|\"\")*\""
_BRACKETED: Final = r"\[[^\]]*\]"
_PLAIN: Final = re.compile(f"{_COMMENT}|{_NAME}|{_PLAIN_QUOTED}|{_BRACKETED}", re.DOTALL)
_ESCAPED: Final = re.compile(f"{_COMMENT}|{_NAME}|{_ESCAPED_QUOTED}|{_BRACKETED}", re.DOTALL)


def spell_by_default(sql: str, sql_mode: int) -> str:
    """The text of a session with this sql_mode as one without ANSI_QUOTES, NO_BACKSLASH_ESCAPES and MSSQL would write
    it."""
    has_brackets = bool(sql_mode & _MSSQL) and "[" in sql
    has_names = bool(sql_mode & ANSI_QUOTES) and '"' in sql
    has_plain = bool(sql_mode & NO_BACKSLASH_ESCAPES) and "\\" in sql
    if not (has_brackets or has_names or has_plain):
        return sql

    def respelled(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] == "[" and has_brackets:
            return quote_name(text[1:-1])
        if text[0] == '"' and has_names:
            return quote_name(text[1:-1].replace('""', '"'))
        if text[0] in "'\"" and has_plain:
            return text.replace("\\", "\\\\")
        return text

    return (_PLAIN if sql_mode & NO_BACKSLASH_ESCAPES else _ESCAPED).sub(respelled, sql)


def name_its_database(statement: Statement, default: str) -> str:
    """The text with the default database in front of names that neither the text nor the message places.

    In `CREATE TABLE d2.x LIKE t` the message names d2, and nothing tells where t is.
    """
    if not statement.items or statement.items[0].subject.database in (None, default):
        return statement.sql
    sql = statement.sql
    for ref in reversed(statement.names):
        if ref.role in ("like", "exchange", "union") and ref.database is None:
            sql = f"{sql[: ref.span.start]}{quote_name(default)}.{sql[ref.span.start :]}"
    return sql
