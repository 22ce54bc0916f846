"""ALTER TABLE while others write: what InnoDB makes of it, and the statement with which they wait.

It keeps what they try meanwhile and does it again in the new table, a row that was refused or taken back there too, so
that the statement ends with a duplicate (1062) that the table never had.
Source: https://dev.mysql.com/doc/refman/8.4/en/innodb-online-ddl-limitations.html
"""

from __future__ import annotations

from pydbsync.plan.ddl.clauses import Clause, key_kind, read_clauses
from pydbsync.plan.ddl.lexer import Brand
from pydbsync.plan.ddl.statement import parse_statement

_OWN_VALUES = frozenset({"PRIMARY", "UNIQUE", "KEY", "AUTO_INCREMENT", "SERIAL"})
"""What makes a new column a key."""


def hold_writers(sql: str, *, brand: Brand) -> str | None:
    """The statement with writers held off, where it adds nothing that rows could be duplicates by; None for others.
    Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    clauses = read_clauses(statement)
    if statement.action != "alter-table" or not clauses or not all(map(_is_plain, clauses)):
        return None
    start = statement.clauses[0][0].start
    return f"{sql[:start]}LOCK=SHARED, {sql[start:]}"


def _is_plain(clause: Clause) -> bool:
    if clause.verb != "ADD":
        return False
    if clause.kind == "key":
        return key_kind(clause) == "other"
    return clause.kind == "column" and not any(token.upper in _OWN_VALUES for token in clause.body)
