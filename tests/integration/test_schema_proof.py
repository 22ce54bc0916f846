"""A statement that the target refuses is done only if the live structure proves it clause by clause."""

from __future__ import annotations

import json
import logging
import re
from typing import NamedTuple

import pytest

from tests.integration.engine import parked, replay
from tests.maxwell import Binlog
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

DONE, PARKED = "done", "parked"


class Case(NamedTuple):
    live: str
    """The table `d.t` as it is at the target."""
    sql: str
    columns: str
    """What the message describes after it, in order: `name:type`, int where no type is given."""
    outcome: str
    """DONE, PARKED, or the part of the statement that runs."""
    says: str = ""
    """What the reason or the log must tell."""


PLAIN = "(id INT PRIMARY KEY, a INT, d DATETIME, n DECIMAL(10,0))"
RANGED = "(id INT PRIMARY KEY, a INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10)"

CASES = {
    # clauses that are missing are carried out, those that are done are not
    "a key that never came": Case(
        PLAIN,
        "ALTER TABLE t DROP INDEX k1, MODIFY d DATETIME(3), MODIFY n DECIMAL(10,2), ADD INDEX k2 (a, n)",
        "id a d:datetime n:decimal",
        "ALTER TABLE t MODIFY d DATETIME(3), MODIFY n DECIMAL(10,2), ADD INDEX k2 (a, n)",
    ),
    "comments in every gap": Case(
        PLAIN,
        "/* a */ ALTER /* b */ TABLE t /*, DROP a */ DROP /* c */ INDEX k1 /* d */, /* e */ ADD KEY k2 (a) -- f, g",
        "id a d n",
        "ADD KEY k2 (a)",
    ),
    "a version comment": Case(
        PLAIN, "ALTER TABLE t DROP KEY k1 /*!40000 , ADD KEY k2 (a) */", "id a d n", "ADD KEY k2 (a)"
    ),
    "a column that is there": Case(
        "(id INT PRIMARY KEY, b DECIMAL(5,1), a INT)",
        "ALTER TABLE t ADD COLUMN a INT, ADD UNIQUE KEY kb (b), MODIFY b DECIMAL(9,2)",
        "id b a",
        "ALTER TABLE t ADD UNIQUE KEY kb (b), MODIFY b DECIMAL(9,2)",
    ),
    "one of two columns": Case(
        "(id INT PRIMARY KEY, a INT)", "ALTER TABLE t ADD a INT, ADD b INT DEFAULT 4", "id a b", "ADD b INT DEFAULT 4"
    ),
    "the latter of two columns": Case(
        "(id INT PRIMARY KEY, b INT)", "ALTER TABLE t ADD a INT, ADD b INT", "id a b", PARKED, "id, b, a"
    ),
    "the latter of two columns with a place": Case(
        "(id INT PRIMARY KEY, b INT)", "ALTER TABLE t ADD a INT AFTER id, ADD b INT AFTER a", "id a b", PARKED, ""
    ),
    "a check": Case(
        "(id INT PRIMARY KEY, a INT)",
        "ALTER TABLE t DROP KEY k, ADD CONSTRAINT c3 CHECK (a > 0)",
        "id a",
        "CHECK (a > 0)",
    ),
    "a foreign key that is there": Case(
        "(id INT PRIMARY KEY, a INT, CONSTRAINT f1 FOREIGN KEY (a) REFERENCES d.p (id))",
        "ALTER TABLE t DROP KEY k, DROP FOREIGN KEY f1, ADD CONSTRAINT f3 FOREIGN KEY (a) REFERENCES p (id)",
        "id a",
        "ALTER TABLE t DROP FOREIGN KEY f1, ADD CONSTRAINT f3 FOREIGN KEY (a) REFERENCES p (id)",
    ),
    "a check that is there": Case(
        "(id INT PRIMARY KEY, a INT, CONSTRAINT c4 CHECK (a > 0))",
        "ALTER TABLE t DROP KEY k, DROP CONSTRAINT c4, ADD b INT",
        "id a b",
        "ALTER TABLE t DROP CONSTRAINT c4, ADD b INT",
    ),
    "a counter": Case(
        "(id INT AUTO_INCREMENT PRIMARY KEY, a INT)", "ALTER TABLE t DROP KEY k, AUTO_INCREMENT=7", "id a", "AUTO_INC"
    ),
    # all is there
    "types, defaults, keys": Case(
        "(id INT, a INT DEFAULT 5 COMMENT 'x', b VARCHAR(9) NOT NULL, PRIMARY KEY (id, b), UNIQUE KEY u (a),"
        " KEY k (b(3)), CONSTRAINT ck CHECK (a > 0))",
        "ALTER TABLE t ADD a INT DEFAULT 5 COMMENT 'x', ADD b VARCHAR(9) NOT NULL AFTER a, DROP PRIMARY KEY,"
        " ADD PRIMARY KEY (id, b), ADD UNIQUE KEY u (a), ADD KEY k (b(3)), ADD CONSTRAINT ck CHECK (a > 0)",
        "id a b",
        DONE,
    ),
    "columns, keys and constraints": Case(
        "(id INT PRIMARY KEY, a INT DEFAULT 5 COMMENT 'x', b VARCHAR(9) NOT NULL, UNIQUE KEY u (a), KEY k (b(3)),"
        " CONSTRAINT c2 CHECK (a > 0), CONSTRAINT fk FOREIGN KEY (a) REFERENCES d.p (id))",
        "ALTER TABLE t ADD a INT DEFAULT 5 COMMENT 'x', ADD COLUMN (b VARCHAR(9) NOT NULL), ADD UNIQUE KEY u (a),"
        " ADD KEY k (b(3)), ADD CONSTRAINT c2 CHECK (a > 0), ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES p (id),"
        " DROP COLUMN z, DROP KEY y, ENGINE=InnoDB",
        "id a b",
        DONE,
    ),
    "more columns at the target": Case(
        "(id INT PRIMARY KEY, own INT, a INT, late INT)", "ALTER TABLE t ADD a INT", "id a", DONE
    ),
    "a serial column": Case("(id INT, a SERIAL)", "ALTER TABLE t ADD a SERIAL", "id a", DONE),
    "a primary column": Case(
        "(b INT, id INT AUTO_INCREMENT PRIMARY KEY)",
        "ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY",
        "b id",
        DONE,
    ),
    "a changed column": Case("(id INT PRIMARY KEY, b BIGINT)", "ALTER TABLE t CHANGE a b BIGINT", "id b:bigint", DONE),
    "a generated column": Case(
        "(id INT PRIMARY KEY, a INT, g INT AS (a + 1) STORED)",
        "ALTER TABLE t ADD g INT AS (a+1) STORED",
        "id a g",
        DONE,
    ),
    "a table that is there": Case(
        "(id INT PRIMARY KEY, a INT)", "CREATE TABLE t (id INT PRIMARY KEY, a INT)", "id a", DONE
    ),
    "a table that has more": Case(
        "(id INT PRIMARY KEY, a INT, c INT, KEY (a))", "CREATE TABLE t (id INT PRIMARY KEY, a INT)", "id a", DONE
    ),
    "an index that is there": Case(
        "(id INT PRIMARY KEY, a INT, UNIQUE KEY k (a) USING BTREE)",
        "CREATE UNIQUE INDEX k USING BTREE ON t (a)",
        "id a",
        DONE,
    ),
    "an index that is gone": Case("(id INT PRIMARY KEY, a INT)", "DROP INDEX k ON t", "id a", DONE),
    "a partition that is there": Case(
        f"{RANGED}, PARTITION p1 VALUES LESS THAN (20))",
        "ALTER TABLE t ADD PARTITION (PARTITION p1 VALUES LESS THAN (20))",
        "id a",
        DONE,
    ),
    # something of that name is there, and it is another
    "another type": Case(
        "(id INT PRIMARY KEY, a BIGINT)", "ALTER TABLE t ADD a INT, ADD KEY k (a)", "id a", PARKED, "bigint"
    ),
    "another default": Case(
        "(id INT PRIMARY KEY, a INT DEFAULT 1)", "ALTER TABLE t ADD a INT DEFAULT 2", "id a", PARKED, "2"
    ),
    "another character set": Case(
        "(id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET latin1)",
        "ALTER TABLE t ADD a VARCHAR(9)",
        "id a",
        PARKED,
        "latin1",
    ),
    "another place": Case(
        "(id INT PRIMARY KEY, b INT, a INT)", "ALTER TABLE t ADD a INT AFTER id", "id a b", PARKED, "order"
    ),
    "another place beside a check": Case(
        "(id INT PRIMARY KEY, b INT, a INT)",
        "ALTER TABLE t ADD b INT, ADD CONSTRAINT c3 CHECK (a > 0)",
        "id a b",
        PARKED,
        "id, b, a",
    ),
    "another place and another name": Case(
        "(id INT PRIMARY KEY, b INT, a INT)", "ALTER TABLE t ADD b INT, RENAME TO u", "id a b", PARKED, "id, b, a"
    ),
    "another key": Case(
        "(id INT PRIMARY KEY, a INT, b INT, KEY k (a))", "ALTER TABLE t ADD KEY k (a, b)", "id a b", PARKED, "(`a`,`b`)"
    ),
    "a key that is not unique": Case(
        "(id INT PRIMARY KEY, a INT, KEY k (a))", "CREATE UNIQUE INDEX k ON t (a)", "id a", PARKED, "UNIQUE KEY `k`"
    ),
    "another primary key": Case(
        "(id INT, a INT, PRIMARY KEY (a))", "ALTER TABLE t ADD PRIMARY KEY (id)", "id a", PARKED, "PRIMARY KEY (`a`)"
    ),
    "a renamed column": Case(
        "(id INT PRIMARY KEY, b INT DEFAULT 3)", "ALTER TABLE t RENAME COLUMN a TO b", "id b", PARKED, "default"
    ),
    "a renamed column beside one of its new name": Case(
        "(id INT PRIMARY KEY, a INT, b INT)", "ALTER TABLE t RENAME COLUMN a TO b", "id b", PARKED, "column a still"
    ),
    "a column whose letters are changed": Case(
        "(id INT PRIMARY KEY, B INT)", "ALTER TABLE t RENAME COLUMN b TO B, DROP KEY k", "id B", DONE
    ),
    "one column renamed, one dropped": Case(
        "(id INT PRIMARY KEY, c INT)", "ALTER TABLE t DROP COLUMN a, CHANGE b c INT", "id c", PARKED, "which of them"
    ),
    "one column renamed, one to be dropped": Case(
        "(id INT PRIMARY KEY, a INT, c INT)",
        "ALTER TABLE t DROP COLUMN a, CHANGE b c INT, DROP KEY k",
        "id c",
        "DROP COLUMN a",
    ),
    "two columns renamed, in an order that nobody tells": Case(
        "(id INT PRIMARY KEY, d INT, c INT)",
        "ALTER TABLE t CHANGE a c INT, CHANGE b d INT",
        "-",
        PARKED,
        "which of them",
    ),
    "two columns renamed": Case(
        "(id INT PRIMARY KEY, c INT, d INT)", "ALTER TABLE t CHANGE a c INT, CHANGE b d INT", "id c d", DONE
    ),
    "a renamed table": Case(
        "(id INT PRIMARY KEY, a INT)", "ALTER TABLE was_t RENAME TO t, ADD KEY k (a)", "id a", "ADD KEY k (a)"
    ),
    "another table under the new name": Case(
        "(id INT PRIMARY KEY, a BIGINT)", "ALTER TABLE was_t RENAME TO t", "id a", PARKED, "bigint"
    ),
    "another column renamed": Case(
        "(id INT PRIMARY KEY, b VARCHAR(5))", "ALTER TABLE t RENAME COLUMN a TO b", "id b", PARKED, "varchar"
    ),
    "another table": Case(
        "(id INT PRIMARY KEY, a VARCHAR(5))", "CREATE TABLE t (id INT PRIMARY KEY, a INT)", "id a", PARKED, "varchar(5)"
    ),
    "a table of another collation": Case(
        "(id VARCHAR(5) PRIMARY KEY) COLLATE utf8mb4_general_ci",
        "CREATE TABLE t (id VARCHAR(5) PRIMARY KEY) COLLATE utf8mb4_bin",
        "id",
        PARKED,
        "utf8mb4_bin",
    ),
    "a column taken away and made again": Case(
        "(id INT PRIMARY KEY, a VARCHAR(9))",
        "ALTER TABLE t DROP KEY k, DROP a, ADD a VARCHAR(9)",
        "id a",
        PARKED,
        "anew",
    ),
    "a key under another name": Case(
        "(id INT PRIMARY KEY, a INT)", "ALTER TABLE t RENAME INDEX k TO k2, ADD b INT", "id a b", PARKED, "which key"
    ),
    "partitions by another rule": Case(
        "(id INT PRIMARY KEY, a INT) PARTITION BY HASH (id) PARTITIONS 2",
        "ALTER TABLE t DROP PARTITION p7, p8",
        "id a",
        PARKED,
    ),
    "no partitions": Case("(id INT PRIMARY KEY, a INT)", "ALTER TABLE t TRUNCATE PARTITION p0", "id a", PARKED),
    "a partition that is gone": Case(
        f"{RANGED})", "ALTER TABLE t DROP PARTITION p1", "id a", PARKED, "rows go with the partition"
    ),
    "a partition with another border": Case(
        f"{RANGED}, PARTITION p1 VALUES LESS THAN (20))",
        "ALTER TABLE t ADD PARTITION (PARTITION p1 VALUES LESS THAN (30))",
        "id a",
        PARKED,
    ),
}


