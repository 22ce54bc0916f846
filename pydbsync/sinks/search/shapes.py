"""What a row becomes: the id of its document, its routing, and the document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydbsync.config.search import SearchSettings, SearchTableSettings, is_index_name
from pydbsync.errors import ConfigError, PlanError
from pydbsync.model import TableName, TableSchema
from pydbsync.sinks.search.mappings import FieldMapping, field_of
from pydbsync.sinks.shapes import RawImage, RowTexts, TableShapes, need
from pydbsync.sinks.templates import DATABASE, TABLE, KeyTemplate
from pydbsync.sinks.values import as_json

Document = dict[str, Any]
"""Values that can be sent as JSON; what is of the column's own making is a token."""
_ID_LIMIT = 512
"""Bytes of an id that the server takes."""
_EMPTY = "%E"
"""Stands for an empty routing: no value that is escaped has it."""
_HASHED = "%#"
"""What a hashed id begins with: no value that is escaped has it."""


class DocumentKey(NamedTuple):
    """Where a document is. The columns of the routing are in the id too, so that the id alone tells rows apart."""

    id: str
    routing: str | None

    def __str__(self) -> str:
        return self.id


class SearchRules(NamedTuple):
    """What a setting of `tables` says, read once."""

    glob: str
    settings: SearchTableSettings
    id: KeyTemplate
    routing: KeyTemplate | None


class SearchTableShape(RowTexts):
    """How the rows of one table are written."""

    def __init__(self, name: TableName, rules: SearchRules, schema: TableSchema | None, *, mark: str) -> None:
        """Raises ConfigError."""
        super().__init__(name, schema)
        self.settings = rules.settings
        self.alias = _alias(name, rules)
        self._rules = rules
        self._mark = mark
        self._needed_by = f"the id {rules.id.text!r} needs"
        chosen = set(rules.settings.columns) or set(self.columns)
        if mark in chosen & set(self.columns):
            raise ConfigError(
                f"{name} has a column {mark!r}, the name of the field that keeps the places: give that another one",
                key="sink.mark",
            )

    def mapping(self) -> dict[str, FieldMapping]:
        """The fields of the index."""
        settings = self.settings
        chosen = settings.columns or self.all_columns(self.columns)
        found = {name: field_of(self.columns[name]) for name in chosen if name in self.columns and "." not in name}
        found |= {name: field for name, field in settings.mapping.items() if isinstance(field, Mapping)}
        return found

    def has_key(self, image: RawImage) -> None:
        """Raises PlanError for a row that lacks a column of its id."""
        need(self._rules.id.columns, image, self._needed_by)

    def key(self, image: RawImage) -> DocumentKey:
        """Where the row's document is. Raises PlanError."""
        self.has_key(image)
        found = self.filled(self._rules.id, image)
        size = len(found.encode())
        if size > _ID_LIMIT:
            found = f"{_HASHED}{hashlib.sha256(found.encode()).hexdigest()}"
        elif not size:
            raise PlanError("the id of the row is empty, which no document can have")
        if self._rules.routing is None:
            return DocumentKey(found, None)
        # The server writes a document whose routing is empty by its id, and looks for it by the empty routing.
        return DocumentKey(found, self.filled(self._rules.routing, image) or _EMPTY)

    def content(self, image: RawImage) -> Document:
        """The row's document, without its place. Raises PlanError."""
        need(self.settings.columns, image, "`columns` names")
        return {name: self._value(name, image) for name in self.settings.columns or self.all_columns(image)}

    def _value(self, name: str, image: RawImage) -> Any:
        if "." in name:
            raise PlanError(f"the name of column {name!r} has a dot, by which a document would have another shape")
        column = self.columns.get(name)
        if column is None and name == self._mark:
            raise PlanError(f"column {name!r} has the name of the field that keeps the places (`sink.mark`)")
        if column is None or column.kind == "json":  # as it is; the source may not have the column any more
            return image[name]
        value = as_json(self.text(name, image), column, "base64")
        if column.kind == "set" and value is not None:
            return value.split(",") if value else []
        return value


def _alias(name: TableName, rules: SearchRules) -> str:
    template = rules.settings.index
    found = template.replace(f"{{{DATABASE}}}", name.database).replace(f"{{{TABLE}}}", name.table)
    if not is_index_name(found):
        raise ConfigError(
            f'{found!r} is no name that an index can have (small letters, no spaces, none of \\ / * ? " < > | , # :):'
            f" give {name} another one",
            key=f"sink.tables.{rules.glob}.index",
        )
    return found


class SearchShapes(TableShapes[SearchRules, SearchTableShape]):
    """Those of the indices."""

    def __init__(self, settings: SearchSettings, read_table: Callable[[TableName], TableSchema | None]) -> None:
        """Raises ConfigError."""
        super().__init__([_rules(glob, each) for glob, each in settings.tables.items()])
        self._mark = settings.mark
        self._read_table = read_table
        self._aliases: dict[str, TableName] = {}

    def make(self, name: TableName, rules: SearchRules) -> SearchTableShape:
        shape = SearchTableShape(name, rules, self._read_table(name), mark=self._mark)
        other = self._aliases.setdefault(shape.alias, name)
        if other != name:
            raise ConfigError(
                f"{other} and {name} would both be {shape.alias!r}: give one of them another name",
                key=f"sink.tables.{rules.glob}.index",
            )
        return shape


def _rules(glob: str, settings: SearchTableSettings) -> SearchRules:
    where = f"sink.tables.{glob}"
    template = KeyTemplate(settings.id, where=f"{where}.id")
    if template.literals[0].startswith(_HASHED):
        raise ConfigError(f"begins with {_HASHED!r}, as ids do that are hashed", key=f"{where}.id")
    routing = KeyTemplate(settings.routing, where=f"{where}.routing") if settings.routing else None
    for name in routing.columns if routing is not None else ():
        if name not in template.columns:
            raise ConfigError(
                f"has {{{name}}}, which `id` lacks: a row that gets another routing must get another id, or two shards"
                " would have documents of one id",
                key=f"{where}.routing",
            )
    return SearchRules(glob, settings, template, routing)
