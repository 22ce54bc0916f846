"""Which ALTER TABLE is run again with writers held off: one that no row can be a duplicate by."""

from __future__ import annotations

import pytest

from pydbsync.plan.ddl.online_log import hold_writers


@pytest.mark.parametrize(
    ("sql", "held"),
    [
        ("ALTER TABLE t ADD c INT", "ALTER TABLE t LOCK=SHARED, ADD c INT"),
        (
            "ALTER TABLE `d`.`t` /* a */ ADD COLUMN (a INT, b INT), ADD KEY k (a), ADD FULLTEXT (b) -- x",
            "ALTER TABLE `d`.`t` /* a */ LOCK=SHARED, ADD COLUMN (a INT, b INT), ADD KEY k (a), ADD FULLTEXT (b) -- x",
        ),
        ("ALTER TABLE t ADD `unique` INT DEFAULT 1", "ALTER TABLE t LOCK=SHARED, ADD `unique` INT DEFAULT 1"),
    ],
)
def test_what_only_adds_is(sql: str, held: str) -> None:
    assert hold_writers(sql, brand="mysql") == held


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE t ADD c INT UNIQUE",
        "ALTER TABLE t ADD c INT KEY",
        "ALTER TABLE t ADD UNIQUE (c)",
        "ALTER TABLE t ADD CONSTRAINT x PRIMARY KEY (c)",
        "ALTER TABLE t ADD c SERIAL",
        "ALTER TABLE t MODIFY c CHAR(1)",
        "ALTER TABLE t ADD c INT, CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE t DROP c, ADD KEY (d)",
        "ALTER TABLE t ADD c INT, LOCK=NONE",
        "ALTER TABLE t ADD PARTITION (PARTITION p VALUES LESS THAN (1))",
        "CREATE TABLE t (a INT)",
        "RENAME TABLE a TO b",
    ],
)
def test_what_may_meet_a_duplicate_of_its_own_is_not(sql: str) -> None:
    assert hold_writers(sql, brand="mysql") is None
