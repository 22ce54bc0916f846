"""In which database each name of a statement stands, by its text or by the messages that announce it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from pydbsync.errors import PlanError
from pydbsync.model import Column, SchemaChange
from pydbsync.plan.ddl.definition import read_description
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.plan.ddl.statement import Item, NameRef, Statement

TablesNamed: TypeAlias = Callable[[str], Iterable[tuple[str, Sequence[Column]]]]
"""Name of a table → (source database, columns in order) of every known table that is called so."""


class StatementNames:
    """In which source database each name of the statement stands; the messages tell what the text leaves open."""

    def __init__(
        self,
        statement: Statement,
        messages: Sequence[SchemaChange],
        tables_named: TablesNamed | None,
        *,
        are_all: bool = False,
    ) -> None:
        """`are_all`: there are no further messages of the statement. Raises PlanError for a name that stays open."""
        self._described = [
            (message, read_description(message.old), read_description(message.def_)) for message in messages
        ]
        self._known = {message.database for message in messages}
        self._known_tables = {message.table for message in messages if message.table}
        for _, old, new in self._described:
            for description in (old, new):
                if description:
                    self._known.add(description.database)
                    self._known_tables.add(description.table)
        self._subject = statement.items[0].subject
        self.default = self._default_database(statement)
        if self.default is None:
            open_names = [ref for ref in statement.names if ref.database is None and ref.role != "references"]
            # canal sends one message, whatever tables the statement names: what it does not tell is open, not left out.
            announced = all(message.kind == "table-drop" or old or new for message, old, new in self._described)
            is_told = are_all and announced and any(not self.is_open(item) for item in statement.items)
            if open_names and not (is_told and statement.action in ("rename-table", "drop-table")):
                self.default = self._look_up(statement, open_names, tables_named)

    def is_open(self, item: Item) -> bool:
        """Whether no message tells where the item's tables stand: Maxwell did not announce it."""
        refs = [ref for ref in (item.before, item.after) if ref is not None]
        return self.default is None and any(ref.database is None for ref in refs)

    def database(self, ref: NameRef) -> str:
        if ref.database is not None:
            return spelled(ref.database, self._known)
        if ref.role == "references" and self._subject.database is not None:
            # An unqualified parent is looked up in the child's database, not in the default one.
            return self.database(self._subject)
        return self.default or ""

    def table(self, ref: NameRef) -> str:
        return spelled(ref.table or "", self._known_tables)

    def _default_database(self, statement: Statement) -> str | None:
        """The session's default database, where a message tells the full name of a table that the text does not."""
        if all(ref.database is None for ref in statement.names):
            return self._described[0][0].database
        for message, old, new in self._described:
            before = (message.database, message.table)
            after = (new.database, new.table) if new else before
            items = [item for item in statement.items if _is_item(item, before, after)]
            if not (old or new or items):
                # canal describes nothing, and names the table as it is called afterwards
                renamed = [item.after for item in statement.items if item.after and item.after is not item.before]
                if any(ref.database is None and _same(ref.table, message.table) for ref in renamed):
                    return message.database
            # DROP TABLE `t`, `d2`.`t`: the message for d2.t is about the qualified name and says nothing about `t`.
            qualified = [item for item in items if item.subject.database is not None]
            for item in qualified or items:
                if item.before is not None and item.before.database is None:
                    return before[0]
                if item.after is not None and item.after.database is None:
                    return after[0]
        return None

    def _look_up(self, statement: Statement, open_names: list[NameRef], tables_named: TablesNamed | None) -> str | None:
        like = next((ref for ref in open_names if ref.role == "like"), None)
        described = next((new for _, _, new in self._described if new), None)
        if like is not None and described is not None and tables_named is not None:
            wanted = [column.name for column in described.columns]
            found = {
                database
                for database, columns in tables_named(like.table or "")
                if [column.name for column in columns] == wanted
            }
            if len(found) == 1:
                return found.pop()
        names = ", ".join(dict.fromkeys(ref.table or "" for ref in open_names))
        raise PlanError(
            f"the statement does not tell in which database {names} stands, and Maxwell does not publish the session's"
            f" default database; run it on the target by hand, with full names: {shorten(statement.sql)}"
        )


def _is_item(item: Item, before: tuple[str, str | None], after: tuple[str, str | None]) -> bool:
    """Whether a message about a table with these full names before and after is about this item."""
    pairs = [(item.before, before)] if item.before else []
    pairs += [(item.after, after)] if item.after and item.after is not item.before else []
    return all(
        _same(ref.table, table) and (ref.database is None or _same(ref.database, database))
        for ref, (database, table) in pairs
    )


def _same(written: str | None, known: str | None) -> bool:
    """With lower_case_table_names the text may have capitals where the messages have none."""
    return (written or "").casefold() == (known or "").casefold()


def spelled(written: str, known: set[str]) -> str:
    """The name as the messages spell it, where only capitals differ."""
    if written in known:
        return written
    return next((name for name in sorted(known) if _same(name, written)), written)
