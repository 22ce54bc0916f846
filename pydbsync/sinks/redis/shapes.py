"""What a row becomes: its key, and what the key holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from pydbsync.config.sinks import RedisSettings, RedisTableSettings
from pydbsync.errors import ConfigError
from pydbsync.model import TableName, TableSchema
from pydbsync.sinks.redis.expressions import Expression, ExpressionValue, show
from pydbsync.sinks.shapes import RawImage, RowTexts, TableShapes, need
from pydbsync.sinks.templates import KeyTemplate, Placed, refuse_overlap
from pydbsync.sinks.values import NUMBER_KINDS, as_json, as_text, show_json


class KeyContent(NamedTuple):
    """What a key holds."""

    form: str
    """hash or string."""
    parts: tuple[str | bytes, ...]
    """Fields and values in turns, or the one value; nothing where the key is not to be."""


class RedisTableShape(RowTexts):
    """How the rows of one table are written."""

    def __init__(self, name: TableName, rules: _RedisRules, schema: TableSchema | None) -> None:
        super().__init__(name, schema)
        self.settings = rules.settings
        self.template = rules.template
        self.changes = rules.changes
        self._value = rules.value
        self._fields = rules.fields
        self._needed_by = f"the key {rules.template.text!r} needs"

    def has_key(self, image: RawImage) -> None:
        """Raises PlanError for a row that lacks a column of the key."""
        need(self.template.columns, image, self._needed_by)

    def key(self, image: RawImage) -> str:
        """The row's key. Raises PlanError."""
        self.has_key(image)
        return self.filled(self.template, image)

    def content(self, image: RawImage) -> KeyContent:
        """What the row's key holds. Raises PlanError."""
        settings = self.settings
        if self._value is not None:
            value = self._value.value(self._values(image))
            if value is None:
                return KeyContent("string", ("",) if settings.null == "empty" else ())
            return KeyContent("string", (show(value),))
        chosen = settings.columns or self.all_columns(image)
        need(settings.columns, image, "`columns` names")
        if settings.form == "json":
            return KeyContent("string", (self._document(image, chosen),))
        parts: list[str | bytes] = []
        for name in chosen:
            text = as_text(self.text(name, image), settings.binary)
            if text is not None or settings.null == "empty":
                parts += (name, b"" if text is None else text)
        if self._fields:
            values = self._values(image)
            for name, expression in self._fields.items():
                computed = expression.value(values)
                if computed is not None or settings.null == "empty":
                    parts += (name, "" if computed is None else show(computed))
        return KeyContent("hash", tuple(parts))

    def _document(self, image: RawImage, chosen: Iterable[str]) -> str:
        binary = self.settings.binary
        document = {name: as_json(self.text(name, image), self.columns.get(name), binary) for name in chosen}
        if self._fields:
            values = self._values(image)
            for name, expression in self._fields.items():
                found = expression.value(values)
                if isinstance(found, Decimal):
                    found = show(found)
                document[name] = found
        return show_json(document)

    def _values(self, image: RawImage) -> _ExpressionValues:
        return _ExpressionValues(self, image)

    def value_of(self, name: str, image: RawImage) -> ExpressionValue:
        """A column's value for an expression. Raises PlanError."""
        text = self.text(name, image)
        column = self.columns.get(name)
        if isinstance(text, bytes):
            return str(as_text(text, "hex" if self.settings.binary == "raw" else self.settings.binary))
        if text is not None and column is not None and column.kind in _NUMBERS:
            return Decimal(text)
        return text


_NUMBERS = NUMBER_KINDS | {"decimal", "float", "double"}


class _ExpressionValues(Mapping[str, ExpressionValue]):
    """The columns of a row as an expression asks for them."""

    def __init__(self, shape: RedisTableShape, image: RawImage) -> None:
        self._shape = shape
        self._image = image

    def __getitem__(self, name: str) -> ExpressionValue:
        return self._shape.value_of(name, self._image)

    def __contains__(self, name: object) -> bool:
        return name in self._image

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._image)

    def __len__(self) -> int:
        return len(self._image)


class _RedisRules(NamedTuple):
    """What a setting of `tables` says, read once."""

    glob: str
    settings: RedisTableSettings
    template: KeyTemplate
    changes: str
    value: Expression | None
    fields: Mapping[str, Expression]


class RedisShapes(TableShapes[_RedisRules, RedisTableShape]):
    """Those of Redis."""

    def __init__(self, settings: RedisSettings, read_table: Callable[[TableName], TableSchema | None]) -> None:
        """Raises ConfigError."""
        super().__init__([_rules(glob, each) for glob, each in settings.tables.items()])
        self._read_table = read_table
        for rule in self._rules if settings.cluster else ():
            if re.search(r"[{}]", rule.changes) and not re.fullmatch(r"[^{}]*\{[^{}]+\}[^{}]*", rule.changes):
                raise ConfigError(
                    f"has room for one hash tag, as in {{shop}}:changes; got {rule.changes!r}",
                    key=f"sink.tables.{rule.glob}.changes",
                )
        placed = [Placed(f"sink.tables.{rule.glob}.key", rule.template, rule.glob) for rule in self._rules]
        refuse_overlap(placed, settings.prefix)

    def make(self, name: TableName, rules: _RedisRules) -> RedisTableShape:
        return RedisTableShape(name, rules, self._read_table(name))


def _rules(glob: str, settings: RedisTableSettings) -> _RedisRules:
    where = f"sink.tables.{glob}"
    return _RedisRules(
        glob,
        settings,
        KeyTemplate(settings.key, where=f"{where}.key"),
        settings.changes,
        Expression(settings.value, where=f"{where}.value") if settings.value else None,
        {name: Expression(text, where=f"{where}.fields.{name}") for name, text in settings.fields.items()},
    )
