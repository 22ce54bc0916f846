"""Generated columns that a source leaves out of its UPDATEs: rows have the same columns by each of their changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pydbsync.config.settings import settings_from_mapping
from pydbsync.errors import PlanError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.sinks.redis.shapes import RedisShapes
from pydbsync.sinks.search.shapes import SearchShapes

TABLE = TableName("d", "t")
COLUMNS = (Column("id", "int"), Column("n", "int"), Column("g", "int", generated=True))
INSERTED = {name: msgspec.Raw(b"%d" % value) for value, name in enumerate(("id", "n", "g"), start=1)}
UPDATED = {name: token for name, token in INSERTED.items() if name != "g"}


def shape(kind: str, table: dict[str, Any], *, lacks: frozenset[str] = frozenset({"g"})) -> Any:
    settings, _ = settings_from_mapping({"sink": {"type": kind, "tables": {"d.t": table}}}, require=("db_info",))
    schema = TableSchema(name=TABLE, columns=COLUMNS, binlog_lacks=lacks)
    shapes: Any = RedisShapes if kind == "redis" else SearchShapes
    return shapes(settings.sink, lambda name: schema).shape(TABLE)


@pytest.mark.parametrize("image", [INSERTED, UPDATED], ids=["inserted", "updated"])
def test_rows_are_written_without_what_an_update_would_not_bring(image: dict[str, msgspec.Raw]) -> None:
    assert shape("redis", {"key": "t:{id}"}).content(image).parts == ("id", "1", "n", "2")
    assert shape("redis", {"key": "t:{id}", "as": "json"}).content(image).parts == ('{"id":1,"n":2}',)
    found = shape("opensearch", {"id": "{id}"})
    assert set(found.content(image)) == set(found.mapping()) == {"id", "n"}


def test_a_source_that_writes_them_has_them_in_all_rows() -> None:
    assert shape("redis", {"key": "t:{id}"}, lacks=frozenset()).content(INSERTED).parts[-2:] == ("g", "3")
    found = shape("opensearch", {"id": "{id}"}, lacks=frozenset())
    assert set(found.content(INSERTED)) == set(found.mapping()) == {"id", "n", "g"}


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("redis", {"key": "t:{id}", "columns": ["id", "g"]}),
        ("redis", {"key": "t:{id}", "fields": {"x": "g + 1"}}),
        ("opensearch", {"id": "{id}", "columns": ["id", "g"]}),
    ],
)
def test_what_needs_one_is_refused_of_an_update(kind: str, table: dict[str, Any]) -> None:
    assert shape(kind, table).content(INSERTED)
    with pytest.raises(PlanError, match="the row has no column 'g'"):
        shape(kind, table).content(UPDATED)
