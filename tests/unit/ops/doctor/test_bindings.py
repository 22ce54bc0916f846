from __future__ import annotations

import pytest

from pydbsync.ops.doctor.bindings import Binding, Routes, matches


@pytest.mark.parametrize(
    ("kind", "pattern", "key", "takes"),
    [
        ("topic", "#", "shop.orders", True),
        ("topic", "*.*", "shop.orders", True),
        ("topic", "*.*", "shop.", True),
        ("topic", "shop.*", "shop.orders", True),
        ("topic", "shop.*", "shop.a.b", False),
        ("topic", "shop.#", "shop", True),
        ("topic", "#.orders", "orders", True),
        ("topic", "#.x.#", "a.x.b.c", True),
        ("topic", "#.x.#", "a.b", False),
        ("topic", "shop.ord*", "shop.orders", False),
        ("topic", "shop", "shop.orders", False),
        ("direct", "shop.*", "shop.orders", False),
        ("direct", "shop.orders", "shop.orders", True),
        ("fanout", "nothing", "shop.orders", True),
    ],
)
def test_a_pattern_takes_what_rabbitmq_says(kind: str, pattern: str, key: str, takes: bool) -> None:
    assert matches(kind, pattern, key) is takes


def test_exchanges_lead_to_exchanges_and_circles_end() -> None:
    routes = Routes(
        {"a": "topic", "b": "fanout"},
        [Binding("a", "b", False, "shop.*"), Binding("b", "a", False, ""), Binding("b", "q", True, ""),
         Binding("a", "r", True, "crm.#")],
    )  # fmt: skip
    assert routes.queues("a", "shop.orders") == {"q"}
    assert routes.queues("a", "crm.x") == {"r"}
    assert routes.queues("b", "any.thing") == {"q"}


def test_what_no_binding_takes_goes_to_the_alternate_exchange() -> None:
    routes = Routes(
        {"a": "topic", "b": "fanout"},
        [Binding("a", "q", True, "shop.*"), Binding("b", "r", True, "")], {"a": "b", "b": "a"},
    )  # fmt: skip
    assert routes.queues("a", "shop.orders") == {"q"}
    assert routes.queues("a", "crm.x") == {"r"}
    assert Routes({"a": "topic"}, [], {"a": "a"}).queues("a", "x") == frozenset()
