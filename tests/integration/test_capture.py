"""Capture on real servers: places, schema history, transactions, receivers, faults."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pydbsync.config.settings import AmqpSettings, RetrySettings, Secret
from pydbsync.errors import OperationError, PlanError, StopError
from pydbsync.model import Delivery
from pydbsync.ops.capture import CaptureReport, CaptureSettings, StateTable, run_capture
from pydbsync.ops.capture.history.follow import FollowedSchema, Snapshot, StatementSession
from pydbsync.ops.capture.source import SourceServer
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.source.sequence import spread
from tests.integration.captured import Capture, head, rows, run
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(fresh_source: Endpoint) -> Endpoint:
    """A source with a database and a table."""
    run(fresh_source, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20))"])
    return fresh_source


@pytest.fixture
def capture(shop: Endpoint, tmp_path: Path) -> Capture:
    """A capture that has begun."""
    begun = Capture(shop, tmp_path)
    assert begun.read() == []
    return begun


@contextmanager
def row_metadata(shop: Endpoint, wanted: str) -> Iterator[None]:
    ((before,),) = shop.query("SELECT @@GLOBAL.binlog_row_metadata")
    shop.query(f"SET GLOBAL binlog_row_metadata = {wanted}")
    try:
        yield
    finally:
        shop.query(f"SET GLOBAL binlog_row_metadata = {before}")


@pytest.fixture
def full_metadata(shop: Endpoint) -> Iterator[None]:
    """Table maps with the names of columns; what the server had comes back."""
    with row_metadata(shop, "FULL"):
        yield


@pytest.fixture
def minimal_metadata(shop: Endpoint) -> Iterator[None]:
    """Table maps without the names of columns; what the server had comes back."""
    with row_metadata(shop, "MINIMAL"):
        yield


def offsets(messages: list[dict[str, Any]]) -> list[object]:
    """The number of each row in its transaction, `commit` for the last."""
    return ["commit" if message.get("commit") else message.get("xoffset") for message in messages]


# places


def test_each_start_goes_on_where_the_last_one_ended(capture: Capture) -> None:
    assert rows(capture.of("INSERT INTO shop.t VALUES (1, 'a')")) == [("insert", {"id": 1, "v": "a"})]
    assert capture.read() == []
    assert rows(capture.of("INSERT INTO shop.t VALUES (2, 'b')", "UPDATE shop.t SET v = 'c' WHERE id = 2")) == [
        ("insert", {"id": 2, "v": "b"}),
        ("update", {"id": 2, "v": "c"}),
    ]
    assert capture.report.place == head(capture.source)


def test_a_place_in_an_earlier_file_is_gone_on_from(capture: Capture) -> None:
    run(capture.source, ["INSERT INTO shop.t VALUES (1, 'a')", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS"])
    found = capture.of("INSERT INTO shop.t VALUES (2, 'b')")
    assert [data["id"] for _, data in rows(found)] == [1, 2]
    assert found[0]["position"].partition(":")[0] < found[1]["position"].partition(":")[0]
    assert capture.report.place.partition(":")[0] == head(capture.source).partition(":")[0]
    assert capture.read() == []


def test_the_position_of_a_message_is_where_its_event_starts(capture: Capture) -> None:
    (message,) = capture.of("INSERT INTO shop.t VALUES (1, 'a')")
    file, _, offset = message["position"].partition(":")
    events = capture.source.query(f"SHOW BINLOG EVENTS IN '{file}' FROM {offset} LIMIT 1")
    assert events[0][2].startswith("Write_rows")


def test_resuming_by_gtid_goes_on_there(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path, by_gtid=True)
    capture.read()
    assert rows(capture.of("INSERT INTO shop.t VALUES (1, 'a')")) == [("insert", {"id": 1, "v": "a"})]
    gtids = capture.report.gtids
    assert gtids
    run(shop, ["FLUSH BINARY LOGS"])
    assert rows(capture.of("INSERT INTO shop.t VALUES (2, 'b')")) == [("insert", {"id": 2, "v": "b"})]
    assert capture.report.gtids != gtids


def test_a_capture_begins_at_gtids(shop: Endpoint, tmp_path: Path) -> None:
    first = Capture(shop, tmp_path / "first")
    (tmp_path / "first").mkdir()
    first.of("INSERT INTO shop.t VALUES (1, 'a')")
    run(shop, ["INSERT INTO shop.t VALUES (2, 'b')"])
    second = Capture(shop, tmp_path, by_gtid=True, start=first.report.gtids)
    assert [data["id"] for _, data in rows(map(json.loads, second.read()))] == [2]


def test_the_gtids_of_a_place_are_found(shop: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    first = Capture(shop, tmp_path / "first")
    first.of("INSERT INTO shop.t VALUES (1, 'a')")
    second = Capture(shop, tmp_path, start=first.report.place)
    assert second.read() == []
    assert second.report.gtids == first.report.gtids


@pytest.mark.parametrize(("with_gtid", "brand"), [(None, "mysql"), (True, "both"), (False, "none")])
def test_messages_have_a_gtid_where_maxwell_has_one_or_it_is_asked_for(
    capture: Capture, with_gtid: bool | None, brand: str
) -> None:
    found = capture.of("ALTER TABLE shop.t ADD w INT", "INSERT INTO shop.t VALUES (1, 'a', 1)", with_gtid=with_gtid)
    has_gtid = brand in ("both", capture.source.brand)
    assert [("gtid" in message) for message in found] == [has_gtid, has_gtid]


def test_a_purged_place_is_said(capture: Capture) -> None:
    run(capture.source, ["FLUSH BINARY LOGS", "FLUSH BINARY LOGS"])
    present = head(capture.source).partition(":")[0]

    def is_purged() -> bool:  # not while a reader that has just gone still has the file
        capture.source.query(f"PURGE BINARY LOGS TO '{present}'")
        return bool(capture.source.query("SHOW BINARY LOGS")[0][0] == present)

    wait_for(is_purged)
    with pytest.raises(OperationError, match="copy the data anew"):
        capture.read()


def test_a_state_of_another_server_is_refused(capture: Capture) -> None:
    """Unless its binlog is the same: then the server has got another number, or another uuid."""
    run(capture.source, ["INSERT INTO shop.t VALUES (1, 'a')"])
    capture.read()
    history, place = capture.state / "schema.jsonl", capture.state / "place.json"
    first, _, rest = history.read_text().partition("\n")
    history.write_text(json.dumps({**json.loads(first), "identity": "another"}) + "\n" + rest)
    known = place.read_text()
    file, offset, gtids, (born, *event) = json.loads(known)
    for mark in (None, [born + 1, *event], [born, *event[:-1], "YW5vdGhlcg=="]):
        place.write_text(json.dumps([file, offset, gtids, mark]))
        with pytest.raises(OperationError, match="is of server another"):
            capture.read()
    place.write_text(known)
    for number in (2, 3):
        (found,) = capture.of(f"INSERT INTO shop.t VALUES ({number}, 'b')")
        assert found["data"]["id"] == number


def test_after_a_fail_over_gtids_tell_where_to_go_on(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path, by_gtid=True)
    capture.of("INSERT INTO shop.t VALUES (1, 'a')")
    history, place = capture.state / "schema.jsonl", capture.state / "place.json"
    beginning = json.loads(history.read_text())
    # another server's file and offset, which mean nothing here
    history.write_text(json.dumps({**beginning, "identity": "another", "place": ["old.000001", 4, ""]}) + "\n")
    place.write_text(json.dumps(["old.000009", 4711, json.loads(place.read_text())[2]]))
    assert [data["id"] for _, data in rows(capture.of("INSERT INTO shop.t VALUES (2, 'b')"))] == [2]
    assert capture.report.place == head(shop)


# schema history


def test_rows_are_decoded_with_the_columns_of_their_time(capture: Capture) -> None:
    found = capture.of(
        "INSERT INTO shop.t VALUES (1, 'a')",
        "ALTER TABLE shop.t CHANGE v w VARCHAR(30), ADD n INT UNSIGNED FIRST",
        "INSERT INTO shop.t VALUES (4294967295, 2, 'b')",
        "RENAME TABLE shop.t TO shop.u",
        "ALTER TABLE shop.u DROP id",
        "INSERT INTO shop.u VALUES (3, 'c')",
        "DROP TABLE shop.u",
    )
    assert rows(found) == [
        ("insert", {"id": 1, "v": "a"}),
        ("insert", {"n": 4294967295, "id": 2, "w": "b"}),
        ("insert", {"n": 3, "w": "c"}),
    ]
    assert [message["primary_key_columns"] for message in found if "data" in message] == [["id"], ["id"], []]


def test_the_history_survives_a_restart_between_a_change_and_its_rows(capture: Capture) -> None:
    capture.of("ALTER TABLE shop.t ADD n INT FIRST")
    assert rows(capture.of("INSERT INTO shop.t VALUES (7, 1, 'a')")) == [("insert", {"n": 7, "id": 1, "v": "a"})]
    capture.of("ALTER TABLE shop.t RENAME COLUMN n TO m")
    assert rows(capture.of("INSERT INTO shop.t VALUES (8, 2, 'a')")) == [("insert", {"m": 8, "id": 2, "v": "a"})]


@pytest.mark.parametrize("can_be_read", [True, False])
def test_a_start_before_ddl_refuses_rows_whose_columns_nobody_knows(
    shop: Endpoint, minimal_metadata: None, tmp_path: Path, can_be_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_be_read:  # as statements of a newer server may not be

        def unread(sql: str, *, brand: object) -> None:
            raise PlanError("what is this")

        monkeypatch.setattr("pydbsync.ops.capture.begin.parse_statement", unread)
    place = head(shop)
    run(shop, ["INSERT INTO shop.t VALUES (1, 'a')", "ALTER TABLE shop.t RENAME COLUMN v TO w"])
    with pytest.raises(OperationError, match="binlog_row_metadata=FULL"):
        Capture(shop, tmp_path, start=place).read()


def test_a_start_before_ddl_reads_the_names_in_the_binlog(shop: Endpoint, full_metadata: None, tmp_path: Path) -> None:
    run(
        shop,
        [
            "CREATE TABLE shop.w (id INT UNSIGNED, b BINARY(3), l VARCHAR(9) CHARACTER SET latin1, e ENUM('x', 'ü')"
            " CHARACTER SET latin1, s SET('p', 'q'), x TEXT, y MEDIUMBLOB, d DECIMAL(9,3), t TIME(2), p POINT,"
            " PRIMARY KEY (id, l))"
        ],
    )
    place = head(shop)
    run(
        shop,
        [
            "INSERT INTO shop.w VALUES (4000000000, 'ab', 'é', 'ü', 'p,q', 'é', 'é', 1.5, '-25:00:00.5',"
            " ST_GeomFromText('POINT(1 2)'))",
            "ALTER TABLE shop.w DROP PRIMARY KEY, DROP b, RENAME COLUMN l TO m",
        ],
    )
    (row, altered) = map(json.loads, Capture(shop, tmp_path, start=place).read())
    assert row["data"] == {
        "id": 4000000000, "b": "YWI=", "l": "é", "e": "ü", "s": ["p", "q"], "x": "é", "y": "w6k=", "d": 1.5,
        "t": "-25:00:00.50", "p": "POINT (1 2)",
    }  # fmt: skip
    assert row["primary_key_columns"] == ["id", "l"]
    assert [column["name"] for column in altered["old"]["columns"]] == list(row["data"])
    assert [column["name"] for column in altered["def"]["columns"]] == [
        name if name != "l" else "m" for name in row["data"] if name != "b"
    ]


def test_a_database_that_was_perhaps_made_behind_the_start_keeps_its_tables(
    shop: Endpoint, minimal_metadata: None, tmp_path: Path
) -> None:
    place = head(shop)
    again = "CREATE DATABASE IF NOT EXISTS shop"
    run(shop, ["INSERT INTO shop.t VALUES (1, 'a')", again, "INSERT INTO shop.t VALUES (2, 'b')", again])
    found = [json.loads(line) for line in Capture(shop, tmp_path, start=place).read()]
    assert [message["type"] for message in found] == ["insert", "database-create", "insert"]


def test_a_start_before_the_tables_were_made_follows_them(shop: Endpoint, tmp_path: Path) -> None:
    place = head(shop)
    run(
        shop,
        [
            "CREATE DATABASE late CHARACTER SET latin1",
            "CREATE TABLE late.a (id INT PRIMARY KEY, v TEXT)",
            "INSERT INTO late.a VALUES (1, 'é')",
            "ALTER TABLE late.a ADD x INT FIRST, RENAME TO late.b",
            "INSERT INTO late.b VALUES (7, 2, 'ü')",
        ],
    )
    found = [json.loads(line) for line in Capture(shop, tmp_path, start=place).read()]
    assert [message["type"] for message in found] == [
        "database-create", "table-create", "insert", "table-alter", "insert",
    ]  # fmt: skip
    assert [data for _, data in rows(found)] == [{"id": 1, "v": "é"}, {"x": 7, "id": 2, "v": "ü"}]


COLUMNS = (
    "BOOL", "INT1 UNSIGNED", "INT(5) ZEROFILL", "MEDIUMINT", "BIGINT UNSIGNED", "DEC(9,2)", "FLOAT(10)", "FLOAT(30)",
    "REAL", "DOUBLE PRECISION", "BIT(9)", "DATE", "TIME(3)", "DATETIME(6)", "TIMESTAMP(2) NULL", "YEAR", "CHAR(5)",
    "VARCHAR(9) CHARACTER SET latin1", "VARCHAR(9) COLLATE utf8mb4_bin", "NATIONAL VARCHAR(5)", "CHARACTER VARYING(5)",
    "TEXT", "TEXT(50)", "TEXT(100)", "TEXT(20000)", "LONG VARCHAR", "TINYTEXT", "BINARY(4)", "VARBINARY(5)", "BLOB",
    "BLOB(100)", "BLOB(70000)", "ENUM('a','it''s','b')", "SET('x','y')", "JSON", "GEOMETRY", "POINT",
    "VARCHAR(9) ASCII",
    "INT AS (1 + 1) STORED", "INT DEFAULT 5 COMMENT 'UNSIGNED'",
)  # fmt: skip
ALTERATIONS = (
    "ADD x INT FIRST, ADD y INT FIRST", "ADD w INT AFTER c0, MODIFY c1 BIGINT FIRST", "MODIFY c2 TEXT AFTER c5",
    "CHANGE c3 c4 INT, CHANGE c4 c3 TEXT", "RENAME COLUMN c6 TO c7, RENAME COLUMN c7 TO c6", "DROP c8, ADD c8 DATE",
    "CONVERT TO CHARACTER SET latin1", "CHARACTER SET latin2, ADD z TEXT", "ADD (p INT, q TEXT, KEY (p))",
    "ADD PRIMARY KEY (c0)", "DROP PRIMARY KEY, ADD PRIMARY KEY (c1, c0)", "RENAME COLUMN c0 TO k", "DROP c9",
)  # fmt: skip


def test_what_is_followed_is_what_the_catalogue_says(shop: Endpoint) -> None:
    """The statements are run on the source, and followed; both ways lead to the same definition."""
    server = SourceServer(shop.db_info)
    facts = server.facts()
    followed = FollowedSchema(Snapshot(databases=(("shop", "utf8mb4"),)), brand=facts.brand)
    columns = ", ".join(f"c{number} {definition}" for number, definition in enumerate(COLUMNS))
    with shop.connect(database="shop") as connection, connection.cursor() as cursor:
        for sql in (f"CREATE TABLE w ({columns}) CHARSET utf8mb4", *(f"ALTER TABLE w {one}" for one in ALTERATIONS)):
            cursor.execute(sql)
            followed.apply(parse_statement(sql, brand=facts.brand), StatementSession("shop"))
            (real,) = (table for table in server.tables(facts.brand) if table.name.table == "w")
            mine = followed.tables[real.name]
            assert (mine.charset, mine.primary_key) == (real.charset, real.primary_key), sql
            for ours, theirs in zip(mine.columns, real.columns, strict=True):
                charset = "utf8mb3" if ours.charset == "utf8" else ours.charset
                shown = (ours.name, ours.kind, charset, ours.digits, ours.unsigned, ours.labels, ours.generated)
                assert shown == (
                    theirs.name, theirs.kind, theirs.charset, theirs.digits, theirs.unsigned, theirs.labels,
                    theirs.generated,
                ), sql  # fmt: skip
    server.close()


# transactions


def test_a_transaction_larger_than_the_buffer_is_the_same(capture: Capture, tmp_path: Path) -> None:
    run(
        capture.source,
        [
            "CREATE TABLE shop.n (v INT)", "INSERT INTO shop.n VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
        ],
    )  # fmt: skip
    capture.read()
    place = head(capture.source)
    run(
        capture.source,
        [
            "BEGIN",
            "INSERT INTO shop.t SELECT a.v * 1000 + b.v * 100 + c.v * 10 + d.v, REPEAT('x', 20) FROM shop.n a,"
            " shop.n b, shop.n c, shop.n d ORDER BY 1",
            "UPDATE shop.n SET v = v + 1",
            "DELETE FROM shop.t WHERE id >= 5000",
            "COMMIT",
        ],
    )
    spilled = capture.read(buffer_bytes=10_000, temporary_folder=tmp_path)
    assert len(spilled) == 15_010
    assert offsets([json.loads(line) for line in spilled]) == [*range(15_009), "commit"]
    (tmp_path / "other").mkdir()
    assert Capture(capture.source, tmp_path / "other", start=place).read() == spilled


def test_rows_of_tables_left_out_are_not_counted(shop: Endpoint, tmp_path: Path) -> None:
    run(shop, ["CREATE DATABASE other", "CREATE TABLE other.t LIKE shop.t", "CREATE TABLE shop._t_gho LIKE shop.t"])
    capture = Capture(shop, tmp_path, include=("shop", "other.t"), exclude=("shop._*",))
    capture.read()
    found = capture.of(
        "BEGIN",
        "INSERT INTO shop._t_gho VALUES (1, '')",
        "INSERT INTO shop.t VALUES (1, '')",
        "INSERT INTO shop._t_gho VALUES (2, '')",
        "INSERT INTO other.t VALUES (1, '')",
        "INSERT INTO shop._t_gho VALUES (3, '')",
        "COMMIT",
        "CREATE DATABASE hidden",
        "CREATE TABLE hidden.t (a INT)",
        "INSERT INTO hidden.t VALUES (1)",
        "ALTER TABLE shop._t_gho ADD a INT",
        "RENAME TABLE shop.t TO shop._t_del, shop._t_gho TO shop.t",
        "INSERT INTO shop.t VALUES (9, '', 9)",
    )
    assert [(message["type"], message["database"], message["table"]) for message in found] == [
        ("insert", "shop", "t"), ("insert", "other", "t"), ("table-alter", "shop", "t"),
        ("table-alter", "shop", "_t_gho"), ("insert", "shop", "t"),
    ]  # fmt: skip
    assert offsets(found) == [0, "commit", None, None, "commit"]


def test_xa_transactions_come_when_they_are_committed(capture: Capture, tmp_path: Path) -> None:
    with capture.source.connect() as first, capture.source.connect() as second:
        one, two = first.cursor(), second.cursor()
        one.execute("XA START 'g', 'b', 7")
        one.execute("INSERT INTO shop.t VALUES (1, 'xa'), (2, 'xa')")
        one.execute("XA END 'g', 'b', 7")
        one.execute("XA PREPARE 'g', 'b', 7")
        two.execute("INSERT INTO shop.t VALUES (3, 'between')")
        assert [data["id"] for _, data in rows(map(json.loads, capture.read()))] == [3]
        one.execute("XA COMMIT 'g', 'b', 7")
        one.execute("XA START 'r'")
        one.execute("INSERT INTO shop.t VALUES (4, 'rolled back')")
        one.execute("XA END 'r'")
        one.execute("XA PREPARE 'r'")
        one.execute("XA ROLLBACK 'r'")
        one.execute("XA START 'o'")
        one.execute("INSERT INTO shop.t VALUES (5, 'one phase')")
        one.execute("XA END 'o'")
        one.execute("XA COMMIT 'o' ONE PHASE")
    # the place stood before the prepared transaction, so what came in between comes once more
    found = [json.loads(line) for line in capture.read()]
    assert [data["id"] for _, data in rows(found)] == [3, 1, 2, 5]
    assert offsets(found) == ["commit", 0, "commit", "commit"]
    (tmp_path / "between").mkdir()
    begun_between = Capture(capture.source, tmp_path / "between")
    with capture.source.connect() as first:
        one = first.cursor()
        for sql in ("START 'g'", "INSERT INTO shop.t VALUES (6, 'xa')", "END 'g'", "PREPARE 'g'"):
            one.execute(sql if sql.startswith("INSERT") else f"XA {sql}")
        begun_between.read()
        one.execute("XA COMMIT 'g'")
        one.execute("INSERT INTO shop.t VALUES (7, 'behind')")
    with pytest.raises(StopError, match="prepared before the place where capture began") as stopped:
        begun_between.read()
    past = str(stopped.value).partition("--skip-at ")[2].partition(",")[0]
    assert rows(map(json.loads, begun_between.read(skip_at=(past,)))) == [("insert", {"id": 7, "v": "behind"})]
    places = [int(message["position"].partition(":")[2]) for message in found]
    assert places == sorted(places)


@pytest.mark.mariadb  # MySQL forbids such a transaction where GTIDs are on
def test_a_rolled_back_transaction_leaves_what_its_tables_could_not_take_back(capture: Capture) -> None:
    found = capture.of(
        "CREATE TABLE shop.m (id INT PRIMARY KEY, v INT) ENGINE=MyISAM",
        "INSERT INTO shop.m VALUES (1, 0)",
        "INSERT INTO shop.t VALUES (1, '0')",
        "BEGIN",
        "UPDATE shop.m, shop.t SET m.v = 9, t.v = '9' WHERE m.id = t.id",
        "INSERT INTO shop.t VALUES (2, 'never')",
        "ROLLBACK",
    )
    assert rows(found)[2:] == [("update", {"id": 1, "v": 9})]


# what servers write in forms of their own


@pytest.mark.mysql
def test_documents_that_mysql_writes_in_part_are_made_whole(capture: Capture) -> None:
    document = '{"a": 1, "b": [1, 2, 3], "pad": "' + "x" * 200 + '"}'
    run(capture.source, ["CREATE TABLE shop.j (id INT PRIMARY KEY, j JSON, k JSON)"])
    run(capture.source, [f"INSERT INTO shop.j VALUES (1, '{document}', '{document}')"])
    found = capture.of(
        "SET binlog_row_value_options = 'PARTIAL_JSON'",
        "UPDATE shop.j SET j = JSON_SET(j, '$.a', 2), k = JSON_REMOVE(k, '$.b[1]')",
        "UPDATE shop.j SET j = JSON_REPLACE(j, '$.b[0]', JSON_OBJECT('é', '😀'))",
    )
    whole = json.loads(document)
    updates = [message for message in found if message["type"] == "update"]
    assert updates[0]["data"] == {"id": 1, "j": {**whole, "a": 2}, "k": {**whole, "b": [1, 3]}}
    assert updates[0]["old"] == {"j": whole, "k": whole}
    assert updates[1]["data"]["j"] == {**whole, "a": 2, "b": [{"é": "😀"}, 2, 3]}
    assert list(updates[1]["old"]) == ["j"]


@pytest.mark.mysql
def test_transactions_that_mysql_compresses(capture: Capture) -> None:
    found = capture.of(
        "SET binlog_transaction_compression = ON", "BEGIN", "INSERT INTO shop.t VALUES (1, 'a'), (2, 'b')",
        "DELETE FROM shop.t WHERE id = 1", "COMMIT",
    )  # fmt: skip
    assert [kind for kind, _ in rows(found)] == ["insert", "insert", "delete"]
    assert offsets(found) == [0, 1, "commit"]


@pytest.mark.mysql
def test_vectors_are_binary(capture: Capture) -> None:
    vector = "STRING_TO_VECTOR('[1,2]')"
    found = capture.of("CREATE TABLE shop.v (v VECTOR(2))", f"INSERT INTO shop.v VALUES ({vector})")
    assert found[1]["data"] == {"v": "AACAPwAAAEA="}
    # Among columns of text, whose character sets the binlog tells by their numbers.
    text = "a TEXT CHARACTER SET latin1, b VECTOR(2), c VARCHAR(9) CHARACTER SET utf8mb4, d VECTOR(2), e CHAR(9)"
    with row_metadata(capture.source, "FULL"):
        found = capture.of(
            f"CREATE TABLE shop.w ({text} CHARACTER SET latin1)",
            f"INSERT INTO shop.w VALUES ('ä', {vector}, '€ä', {vector}, 'ü')",
        )
    assert found[1]["data"] == {"a": "ä", "b": "AACAPwAAAEA=", "c": "€ä", "d": "AACAPwAAAEA=", "e": "ü"}


@pytest.mark.mariadb
def test_types_and_forms_of_mariadb(capture: Capture) -> None:
    found = capture.of(
        "CREATE TABLE shop.w (u UUID, i INET6, j INET4, c VARCHAR(300) COMPRESSED, b BLOB COMPRESSED, d JSON)",
        "INSERT INTO shop.w VALUES ('123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:42', '10.0.0.0',"
        " REPEAT('é', 200), REPEAT('x', 300), '{\"a\": [1,\n2]}'), (NULL, '::', '0.0.0.0', '', '', NULL)",
        "SET GLOBAL log_bin_compress = ON",
        "SET GLOBAL log_bin_compress_min_len = 10",
        "CREATE TABLE shop.long_enough_to_be_compressed (id INT PRIMARY KEY, v VARCHAR(200))",
        "INSERT INTO shop.long_enough_to_be_compressed VALUES (1, REPEAT('x', 200)), (2, '')",
        "UPDATE shop.long_enough_to_be_compressed SET v = REPEAT('y', 200)",
        "DELETE FROM shop.long_enough_to_be_compressed",
        "SET GLOBAL log_bin_compress_min_len = DEFAULT",
        "SET GLOBAL log_bin_compress = DEFAULT",
        "SET SESSION binlog_alter_two_phase = ON",
        "ALTER TABLE shop.w ADD z INT",
        "SET STATEMENT max_statement_time = 60 FOR ALTER TABLE shop.w DROP c",
        "CREATE SEQUENCE shop.s",
        "SELECT NEXTVAL(shop.s)",
        "CREATE OR REPLACE TABLE shop.w (id INT)",
        "INSERT INTO shop.w VALUES (1)",
    )
    assert [message["type"] for message in found] == [
        "table-create", "insert", "insert", "table-create", "insert", "insert", "update", "update", "delete", "delete",
        "table-alter", "table-alter", "table-create", "insert",
    ]  # fmt: skip
    assert found[1]["data"] == {
        "u": "123e4567-e89b-12d3-a456-426655440000", "i": "2001:db8::ff00:42", "j": "10.0.0.0", "c": "é" * 200,
        "b": "eHh4" * 100, "d": {"a": [1, 2]},
    }  # fmt: skip
    assert list(found[2]["data"].values()) == [None, "::", "0.0.0.0", "", "", None]
    assert found[11]["sql"] == "ALTER TABLE shop.w DROP c"


@pytest.mark.mysql
def test_what_ends_maxwell_on_mysql(capture: Capture) -> None:
    found = capture.of(
        "CREATE TABLE shop.w (id SET('a', 'b'), e ENUM('😀', 'x'), d DEC(4,1), f FIXED(4,1), k VARCHAR(9) CHARACTER"
        " SET koi8r, l VARCHAR(9) CHARACTER SET utf16le, j VARCHAR(9) CHARACTER SET eucjpms, PRIMARY KEY (id),"
        " CONSTRAINT c CHECK (d > 0) NOT ENFORCED)",
        "ALTER TABLE shop.w ALTER CHECK c ENFORCED",
        "CREATE TABLESPACE space AUTOEXTEND_SIZE = 4M",
        "ALTER TABLE shop.w AUTOEXTEND_SIZE = 4M",
        "DROP TABLESPACE space",
        "INSERT INTO shop.w VALUES ('a,b', '😀', 1.5, 2.5, 'я', '😀', '日')",
        "CREATE VIEW shop.a AS SELECT 1",
        "RENAME TABLE shop.a TO shop.b",
        "ALTER DATABASE shop READ ONLY = 1",
        "ALTER DATABASE shop READ ONLY = 0",
        "INSERT INTO shop.t VALUES (1, 'a')",
    )
    assert [message["type"] for message in found] == [
        "table-create", "table-alter", "table-alter", "insert", "database-alter", "database-alter", "insert",
    ]  # fmt: skip
    assert found[3]["data"] == {"id": ["a", "b"], "e": "😀", "d": 1.5, "f": 2.5, "k": "я", "l": "😀", "j": "日"}
    assert found[3]["primary_key"] == [["a", "b"]]


@pytest.mark.mariadb
def test_what_ends_maxwell_on_mariadb(capture: Capture) -> None:
    found = capture.of(
        "CREATE OR REPLACE TABLE shop.t (id INT PRIMARY KEY, u UUID) PAGE_CHECKSUM=1 TRANSACTIONAL=1 ENGINE=Aria",
        "RENAME TABLE IF EXISTS shop.nothing TO shop.something",
        "ALTER TABLE IF EXISTS shop.nothing ADD a INT",
        "ALTER TABLE IF EXISTS shop.t ADD p POINT REF_SYSTEM_ID=4326",
        "CREATE DATABASE other COMMENT 'x'",
        "CREATE TABLE other.p (a DATE, b DATE, PERIOD FOR app (a, b))",
        "INSERT INTO other.p VALUES ('2024-01-01', '2024-02-01')",
        "CREATE TABLE other.s (x INT PRIMARY KEY)",
        "ALTER TABLE other.s ADD SYSTEM VERSIONING",
        "ALTER TABLE other.s DROP SYSTEM VERSIONING",
        "INSERT INTO other.s VALUES (1)",
        "INSERT INTO shop.t VALUES (1, NULL, NULL)",
    )
    assert [message["type"] for message in found] == [
        "table-create", "table-alter", "database-create", "table-create", "insert", "table-create", "table-alter",
        "table-alter", "insert", "insert",
    ]  # fmt: skip
    assert [data for _, data in rows(found)] == [
        {"a": "2024-01-01", "b": "2024-02-01"}, {"x": 1}, {"id": 1, "u": None, "p": None},
    ]  # fmt: skip


RIGHTS = {
    "mysql": "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO reader",
    "mariadb": "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO reader",
}


def test_the_documented_rights_are_enough_and_are_needed(shop: Endpoint, tmp_path: Path) -> None:
    run(
        shop,
        ["DROP USER IF EXISTS reader", "CREATE USER reader IDENTIFIED BY 'secret'", "GRANT SELECT ON shop.* TO reader"],
    )
    try:
        reader = Endpoint(shop.brand, shop.host, shop.port, "reader", "secret")
        with pytest.raises(OperationError, match="refuses what capture needs"):
            Capture(reader, tmp_path).read()
        run(shop, [RIGHTS[shop.brand]])
        capture = Capture(reader, tmp_path)
        assert capture.read() == []
        run(shop, ["INSERT INTO shop.t VALUES (1, 'a')"])
        assert rows(map(json.loads, capture.read())) == [("insert", {"id": 1, "v": "a"})]
        place = capture.report.place
        (tmp_path / "again").mkdir()
        assert Capture(reader, tmp_path / "again", start=place).read() == []
    finally:
        run(shop, ["DROP USER reader"])


def test_geometry_has_its_srid_where_it_is_asked_for(shop: Endpoint, tmp_path: Path) -> None:
    run(shop, ["CREATE TABLE shop.g (p POINT)"])
    capture = Capture(shop, tmp_path, exact=True)
    capture.read()
    found = capture.of(
        "INSERT INTO shop.g VALUES (ST_GeomFromText('POINT(1 2)', 3857)), (ST_GeomFromText('POINT(1 2)'))"
    )
    assert [data["p"] for _, data in rows(found)] == ["SRID=3857;POINT (1 2)", "POINT (1 2)"]


UNICODE = {"utf8mb3", "utf8mb4", "ucs2", "utf16", "utf16le", "utf32", "binary", "utf8"}


def test_characters_of_every_set_are_read_as_the_source_reads_them(capture: Capture) -> None:
    """Each set's own repertoire, stored and captured, is the text that the source itself gives back."""
    source = capture.source
    sets = [name for (name,) in source.query("SELECT character_set_name FROM information_schema.character_sets")]
    texts = {}
    sample = "".join(map(chr, (*range(1, 0x600), *range(0x2010, 0x2700), *range(0x3000, 0x3100), *range(0x4E00, 0x5200),
                               *range(0xAC00, 0xAD00), *range(0xFF01, 0xFFE0))))  # fmt: skip
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")
        for name in sorted(set(sets) - UNICODE):
            cursor.execute(f"CREATE TABLE shop.`{name}` (v MEDIUMTEXT CHARACTER SET {name})")
            cursor.execute(f"INSERT INTO shop.`{name}` VALUES (%s)", (sample,))
            cursor.execute(f"SELECT v FROM shop.`{name}`")
            ((texts[name],),) = cursor.fetchall()
    captured = {
        message["table"]: message["data"]["v"] for message in map(json.loads, capture.read()) if "data" in message
    }
    assert captured == texts
    assert capture.report.undecodable_values == 0


