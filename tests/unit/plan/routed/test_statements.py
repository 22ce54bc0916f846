"""Schema changes of tables with routes, as they are run or held."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.config.routes import ROUTES, RouteSettings
from pydbsync.errors import PlanError
from pydbsync.model import Column, SchemaChange, TableName, TableSchema
from pydbsync.plan.ddl.clauses import read_clauses
from pydbsync.plan.ddl.for_target import plan_schema_change
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.routed.definitions import keeps_values
from pydbsync.plan.routed.tables import TableRoutes

ROUTE = {
    "table": "shop.customers",
    "to": "archive.people",
    "columns": {
        "leave_out": ["note", "secret"],
        "rename": {"name": "full_name"},
        "add": {"site": {"value": 3, "type": "INT NOT NULL"}},
        "mask": {"email": "hash", "iban": None},
    },
    "where": "status <> 'gone'",
}


PEOPLE = TableSchema(
    name=TableName("archive", "people"),
    columns=(
        Column("id", "int"), Column("full_name", "varchar", "varchar(40)", charset="utf8mb4"),
        Column("email", "varchar", "varchar(80)", charset="utf8mb4"),
        Column("status", "varchar", "varchar(10)", charset="utf8mb4", nullable=False, collation="utf8mb4_general_ci"),
    ),
    primary_key=("id",), row_key=("id",), collation="utf8mb4_general_ci",
)  # fmt: skip


def planned(sql: str, *, table: str = "customers", route: dict[str, Any] | None = None, kind: str = "") -> str | None:
    (settings,) = ROUTES.read([{**ROUTE, **(route or {})}], "routes")

    def settings_of(name: TableName) -> RouteSettings | None:
        return settings if name in (TableName("shop", "customers"), TableName("shop", "customers_2")) else None

    def rename(name: TableName) -> TableName:
        return PEOPLE.name if settings_of(name) else name

    verb = kind or {"CREATE": "table-create", "DROP": "table-drop"}.get(sql.split(maxsplit=1)[0], "table-alter")
    change = SchemaChange(kind=verb, database="shop", table=table, ts=0, sql=sql)  # type: ignore[arg-type]
    found = plan_schema_change(
        change, rename=lambda database: database, in_scope=lambda database, table: True,
        routes=TableRoutes(rename, settings_of, lambda name: PEOPLE if name == PEOPLE.name else None),
    )  # fmt: skip
    return None if found is None else found.sql


RUN = [
    ("ALTER TABLE customers ADD a INT", "ALTER TABLE `archive`.`people` ADD a INT"),
    ("ALTER TABLE shop.customers ADD a INT AFTER note", "ALTER TABLE `archive`.`people` ADD a INT "),
    ("ALTER TABLE customers ADD a INT AFTER name", "ALTER TABLE `archive`.`people` ADD a INT AFTER `full_name`"),
    ("ALTER TABLE customers DROP COLUMN note, ADD a INT", "ALTER TABLE `archive`.`people` ADD a INT"),
    ("ALTER TABLE customers ADD a INT, MODIFY note TEXT, ADD b INT",
     "ALTER TABLE `archive`.`people` ADD a INT, ADD b INT"),
    ("ALTER TABLE customers DROP COLUMN note, DROP secret", None),
    ("ALTER TABLE customers ALTER COLUMN note SET DEFAULT 'x'", None),
    ("ALTER TABLE customers MODIFY name VARCHAR(99)", "ALTER TABLE `archive`.`people` MODIFY `full_name` VARCHAR(99)"),
    ("ALTER TABLE customers DROP COLUMN `Name`", "ALTER TABLE `archive`.`people` DROP COLUMN `full_name`"),
    ("ALTER TABLE customers ADD KEY name (name, email(5))",
     "ALTER TABLE `archive`.`people` ADD KEY name (`full_name`, email(5))"),
    ("ALTER TABLE customers ADD UNIQUE (note)", None),
    ("ALTER TABLE customers DROP COLUMN email", "ALTER TABLE `archive`.`people` DROP COLUMN email"),
    ("ALTER TABLE customers MODIFY iban VARCHAR(50)", "ALTER TABLE `archive`.`people` MODIFY iban VARCHAR(50)"),
    ("ALTER TABLE customers ADD a INT COMMENT 'note, name'",
     "ALTER TABLE `archive`.`people` ADD a INT COMMENT 'note, name'"),
    ("ALTER TABLE customers ADD COLUMN note VARCHAR(9), ADD COLUMN c INT",
     "ALTER TABLE `archive`.`people` ADD COLUMN c INT"),
    ("CREATE INDEX i ON customers (name, id)", "CREATE INDEX i ON `archive`.`people` (`full_name`, id)"),
    ("CREATE INDEX i ON customers (note(5))", None),
    ("TRUNCATE TABLE customers", "TRUNCATE TABLE `archive`.`people`"),
    ("DROP TABLE customers, other", "DROP TABLE `archive`.`people`, `shop`.`other`"),
    (
        "CREATE TABLE customers (id INT PRIMARY KEY, note TEXT, name VARCHAR(9) /* n */, KEY (name),"
        " KEY n (id, note(3)), CONSTRAINT c FOREIGN KEY (id) REFERENCES parents (id)) COMMENT='note'",
        "CREATE TABLE `archive`.`people` (id INT PRIMARY KEY, `full_name` VARCHAR(9), `site` INT NOT NULL /* n */,"
        " KEY `name` (`full_name`), CONSTRAINT c FOREIGN KEY (id) REFERENCES `shop`.`parents` (id)) COMMENT='note'",
    ),
    ("CREATE TABLE customers (note TEXT, id INT)", "CREATE TABLE `archive`.`people` (id INT, `site` INT NOT NULL)"),
    # a key is called at the target what it is called at the source
    ("ALTER TABLE customers ADD UNIQUE (name), ADD INDEX USING BTREE (Name, id), ADD KEY (id)",
     "ALTER TABLE `archive`.`people` ADD UNIQUE `name` (`full_name`),"
     " ADD INDEX `Name_2` USING BTREE (`full_name`, id), ADD KEY (id)"),
    ("ALTER TABLE customers ADD name VARCHAR(9) UNIQUE KEY COMMENT 'unique' AFTER id",
     "ALTER TABLE `archive`.`people` ADD `full_name` VARCHAR(9)  COMMENT 'unique' AFTER id,"
     " ADD UNIQUE KEY `name` (`full_name`)"),
    ("CREATE TABLE customers (name VARCHAR(9) UNIQUE, id INT, KEY (name, id))",
     "CREATE TABLE `archive`.`people` (`full_name` VARCHAR(9) , UNIQUE KEY `name` (`full_name`), id INT,"
     " `site` INT NOT NULL, KEY `name_2` (`full_name`, id))"),
    ("ALTER TABLE customers DROP KEY name", "ALTER TABLE `archive`.`people` DROP KEY name"),
    # foreign keys point at columns by the route of their table
    ("CREATE TABLE orders (id INT, c VARCHAR(9), FOREIGN KEY (c) REFERENCES customers (name))",
     "CREATE TABLE orders (id INT, c VARCHAR(9), FOREIGN KEY (c)"
     " REFERENCES `archive`.`people` (`full_name`))"),
    ("ALTER TABLE customers ADD mate VARCHAR(9) REFERENCES customers (name), ADD CONSTRAINT f FOREIGN KEY (name)"
     " REFERENCES others (name)",
     "ALTER TABLE `archive`.`people` ADD mate VARCHAR(9) REFERENCES `archive`.`people` (`full_name`), ADD CONSTRAINT f"
     " FOREIGN KEY (`full_name`) REFERENCES `shop`.`others` (name)"),
    # rows that are there are as the route makes them
    ("ALTER TABLE customers ADD COLUMN email VARCHAR(9) NULL DEFAULT NULL",
     "ALTER TABLE `archive`.`people` ADD COLUMN email VARCHAR(9) NULL DEFAULT NULL"),
    ("ALTER TABLE customers MODIFY status VARCHAR(12) NOT NULL DEFAULT 'x'",
     "ALTER TABLE `archive`.`people` MODIFY status VARCHAR(12) NOT NULL DEFAULT 'x'"),
    ("ALTER TABLE customers MODIFY status VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
     "ALTER TABLE `archive`.`people` MODIFY status VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
    ("ALTER TABLE customers DROP PARTITION p1", "ALTER TABLE `archive`.`people` DROP PARTITION p1"),
    # several tables that are one at the target
    ("CREATE TABLE customers_2 LIKE customers", None),
    ("DROP TABLE customers, customers_2, other", "DROP TABLE `archive`.`people`, `shop`.`other`"),
    ("RENAME TABLE customers TO customers_2", None),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), RUN)
def test_what_a_route_does_to_columns_is_done_to_definitions(sql: str, expected: str | None) -> None:
    assert planned(sql) == expected


HELD = [
    ("ALTER TABLE customers RENAME COLUMN email TO mail", "the column email becomes mail"),
    ("ALTER TABLE customers CHANGE email mail VARCHAR(9)", "the column email becomes mail"),
    ("ALTER TABLE customers CHANGE phone email VARCHAR(9)", "the column phone becomes email"),
    ("ALTER TABLE customers RENAME COLUMN status TO state", "the column status becomes state"),
    ("ALTER TABLE customers RENAME COLUMN note TO remark", "the column note becomes remark"),
    (
        "ALTER TABLE customers MODIFY email VARCHAR(50)",
        "the masks that are there were made for the former type of email",
    ),
    ("ALTER TABLE customers CHANGE email email VARCHAR(50)", "the former type of email"),
    ("ALTER TABLE customers DROP COLUMN status", "the condition of the route reads the column status"),
    ("ALTER TABLE customers ADD COLUMN site INT", "the source has a column site now"),
    ("ALTER TABLE customers ADD COLUMN full_name INT", "the source has a column full_name now"),
    ("ALTER TABLE customers DROP COLUMN full_name", "full_name is another column"),
    ("ALTER TABLE customers ADD CHECK (note <> '')", "an expression reads note"),
    ("ALTER TABLE customers ADD g INT AS (LENGTH(name))", "an expression reads name"),
    ("CREATE TABLE customers (id INT, note INT) PARTITION BY HASH (note)", "an expression reads note"),
    ("ALTER TABLE customers ADD (a INT, note TEXT)", "several columns are added in one bracket"),
    ("CREATE TABLE customers (note INT PRIMARY KEY, secret INT, PRIMARY KEY (secret))", "primary key is left out"),
    ("ALTER TABLE customers RENAME TO customers_old", "whose rows go by another route"),
    ("RENAME TABLE customers TO x", "whose rows go by another route"),
    ("RENAME TABLE x TO customers", "whose rows go by another route"),
    ("CREATE TABLE copy_of LIKE customers", "whose rows go by another route"),
    ("ALTER TABLE customers EXCHANGE PARTITION p WITH TABLE other", "rows move between"),
    ("ALTER TABLE other EXCHANGE PARTITION p WITH TABLE customers", "rows move between"),
    ("ALTER TABLE customers ADD COLUMN email VARCHAR(9) NOT NULL", "email would have the source's default"),
    ("ALTER TABLE customers ADD COLUMN iban VARCHAR(9) DEFAULT 'DE'", "iban would have the source's default"),
    ("ALTER TABLE customers ADD COLUMN (a INT, email VARCHAR(9) DEFAULT '')", "email would have the source's default"),
    ("ALTER TABLE customers ADD COLUMN copy VARCHAR(9) DEFAULT (UPPER(email))", "copy would carry it unmasked"),
    (
        "ALTER TABLE customers ADD COLUMN status VARCHAR(9)",
        "the condition of the route reads status, whose values come",
    ),
    ("ALTER TABLE customers MODIFY status VARCHAR(8) NOT NULL", "reads status, whose values may become others"),
    ("ALTER TABLE customers MODIFY status VARCHAR(12) COLLATE utf8mb4_bin", "status, whose values may become others"),
    ("ALTER TABLE customers MODIFY status VARCHAR(12) CHARACTER SET latin1", "status, whose values may become others"),
    ("ALTER TABLE customers CHANGE status status INT", "status, whose values may become others"),
    ("ALTER TABLE customers CONVERT TO CHARACTER SET utf8mb4", "reads status, which compare otherwise"),
    ("ALTER TABLE customers ADD n INT AUTO_INCREMENT PRIMARY KEY", "the rows would be numbered in n otherwise"),
    (
        "CREATE TABLE orders (c INT, FOREIGN KEY (c) REFERENCES customers (note))",
        "a foreign key points at customers.note",
    ),
]


@pytest.mark.parametrize(("sql", "why"), HELD)
def test_what_would_carry_values_unmasked_or_leave_wrong_rows_is_held(sql: str, why: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(sql)
    assert why in str(caught.value)


@pytest.mark.parametrize("verb", ["DROP", "TRUNCATE"])
def test_a_partition_by_a_masked_column_has_other_rows(verb: str) -> None:
    masked = {"columns": {"mask": {"id": "hash"}}, "where": "status <> 'gone'"}
    with pytest.raises(PlanError, match="which rows a partition has goes by their values, and id has others"):
        planned(f"ALTER TABLE customers {verb} PARTITION p1", route=masked)


@pytest.mark.parametrize(
    ("column", "definition", "kept"),
    [
        (Column("c", "int", "int(11)"), "BIGINT", True),
        (Column("c", "int", "int(11)"), "SMALLINT", False),
        (Column("c", "int", "int unsigned", unsigned=True), "INT", False),
        (Column("c", "int", "int unsigned", unsigned=True), "INTEGER UNSIGNED DEFAULT 3", True),
        (Column("c", "int", "int"), "INT NOT NULL", False),
        (Column("c", "int", "int", nullable=False), "INT(11) NOT NULL COMMENT 'x'", True),
        (Column("c", "decimal", "decimal(10,2)"), "DECIMAL(12,3)", True),
        (Column("c", "decimal", "decimal(10,2)"), "NUMERIC(12,1)", False),
        (Column("c", "decimal", "decimal(10,2)"), "DECIMAL(10,4)", False),
        (Column("c", "decimal", "decimal(10,0)"), "DECIMAL", True),
        (Column("c", "datetime", "datetime(3)", digits=3), "DATETIME(6)", True),
        (Column("c", "datetime", "datetime(3)", digits=3), "DATETIME", False),
        (Column("c", "date", "date"), "DATE", True),
        (Column("c", "date", "date"), "DATETIME", False),
        (Column("c", "enum", "enum('a','b')", labels=("a", "b"), charset="utf8mb4", collation="utf8mb4_bin"),
         "ENUM('a','b','c')", True),
        (Column("c", "enum", "enum('a','b')", labels=("a", "b"), charset="utf8mb4", collation="utf8mb4_bin"),
         "ENUM('b','a')", False),
        (Column("c", "text", "text", charset="utf8mb4", collation="utf8mb4_bin"), "LONGTEXT", True),
        (Column("c", "text", "text", charset="utf8mb4", collation="utf8mb4_general_ci"), "LONGTEXT", False),
        (Column("c", "varchar", "varchar(9)", charset="latin1", collation="latin1_bin"), "VARCHAR(9)", False),
        (Column("c", "varchar", "varchar(9)", charset="utf8mb4", collation="utf8mb4_bin"), "TEXT", False),
    ],
)  # fmt: skip
def test_which_definitions_keep_every_value(column: Column, definition: str, kept: bool) -> None:
    clause = read_clauses(parse_statement(f"ALTER TABLE t MODIFY c {definition}"))[0]
    assert keeps_values(clause.body, column, "utf8mb4_bin") is kept


def test_a_column_that_is_treated_alike_under_both_names_is_renamed() -> None:
    masked = {"columns": {"mask": {"email": "hash", "mail": "hash", "phone": None}, "leave_out": ["note", "remark"]}}
    expected = "ALTER TABLE `archive`.`people` RENAME COLUMN email TO mail"
    assert planned("ALTER TABLE customers RENAME COLUMN email TO mail", route=masked) == expected
    with pytest.raises(PlanError, match="or both otherwise: write the route for phone as for email, then retry"):
        planned("ALTER TABLE customers RENAME COLUMN email TO phone", route=masked)
    with pytest.raises(PlanError, match="the masks that are there were made for the former type"):
        planned("ALTER TABLE customers CHANGE email mail VARCHAR(9)", route=masked)


def test_a_table_that_is_made_needs_the_types_of_columns_that_are_added() -> None:
    columns = {"columns": {**ROUTE["columns"], "add": {"site": 3}}}  # type: ignore[dict-item]
    with pytest.raises(PlanError, match="does not give its type"):
        planned("CREATE TABLE customers (id INT)", route=columns)
    assert planned("ALTER TABLE customers ADD a INT", route=columns) == "ALTER TABLE `archive`.`people` ADD a INT"
