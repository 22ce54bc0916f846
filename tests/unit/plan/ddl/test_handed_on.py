"""Statements in which names change hands are told from all others, and get their mark where the server reads it."""

from __future__ import annotations

import pytest

from pydbsync.model import TableName
from pydbsync.plan.ddl.altered_copy import on_copy, renamed_columns
from pydbsync.plan.ddl.handed_on import own_comment, read_handing_on, with_another_table, with_comment

HANDED_ON = {
    "RENAME TABLE a TO t, b TO a, t TO b": True,
    "RENAME TABLE d.a TO d.t, e.a TO d.a, d.t TO e.a": True,
    "RENAME TABLE a TO t, t TO a": False,
    "RENAME TABLE a TO a_old, a_new TO a": False,
    "ALTER TABLE t CHANGE a b INT, CHANGE b a INT": True,
    "ALTER TABLE t RENAME COLUMN `A` TO b, RENAME COLUMN B TO a /* swap */": True,
    "ALTER TABLE t DROP b, CHANGE a b INT, ADD a INT": True,
    "ALTER TABLE t CHANGE a b INT, CHANGE b c INT, CHANGE c a INT": True,
    "ALTER TABLE t CHANGE a b INT, ADD a INT": False,
    "ALTER TABLE t CHANGE a A BIGINT, MODIFY b INT": False,
    "ALTER TABLE t CHANGE a b INT, CHANGE b a INT, COMMENT = 'own'": True,
    "ALTER TABLE t CHANGE a b INT COMMENT 'of a column', CHANGE b a INT": True,
    "ALTER TABLE t CHANGE a b INT, CHANGE b a INT, RENAME TO u": False,
    "ALTER TABLE t ADD c INT, DROP c": False,
    "not SQL": False,
}


@pytest.mark.parametrize("sql", HANDED_ON)
def test_names_that_change_hands_are_noticed(sql: str) -> None:
    assert (read_handing_on(sql, brand="mysql") is not None) is HANDED_ON[sql]


def test_the_mark_stands_within_the_statement() -> None:
    renaming = read_handing_on("RENAME TABLE a TO t, b TO a, t TO b -- swap", brand="mysql")
    altering = read_handing_on("ALTER TABLE t /* x */ CHANGE a b INT, CHANGE b a INT", brand="mysql")
    assert renaming is not None
    assert altering is not None
    marked = with_another_table(renaming, TableName("s", "x"), TableName("s", "y"))
    assert marked == "RENAME TABLE a TO t, b TO a, t TO b, `s`.`x` TO `s`.`y` -- swap"
    assert with_comment(altering, "m") == "ALTER TABLE t /* x */ COMMENT = 'm', CHANGE a b INT, CHANGE b a INT"


def test_the_mark_stands_in_the_place_of_a_comment_of_the_statement_s_own() -> None:
    sql = "ALTER TABLE t ENGINE=InnoDB COMMENT 'one', CHANGE a b INT COMMENT 'no', CHANGE b a INT, COMMENT /* = */ = {}"
    altering = read_handing_on(sql.format("'it''s \\\\ own'"), brand="mysql")
    assert altering is not None
    assert own_comment(altering) == "it's \\ own"
    assert with_comment(altering, "m") == sql.replace("'one'", "'m'").format("'m'")


def test_a_copy_is_altered_without_what_is_said_of_constraints() -> None:
    copy = TableName("s", "c")
    sql = "ALTER TABLE d.t ADD x INT, DROP FOREIGN KEY f, ADD CONSTRAINT g FOREIGN KEY (x) REFERENCES p (id), DROP y"
    assert on_copy(sql, copy, brand="mysql") == "ALTER TABLE `s`.`c` ADD x INT, DROP y"
    assert on_copy("ALTER TABLE t ADD CHECK (x > 0), DROP CONSTRAINT k", copy, brand="mysql") == ""


def test_columns_are_followed_through_their_names() -> None:
    statements = ["ALTER TABLE t CHANGE a b INT, CHANGE c c BIGINT", "ALTER TABLE t RENAME COLUMN b TO d"]
    assert renamed_columns(statements, brand="mysql") == {"a": "d"}
