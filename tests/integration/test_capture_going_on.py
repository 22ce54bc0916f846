"""Where capture goes on, and where it must not: GTIDs, numbers of readers, half a state, hidden tables."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pydbsync.config.settings import RetrySettings
from pydbsync.errors import OperationError
from pydbsync.ops.capture import StateTable, run_capture
from pydbsync.ops.capture.history.state import FileState
from tests.integration.captured import Capture, head, rows, run
from tests.processes import wait_for
from tests.servers import Endpoint

XID_BYTES = 31
"""An XID event with its checksum."""
QUICK = RetrySettings(first_s=0.05, max_s=0.2)


@pytest.fixture
def shop(fresh_source: Endpoint) -> Endpoint:
    run(fresh_source, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(200))"])
    return fresh_source


@pytest.mark.mariadb
@pytest.mark.parametrize("is_new", [True, False])
def test_a_long_binlog_is_read_to_its_end_by_the_gtids_of_mariadb(shop: Endpoint, tmp_path: Path, is_new: bool) -> None:
    capture = Capture(shop, tmp_path, by_gtid=True, retry=QUICK)
    if is_new:
        capture = Capture(shop, tmp_path, by_gtid=True, retry=QUICK, start=shop.query("SELECT @@gtid_binlog_pos")[0][0])
    else:
        assert capture.read() == []
    run(shop, ["INSERT INTO shop.t SELECT seq, REPEAT('v', 150) FROM shop.seq_1_to_40000"])
    assert len(capture.read()) == 40000
    assert capture.report.reconnects == 0
    assert capture.report.place == head(shop)


def test_files_with_and_without_checksums_are_read_whatever_the_source_writes_now(
    shop: Endpoint, tmp_path: Path
) -> None:
    """Each file of the binlog says of itself whether its events have one."""
    capture = Capture(shop, tmp_path)
    capture.read()
    try:
        for number, checksum in enumerate(["CRC32", "NONE", "CRC32", "NONE"]):
            run(shop, [f"SET GLOBAL binlog_checksum = {checksum}", f"INSERT INTO shop.t VALUES ({number}, '')"])
        late = Capture(shop, tmp_path / "late", start=str(capture.report.place))
        found = [[data["id"] for _, data in rows(map(json.loads, each.read()))] for each in (capture, late)]
        assert found == [[0, 1, 2, 3]] * 2
        capture.source.query("SET GLOBAL binlog_checksum = CRC32")
        assert rows(capture.of("INSERT INTO shop.t VALUES (9, '')"))[0][1]["id"] == 9
    finally:
        shop.query("SET GLOBAL binlog_checksum = DEFAULT")


@pytest.mark.mysql
def test_an_invisible_key_that_the_server_does_not_show_is_known(shop: Endpoint, tmp_path: Path) -> None:
    run(shop, ["SET SESSION sql_generate_invisible_primary_key = 1", "CREATE TABLE shop.g (v INT)"])
    shows = "SET GLOBAL show_gipk_in_create_table_and_information_schema"
    shop.query(f"{shows} = OFF")
    try:
        capture = Capture(shop, tmp_path)
        capture.read()
        saved = FileState(capture.state).load()
    finally:
        shop.query(f"{shows} = ON")
    assert saved is not None
    keys = {table.name.table: table.primary_key for table in saved.beginning.snapshot.tables}
    assert keys["g"] == ("my_row_id",)


@pytest.mark.mariadb
def test_a_transaction_whose_end_the_source_did_not_write_is_not_published(shop: Endpoint, tmp_path: Path) -> None:
    """MariaDB that crashes while it writes one leaves its first events in the file, and goes on in another."""
    server = shop.server
    assert server is not None
    captures = [Capture(shop, tmp_path), Capture(shop, tmp_path / "gtid", by_gtid=True)]
    assert [capture.read() for capture in captures] == [[], []]
    run(shop, ["INSERT INTO shop.t VALUES (1, 'whole')", "INSERT INTO shop.t VALUES (2, 'half')"])
    file, end = head(shop).split(":")
    server.kill()
    with (server.data / file).open("r+b") as binlog:
        binlog.truncate(int(end) - XID_BYTES)
    server.start()
    run(shop, ["INSERT INTO shop.t VALUES (3, 'whole')"])
    for capture in captures:
        assert [data["id"] for _, data in rows(map(json.loads, capture.read()))] == [1, 3]
    run(shop, ["DELETE FROM shop.t WHERE id = 3"])
    for capture in captures:
        assert rows(map(json.loads, capture.read())) == [("delete", {"id": 3, "v": "whole"})]


def test_gtids_that_began_anew_are_not_taken_for_the_old_ones(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path, by_gtid=True)
    capture.read()
    run(shop, ["INSERT INTO shop.t VALUES (1, REPEAT('v', 200))", "FLUSH BINARY LOGS"])
    assert len(capture.read()) == 1
    run(shop, [reset(shop)])
    run(shop, [f"INSERT INTO shop.t VALUES ({number}, '')" for number in range(2, 9)])
    with pytest.raises(OperationError, match=r"does not have .*, where capture was: it was reset"):
        capture.read()


def reset(source: Endpoint) -> str:
    """The statement that begins the source's binlog anew, with its numbers."""
    return "RESET BINARY LOGS AND GTIDS" if source.brand == "mysql" else "RESET MASTER"


