"""What SHOW CREATE TABLE tells of a table and the catalogue does not, or not exactly.

MySQL's catalogue has strings in expressions with their quotes escaped, defaults of TIMESTAMP columns in the zone of the
session that made the table, and bytes only up to the first zero; MariaDB's has `?` for a byte that is no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pydbsync.apply.catalog import JSON_CHECK
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.shown import show_create
from pydbsync.errors import OperationError, PlanError
from pydbsync.model import (
    BYTES_KINDS,
    FLOAT_KINDS,
    INTEGER_KINDS,
    Column,
    TableSchema,
)
from pydbsync.plan.ddl.clauses import Clause, outer, read_clauses, split_list
from pydbsync.plan.ddl.lexer import Token, nesting
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.expressions import SpelledExpression, expression_of, number_of
from pydbsync.plan.quoting import quote_table

_NUMBERS = FLOAT_KINDS | INTEGER_KINDS | {"decimal", "year", "bit"}
_BEHIND_DEFAULT = frozenset({
    "AUTO_INCREMENT", "CHECK", "COLUMN_FORMAT", "COMMENT", "COMPRESSED", "ENGINE_ATTRIBUTE", "GENERATED", "INVISIBLE",
    "ON", "REF_SYSTEM_ID", "SECONDARY_ENGINE_ATTRIBUTE", "SRID", "STORAGE", "UNIQUE", "VISIBLE", "WITH", "WITHOUT",
})  # fmt: skip
NO_DEFAULT = SpelledExpression("none")
_NULL_DEFAULT = SpelledExpression("NULL")


class Shown(msgspec.Struct, frozen=True):
    """Expressions, each in its one spelling. Names of columns are in lower case."""

    defaults: dict[str, SpelledExpression]
    generated: dict[str, SpelledExpression]
    checks: dict[str, SpelledExpression]
    """Without those that make JSON of MariaDB's text. The text of one that is not enforced says so."""
    key_parts: dict[str, list[SpelledExpression | None]]
    """By the key's name: what stands there instead of a column."""
    parsers: dict[str, str]
    """Of FULLTEXT keys."""


def read_shown(connection: Connection, schema: TableSchema) -> Shown:
    """Raises OperationError where the server's text is not understood, PermanentError, TransientError."""
    sql = show_create(connection, f"SHOW CREATE TABLE {quote_table(schema.name)}")
    try:
        clauses = read_clauses(parse_statement(sql))
    except PlanError as exc:
        raise OperationError(f"its definition is not understood ({exc}); --data-only compares the rows alone") from exc
    found = Shown({}, {}, {}, {}, {})
    columns = {column.name.lower(): column for column in schema.columns}
    for clause in clauses:
        if clause.kind == "column" and clause.name:
            _take_column(clause, columns.get(clause.name.lower()), found)
        elif clause.kind == "check":
            _take_check(clause.name or "", clause.body, found, columns)
        elif clause.kind == "key":
            _take_key(clause, found)
    return found


def _take_column(clause: Clause, column: Column | None, found: Shown) -> None:
    name = str(clause.name).lower()
    words = outer(clause.body)
    upper = [word.upper for word in words]
    if "AS" in upper:
        found.generated[name] = expression_of(_inside(clause.body, words[upper.index("AS")]))
    elif column is not None:
        begin = words[upper.index("DEFAULT")] if "DEFAULT" in upper else None
        tokens = _behind_default(clause.body, begin) if begin else []
        found.defaults[name] = _default(column, tokens)
    if "CHECK" in upper:
        # A column's own CHECK has the column's name, which a constraint of the table may have too.
        body = tuple(clause.body[clause.body.index(words[upper.index("CHECK")]) :])
        _take_check(f"{clause.name} (of the column)", body, found, {name: column} if column else {})


def _behind_default(body: Sequence[Token], begin: Token) -> list[Token]:
    """The tokens of the default, which ends at the next attribute."""
    found: list[Token] = []
    depth = 0
    for token in body[body.index(begin) + 1 :]:
        if depth == 0 and token.upper in _BEHIND_DEFAULT:
            break
        depth += nesting(token)
        found.append(token)
    return found


def _default(column: Column, tokens: Sequence[Token]) -> SpelledExpression:
    """MariaDB prints a number bare, MySQL as a string; bytes are printed as text or in hexadecimal."""
    if not tokens:
        # A default that was dropped (ALTER COLUMN … DROP DEFAULT) is what no CREATE TABLE can say of such a column.
        return _NULL_DEFAULT if column.nullable else NO_DEFAULT
    first = tokens[0]
    if len(tokens) == 1 and first.upper == "NULL":
        return _NULL_DEFAULT
    if column.kind in BYTES_KINDS and len(tokens) == 1 and first.kind == "string":
        digits = first.text.encode("utf-8", "surrogateescape").hex().upper()
        return _of_bytes(column, digits)
    found = expression_of(tokens)
    if column.kind in BYTES_KINDS and found.text.startswith("0x"):
        return _of_bytes(column, found.text[2:])
    return SpelledExpression(number_of(found.text)) if column.kind in _NUMBERS and not found.functions else found


def _of_bytes(column: Column, digits: str) -> SpelledExpression:
    """A BINARY column is filled up with zeros, which only MySQL prints."""
    if column.kind == "binary":
        while digits.endswith("00"):
            digits = digits[:-2]
    return SpelledExpression(f"0x{digits}")


def _take_check(name: str, body: Sequence[Token], found: Shown, columns: Mapping[str, Column | None]) -> None:
    inside = _inside(body, body[0])
    expression = expression_of(inside)
    match = JSON_CHECK.fullmatch(expression.text)
    column = columns.get(match[1].replace("``", "`").lower()) if match else None
    if column is not None and column.kind == "json":
        return
    behind = [token.upper for token in outer(tuple(body))]
    is_enforced = "NOT" not in behind or "ENFORCED" not in behind
    text = expression.text if is_enforced else f"{expression.text} not enforced"
    found.checks[name] = SpelledExpression(text, expression.functions)


def _take_key(clause: Clause, found: Shown) -> None:
    name = clause.name or "PRIMARY"
    parts: list[SpelledExpression | None] = []
    for part in split_list(clause.body):
        is_expression = bool(part) and part[0].is_mark("(")
        parts.append(expression_of(_inside(part, None)) if is_expression else None)
    found.key_parts[name] = parts
    upper = [token.upper for token in clause.body]
    if "PARSER" in upper[:-1]:
        found.parsers[name] = clause.body[upper.index("PARSER") + 1].text


def _inside(tokens: Sequence[Token], behind: Token | None) -> list[Token]:
    """What stands in the first brackets, behind a token if one is named."""
    found: list[Token] = []
    depth = 0
    for token in tokens[tokens.index(behind) + 1 if behind is not None else 0 :]:
        if depth == 1 and token.is_mark(")"):
            return found
        if depth:
            found.append(token)
        depth += nesting(token)
    return found
