"""What a schema change needs of its session's time zone: nothing, its distance from UTC at the moment, or all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from pydbsync.plan.ddl.clauses import Clause, outer
from pydbsync.plan.ddl.lexer import Token

ZoneUse: TypeAlias = Literal["", "moment", "rules"]

_OTHER_TEMPORAL = frozenset({"DATETIME", "DATE", "TIME", "YEAR"})
_NOW = frozenset({
    "CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP", "CURDATE", "CURTIME", "CURRENT_DATE", "CURRENT_TIME",
    "SYSDATE",
})  # fmt: skip
_BY_ZONE = frozenset({"FROM_UNIXTIME", "UNIX_TIMESTAMP"})
_BEHIND_DEFAULT = frozenset({
    "ON", "NOT", "NULL", "COMMENT", "AFTER", "FIRST", "UNIQUE", "PRIMARY", "KEY", "CHECK", "INVISIBLE", "VISIBLE",
})  # fmt: skip


def zone_use(
    tokens: Sequence[Token], clauses: Iterable[Clause], *, is_alter: bool,
    before: Mapping[str, str], after: Mapping[str, str],
) -> ZoneUse:  # fmt: skip
    """Of the statement's tokens and clauses; `before` and `after` are the kinds of the table's columns, by their names
    in lower case."""
    if any(
        token.upper in _BY_ZONE and tokens[index + 1].is_mark("(") and (is_alter or tokens[index + 2].kind == "string")
        for index, token in enumerate(tokens[:-2])
    ):
        return "rules"
    found: ZoneUse = ""
    for clause in clauses:
        use = _of_clause(clause, is_alter=is_alter, before=before, after=after)
        if use == "rules":
            return use
        found = use or found
    return found


def _of_clause(clause: Clause, *, is_alter: bool, before: Mapping[str, str], after: Mapping[str, str]) -> ZoneUse:
    if clause.verb == "ALTER":
        name = next((token.text.lower() for token in clause.tokens[1:] if token.upper != "COLUMN"), "")
        return "rules" if after.get(name) == "timestamp" and _takes_a_moment(_default(clause.tokens)) else ""
    if clause.kind != "column" or clause.name is None:
        return ""
    kind = next((token.upper for token in clause.body), "")
    default = _default(clause.body)
    was = before.get((clause.replaces or clause.name).lower(), "") if clause.replaces else ""
    if was and (was == "timestamp") != (kind == "TIMESTAMP"):
        return "rules"
    if kind == "TIMESTAMP" and _takes_a_moment(default):
        return "rules"
    if is_alter and any(token.is_name and after.get(token.text.lower()) == "timestamp" for token in _inner(clause)):
        return "rules"
    # In a new column the rows that are there get the local time.
    is_local = kind in _OTHER_TEMPORAL and not _NOW.isdisjoint(token.upper for token in default)
    return "moment" if is_alter and not clause.replaces and is_local else ""


def _default(tokens: Sequence[Token]) -> list[Token]:
    """What stands behind DEFAULT."""
    words = [token.upper for token in tokens]
    return list(tokens[words.index("DEFAULT") + 1 :]) if "DEFAULT" in words else []


def _takes_a_moment(default: Sequence[Token]) -> bool:
    """Whether a TIMESTAMP's default is another one than NULL, 0 and the bare clock."""
    is_clock = False
    for token in default:
        if token.is_mark("(") or token.is_mark(")") or token.upper in _NOW or (is_clock and token.text in "0123456"):
            is_clock = is_clock or token.upper in _NOW
            continue
        return token.upper not in _BEHIND_DEFAULT and token.text.strip("0-:. T") != ""
    return False


def _inner(clause: Clause) -> list[Token]:
    """What stands in the brackets of a column's expressions."""
    outside = {token.start for token in outer(clause.body)}
    return [token for token in clause.body if token.start not in outside]
