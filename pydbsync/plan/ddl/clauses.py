"""The parts of CREATE TABLE and ALTER TABLE: columns, keys, options."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from pydbsync.plan.ddl.lexer import Span, Token
from pydbsync.plan.ddl.statement import Statement

ClauseKind: TypeAlias = Literal["column", "key", "check", "foreign-key", "other", "option"]


class Clause(NamedTuple):
    """One definition of CREATE TABLE, one change of ALTER TABLE, or one stretch of options."""

    kind: ClauseKind
    tokens: tuple[Token, ...]
    """All of it, the verb of ALTER TABLE (ADD, MODIFY, …) included; never empty."""
    verb: str = ""
    """ADD, MODIFY, CHANGE, DROP, …; empty in CREATE TABLE."""
    name: str | None = None
    """The column or key, where it has a name."""
    replaces: str | None = None
    """The column that MODIFY or CHANGE defines anew."""
    body: tuple[Token, ...] = ()
    """A column's type and attributes; what follows a key's name."""
    guard: tuple[Token, ...] = ()
    """MariaDB's IF EXISTS or IF NOT EXISTS inside ALTER TABLE."""

    @property
    def span(self) -> Span:
        return Span(self.tokens[0].start, self.tokens[-1].end)

    def values_of(self, *options: str) -> list[Token]:
        """What a stretch of options gives these, with or without an equals sign; each may stand there several times."""
        tokens = [token for token in self.tokens if not token.is_mark("=")]
        return [value for option, value in pairwise(tokens) if self.kind == "option" and option.upper in options]


def read_clauses(statement: Statement) -> tuple[Clause, ...]:
    """The clauses of a statement on a table, in the order of its text; none for statements without clauses."""
    if statement.action == "create-table":
        found = [_definition(clause, "", clause) for clause in statement.clauses]
        options = tuple(token for token in statement.tokens if token.start >= statement.options_start)
        if statement.clauses and options:
            found.append(Clause("option", options))
        return tuple(found)
    if statement.action == "alter-table":
        return tuple(part for clause in statement.clauses for part in _change(clause))
    return ()


def outer(tokens: tuple[Token, ...]) -> list[Token]:
    """The tokens outside brackets, the brackets themselves included: expressions and lists of columns are left out."""
    found: list[Token] = []
    depth = 0
    for token in tokens:
        if token.is_mark(")"):
            depth -= 1
        if depth == 0:
            found.append(token)
        if token.is_mark("("):
            depth += 1
    return found


def split_list(tokens: tuple[Token, ...]) -> list[tuple[Token, ...]]:
    """The members of the first list in brackets: `(a, b(5) DESC)` gives two."""
    members: list[tuple[Token, ...]] = []
    depth, begin = 0, 0
    for index, token in enumerate(tokens):
        if token.is_mark("("):
            depth += 1
            if depth == 1:
                begin = index + 1
        if depth == 1 and (token.is_mark(",") or token.is_mark(")")):
            members.append(tokens[begin:index])
            begin = index + 1
        if token.is_mark(")"):
            depth -= 1
            if depth == 0:
                return members
    return members


_KEY_WORDS = frozenset({"KEY", "INDEX"})
_CHANGED_COLUMN = {"MODIFY": 1, "CHANGE": 2}


def _change(clause: tuple[Token, ...]) -> list[Clause]:
    """One clause of ALTER TABLE; ADD (a INT, b INT) gives one for each column."""
    verb = clause[0].upper
    rest = clause[1:]
    if verb == "ADD":
        if rest and rest[0].upper == "COLUMN":
            rest = rest[1:]
        guard, rest = _guard(rest)
        if rest and rest[0].is_mark("("):
            members = split_list(rest)
            return [_guarded(_definition(member, verb, member), guard) for member in members if member]
        if rest and rest[0].upper in ("PARTITION", "SYSTEM", "PERIOD"):
            return [Clause("other", clause, verb, guard=guard or _guard(rest[1:])[0])]
        return [_guarded(_definition(rest, verb, clause), guard)] if rest else [Clause("other", clause, verb)]
    if verb in _CHANGED_COLUMN:
        if rest and rest[0].upper == "COLUMN":
            rest = rest[1:]
        guard, rest = _guard(rest)
        count = _CHANGED_COLUMN[verb]
        if len(rest) > count:
            names = [token.text for token in rest[:count]]
            return [Clause("column", clause, verb, names[-1], names[0], rest[count:], guard)]
    if verb == "DROP":
        head = rest[0].upper if rest else ""
        if head == "COLUMN" or head not in ("PRIMARY", "KEY", "INDEX", "FOREIGN", "CONSTRAINT", "CHECK", "PARTITION"):
            rest = rest[1:] if head == "COLUMN" else rest
            guard, rest = _guard(rest)
            if rest and rest[0].is_name:
                return [Clause("other", clause, "DROP COLUMN", rest[0].text, guard=guard)]
        guard, rest = _guard(rest[2:] if head in ("FOREIGN", "PRIMARY") else rest[1:])
        name = rest[0].text if rest and rest[0].is_name else None
        return [Clause("other", clause, f"DROP {head}", name, guard=guard)]
    if verb in ("RENAME", "ALTER") and rest:
        guard, behind = _guard(rest[1:] if rest[0].upper in ("COLUMN", "INDEX", "KEY") else rest)
        if verb == "RENAME" and len(behind) == 3 and rest[0].upper == "COLUMN":
            return [Clause("other", clause, "RENAME COLUMN", behind[2].text, behind[0].text, guard=guard)]
        if guard:
            return [Clause("other", clause, verb, guard=guard)]
    if verb in ("ALTER", "RENAME", "ORDER", "CONVERT", "FORCE", "ALGORITHM", "LOCK") or verb in _OTHER_VERBS:
        return [Clause("other", clause, verb)]
    return [Clause("option", clause)]


