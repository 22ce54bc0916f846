"""DDL about temporary tables, which the binlog has of sessions without binlog_format=ROW.

A connection's temporary table stands in front of a table of the same name, and the binlog writes both by that name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.plan.ddl.lexer import Brand, Token
from pydbsync.plan.ddl.recognise import calls_nothing
from pydbsync.plan.ddl.syntax import NameRef, Statement


class TemporaryTable(NamedTuple):
    """Seen by one connection alone."""

    thread_id: int
    name: TableName


TemporaryChanges = tuple[tuple[TemporaryTable, bool], ...]
"""Whether each exists now."""


def of_temporary(
    statement: Statement, known: Collection[TemporaryTable], *, brand: Brand, is_of_thread: bool,
    exists: Callable[[TableName], bool], own: Callable[[NameRef], TemporaryTable],
) -> TemporaryChanges | None:  # fmt: skip
    """What a statement about temporary tables changes; None for one about others. `own` is the one that a name would
    stand for. Raises PlanError where it cannot be told.

    DROP says TEMPORARY in the binlog where it is of such tables. RENAME, on MariaDB, is of whatever the connection sees
    under that name. All others have the flag `is_of_thread`, as has what is about a table with a CONNECTION_ID() in it.
    """
    action = statement.action
    if statement.temporary:
        if action == "create-table" and not calls_nothing(_query(statement)):
            raise PlanError("it calls functions, which may have changed rows")
        return tuple((own(item.subject), item.after is not None) for item in statement.items)
    if action == "create-table":
        if any(own(name) in known for name in statement.names if name.role == "like"):
            raise PlanError("it makes a table like a temporary one, whose columns nothing tells")
    elif action == "rename-table" and brand == "mariadb":
        return _renamed(statement, known, own)
    elif action in ("alter-table", "truncate-table", "create-index", "drop-index") and is_of_thread:
        table = own(statement.items[0].subject)
        if table in known or not exists(table.name):
            return _renamed(statement, known, own) or ()
        raise PlanError(
            f"it is about {table.name}, with a CONNECTION_ID() in it, or about a temporary table of that name, made"
            " before capture began: which, cannot be told"
        )
    return None


def _renamed(
    statement: Statement, known: Collection[TemporaryTable], own: Callable[[NameRef], TemporaryTable]
) -> TemporaryChanges | None:
    changes: dict[TemporaryTable, bool] = {}
    for item in statement.items:
        before, after = own(item.subject), own(item.after or item.subject)
        if before != after and changes.get(before, before in known):
            changes |= {before: False, after: True}
    if not changes:
        return None
    if any(own(item.subject) not in changes for item in statement.items):
        raise PlanError("it renames temporary tables and others")
    return tuple(changes.items())


def _query(statement: Statement) -> Sequence[Token]:
    """What CREATE TABLE … SELECT selects."""
    words = [token.upper for token in statement.tokens]
    return statement.tokens[words.index("SELECT") :] if "SELECT" in words else ()
