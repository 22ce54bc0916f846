"""Keys that ALTER TABLE adds without a name: which of them a table that several sources feed has already.

Two of them on the same columns are two keys, with names that the server thinks of, so nothing refuses the second one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from pydbsync.plan.ddl.clauses import Clause, key_kind, read_clauses, split_list
from pydbsync.plan.ddl.lexer import Brand, Span, Token, apply_edits, cut_members
from pydbsync.plan.ddl.statement import Statement, parse_statement

KeyKind: TypeAlias = Literal["unique", "fulltext", "spatial", "vector", "plain"]

BY_COLUMNS: Final[Mapping[str, KeyKind]] = {"FULLTEXT": "fulltext", "SPATIAL": "spatial", "VECTOR": "vector"}
"""Keys of whole columns, whatever length stands beside one."""


class KeyPart(NamedTuple):
    """A column of a key."""

    column: str
    """In lower case."""
    prefix: int | None = None
    """How many characters or bytes of it; None for all."""
    descending: bool = False


class KeyShape(NamedTuple):
    """What a key is, but for its name."""

    kind: KeyKind
    parts: tuple[KeyPart, ...]


def without_keys_there(
    sql: str, *, brand: Brand, there: Mapping[str, KeyShape], lengths: Mapping[str, int]
) -> str | None:
    """The ALTER TABLE without the unnamed keys that are in `there` (name → shape); None where nothing is left of it.

    `lengths` are those of the columns, in lower case: a prefix of a whole column is none. A key that the statement
    itself takes away or renames, by its name or with a column, does not count. Raises PlanError.
    """
    statement = parse_statement(sql, brand=brand)
    if statement.action != "alter-table" or statement.version_comments:
        return sql
    moved = _names_that_move(statement)
    stay = [
        shape for name, shape in there.items() if not moved & {name.lower(), *(part.column for part in shape.parts)}
    ]
    whole = {clause.tokens: clause for clause in read_clauses(statement)}
    keep = [not _is_there(whole.get(tokens), stay, lengths) for tokens in statement.clauses]
    if all(keep):
        return sql
    if not any(keep):
        return None
    spans = [Span(tokens[0].start, tokens[-1].end) for tokens in statement.clauses]
    return apply_edits(sql, cut_members(spans, keep))


def adds_unnamed_keys(sql: str, *, brand: Brand) -> bool:
    """Whether a key without a name is among what the statement adds. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    return any(_is_unnamed(clause) for clause in read_clauses(statement))


def _is_unnamed(clause: Clause) -> bool:
    return clause.kind == "key" and clause.verb == "ADD" and clause.name is None and key_kind(clause) != "primary"


def _is_there(clause: Clause | None, stay: Collection[KeyShape], lengths: Mapping[str, int]) -> bool:
    if clause is None or not _is_unnamed(clause):
        return False
    shape = _shape(clause, lengths)
    return shape is not None and shape in stay


def _shape(clause: Clause, lengths: Mapping[str, int]) -> KeyShape | None:
    """What the clause makes; None for keys on expressions."""
    parts = []
    for tokens in split_list(clause.body):
        part = _part(tokens, lengths)
        if part is None:
            return None
        parts.append(part)
    words = {token.upper for token in clause.tokens[: len(clause.tokens) - len(clause.body)]}
    kind: KeyKind = "unique" if key_kind(clause) == "unique" else "plain"
    if by_columns := next((word for word in BY_COLUMNS if word in words), ""):
        kind = BY_COLUMNS[by_columns]
        parts = [part._replace(prefix=None) for part in parts]
    return KeyShape(kind, tuple(parts)) if parts else None


def _part(tokens: Sequence[Token], lengths: Mapping[str, int]) -> KeyPart | None:
    """`a`, `a(10)`, `a DESC`; None for everything else."""
    if not tokens or not tokens[0].is_name:
        return None
    column, rest = tokens[0].text.lower(), tokens[1:]
    prefix = None
    if rest and rest[0].is_mark("("):
        if len(rest) < 3 or not rest[1].text.isdigit() or not rest[2].is_mark(")"):
            return None
        prefix, rest = int(rest[1].text), rest[3:]
        if column in lengths and prefix >= lengths[column]:
            prefix = None
    order = [token.upper for token in rest]
    return KeyPart(column, prefix, order == ["DESC"]) if order in ([], ["ASC"], ["DESC"]) else None


def _names_that_move(statement: Statement) -> set[str]:
    """All names in clauses that drop or rename something."""
    moving = [tokens for tokens in statement.clauses if tokens and tokens[0].upper in ("DROP", "RENAME", "CHANGE")]
    return {token.text.lower() for tokens in moving for token in tokens if token.is_name}
