"""The router: rewritten names, and rows that move between shards."""

from __future__ import annotations

import json

import pytest

from pydbsync.model import RowChange, TableName
from pydbsync.route.filters import Filters
from pydbsync.route.router import Router
from pydbsync.route.shard import ShardRouter
from pydbsync.route.table_map import MapEntry, RouteMap
from tests.unit.plan.tables import delete, insert, update

EVERYTHING = Filters()


def sharded(*owned: int, rewrite: dict[str, str] | None = None) -> Router:
    shards = ShardRouter(databases=frozenset({"d"}), column="corp", modulo=4, owned=owned)
    return Router(filters=EVERYTHING, rewrite=rewrite or {}, shards=shards)


def sent(router: Router, change: RowChange) -> list[tuple[str, str, dict[str, object]]]:
    return [(database, each.kind, json.loads(bytes(each.data))) for database, each in router.row_targets(change)]


def test_databases_keep_their_names_unless_they_are_rewritten() -> None:
    router = Router(filters=EVERYTHING, rewrite={"shop0": "shop", "shop1": "shop"})
    assert [router.databases(name) for name in ("shop0", "shop1", "crm")] == [("shop",), ("shop",), ("crm",)]
    assert not router.is_sharded("shop0")
    assert sent(router, insert({"id": 1})) == [("d", "insert", {"id": 1})]


def test_names_in_a_statement_are_rewritten_and_the_sharded_one_is_the_shard_of_the_moment() -> None:
    router = sharded(1, 3, rewrite={"crm": "crm2"})
    assert router.databases("d") == ("d1", "d3")
    assert [router.rename(name, shard_of="d", shard="d3") for name in ("d", "crm", "x")] == ["d3", "crm2", "x"]


def test_a_table_without_a_route_stays_where_it_is_in_a_statement_on_one_that_has_one() -> None:
    router = Router(
        filters=EVERYTHING, rewrite={"crm": "crm2"}, tables=RouteMap([MapEntry("d.t", TableName("p", "t2"))])
    )
    names = [TableName("d", "t"), TableName("d", "u"), TableName("crm", "c")]
    found = [router.rename_table(name, shard_of="d", shard="p") for name in names]
    assert found == [TableName("p", "t2"), TableName("d", "u"), TableName("crm2", "c")]
    assert [router.rename(name) for name in ("d", "crm")] == ["d", "crm2"]


def test_filters_look_at_the_sources_names() -> None:
    router = Router(filters=Filters(include=["shop0.*"]), rewrite={"shop0": "shop", "shop1": "shop"})
    assert router.takes(TableName("shop0", "t"))
    assert not router.takes(TableName("shop1", "t"))


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        pytest.param(
            {"id": 1, "corp": 1, "v": "y"}, {"v": "x"},
            [("d1", "update", {"id": 1, "corp": 1, "v": "y"})],
            id="it stays",
        ),
        pytest.param(
            {"id": 1, "corp": 1, "v": "y"}, {"corp": 3, "v": "x"},
            [("d3", "delete", {"id": 1, "corp": 3, "v": "x"}), ("d1", "insert", {"id": 1, "corp": 1, "v": "y"})],
            id="it moves",
        ),
        pytest.param(
            {"id": 1, "corp": 1}, {"corp": 2},
            [("d1", "insert", {"id": 1, "corp": 1})],
            id="it comes from another instance",
        ),
        pytest.param(
            {"id": 1, "corp": 2}, {"corp": 1},
            [("d1", "delete", {"id": 1, "corp": 1})],
            id="it leaves for another instance",
        ),
        pytest.param(
            {"id": 1, "corp": 2}, {"corp": 6},
            [],
            id="it is none of ours",
        ),
        pytest.param(
            {"id": 1, "corp": 0}, {"corp": 1},
            [("d1", "update", {"id": 1, "corp": 0}), ("d3", "insert", {"id": 1, "corp": 0})],
            id="from one shard to all",
        ),
        pytest.param(
            {"id": 1, "corp": 1}, {"corp": None},
            [("d3", "delete", {"id": 1, "corp": None}), ("d1", "update", {"id": 1, "corp": 1})],
            id="from all shards to one",
        ),
        pytest.param(
            {"id": 1, "v": "y"}, {"v": "x"},
            [("d1", "update", {"id": 1, "v": "y"}), ("d3", "update", {"id": 1, "v": "y"})],
            id="a table without the column",
        ),
    ],
)  # fmt: skip
def test_an_update_that_moves_a_row_is_a_deletion_there_and_an_insertion_here(
    new: dict[str, object], old: dict[str, object], expected: list[tuple[str, str, dict[str, object]]]
) -> None:
    assert sent(sharded(1, 3), update(new, old)) == expected


def test_an_insertion_or_deletion_goes_where_its_value_puts_it() -> None:
    assert sent(sharded(1, 3), insert({"corp": 5})) == [("d1", "insert", {"corp": 5})]
    assert sent(sharded(1, 3), delete({"corp": 7})) == [("d3", "delete", {"corp": 7})]
    assert sent(sharded(1, 3), delete({"corp": 0})) == [("d1", "delete", {"corp": 0}), ("d3", "delete", {"corp": 0})]