TELLS_NOTHING = "-"
"""What Debezium and canal say of a table before and after a statement."""

# What MariaDB passes over because of IF [NOT] EXISTS: the source did it, by what its message tells of before and after.
GUARDED = {
    "another column": ("", "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT", "id", "id a", "`a` varchar(5)"),
    "another place": ("", "ALTER TABLE t ADD IF NOT EXISTS (a VARCHAR(5))", "id x", "id x a:varchar", "another order"),
    "the same column": ("", "ALTER TABLE t ADD COLUMN IF NOT EXISTS a VARCHAR(5), ADD b INT", "id",
                        "id a:varchar b", DONE),
    "a column that the source had too": ("", "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT", "id a:varchar",
                                         "id a:varchar", DONE),
    "no column to modify": ("", "ALTER TABLE t MODIFY COLUMN IF EXISTS z INT", "id z", "id z", "has no column z"),
    "no column to change": ("", "ALTER TABLE t CHANGE IF EXISTS z y INT", "id z", "id y", "has no column y"),
    "no column to rename": ("", "ALTER TABLE t RENAME COLUMN IF EXISTS z TO y", "id z", "id y", "has no column y"),
    "no default to set": ("", "ALTER TABLE t ALTER COLUMN IF EXISTS z SET DEFAULT 5", "id z", "id z", "column 'z'"),
    "none at the source either": ("", "ALTER TABLE t MODIFY IF EXISTS z INT, DROP KEY IF EXISTS k", "id a", "id a",
                                  DONE),
    "taken away, made anew": ("", "ALTER TABLE t DROP COLUMN IF EXISTS z, ADD z INT", "id z a", "id a z", DONE),
    "no table": ("n", "ALTER TABLE IF EXISTS n ADD x INT", "id", "id x", "n"),
    "no table to rename": ("n", "RENAME TABLE IF EXISTS n TO m", "id", "id", "neither of them"),
    "another table": ("", "CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY, a INT)", "", "id a", "`a` varchar(5)"),
    "the same table": ("", "CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY, a VARCHAR(5))", "", "id a", DONE),
    "a statement alone": ("", "CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY, a INT)", TELLS_NOTHING, TELLS_NOTHING,
                          "told: `a` varchar(5)"),
    "another key": ("", "ALTER TABLE t ADD KEY IF NOT EXISTS ka (id)", "id a", "id a", "told: `ka`"),
    "the same key": ("", "CREATE INDEX IF NOT EXISTS ka ON t (a)", "id a", "id a", DONE),
    "another border": ("r", "ALTER TABLE r ADD PARTITION IF NOT EXISTS (PARTITION p1 VALUES LESS THAN (30))",
                       "id", "id",
                       "told: "),
    "the same border": ("r", "ALTER TABLE r ADD PARTITION IF NOT EXISTS (PARTITION p1 VALUES LESS THAN (20))",
                        "id", "id",
                        DONE),
    "another index": ("", "CREATE UNIQUE INDEX IF NOT EXISTS ka ON t (a)", "id a", "id a", "told: UNIQUE KEY `ka`"),
}  # fmt: skip
BOTH_BRANDS = ("another table", "the same table", "a statement alone")


