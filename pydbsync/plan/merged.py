"""Statements on a table that several sources feed: what one of them would take from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pydbsync.errors import PlanError
from pydbsync.plan.clauses import read_clauses
from pydbsync.plan.lexer import Brand
from pydbsync.plan.statement import Statement, parse_statement


class Ran(NamedTuple):
    """A statement that was run on the table, or found done there."""

    source: str
    """The source database."""
    sql: str


def columns_taken(sql: str, *, brand: Brand) -> list[str]:
    """The columns whose names the table has no more afterwards, or has for other columns. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    found = []
    for clause in read_clauses(statement):
        if clause.verb == "DROP COLUMN" and clause.name:
            found.append(clause.name)
        elif clause.verb in ("CHANGE", "RENAME COLUMN") and clause.replaces and clause.replaces != clause.name:
            found.append(clause.replaces)
    return found


def takes_rows(sql: str, *, brand: Brand) -> tuple[str, ...] | None:
    """The partitions whose rows the statement takes, as a list that is empty for all rows; None where it takes none.

    A rename takes them all: what another source still writes to the old name would not find its rows there. Raises
    PlanError.
    """
    statement = parse_statement(sql, brand=brand)
    if statement.action in ("drop-table", "truncate-table") or statement.or_replace or _renames(statement):
        return ()
    if statement.action != "alter-table" or not statement.clauses:
        return None
    words = [token.upper for token in statement.clauses[0][:2]]
    if words[1:] != ["PARTITION"] or words[0] not in ("DROP", "TRUNCATE", "EXCHANGE", "CONVERT"):
        return None
    return tuple(_partitions(statement))


def _renames(statement: Statement) -> bool:
    return any(None not in (item.before, item.after) and item.before is not item.after for item in statement.items)


def _partitions(statement: Statement) -> Iterator[str]:
    rest = [token for token in statement.tokens if token.start > statement.clauses[0][1].start]
    for token in rest:
        if token.upper in ("WITH", "TO"):
            return
        if token.is_name and token.upper not in ("IF", "EXISTS", "ALL"):
            yield token.text


def ran_for(source: str, sql: str, ran: Sequence[Ran]) -> str | None:
    """Another source whose very statement ran here more often than this one's, which it is ahead of."""
    same = " ".join(sql.split())
    return _ahead(source, (each.source for each in ran if " ".join(each.sql.split()) == same))


def took_column(source: str, column: str, ran: Sequence[Ran], *, brand: Brand) -> str | None:
    """Another source that has taken the column of this name away more often than this one."""

    def takes(sql: str) -> bool:
        try:
            return column.lower() in (name.lower() for name in columns_taken(sql, brand=brand))
        except PlanError:
            return False

    return _ahead(source, (each.source for each in ran if takes(each.sql)))


def _ahead(source: str, of: Iterable[str]) -> str | None:
    counts = Counter(of)
    return next((other for other, count in counts.items() if other != source and count > counts[source]), None)
