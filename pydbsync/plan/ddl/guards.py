"""IF EXISTS and IF NOT EXISTS: which parts of a statement the source has carried out, so that the target must have too.

A server passes over what it takes for done already, and says so in a warning. At the source that was another table: a
message that describes it tells that the table was made or was there, and which columns it had before. Debezium and
canal send the statement alone, also where the source has passed over all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydbsync.model import SchemaChange
from pydbsync.plan.ddl.clauses import Clause, read_clauses
from pydbsync.plan.ddl.definition import read_description
from pydbsync.plan.ddl.lexer import Brand
from pydbsync.plan.ddl.statement import Statement, parse_statement


class Guarded(NamedTuple):
    """What a statement does only if it is not done yet, as statements without that condition."""

    certain: tuple[str, ...] = ()
    """Those that the source has carried out."""
    doubtful: tuple[str, ...] = ()
    """Those of which its message does not tell that: of keys, constraints and partitions; of a bare statement, all."""


def read_guarded(sql: str, change: SchemaChange, *, brand: Brand) -> Guarded:
    """The conditional parts of a statement that make or change something. What is only to be gone needs no look: it is
    gone where it was passed over. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    words = [token.upper for token in statement.tokens]
    has_any = any(word == "IF" and "EXISTS" in words[at + 1 : at + 3] for at, word in enumerate(words))
    if not has_any or statement.action.startswith("drop-"):
        return Guarded()
    if statement.action == "create-index" or not _is_described(change):
        return Guarded(doubtful=(sql,))
    if statement.action != "alter-table":
        return Guarded(certain=(sql,))
    return _of_alter(statement, change, is_guarded=_is_head_guarded(statement))


def _is_described(change: SchemaChange) -> bool:
    """Whether the message says what became of the table or database, not only the statement."""
    return bool(bytes(change.old) or bytes(change.def_) or change.charset)


def _is_head_guarded(statement: Statement) -> bool:
    first = statement.clauses[0][0].start if statement.clauses else len(statement.sql)
    return any(token.upper == "EXISTS" and token.start < first for token in statement.tokens)


def _of_alter(statement: Statement, change: SchemaChange, *, is_guarded: bool) -> Guarded:
    old = read_description(change.old)
    present = None if old is None else {column.name.lower() for column in old.columns}
    certain, doubtful = [], []
    for clause in read_clauses(statement):
        if not clause.guard or (clause.verb.startswith("DROP") and clause.verb != "DROP PARTITION"):
            continue
        column = _column(clause)
        if column and present is not None:
            if (column.lower() in present) != (len(clause.guard) == 3):  # IF NOT EXISTS
                certain.append(_unguarded(statement, clause))
        else:
            doubtful.append(_unguarded(statement, clause))
    if is_guarded and not certain:
        certain = [statement.sql]  # the table was there: something must be done
    return Guarded(tuple(certain), tuple(doubtful))


def _column(clause: Clause) -> str:
    """The column that must, or must not, be there; empty where it is about something else."""
    if clause.kind == "column" or clause.verb == "RENAME COLUMN":
        return clause.replaces or clause.name or ""
    if clause.verb == "ALTER":
        behind = [token for token in clause.tokens if token.start >= clause.guard[-1].end]
        return behind[0].text if behind and "INDEX" not in (token.upper for token in clause.tokens[:2]) else ""
    return ""


def _unguarded(statement: Statement, clause: Clause) -> str:
    """ALTER TABLE with this clause alone, and without its condition."""
    head = statement.sql[: statement.clauses[0][0].start]
    text = "".join(_pieces(statement.sql, clause))
    return f"{head}{text if clause.tokens[0].upper == clause.verb.split()[0] else f'{clause.verb} {text}'}"


def _pieces(sql: str, clause: Clause) -> Iterator[str]:
    start, end = clause.span
    first, last = clause.guard[0].start, clause.guard[-1].end
    if start <= first < end:
        yield sql[start:first]
        yield sql[last:end].lstrip()
    else:
        yield sql[start:end]
