"""Keys without names: which of them are left out where several sources feed a table."""

from __future__ import annotations

import pytest

from pydbsync.plan.ddl.unnamed_keys import KeyPart, KeyShape, adds_unnamed_keys, without_keys_there

THERE = {
    "a": KeyShape("plain", (KeyPart("a"),)),
    "b": KeyShape("unique", (KeyPart("b", 5), KeyPart("a", None, True))),
    "c": KeyShape("fulltext", (KeyPart("c"),)),
    "e": KeyShape("vector", (KeyPart("e"),)),
}
CASES = {
    "ALTER TABLE t ADD KEY (a)": None,
    "ALTER TABLE t ADD INDEX (`A` ASC) USING BTREE": None,
    "ALTER TABLE t ADD UNIQUE INDEX USING BTREE (b(5), a DESC)": None,
    "ALTER TABLE t ADD CONSTRAINT UNIQUE (b(5), a DESC)": None,
    "ALTER TABLE t ADD FULLTEXT (c)": None,
    "ALTER TABLE t ADD VECTOR (e), ADD VECTOR KEY (e), ADD vector VARCHAR(9)": "ALTER TABLE t ADD vector VARCHAR(9)",
    "ALTER TABLE t ADD KEY (a(30))": None,  # as long as the column
    "ALTER TABLE t ADD KEY (a), ADD KEY (d), ADD FULLTEXT KEY (c)": "ALTER TABLE t ADD KEY (d)",
    "ALTER TABLE t ADD d INT, ADD KEY (a), ALGORITHM=INPLACE": "ALTER TABLE t ADD d INT, ALGORITHM=INPLACE",
    # other keys
    "ALTER TABLE t ADD UNIQUE (a)": ...,
    "ALTER TABLE t ADD KEY (a DESC)": ...,
    "ALTER TABLE t ADD KEY (a(5))": ...,
    "ALTER TABLE t ADD KEY (a, b)": ...,
    "ALTER TABLE t ADD KEY (c)": ...,
    "ALTER TABLE t ADD KEY ((a + 1))": ...,
    "ALTER TABLE t ADD KEY a (a)": ...,
    "ALTER TABLE t ADD PRIMARY KEY (a)": ...,
    "ALTER TABLE t ADD (d INT, KEY (a))": ...,
    "CREATE TABLE t (a INT, KEY (a))": ...,
    # what the statement takes away first is made again
    "ALTER TABLE t DROP KEY a, ADD KEY (a)": ...,
    "ALTER TABLE t DROP COLUMN a, ADD a INT, ADD KEY (a)": ...,
    "ALTER TABLE t CHANGE a x INT, ADD a INT, ADD KEY (a)": ...,
    "ALTER TABLE t RENAME KEY a TO x, ADD KEY (a)": ...,
    "ALTER TABLE t /*!80000 ADD KEY (a), */ ADD KEY (d)": ...,
}


@pytest.mark.parametrize("sql", CASES)
def test_keys_that_are_there_are_left_out(sql: str) -> None:
    expected = CASES[sql]
    found = without_keys_there(sql, brand="mysql", there=THERE, lengths={"a": 30})
    assert found == (sql if expected is ... else expected)


def test_only_keys_without_names_are_looked_for() -> None:
    assert adds_unnamed_keys("ALTER TABLE t ADD a INT, ADD KEY (a)", brand="mariadb")
    assert not adds_unnamed_keys("ALTER TABLE t ADD KEY k (a), ADD PRIMARY KEY (a), ADD a INT", brand="mariadb")
    assert not adds_unnamed_keys("RENAME TABLE t TO u", brand="mariadb")
