"""A mark by which it shows whether a statement ran that leaves no trace and would undo itself if it ran twice.

The server makes it in the same statement: RENAME TABLE renames a table of the state schema along, ALTER TABLE gives the
table a comment. Who has run it writes that down, takes the mark away, and ends the statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.schema_session import session_of
from pydbsync.apply.ddl.shown import show_create
from pydbsync.errors import PermanentError, PlanError
from pydbsync.model import TableName
from pydbsync.plan.ddl.altered_copy import on_copy
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.handed_on import own_comment, read_handing_on, subject_of, with_another_table, with_comment
from pydbsync.plan.ddl.lexer import unquote_string
from pydbsync.plan.ddl.statement import Statement
from pydbsync.plan.quoting import quote_table, quote_text

MARK: Final = "mark"
"""Its place among what was written down before the statement."""
_NO_SUCH = 1146
_COMMENT = re.compile(r"(?<=\n\) )(.*?) COMMENT='((?:[^'\\]|''|\\.)*)'", re.DOTALL)


class RunMark(msgspec.Struct, frozen=True):
    """How to run such a statement; kept with what is written down before it."""

    sql: str
    """The statement with its mark."""
    database: str
    table: str
    """What is marked: the table itself, or ours that is renamed along."""
    name: str = ""
    """What ours is renamed to; empty where the mark is a comment."""
    comment: str = ""
    """The mark."""
    former: str = ""
    """The comment that the table has otherwise."""

    def to_json(self) -> str:
        """To be kept."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | None) -> RunMark | None:
        """What `to_json` has given; None for None."""
        return None if text is None else msgspec.json.decode(text, type=cls)

    def has_run(self, connection: Connection) -> bool:
        """Whether the statement ran."""
        if self.name:
            return _show(connection, TableName(self.database, self.name)) is not None
        return f"COMMENT='{self.comment}'" in (_show(connection, TableName(self.database, self.table)) or "")

    def clear(self, connection: Connection, announce: Callable[[str], object]) -> None:
        """Take the mark away; `announce` is told what runs for that."""
        if self.name:
            connection.execute(f"DROP TABLE IF EXISTS {quote_table(TableName(self.database, self.name))}")
            connection.execute(f"DROP TABLE IF EXISTS {quote_table(TableName(self.database, self.table))}")
        elif self.has_run(connection):
            table = quote_table(TableName(self.database, self.table))
            sql = f"ALTER TABLE {table} COMMENT = {quote_text(self.former).decode()}"
            announce(sql)
            connection.execute(sql.encode("utf-8"))


def mark_of(connection: Connection, planned: PlannedSchemaChange, *, schema: str, about: str) -> RunMark | None:
    """The mark of a statement that needs one, with all that has to be there before it; None for all others. `about`
    tells the statement from others. Raises TransientError."""
    statement = read_handing_on(planned.sql, brand=connection.dialect.brand)
    if statement is None:
        return None
    try:
        return _mark_of(connection, planned, statement, schema=schema, about=about)
    except PermanentError:  # without the rights to make and drop tables there, as before there were marks
        return None


def _mark_of(
    connection: Connection, planned: PlannedSchemaChange, statement: Statement, *, schema: str, about: str
) -> RunMark | None:
    if statement.action == "rename-table":
        before, after = TableName(schema, f"runs_{about[:20]}"), TableName(schema, f"ran_{about[:20]}")
        connection.execute(f"DROP TABLE IF EXISTS {quote_table(after)}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {quote_table(before)} (ran INT PRIMARY KEY)")
        return RunMark(with_another_table(statement, before, after), schema, before.table, name=after.table)
    subject = subject_of(statement)
    table = TableName(subject.database or planned.default_database or "", subject.table or "")
    comment = f"pydbsync: {about[:20]}"
    marked = with_comment(statement, comment)
    looks = _look_alike(connection, planned, marked, table, TableName(schema, f"looks_{about[:20]}"), comment)
    if looks is None or own_comment(statement) not in (None, looks):  # it shows that it ran
        return None
    return RunMark(marked, *table, comment=comment, former=looks)


def _look_alike(
    connection: Connection,
    planned: PlannedSchemaChange,
    marked: str,
    table: TableName,
    copy: TableName,
    comment: str,
) -> str | None:
    """The comment of the table, if it looks the same before and behind the statement, tried on an empty copy with the
    mark; None if it does not, or the statement is refused."""
    drop = f"DROP TABLE IF EXISTS {quote_table(copy)}"
    connection.execute(drop)
    try:
        connection.execute(f"CREATE TABLE {quote_table(copy)} LIKE {quote_table(table)}")
        before, former = _without_comment(_show(connection, copy) or "")
        with session_of(connection, planned):
            connection.use(planned.default_database)
            connection.execute(on_copy(marked, copy, brand=connection.dialect.brand).encode("utf-8"))
        after, is_marked = _without_comment(_show(connection, copy) or "")
    except (PermanentError, PlanError):
        return None
    finally:
        if connection.is_open():
            connection.execute(drop)
    return former if before == after and is_marked == comment else None


def _show(connection: Connection, name: TableName) -> str | None:
    try:
        return show_create(connection, f"SHOW CREATE TABLE {quote_table(name)}")
    except PermanentError as exc:
        if exc.code == _NO_SUCH:
            return None
        raise


def _without_comment(shown: str) -> tuple[str, str]:
    found = _COMMENT.search(shown)
    if found is None:
        return shown, ""
    return f"{shown[: found.start()]}{found[1]}{shown[found.end() :]}", unquote_string(f"'{found[2]}'")