@pytest.mark.mariadb  # MySQL's table map tells the character set, which is then taken from there
def test_bytes_that_are_no_text_are_counted_and_marked(capture: Capture, caplog: pytest.LogCaptureFixture) -> None:
    run(capture.source, ["CREATE TABLE shop.b (v VARBINARY(9))"])
    capture.read()
    # bytes that the state takes for text, as in a table whose definition was exchanged under its file
    history = capture.state / "schema.jsonl"
    as_bytes = '"kind":"varbinary","column_type":"","charset":null'
    as_text = '"kind":"varchar","column_type":"","charset":"utf8mb4"'
    assert as_bytes in history.read_text()
    history.write_text(history.read_text().replace(as_bytes, as_text))
    with caplog.at_level("ERROR", logger="pydbsync.capture"):
        found = capture.of("INSERT INTO shop.b VALUES (X'61FF62')")
    assert found[0]["data"] == {"v": "a\ufffdb"}
    assert capture.report.undecodable_values == 1
    assert "no text of their character set" in caplog.text


def test_documents_are_the_sources_own(capture: Capture) -> None:
    """JSON of all shapes, small and large, is equal to what the source prints."""
    large = {f"key {number}": [number, -number, number / 7, str(number) * 3, None, True] for number in range(3000)}
    documents = [
        {}, [], {"": ""}, [[[]]], {"a": {"b": [1, {"c": False}]}}, "é😀\u2028\"\\\n", 1e-300, -0.5, 2**63, -(2**63),
        large, ["x" * 127, "x" * 128, "x" * 20000], {"k" * 300: 1, "short": 2},
    ]  # fmt: skip
    run(capture.source, ["CREATE TABLE shop.j (id INT PRIMARY KEY, j JSON)"])
    capture.read()
    with capture.source.connect() as connection, connection.cursor() as cursor:
        for number, document in enumerate(documents):
            cursor.execute("INSERT INTO shop.j VALUES (%s, %s)", (number, json.dumps(document)))
        cursor.execute("SELECT CAST(j AS CHAR) FROM shop.j ORDER BY id")
        printed = [json.loads(text) for (text,) in cursor.fetchall()]
    assert [message["data"]["j"] for message in map(json.loads, capture.read())] == printed


