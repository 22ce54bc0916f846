"""What must hold for the clauses of a refused statement, and how two tables' texts differ."""

from __future__ import annotations

import pytest

from pydbsync.model import TableName
from pydbsync.plan.ddl.proof import Demand, Named, database_defaults, read_demands, table_like
from pydbsync.plan.ddl.shown_table import ShownTable, missing, read_shown, without_name


def demands(sql: str) -> list[Demand]:
    return [demand for part in read_demands(sql, brand="mariadb").parts for demand in part.demands]


RESTATED = {
    "ALTER TABLE t ADD a INT DEFAULT 1 AFTER b": ["MODIFY COLUMN `a` INT DEFAULT 1 AFTER b"],
    "ALTER TABLE t ADD COLUMN (a INT, `key` INT)": ["MODIFY COLUMN `a` INT", "MODIFY COLUMN `key` INT"],
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT": ["MODIFY COLUMN `a` INT"],
    "ALTER TABLE t CHANGE a b INT FIRST": ["MODIFY COLUMN `b` INT FIRST"],
    "ALTER TABLE t ADD KEY IF NOT EXISTS k (a)": ["ADD KEY  k (a)"],
    "ALTER TABLE t ADD (KEY k (a), UNIQUE (b))": ["ADD KEY k (a)", "ADD UNIQUE (b)"],
    "ALTER TABLE t ALTER a SET DEFAULT 5, COMMENT 'x'": ["ALTER a SET DEFAULT 5", "COMMENT 'x'"],
    "ALTER TABLE t ADD PARTITION (PARTITION p1 VALUES IN (1, 2), PARTITION p2 VALUES IN (3))": [
        "REORGANIZE PARTITION `p1`, `p2` INTO (PARTITION p1 VALUES IN (1, 2), PARTITION p2 VALUES IN (3))"
    ],
    "CREATE UNIQUE INDEX k USING BTREE ON d.t (a, b(5)) COMMENT 'x'": [
        "ADD UNIQUE INDEX `k` USING BTREE  (a, b(5)) COMMENT 'x'"
    ],
    "CREATE VECTOR INDEX k ON t (a) M=8": ["ADD VECTOR INDEX `k`   (a) M=8"],
    "CREATE INDEX `on` ON t (a)": ["ADD  INDEX `on`   (a)"],
}


@pytest.mark.parametrize("sql", RESTATED)
def test_clauses_are_said_again_as_what_changes_nothing(sql: str) -> None:
    assert [demand.restated for demand in demands(sql)] == RESTATED[sql]


GONE = {
    "ALTER TABLE t DROP A, DROP COLUMN IF EXISTS b": [Named("column", "a"), Named("column", "b")],
    "ALTER TABLE t DROP PRIMARY KEY, DROP KEY k": [Named("primary key", ""), Named("key", "k")],
    "ALTER TABLE t DROP FOREIGN KEY f, DROP CONSTRAINT c": [Named("constraint", "f"), Named("key or constraint", "c")],
    "ALTER TABLE t RENAME COLUMN a TO b": [Named("column", "a")],
    "ALTER TABLE t REMOVE PARTITIONING": [Named("partition", "")],
    "DROP INDEX `PRIMARY` ON t": [Named("primary key", "")],
    "DROP INDEX k ON t": [Named("key", "k")],
}


@pytest.mark.parametrize("sql", GONE)
def test_what_a_clause_takes_away_must_be_gone(sql: str) -> None:
    assert [gone for demand in demands(sql) for gone in demand.gone] == GONE[sql]


@pytest.mark.parametrize(
    "clause",
    [
        "DROP PARTITION p0, p1", "TRUNCATE PARTITION p0", "COALESCE PARTITION 2", "ADD PARTITION PARTITIONS 2",
        "EXCHANGE PARTITION p0 WITH TABLE x", "CONVERT TABLE x TO PARTITION p0 VALUES LESS THAN (5)",
        "CONVERT PARTITION p0 TO TABLE x", "RENAME KEY a TO b", "ORDER BY a, b", "DISCARD TABLESPACE",
    ],
)  # fmt: skip
def test_what_no_structure_tells_is_not_proven(clause: str) -> None:
    assert any(demand.unproven for demand in demands(f"ALTER TABLE t {clause}"))


