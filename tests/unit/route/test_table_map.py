"""Tables that routes give other names, and which of these several sources feed."""

from __future__ import annotations

import pytest

from pydbsync.model import TableName
from pydbsync.route.filters import Filters
from pydbsync.route.router import Router
from pydbsync.route.table_map import MapEntry, RouteMap


def router(*routes: tuple[str, str], rewrite: dict[str, str] | None = None, include: tuple[str, ...] = ()) -> Router:
    entries = [MapEntry(glob, TableName(*to.split(".")) if to else None) for glob, to in routes]
    return Router(filters=Filters(include=include), rewrite=rewrite or {}, tables=RouteMap(entries))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("shop.orders_1", "archive.orders"),
        ("shop.orders", "shop.orders"),
        ("shop.people", "crm.people"),
        ("other.people", "renamed.people"),
        ("shop.kept_1", "shop.kept_1"),
        ("logs.x", "logs.everything"),
    ],
)
def test_the_first_route_that_names_a_table_says_where_it_goes(source: str, target: str) -> None:
    found = router(
        ("shop.kept_*", ""), ("shop.orders_*", "archive.orders"), ("shop.people", "crm.*"), ("*.x", "*.everything"),
        ("shop.*_1", "never.*"), rewrite={"other": "renamed"},
    )  # fmt: skip
    assert found.targets(TableName(*source.split("."))) == (TableName(*target.split(".")),)


@pytest.mark.parametrize(
    ("routes", "rewrite", "target", "is_merged"),
    [
        ([("shop.orders_*", "archive.orders")], {}, "archive.orders", True),
        ([("shop.orders_*", "archive.*")], {}, "archive.orders_1", False),
        ([("shop*.orders", "archive.orders")], {}, "archive.orders", True),
        ([("shop.a", "archive.t"), ("shop.b", "archive.t")], {}, "archive.t", True),
        ([("shop.a", "archive.t")], {}, "archive.t", False),
        ([("shop.a", "archive.t")], {}, "shop.b", False),
        ([("shop.a", "shop.b")], {}, "shop.b", False),  # a source shop.b is refused when it comes
        ([("shop.a", "both.t")], {"one": "both"}, "both.t", True),
        ([("shop.a", "archive.t")], {"one": "both", "two": "both"}, "both.t", True),
        ([("one.t", "elsewhere.t")], {"one": "both", "two": "both"}, "both.t", False),
    ],
)
def test_a_table_is_merged_where_several_sources_may_feed_it(
    routes: list[tuple[str, str]], rewrite: dict[str, str], target: str, is_merged: bool
) -> None:
    assert router(*routes, rewrite=rewrite).is_merged_table(TableName(*target.split("."))) is is_merged


def test_a_table_that_include_names_beside_a_route_to_it_is_merged_with_it() -> None:
    found = router(("shop.a", "shop.b"), include=("shop.a", "shop.b"))
    assert found.is_merged_table(TableName("shop", "b"))


def test_sources_that_are_merged_have_names_of_their_own_that_fit() -> None:
    found = router(("shop.*", "archive.t"))
    long = TableName("shop", "x" * 64)
    assert found.source_name(TableName("shop", "a")) == "shop.a"
    assert found.source_name(TableName("other", "a")) == "other"
    assert len(found.source_name(long)) <= 64
    assert found.source_name(long) != found.source_name(TableName("shop", "x" * 63 + "y"))