_OTHER_VERBS = frozenset({
    "ENABLE", "DISABLE", "DISCARD", "IMPORT", "WITH", "WITHOUT", "TRUNCATE", "COALESCE", "REORGANIZE", "EXCHANGE",
    "ANALYZE", "CHECK", "OPTIMIZE", "REBUILD", "REPAIR", "REMOVE", "UPGRADE", "PARTITION", "SECONDARY_LOAD",
    "SECONDARY_UNLOAD",
})  # fmt: skip


def _guarded(clause: Clause, guard: tuple[Token, ...]) -> Clause:
    return clause._replace(guard=guard) if guard else clause


def _guard(tokens: tuple[Token, ...]) -> tuple[tuple[Token, ...], tuple[Token, ...]]:
    words = [token.upper for token in tokens[:3]]
    count = 3 if words == ["IF", "NOT", "EXISTS"] else 2 if words[:2] == ["IF", "EXISTS"] else 0
    return tokens[:count], tokens[count:]


def _definition(tokens: tuple[Token, ...], verb: str, whole: tuple[Token, ...]) -> Clause:
    """A definition as it stands in CREATE TABLE and behind ADD."""
    rest = tokens
    name: str | None = None
    guard: tuple[Token, ...] = ()
    if rest[0].upper == "CONSTRAINT":
        guard, rest = _guard(rest[1:])
        if rest and rest[0].upper not in ("PRIMARY", "UNIQUE", "FOREIGN", "CHECK"):
            name, rest = rest[0].text, rest[1:]
    head = rest[0].upper if rest else ""
    if head == "CHECK":
        return Clause("check", whole, verb, name, body=rest, guard=guard)
    if head in ("PRIMARY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN") or head in _KEY_WORDS or begins_vector_key(rest):
        body = rest[1:]
        if head not in _KEY_WORDS and body and body[0].upper in _KEY_WORDS:
            body = body[1:]
        own_guard, body = _guard(body)
        if head == "FOREIGN":
            return Clause("foreign-key", whole, verb, name, body=body, guard=guard or own_guard)
        if body and body[0].is_name and body[0].upper != "USING":
            name, body = body[0].text, body[1:]
        return Clause("key", whole, verb, name, body=body, guard=guard or own_guard)
    if head == "PERIOD" and len(rest) > 1 and rest[1].upper == "FOR":
        return Clause("other", whole, verb)
    return Clause("column", whole, verb, rest[0].text, body=rest[1:])


def is_generated(words: Sequence[Token]) -> bool:
    """Whether `AS (…)` stands there: the column is computed from others. Those of a period, `AS ROW START`, are not."""
    return any(token.upper == "AS" and word.is_mark("(") for token, word in pairwise(words))


def begins_vector_key(tokens: Sequence[Token]) -> bool:
    """Whether `VECTOR [INDEX] [name] (column)` of MariaDB (11.7) stands there, and no column that is called vector."""
    if not tokens or tokens[0].upper != "VECTOR":
        return False
    if len(tokens) > 1 and tokens[1].upper in _KEY_WORDS:
        return True
    at = 2 if len(tokens) > 1 and tokens[1].is_name else 1  # `vector VARCHAR(10)` has a number there
    return len(tokens) > at + 1 and tokens[at].is_mark("(") and tokens[at + 1].is_name


def key_kind(clause: Clause) -> Literal["primary", "unique", "other"]:
    """What a clause of kind `key` makes of its columns."""
    for token in clause.tokens:
        if token.upper in ("PRIMARY", "UNIQUE"):
            return "primary" if token.upper == "PRIMARY" else "unique"
        if token.upper in _KEY_WORDS or token.upper in ("FULLTEXT", "SPATIAL", "VECTOR") or token.is_mark("("):
            break
    return "other"