@pytest.mark.parametrize(("name", "sql", "before", "after", "says"), GUARDED.values(), ids=GUARDED)
def test_what_the_target_passes_over_is_proven_too(
    fresh_target: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest, name: str, sql: str, before: str, after: str, says: str,
) -> None:  # fmt: skip
    case = request.node.callspec.id
    if fresh_target.brand == "mysql" and case not in BOTH_BRANDS:
        pytest.skip("MySQL knows IF EXISTS of tables and databases alone")
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, a VARCHAR(5), KEY ka (a))")
    fresh_target.query(f"CREATE TABLE d.r {RANGED}, PARTITION p1 VALUES LESS THAN (20))")
    kind = "table-alter" if "INDEX" in sql or "RENAME TABLE" in sql else ""
    (message,) = binlog.ddl(sql, f"d.{name or 't'}", kind=kind, columns=["id"])
    replay(fresh_target, [described(described(message, before, "old"), after)])
    told = " ".join(each.getMessage() for each in caplog.records if "passed over" in each.getMessage())
    if says == DONE or says.startswith("told: "):
        assert parked(fresh_target) == []
        assert (says == DONE) == (not told)
        assert says == DONE or says.removeprefix("told: ") in told
    else:
        (found,) = parked(fresh_target)
        assert "the target has passed over a part of it" in found.reason
        assert says in found.reason


