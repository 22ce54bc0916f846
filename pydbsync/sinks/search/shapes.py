"""What a row becomes: the id of its document, its routing, and the document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from pydbsync.config.search import SearchSettings, SearchTableSettings, is_index_name
from pydbsync.errors import ConfigError, PlanError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.sinks.search.mappings import Field, field_of
from pydbsync.sinks.shapes import TableShapes
from pydbsync.sinks.templates import DATABASE, TABLE, KeyTemplate
from pydbsync.sinks.values import Read, Text, as_json, reader_for

Image = Mapping[str, msgspec.Raw]
Document = dict[str, Any]
"""Values that can be sent as JSON; what is of the column's own making is a token."""
_ID_LIMIT = 512
"""Bytes of an id that the server takes."""
_HASHED = "%#"
"""What a hashed id begins with: no value that is escaped has it."""


class DocumentKey(NamedTuple):
    """Where a document is. The columns of the routing are in the id too, so that the id alone tells rows apart."""

    id: str
    routing: str | None

    def __str__(self) -> str:
        return self.id


class Rules(NamedTuple):
    """What a setting of `tables` says, read once."""

    glob: str
    settings: SearchTableSettings
    id: KeyTemplate
    routing: KeyTemplate | None


class TableShape:
    """How the rows of one table are written."""

    def __init__(self, name: TableName, rules: Rules, schema: TableSchema | None, *, mark: str) -> None:
        """`schema` is the source's table as it is now; None where there is none any more. Raises ConfigError."""
        self.name = name
        self.settings = rules.settings
        self.alias = _alias(name, rules)
        self._rules = rules
        self._mark = mark
        self._columns: dict[str, Column] = {each.name: each for each in schema.columns} if schema else {}
        self._read: dict[str, Read] = {}
        chosen = set(rules.settings.columns) or set(self._columns)
        if mark in chosen & set(self._columns):
            raise ConfigError(
                f"{name} has a column {mark!r}, the name of the field that keeps the places: give that another one",
                key="sink.mark",
            )

    def mapping(self) -> dict[str, Field]:
        """The fields of the index."""
        settings = self.settings
        chosen = settings.columns or tuple(self._columns)
        found = {name: field_of(self._columns[name]) for name in chosen if name in self._columns and "." not in name}
        found |= {name: field for name, field in settings.mapping.items() if isinstance(field, Mapping)}
        return found

    def has_key(self, image: Image) -> None:
        """Raises PlanError for a row that lacks a column of its id."""
        for name in self._rules.id.columns:
            if name not in image:
                raise PlanError(f"the row has no column {name!r}, which the id {self._rules.id.text!r} needs")

    def key(self, image: Image) -> DocumentKey:
        """Where the row's document is. Raises PlanError."""
        self.has_key(image)
        found = self._filled(self._rules.id, image)
        size = len(found.encode())
        if size > _ID_LIMIT:
            found = f"{_HASHED}{hashlib.sha256(found.encode()).hexdigest()}"
        elif not size:
            raise PlanError("the id of the row is empty, which no document can have")
        routing = self._filled(self._rules.routing, image) if self._rules.routing is not None else None
        return DocumentKey(found, routing)

    def _filled(self, template: KeyTemplate, image: Image) -> str:
        values: dict[str, str | None] = {}
        for name in template.columns:
            value = self._text(name, image)
            values[name] = value.hex() if isinstance(value, bytes) else value
        return template.key(self.name, values)

    def content(self, image: Image) -> Document:
        """The row's document, without its place. Raises PlanError."""
        for name in self.settings.columns:
            if name not in image:
                raise PlanError(f"the row has no column {name!r}, which `columns` names")
        return {name: self._value(name, image) for name in self.settings.columns or image}

    def _value(self, name: str, image: Image) -> Any:
        if "." in name:
            raise PlanError(f"the name of column {name!r} has a dot, by which a document would have another shape")
        column = self._columns.get(name)
        if column is None and name == self._mark:
            raise PlanError(f"column {name!r} has the name of the field that keeps the places (`sink.mark`)")
        if column is None or column.kind == "json":  # as it is; the source may not have the column any more
            return image[name]
        value = as_json(self._text(name, image), column, "base64")
        if column.kind == "set" and value is not None:
            return value.split(",") if value else []
        return value

    def _text(self, name: str, image: Image) -> Text:
        read = self._read.get(name)
        if read is None:
            read = self._read[name] = reader_for(self._columns.get(name))
        try:
            return read(bytes(image[name]))
        except (ValueError, msgspec.MsgspecError) as exc:
            raise PlanError(f"the value of column {name!r} cannot be read: {exc}") from exc


def _alias(name: TableName, rules: Rules) -> str:
    template = rules.settings.index
    found = template.replace(f"{{{DATABASE}}}", name.database).replace(f"{{{TABLE}}}", name.table)
    if not is_index_name(found):
        raise ConfigError(
            f'{found!r} is no name that an index can have (small letters, no spaces, none of \\ / * ? " < > | , # :):'
            f" give {name} another one",
            key=f"sink.tables.{rules.glob}.index",
        )
    return found


class Shapes(TableShapes[Rules, TableShape]):
    """Those of the indices."""

    def __init__(self, settings: SearchSettings, read_table: Callable[[TableName], TableSchema | None]) -> None:
        """Raises ConfigError."""
        super().__init__([_rules(glob, each) for glob, each in settings.tables.items()])
        self._mark = settings.mark
        self._read_table = read_table
        self._aliases: dict[str, TableName] = {}

    def make(self, name: TableName, rules: Rules) -> TableShape:
        shape = TableShape(name, rules, self._read_table(name), mark=self._mark)
        other = self._aliases.setdefault(shape.alias, name)
        if other != name:
            raise ConfigError(
                f"{other} and {name} would both be {shape.alias!r}: give one of them another name",
                key=f"sink.tables.{rules.glob}.index",
            )
        return shape


def _rules(glob: str, settings: SearchTableSettings) -> Rules:
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
    return Rules(glob, settings, template, routing)
