"""How replay goes on from a copy: what the copied rows hold is passed over, what comes behind is applied, and a stream
that begins too late is refused."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pydbsync.config.settings import AmqpSettings, Secret
from pydbsync.errors import OperationError, StopError
from pydbsync.ops.capture import CaptureSettings, run_capture
from tests.commands import call
from tests.comparing import run_sql, settings_for
from tests.conftest import RunSync
from tests.integration.captured import Capture
from tests.integration.carried import Carrier, without_places
from tests.integration.copying import OWN, CopyProcess, Recorder, copy, state_differences
from tests.integration.engine import parked, replay
from tests.matrices import LONG
from tests.maxwell import Binlog, insert
from tests.processes import sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.kept_state

TABLES = (
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE shop.k (v INT)",
    "CREATE TABLE shop.parent (id INT PRIMARY KEY)",
    "CREATE TABLE shop.child (id INT PRIMARY KEY, p INT,"
    " FOREIGN KEY (p) REFERENCES shop.parent (id) ON DELETE CASCADE)",
)
ROWS = (
    "INSERT INTO shop.t VALUES (1, 1), (2, 2), (3, 3)",
    "INSERT INTO shop.k VALUES (1), (1), (2)",
    "INSERT INTO shop.parent VALUES (1), (2)",
    "INSERT INTO shop.child VALUES (1, 1), (2, 1), (3, 2)",
)
BEFORE = (
    *TABLES,
    *ROWS,
    "UPDATE shop.t SET id = id + 10",
    "DELETE FROM shop.k WHERE v = 1 LIMIT 1",
    "ALTER TABLE shop.t ADD COLUMN w INT NOT NULL DEFAULT 4 FIRST",
    "CREATE TABLE shop.gone (id INT PRIMARY KEY)",
    "INSERT INTO shop.gone VALUES (1)",
    "DROP TABLE shop.gone",
    "CREATE DATABASE old_times",
    "CREATE TABLE old_times.x (id INT)",
    "DROP DATABASE old_times",
    "DELETE FROM shop.parent WHERE id = 1",
)
"""All of it is in the copied rows: done a second time it would fail, or leave other rows."""
AFTER = (
    "INSERT INTO shop.k VALUES (2), (2)",
    "UPDATE shop.t SET v = v + 1",
    "DELETE FROM shop.k WHERE v = 1 LIMIT 1",
    "INSERT INTO shop.parent VALUES (7)",
    "INSERT INTO shop.child VALUES (7, 7)",
    "ALTER TABLE shop.k ADD COLUMN w INT DEFAULT 9",
    "INSERT INTO shop.k VALUES (3, 3)",
)


CHECKPOINT = "SELECT binlog_base, binlog_file, binlog_offset FROM pydbsync.checkpoint"


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


def caught_up(carrier: Carrier, messages: list[bytes] | None = None, *, block: int = 1000) -> list[str]:
    """Replay all that was captured, and compare."""
    carrier.run()
    replay(
        carrier.target, carrier.messages if messages is None else messages, stream="file", block=block,
        source_server=carrier.source_server, lossy_values="off",
    )  # fmt: skip
    assert parked(carrier.target) == []
    return carrier.differences("shop")


def test_a_stream_that_begins_before_the_copy_is_passed_over_up_to_it(carrier: Carrier) -> None:
    carrier.run(*BEFORE)
    report = copy(settings_for(carrier.source, carrier.target))
    assert carrier.target.query("SELECT phase, is_proven FROM pydbsync.copy_start") == [("replay", 0)]
    ((base, number, offset),) = carrier.target.query(CHECKPOINT)
    assert report.place == report.end_place == f"{base}.{number:06d}:{offset}"
    carrier.run(*AFTER)
    assert caught_up(carrier, block=3) == []
    assert carrier.target.query("SELECT phase, is_proven FROM pydbsync.copy_start") == [("consistent", 1)]
    # All of it once more is nothing new.
    assert caught_up(carrier) == []


def test_a_stream_that_begins_behind_the_copy_is_refused_until_it_is_trusted(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    run_sql(fresh_source, BEFORE)
    copy(settings_for(fresh_source, fresh_target))
    config = {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "log_file_prefix": ""}
    path = write_config(config, tmp_path / "config.py")
    capture = Capture(fresh_source, tmp_path)
    capture.read()
    run_sql(fresh_source, ["INSERT INTO shop.k VALUES (55)"])
    capture.read()
    target_alone = write_config({"db_info": fresh_target.db_info, "log_file_prefix": ""}, tmp_path / "target.py")
    run = ("run", "--from", str(capture.file), "--config", str(target_alone))
    for _ in range(2):
        refused = call(*run)
        assert refused.returncode == 3, refused
        assert "Traceback" not in str(refused)
        assert re.search(
            r"the stream begins at \S+, behind the copy's place \S+: what happened in between", refused.stderr
        )
        assert fresh_target.query("SELECT COUNT(*) FROM shop.k WHERE v = 55") == [(0,)]
    # The sentence names the command that helps.
    advice = re.search(r"`python (-m pydbsync copy --trust-stream [^`]*)`", refused.stderr.replace("\n", " "))
    assert advice is not None
    trusted = call(*shlex.split(advice[1])[2:], "--config", str(path))
    assert trusted.returncode == 0, trusted.stderr
    assert "the streams are trusted from now on" in trusted.stdout + trusted.stderr
    assert call(*run).returncode == 0
    assert state_differences(fresh_source, fresh_target, ["shop"]) == []


def test_changes_while_rows_are_read_are_not_in_the_copy_and_come_with_replay(carrier: Carrier) -> None:
    run_sql(carrier.source, [*TABLES, *ROWS])
    carrier.run()
    late = Recorder(lambda: run_sql(carrier.source, AFTER[:-2]))
    copy(settings_for(carrier.source, carrier.target), observer=late, jobs=1)
    differing = {line.partition(":")[0] for line in carrier.differences("shop")}
    assert differing == {"shop.t", "shop.k", "shop.parent", "shop.child"}
    assert caught_up(carrier) == []


def test_a_copy_for_some_tables_gives_them_a_start_of_their_own(carrier: Carrier) -> None:
    """A table that was broken at the target is copied anew while the stream goes on where it was."""
    settings = settings_for(carrier.source, carrier.target)
    carrier.run(*BEFORE)
    copy(settings)
    carrier.run(*AFTER)
    assert caught_up(carrier) == []
    before = carrier.target.query(CHECKPOINT)
    carrier.target.query("DELETE FROM shop.k")
    carrier.run("INSERT INTO shop.k VALUES (8, 8)", "INSERT INTO shop.t VALUES (1, 88, 88)")
    report = copy(settings, tables=("shop.k",))
    assert [str(table.name) for table in report.tables] == ["shop.k"]
    assert carrier.target.query(CHECKPOINT) == before
    carrier.run("INSERT INTO shop.k VALUES (8, 8)")
    assert caught_up(carrier) == []
    # A place of another binlog tells nothing of the copied rows.
    carrier.target.query("UPDATE pydbsync.checkpoint SET binlog_file = binlog_file + 1000")
    with pytest.raises(
        OperationError, match=r"the checkpoint of 'file', .*, is not before the end of the source's bin"
    ):
        copy(settings, tables=("shop.k",))


def test_rows_that_came_by_a_copy_alone_are_those_of_its_source(carrier: Carrier) -> None:
    settings = settings_for(carrier.source, carrier.target)
    carrier.run(*BEFORE)
    ((source_id,),) = carrier.source.query("SELECT @@server_id")
    copy(settings)
    row = insert("shop.t", {"w": 4, "id": 11, "v": 5})
    replay(carrier.target, Binlog(server_id=int(source_id) + 1000).each([row]), stream="of another")
    assert [each.table for each in parked(carrier.target)] == ["shop.t"]
    assert carrier.target.query("SELECT v FROM shop.t WHERE id = 11") == [(1,)]
    # Read anew, the table would lose what the other has written.
    carrier.run(*AFTER)
    replay(carrier.target, carrier.messages, stream="file", source_server=carrier.source_server, lossy_values="off")
    with pytest.raises(OperationError, match=r"shop\.t at the target is fed from another server too, by of another"):
        copy(settings, tables=("shop.t",))


def test_a_copy_is_refused_where_replay_has_gone_on(carrier: Carrier) -> None:
    settings = settings_for(carrier.source, carrier.target)
    carrier.run(*BEFORE)
    copy(settings)
    carrier.run(*AFTER)
    assert caught_up(carrier) == []
    with pytest.raises(
        OperationError, match=r"replay has gone on in file already: name --tables .*--overwrite-checkpoint"
    ):
        copy(settings, existing="drop")
    carrier.run("INSERT INTO shop.k VALUES (4, 4)")
    carrier.target.query("DELETE FROM shop.t")
    copy(settings, existing="drop", overwrite_checkpoint=True)
    carrier.run("INSERT INTO shop.k VALUES (4, 4)")
    assert caught_up(carrier) == []


def test_a_copy_is_refused_while_the_stream_is_owned(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    run_sql(fresh_source, TABLES)
    settings = settings_for(fresh_source, fresh_target)
    tried: list[str] = []

    def copy_as_well() -> None:
        with pytest.raises(OperationError) as refused:
            copy(settings)
        tried.append(str(refused.value))

    run_sql(fresh_source, ROWS)
    copy(settings, observer=Recorder(copy_as_well))
    assert len(tried) == 1
    assert re.search(r"'file' is owned by .*: stop the replay, and any other copy, first", tried[0])


# -- watermarks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", ["with places", "without places"])
def test_marks_tell_replay_from_where_each_table_is_new(carrier: Carrier, places: str) -> None:
    """Tables with a key are read while they change; all others at a marker of their own."""
    carrier.run(*TABLES, *ROWS, "DELETE FROM shop.k WHERE v = 1 LIMIT 1")
    late = Recorder(lambda: run_sql(carrier.source, AFTER[:-2]))
    report = copy(settings_for(carrier.source, carrier.target), observer=late, watermark=True, jobs=1)
    assert report.place.startswith("marker ")
    assert report.end_place.startswith("marker ")
    assert report.place != report.end_place
    carrier.run(AFTER[0])
    messages = carrier.messages if places == "with places" else without_places(carrier.messages)
    assert caught_up(carrier, messages) == []
    assert carrier.target.query("SELECT phase FROM pydbsync.copy_start") == [("consistent",)]


def test_a_stream_that_the_marks_do_not_reach_is_refused(carrier: Carrier) -> None:
    carrier.run(*TABLES, *ROWS)
    report = copy(settings_for(carrier.source, carrier.target), watermark=True)
    wait_for(
        lambda: carrier.source.query("SELECT NOW() > MAX(written_at) FROM pydbsync_heartbeat.heartbeat_marker")[0][0],
        what="another second at the source",
    )
    carrier.run("INSERT INTO shop.t VALUES (9, 9)")
    without = [body for body in carrier.messages if b"heartbeat_marker" not in body]
    with pytest.raises(StopError, match=f"the {report.place}|marker .* has not come, .*do not reach this queue"):
        replay(carrier.target, without, stream="file", source_server=carrier.source_server)
    assert carrier.target.query("SELECT COUNT(*) FROM shop.t WHERE id = 9") == [(0,)]


def restricted(source: Endpoint) -> dict[str, str]:
    """A user of the source who may read and lock tables and write marks, and must not look at the binlog."""
    own = settings_for(source, source).heartbeat_table.partition(".")[0]
    run_sql(
        source,
        [
            "DROP USER IF EXISTS unprivileged@'%'",
            "CREATE USER unprivileged@'%' IDENTIFIED BY 'unprivileged'",
            "GRANT SELECT, LOCK TABLES, SHOW VIEW, TRIGGER ON *.* TO unprivileged@'%'",
            f"GRANT CREATE, INSERT ON `{own}`.* TO unprivileged@'%'",
        ],
    )
    return {"user": "unprivileged", "password": "unprivileged"}


class Load:
    """Transactions at the source, one after another, until it is stopped."""

    def __init__(self, source: Endpoint) -> None:
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(daemon=True, target=self._run)
        self.transactions = 0

    def _run(self) -> None:
        with self._source.connect(autocommit=False) as connection, connection.cursor() as cursor:
            while not self._stop.is_set():
                number = self.transactions
                cursor.execute("INSERT INTO shop.t VALUES (%s, 0)", (100 + number,))
                cursor.execute("INSERT INTO shop.k VALUES (%s), (%s)", (number, number % 7))
                cursor.execute("UPDATE shop.t SET v = v + 1 WHERE id IN (1, %s)", (100 + number // 2,))
                cursor.execute("DELETE FROM shop.k WHERE v = %s LIMIT 1", (number % 5,))
                if number % 3 == 0:
                    cursor.execute("DELETE FROM shop.t WHERE id = %s", (100 + number // 3,))
                connection.commit()
                self.transactions += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def capturing(source: Endpoint, vhost: Vhost, folder: Path) -> Iterator[None]:
    """A capture to RabbitMQ that goes on meanwhile, and afterwards to the end of the binlog."""
    info = vhost.conn_info
    amqp = AmqpSettings(
        host=info["host"], port=info["port"], user=info["user"], password=Secret(info["password"]), vhost=info["vhost"]
    )

    def run(stop: threading.Event, *, follow: bool) -> None:
        run_capture(
            CaptureSettings(source=source.db_info, amqp=amqp, state=folder / "state", exact=True, follow=follow), stop
        )

    run(threading.Event(), follow=False)
    stop = threading.Event()
    thread = threading.Thread(daemon=True, target=run, args=(stop,), kwargs={"follow": True})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    run(threading.Event(), follow=False)


@pytest.mark.parametrize("mode", ["snapshot", pytest.param("watermark", marks=LONG)])
def test_a_copy_under_load_and_the_stream_through_rabbitmq_end_equal(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path: Path, run_sync: RunSync, mode: str
) -> None:
    vhost.declare("sync")
    run_sql(fresh_source, [*TABLES, *ROWS])
    end = fresh_source.db_info | (restricted(fresh_source) if mode == "watermark" else {})
    config = sync_config(fresh_target, vhost, source_db_info=end, lossy_values="off", exclude=["pydbsync.*"])
    with capturing(fresh_source, vhost, tmp_path), Load(fresh_source) as load:
        wait_for(lambda: load.transactions > 20, what="changes before the copy")
        if mode == "watermark":
            refused = CopyProcess(config, tmp_path).wait()
            assert refused.exit_code == 2
            assert "or copy with --watermark" in refused.stderr
        options = ("--watermark", "--restart") if mode == "watermark" else ()
        finished = CopyProcess(config, tmp_path, *options).wait()
        assert finished.exit_code == 0, finished
        done = load.transactions
        wait_for(lambda: load.transactions > done + 20, what="changes behind the copy")
    replayed = run_sync(config, "--until-drained")
    assert replayed.exit_code == 0, replayed
    told = str(replayed) + "".join(file.read_text() for file in tmp_path.rglob("*.log"))
    assert "consistent from here" in told
    assert state_differences(fresh_source, fresh_target, ["shop"]) == []
    assert set(fresh_target.databases()) - set(OWN) == {"shop"}