def described(message: bytes, columns: str, when: str = "def") -> bytes:
    """The message with these columns and types in what it describes afterwards."""
    found = json.loads(message)
    parts = [column.partition(":") for column in columns.split()]
    if columns == TELLS_NOTHING:
        found.pop(when, None)
    elif when in found:
        found[when]["columns"] = [{"type": kind or "int", "name": name, "signed": True} for name, _, kind in parts]
    return json.dumps(found).encode()


def test_what_is_refused_is_done_as_far_as_the_structure_proves(
    fresh_target: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    replay(fresh_target, binlog.ddl("CREATE DATABASE d", "d"))
    fresh_target.query("CREATE TABLE d.p (id INT PRIMARY KEY)")
    names = {f"t{number}": case for number, case in enumerate(CASES.values())}
    messages, statements = [], {}
    for table, case in names.items():
        fresh_target.query(f"CREATE TABLE d.{table} {case.live}")
        statements[table] = re.sub(r"\b(was_)?t\b", rf"\g<1>{table}", case.sql)
        kind = "table-create" if case.sql.startswith("CREATE TABLE") else "table-alter"
        was = f"d.was_{table}" if "was_t" in case.sql else ""
        [message] = binlog.ddl(statements[table], f"d.{table}", kind=kind, columns=["id"], was=was)
        messages.append(described(message, case.columns))
    before = {table: fresh_target.query(f"SHOW CREATE TABLE d.{table}") for table in names}
    caplog.set_level(logging.INFO)
    replay(fresh_target, messages)
    reasons = {each.table.partition(".")[2].removeprefix("was_"): each.reason for each in parked(fresh_target)}
    notes = dict(fresh_target.query("SELECT statement, note FROM pydbsync.schema_change"))
    faults = {}
    for (title, case), table in zip(CASES.items(), names, strict=True):
        reason, note = reasons.get(table, ""), notes[statements[table]]
        is_changed = fresh_target.query(f"SHOW CREATE TABLE d.{table}") != before[table]
        if case.outcome == PARKED:
            is_right = bool(reason) and case.says in reason and not is_changed
        elif case.outcome == DONE:
            is_right = not reason and not is_changed and note.startswith("not run, the target has all of it already")
        else:
            ran = re.sub(rf"\b{table}\b", "t", note.partition("; ran: ")[2])
            is_right = not reason and is_changed and case.outcome in ran
        if not is_right or f"schema change: {statements[table]}" in caplog.text:
            faults[title] = (reason, note, is_changed)
    assert faults == {}
    assert fresh_target.query("SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'proof%'") == []
