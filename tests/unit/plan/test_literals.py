"""Literals: each JSON token as Maxwell writes it becomes the SQL of the same value, for each type of column."""

from __future__ import annotations

import base64
import json
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pydbsync.errors import PlanError
from pydbsync.model import Column
from pydbsync.plan.literals import float_bits, literal_for, real_label
from pydbsync.plan.target import Dialect

MYSQL = Dialect(is_mariadb=False, version=(9, 7))


def literal(token: str | bytes, kind: str, **options: Any) -> str:
    """The SQL of a token for a column of this kind; options are fields of Column or arguments of literal_for."""
    arguments = {name: options.pop(name) for name in ("is_binary", "shift_s", "dialect") if name in options}
    function, may_pass = literal_for(Column("c", kind, **options), **arguments)
    raw = token if isinstance(token, bytes) else token.encode()
    found = function(raw)
    if may_pass and not set(raw) & set(b"\\[{") and b"E-" not in raw:
        assert found in (raw, raw.upper()), "a plain token of such a column travels without a look"
    return found.decode("utf-8", "surrogateescape")


def b64(value: bytes) -> str:
    return json.dumps(base64.b64encode(value).decode())


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tinyint", "smallint", "mediumint", "int", "bigint", "bit", "decimal", "year"])
def test_null_is_null(kind: str) -> None:
    assert literal("null", kind).upper() == "NULL"


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        ("tinyint", "-128"), ("tinyint", "255"), ("int", "0"), ("int", "-2147483648"),
        ("bigint", "9223372036854775807"), ("bigint", "-9223372036854775808"),
        ("bigint", "18446744073709551615"), ("bit", "1"), ("bit", "2147483647"),
        ("decimal", "1.10"), ("decimal", "-0.000"), ("decimal", "9" * 35 + "." + "9" * 30),
        ("year", "1901"), ("year", "2155"),
    ],
)  # fmt: skip
def test_whole_and_exact_numbers_travel_as_they_are(kind: str, token: str) -> None:
    assert literal(token, kind) == token


@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ("0E-30", "0." + "0" * 30), ("1E-7", "0.0000001"), ("-1E-30", "-0." + "0" * 29 + "1"),
        ("1.234567890123456789012E-9", "0.000000001234567890123456789012"), ("0E-7", "0.0000000"),
    ],
)  # fmt: skip
def test_a_small_decimal_is_written_out_for_in_e_notation_it_would_be_a_double(token: str, sql: str) -> None:
    assert literal(token, "decimal") == sql


@pytest.mark.parametrize("token", ["true", '"hello"', "[1e5]", '"1e\xe9"'])
def test_what_is_no_decimal_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="is no DECIMAL"):
        literal(token, "decimal")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=30, min_value=-1, max_value=1))
def test_any_small_decimal_keeps_every_digit(value: Decimal) -> None:
    sql = literal(str(value), "decimal")
    assert "E" not in sql
    assert Decimal(sql).as_tuple() == value.as_tuple()


@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ("0.0", '"0.0"'), ("-0.0", '"-0.0"'), ("1.0E308", '"1.0E308"'), ("4.9E-324", '"4.9E-324"'), ("5", '"5"'),
        ("0.1", '"0.1"'), ("null", "null"),
    ],
)  # fmt: skip
def test_a_double_is_quoted_since_the_literal_of_minus_zero_has_no_sign(token: str, sql: str) -> None:
    assert literal(token, "double") == sql


@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ("0.1", '"0.10000000149011612"'), ("1.6777216E7", '"16777216.0"'), ("-0.0", '"-0.0"'),
        ("3.4028235E38", '"3.4028234663852886e+38"'), ("1.4E-45", '"1.401298464324817e-45"'), ("null", "null"),
        ('"0.1"', '"0.10000000149011612"'),
    ],
)  # fmt: skip
def test_a_float_is_the_double_of_exactly_its_value(token: str, sql: str) -> None:
    assert literal(token, "float") == sql


