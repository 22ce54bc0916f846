"""Statements in which names change hands: run twice they undo themselves, and the structure need not show it.

`RENAME TABLE a TO t, b TO a, t TO b` exchanges two tables that may look alike; `CHANGE a b INT, CHANGE b a INT AFTER b`
two columns; `DROP a, CHANGE b a INT, ADD b INT` gives one name what another one had.
"""

from __future__ import annotations

from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.plan.ddl.clauses import read_clauses
from pydbsync.plan.ddl.lexer import Brand, Edit, Span, Token, apply_edits
from pydbsync.plan.ddl.statement import NameRef, Statement, parse_statement
from pydbsync.plan.quoting import quote_table


def read_handing_on(sql: str, *, brand: Brand) -> Statement | None:
    """The statement, if names of tables or columns change hands in it; None for others, and for what cannot be read."""
    try:
        statement = parse_statement(sql, brand=brand)
        is_one = _exchanges_tables(statement) or _exchanges_columns(statement)
    except PlanError:  # words of an operator
        return None
    return statement if is_one else None


def _exchanges_tables(statement: Statement) -> bool:
    """Whether the same names are there before and behind it, and not all of them stand for the same table."""
    if statement.action != "rename-table":
        return False
    origin: dict[tuple[str | None, str | None], tuple[str | None, str | None]] = {}
    for item in statement.items:
        if item.before is None or item.after is None:
            return False
        before, after = ((ref.database, ref.table) for ref in (item.before, item.after))
        origin[after] = origin.pop(before, before)
    return set(origin) == set(origin.values()) and any(name != was for name, was in origin.items())


def _exchanges_columns(statement: Statement) -> bool:
    """Whether a column gets a name that another one had. Where the table itself gets another name, that tells."""
    if statement.action != "alter-table" or statement.items[0].before is not statement.items[0].after:
        return False
    clauses = read_clauses(statement)
    renamed = {c.replaces.lower(): c.name.lower() for c in clauses if c.replaces and c.name}
    renamed = {before: after for before, after in renamed.items() if before != after}
    dropped = {c.name.lower() for c in clauses if c.verb == "DROP COLUMN" and c.name}
    return bool(set(renamed.values()) & (set(renamed) | dropped))


def with_another_table(statement: Statement, before: TableName, after: TableName) -> str:
    """RENAME TABLE with one pair more."""
    end = statement.items[-1].span.end
    return apply_edits(statement.sql, [Edit(Span(end, end), f", {quote_table(before)} TO {quote_table(after)}")])


def with_comment(statement: Statement, comment: str) -> str:
    """ALTER TABLE that gives the table this comment as well, or in place of its own."""
    if own := _comments(statement):
        return apply_edits(statement.sql, [Edit(Span(token.start, token.end), f"'{comment}'") for token in own])
    start = statement.clauses[0][0].start
    return apply_edits(statement.sql, [Edit(Span(start, start), f"COMMENT = '{comment}', ")])


def own_comment(statement: Statement) -> str | None:
    """The comment that ALTER TABLE gives the table; None where it gives none."""
    own = _comments(statement)
    return own[-1].text if own else None


def _comments(statement: Statement) -> list[Token]:
    given = [text for clause in read_clauses(statement) for text in clause.values_of("COMMENT")]
    return [text for text in given if text.kind == "string"]


def subject_of(statement: Statement) -> NameRef:
    """The table of a statement on one."""
    return statement.items[0].subject
