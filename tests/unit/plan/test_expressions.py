"""One spelling of expressions that servers print in several ways, and never one for two that differ."""

from __future__ import annotations

import pytest

from pydbsync.plan.expressions import number_of, read_expression


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("((`a` + 1) * 2)", "(`a` + 1) * 2"),
        ("(((`a` between 1 and 2) and (`b` in (1,2))) or (`c` is not null))",
         "a BETWEEN 1 AND 2 AND b IN (1, 2) OR c IS NOT NULL"),
        (r"concat(`s`,_utf8mb4'it\'s \\')", r"CONCAT(`s`, 'it''s \\')"),
        ("concat(`s`,_latin1'x')", "concat(`s`,_utf8mb4'x')"),
        ("_utf8mb4'\u00e9'", "_utf8mb3'\u00e9'"),
        ("lcase(`t`.`s`)", "(lower(`s`))"),
        ("(`d` + interval 1 day)", "`d` + interval (1) day"),
        ("regexp_like(`s`,_utf8mb4'^x')", "`s` regexp '^x'"),
        ("(not(regexp_like(`s`,_utf8mb4'^x')))", "`s` not regexp '^x'"),
        ("(`a` is null)", "isnull(a)"),
        ("(`a` % 3)", "mod(`a`,3)"),
        ("now()", "CURRENT_TIMESTAMP"),
        ("(`a` and (`b` and `c`))", "a and b and c"),
        ("cast(`s` as char charset utf8mb3)", "cast(s as char charset utf8)"),
        ("(case when (`a` > 1) then _utf8mb4'x' else _utf8mb4'y' end)", "case when a > 1 then 'x' else 'y' end"),
        ("x'6162'", "0x6162"),
        ("(`s` like _utf8mb4'x%')", r"s like 'x%' escape '\\'"),
        ("json_unquote(json_extract(`j`,_utf8mb4'$.a'))", "j ->> '$.a'"),
        ("_utf8mb4'a' 'b'", "'ab'"),
        ("-(1)", "-1"),
        ("((`a`,`b`) in ((1,2),(3,4)))", "(a, b) IN ((1, 2), (3, 4))"),
        ("nextval(`shop`.`s`)", "nextval(`other`.`s`)"),
        ("10,'x',MAXVALUE", "10, 'x', maxvalue"),
    ],
)  # fmt: skip
def test_one_expression_has_one_spelling(one: str, other: str) -> None:
    assert read_expression(one).text == read_expression(other).text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(`a` + 1) * 2", "`a` + 1 * 2"),
        ("a - (b - 1)", "a - b - 1"),
        ("a / b / 2", "a / (b / 2)"),
        ("not a = b", "(not a) = b"),
        ("a and b or c", "a and (b or c)"),
        ("a = b > 1", "a = (b > 1)"),
        ("-a * b", "-(a + b)"),
        ("concat(s, 'x')", "concat(s, 'X')"),
        ("concat(s, 'x')", "concat(s, 'x ')"),
        (r"'\\'", r"'\\\\'"),
        ("'\\n'", "'n'"),
        ("_binary'x'", "_utf8mb4'x'"),
        ("_latin1'\u00e9'", "_utf8mb4'\u00e9'"),
        ("_ucs2'ab'", "'ab'"),
        ("_latin1 x'e9'", "_utf8mb4 x'e9'"),
        ("x'6162'", "'ab'"),
        ("'1'", "1"),
        ("1", "1.0"),
        ("'a'", "a"),
        ("`null`", "null"),
        ("cast(a as char)", "cast(a as char(10))"),
        ("cast(a as signed)", "cast(a as unsigned)"),
        ("substr(s, 1, 2)", "substr(s, 12)"),
        ("f(a, b)", "f(b, a)"),
        ("f((a, b))", "f(a, b)"),
        ("trim(leading 'x' from s)", "trim(trailing 'x' from s)"),
        ("d + interval 1 day", "d + interval 1 month"),
        ("interval(a, 1)", "interval a day"),
        ("s like 'x%'", "s like 'x%' escape '|'"),
        ("a is true", "a is not true"),
        ("a in (1)", "a not in (1)"),
        ("case a when 1 then 2 end", "case when a then 1 else 2 end"),
        ("a <=> b", "a = b"),
        ("s collate utf8mb4_bin = 'x'", "s = 'x'"),
        ("a", "a b"),
        ("a)", "a"),
        ("(a", "a, b"),
    ],
)
def test_two_expressions_have_two_spellings(one: str, other: str) -> None:
    assert read_expression(one).text != read_expression(other).text


def test_functions_of_one_brand_are_told() -> None:
    assert read_expression("concat(lower(`s`), if(a > 1, 'x', 'y'))").is_shared
    assert not read_expression("json_value(`j`, '$.a')").is_shared
    assert not read_expression("'a quote that does not end").is_shared


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("'1.50'", "1.5"),
        ("1.5", "1.5"),
        ("0.00", "0"),
        ("1e3", "1000"),
        ("'x'", "'x'"),
        ("'nan'", "'nan'"),
        ("-0", "-0"),
    ],
)
def test_a_number_has_one_spelling(text: str, number: str) -> None:
    assert number_of(text) == number
