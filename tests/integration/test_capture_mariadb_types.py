"""What MariaDB alone has: text forms of addresses, and the hidden times of system-versioned tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydbsync.ops.capture.history.follow import FollowedSchema, Snapshot, StatementSession
from pydbsync.ops.capture.source import SourceServer
from pydbsync.plan.ddl.statement import parse_statement
from tests.integration.captured import Capture, rows, run
from tests.servers import Endpoint

pytestmark = pytest.mark.mariadb
ADDRESSES = (
    "::", "::1", "::1:2", "1::", "::1.2.3.4", "::ffff:1.2.3.4", "::ffff:0:1.2.3.4", "64:ff9b::1.2.3.4", "2001:db8::1",
    "1:0:0:2:0:0:0:3", "1:0:0:2:3:0:0:4", "1:2:3:4:5:6:7:0", "0:1:2:3:4:5:6:7", "1:0:2:0:3:0:4:0", "::fffe:1.2.3.4",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0:0:0:0:0:ffff::", "::1:0:0:0", "fe80::1:0:0", "1::2:0:0:3:4",
)  # fmt: skip
ALTERED = (
    "ALTER TABLE shop.h ADD x INT", "ALTER TABLE shop.h ADD y INT FIRST", "ALTER TABLE shop.h DROP SYSTEM VERSIONING",
    "ALTER TABLE shop.h ADD SYSTEM VERSIONING", "CREATE TABLE shop.l LIKE shop.h",
    "CREATE TABLE shop.p (id INT, v INT WITH SYSTEM VERSIONING, n INT WITHOUT SYSTEM VERSIONING)",
    "CREATE TABLE shop.e (id INT PRIMARY KEY, a TIMESTAMP(6) GENERATED ALWAYS AS ROW START,"
    " b TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING",
    "CREATE TABLE shop.o (id INT)", "ALTER TABLE shop.o ADD a TIMESTAMP(6) GENERATED ALWAYS AS ROW START,"
    " ADD b TIMESTAMP(6) GENERATED ALWAYS AS ROW END, ADD PERIOD FOR SYSTEM_TIME (a, b), ADD SYSTEM VERSIONING",
)  # fmt: skip


@pytest.fixture
def shop(fresh_source: Endpoint) -> Endpoint:
    run(fresh_source, ["CREATE DATABASE shop"])
    return fresh_source


def test_addresses_are_written_as_mariadb_writes_them(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path)
    capture.read()
    values = ", ".join(f"({number}, '{address}')" for number, address in enumerate(ADDRESSES))
    found = capture.of("CREATE TABLE shop.i (id INT PRIMARY KEY, a INET6)", f"INSERT INTO shop.i VALUES {values}")
    there = shop.query("SELECT id, CAST(a AS CHAR) FROM shop.i ORDER BY id")
    assert [(data["id"], data["a"]) for _, data in rows(found)] == there


def test_json_that_is_declared_as_it_is_shown_is_sent_as_documents(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path)
    capture.read()
    shown = "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`a`))"
    found = capture.of(
        f"CREATE TABLE shop.j (id INT PRIMARY KEY, a {shown}, b TEXT CHARACTER SET latin1, c JSON, d LONGTEXT,"
        " e LONGTEXT CHECK (json_valid(e) OR TRUE), CONSTRAINT x CHECK (json_valid(d)))",
        """INSERT INTO shop.j VALUES (1, '{"é": 1}', '{"é": 2}', '{"a": 3}', '[4]', '[5]')""",
        "ALTER TABLE shop.j ADD CHECK (json_valid(b)), CHANGE e f LONGTEXT CHECK (json_valid(`f`))",
        """INSERT INTO shop.j VALUES (2, '"{}"', '{"é": 2}', '{"a": 3}', '[4]', '[5]')""",
        "CREATE TABLE shop.k LIKE shop.j",
        """INSERT INTO shop.k VALUES (3, '1', '{"é": 2}', '{"a": 3}', '[4]', '[5]')""",
    )
    documents = {"b": {"é": 2}, "c": {"a": 3}, "d": [4], "f": [5]}
    assert [data for _, data in rows(found)] == [
        {"id": 1, "a": {"é": 1}, "b": '{"é": 2}', "c": {"a": 3}, "d": [4], "e": "[5]"},
        {"id": 2, "a": "{}", **documents},
        {"id": 3, "a": 1, **documents},
    ]


@pytest.mark.parametrize("metadata", ["NO_LOG", "FULL"])
def test_what_unique_keys_of_long_columns_add_to_rows_is_left_out(
    shop: Endpoint, tmp_path: Path, metadata: str
) -> None:
    """A hash for each, behind all other columns, in a column that only the binlog shows."""
    run(shop, ["CREATE TABLE shop.b (id INT PRIMARY KEY, DB_ROW_HASH_1 BIGINT, t TEXT, digest BIGINT, UNIQUE (t))"])
    capture = Capture(shop, tmp_path)
    capture.read()
    ((before,),) = shop.query("SELECT @@GLOBAL.binlog_row_metadata")
    shop.query(f"SET GLOBAL binlog_row_metadata = {metadata}")
    try:
        found = capture.of(
            "INSERT INTO shop.b VALUES (1, 5, 'x', 7), (2, NULL, NULL, NULL)",
            "UPDATE shop.b SET t = 'y' WHERE id = 1",
            "CREATE TABLE shop.v (a BLOB, v VARCHAR(5000), n BIGINT, UNIQUE (a), UNIQUE h (v, n),"
            " UNIQUE (n) USING HASH) WITH SYSTEM VERSIONING",
            "INSERT INTO shop.v VALUES ('x', 'y', 1), (NULL, NULL, 2)",
            "DELETE FROM shop.b WHERE id = 2",
        )
        altered = capture.of(
            "ALTER TABLE shop.b ADD n BIGINT DEFAULT 9, ADD UNIQUE z (t, n)", "UPDATE shop.b SET n = 4"
        )
        plain = capture.of(
            "ALTER TABLE shop.b DROP INDEX t, DROP INDEX z", "INSERT INTO shop.b VALUES (3, 1, '', 2, 3)"
        )
    finally:
        shop.query(f"SET GLOBAL binlog_row_metadata = {before}")
    first = {"id": 1, "DB_ROW_HASH_1": 5, "t": "x", "digest": 7}
    second = dict.fromkeys(first, None) | {"id": 2}
    sent = [(kind, {name: value for name, value in data.items() if not name.startswith("row_")})
            for kind, data in rows(found)]  # fmt: skip
    assert sent == [
        ("insert", first), ("insert", second), ("update", {**first, "t": "y"}),
        ("insert", {"a": "eA==", "v": "y", "n": 1}), ("insert", {"a": None, "v": None, "n": 2}), ("delete", second),
    ]  # fmt: skip
    assert [data for _, data in rows(altered)] == [{**first, "t": "y", "n": 4}]
    assert [data for _, data in rows(plain)] == [{"id": 3, "DB_ROW_HASH_1": 1, "t": "", "digest": 2, "n": 3}]


@pytest.mark.parametrize("metadata", ["NO_LOG", "MINIMAL", "FULL"])
@pytest.mark.parametrize("is_there_before", [True, False])
def test_hidden_times_are_carried_exactly(
    shop: Endpoint, tmp_path: Path, metadata: str, is_there_before: bool, caplog: pytest.LogCaptureFixture
) -> None:
    capture = Capture(shop, tmp_path)
    create = "CREATE TABLE shop.h (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING"
    if is_there_before:
        run(shop, [create])
    capture.read()
    ((before,),) = shop.query("SELECT @@GLOBAL.binlog_row_metadata")
    shop.query(f"SET GLOBAL binlog_row_metadata = {metadata}")
    try:
        found = capture.of(
            *([] if is_there_before else [create]), "INSERT INTO shop.h (id, v) VALUES (1, 1), (2, 2)",
            "UPDATE shop.h SET v = 9 WHERE id = 1", "DELETE FROM shop.h WHERE id = 2",
            "SET system_versioning_alter_history = KEEP", ALTERED[0], "INSERT INTO shop.h VALUES (3, 3, 3)",
        )  # fmt: skip
    finally:
        shop.query(f"SET GLOBAL binlog_row_metadata = {before}")
    history = {
        (row[0], row[1], str(row[2])[:26], str(row[3])[:26])
        for row in shop.query("SELECT id, v, row_start, row_end FROM shop.h FOR SYSTEM_TIME ALL")
    }
    carried: dict[tuple[int, str], tuple[int, int, str, str]] = {}
    for kind, data in rows(found):
        if kind == "update" and (data["id"], data["row_start"]) not in carried:
            carried = {key: value for key, value in carried.items() if key[0] != data["id"]}
        carried[data["id"], data["row_start"]] = (data["id"], data["v"], data["row_start"], data["row_end"])
    assert set(carried.values()) == history
    assert "describes shop.h otherwise" not in caplog.text
    altered = next(message for message in found if message["type"] == "table-alter")
    assert [column["name"] for column in altered["def"]["columns"]] == ["id", "v", "x"]
    assert altered["def"]["primary-key"] == ["id"]


def test_a_declared_period_is_no_difference_to_what_was_followed(
    shop: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MariaDB adds the period's end to the primary key, which the statement does not say and the binlog does."""
    capture = Capture(shop, tmp_path)
    capture.read()
    declared = next(sql for sql in ALTERED if "PRIMARY KEY" in sql)
    found = capture.of(
        declared, "INSERT INTO shop.e (id) VALUES (1)", "SET system_versioning_alter_history = KEEP",
        "ALTER TABLE shop.e ADD v INT", "INSERT INTO shop.e (id, v) VALUES (2, 2)",
    )  # fmt: skip
    assert [(data["id"], data.get("v")) for _, data in rows(found)] == [(1, None), (2, 2)]
    assert next(message for message in found if message["type"] == "table-alter")["def"]["primary-key"] == ["id"]
    assert "describes shop.e otherwise" not in caplog.text


def test_which_tables_have_hidden_times_is_followed_as_the_catalogue_says(shop: Endpoint) -> None:
    schema = FollowedSchema(Snapshot((), (("shop", "utf8mb4"),)), brand="mariadb")
    statements = ["CREATE TABLE shop.h (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING", *ALTERED]
    server = SourceServer(shop.db_info)
    try:
        with shop.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET system_versioning_alter_history = KEEP")
            for sql in statements:
                cursor.execute(sql)
                schema.apply(parse_statement(sql, brand="mariadb"), StatementSession(""))
                there = {table.name: table.has_hidden_times for table in server.tables("mariadb")}
                assert {name: table.has_hidden_times for name, table in schema.tables.items()} == there, sql
    finally:
        server.close()
