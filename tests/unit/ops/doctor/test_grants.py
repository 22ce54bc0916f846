from __future__ import annotations

import pytest

from pydbsync.ops.doctor.grants import grant_statement, read_grants, roles_of

MARIADB = [
    "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*A'",
    "GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`",
    "GRANT ALL PRIVILEGES ON `py\\_state`.* TO `u`@`%` WITH GRANT OPTION",
    "GRANT DELETE ON `shop`.`orders` TO `u`@`%`",
    "GRANT UPDATE (a, b), SELECT ON `crm`.`t` TO `u`@`%`",
    "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `u`@`%`",
    "GRANT `reader` TO `u`@`%`",
]
MYSQL = [
    "GRANT SELECT, PROCESS ON *.* TO `u`@`%`",
    "GRANT BACKUP_ADMIN,CONNECTION_ADMIN ON *.* TO `u`@`%`",
    "REVOKE SELECT ON `secret`.* FROM `u`@`%`",
    "GRANT INSERT ON `shard%`.* TO `u`@`%`",
]


@pytest.mark.parametrize(
    ("lines", "privileges", "database", "table", "missing"),
    [
        (MARIADB, ("SELECT", "INSERT", "UPDATE"), "shop", "*", ["UPDATE"]),
        (MARIADB, ("DELETE",), "shop", "*", ["DELETE"]),
        (MARIADB, ("DELETE", "SELECT"), "shop", "orders", []),
        (MARIADB, ("CREATE", "ALTER"), "py_state", "*", []),
        (MARIADB, ("CREATE",), "pyxstate", "*", ["CREATE"]),
        (MARIADB, ("UPDATE", "SELECT"), "crm", "t", ["UPDATE"]),
        (MARIADB, ("EXECUTE",), "shop", "*", ["EXECUTE"]),
        (MARIADB, ("PROCESS",), "*", "*", ["PROCESS"]),
        (MYSQL, ("SELECT", "PROCESS", "BACKUP_ADMIN"), "*", "*", []),
        (MYSQL, ("SELECT",), "shop", "*", []),
        (MYSQL, ("SELECT",), "secret", "*", ["SELECT"]),
        (MYSQL, ("INSERT",), "shard12", "*", []),
        (["GRANT BINLOG MONITOR, REPLICATION SLAVE ON *.* TO `u`@`%`"], ("REPLICATION CLIENT",), "*", "*", []),
        (["GRANT SUPER ON *.* TO `u`@`%`"], ("REPLICATION CLIENT", "SELECT"), "*", "*", ["SELECT"]),
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"], ("REPLICATION SLAVE", "DROP"), "any", "*", []),
        (["GRANT SELECT ON `a``b`.* TO `u`@`%`"], ("SELECT",), "a`b", "*", []),
    ],
)
def test_grants_are_read_as_the_server_means_them(
    lines: list[str], privileges: tuple[str, ...], database: str, table: str, missing: list[str]
) -> None:
    assert read_grants(lines).lacks(privileges, database, table) == missing


def test_the_statement_names_scope_and_account() -> None:
    assert grant_statement(["SELECT"], "a`b", "*", "it's@10.%") == "GRANT SELECT ON `a``b`.* TO 'it''s'@'10.%';"
    assert grant_statement(["PROCESS"], "*", "*", "u@%") == "GRANT PROCESS ON *.* TO 'u'@'%';"
    assert grant_statement(["SELECT", "DELETE"], "d", "t", "u@h") == "GRANT SELECT, DELETE ON `d`.`t` TO 'u'@'h';"


@pytest.mark.parametrize(
    ("line", "roles"),
    [
        ("GRANT `reader` TO `u`@`%`", ["`reader`"]),
        ("GRANT `reader`@`%`,`a``b`@`h` TO `u`@`%` WITH ADMIN OPTION", ["`reader`@`%`", "`a``b`@`h`"]),
        ("GRANT reader TO 'u'@'%'", ["reader"]),
        ("GRANT SELECT ON `TO`.* TO `u`@`%`", []),
        ("GRANT PROXY ON ``@`%` TO `u`@`%`", []),
    ],
)
def test_roles_are_found_among_grants(line: str, roles: list[str]) -> None:
    assert roles_of(line) == roles
