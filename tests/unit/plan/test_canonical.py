"""A row's canonical text as SQL, and what counts as the same value."""

from __future__ import annotations

import pytest

from pydbsync.model import Column
from pydbsync.plan.canonical import ColumnForm, ComparedColumn, RowText, spell
from pydbsync.plan.target import Dialect

MARIADB, MYSQL = Dialect(is_mariadb=True), Dialect(is_mariadb=False, version=(9, 7, 0))

PACKET = 1 << 24


def text(
    name: str, *, charset: str = "utf8mb4", kind: str = "varchar", size: int = 400, nullable: bool = False
) -> Column:
    return Column(name, kind, charset=charset, size=size, nullable=nullable)


def both(column: Column) -> ComparedColumn:
    return ComparedColumn(column, column)


@pytest.mark.parametrize(
    ("column", "dialect", "sql"),
    [
        (Column("a", "int"), MYSQL, "`a`"),
        (Column("a", "int", column_type="int(5) unsigned zerofill"), MYSQL, "`a` + 0"),
        (Column("a", "decimal"), MYSQL, "`a`"),
        (Column("a", "decimal", column_type="decimal(5,2) unsigned zerofill"), MYSQL, "`a` + 0"),
        (Column("a", "bit"), MYSQL, "`a` + 0"),
        (Column("a", "datetime"), MYSQL, "`a`"),
        (Column("a", "uuid"), MARIADB, "CAST(`a` AS CHAR)"),
        (Column("a", "double"), MYSQL, "`a`"),
        (Column("a", "float"), MYSQL, "(`a` * 1e0)"),
        (text("a"), MYSQL, "`a`"),
        (text("a", charset="latin1"), MYSQL, "CONVERT(`a` USING utf8mb4)"),
        (text("a", kind="enum", charset="sjis"), MYSQL, "CONVERT(`a` USING utf8mb4)"),
        (Column("a", "varbinary", size=9), MYSQL, "`a`"),
        (Column("a", "point"), MARIADB, "`a`"),
        (Column("a", "json", native_json=True), MYSQL, "CAST(`a` AS CHAR)"),
        (Column("a", "json"), MARIADB, "IFNULL(JSON_LOOSE(`a`), `a`)"),
    ],
)
def test_each_type_has_a_form_that_all_servers_share(column: Column, dialect: Dialect, sql: str) -> None:
    assert spell(column, dialect, form=both(column).form) == sql


def test_no_two_rows_have_the_same_text() -> None:
    columns = [both(text("t", nullable=True)), both(Column("n", "int", nullable=False)), both(text("u"))]
    row = RowText(columns, MYSQL, is_source=True, across_brands=False, packet_bytes=PACKET)
    assert row.digest == (
        "SHA2(CONCAT_WS('#', `n`, CAST(`t` AS BINARY), CAST(`u` AS BINARY), LENGTH(`t`), LENGTH(`u`), ISNULL(`t`)),"
        " 256)"
    )


def test_values_that_may_be_long_enter_by_their_digest() -> None:
    row = RowText(
        [both(text("t", kind="longtext", size=2**32 - 1))],
        MYSQL,
        is_source=True,
        across_brands=False,
        packet_bytes=PACKET,
    )
    assert row.digest == "SHA2(CONCAT_WS('#', SHA2(`t`, 256)), 256)"


def test_what_replay_adds_to_listed_timestamps_is_added_before_comparing() -> None:
    column = ComparedColumn(Column("a", "timestamp"), Column("a", "datetime"), shift_s=28800)
    source = RowText([column], MYSQL, is_source=True, across_brands=False, packet_bytes=PACKET)
    target = RowText([column], MYSQL, is_source=False, across_brands=False, packet_bytes=PACKET)
    assert "`a` + INTERVAL 28800 SECOND" in source.digest
    assert "INTERVAL" not in target.digest


