from __future__ import annotations

import pytest

from pydbsync.plan.row_order import unproven_of
from pydbsync.plan.statement import parse_statement


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