# what cannot be published


def test_a_change_written_as_a_statement_stops_capture_at_its_place(capture: Capture) -> None:
    run(capture.source, ["INSERT INTO shop.t VALUES (1, 'a')"])
    with capture.source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION binlog_format = STATEMENT")
        cursor.execute("UPDATE shop.t SET v = 'lost'")
    run(capture.source, ["INSERT INTO shop.t VALUES (2, 'b')"])
    for _ in range(2):
        with pytest.raises(StopError, match="binlog_format=ROW"):
            capture.read()
    found = [json.loads(line) for line in capture.read(on_unreadable="skip")]
    assert [data["id"] for _, data in rows(found)][-1] == 2
    assert capture.report.skipped_statements == 1


def test_rows_that_are_not_whole_are_refused(capture: Capture) -> None:
    with capture.source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop.t VALUES (1, 'a')")
        cursor.execute("SET SESSION binlog_row_image = MINIMAL")
        cursor.execute("UPDATE shop.t SET v = 'b'")
    with pytest.raises(OperationError, match="binlog_row_image"):
        capture.read()


def test_labels_of_bytes_are_spelled_as_statements_do(full_metadata: None, capture: Capture) -> None:
    found = capture.of(
        "CREATE TABLE shop.e (id INT PRIMARY KEY, e ENUM('a', 'é') CHARACTER SET binary)",
        "INSERT INTO shop.e VALUES (1, 2)",
    )
    assert [data for _, data in rows(found)] == [{"id": 1, "e": "é"}]


