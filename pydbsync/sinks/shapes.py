"""The tables that go to a sink by settings with names and globs: their rows as texts, and what schema changes do to
them there."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeAlias, TypeVar

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.sinks.templates import KeyTemplate, is_glob
from pydbsync.sinks.values import ColumnText, Read, reader_for
from pydbsync.sinks.writer import SinkSchemaChange

RawImage: TypeAlias = Mapping[str, msgspec.Raw]
"""A row: the JSON token of each column."""


class TableRules(Protocol):
    """What a setting of `tables` says, read once."""

    @property
    def glob(self) -> str:
        """The tables that it is for."""


class RowTexts:
    """The columns of one table's rows as texts, by the types of the source's table."""

    def __init__(self, name: TableName, schema: TableSchema | None) -> None:
        """`schema` is the source's table as it is now; None where there is none any more."""
        self.name = name
        self.columns: Mapping[str, Column] = {each.name: each for each in schema.columns} if schema else {}
        self._lacking = schema.binlog_lacks if schema else frozenset()
        self._read: dict[str, Read] = {}

    def text(self, column: str, image: RawImage) -> ColumnText:
        """A column's value. Raises PlanError."""
        read = self._read.get(column)
        if read is None:
            read = self._read[column] = reader_for(self.columns.get(column))
        try:
            return read(bytes(image[column]))
        except (ValueError, msgspec.MsgspecError) as exc:
            raise PlanError(f"the value of column {column!r} cannot be read: {exc}") from exc

    def all_columns(self, names: Iterable[str]) -> Iterable[str]:
        """Those that are written of a row where nobody has chosen: not what a later UPDATE of it would not bring."""
        return names if not self._lacking else [name for name in names if name not in self._lacking]

    def filled(self, template: KeyTemplate, image: RawImage) -> str:
        """The template with the values of a row. Raises PlanError."""
        values: dict[str, str | None] = {}
        for column in template.columns:
            value = self.text(column, image)
            values[column] = value.hex() if isinstance(value, bytes) else value
        return template.key(self.name, values)


def need(columns: Iterable[str], image: RawImage, by: str) -> None:
    """Raises PlanError for a row that lacks one of these; `by` is what needs them."""
    for name in columns:
        if name not in image:
            raise PlanError(f"the row has no column {name!r}, which {by}")


RulesT = TypeVar("RulesT", bound=TableRules)
ShapeT = TypeVar("ShapeT")


class TableShapes(Generic[RulesT, ShapeT]):
    """The shapes of all tables; each is made when its first row comes, by the source's table as it is then."""

    def __init__(self, rules: Sequence[RulesT]) -> None:
        self._rules = rules
        self._shapes: dict[TableName, ShapeT | None] = {}

    @abstractmethod
    def make(self, name: TableName, rules: RulesT) -> ShapeT:
        """The shape of a table. Raises TransientError while the source is away, ConfigError."""

    def rules_of(self, name: TableName) -> RulesT | None:
        """The setting that is for the table: the first that names it, else the first glob that matches."""
        exact = [rules for rules in self._rules if rules.glob == str(name)]
        found = exact or [rules for rules in self._rules if fnmatchcase(str(name), rules.glob)]
        return found[0] if found else None

    def shape(self, name: TableName) -> ShapeT | None:
        """None for a table that does not go here. Raises TransientError while the source is away, ConfigError."""
        if name not in self._shapes:
            rules = self.rules_of(name)
            self._shapes[name] = None if rules is None else self.make(name, rules)
        return self._shapes[name]

    def named_tables(self) -> list[TableName]:
        """The tables that have a setting of their own."""
        return [TableName(*rules.glob.split(".", 1)) for rules in self._rules if not is_glob(rules.glob)]

    def globs(self) -> list[str]:
        """The settings that are for several tables."""
        return [rules.glob for rules in self._rules if is_glob(rules.glob)]

    def forget(self) -> None:
        """The source's tables may have changed."""
        self._shapes.clear()

    def change_schema(
        self,
        change: SinkSchemaChange,
        *,
        clear: Callable[[TableName, str], None],
        log: logging.Logger,
        mended_by: str,
        left: str,
    ) -> None:
        """Rows that a statement takes away go; a table that gets another name is told of; the rest needs nothing.

        `clear` removes what was written of a table before a place; `mended_by` is the command that brings rows which no
        message tells, `left` says what becomes of the rows of a database whose tables are not named.
        """
        self.forget()
        for name in change.gone:
            clear(name, change.place)
        if change.action == "drop-database" and change.database is not None:
            for name in self.named_tables():
                if name.database == change.database:
                    clear(name, change.place)
            for glob in self.globs():
                if fnmatchcase(change.database, glob.split(".", 1)[0]):
                    log.error(
                        "the database %s is gone, and %s is for several of its tables: %s", change.database, glob, left
                    )
        if change.action in ("rename-table", "alter-table"):
            moved = [(before, after) for before, after in change.touched if before and after and before != after]
            arrived = {after for _, after in moved}
            for before, _ in moved:
                if before not in arrived:
                    clear(before, change.place)
            for _, after in moved:
                if self.rules_of(after) is not None:
                    log.error(
                        "%s has other rows since a RENAME at %s, which no message tells: run `%s` for it",
                        after, change.change.position, mended_by,
                    )  # fmt: skip