@pytest.mark.parametrize(
    ("source", "target", "form"),
    [
        (Column("a", "int"), Column("a", "bigint"), ColumnForm.PLAIN),
        (Column("a", "timestamp"), text("a"), ColumnForm.TEXT),
        (text("a"), Column("a", "varbinary"), ColumnForm.BINARY),
        (Column("a", "json"), text("a", kind="longtext"), ColumnForm.JSON),
        (Column("a", "decimal"), Column("a", "double"), ColumnForm.FLOAT),
    ],
)
def test_columns_of_two_types_take_the_more_demanding_form(source: Column, target: Column, form: ColumnForm) -> None:
    assert ComparedColumn(source, target).form is form


JSON = both(Column("a", "json"))
DOUBLE, FLOAT = both(Column("a", "double")), both(Column("a", "float"))
WHOLE_IN_DOUBLE = ComparedColumn(Column("a", "bigint"), Column("a", "double"))
DECIMAL_IN_DOUBLE = ComparedColumn(Column("a", "decimal"), Column("a", "double"))


@pytest.mark.parametrize(
    ("column", "source", "target", "across"),
    [
        (JSON, b'{"a": 1, "b": [1.50]}', b'{"b":[1.5],"a":1}', False),
        (JSON, b'{"a": 0.000000125}', b'{"a":1.249999999999999943435139782E-7}', True),
        (JSON, b'"\\u00e9"', '"é"'.encode(), False),
        (JSON, b"[0.10000000000000001, 4.94065645841247e-324]", b"[0.1, 5e-324]", True),
        (
            JSON,
            b"[18446744073709551616, -9223372036854775809]",
            b"[1.8446744073709552e19, -9.223372036854776e18]",
            True,
        ),
        (JSON, b'{"a": 1, "b": 3, "a": 2}', b'{"a": 2, "b": 3}', True),
        (DOUBLE, b"0.00001", b"1e-5", False),
        (DOUBLE, b"-0", b"0", True),
        (FLOAT, b"1.100000023841858", b"1.10000002384", False),
        (DECIMAL_IN_DOUBLE, b"0.100", b"0.1", False),
        (DECIMAL_IN_DOUBLE, b"10000000000000000000000.00", b"1e22", True),
        (WHOLE_IN_DOUBLE, b"9007199254740992", b"9.007199254740992e15", False),
        (both(text("a")), b"x", b"x", False),
        (both(text("a")), None, None, False),
    ],
)
def test_two_spellings_of_one_value_are_equal(
    column: ComparedColumn, source: bytes, target: bytes, across: bool
) -> None:
    assert column.equal(source, target, across_brands=across)


@pytest.mark.parametrize(
    ("column", "source", "target", "across"),
    [
        (JSON, b'{"a": 1}', b'{"a": 1.0}', False),
        (JSON, b"null", None, False),
        (JSON, b'{"a": 1, "a": 2}', b'{"a": 2}', False),
        (JSON, b'{"a": 1, "a": 2}', b'{"a": 2, "a": 1}', False),
        (JSON, b'{"a": 1, "a": 2}', b'{"a": 2, "a": 1}', True),
        (JSON, b"[18446744073709551615]", b"[1.8446744073709552e19]", True),
        (JSON, b"[18446744073709551616]", b"[18446744073709551617]", False),
        (JSON, b"0.1234567890123456789", b"0.1234567890123456788", False),
        (JSON, b"[1, 2]", b"[2, 1]", True),
        (JSON, b'"a"', b'"A"', True),
        (DOUBLE, b"0.1", b"0.10000000000000002", True),
        (DOUBLE, b"-0", b"0", False),
        (FLOAT, b"1.1", b"1.1000001", False),
        (WHOLE_IN_DOUBLE, b"9007199254740993", b"9007199254740992", False),
        (DECIMAL_IN_DOUBLE, b"0.10000000000000000001", b"0.1", True),
        (JSON, b"1e9999999", b"1e9999998", False),
        (JSON, b"1e99999999999999999999", b"1e99999999999999999998", False),
        (JSON, b"1." + b"0" * 1500 + b"1", b"1." + b"0" * 1500 + b"2", False),
        (both(text("a")), b"x", b"x ", False),
        (both(text("a")), b"", None, False),
    ],
)
def test_different_values_stay_different(column: ComparedColumn, source: bytes, target: bytes, across: bool) -> None:
    assert not column.equal(source, target, across_brands=across)
