"""Filters: which source tables take part."""

from __future__ import annotations

import pytest

from pydbsync.model import TableName
from pydbsync.route.filters import Filters, other_case


@pytest.mark.parametrize(
    ("include", "exclude", "taken", "left"),
    [
        ([], [], ["shop.orders", "Shop.x", "a.b.c"], []),
        (["shop.*"], [], ["shop.orders", "shop.o_2"], ["Shop.orders", "shop2.orders", "crm.orders"]),
        (["shop"], [], ["shop.orders"], ["shop2.orders", "crm.shop"]),
        (["shop.order?"], [], ["shop.orders"], ["shop.order", "shop.orders2"]),
        (["shop.[ab]*"], [], ["shop.a", "shop.bx"], ["shop.c", "shop.A"]),
        (["*.orders"], [], ["shop.orders", "crm.orders"], ["shop.order"]),
        (["shop*.orders"], [], ["shop.orders", "shop1.orders"], ["crm.orders", "shop.x"]),
        (["shop.*", "crm.users"], [], ["shop.a", "crm.users"], ["crm.other"]),
        ([], ["shop.log_*"], ["shop.orders", "crm.log_1"], ["shop.log_1"]),
        ([], ["*.tmp"], ["shop.tmp2"], ["shop.tmp", "crm.tmp"]),
        (["shop.*"], ["shop.log"], ["shop.orders"], ["shop.log", "crm.x"]),
        (["shop.log"], ["shop.*"], [], ["shop.log", "shop.orders"]),
    ],
)
def test_globs_choose_tables(include: list[str], exclude: list[str], taken: list[str], left: list[str]) -> None:
    filters = Filters(include=include, exclude=exclude)
    found = {name: filters.takes(TableName(*name.split(".", 1))) for name in (*taken, *left)}
    assert found == {**dict.fromkeys(taken, True), **dict.fromkeys(left, False)}


@pytest.mark.parametrize(
    ("include", "exclude", "taken", "left"),
    [
        ([], [], ["shop"], []),
        (["shop.*"], [], ["shop"], ["crm"]),
        (["shop.orders"], [], ["shop"], ["crm"]),
        (["shop*.orders"], [], ["shop", "shop2"], ["crm"]),
        ([], ["shop.*"], ["crm"], ["shop"]),
        ([], ["shop.log"], ["shop"], []),
        ([], ["*.log"], ["shop"], []),
    ],
)
def test_a_database_takes_part_if_any_of_its_tables_may(
    include: list[str], exclude: list[str], taken: list[str], left: list[str]
) -> None:
    filters = Filters(include=include, exclude=exclude)
    found = {name: filters.takes_database(name) for name in (*taken, *left)}
    assert found == {**dict.fromkeys(taken, True), **dict.fromkeys(left, False)}


def test_hidden_databases_never_take_part() -> None:
    filters = Filters(include=["maxwell.*", "shop.*"], hidden_databases=["maxwell", "pydbsync"])
    assert not filters.takes(TableName("maxwell", "positions"))
    assert not filters.takes_database("pydbsync")
    assert filters.takes(TableName("shop", "orders"))


def test_names_with_dots_and_line_ends_are_matched_whole() -> None:
    filters = Filters(include=["shop.a*"])
    assert filters.takes(TableName("shop", "a.b\nc"))
    assert not filters.takes(TableName("shop.a", "b"))


def test_a_glob_that_fits_but_for_its_case_is_named_unless_another_one_takes_the_table() -> None:
    names = [TableName("shop", "orders"), TableName("shop", "Items"), TableName("a.b", "t")]
    globs = [
        ("include", "Shop.*"), ("include", "shop.orders"), ("exclude", "SHOP.ITEMS"), ("exclude", "other.*"),
        ("routes", "sh[o]p.ITEMS"), ("dbname_rewrite", "SHOP"), ("dbname_rewrite", "shop"), ("--tables", "shop.*"),
    ]  # fmt: skip
    assert list(other_case(globs, names)) == [
        "include names 'Shop.*', and the source calls it shop.Items: names compare with their case",
        "exclude names 'SHOP.ITEMS', and the source calls it shop.Items: names compare with their case",
        "routes names 'sh[o]p.ITEMS', and the source calls it shop.Items: names compare with their case",
    ]
    assert list(other_case(globs, [])) == []
