"""Statements on a table that several sources feed: what one of them would take from the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pydbsync.errors import PlanError
from pydbsync.model import BINARY_KINDS, FLOAT_KINDS, INTEGER_KINDS, TEMPORAL_KINDS, TEXT_KINDS, Column
from pydbsync.plan.ddl.clauses import read_clauses
from pydbsync.plan.ddl.lexer import Brand, Span, apply_edits, cut_members
from pydbsync.plan.ddl.statement import Statement, parse_statement
from pydbsync.plan.quoting import quote_name


class RanStatement(NamedTuple):
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

    A rename takes them all: what another source still writes to the old name would not find its rows there. So does
    BLACKHOLE, and ALTER IGNORE those that a new key takes for the same. Raises PlanError.
    """
    statement = parse_statement(sql, brand=brand)
    if statement.action in ("drop-table", "truncate-table") or statement.or_replace or _renames(statement):
        return ()
    if statement.action != "alter-table" or not statement.clauses:
        return None
    first = statement.clauses[0][0].start
    engines = [engine.text.upper() for clause in read_clauses(statement) for engine in clause.values_of("ENGINE")]
    if "BLACKHOLE" in engines or any(token.upper == "IGNORE" for token in statement.tokens if token.start < first):
        return ()
    words = [token.upper for token in statement.clauses[0][:2]]
    if words[1:] != ["PARTITION"] or words[0] not in ("DROP", "TRUNCATE", "EXCHANGE", "CONVERT"):
        return None
    return tuple(_partitions(statement))


def reorganized(sql: str, *, brand: Brand) -> tuple[str, ...]:
    """The partitions of a list whose rows are put into others, or into none: what has no place in those is gone, and no
    server says so. Empty for other statements. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    if statement.action != "alter-table" or not statement.clauses:
        return ()
    words = [token.upper for token in statement.tokens if token.start >= statement.clauses[0][0].start]
    if words[:2] != ["REORGANIZE", "PARTITION"] or "IN" not in words:
        return ()
    return tuple(_partitions(statement))


def _renames(statement: Statement) -> bool:
    return any(None not in (item.before, item.after) and item.before is not item.after for item in statement.items)


def _partitions(statement: Statement) -> Iterator[str]:
    rest = [token for token in statement.tokens if token.start > statement.clauses[0][1].start]
    for token in rest:
        if token.upper in ("WITH", "TO", "INTO"):
            return
        if token.is_name and token.upper not in ("IF", "EXISTS", "ALL"):
            yield token.text


def retyped(sql: str, *, brand: Brand) -> list[tuple[str, str, str]]:
    """Of the columns that the statement defines anew: their names before and after it, and that change alone as a
    statement. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    spans = [Span(tokens[0].start, tokens[-1].end) for tokens in statement.clauses]
    found = []
    for clause in read_clauses(statement):
        if clause.replaces and clause.name and clause.kind == "column":
            keep = [span.start <= clause.span.start and clause.span.end <= span.end for span in spans]
            found.append((clause.replaces, clause.name, apply_edits(statement.sql, cut_members(spans, keep))))
    return found


_SCALE = re.compile(r"\(\d+,(\d+)\)")
_LENGTH = re.compile(r"\((\d+)\)")
_ANY_VALUE = "{} IS NOT NULL"
_NUMBERS = INTEGER_KINDS | FLOAT_KINDS | {"decimal"}


def cut_values(before: Column, after: Column) -> str:
    """The condition for values that a change of a column's type changes, where strict mode says nothing of it; empty
    where there are none. Of what it would take long to tell, each value counts."""
    column = quote_name(before.name)
    return _cut(before, after).format(column)


def _cut(before: Column, after: Column) -> str:
    if before.column_type == after.column_type and before.collation == after.collation:
        return ""
    if before.kind in _NUMBERS and after.kind in _NUMBERS:
        return _cut_number(before, after)
    if before.kind in TEMPORAL_KINDS and after.kind in TEMPORAL_KINDS:
        return _cut_moment(before, after)
    if before.kind in TEXT_KINDS and after.kind in TEXT_KINDS:
        # Spaces at the end are cut in silence; what else does not fit is refused.
        length = _LENGTH.search(after.column_type)
        measure, most = ("CHAR_LENGTH", length[1]) if length else ("LENGTH", after.size)
        too_long = f"{measure}({{0}}) > {most} AND {measure}(TRIM(TRAILING ' ' FROM {{0}})) <= {most}"
        is_stripped = before.kind != "char" and after.kind == "char"
        return f"({{0}} LIKE '% ' OR {too_long})" if is_stripped else too_long
    if before.kind in BINARY_KINDS and after.kind in BINARY_KINDS:
        return f"LENGTH({{}}) <> {after.size}" if after.kind == "binary" else ""
    is_written = before.kind in _NUMBERS - FLOAT_KINDS or before.kind in TEMPORAL_KINDS | {
        "enum",
        "set",
        "json",
        "year",
    }
    if is_written and after.kind in TEXT_KINDS:  # as text it is the same
        return ""
    if before.kind == after.kind and before.kind not in FLOAT_KINDS:  # ENUM, SET, BIT, JSON: strict mode sees to them
        return ""
    return _ANY_VALUE


def _cut_number(before: Column, after: Column) -> str:
    if after.kind in INTEGER_KINDS:
        return "" if before.kind in INTEGER_KINDS else "{0} <> ROUND({0})"
    if after.kind == "decimal":
        if before.kind in INTEGER_KINDS or (before.kind == "decimal" and _scale(before) <= _scale(after)):
            return ""
        return f"{{0}} <> ROUND({{0}}, {_scale(after)})"
    if after.kind == "float":
        is_exact = before.kind in ("tinyint", "smallint", "mediumint", "float") and not _SCALE.search(after.column_type)
        return "" if is_exact else _ANY_VALUE
    if before.kind in ("decimal", "bigint"):
        return f"CAST({{0}} + 0e0 AS DECIMAL(65,{_scale(before)})) <> {{0}}"
    return _ANY_VALUE if _SCALE.search(after.column_type) else ""


def _scale(column: Column) -> int:
    found = _SCALE.search(column.column_type)
    return int(found[1]) if found else 0


def _cut_moment(before: Column, after: Column) -> str:
    if "time" in (before.kind, after.kind) and before.kind != after.kind:
        return _ANY_VALUE
    if after.kind == "date":
        return "" if before.kind == "date" else "TIME({}) <> '00:00:00'"
    return f"MICROSECOND({{}}) % {10 ** (6 - after.digits)} <> 0" if after.digits < before.digits else ""


def ran_for(source: str, sql: str, ran: Sequence[RanStatement]) -> str | None:
    """Another source whose very statement ran here more often than this one's, which it is ahead of."""
    same = " ".join(sql.split())
    return _ahead(source, (each.source for each in ran if " ".join(each.sql.split()) == same))


def took_column(source: str, column: str, ran: Sequence[RanStatement], *, brand: Brand) -> str | None:
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