@pytest.mark.parametrize("token", ['"abc"', "[1]", "1e39", '""', '"inf"', '"NaN"'])
def test_what_is_no_float_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="is no FLOAT"):
        float_bits(token.encode())


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(struct.unpack("f", struct.pack("f", 16777217))[0])
def test_any_float_keeps_its_bits(value: float) -> None:
    found = float(float_bits(repr(value).encode()))
    assert struct.pack("f", found) == struct.pack("f", value)
    assert found == value


@pytest.mark.parametrize(
    ("token", "sql"),
    [("-2147483648", "2147483648"), ("-1", "4294967295"), ("2147483647", "2147483647"), ("0", "0"), ("null", "null")],
)
def test_bit_32_is_no_signed_number(token: str, sql: str) -> None:
    assert literal(token, "bit", size=32) == sql


@pytest.mark.parametrize(("token", "sql"), [("1900", "0"), ("1901", "1901"), ("2155", "2155"), ("0", "0")])
def test_year_zero_arrives_as_1900(token: str, sql: str) -> None:
    assert literal(token, "year") == sql


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["char", "varchar", "tinytext", "text", "mediumtext", "longtext"])
@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ('"plain"', '"plain"'), ('""', '""'), ('"null"', '"null"'), ('"it\'s"', '"it\'s"'), ('"100%_"', '"100%_"'),
        (r'"a\"b\\c\/d\ne"', r'"a\"b\\c\/d\ne"'), (r'"a\fb"', '"a\fb"'), (r'"\u000B"', '"\v"'), (r'"\u0000"', r'"\0"'),
        (r'"\uD83D\uDE00"', '"😀"'), (r'"\\u0041"', r'"\\u0041"'), (r'"\f\\\""', '"\f\\\\\\""'),
        ('"\u2028\u2029\x85\x7f"', '"\u2028\u2029\x85\x7f"'), (r'"\u001a"', r'"\Z"'), ("12", "12"), ("null", "null"),
    ],
)  # fmt: skip
def test_text_travels_as_it_is_but_for_escapes_that_mysql_does_not_know(kind: str, token: str, sql: str) -> None:
    assert literal(token, kind, charset="utf8mb4") == sql


@pytest.mark.parametrize("token", [r'"\ud83d"', r'"a\ude00b"', r'"\ud83d\u0041"'])
def test_half_a_surrogate_pair_is_refused(token: str) -> None:
    with pytest.raises(PlanError):
        literal(token, "varchar")


@pytest.mark.parametrize("token", ["[1]", "{}", '["a"]', '{"a":1}'])
@pytest.mark.parametrize("kind", ["varchar", "int", "decimal", "date", "time", "enum", "bit", "year", "double"])
def test_a_list_or_object_is_no_value_of_a_plain_column(kind: str, token: str) -> None:
    with pytest.raises(PlanError, match=r"a JSON (list|object) came for a column that takes one value"):
        literal(token, kind)


# -- binary ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["varbinary", "tinyblob", "blob", "mediumblob", "longblob"])
@pytest.mark.parametrize("value", [b"", b"\0", b"ab\0\0", bytes(range(256))])
def test_binary_arrives_as_base64(kind: str, value: bytes) -> None:
    assert literal(b64(value), kind, size=65535) == f"X'{value.hex()}'"
    assert literal("null", kind) == "NULL"


@pytest.mark.parametrize(
    ("token", "sql"),
    [('"YWI="', "X'61620000'"), ('""', "X'00000000'"), ("null", "NULL"), ('"YWJjZA=="', "X'61626364'")],
)
def test_binary_of_fixed_length_gets_its_trailing_zero_bytes_back(token: str, sql: str) -> None:
    assert literal(token, "binary", size=4) == sql


def test_base64_may_have_escaped_slashes() -> None:
    assert literal(r'"\/\/8="', "blob") == "X'ffff'"


@pytest.mark.parametrize("token", ['"a"', '"YWI"', '"Y W="', '"ä==="', "12", '["YWI="]', '"YWI=\\ud800"'])
def test_what_is_no_base64_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="a binary value is not"):
        literal(token, "blob")


