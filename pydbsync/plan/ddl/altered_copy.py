"""The changes of an online schema change as they are tried on single rows: what becomes of values, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pydbsync.model import (
    BINARY_KINDS,
    FLOAT_KINDS,
    GEOMETRY_KINDS,
    TEXT_KINDS,
    Column,
    RowChange,
    TableName,
    TableSchema,
)
from pydbsync.plan.ddl.clauses import Clause, read_clauses
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.lexer import Brand, Edit, Span, apply_edits, cut_members
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.row_shape import ColumnOverrides
from pydbsync.work import CopyRows

_DIGESTED_BYTES = 65535
_CONSTRAINTS = ("DROP FOREIGN", "DROP CHECK", "DROP CONSTRAINT")


class AlteredCopy(NamedTuple):
    """A copy whose rows are to be compared with what its changes make of the real table."""

    copy: CopyRows
    real: TableName
    """At the target."""
    changes: Sequence[PlannedSchemaChange]
    """What the swap would do to it."""
    overrides: ColumnOverrides
    sent: Callable[[TableSchema], Callable[[RowChange], Sequence[RowChange]]]
    """(shape of the copy) → what of a row of the copy goes there: a shard has only its own, a route makes other ones.
    Both raise PlanError."""
    has_to_be: bool = True
    """Whether a copy whose rows cannot be compared passes for none."""


def on_copy(sql: str, copy: TableName, *, brand: Brand) -> str:
    """An ALTER TABLE for another table, without what it says of constraints, which no value depends on and which LIKE
    does not copy by their names; empty if nothing else is left. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    edits = [Edit(statement.items[0].subject.span, quote_table(copy))]
    clauses = read_clauses(statement)
    spans = [Span(tokens[0].start, tokens[-1].end) for tokens in statement.clauses]
    keep = [not any(_is_constraint(clause) for clause in clauses if _is_in(clause, span)) for span in spans]
    if statement.action == "alter-table" and spans and not any(keep):
        return ""
    return apply_edits(statement.sql, [*edits, *cut_members(spans, keep)])


def _is_in(clause: Clause, span: Span) -> bool:
    return span.start <= clause.span.start and clause.span.end <= span.end


def _is_constraint(clause: Clause) -> bool:
    words = [token.upper for token in clause.tokens[:2]]
    return (
        clause.kind in ("foreign-key", "check")
        or clause.verb in _CONSTRAINTS
        or (words[0] == "ALTER" and words[1:] in (["CHECK"], ["CONSTRAINT"]))
    )


def renamed_columns(statements: Iterable[str], *, brand: Brand) -> dict[str, str]:
    """Column before → its name behind the statements, in lower case, for those that get another one. Raises
    PlanError."""
    found: dict[str, str] = {}
    for sql in statements:
        clauses = read_clauses(parse_statement(sql, brand=brand))
        changed = {c.replaces.lower(): c.name.lower() for c in clauses if c.replaces and c.name}
        for before, name in list(found.items()):
            found[before] = changed.pop(name, name)
        found.update(changed)
    return {before: name for before, name in found.items() if before != name}


class SharedKey(NamedTuple):
    """A key of the real table whose columns the copy has as well."""

    real: tuple[str, ...]
    copy: tuple[str, ...]


def shared_key(real: TableSchema, copy: TableSchema, renamed: dict[str, str]) -> SharedKey | None:
    """By which the rows of both are put together; None if there is none."""
    names = {column.name.lower(): column.name for column in copy.columns}
    for key in (real.row_key, *real.unique_keys):
        there = [names.get(renamed.get(name.lower(), name.lower())) for name in key]
        if key and None not in there:
            return SharedKey(key, tuple(name for name in there if name is not None))
    return None


def written_columns(table: TableSchema) -> list[str]:
    """The columns that have values of their own, quoted."""
    return [quote_name(column.name) for column in table.columns if not column.generated]


def same_key(real: TableSchema, copy: TableSchema, key: SharedKey) -> str:
    """The condition for row `r` of the real table and row `s` of the copy, by which the real table's key can be
    used."""
    wanted = {column.name: column for column in real.columns}
    there = {column.name: column for column in copy.columns}
    parts = []
    for before, after in zip(key.real, key.copy, strict=True):
        value, column = f"s.{quote_name(after)}", wanted[before]
        if column.kind in TEXT_KINDS and column.charset and column.collation != there[after].collation:
            value = f"CONVERT({value} USING {column.charset}) COLLATE {column.collation}"
        parts.append(f"r.{quote_name(before)} <=> {value}")
    return " AND ".join(parts)


def same_row(columns: Sequence[Column], key: Sequence[str]) -> tuple[str, str]:
    """Of two tables of one shape, rows `s` and `m`: the condition for one key, and for one row to the last byte."""
    by_key = " AND ".join(f"s.{quote_name(name)} = m.{quote_name(name)}" for name in key)
    return by_key, " AND ".join(_same_value(column) for column in columns if not column.generated) or "TRUE"


def _same_value(column: Column) -> str:
    name = quote_name(column.name)

    def same(form: str) -> str:
        return f"{form.format(f's.{name}')} <=> {form.format(f'm.{name}')}"

    if column.kind in ("enum", "set"):
        return same("CAST({} AS UNSIGNED)")
    if column.native_json:  # 1 and 1.0 are equal, and two documents
        return f"{same('{}')} AND {same('CAST(CAST({} AS CHAR) AS BINARY)')}"
    if column.kind in FLOAT_KINDS:
        return f"{same('{}')} AND {same('CAST({} AS CHAR)')}"
    if column.kind in TEXT_KINDS | BINARY_KINDS | GEOMETRY_KINDS | {"json", "vector"}:
        # CAST gives NULL for what is longer than max_allowed_packet.
        is_long = column.size is None or column.size > _DIGESTED_BYTES
        return same("SHA2({}, 256)" if is_long and column.kind != "vector" else "CAST({} AS BINARY)")
    return same("{}")