def test_an_update_that_names_the_changed_columns_alone_is_whole(capture: Capture) -> None:
    """MINIMAL leaves the others out of the image after the change; before it, rows without a key are whole."""
    found = capture.of(
        "CREATE TABLE shop.k (a INT, b VARCHAR(20), c TEXT, d INT AS (a + 1) STORED)",
        "INSERT INTO shop.k (a, b, c) VALUES (1, 'x', NULL), (2, NULL, 'y')", "SET binlog_row_image = MINIMAL",
        "UPDATE shop.k SET b = 'z', c = 'w' WHERE a = 1", "UPDATE shop.k SET a = 3 WHERE a = 2",
    )  # fmt: skip
    updates = [(each["data"], each["old"]) for each in found if each["type"] == "update"]
    computed = [(image.pop("d", None), old.pop("d", None)) for image, old in updates]
    assert updates == [
        ({"a": 1, "b": "z", "c": "w"}, {"b": "x", "c": None}),
        ({"a": 3, "b": None, "c": "y"}, {"a": 2}),
    ]
    assert computed in ([(2, None), (4, 3)], [(None, None)] * 2)  # MariaDB 11.8 leaves it out


# receivers


def amqp(vhost: Vhost) -> AmqpSettings:
    info = vhost.conn_info
    return AmqpSettings(
        host=info["host"], port=info["port"], user=info["user"], password=Secret(info["password"]), vhost=info["vhost"]
    )


