"""Schema changes of tables with routes, as they are run or held."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.config.routes import ROUTES, RouteSettings
from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl import plan_schema_change
from pydbsync.plan.routed.statements import TableRoutes

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


def planned(sql: str, *, table: str = "customers", route: dict[str, Any] | None = None, kind: str = "") -> str | None:
    (settings,) = ROUTES.read([{**ROUTE, **(route or {})}], "routes")

    def settings_of(name: TableName) -> RouteSettings | None:
        return settings if name == TableName("shop", "customers") else None

    def rename(name: TableName) -> TableName:
        return TableName("archive", "people") if settings_of(name) else name

    verb = kind or {"CREATE": "table-create", "DROP": "table-drop"}.get(sql.split(maxsplit=1)[0], "table-alter")
    change = SchemaChange(kind=verb, database="shop", table=table, ts=0, sql=sql)  # type: ignore[arg-type]
    found = plan_schema_change(
        change, rename=lambda database: database, in_scope=lambda database, table: True,
        routes=TableRoutes(rename, settings_of),
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
        " KEY (`full_name`), CONSTRAINT c FOREIGN KEY (id) REFERENCES `shop`.`parents` (id)) COMMENT='note'",
    ),
    ("CREATE TABLE customers (note TEXT, id INT)", "CREATE TABLE `archive`.`people` (id INT, `site` INT NOT NULL)"),
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
]


@pytest.mark.parametrize(("sql", "why"), HELD)
def test_what_would_carry_values_unmasked_or_leave_wrong_rows_is_held(sql: str, why: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(sql)
    assert why in str(caught.value)


def test_a_table_that_is_made_needs_the_types_of_columns_that_are_added() -> None:
    columns = {"columns": {**ROUTE["columns"], "add": {"site": 3}}}  # type: ignore[dict-item]
    with pytest.raises(PlanError, match="does not give its type"):
        planned("CREATE TABLE customers (id INT)", route=columns)
    assert planned("ALTER TABLE customers ADD a INT", route=columns) == "ALTER TABLE `archive`.`people` ADD a INT"
