"""What a statement of one of several sources would take from the others."""

from __future__ import annotations

import pytest

from pydbsync.plan.merged import Ran, columns_taken, ran_for, takes_rows, took_column

TAKES: dict[str, tuple[str, ...] | None] = {
    "DROP TABLE t": (),
    "TRUNCATE t": (),
    "CREATE OR REPLACE TABLE t (a INT)": (),
    "CREATE TABLE t (a INT)": None,
    "RENAME TABLE t TO u, u2 TO t": (),
    "ALTER TABLE t ADD a INT, RENAME TO u": (),
    "ALTER TABLE t RENAME KEY a TO b, RENAME COLUMN c TO d": None,
    "ALTER TABLE t DROP a, DROP PRIMARY KEY": None,
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
    ran = [Ran("a", "ALTER TABLE t DROP c"), Ran("a", "ALTER TABLE t ADD c INT"), Ran("b", "not a statement")]
    assert ran_for("b", "ALTER  TABLE t\nDROP c", ran) == "a"
    assert ran_for("a", "ALTER TABLE t DROP c", ran) is None
    assert ran_for("b", "ALTER TABLE t ADD c BIGINT", ran) is None
    assert took_column("b", "C", ran, brand="mysql") == "a"
    assert took_column("b", "d", ran, brand="mysql") is None
    in_step = [*ran, Ran("b", "ALTER TABLE t CHANGE c x INT")]
    assert took_column("b", "c", in_step, brand="mysql") is None
