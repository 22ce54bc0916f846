"""What a statement of one of several sources would take from the others."""

from __future__ import annotations

import pytest

from pydbsync.model import Column
from pydbsync.plan.ddl.merged import RanStatement, columns_taken, cut_values, ran_for, retyped, takes_rows, took_column

TAKES: dict[str, tuple[str, ...] | None] = {
    "DROP TABLE t": (),
    "TRUNCATE t": (),
    "CREATE OR REPLACE TABLE t (a INT)": (),
    "CREATE TABLE t (a INT)": None,
    "RENAME TABLE t TO u, u2 TO t": (),
    "ALTER TABLE t ADD a INT, RENAME TO u": (),
    "ALTER TABLE t RENAME KEY a TO b, RENAME COLUMN c TO d": None,
    "ALTER TABLE t DROP a, DROP PRIMARY KEY": None,
    "ALTER IGNORE TABLE t ADD UNIQUE (a)": (),
    "ALTER TABLE t ADD a INT COMMENT 'IGNORE', ROW_FORMAT=DYNAMIC ENGINE = blackhole": (),
    "ALTER TABLE t ENGINE 'BlackHole'": (),
    "ALTER TABLE t ENGINE=InnoDB COMMENT 'BLACKHOLE', ADD `ignore` INT": None,
    "ALTER TABLE t DROP PARTITION p0, `p 1`": ("p0", "p 1"),
    "ALTER TABLE t DROP PARTITION IF EXISTS p0": ("p0",),
    "ALTER TABLE t TRUNCATE PARTITION ALL": (),
    "ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE x": ("p0",),
    "ALTER TABLE t CONVERT PARTITION p0 TO TABLE x": ("p0",),
    "ALTER TABLE t ADD PARTITION (PARTITION p2 VALUES LESS THAN (5))": None,
    "ALTER TABLE t REORGANIZE PARTITION p0 INTO (PARTITION p2 VALUES LESS THAN (5))": None,
}


@pytest.mark.parametrize("sql", TAKES)
def test_the_rows_that_a_statement_takes(sql: str) -> None:
    assert takes_rows(sql, brand="mariadb") == TAKES[sql]


def test_the_columns_that_a_statement_takes() -> None:
    sql = "ALTER TABLE t DROP a, DROP COLUMN IF EXISTS b, CHANGE c d INT, RENAME COLUMN f TO g, DROP KEY k"
    assert columns_taken(sql, brand="mariadb") == ["a", "b", "c", "f"]
    assert columns_taken("ALTER TABLE t CHANGE e e INT, MODIFY f INT", brand="mariadb") == []
    assert columns_taken("CREATE TABLE t (a INT)", brand="mariadb") == []


def test_who_is_ahead() -> None:
    ran = [
        RanStatement("a", "ALTER TABLE t DROP c"),
        RanStatement("a", "ALTER TABLE t ADD c INT"),
        RanStatement("b", "not a statement"),
    ]
    assert ran_for("b", "ALTER  TABLE t\nDROP c", ran) == "a"
    assert ran_for("a", "ALTER TABLE t DROP c", ran) is None
    assert ran_for("b", "ALTER TABLE t ADD c BIGINT", ran) is None
    assert took_column("b", "C", ran, brand="mysql") == "a"
    assert took_column("b", "d", ran, brand="mysql") is None
    in_step = [*ran, RanStatement("b", "ALTER TABLE t CHANGE c x INT")]
    assert took_column("b", "c", in_step, brand="mysql") is None


def test_the_columns_that_a_statement_defines_anew() -> None:
    sql = "ALTER TABLE t ADD a INT, MODIFY b DATE AFTER a, /* c */ CHANGE `c` d INT, ADD KEY (b), RENAME COLUMN e TO f"
    assert retyped(sql, brand="mysql") == [
        ("b", "b", "ALTER TABLE t MODIFY b DATE AFTER a"),
        ("c", "d", "ALTER TABLE t CHANGE `c` d INT"),
    ]
    assert retyped("CREATE TABLE t (a INT)", brand="mysql") == []


def of_type(text: str) -> Column:
    """`varchar(9)` as information_schema describes it, in utf8mb4."""
    kind, _, length = text.partition("(")
    size = int(length[:-1].split(",")[0]) if length and kind not in ("enum", "set") else None
    digits = size or 0 if kind in ("datetime", "timestamp", "time") else 0
    return Column(name="a`", kind=kind, column_type=text, size=size, digits=digits, collation="utf8mb4_bin")


TOO_LONG = "CHAR_LENGTH(`a```) > 5 AND CHAR_LENGTH(TRIM(TRAILING ' ' FROM `a```)) <= 5"
CUT = {
    ("decimal(9,2)", "decimal(9,1)"): "`a``` <> ROUND(`a```, 1)",
    ("decimal(9,2)", "decimal(12,2)"): "",
    ("decimal(9,2)", "bigint(20)"): "`a``` <> ROUND(`a```)",
    ("double", "int"): "`a``` <> ROUND(`a```)",
    ("double", "float"): "`a``` IS NOT NULL",
    ("double", "double(9,2)"): "`a``` IS NOT NULL",
    ("float", "double"): "",
    ("smallint", "float"): "",
    ("int", "float"): "`a``` IS NOT NULL",
    ("bigint", "double"): "CAST(`a``` + 0e0 AS DECIMAL(65,0)) <> `a```",
    ("decimal(30,9)", "double"): "CAST(`a``` + 0e0 AS DECIMAL(65,9)) <> `a```",
    ("int", "bigint"): "",
    ("bigint", "tinyint"): "",
    ("datetime(6)", "datetime(3)"): "MICROSECOND(`a```) % 1000 <> 0",
    ("timestamp(3)", "datetime"): "MICROSECOND(`a```) % 1000000 <> 0",
    ("datetime", "timestamp(6)"): "",
    ("datetime(3)", "date"): "TIME(`a```) <> '00:00:00'",
    ("date", "datetime"): "",
    ("datetime", "time"): "`a``` IS NOT NULL",
    ("date", "year"): "`a``` IS NOT NULL",
    ("varchar(9)", "char(5)"): f"(`a``` LIKE '% ' OR {TOO_LONG})",
    ("char(9)", "varchar(5)"): TOO_LONG,
    ("varbinary(9)", "binary(9)"): "LENGTH(`a```) <> 9",
    ("binary(9)", "varbinary(9)"): "",
    ("int", "varchar(20)"): "",
    ("float", "varchar(20)"): "`a``` IS NOT NULL",
    ("varchar(9)", "int"): "`a``` IS NOT NULL",
    ("enum('a','b')", "enum('b')"): "",
    ("enum('a','b')", "int"): "`a``` IS NOT NULL",
    ("datetime", "varchar(30)"): "",
}


@pytest.mark.parametrize(("before", "after"), CUT)
def test_the_values_that_another_type_cuts_in_silence(before: str, after: str) -> None:
    assert cut_values(of_type(before), of_type(after)) == CUT[before, after]
    assert cut_values(of_type(before), of_type(before)) == ""
