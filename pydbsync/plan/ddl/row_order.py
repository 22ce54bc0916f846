"""ALTER TABLE whose outcome depends on the order in which a server holds the rows, or on what it draws for each."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from pydbsync.plan.ddl.clauses import Clause, read_clauses
from pydbsync.plan.ddl.statement import Statement

_DRAWN = frozenset({"UUID", "UUID_SHORT", "UUID_V4", "UUID_V7", "SYS_GUID", "RAND", "RANDOM_BYTES"})
"""Functions of defaults that give each row a value of its own."""
_OF_SESSION = frozenset({
    "CONNECTION_ID", "CURRENT_ROLE", "CURRENT_USER", "DATABASE", "FOUND_ROWS", "LAST_INSERT_ID", "ROW_COUNT", "SCHEMA",
    "SESSION_USER", "SYSDATE", "SYSTEM_USER", "USER", "VERSION",
})  # fmt: skip
"""Functions of defaults that give all rows what the session, or the server, is at that moment. No message tells it."""
_WITHOUT_BRACKETS = frozenset({"CURRENT_ROLE", "CURRENT_USER"})
_MOMENTS = frozenset({"CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP", "CURDATE", "CURRENT_DATE", "CURTIME"})
"""Defaults that give all rows the moment of the statement."""

_TWICE = (
    "gets moments by the source's SYSTEM time zone, and which one of an hour that comes twice in autumn nobody tells"
)


class Unproven(NamedTuple):
    """What an ALTER TABLE gives rows that it may not have given them at the source."""

    column: str
    """Empty where rows are left out, rather than get a value."""
    why: str
    least_rows: int
    """With fewer rows there is nothing to tell apart."""


def unproven_of(
    statement: Statement, *, has_key: bool, is_merged: bool = False, is_zone_near: bool = False
) -> list[Unproven]:
    """What the text leaves to the server; a table with a key is read in its order, which is the same everywhere. In one
    that several sources feed, the statement of one gives the rows of all their values. `is_zone_near`: the zone of the
    source's system is set by a name that is like it."""
    found: list[Unproven] = []
    is_deduplicated = [token.upper for token in statement.tokens[:3]].count("IGNORE") > 0
    for clause in read_clauses(statement):
        words = [token.upper for token in clause.body if token.kind != "string"]
        if clause.kind == "column" and clause.name and clause.verb in ("ADD", "MODIFY", "CHANGE"):
            is_numbered = "AUTO_INCREMENT" in words or "SERIAL" in words
            if clause.verb == "ADD" and is_numbered and is_merged:
                found.append(Unproven(clause.name, "numbers the rows of all sources together", 2))
            elif is_numbered and not has_key:
                found.append(Unproven(clause.name, "numbers the rows in the order in which each server holds them", 2))
            if clause.replaces and is_zone_near and words[:1] == ["TIMESTAMP"]:
                found.append(Unproven(clause.name, _TWICE, 1))
            if clause.verb == "ADD" and is_merged and _is_of_a_moment(words):
                found.append(Unproven(clause.name, "gives the rows of all sources the moment of one's statement", 1))
            called = _called(clause)
            if clause.verb == "ADD" and (drawn := _DRAWN & called):
                found.append(Unproven(clause.name, f"gives each row a value of its own ({min(drawn)})", 1))
            if clause.verb == "ADD" and (asked := _OF_SESSION & called):
                found.append(Unproven(clause.name, f"gives the rows what the session is asked for ({min(asked)})", 1))
        elif clause.kind == "key" and clause.verb == "ADD" and is_deduplicated and not has_key:
            found.append(Unproven("", "leaves rows out by the order in which each server holds them", 2))
    return found


def _called(clause: Clause) -> set[str]:
    """The functions in it. UUID alone is a type."""
    return {
        token.upper for token, behind in pairwise((*clause.body, None))
        if token is not None and token.kind == "word"
        and (token.upper in _WITHOUT_BRACKETS or (behind is not None and behind.is_mark("(")))
    }  # fmt: skip


def _is_of_a_moment(words: list[str]) -> bool:
    """Whether the default is the time, not only what an UPDATE writes."""
    return any(word in _MOMENTS and before != "UPDATE" for before, word in pairwise(words))
