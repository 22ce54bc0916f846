"""What a condition of a route may say, and what is refused by name."""

from __future__ import annotations

import pytest

from pydbsync.config.conditions import (
    All,
    Any,
    Arithmetic,
    ColumnRef,
    Compare,
    ExpressionError,
    FunctionCall,
    In,
    IsNull,
    Like,
    Not,
    Number,
    TextLiteral,
)
from pydbsync.config.expressions import names_in, parse_condition


def test_and_binds_closer_than_or_and_not_less_than_a_comparison() -> None:
    one, two = Compare("=", ColumnRef("a"), Number("1")), Compare("=", ColumnRef("b"), Number("2"))
    assert parse_condition("a = 1 OR NOT b = 2 AND a = 1") == Any((one, All((Not(two), one))))


def test_products_come_before_sums() -> None:
    product = Arithmetic("%", ColumnRef("b"), Number("3"))
    assert parse_condition("a + b mod 3 <> -1") == Compare("<>", Arithmetic("+", ColumnRef("a"), product), Number("-1"))


def test_names_and_texts_may_hold_their_quotes() -> None:
    assert parse_condition("`a``b` = 'it''s'") == Compare("=", ColumnRef("a`b"), TextLiteral("it's"))


def test_not_before_a_predicate_negates_it() -> None:
    assert parse_condition("a NOT IN (1, 2)") == Not(In(ColumnRef("a"), (Number("1"), Number("2"))))
    assert parse_condition("a IS NOT NULL") == Not(IsNull(ColumnRef("a")))
    assert parse_condition("a NOT LIKE 'x%'") == Not(Like(ColumnRef("a"), "x%"))


def test_functions_that_mean_the_same_are_one() -> None:
    called = FunctionCall("COALESCE", (ColumnRef("a"), Number("0")))
    assert (
        parse_condition("ifnull(a, 0) = 1")
        == parse_condition("COALESCE (a, 0) = 1")
        == Compare("=", called, Number("1"))
    )
    assert parse_condition("MOD(a, 3)") == Arithmetic("%", ColumnRef("a"), Number("3"))
    assert names_in(parse_condition("COALESCE(A, b) + ABS(c) > 1 AND YEAR(year) = 2024")) == {"a", "b", "c", "year"}


def test_the_columns_of_a_condition_are_known() -> None:
    assert names_in(parse_condition("A = 1 AND (b IN (c, 2) OR NOT d LIKE 'x' OR e BETWEEN f AND g + 1)")) == set(
        "abcdefg"
    )


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("", "ends where a value is expected"),
        ("a = 1 AND", "ends where a value is expected"),
        ('a = "x"', "double quotes"),
        ("a = 'x\\'y'", "backslash"),
        ("a = 'x", "a text without its end"),
        ("a || b", "`||`"),
        ("a && b", "`&&`"),
        ("!a", "`!`"),
        ("a / 2 = 1", "`/`"),
        ("@x = 1", "a variable"),
        ("a = 1 -- x", "a comment"),
        ("a = 1 # x", "a comment"),
        ("LOWER(a) = 'x'", "function LOWER()"),
        ("NOW() > a", "function NOW()"),
        ("YEAR() = 1", "')'"),
        ("YEAR(a, b) = 1", "YEAR() takes 1 value(s), not 2"),
        ("IFNULL(a) = 1", "IFNULL() takes 2 value(s), not 1"),
        ("COALESCE(a = 1, 0)", "')'"),
        ("LENGTH(a) = 1", "function LENGTH()"),
        ("ABS(" * 100 + "a" + ")" * 100, "brackets"),
        ("a REGEXP 'x'", "REGEXP"),
        ("a LIKE b", "LIKE"),
        ("a LIKE 'x' ESCAPE '|'", "ESCAPE"),
        ("a = b = c", "use brackets"),
        ("(a = 1) = 1", "a condition as a value"),
        ("a = (b = 1)", "a condition as a value"),
        ("a + (b = 1)", "a condition as a value"),
        ("t.a = 1", "write the column alone"),
        ("a = 1e3", "is not taken as a number"),
        ("a = 0x10", "is not taken as a number"),
        ("a = X'10'", "before a text is not taken"),
        ("a = _utf8mb4'x'", "before a text is not taken"),
        ("a IS TRUE", "IS NULL"),
        ("a COLLATE utf8mb4_bin = 'x'", "COLLATE"),
        ("CASE WHEN a THEN 1 END", "CASE"),
        ("a = (SELECT 1)", "a query"),
        ("a > -b", "write 0 - x"),
        ("a = 1)", "')'"),
        ("(a = 1", "the end"),
        ("a ^ 1 = 1", "'^ 1 = 1'"),
        ("a IN ()", "')'"),
        ("(" * 100 + "a" + ")" * 100, "brackets"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_exactly_is_refused_by_name(sql: str, named: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_condition(sql)
    assert named in str(caught.value)