PUBLISHED_FROM = int(time.time())


def drained(vhost: Vhost, queue: str) -> list[tuple[str, bytes]]:
    """Routing key and body of all messages in the queue, which must be persistent and bear when they were published."""
    found: list[tuple[str, bytes]] = []
    with vhost.connect() as connection:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            assert properties.delivery_mode == 2
            assert PUBLISHED_FROM <= properties.timestamp <= time.time()
            found.append((method.routing_key, body))


@pytest.mark.mariadb
def test_messages_go_to_rabbitmq_with_maxwells_routing_keys(capture: Capture, vhost: Vhost, tmp_path: Path) -> None:
    vhost.declare("all")
    run(
        capture.source,
        [
            "CREATE DATABASE crm", "CREATE TABLE crm.c (id INT)", "INSERT INTO crm.c VALUES (1), (2)",
            "INSERT INTO shop.t VALUES (1, 'a')", "DROP DATABASE crm",
        ],
    )  # fmt: skip
    state = capture.state.rename(tmp_path / "copy")
    published = run_capture(capture.settings(output="rabbitmq", amqp=amqp(vhost), state=state), threading.Event())
    assert published.rows == 3
    keys = [key for key, _ in drained(vhost, "all")]
    assert keys == ["crm.", "crm.c", "crm.c", "crm.c", "shop.t", "crm."]