@pytest.mark.parametrize("by_gtid", [False, True])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_binlog_that_was_reset_and_reaches_past_the_place_is_not_taken_for_the_old_one(
    shop: Endpoint, tmp_path: Path, by_gtid: bool, is_new: bool
) -> None:
    shop.query(reset(shop))
    row = "INSERT INTO shop.t VALUES ({}, REPEAT('v', 200))"
    run(shop, [row.format(0)])
    capture = Capture(shop, tmp_path, by_gtid=by_gtid)
    assert capture.read() == []
    if not is_new:
        assert len(capture.of(row.format(1))) == 1
    place, begun = str(capture.report.place), shop.query("SELECT UNIX_TIMESTAMP()")
    if is_new:  # nothing but the second tells the files apart
        wait_for(lambda: shop.query("SELECT UNIX_TIMESTAMP()") > begun, what="the next second")
    run(shop, [reset(shop), *(row.format(number) for number in range(2, 9))])
    assert head(shop).partition(":")[0] == place.partition(":")[0]
    assert int(head(shop).partition(":")[2]) > int(place.partition(":")[2])
    for _ in range(2):
        with pytest.raises(OperationError, match=r"is not the file that capture has read up to .*: the binlog was re"):
            capture.read()


@pytest.mark.parametrize(
    ("to", "count", "then"),
    [("", 1, []), ("", 9, []), (" TO 700", 9, []), ("", 1, ["FLUSH BINARY LOGS", "DELETE FROM shop.t WHERE id = 2"])],
)
def test_a_binlog_that_is_reset_while_it_is_read_ends_capture(
    shop: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, count: int, then: list[str]
) -> None:
    """Also where the new one is longer than the old one was, has a higher number, or a second file, to which servers
    take the reader on as if nothing were between."""
    monkeypatch.setattr("pydbsync.ops.capture.session._HOLD_S", 0.0)
    shop.query(reset(shop))
    row = "INSERT INTO shop.t VALUES ({}, REPEAT('v', 200))"
    run(shop, [row.format(0)])
    capture = Capture(shop, tmp_path, retry=QUICK)
    capture.read()
    told: list[Exception] = []

    def follow() -> None:
        try:
            run_capture(capture.settings(follow=True), threading.Event())
        except OperationError as exc:
            told.append(exc)

    thread = threading.Thread(daemon=True, target=follow)
    thread.start()
    run(shop, [row.format(1)])
    wait_for(lambda: _lines(capture) == 1, what="the row")
    with shop.connect() as connection, connection.cursor() as cursor:
        cursor.execute(reset(shop) + to)
        for sql in (*(row.format(number) for number in range(2, 2 + count)), *then):
            cursor.execute(sql)
    thread.join(60)
    assert re.search("it was reset|the binlog was reset|cannot read its own binlog", str(told[0]))
    assert _lines(capture) == 1


@pytest.mark.parametrize("is_longer", [False, True])
def test_gtids_of_another_binlog_are_not_taken_for_those_of_a_file_that_was_purged(
    shop: Endpoint, tmp_path: Path, is_longer: bool
) -> None:
    shop.query(reset(shop))
    capture = Capture(shop, tmp_path, by_gtid=True)
    assert capture.read() == []
    assert len(capture.of("INSERT INTO shop.t VALUES (1, 'x')")) == 1
    count = 7 if is_longer else 1
    run(shop, [f"{reset(shop)} TO 700", *(f"INSERT INTO shop.t VALUES ({n}, '')" for n in range(2, 2 + count))])
    with pytest.raises(OperationError, match=r"its GTIDs stand for others now|was reset"):
        capture.read()


def test_asked_for_gtids_places_are_those_of_the_file_with_which_the_source_goes_on(
    shop: Endpoint, tmp_path: Path
) -> None:
    shop.query(reset(shop))
    capture = Capture(shop, tmp_path, by_gtid=True)
    capture.read()
    assert len(capture.of("INSERT INTO shop.t VALUES (1, REPEAT('v', 200))")) == 1
    run(shop, ["FLUSH BINARY LOGS"])
    begun = head(shop)
    (found,) = capture.of("INSERT INTO shop.t VALUES (2, '')")
    assert found["position"].partition(":")[0] == begun.partition(":")[0]
    assert capture.report.place == head(shop)
    run(shop, ["ALTER TABLE shop.t ADD n INT", "FLUSH BINARY LOGS", "INSERT INTO shop.t VALUES (3, '', 4)"])
    assert [data for _, data in rows(map(json.loads, capture.read()))] == [{"id": 3, "v": "", "n": 4}]


