"""Templates and names of documents: what could let two rows meet is refused at the start."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.config.search import SearchSettings
from pydbsync.config.settings import settings_from_mapping
from pydbsync.errors import ConfigError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.sinks.search.shapes import SearchShapes


def shapes(tables: dict[str, Any], *columns: str) -> SearchShapes:
    sink = {"type": "opensearch", "tables": tables}
    settings, _ = settings_from_mapping({"sink": sink}, require=("db_info",))
    assert isinstance(settings.sink, SearchSettings)

    def table(name: TableName) -> TableSchema:
        return TableSchema(name=name, columns=tuple(Column(each, "int") for each in columns))

    return SearchShapes(settings.sink, table)


REFUSED = [
    ({"id": "x"}, "sink.tables.d.t.id: has no column"),
    ({"id": "{a}{b}"}, "sink.tables.d.t.id: needs a text between {a} and {b}"),
    ({"id": "%#{a}"}, "sink.tables.d.t.id: begins with '%#'"),
    ({"id": "{a}", "routing": "{b}"}, "sink.tables.d.t.routing: has {b}, which `id` lacks"),
]


@pytest.mark.parametrize(("table", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_templates_by_which_rows_could_meet_are_refused(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shapes({"d.t": table})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("name", ["T", "a b", "-t", "x" * 240, "t#"])
def test_names_that_no_index_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is no name that an index can have"):
        shapes({"d.t": {"id": "{a}", "index": name}}).shape(TableName("d", "t"))


def test_two_tables_never_have_one_name() -> None:
    found = shapes({"*.*": {"id": "{a}"}})
    assert found.shape(TableName("a", "b-c"))
    with pytest.raises(ConfigError, match=r"a.b-c and a-b.c would both be 'a-b-c'"):
        found.shape(TableName("a-b", "c"))


def test_a_column_cannot_have_the_name_of_the_mark() -> None:
    with pytest.raises(ConfigError, match=r"sink.mark: d.t has a column 'pydbsync'"):
        shapes({"d.t": {"id": "{a}"}}, "a", "pydbsync").shape(TableName("d", "t"))
    assert shapes({"d.t": {"id": "{a}", "columns": ["a"]}}, "a", "pydbsync").shape(TableName("d", "t"))
