"""Statements that mean what the session at the source made of them: the target's means the same, or it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.captured import Capture, run
from tests.integration.engine import parked, replay
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

STATEMENTS = [
    "CREATE DATABASE shop",
    "CREATE TABLE shop.x (id INT PRIMARY KEY)",
    "CREATE TABLE shop.z (id INT PRIMARY KEY, dt DATETIME, ts TIMESTAMP NULL, f DATETIME(3))",
    "INSERT INTO shop.x VALUES (1)",
    "INSERT INTO shop.z VALUES (1, '2024-01-01 12:00:00', '2024-01-01 12:00:00', '2024-01-01 12:00:00.900')",
    "SET SESSION sql_mode = '', collation_server = utf8mb4_bin, explicit_defaults_for_timestamp = 0",
    "CREATE DATABASE bin",
    "CREATE TABLE bin.m (v VARCHAR(9) PRIMARY KEY, n INT)",
    "INSERT INTO bin.m VALUES ('a', 1), ('A', 2), ('é', 3), ('e', 4)",
    "CREATE TABLE shop.ts (id INT PRIMARY KEY, t TIMESTAMP, t2 TIMESTAMP)",
    "ALTER TABLE shop.x ADD t3 TIMESTAMP",
    "CREATE TABLE shop.wide (id INT PRIMARY KEY, v VARCHAR(70000), b VARBINARY(70000),"
    " w VARCHAR(20000) CHARACTER SET latin1)",  # of which servers make longer types
    "INSERT INTO shop.wide VALUES (1, 'é', X'00FF', 'ü')",
    "ALTER TABLE shop.wide CONVERT TO CHARACTER SET utf8mb4",
    "INSERT INTO shop.wide VALUES (2, '中', X'FF', '中')",
    "SET SESSION time_zone = '+05:00'",
    "ALTER TABLE shop.z MODIFY dt TIMESTAMP NULL, MODIFY ts DATETIME, MODIFY f DATETIME",
    "ALTER TABLE shop.x ADD d DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6)",
    "SET SESSION sql_mode = 'REAL_AS_FLOAT,PIPES_AS_CONCAT'",
    "ALTER TABLE shop.x ADD r REAL, ADD g VARCHAR(20) AS (id || 'x')",
    "SET SESSION sql_mode = DEFAULT, collation_connection = latin1_german1_ci",
    "CREATE TABLE shop.lit (id INT PRIMARY KEY, g INT AS (CAST(id AS CHAR) = 'B'), e ENUM('é', '中') DEFAULT 'é')",
    "ALTER TABLE shop.x ADD w VARCHAR(9) DEFAULT 'é中'",
    "SET SESSION collation_connection = utf8mb4_bin",
    "CREATE TABLE shop.chosen AS SELECT 'x' AS c, IF('a' = 'A', 1, 2) AS n",
    "ALTER TABLE shop.lit ADD h INT AS (CAST(id AS CHAR) = 'B') STORED, ADD CHECK (CONCAT(id, 'b') <> 'X')",
    "INSERT INTO shop.lit (id) VALUES (1)",
    "CREATE TABLE shop.num (k INT PRIMARY KEY)",
    "INSERT INTO shop.num VALUES (1), (2), (3)",
    "SET SESSION auto_increment_increment = 10, auto_increment_offset = 3, lc_time_names = de_DE",
    "ALTER TABLE shop.num ADD id INT AUTO_INCREMENT UNIQUE, ADD m VARCHAR(20) DEFAULT (MONTHNAME('2024-03-01'))",
    "SET SESSION innodb_strict_mode = 0",
    "CREATE TABLE shop.loose (id INT PRIMARY KEY) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=9",
]
TABLES = ("shop.loose", "shop.num", "shop.wide", "shop.x", "shop.z", "shop.ts", "shop.lit", "shop.chosen", "bin.m")


def look(server: Endpoint) -> list[object]:
    """Structure and rows of all."""
    found: list[object] = [server.query("SHOW CREATE DATABASE bin")]
    for table in TABLES:
        found += [server.query(f"SHOW CREATE TABLE {table}"), server.query(f"SELECT * FROM {table}")]
    return found


def test_statements_run_in_the_session_that_capture_tells(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    capture = Capture(fresh_source, tmp_path)
    capture.read()
    run(fresh_source, STATEMENTS)
    replay(fresh_target, capture.read())
    assert parked(fresh_target) == []
    assert look(fresh_target) == look(fresh_source)
    # and the rows behind them come in the session of rows
    run(fresh_source, ["INSERT INTO shop.z VALUES (2, '2024-05-01 12:00:00', '2024-05-01 12:00:00', NULL)"])
    run(fresh_source, ["INSERT INTO bin.m VALUES ('中', 5)"])
    replay(fresh_target, capture.read())
    assert look(fresh_target) == look(fresh_source)


def without_session(messages: list[bytes]) -> list[bytes]:
    """The messages as Maxwell sends them."""
    parsed = [json.loads(message) for message in messages]
    return [json.dumps({key: value for key, value in each.items() if key != "session"}).encode() for each in parsed]


def test_what_maxwell_does_not_tell_comes_from_the_source_or_is_named(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Capture(fresh_source, tmp_path)
    capture.read()
    names = (
        "collation_server", "explicit_defaults_for_timestamp", "time_zone", "auto_increment_increment",
        "default_week_format", "div_precision_increment",
    )  # fmt: skip
    before = [fresh_source.query(f"SELECT @@GLOBAL.{name}")[0][0] for name in names]
    statements = [
        "CREATE DATABASE bin",
        "CREATE TABLE bin.m (v VARCHAR(9) PRIMARY KEY, t TIMESTAMP, d DATETIME)",
        "INSERT INTO bin.m VALUES ('a', '2024-01-01 12:00:00', '2024-01-01 12:00:00'), ('A', NULL, NULL)",
        "ALTER TABLE bin.m MODIFY d TIMESTAMP NULL",
        "ALTER TABLE bin.m ADD id INT AUTO_INCREMENT UNIQUE, ADD w INT DEFAULT (WEEK('2024-01-01')),"
        " ADD q DECIMAL(30,20) DEFAULT (1 / 3)",
    ]
    try:
        for name, value in zip(names, ("utf8mb4_bin", 0, "+05:00", 10, 3, 12), strict=True):
            fresh_source.query(f"SET GLOBAL {name} = %s", value)
        run(fresh_source, ["SET SESSION sql_mode = ''", *statements])
        messages = without_session(capture.read())
        replay(fresh_target, messages, source_db_info=fresh_source.db_info)
        assert "which its message does not tell" not in caplog.text
        for query in (
            "SHOW CREATE DATABASE bin",
            "SHOW CREATE TABLE bin.m",
            "SELECT v, UNIX_TIMESTAMP(d), id, w, q FROM bin.m ORDER BY v",
        ):
            assert fresh_target.query(query) == fresh_source.query(query)
    finally:
        for name, value in zip(names, before, strict=True):
            fresh_source.query(f"SET GLOBAL {name} = %s", value)
    fresh_target.drop_databases()
    replay(fresh_target, messages)
    for name in names:
        assert f"depends on {name} of the source's session, which its message does not tell" in caplog.text


def test_utf8_is_the_character_set_that_it_is_at_the_source(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    """MySQL's sessions tell it, MariaDB's server."""
    is_mariadb = fresh_source.brand == "mariadb"
    name = "old_mode" if is_mariadb else "sql_mode"
    before = [server.query(f"SELECT @@GLOBAL.{name}")[0][0] for server in (fresh_source, fresh_target)]
    mb3, mb4 = ("UTF8_IS_UTF8MB3", "") if is_mariadb else ("", "INTERPRET_UTF8_AS_UTF8MB4")
    table = "(v VARCHAR(9) CHARACTER SET {0} PRIMARY KEY, w TEXT COLLATE {0}_bin) DEFAULT CHARSET = {0}"
    try:
        for number, modes in enumerate(((mb4, mb3), (mb3, mb4))):
            for server, mode in zip((fresh_source, fresh_target), modes, strict=True):
                server.query(f"SET GLOBAL {name} = %s", mode)
            capture = Capture(fresh_source, tmp_path / str(number))
            (tmp_path / str(number)).mkdir()
            capture.read()
            run(fresh_source, [f"CREATE DATABASE d{number}", f"CREATE TABLE d{number}.t {table.format('utf8')}"])
            messages = capture.read()
            for sent in (messages, without_session(messages)):
                replay(fresh_target, sent, source_db_info=fresh_source.db_info)
                assert parked(fresh_target) == []
                shown = f"SHOW CREATE TABLE d{number}.t"
                assert fresh_target.query(shown) == fresh_source.query(shown)
                assert ("utf8mb3" in str(fresh_source.query(shown))) is bool(number)
                run(fresh_target, ["DROP DATABASE pydbsync", f"DROP DATABASE d{number}"])
    finally:
        for server, mode in zip((fresh_source, fresh_target), before, strict=True):
            server.query(f"SET GLOBAL {name} = %s", mode)


def test_a_table_in_a_database_made_by_hand_gets_the_collation_that_it_has_at_the_source(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    capture = Capture(fresh_source, tmp_path)
    run(fresh_source, ["CREATE DATABASE own COLLATE utf8mb4_bin", "CREATE DATABASE old CHARACTER SET latin1"])
    run(fresh_target, ["CREATE DATABASE own COLLATE utf8mb4_general_ci", "CREATE DATABASE old CHARACTER SET utf8mb4"])
    capture.read()
    statements = [
        "CREATE TABLE own.m (v VARCHAR(9) PRIMARY KEY) ENGINE=InnoDB",
        "INSERT INTO own.m VALUES ('a'), ('A')",
        "CREATE TABLE own.n LIKE own.m",
        "CREATE TABLE old.m (v VARCHAR(9))",
    ]
    run(fresh_source, statements)
    messages = without_session(capture.read())
    replay(fresh_target, messages, source_db_info=fresh_source.db_info)
    for query in (
        "SELECT v FROM own.m",
        "SHOW CREATE TABLE own.m",
        "SHOW CREATE TABLE own.n",
        "SHOW CREATE TABLE old.m",
    ):
        assert fresh_target.query(query) == fresh_source.query(query)
    # nobody can be asked: the message tells the character set
    run(fresh_target, ["DROP DATABASE pydbsync", "DROP TABLE old.m, own.m, own.n"])
    replay(fresh_target, messages, source_server="mysql 8.4" if fresh_source.brand == "mysql" else "mariadb 10.11")
    assert fresh_target.query("SHOW CREATE TABLE old.m") == fresh_source.query("SHOW CREATE TABLE old.m")
