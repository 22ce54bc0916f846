"""Verify while changes flow: what is only on its way is no difference, what stays is one, and it is known why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pydbsync.config.settings import Settings
from pydbsync.model import TableName
from pydbsync.ops.brake import LoadLimits
from pydbsync.ops.servers import Server, Servers
from pydbsync.ops.verify.compare import CompareOptions
from pydbsync.ops.verify.place import Passed, Streams
from pydbsync.ops.verify.report import TableReport, VerifyReport
from pydbsync.ops.verify.settle import SettleOptions
from tests.comparing import compare, found, on_both, run_sql, settings_for
from tests.following import Stream
from tests.processes import wait_for
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

TABLE = TableName("shop", "t")
PATIENT = SettleOptions(pause_s=0.05, wait_s=60, stall_s=60)


@pytest.fixture
def settings(fresh_source: Endpoint, fresh_target: Endpoint) -> Settings:
    return settings_for(fresh_source, fresh_target)


@pytest.fixture
def stream(settings: Settings, source: Endpoint, target: Endpoint) -> Iterator[Stream]:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY, v INT);\nCREATE TABLE other (id INT PRIMARY KEY)")
    on_both(source, target, "CREATE TABLE k (v INT)", database="shop")
    stream = Stream(settings, source, target)
    yield stream
    stream.connection.close()


def change(server: Endpoint, *statements: str) -> None:
    run_sql(server, statements, database="shop")


def at_first_difference(action: Callable[[], None]) -> Callable[[TableReport], None]:
    """Run the action once, when a chunk was seen to differ."""
    done = threading.Event()

    def progress(table: TableReport) -> None:
        if table.chunks_differing and not done.is_set():
            done.set()
            action()

    return progress


@pytest.mark.parametrize("table", ["t", "k"])
def test_a_change_on_its_way_is_no_difference(stream: Stream, settings: Settings, source: Endpoint, table: str) -> None:
    begin = stream.place()
    row = "(1, 1)" if table == "t" else "(1)"
    change(source, f"INSERT INTO {table} VALUES {row}")
    stream.apply(upto=begin)
    arrival = threading.Timer(0.3, lambda: stream.apply(f"INSERT INTO shop.{table} VALUES {row}", upto=stream.place()))
    reports = compare(settings, settle=PATIENT, on_progress=at_first_difference(arrival.start))
    arrival.join()
    report = reports[f"shop.{table}"]
    assert (report.chunks_differing, report.status) == (1, "equal")


def test_a_schema_change_on_its_way_is_no_difference(stream: Stream, settings: Settings, source: Endpoint) -> None:
    begin = stream.place()
    source.query("ALTER TABLE shop.t ADD COLUMN w INT")
    stream.apply(upto=begin)
    arrived = threading.Event()

    def arrive_when_seen(table: TableReport) -> None:
        if table.structure and not arrived.is_set():
            arrived.set()
            stream.apply("ALTER TABLE shop.t ADD COLUMN w INT", upto=stream.place())

    report = compare(settings, settle=PATIENT, on_progress=arrive_when_seen)["shop.t"]
    assert arrived.is_set()
    assert (report.structure, report.status, report.columns) == ([], "equal", ["id", "v", "w"])


@pytest.mark.parametrize(
    ("alter", "columns", "different"),
    [
        ("ALTER TABLE t DROP COLUMN v", ["id"], 0),
        ("ALTER TABLE t DROP PRIMARY KEY", ["id", "v"], 0),
        ("ALTER TABLE t ADD COLUMN w INT DEFAULT 1", ["id", "v", "w"], 1),
    ],
)
def test_a_table_that_is_altered_while_it_is_compared_is_begun_anew(
    fresh_source: Endpoint, fresh_target: Endpoint, alter: str, columns: list[str], different: int
) -> None:
    ends = (fresh_source, fresh_target)
    on_both(*ends, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    for end in ends:
        change(end, f"INSERT INTO t VALUES {', '.join(f'({n}, 1)' for n in range(ROWS))}")
    altered = threading.Event()

    def alter_once(table: TableReport) -> None:
        if table.chunks == 2 and not altered.is_set():
            altered.set()
            on_both(*ends, alter, database="shop")
            if "w" in columns:
                change(fresh_target, "UPDATE t SET w = 2 WHERE id = 1")

    settings = settings_for(*ends)
    report = compare(settings, compare=CompareOptions(chunk_s=0.001), on_progress=alter_once)["shop.t"]
    assert altered.is_set()
    assert (report.error, report.source_rows, report.columns, report.different) == ("", ROWS, columns, different)


def test_a_difference_that_stays_when_the_place_is_passed_is_proven(
    stream: Stream, settings: Settings, source: Endpoint
) -> None:
    change(source, "INSERT INTO t VALUES (1, 1), (2, 2)")
    stream.apply("INSERT INTO shop.t VALUES (2, 3)", upto=stream.place())
    report = compare(settings, settle=PATIENT)["shop.t"]
    assert found(report) == [
        ("changed", {"id": "2", "v": "2"}, {"id": "2", "v": "3"}),
        ("missing", {"id": "1", "v": "1"}, None),
    ]
    assert (report.unproven, [each.is_proven for each in report.differences]) == (0, [True, True])


def test_a_stream_that_does_not_move_leaves_differences_unproven(
    stream: Stream, settings: Settings, source: Endpoint
) -> None:
    stream.apply(upto=stream.place())
    change(source, "INSERT INTO t VALUES (1, 1)")
    options = SettleOptions(stall_s=0.2, blind_pause_s=0.01)
    report = compare(settings, settle=options)["shop.t"]
    assert (report.status, report.different, report.unproven) == ("different", 1, 1)


def test_a_row_that_never_rests_is_in_flux(stream: Stream, settings: Settings, source: Endpoint) -> None:
    change(source, "INSERT INTO t VALUES (1, 0)")
    stream.apply(upto=stream.place())
    ended = threading.Event()

    def count_up() -> None:
        with source.connect() as connection, connection.cursor() as cursor:
            while not ended.is_set():
                cursor.execute("UPDATE shop.t SET v = v + 1")

    writer = threading.Thread(daemon=True, target=count_up)
    writer.start()
    try:
        options = SettleOptions(passes=3, pause_s=0.01, stall_s=0.05, blind_pause_s=0.01)
        report = compare(settings, settle=options)["shop.t"]
    finally:
        ended.set()
        writer.join()
    assert (report.status, report.different, report.in_flux) == ("unknown", 0, 1)


def test_a_quiet_stream_counts_as_past_what_does_not_concern_it(
    stream: Stream, settings: Settings, source: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Server.rows

    def rows(self: Server, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        assert "BINLOG EVENTS" not in sql, "MariaDB lets no one commit while it answers that"
        return asked(self, sql, parameters)

    monkeypatch.setattr(Server, "rows", rows)
    stream.apply(upto=stream.place())
    change(source, "INSERT INTO other VALUES (1)", "CREATE TABLE shop.unrelated (id INT)")
    servers = Servers(settings, threading.Event())
    streams = Streams(settings, servers.source, servers.target)
    assert streams.passed(streams.source_place(), [TABLE]) is Passed.YES
    assert streams.passed(streams.source_place(), [TableName("shop", "other")]) is Passed.NO
    assert streams.lag_s([TABLE]) == 0
    change(source, "INSERT INTO t VALUES (1, 1)")
    assert streams.passed(streams.source_place(), [TABLE]) is Passed.NO
    before = streams.source_place()
    source.query("FLUSH BINARY LOGS")
    assert streams.passed(before, [TABLE]) is Passed.NO
    stream.apply(upto=stream.place())
    assert streams.passed(before, [TABLE]) is Passed.YES
    change(source, "TRUNCATE TABLE t")
    assert streams.passed(streams.source_place(), [TABLE]) is Passed.NO
    servers.close()


def test_the_checkpoint_of_another_server_proves_nothing(stream: Stream, settings: Settings, source: Endpoint) -> None:
    place = stream.place()
    stream.apply(upto=place._replace(file=place.file + 7, server_id=place.server_id + 1))
    servers = Servers(settings, threading.Event())
    streams = Streams(settings, servers.source, servers.target)
    assert streams.passed(place, [TABLE]) is Passed.UNKNOWN
    assert "is not the binlog of the source" in streams.why_unknown
    servers.close()


def test_parked_changes_of_a_table_are_mentioned(stream: Stream, settings: Settings) -> None:
    stream.connection.execute(
        "INSERT INTO pydbsync.parked (stream, position, kind, source_database, source_table, target_database, row_keys,"
        " is_whole_table, reason, code, message) VALUES ('file', '', 'insert', 'shop', 't', 'shop', '', 0, '', 0, '')"
    )
    reports = compare(settings)
    assert (reports["shop.t"].parked, reports["shop.other"].parked) == (1, 0)


def test_verify_waits_while_a_server_is_busy(
    settings: Settings, stream: Stream, source: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sleepers = [threading.Thread(daemon=True, target=source.query, args=("SELECT SLEEP(3)",)) for _ in range(8)]
    for sleeper in sleepers:
        sleeper.start()
    wait_for(
        lambda: int(source.query("SHOW GLOBAL STATUS LIKE 'Threads_running'")[0][1]) > 8, what="eight busy connections"
    )
    reports = compare(settings, limits=LoadLimits(threads_running=6))
    assert reports["shop.t"].status == "equal"
    messages = [record.getMessage() for record in caplog.records]
    waiting = next(index for index, text in enumerate(messages) if text.startswith("waiting: the source runs"))
    assert "going on" in messages[waiting:]
    for sleeper in sleepers:
        sleeper.join()


# -- runs that are killed ----------------------------------------------------------------------------------------------


ROWS = 40_000


@pytest.fixture
def many(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY, v INT);\nCREATE TABLE u (id INT PRIMARY KEY)")
    for end in (source, target):
        change(end, f"INSERT INTO t VALUES {', '.join(f'({n}, {n})' for n in range(ROWS))}")
    change(target, "UPDATE t SET v = -1 WHERE id = 5", f"UPDATE t SET v = -1 WHERE id = {ROWS - 5}")


def start(source: Endpoint, target: Endpoint, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    config = folder / "config.py"
    config.write_text(f"db_info = {target.db_info}\nsource_db_info = {source.db_info}\nlog_file_prefix = ''\n")
    command = [sys.executable, "-m", "pydbsync", "verify", "--config", str(config), *arguments]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def read(path: Path) -> dict[str, Any] | None:
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return report


@pytest.mark.usefixtures("many")
def test_a_killed_run_goes_on_where_it_was(source: Endpoint, target: Endpoint, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    options = ("--report", str(path), "--data-only")
    process = start(source, target, tmp_path, *options, "--rate", "2000")

    def has_begun() -> bool:
        report = read(path)
        tables = report["tables"] if report else []
        return any(table["progress"] and table["progress"]["after"] for table in tables)

    wait_for(has_begun, what="a report with a place inside the table")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    former = read(path)
    assert former is not None
    before = next(table for table in former["tables"] if table["target"] == ["shop", "t"])
    assert 0 < before["source_rows"] < ROWS
    refused = start(source, target, tmp_path, *options, "--sample", "50")
    assert refused.wait() == 2
    assert "give --restart" in (tmp_path / "output").read_text()
    assert start(source, target, tmp_path, *options).wait() == 1
    report = msgspec.json.decode(path.read_bytes(), type=VerifyReport)
    tables = {str(table.target): table for table in report.tables}
    assert report.started_at == former["started_at"]
    assert tables["shop.t"].source_rows == ROWS
    assert [row["id"] for _, row, _ in found(tables["shop.t"])] == [str(ROWS - 5), "5"]
    assert tables["shop.u"].status == "equal"


def test_a_run_begins_a_table_anew_that_has_another_key_since_it_was_stopped(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    ends, stop = (fresh_source, fresh_target), threading.Event()
    on_both(*ends, "CREATE TABLE t (id INT PRIMARY KEY, w INT NOT NULL, v INT)")
    for end in ends:
        change(end, f"INSERT INTO t VALUES {', '.join(f'({n}, {ROWS - n}, 1)' for n in range(ROWS))}")

    def stop_within(table: TableReport) -> None:
        if table.chunks == 2:
            stop.set()

    settings, pieces = settings_for(*ends), CompareOptions(chunk_s=0.001)
    given: dict[str, Any] = {"compare": pieces, "report": tmp_path / "report.json"}
    compare(settings, on_progress=stop_within, stop=stop, **given)
    on_both(*ends, "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (w)")
    change(fresh_target, "UPDATE t SET v = 2 WHERE w = 5")
    report = compare(settings, **given)["shop.t"]
    assert (report.source_rows, report.different) == (ROWS, 1)


@pytest.mark.usefixtures("many")
def test_a_continuous_run_goes_round_until_it_is_stopped(source: Endpoint, target: Endpoint, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    process = start(source, target, tmp_path, "--report", str(path), "--continuous", "--rate", "0", "--chunk-s", "0.1")
    try:
        wait_for(lambda: (read(path) or {}).get("rounds", 0) >= 1, what="a whole round")
        change(target, "UPDATE t SET v = id")
        wait_for(
            lambda: (
                (report := read(path))
                and report["rounds"] >= 2
                and all(table["status"] == "equal" for table in report["tables"])
            ),
            what="a round in which all is equal",
        )
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    assert code == 0, (tmp_path / "output").read_text()


def test_a_server_that_goes_away_is_waited_for(fresh_source: Endpoint, fresh_target: Endpoint, make_proxy: Any) -> None:
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY)")
    for end in (fresh_source, fresh_target):
        change(end, f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(ROWS))}")
    proxy = make_proxy(fresh_target.port)
    behind = {**fresh_target.db_info, "port": proxy.port}
    cut = threading.Event()

    def cut_once(table: TableReport) -> None:
        if table.chunks == 2 and not cut.is_set():
            cut.set()
            proxy.cut()

    settings = settings_for(fresh_source, fresh_target, db_info=behind, retry={"first_s": 0.01, "max_s": 0.05})
    reports = compare(settings, compare=CompareOptions(chunk_s=0.001), on_progress=cut_once)
    assert cut.is_set()
    assert (reports["shop.t"].status, reports["shop.t"].source_rows) == ("equal", ROWS)


def test_the_documented_rights_are_enough(
    stream: Stream, settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    on_both(
        source,
        target,
        "CREATE TABLE p (id INT PRIMARY KEY, CHECK (id > 0));\n"
        "CREATE TABLE c (id INT PRIMARY KEY, p INT, j JSON, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE);\n"
        "INSERT INTO p VALUES (1);\nINSERT INTO c VALUES (1, 1, '{}')",
    )
    grants = {
        source: "SELECT, REFERENCES, REPLICATION CLIENT, REPLICATION SLAVE ON *.*",
        target: "SELECT, REFERENCES ON *.*",
    }
    for end, rights in grants.items():
        run_sql(end, ["DROP USER IF EXISTS reader@'%'", "CREATE USER reader@'%' IDENTIFIED BY 'reader'"])
        run_sql(end, [f"GRANT {rights} TO reader@'%'"])
    stream.apply(upto=stream.place())
    change(source, "INSERT INTO other VALUES (1)")
    change(target, "DELETE FROM c")
    reader = {"user": "reader", "password": "reader"}
    limited = settings_for(
        source, target, db_info={**target.db_info, **reader}, source_db_info={**source.db_info, **reader}
    )
    half = settings_for(source, target, source_db_info={**source.db_info, **reader})
    for each in (limited, half):
        reports = compare(each, settle=SettleOptions(pause_s=0.01, stall_s=0.2, blind_pause_s=0.01))
        assert {name: report.structure for name, report in reports.items() if report.structure} == {}
        assert [difference.is_proven for difference in reports["shop.c"].differences] == [True]
