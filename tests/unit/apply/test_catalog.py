"""What is asked of a catalogue whose server cannot be had: MySQL 5.7."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.apply.catalog import read_table
from pydbsync.model import TableName
from pydbsync.plan.target import Dialect


class Catalogue:
    """Answers with one table of one column, and keeps what it was asked."""

    warnings = 0

    def __init__(self, version: tuple[int, ...]) -> None:
        self.dialect = Dialect(is_mariadb=False, version=version)
        self.asked: list[str] = []

    def rows(self, sql: str, about: object = ()) -> list[tuple[Any, ...]]:
        self.asked.append(sql)
        if "information_schema.columns" in sql:
            return [("id", "int", "int", None, None, 10, None, "NO", "", "", None, None)]
        return [("utf8mb4_general_ci", "YES")] if "information_schema.engines" in sql else []


@pytest.mark.parametrize(("version", "has_srid"), [((5, 7, 44), False), ((8, 0, 3), True), ((8, 4, 2), True)])
def test_reference_systems_are_asked_for_where_the_catalogue_has_them(version: tuple[int, ...], has_srid: bool) -> None:
    catalogue = Catalogue(version)
    table = read_table(catalogue, TableName("shop", "t"))  # type: ignore[arg-type]
    assert table is not None
    assert [column.name for column in table.columns] == ["id"]
    assert any("srs_id" in sql for sql in catalogue.asked) is has_srid