@pytest.mark.mariadb
def test_a_message_that_no_queue_takes_is_an_error_and_no_loss(capture: Capture, vhost: Vhost) -> None:
    vhost.declare("orders", routing_keys=("shop.t",))
    run(
        capture.source,
        ["CREATE TABLE shop.x (id INT)", "INSERT INTO shop.t VALUES (1, 'a')", "INSERT INTO shop.x VALUES (1)"],
    )
    to_rabbitmq = {"output": "rabbitmq", "amqp": amqp(vhost)}
    with pytest.raises(OperationError, match=r"no queue of exchange 'maxwell' takes messages .* 'shop\.x'"):
        run_capture(capture.settings(**to_rabbitmq), threading.Event())
    vhost.declare("rest", routing_keys=("shop.x",))
    run_capture(capture.settings(**to_rabbitmq), threading.Event())
    assert [json.loads(body)["type"] for _, body in drained(vhost, "rest")] == ["table-create", "insert"]
    assert json.loads(drained(vhost, "orders")[-1][1])["data"] == {"id": 1, "v": "a"}


@pytest.mark.mariadb
def test_a_missing_exchange_is_made_or_named(capture: Capture, vhost: Vhost) -> None:
    to_rabbitmq = {"output": "rabbitmq", "amqp": amqp(vhost), "exchange": "fresh"}
    with pytest.raises(OperationError, match="no exchange 'fresh'"):
        run_capture(capture.settings(**to_rabbitmq, exchange_type=None), threading.Event())
    run_capture(capture.settings(**to_rabbitmq, exchange_type="fanout"), threading.Event())
    vhost.declare("all", exchange="fresh", exchange_type="fanout")
    run(capture.source, ["INSERT INTO shop.t VALUES (1, 'a')"])
    run_capture(capture.settings(**to_rabbitmq, exchange_type=None), threading.Event())
    assert len(drained(vhost, "all")) == 1


