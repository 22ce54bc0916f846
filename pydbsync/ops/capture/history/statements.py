"""What a statement in the binlog is, told by its first words; most are none of capture's business."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydbsync.model import TableName
from pydbsync.plan.lexer import read_tokens

StatementKind = Literal["ddl", "sequence", "xa", "dml", "rollback-to", "other"]

_COMMENTS: Final = re.compile(r"(?:\s|/\*[^!M](?:.|\n)*?\*/|--[ \t].*\n|#.*\n|/\*M?!\d*)*")
_DDL: Final = re.compile(
    r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMPORARY\s+)?(?:TABLE|DATABASE|SCHEMA)\b"
    r"|CREATE\s+(?:OR\s+REPLACE\s+)?(?:ONLINE\s+|OFFLINE\s+)?(?:UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+)?INDEX\b"
    r"|ALTER\s+(?:ONLINE\s+|OFFLINE\s+)?(?:IGNORE\s+)?(?:TABLE|DATABASE|SCHEMA)\b"
    r"|DROP\s+(?:TEMPORARY\s+)?(?:TABLES?|DATABASE|SCHEMA)\b|DROP\s+(?:ONLINE\s+|OFFLINE\s+)?INDEX\b"
    r"|RENAME\s+TABLES?\b|TRUNCATE\b)",
    re.IGNORECASE,
)
_SET_STATEMENT: Final = re.compile(r"SET\s+STATEMENT\b", re.IGNORECASE)
_BEHIND_SET: Final = re.compile(
    r"\bFOR\s+(?=(?:CREATE|ALTER|DROP|RENAME|TRUNCATE|INSERT|UPDATE|DELETE|REPLACE)\b)", re.IGNORECASE
)
_DML: Final = re.compile(r"(?:INSERT|UPDATE|DELETE|REPLACE|LOAD\s+DATA|WITH)\b", re.IGNORECASE)
_EMPTIED: Final = re.compile(r"DELETE\s+FROM\s+(`(?:[^`]|``)+`\.`(?:[^`]|``)+`)\s*(?:/\*.*\*/)?\s*$", re.IGNORECASE)
_SEQUENCE: Final = re.compile(
    r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?|ALTER\s+|DROP\s+)(?:TEMPORARY\s+)?SEQUENCE\b", re.IGNORECASE
)
_XA: Final = re.compile(r"XA\s+(START|BEGIN|END|COMMIT|ROLLBACK)\s+(.*?)\s*(?:ONE\s+PHASE)?\s*$", re.IGNORECASE)
_ROLLBACK_TO: Final = re.compile(r"ROLLBACK\s+(?:WORK\s+)?TO\b", re.IGNORECASE)


def kind_of(sql: str) -> tuple[StatementKind, str]:
    """What a statement is, and its text without MariaDB's `SET STATEMENT … FOR`.

    A MEMORY table that a restart has emptied is written as `DELETE FROM` all of it: that is a TRUNCATE TABLE.
    """
    head = _head(sql)
    if _SET_STATEMENT.match(head):
        found = _BEHIND_SET.search(head)
        sql = head = head[found.end() :] if found else head
    if _DDL.match(head):
        return "ddl", sql
    if emptied := _EMPTIED.match(head):
        return "ddl", f"TRUNCATE TABLE {emptied[1]}"
    for kind, pattern in _OTHERS:
        if pattern.match(head):
            return kind, sql
    return "other", sql


_OTHERS: Final[tuple[tuple[StatementKind, re.Pattern[str]], ...]] = (
    ("sequence", _SEQUENCE), ("xa", _XA), ("dml", _DML), ("rollback-to", _ROLLBACK_TO),
)  # fmt: skip


def _head(sql: str) -> str:
    """The statement behind its leading comments; what stands in a version comment is part of it."""
    comments = _COMMENTS.match(sql)
    return sql[comments.end() if comments else 0 :]


def read_xa(sql: str) -> tuple[str, str]:
    """The verb of an XA statement in capitals, and the transaction's id in one spelling."""
    found = _XA.match(_head(sql))
    if found is None:
        return "", ""
    return found[1].upper(), re.sub(r"\s+", "", found[2]).lower()


def read_xa_prepare(body: bytes) -> str:
    """The transaction's id in an XA_PREPARE event, spelled as `read_xa` gives it."""
    form, first, second = (int.from_bytes(body[at : at + 4], "little") for at in (1, 5, 9))
    return f"x'{body[13 : 13 + first].hex()}',x'{body[13 + first : 13 + first + second].hex()}',{form}"


def read_sequence(sql: str, database: str) -> tuple[TableName, bool]:
    """The name in CREATE, ALTER or DROP SEQUENCE, and whether it exists afterwards."""
    words = read_tokens(sql, brand="mariadb").tokens
    at = next(index for index, token in enumerate(words) if token.upper == "SEQUENCE") + 1
    while words[at].upper in ("IF", "NOT", "EXISTS"):
        at += 1
    if at + 2 < len(words) and words[at + 1].is_mark("."):
        database, at = words[at].text, at + 2
    return TableName(database, words[at].text), words[0].upper != "DROP"