def test_a_start_inside_a_transaction_is_refused(shop: Endpoint, tmp_path: Path) -> None:
    file, _, before = head(shop).partition(":")
    run(shop, ["BEGIN", "INSERT INTO shop.t VALUES (1, 'a')", "UPDATE shop.t SET v = 'b'", "COMMIT"])
    events = shop.query(f"SHOW BINLOG EVENTS IN '{file}' FROM {before}")
    places = [int(place) for _, place, kind, *_ in events if kind in ("Table_map", "Xid")]
    assert len(places) == 3
    for number, place in enumerate(places):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(OperationError, match=f"{file}:{place}, where capture began, lies inside a transaction"):
            Capture(shop, tmp_path / str(number), start=f"{file}:{place}").read()
    assert len(Capture(shop, tmp_path, start=f"{file}:{before}").read()) == 2


@pytest.mark.mysql
def test_a_mysql_without_gtids_is_not_read_by_them(shop: Endpoint, tmp_path: Path) -> None:
    modes = ("ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF")
    try:
        for mode in modes:
            shop.query(f"SET GLOBAL gtid_mode = {mode}")
            with pytest.raises(OperationError, match=f"gtid_mode={mode}.*by file and offset"):
                Capture(shop, tmp_path, by_gtid=True).read()
    finally:
        for mode in (*reversed(modes[:-1]), "ON"):
            shop.query(f"SET GLOBAL gtid_mode = {mode}")


@pytest.mark.mysql
def test_transactions_without_gtids_are_read_by_their_places(shop: Endpoint, tmp_path: Path) -> None:
    """As gtid_mode is switched while capture reads: each is in the binlog as it was at its time."""
    modes = ("ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON")
    (tmp_path / "gtid").mkdir()
    capture, by_gtid = Capture(shop, tmp_path), Capture(shop, tmp_path / "gtid", by_gtid=True)
    assert (capture.read(), by_gtid.read()) == ([], [])
    try:
        for number, mode in enumerate(modes):
            run(shop, [f"SET GLOBAL gtid_mode = {mode}", f"INSERT INTO shop.t VALUES ({number}, '')"])
    finally:
        for mode in modes[modes.index(shop.query("SELECT @@gtid_mode")[0][0]) :]:
            shop.query(f"SET GLOBAL gtid_mode = {mode}")
    for reader, advice in ((capture, r"set gtid_mode=ON_PERMISSIVE"), (by_gtid, r"go on by .* \(without by_gtid\)")):
        with pytest.raises(OperationError, match=advice):
            reader.read()
    shop.query("SET GLOBAL gtid_mode = ON_PERMISSIVE")
    try:
        assert (len(capture.read()), len(by_gtid.read(by_gtid=False))) == (5, 5)
    finally:
        shop.query("SET GLOBAL gtid_mode = ON")
    for reader in (capture, by_gtid):
        messages = list(map(json.loads, reader.file.read_text().splitlines()))
        assert [data["id"] for _, data in rows(messages)] == [0, 1, 2, 3, 4, 5]
        assert ["gtid" in message for message in messages] == [True, False, False, False, True, True]


@pytest.mark.mysql
@pytest.mark.parametrize("tag", ["", "other:"])
def test_numbers_of_19_digits_are_gtids(shop: Endpoint, tmp_path: Path, tag: str) -> None:
    capture = Capture(shop, tmp_path)
    capture.read()
    gtid = f"{uuid.uuid4()}:{tag}9223372036854775000"
    found = capture.of(
        f"SET gtid_next = '{gtid}'", "INSERT INTO shop.t VALUES (1, 'x')", "SET gtid_next = 'AUTOMATIC'",
        "INSERT INTO shop.t VALUES (2, 'y')",
    )  # fmt: skip
    assert found[0]["gtid"] == gtid
    assert [data["id"] for _, data in rows(found)] == [1, 2]
    assert capture.read() == []
    shop.query(reset(shop))  # by GTIDs with tags nobody else could read this server


