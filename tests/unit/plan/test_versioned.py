from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pydbsync.model import NO_JSON, Column, Period, RowChange, RowKind, TableName, TableSchema
from pydbsync.plan.versioned import HIDDEN, current_change, period_of

NOW, MAX = "2026-11-28 18:40:13.963702", "2038-01-19 03:14:07.999999"
PERIOD = Period("rs", "re")


def change(kind: RowKind, data: dict[str, Any], old: dict[str, Any] | None = None) -> RowChange:
    return RowChange(
        kind=kind, database="d", table="t", ts=1, data=msgspec.Raw(json.dumps(data).encode()),
        old=NO_JSON if old is None else msgspec.Raw(json.dumps(old).encode()),
    )  # fmt: skip


CASES = {
    "a new row": (("insert", {"id": 1, "rs": NOW, "re": MAX}, None), ("insert", {"id": 1}, None)),
    "what a row was": (("insert", {"id": 1, "rs": NOW, "re": NOW}, None), None),
    "an update": (
        ("update", {"id": 1, "v": 9, "rs": NOW, "re": MAX}, {"v": 1, "rs": "2020-01-01 00:00:00"}),
        ("update", {"id": 1, "v": 9}, {"v": 1}),
    ),
    "an update of the key": (
        ("update", {"id": 2, "rs": NOW, "re": MAX}, {"id": 1, "rs": "x"}),
        ("update", {"id": 2}, {"id": 1}),
    ),
    "a delete": (("update", {"id": 1, "v": 1, "rs": NOW, "re": NOW}, {"re": MAX}), ("delete", {"id": 1, "v": 1}, None)),
    "a delete of history": (("delete", {"id": 1, "rs": NOW, "re": NOW}, None), None),
    "a delete of the row itself": (("delete", {"id": 1, "rs": NOW, "re": MAX}, None), ("delete", {"id": 1}, None)),
    "an update of history": (("update", {"id": 1, "v": 2, "rs": NOW, "re": NOW}, {"v": 1}), None),
    "64 bits": (
        ("insert", {"id": 1, "rs": NOW, "re": "2106-02-07 06:28:15.999999"}, None),
        ("insert", {"id": 1}, None),
    ),
    "by transactions": (("insert", {"id": 1, "rs": 7, "re": 2**64 - 1}, None), ("insert", {"id": 1}, None)),
    "by transactions, over": (("update", {"id": 1, "rs": 7, "re": 9}, {"re": 2**64 - 1}), ("delete", {"id": 1}, None)),
    "other capitals": (("insert", {"id": 1, "RS": NOW, "Re": MAX}, None), ("insert", {"id": 1}, None)),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
def test_only_current_rows_are_changes(given: tuple[Any, ...], expected: tuple[Any, ...] | None) -> None:
    found = current_change(change(*given), PERIOD)
    if found is None:
        assert expected is None
        return
    old = None if found.old is NO_JSON else json.loads(bytes(found.old))
    assert (found.kind, json.loads(bytes(found.data)), old) == expected


def schema(*names: str, period: Period | None = None) -> TableSchema:
    return TableSchema(TableName("d", "t"), tuple(Column(name, "int") for name in names), period=period)


@pytest.mark.parametrize(
    ("target", "names", "expected"),
    [
        (schema("id", "rs", "re", period=PERIOD), ("id", "rs", "RE"), PERIOD),
        (schema("id", "rs", "re", period=PERIOD), ("id",), None),
        (schema("id", "rs", "re"), ("id", "rs", "re"), None),
        (schema("id"), ("id", "row_start", "row_end"), HIDDEN),
        (schema("id", "Row_Start", "row_end"), ("id", "row_start", "row_end"), None),
        (schema("id"), ("id",), None),
    ],
)
def test_where_the_time_of_a_row_is_told(target: TableSchema, names: tuple[str, ...], expected: Period | None) -> None:
    assert period_of(target, names) == expected