@pytest.mark.mariadb
def test_many_messages_are_confirmed_in_order(capture: Capture, vhost: Vhost) -> None:
    vhost.declare("all")
    run(
        capture.source,
        ["USE shop", "INSERT INTO t SELECT seq, 'x' FROM seq_1_to_5000", "INSERT INTO shop.t VALUES (0, 'last')"],
    )
    run_capture(capture.settings(output="rabbitmq", amqp=amqp(vhost)), threading.Event())
    assert [json.loads(body)["data"]["id"] for _, body in drained(vhost, "all")] == [*range(1, 5001), 0]


@pytest.mark.mariadb
def test_bundles_hold_the_same_messages_in_the_same_order(capture: Capture, vhost: Vhost, tmp_path: Path) -> None:
    vhost.declare("all")
    many = ("INSERT INTO t SELECT seq, 'a' FROM seq_1_to_300", "INSERT INTO x VALUES (1)", "DELETE FROM t")
    run(capture.source, ["USE shop", "CREATE TABLE x (id INT)", *many, *many])
    state = tmp_path / "copy"
    shutil.copytree(capture.state, state)
    run_capture(
        capture.settings(output="rabbitmq", amqp=amqp(vhost), state=state, bundle_bytes=4096), threading.Event()
    )
    published = drained(vhost, "all")
    keys = [key for key, _ in published]
    assert [key for key, _ in groupby(keys)] == ["shop.x", "shop.t", "shop.x", "shop.t", "shop.x", "shop.t"]
    assert max(len(body) for _, body in published) < 2 * 4096
    spread_out = spread([Delivery(body, tag) for tag, (_, body) in enumerate(published, start=1)])
    assert [delivery.body for delivery in spread_out] == capture.read()
    assert len(published) < len(spread_out) / 10


