"""Computed fields: what they give, and that nothing else can be written in them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pydbsync.errors import ConfigError, PlanError
from pydbsync.sinks.redis.expressions import Expression, ExpressionValue, show

ROW: dict[str, ExpressionValue] = {
    "id": Decimal(7), "price": Decimal("19.90"), "name": "Ann", "none": None, "big": Decimal("9" * 65), "odd name": "x",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id", "7"),
        ("price * 3", "59.70"),
        ("big + 1", "1" + "0" * 65),
        ("0.1 + 0.2", "0.3"),
        ("-id", "-7"),
        ("7 % 4", "3"),
        ("10 / 4", "2.5"),
        ("concat(name, ':', id, none)", "Ann:7"),
        ("upper(name)", "ANN"),
        ("coalesce(none, name)", "Ann"),
        ("substr(name, 2, 1)", "n"),
        ("length(name)", "3"),
        ("round(price, 1)", "19.9"),
        ("replace(name, 'n', 'm')", "Amm"),
        ("'cheap' if price < 20 else 'dear'", "cheap"),
        ("'none' if none is None else 'some'", "none"),
        ("name == 'Ann' and id > 6", "1"),
        ("not id", "0"),
        ("col('odd name')", "x"),
        ("none * 2", None),
        ("lower(none)", None),
        ("sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_an_expression_has_its_value(text: str, expected: str | None) -> None:
    found = Expression(text, where="f").value(ROW)
    assert (None if found is None else show(found)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "name.upper()", "name[0]", "[x for x in name]", "lambda: 1", "(id := 1)",
        "f'{name}'", "2 ** 9", "id << 2", "open('x')", "1 < 2 < 3", "name in 'a'", "concat(*name)", "b'x'", "1j", "{}",
        "upper()", "upper(name, name)", "col(name)", "id id", "",
    ],
)  # fmt: skip
def test_anything_else_is_refused_when_the_configuration_is_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f: "):
        Expression(text, where="f")


@pytest.mark.parametrize(
    "text", ["missing", "id / 0", "name + 1", "substr(name, 0)", "big * " + " * ".join(["big"] * 200)]
)
def test_a_row_without_a_value_is_named(text: str) -> None:
    with pytest.raises(PlanError):
        Expression(text, where="f").value(ROW)
