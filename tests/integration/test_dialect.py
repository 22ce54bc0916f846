"""What is written for the other brand is understood there."""

from __future__ import annotations

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.raw_connection import RawConnection
from pydbsync.errors import ConfigError
from tests.servers import Endpoint
from tests.unit.plan.dialect_cases import TO_MARIADB, TO_MYSQL

BEFORE = {
    "mariadb": (
        "CREATE TABLE t (a INT, b JSON, visible INT, KEY k (a), KEY l (a), CONSTRAINT c CHECK (a > 0))",
        "CREATE TABLE u (a INT)",
    ),
    "mysql": ("CREATE TABLE t (a INT, b INT, KEY k (a), KEY l (a))",),
}
NEEDS_MORE = {
    "EXCHANGE PARTITION": "a partitioned table",
    "ENCRYPTED=YES": "a server with keys",
    "ENCRYPTION='Y'": "a server with keys",
    "CHECK (json_valid(j)), l": "a CHECK of another column, which MySQL refuses (3813): parked",
}


def runnable(cases: list[tuple[str, str]]) -> list[str]:
    return [expected for _, expected in cases if not any(words in expected for words in NEEDS_MORE)]


def run(target: Endpoint, sql: str) -> None:
    with target.connect() as connection, connection.cursor() as cursor:
        if "DATABASE" in sql:
            prepared: tuple[str, ...] = ("DROP DATABASE IF EXISTS d",) if sql.startswith("CREATE") else ()
        else:
            prepared = () if sql.startswith("CREATE") else BEFORE[target.brand]
        cursor.execute("DROP DATABASE IF EXISTS d")
        cursor.execute("CREATE DATABASE d CHARACTER SET utf8mb4")
        cursor.execute("USE d")
        for statement in (*prepared, sql):
            cursor.execute(statement)
        cursor.execute("SHOW WARNINGS")
        assert [warning for warning in cursor.fetchall() if "nknown" in str(warning)] == []


@pytest.mark.mariadb
@pytest.mark.parametrize("sql", runnable(TO_MARIADB))
def test_mariadb_understands(fresh_target: Endpoint, sql: str) -> None:
    run(fresh_target, sql)


@pytest.mark.mysql
@pytest.mark.parametrize("sql", runnable(TO_MYSQL))
def test_mysql_understands(mysql_target: Endpoint, sql: str) -> None:
    run(mysql_target, sql)


@pytest.mark.parametrize(("key", "way"), [("db_info", "newer$"), ("source_db_info", "say source_server: mysql 5.6")])
def test_a_mysql_older_than_5_7_is_refused(
    fresh_target: Endpoint, monkeypatch: pytest.MonkeyPatch, key: str, way: str
) -> None:
    monkeypatch.setattr(RawConnection, "get_server_info", lambda _self: "5.6.24-log")
    with pytest.raises(ConfigError, match=rf"is MySQL 5\.6\.24-log, and must be 5\.7 or .*{way}"):
        Connection(fresh_target.db_info, key=key)