# a capture that goes on


class Running:
    """A capture in a thread of its own."""

    started: ClassVar[list[Running]] = []

    def __init__(self, settings: CaptureSettings) -> None:
        self.started.append(self)
        self.report: CaptureReport | None = None
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(settings,), daemon=True)
        self._thread.start()

    def _run(self, settings: CaptureSettings) -> None:
        try:
            self.report = run_capture(settings, self._stop)
        except BaseException as exc:
            self.error = exc

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def end(self) -> CaptureReport:
        self.stop()
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        assert self.report is not None
        return self.report


@pytest.fixture(autouse=True)
def no_capture_is_left() -> Iterator[None]:
    """One that a failed test left would keep the others from the source."""
    yield
    while Running.started:
        Running.started.pop().stop()


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.01)


def ids(file: Path) -> list[int]:
    return (
        [data["id"] for _, data in rows(map(json.loads, file.read_bytes().split(b"\n")[:-1]))] if file.exists() else []
    )


def test_a_change_is_published_at_once_and_a_stop_is_prompt(capture: Capture) -> None:
    running = Running(capture.settings(follow=True, checkpoint_s=3600))
    run(capture.source, ["INSERT INTO shop.t VALUES (1, 'a')"])
    wait_for(lambda: ids(capture.file) == [1])
    report = running.end()
    assert report.rows == 1
    assert report.place == head(capture.source)


@pytest.mark.mariadb
def test_a_lost_connection_to_the_source_is_made_anew(
    shop: Endpoint, tmp_path: Path, make_proxy: Callable[[int], Proxy]
) -> None:
    proxy = make_proxy(shop.port)
    capture = Capture(
        Endpoint(shop.brand, "127.0.0.1", proxy.port, shop.user, shop.password),
        tmp_path,
        retry=RetrySettings(first_s=0.1, max_s=0.2),
    )
    capture.read()
    running = Running(capture.settings(follow=True, checkpoint_s=0))
    run(shop, ["INSERT INTO shop.t VALUES (1, 'a')"])
    wait_for(lambda: 1 in ids(capture.file))
    proxy.refuse()
    proxy.cut()
    run(
        shop,
        ["INSERT INTO shop.t VALUES (2, 'b')", "ALTER TABLE shop.t ADD n INT", "INSERT INTO shop.t VALUES (3, 'c', 3)"],
    )
    proxy.resume()
    wait_for(lambda: 3 in ids(capture.file))
    report = running.end()
    assert report.reconnects > 0
    assert list(dict.fromkeys(ids(capture.file))) == [1, 2, 3]


@pytest.mark.mariadb
def test_a_lost_connection_to_rabbitmq_is_made_anew(
    capture: Capture, vhost: Vhost, make_proxy: Callable[[int], Proxy]
) -> None:
    vhost.declare("all")
    proxy = make_proxy(vhost.broker.port)
    broker = amqp(vhost)
    through = AmqpSettings(
        host="127.0.0.1", port=proxy.port, user=broker.user, password=broker.password, vhost=broker.vhost
    )
    running = Running(
        capture.settings(follow=True, output="rabbitmq", amqp=through, retry=RetrySettings(first_s=0.1, max_s=0.2))
    )
    run(capture.source, ["INSERT INTO shop.t VALUES (1, 'a')"])
    wait_for(lambda: vhost.depth("all") >= 1)
    proxy.cut()
    run(capture.source, ["INSERT INTO shop.t VALUES (2, 'b')", "INSERT INTO shop.t VALUES (3, 'c')"])
    wait_for(lambda: vhost.depth("all") >= 3)
    running.end()
    found = [json.loads(body)["data"]["id"] for _, body in drained(vhost, "all")]
    assert list(dict.fromkeys(found)) == [1, 2, 3]


def _is_larger(file: Path, size: int) -> bool:
    return file.stat().st_size > size


RUN = """
import json, sys, threading
from pathlib import Path
from pydbsync.ops.capture import CaptureSettings, run_capture
given = json.loads(sys.argv[1])
run_capture(CaptureSettings(source=given["source"], output="file", file=Path(given["file"]),
    state=Path(given["state"]), checkpoint_s=0.01), threading.Event())
"""


def test_nothing_is_missing_after_kills_and_what_comes_twice_is_the_same(capture: Capture, tmp_path: Path) -> None:
    source = capture.source
    (tmp_path / "whole").mkdir()
    whole = Capture(source, tmp_path / "whole")
    whole.read()
    given = {"source": source.db_info, "file": str(capture.file), "state": str(capture.state)}
    written = 0
    for turn in range(4):
        process = subprocess.Popen([sys.executable, "-c", RUN, json.dumps(given)], cwd=ROOT)
        try:
            enough = capture.file.stat().st_size + 1000 * turn
            for _ in range(20):
                values = ", ".join(f"({written + number}, 'x')" for number in range(25))
                run(source, [f"INSERT INTO shop.t (id, v) VALUES {values}"])
                written += 25
            run(source, [f"ALTER TABLE shop.t ADD c{turn} INT"])
            wait_for(partial(_is_larger, capture.file, enough))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    capture.read()
    got = capture.file.read_bytes().split(b"\n")[:-1]
    assert list(dict.fromkeys(got)) == whole.read()


def test_the_state_can_be_kept_in_tables(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path, state=StateTable(connect=shop.db_info, schema="pydbsync"), exclude=("pydbsync",))
    capture.read()
    capture.of("INSERT INTO shop.t VALUES (1, 'a')", "ALTER TABLE shop.t ADD n INT FIRST")
    assert rows(capture.of("INSERT INTO shop.t VALUES (7, 2, 'b')")) == [("insert", {"n": 7, "id": 2, "v": "b"})]
    assert shop.query("SELECT name FROM pydbsync.capture_place") == [("capture",)]
    running = Running(capture.settings(follow=True))
    run(shop, ["INSERT INTO shop.t VALUES (8, 3, 'c')"])
    wait_for(lambda: 3 in ids(capture.file))
    with pytest.raises(OperationError, match="another capture"):
        capture.read()
    running.end()
