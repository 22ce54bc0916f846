from __future__ import annotations

import pytest

from pydbsync.plan.ddl.row_order import unproven_of
from pydbsync.plan.ddl.statement import parse_statement


@pytest.mark.parametrize(
    ("sql", "keyless", "keyed"),
    [
        ("ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY", ["id"], []),
        ("ALTER TABLE t ADD COLUMN (a INT, `i d` INT NOT NULL AUTO_INCREMENT, UNIQUE (`i d`))", ["i d"], []),
        ("ALTER TABLE t ADD n SERIAL", ["n"], []),
        ("ALTER TABLE t MODIFY a INT AUTO_INCREMENT, ADD KEY (a)", ["a"], []),
        ("ALTER TABLE t CHANGE a b INT /* x */ AUTO_INCREMENT FIRST", ["b"], []),
        ("ALTER TABLE t ADD a INT COMMENT 'AUTO_INCREMENT', AUTO_INCREMENT = 7", [], []),
        ("ALTER TABLE t ADD auto_increment_ INT, ADD `AUTO_INCREMENT` INT", [], []),
        ("ALTER TABLE t ADD u CHAR(36) DEFAULT (UUID()), ADD r DOUBLE DEFAULT (rand())", ["u", "r"], ["u", "r"]),
        ("ALTER TABLE t ADD u CHAR(36) DEFAULT 'uuid()'", [], []),
        ("ALTER TABLE t ADD u UUID, ADD rand INT, ADD user INT, ADD g INT AS (version + 1)", [], []),
        (
            "ALTER TABLE t ADD u VARCHAR(99) DEFAULT CURRENT_USER, ADD c INT DEFAULT (connection_id ())",
            ["u", "c"],
            ["u", "c"],
        ),
        ("ALTER TABLE t ALTER u SET DEFAULT (UUID()), MODIFY v CHAR(36) DEFAULT (UUID())", [], []),
        ("ALTER IGNORE TABLE t ADD UNIQUE (a)", [""], []),
        ("ALTER TABLE t ADD UNIQUE (a)", [], []),
        ("ALTER TABLE t DROP a", [], []),
        ("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY)", [], []),
    ],
)
def test_what_the_text_leaves_to_the_server(sql: str, keyless: list[str], keyed: list[str]) -> None:
    statement = parse_statement(sql)
    assert [each.column for each in unproven_of(statement, has_key=False)] == keyless
    assert [each.column for each in unproven_of(statement, has_key=True)] == keyed


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("ALTER TABLE t ADD n INT AUTO_INCREMENT UNIQUE, MODIFY id BIGINT AUTO_INCREMENT", ["n"]),
        ("ALTER TABLE t ADD (a DATETIME(3) DEFAULT now(3), b TIMESTAMP NULL DEFAULT current_timestamp)", ["a", "b"]),
        ("ALTER TABLE t ADD a DATETIME DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP COMMENT 'NOW()'", []),
        ("ALTER TABLE t MODIFY a DATETIME DEFAULT NOW(), ALTER b SET DEFAULT (CURRENT_TIMESTAMP)", []),
    ],
)
def test_what_one_source_s_statement_gives_the_rows_of_all(sql: str, columns: list[str]) -> None:
    statement = parse_statement(sql)
    assert [each.column for each in unproven_of(statement, has_key=True, is_merged=True)] == columns
    assert unproven_of(statement, has_key=True) == []