def test_a_column_that_goes_and_comes_is_known() -> None:
    assert read_demands("ALTER TABLE t DROP a, ADD A INT, DROP b, ADD c INT", brand="mysql").remade_columns() == {"a"}
    assert read_demands("ALTER TABLE t CHANGE a b INT, ADD a INT", brand="mysql").remade_columns() == {"a"}
    assert read_demands("ALTER TABLE t CHANGE a A INT, DROP KEY a", brand="mysql").remade_columns() == set()


def test_the_parts_that_are_done_are_cut_out() -> None:
    found = read_demands("ALTER TABLE t DROP KEY k, /* x */ ADD (a INT, b INT), ENGINE=InnoDB", brand="mysql")
    assert found.without([True, False, False]) == "ALTER TABLE t ADD (a INT, b INT), ENGINE=InnoDB"
    assert found.without([False, True, True]) == "ALTER TABLE t DROP KEY k"


def test_version_comments_are_opened() -> None:
    found = read_demands("ALTER TABLE t DROP KEY k /*!50100 , ADD c INT */ /*!80000 INVISIBLE */", brand="mysql")
    assert found.without([True, False]).split() == ["ALTER", "TABLE", "t", "ADD", "c", "INT", "INVISIBLE"]


LIKE = {
    "CREATE TABLE t (a INT) -- x": "CREATE TABLE `s`.`p` (a INT) DEFAULT COLLATE=c -- x",
    "CREATE TABLE t (a INT CHARACTER SET utf8) ENGINE=InnoDB": (
        "CREATE TABLE `s`.`p` (a INT CHARACTER SET utf8) DEFAULT COLLATE=c ENGINE=InnoDB"
    ),
    "CREATE TABLE d.t (a INT) CHARSET=utf8": "CREATE TABLE `s`.`p` (a INT) CHARSET=utf8",
    "CREATE TABLE d.t LIKE x": "CREATE TABLE `s`.`p` LIKE x",
}


@pytest.mark.parametrize("sql", LIKE)
def test_a_table_is_made_under_another_name(sql: str) -> None:
    assert table_like(sql, TableName("s", "p"), brand="mysql", collation="c") == LIKE[sql]


SHOWN = """CREATE TABLE `t` (
  `Id` int NOT NULL,
  `k``y` varchar(9) DEFAULT ') ENGINE',
  PRIMARY KEY (`Id`),
  UNIQUE KEY `U` (`k``y`),
  FULLTEXT KEY `f` (`k``y`),
  CONSTRAINT `fk` FOREIGN KEY (`Id`) REFERENCES `d`.`p` (`id`),
  CONSTRAINT `ck` CHECK ((`Id` > 0))
) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4
/*!50100 PARTITION BY RANGE (`Id`)
(PARTITION p0 VALUES LESS THAN (10) ENGINE = InnoDB,
 PARTITION `P1` VALUES LESS THAN MAXVALUE ENGINE = InnoDB) */"""


def shown(**changes: str) -> ShownTable:
    text = SHOWN
    for old, new in changes.items():
        text = text.replace(old, new)
    return read_shown(text, database="d")


def test_the_parts_of_a_shown_table() -> None:
    table = shown()
    assert list(table.columns) == ["id", "k`y"]
    assert (set(table.keys), set(table.constraints)) == ({"u", "f"}, {"fk", "ck"})
    assert table.constraints["fk"] == "CONSTRAINT `fk` FOREIGN KEY (`Id`) REFERENCES `p` (`id`)"
    assert table.options == "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    assert table.partition_names == {"p0", "p1"}
    assert without_name(table.keys["u"]) == "UNIQUE KEY (`k``y`)"


def test_what_one_table_has_and_the_other_not() -> None:
    assert missing(shown(), shown()) == []
    assert missing(shown(), shown(int="bigint")) == [("`Id` int NOT NULL", "`Id` bigint NOT NULL")]
    assert missing(shown(fk="fk2"), shown()) == [("CONSTRAINT `fk2` FOREIGN KEY (`Id`) REFERENCES `p` (`id`)", "")]
    assert missing(shown(fk="fk2"), shown(), names_differ=True) == []
    assert missing(shown(UNIQUE="SPATIAL"), shown(), names_differ=True) != []
    assert missing(shown(p0="p2"), shown()) != []


def test_the_defaults_of_a_database() -> None:
    def of(options: str) -> tuple[str | None, str | None]:
        return database_defaults(f"CREATE DATABASE d {options}", brand="mariadb")

    assert of("") == (None, None)
    assert of("DEFAULT CHARACTER SET = utf8") == ("utf8mb3", None)
    assert of("CHARSET latin1 COLLATE = 'latin1_bin'") == ("latin1", "latin1_bin")