def test_a_second_capture_with_the_same_number_waits_and_says_why(
    shop: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = Capture(shop, tmp_path / "a", retry=QUICK), Capture(shop, tmp_path / "b", retry=QUICK)
    for capture in (first, second):
        capture.read()
    with following(first) as stop_first, following(second) as stop_second:
        wait_for(
            lambda: "another capture reads this source with the server_id" in caplog.text, what="the second to wait"
        )
        for number in range(20):
            run(shop, [f"INSERT INTO shop.t VALUES ({number}, 'x')"])
        wait_for(lambda: max(_lines(first), _lines(second)) == 20, what="the rows")
        assert min(_lines(first), _lines(second)) == 0
        (stop_first if _lines(first) else stop_second)()
        wait_for(lambda: (_lines(first), _lines(second)) == (20, 20), what="the rows of the other")


def test_another_number_is_another_reader(shop: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = Capture(shop, tmp_path), Capture(shop, tmp_path / "b", server_id=4711)
    first.read()
    with following(first):
        second.read()
        assert rows(second.of("INSERT INTO shop.t VALUES (1, 'x')")) == [("insert", {"id": 1, "v": "x"})]
        wait_for(lambda: _lines(first) == 1, what="the row")


class following:
    """A capture that goes on in a thread; the value stops it."""

    def __init__(self, capture: Capture) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            daemon=True, target=run_capture, args=(capture.settings(follow=True), self._stop)
        )

    def __enter__(self) -> Callable[[], None]:
        self._thread.start()
        return self._end

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()

    def __exit__(self, *exc: object) -> None:
        self._end()


def _lines(capture: Capture) -> int:
    return capture.file.read_bytes().count(b"\n") if capture.file.exists() else 0


@pytest.mark.parametrize("missing", ["place.json", "schema.jsonl"])
def test_half_a_state_is_refused(shop: Endpoint, tmp_path: Path, missing: str) -> None:
    capture = Capture(shop, tmp_path)
    capture.read()
    run(shop, ["ALTER TABLE shop.t ADD n INT", "INSERT INTO shop.t VALUES (1, 'x', 1)"])
    capture.read()
    (capture.state / missing).unlink()
    run(shop, ["INSERT INTO shop.t VALUES (2, 'y', 2)"])
    with pytest.raises(OperationError, match=f"no {missing}.*Restore"):
        capture.read()


def test_a_crash_while_the_first_state_was_made_is_no_half_state(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path)
    capture.read()
    (capture.state / "place.json").unlink()
    assert rows(capture.of("INSERT INTO shop.t VALUES (1, 'x')")) == [("insert", {"id": 1, "v": "x"})]


@pytest.mark.parametrize("missing", ["capture_place", "capture_schema"])
def test_half_a_state_in_tables_is_refused(shop: Endpoint, tmp_path: Path, missing: str) -> None:
    state = StateTable(connect=shop.db_info, schema="half")
    capture = Capture(shop, tmp_path, state=state, exclude=("half",))
    capture.read()
    run(shop, [f"DELETE FROM half.{missing}"])
    with pytest.raises(OperationError, match=f"no {missing}"):
        capture.read()


@pytest.fixture
def reader(shop: Endpoint) -> Iterator[Endpoint]:
    """A user that sees the binlog and one of two databases."""
    rights = "REPLICATION SLAVE, BINLOG MONITOR" if shop.brand == "mariadb" else "REPLICATION SLAVE, REPLICATION CLIENT"
    run(
        shop,
        [
            "CREATE DATABASE hidden", "CREATE TABLE hidden.h (id INT PRIMARY KEY, j JSON, e ENUM('a','b'))",
            "DROP USER IF EXISTS reader", "CREATE USER reader IDENTIFIED BY 'secret'",
            f"GRANT {rights} ON *.* TO reader", "GRANT SELECT ON shop.* TO reader",
        ],
    )  # fmt: skip
    yield Endpoint(shop.brand, shop.host, shop.port, "reader", "secret")
    run(shop, ["DROP USER reader"])


@pytest.mark.parametrize("metadata", ["MINIMAL", "FULL"])
def test_a_table_that_rights_hide_is_named_and_goes_on_after_the_grant(
    shop: Endpoint, reader: Endpoint, tmp_path: Path, metadata: str
) -> None:
    ((before,),) = shop.query("SELECT @@GLOBAL.binlog_row_metadata")
    shop.query(f"SET GLOBAL binlog_row_metadata = {metadata}")
    try:
        capture = Capture(reader, tmp_path)
        assert capture.read() == []
        run(shop, ["INSERT INTO shop.t VALUES (1, 'x')", "INSERT INTO hidden.h VALUES (1, '{\"a\": 1}', 'b')"])
        for _ in range(2):
            with pytest.raises(OperationError, match=r"hidden\.h.*GRANT SELECT"):
                capture.read()
        run(shop, ["GRANT SELECT ON hidden.* TO reader", "INSERT INTO hidden.h VALUES (2, '{}', 'a')"])
        found = [json.loads(line)["data"] for line in capture.read()]
        assert found == [{"id": 1, "j": {"a": 1}, "e": "b"}, {"id": 2, "j": {}, "e": "a"}]
    finally:
        shop.query(f"SET GLOBAL binlog_row_metadata = {before}")