def test_a_text_column_that_the_config_lists_as_binary_is_base64_too() -> None:
    assert literal('"YWI="', "varchar", is_binary=True) == "X'6162'"


# -- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        ("date", '"0000-00-00"'), ("date", '"9999-12-31"'), ("time", '"23:59:59.999999"'),
        ("datetime", '"0000-00-00 00:00:00"'), ("datetime", '"2024-02-29 12:34:56.789"'),
        ("timestamp", '"2038-01-19 03:14:07"'), ("timestamp", "null"),
    ],
)  # fmt: skip
def test_times_travel_as_they_are(kind: str, token: str) -> None:
    assert literal(token, kind, digits=6) == token


@pytest.mark.parametrize("kind", ["datetime", "varchar", "text", "char"])
@pytest.mark.parametrize(
    ("shift_s", "token", "sql"),
    [
        (28800, '"2024-01-31 20:00:00"', '"2024-02-01 04:00:00"'),
        (-19800, '"2024-01-01 00:00:00.123456"', '"2023-12-31 18:30:00.123456"'),
        (28800, '"2024-01-31 20:00:00.5"', '"2024-02-01 04:00:00.5"'),
        (28800, '"2024-01-31 20:00:00.120"', '"2024-02-01 04:00:00.120"'),
        (28800, '"1970-01-01 00:00:01"', '"1970-01-01 08:00:01"'),
        (28800, '"0000-00-00 00:00:00"', '"0000-00-00 00:00:00"'),
        (28800, "null", "NULL"),
    ],
)
def test_a_listed_timestamp_is_shifted_on_its_way_to_another_type(
    kind: str, shift_s: int, token: str, sql: str
) -> None:
    assert literal(token, kind, shift_s=shift_s) == sql


def test_a_listed_column_that_is_a_timestamp_is_not_shifted_twice() -> None:
    assert literal('"2024-01-31 20:00:00"', "timestamp", shift_s=28800) == '"2024-01-31 20:00:00"'


@pytest.mark.parametrize("token", ['"yesterday"', '"2024-13-01 00:00:00"', "5", '"9999-12-31 23:59:59"'])
def test_a_listed_column_that_holds_no_time_is_named(token: str) -> None:
    with pytest.raises(PlanError, match="c is listed in timestamp_columns"):
        literal(token, "datetime", shift_s=28800)


# -- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "sql"), [('"a"', '"a"'), ('"1"', '"1"'), ('""', '""'), ("null", "NULL"), ('"\\u00e9"', '"é"')]
)
def test_an_enum_is_its_label(token: str, sql: str) -> None:
    assert literal(token, "enum", labels=("a", "1", "", "é")) == sql


def test_the_error_value_of_an_enum_that_cannot_be_null_is_index_zero() -> None:
    assert literal("null", "enum", labels=("a",), nullable=False) == "0"
    assert literal("null", "enum", labels=("it's",)) == "NULL"


@pytest.mark.parametrize(
    ("sent", "label"),
    [
        ("it''s", "it's"), ("back\\\\slash", "back\\slash"), ("q''\\\\", "q'\\"), ("two''", "two''"), ("a ", "a"),
        ("a", "a"), ("unknown", "unknown"),
    ],
)  # fmt: skip
def test_a_label_that_maxwell_took_from_the_statement_is_found_as_the_column_has_it(sent: str, label: str) -> None:
    labels = ("a", "it's", "back\\slash", "q'\\", "two''")
    assert real_label(sent, labels) == label
    assert literal(json.dumps(sent), "enum", labels=labels) == f'"{label}"'.replace("\\", "\\\\")


@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ('["a","b"]', '"a,b"'), ("[]", '""'), ('[""]', '""'), ('["it\'\'s"]', '"it\'s"'), ("null", "NULL"),
        ('"a,b"', '"a,b"'),
    ],
)  # fmt: skip
def test_a_set_is_a_list_of_labels(token: str, sql: str) -> None:
    assert literal(token, "set", labels=("a", "b", "it's")) == sql


