"""What stands in the binlog as a statement: DDL with comments anywhere, changes of rows, and the way past them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pydbsync.errors import StopError
from tests.integration.captured import Capture, rows, run
from tests.servers import Endpoint

CALLS = ["SELECT bump(1)", "DO bump(2)", "SET @x = bump(3)"]
BUMP = (
    "CREATE FUNCTION {0}.bump(i INT) RETURNS INT MODIFIES SQL DATA DETERMINISTIC "
    "BEGIN UPDATE {1}.t SET n = n + 7 WHERE id = i; RETURN 1; END"
)


@pytest.fixture
def shop(fresh_source: Endpoint) -> Endpoint:
    """A source with two databases that have the same table."""
    for database in ("shop", "other"):
        run(
            fresh_source,
            [
                f"CREATE DATABASE {database}", f"CREATE TABLE {database}.t (id INT PRIMARY KEY, n INT)",
                f"INSERT INTO {database}.t VALUES (1,0),(2,0),(3,0)",
            ],
        )  # fmt: skip
    if fresh_source.brand == "mysql":
        fresh_source.query("SET GLOBAL log_bin_trust_function_creators = 1")
    return fresh_source


@pytest.fixture
def capture(shop: Endpoint, tmp_path: Path) -> Capture:
    """A capture of all that has begun."""
    return begun(shop, tmp_path)


def begun(shop: Endpoint, folder: Path, **settings: object) -> Capture:
    capture = Capture(shop, folder, **settings)
    assert capture.read() == []
    return capture


def as_statements(shop: Endpoint, database: str, statements: list[str]) -> None:
    run(shop, [f"USE {database}", "SET SESSION binlog_format = 'STATEMENT'", *statements])


def place_of(error: str) -> str:
    """The place that the error names as the way past it."""
    found = re.search(r"--skip-at (\S+:\d+)", error)
    assert found, error
    return found[1]


@pytest.mark.parametrize(
    "gap",
    ["/* deploy 7 */", "-- it's\n", "# x\n", "/*!50000 */", "/*M!100000 */", "/* ' */ /* \" */"],
)
def test_ddl_with_a_comment_in_each_gap_is_followed_without_names_in_the_binlog(capture: Capture, gap: str) -> None:
    """Without names, rows are read by what was followed: a statement that is not seen would swap columns."""
    ((before,),) = capture.source.query("SELECT @@GLOBAL.binlog_row_metadata")
    capture.source.query("SET GLOBAL binlog_row_metadata = MINIMAL")
    statements, wanted = [], []
    words = ["ALTER", "TABLE", "shop.g", "MODIFY", "{}", "INT", "AFTER", "id"]
    try:
        run(capture.source, ["CREATE TABLE shop.g (id INT PRIMARY KEY, a INT, b INT)"])
        for number in range(len(words) + 1):
            last = "ab"[number % 2 == 0]
            spaced = f" {gap} ".join([" ".join(words[:number]), " ".join(words[number:])]).format(last)
            statements += [spaced, f"INSERT INTO shop.g (id, a, b) VALUES ({number}, {number}1, {number}2)"]
            wanted.append({"id": number, "a": number * 10 + 1, "b": number * 10 + 2})
        found = capture.of(*statements)
    finally:
        capture.source.query(f"SET GLOBAL binlog_row_metadata = {before}")
    assert [message["sql"] for message in found if "sql" in message][1:] == [
        statement.strip() for statement in statements[::2]
    ]
    assert [data for _, data in rows(found)] == wanted


@pytest.mark.parametrize("call", CALLS)
def test_a_function_that_changes_rows_as_a_statement_stops_capture(capture: Capture, call: str) -> None:
    run(capture.source, [BUMP.format("shop", "shop")])
    as_statements(capture.source, "shop", [call])
    run(capture.source, ["INSERT INTO shop.t VALUES (9, 9)"])
    for _ in range(2):
        with pytest.raises(StopError, match=r"(SELECT|DO) .*bump") as caught:
            capture.read()
    skipped = place_of(str(caught.value))
    found = [line for line in capture.read(skip_at=(skipped,)) if b'"data"' in line]
    assert len(found) == 1
    assert b'"data":{"id":9,"n":9}' in found[0]
    assert capture.report.skipped_statements == 1


def test_the_way_past_leaves_out_one_place_alone(capture: Capture) -> None:
    as_statements(
        capture.source, "shop",
        ["UPDATE t SET n = 1 WHERE id = 1", "SET SESSION binlog_format = 'ROW'", "UPDATE t SET n = 2 WHERE id = 2",
         "SET SESSION binlog_format = 'STATEMENT'", "UPDATE t SET n = 3 WHERE id = 3"],
    )  # fmt: skip
    with pytest.raises(StopError, match="SET n = 1") as first:
        capture.read()
    with pytest.raises(StopError, match="SET n = 3") as second:
        capture.read(skip_at=(place_of(str(first.value)),))
    places = (place_of(str(first.value)), place_of(str(second.value)))
    capture.read(skip_at=places)
    assert capture.file.read_bytes().count(b'"n":2}') == 1


@pytest.mark.parametrize("exclude", ["other", "other.*"])
def test_statements_inside_an_excluded_database_do_not_stop(shop: Endpoint, tmp_path: Path, exclude: str) -> None:
    capture = begun(shop, tmp_path, exclude=(exclude,))
    run(shop, [BUMP.format("other", "other")])
    as_statements(
        shop, "other",
        ["UPDATE t SET n = 1", "INSERT INTO other.t VALUES (7, 7)", "DELETE FROM t WHERE id = 1",
         "REPLACE t VALUES (1, 1)", *CALLS],
    )  # fmt: skip
    assert rows(capture.of("INSERT INTO shop.t VALUES (9, 9)")) == [("insert", {"id": 9, "n": 9})]


@pytest.mark.parametrize(
    "statement", ["UPDATE shop.t SET n = 1", "INSERT INTO t SELECT id + 10, n FROM shop.t", "SELECT bump(1)"]
)
def test_a_statement_of_an_excluded_database_that_reaches_beyond_it_stops(
    shop: Endpoint, tmp_path: Path, statement: str
) -> None:
    run(shop, [BUMP.format("other", "shop")])
    capture = begun(shop, tmp_path, exclude=("other",))
    as_statements(shop, "other", [statement])
    with pytest.raises(StopError, match="is written as a statement"):
        capture.read()


def test_loads_written_as_statements(shop: Endpoint, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("11\t11\n")
    capture = begun(shop, tmp_path, exclude=("other",))
    load = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE t"
    shop.query("SET GLOBAL local_infile = 1")
    for database in ("other", "shop"):
        with shop.connect(local_infile=True) as connection, connection.cursor() as cursor:
            for sql in (f"USE {database}", "SET SESSION binlog_format = 'STATEMENT'", load):
                cursor.execute(sql)
        if database == "other":
            assert capture.read() == []
    with pytest.raises(StopError, match="LOAD DATA"):
        capture.read()


def test_what_is_done_to_a_temporary_table_in_front_of_a_real_one_is_not_done_to_that(capture: Capture) -> None:
    """Without ROW the servers write it, by the same name; MySQL under STATEMENT, MariaDB under MIXED too."""
    is_mariadb = capture.source.brand == "mariadb"
    with capture.source.connect() as connection, connection.cursor() as cursor:
        for sql in (
            "USE shop", f"SET SESSION binlog_format = '{'MIXED' if is_mariadb else 'STATEMENT'}'",
            "CREATE TEMPORARY TABLE t (n INT, id INT)", "INSERT INTO t VALUES (1, 2), (3, 4)",
        ):  # fmt: skip
            cursor.execute(sql)
        assert capture.read() == []
        for sql in (
            "UPDATE t SET n = 5 WHERE id IN (2)", "ALTER TABLE t MODIFY id INT FIRST", "CREATE INDEX k ON t (id)",
            "DROP INDEX k ON t", "TRUNCATE TABLE t", "ALTER TABLE t RENAME TO u",
            *(["RENAME TABLE u TO t", "ALTER TABLE t RENAME TO shop.u"] if is_mariadb else []),
            "REPLACE u VALUES (1, 2)", "DELETE FROM u", "CREATE TEMPORARY TABLE s AS SELECT COUNT(*) AS c FROM u",
            "DROP TABLE u",
        ):  # fmt: skip
            cursor.execute(sql)
    run(capture.source, ["INSERT INTO shop.t (id, n) VALUES (9, 99)"])
    assert rows(map(json.loads, capture.read())) == [("insert", {"id": 9, "n": 99})]


def test_what_cannot_be_told_of_temporary_tables_stops(shop: Endpoint, tmp_path: Path) -> None:
    with shop.connect() as connection, connection.cursor() as cursor:
        for sql in ("USE shop", "SET SESSION binlog_format = 'STATEMENT'", "CREATE TEMPORARY TABLE t (i INT)"):
            cursor.execute(sql)
        capture = begun(shop, tmp_path)
        cursor.execute("TRUNCATE TABLE t")
        with pytest.raises(StopError, match="or about a temporary table of that name") as caught:
            capture.read()
        assert capture.read(skip_at=(place_of(str(caught.value)),)) == []
        cursor.execute("CREATE TEMPORARY TABLE own (i INT)")
        run(shop, [BUMP.format("shop", "other")])
        cursor.execute("INSERT INTO own SELECT bump(1)")
    with pytest.raises(StopError, match="written as a statement"):
        capture.read()


@pytest.mark.mariadb
def test_rows_of_a_table_that_takes_the_place_of_a_sequence_are_published(capture: Capture) -> None:
    source, number = capture.source, 0
    for number, statements in enumerate((
        ["DROP TABLE shop.s0"], ["DROP SEQUENCE shop.x, shop.s1"], ["RENAME TABLE shop.s2 TO shop.y2"],
        ["ALTER TABLE shop.s3 RENAME TO y3"], ["DROP DATABASE other", "CREATE DATABASE other"],
        ["CREATE OR REPLACE DATABASE other"], ["CREATE OR REPLACE TABLE shop.s6 (i INT)"],
    )):  # fmt: skip
        name = f"{'other' if 'other' in statements[0] else 'shop'}.s{number}"
        run(source, ["USE shop", "CREATE OR REPLACE SEQUENCE shop.x", f"CREATE SEQUENCE {name}", *statements])
        run(source, [f"CREATE TABLE IF NOT EXISTS {name} (i INT)", f"INSERT INTO {name} VALUES ({number})"])
        run(source, [f"DO NEXTVAL(shop.y{number})"] if "y" in statements[0] else [])
    run(source, ["CREATE TABLE shop.z LIKE shop.x", "DO NEXTVAL(shop.z)", "CREATE OR REPLACE SEQUENCE shop.t"])
    found = list(map(json.loads, capture.read()))
    assert [data["i"] for _, data in rows(found)] == list(range(number + 1))
    assert (found[-1]["type"], found[-1]["sql"]) == ("table-drop", "DROP TABLE `shop`.`t`")


@pytest.mark.mariadb
def test_modes_of_mariadb_that_change_what_a_definition_means_are_followed(capture: Capture) -> None:
    found = capture.of(
        "SET sql_mode = 'ORACLE'", "CREATE TABLE shop.o (d DATE, n NUMBER(9), m NUMBER, v VARCHAR2(9), b BLOB)",
        "INSERT INTO shop.o VALUES ('2020-01-02 03:04:05', 1, 2.5, 'x', 'y')",
        "SET sql_mode = 'MSSQL'", "CREATE TABLE shop.[o p] ([i j] INT, c CHAR(5) DEFAULT '[x')",
        "INSERT INTO shop.[o p] VALUES (1, '[y]')",
    )  # fmt: skip
    assert [data for _, data in rows(found)] == [
        {"d": "2020-01-02 03:04:05", "n": 1, "m": 2.5, "v": "x", "b": "eQ=="}, {"i j": 1, "c": "[y]"},
    ]  # fmt: skip


@pytest.mark.mariadb
def test_what_a_savepoint_takes_back_is_not_published(capture: Capture) -> None:
    run(capture.source, ["CREATE TABLE shop.i (id INT PRIMARY KEY)", "CREATE TABLE shop.my (id INT) ENGINE=MyISAM"])
    found = capture.of(
        "BEGIN", "INSERT INTO shop.i VALUES (7)", "SAVEPOINT s1", "INSERT INTO shop.i VALUES (8)",
        "INSERT INTO shop.my VALUES (80)", "ROLLBACK TO s1", "INSERT INTO shop.i VALUES (9)", "COMMIT",
        "BEGIN", "SAVEPOINT a", "INSERT INTO shop.i VALUES (10)", "SAVEPOINT `b ``c`", "INSERT INTO shop.i VALUES (11)",
        "INSERT INTO shop.my SELECT id FROM shop.i", "ROLLBACK TO SAVEPOINT `B ``C`", "ROLLBACK TO A",
        "INSERT INTO shop.i VALUES (12)", "SAVEPOINT a", "INSERT INTO shop.my VALUES (99)", "ROLLBACK TO a", "COMMIT",
    )  # fmt: skip
    published = [(message["table"], message["data"]["id"]) for message in found if "data" in message]
    for table in ("i", "my"):
        there = sorted(id for (id,) in capture.source.query(f"SELECT id FROM shop.{table}"))
        assert sorted(id for name, id in published if name == table) == there
    transactions = {message["position"] for message in found if message.get("commit")}
    assert len(transactions) == sum(1 for message in found if message.get("commit"))


def test_tables_whose_rows_change_with_their_files_stop_capture(shop: Endpoint, tmp_path: Path) -> None:
    run(shop, ["SET GLOBAL innodb_file_per_table = ON", "ALTER TABLE shop.t FORCE", "ALTER TABLE other.t FORCE"])
    capture = begun(shop, tmp_path, exclude=("other",))
    run(shop, ["ALTER TABLE other.t DISCARD TABLESPACE"])
    assert capture.read() == []
    run(shop, ["ALTER TABLE shop.t /* x */ DISCARD TABLESPACE"])
    with pytest.raises(StopError, match="exchanges the table's rows with a file"):
        capture.read()
