"""What stands in the binlog as a statement: DDL with comments anywhere, changes of rows, and the way past them."""

from __future__ import annotations

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
