"""Capture sends with each DDL the session's settings that its meaning depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymysql
import pytest

from pydbsync.model import SchemaChange
from tests.integration.captured import Capture, decoded, run
from tests.servers import Endpoint

TIMES = "CREATE TABLE shop.t (id INT PRIMARY KEY, dt DATETIME, ts TIMESTAMP NULL)"
ROW = "INSERT INTO shop.t VALUES (1, '2024-01-01 12:00:00', '2024-01-01 12:00:00')"


@pytest.fixture
def shop(fresh_source: Endpoint, tmp_path: Path) -> Capture:
    """A capture that has begun, of a source with a database."""
    run(fresh_source, ["CREATE DATABASE shop"])
    begun = Capture(fresh_source, tmp_path)
    assert begun.read() == []
    return begun


def sessions(capture: Capture, *statements: str) -> list[dict[str, Any]]:
    return [message["session"] for message in capture.of(*statements) if "sql" in message]


def test_the_servers_collation_is_sent(shop: Capture) -> None:
    before, after = sessions(
        shop, "CREATE DATABASE a", "SET collation_server = utf8mb4_bin, collation_connection = latin1_bin",
        "CREATE DATABASE b",
    )  # fmt: skip
    assert before["collation_server"] == shop.source.query("SELECT @@collation_server")[0][0]
    assert (after["collation_server"], after["collation_connection"]) == ("utf8mb4_bin", "latin1_bin")


def test_the_time_zone_is_sent_where_existing_values_depend_on_it(shop: Capture) -> None:
    found = sessions(
        shop, TIMES, ROW, "SET time_zone = '+05:00'", "ALTER TABLE shop.t MODIFY dt TIMESTAMP NULL",
        "SET time_zone = 'SYSTEM'", "ALTER TABLE shop.t MODIFY ts DATETIME",
    )  # fmt: skip
    assert "time_zone" not in found[0]
    assert found[1]["time_zone"] == "+05:00"
    assert (found[2]["time_zone"], found[2]["system_time_zone"]) == ("SYSTEM", "+00:00")


def test_the_moment_of_now_has_its_fraction(shop: Capture) -> None:
    _, found = sessions(
        shop, TIMES, "SET timestamp = 1700000000.125", "ALTER TABLE shop.t ADD at DATETIME(6) DEFAULT NOW(6)"
    )
    assert found["timestamp"] == 1700000000.125


def test_the_meaning_of_timestamp_is_sent(shop: Capture) -> None:
    found = sessions(
        shop, "SET sql_mode = ''", "SET explicit_defaults_for_timestamp = 0", TIMES.replace(".t", ".t1"),
        "SET explicit_defaults_for_timestamp = 1", TIMES.replace(".t", ".t2"),
    )  # fmt: skip
    assert [each["explicit_defaults_for_timestamp"] for each in found] == [False, True]


def test_every_mode_has_its_name(shop: Capture) -> None:
    """All that the server knows, but for the two that the text is spelled without and for names of several modes."""
    brand = shop.source.brand
    found = sessions(
        shop, f"SET sql_mode = 'TRADITIONAL,ANSI{',ORACLE' if brand == 'mariadb' else ''},NO_BACKSLASH_ESCAPES'",
        "CREATE DATABASE a", f"SET sql_mode = {2**35 - 1 if brand == 'mariadb' else _every_mode(shop.source)}",
        "CREATE DATABASE b",
    )  # fmt: skip
    several = {"ANSI", "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL", "MYSQL323", "MYSQL40", "TRADITIONAL"}
    several |= {"NO_KEY_OPTIONS", "NO_TABLE_OPTIONS", "NO_FIELD_OPTIONS", "NOT_USED", "ANSI_QUOTES"}
    several.add("NO_BACKSLASH_ESCAPES")
    with shop.source.connect() as connection, connection.cursor() as cursor:
        for each in found:
            cursor.execute("SET sql_mode = %s", (each["sql_mode"],))
        cursor.execute(f"SET sql_mode = {2**35 - 1 if brand == 'mariadb' else _every_mode(shop.source)}")
        cursor.execute("SELECT @@sql_mode")
        every = set(cursor.fetchone()[0].split(","))
    assert set(found[1]["sql_mode"].split(",")) == every - several | ({"ORACLE"} if brand == "mariadb" else set())


def _every_mode(source: Endpoint) -> int:
    """MySQL refuses bits without a meaning."""
    found = 0
    with source.connect() as connection, connection.cursor() as cursor:
        for bit in range(40):
            try:
                cursor.execute(f"SET sql_mode = {1 << bit}")
            except pymysql.MySQLError:
                continue
            found |= 1 << bit
    return found


def test_replay_reads_the_session(shop: Capture) -> None:
    (change,) = decoded(shop, "SET collation_server = utf8mb4_bin", "CREATE DATABASE a")
    assert isinstance(change, SchemaChange)
    assert change.session is not None
    assert change.session.collation_server == "utf8mb4_bin"