@pytest.mark.parametrize("token", ["[1]", '[["a"]]', "[null]"])
def test_a_set_of_something_else_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="not a list of labels"):
        literal(token, "set", labels=("a",))


# -- JSON and geometry -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ('{"a": 1e7, "b": [1.10, "x"]}', r'"{\"a\": 1e7, \"b\": [1.10, \"x\"]}"'), ('"text"', r'"\"text\""'),
        (r'{"a":"\u00e9\n\"\\"}', r'"{\"a\":\"\\u00e9\\n\\\"\\\\\"}"'), ("5", '"5"'), ("true", '"true"'),
        ("[]", '"[]"'), ("null", "NULL"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("native", [True, False])
def test_json_is_carried_as_text_with_its_escapes_and_numbers(token: str, sql: str, native: bool) -> None:
    assert literal(token, "json", native_json=native) == sql


def test_null_of_json_stands_where_sqls_null_cannot() -> None:
    assert literal("null", "json", nullable=False) == '"null"'
    assert literal('"null"', "json", nullable=False) == r'"\"null\""'


def on_mariadb(arguments: str) -> str:
    return f"IFNULL(CAST(ST_GeomFromText({arguments}) AS BINARY), 'no geometry')"


@pytest.mark.parametrize("kind", ["geometry", "point", "multipolygon", "geomcollection", "geometrycollection"])
def test_geometry_is_read_from_its_text(kind: str) -> None:
    assert literal('"POINT (1 2)"', kind) == on_mariadb('"POINT (1 2)", 0')
    assert literal('"POINT (1 2)"', kind, dialect=MYSQL) == 'ST_GeomFromText("POINT (1 2)", 0)'
    assert literal("null", kind) == "NULL"


@pytest.mark.parametrize("token", ['"POINT (1 2)x"', '"POINT"', '""', "1"])
def test_what_does_not_end_as_a_geometry_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="is no geometry"):
        literal(token, "geometry")


def test_geometry_takes_the_srid_of_its_column_and_mysql_the_order_of_axes() -> None:
    assert literal('"POINT (10 50)"', "point", srid=4326) == on_mariadb('"POINT (10 50)", 4326')
    on_mysql = literal('"POINT (10 50)"', "point", srid=4326, dialect=MYSQL)
    assert on_mysql == "ST_GeomFromText(\"POINT (10 50)\", 4326, 'axis-order=long-lat')"


def test_geometry_may_bring_its_own_srid() -> None:
    sql = literal('"SRID=3857;POINT (1 2)"', "geometry", dialect=MYSQL)
    assert sql == "ST_GeomFromText(\"POINT (1 2)\", 3857, 'axis-order=long-lat')"


@pytest.mark.parametrize("token", ['"SRID=;POINT (1 2)"', '"SRID=x;POINT (1 2)"', '"SRID=-1;POINT (1 2)"'])
def test_an_srid_that_is_no_number_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="SRID"):
        literal(token, "geometry")


@pytest.mark.parametrize(
    ("token", "sql"),
    [
        ('"MULTIPOINT ((1 1), (2 2))"', '"MULTIPOINT (1 1, 2 2)"'), ('"MULTIPOINT ((1 1))"', '"MULTIPOINT (1 1)"'),
        (
            '"GEOMETRYCOLLECTION (MULTIPOINT ((1 1),(2 2)), POINT (3 3), MULTIPOINT ((4 4)))"',
            '"GEOMETRYCOLLECTION (MULTIPOINT (1 1,2 2), POINT (3 3), MULTIPOINT (4 4))"',
        ),
        ('"MULTIPOINT EMPTY"', '"MULTIPOINT EMPTY"'),
    ],
)  # fmt: skip
def test_mariadb_wants_multipoint_without_inner_brackets(token: str, sql: str) -> None:
    assert literal(token, "geometry") == on_mariadb(f"{sql}, 0")
    assert literal(token, "geometry", dialect=MYSQL) == f"ST_GeomFromText({token}, 0)"
