"""What a copy asks of the servers while it runs: no lock beyond a moment, and no more than the operator allows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest

from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError, Stopped
from pydbsync.ops.copy.throttle import BEHIND_FOR_EVER_S, lag_of
from pydbsync.ops.servers import Server
from tests.comparing import run_sql, settings_for
from tests.integration.captured import head
from tests.integration.carried import Carrier
from tests.integration.copying import (
    KEYS,
    KILLED,
    ROWS,
    SHAPES,
    CopyProcess,
    Recorder,
    copy,
    make_shapes,
    state_differences,
)
from tests.integration.engine import parked, replay
from tests.matrices import LONG
from tests.processes import wait_for
from tests.servers import Endpoint

pytestmark = [pytest.mark.usefixtures("small_packets"), pytest.mark.kept_state]
IMPATIENT = "SET SESSION lock_wait_timeout = 1, SESSION innodb_lock_wait_timeout = 1"


@pytest.fixture
def settings(fresh_source: Endpoint, fresh_target: Endpoint) -> Settings:
    return settings_for(fresh_source, fresh_target)


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    carrier = Carrier(fresh_source, fresh_target, tmp_path)
    make_shapes(fresh_source)
    return carrier


def caught_up(carrier: Carrier) -> list[str]:
    carrier.run()
    replay(carrier.target, carrier.messages, stream="file", source_server=carrier.source_server, lossy_values="off")
    assert parked(carrier.target) == []
    return carrier.differences(SHAPES)


# -- locks -------------------------------------------------------------------------------------------------------------


def test_between_two_chunks_nothing_at_the_source_is_locked(carrier: Carrier) -> None:
    """Writes and schema changes go through in the middle of the copy, with a second of patience, in every table."""
    waited: list[int] = []

    def change_everything() -> None:
        waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE '%lock%'"
        waited.append(int(carrier.source.query(waiting)[0][0]))
        run_sql(
            carrier.source,
            [
                IMPATIENT,
                *(f"UPDATE {name} SET v = 'changed' WHERE v LIKE 'a%'" for name in KEYS),
                *(f"ALTER TABLE {name} ADD COLUMN added INT NOT NULL DEFAULT 5" for name in KEYS),
                "DROP TABLE labels",
                "RENAME TABLE text TO renamed",
                "CREATE TABLE later (id INT PRIMARY KEY)",
                "INSERT INTO later VALUES (1)",
            ],
            database=SHAPES,
        )

    report = copy(settings_for(carrier.source, carrier.target), observer=Recorder(change_everything), jobs=1)
    assert waited == [0]
    assert report.rounds > 1
    assert caught_up(carrier) == []


def test_with_several_workers_a_schema_change_goes_through_as_well(carrier: Carrier) -> None:
    """Whichever table each of them reads: none keeps its lock, or the round ends for the sake of the change."""
    changed = threading.Event()

    def change() -> None:
        for name in KEYS:
            run_sql(carrier.source, [f"ALTER TABLE {name} ADD COLUMN added INT"], database=SHAPES)
        changed.set()

    thread = threading.Thread(daemon=True, target=change)
    copy(settings_for(carrier.source, carrier.target), observer=Recorder(thread.start), jobs=4)
    thread.join()
    assert changed.is_set()
    assert caught_up(carrier) == []


def test_the_moment_is_waited_for_in_short_attempts_so_that_writers_do_not_queue(
    settings: Settings, source: Endpoint, target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction that has written holds off the lock on its table; a lock that waits would hold off all others."""
    make_shapes(source)
    caplog.set_level("INFO")
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            copy(settings, locking="tables", lock_wait_s=1)
            ended.append(None)
        except BaseException as exc:
            ended.append(exc)

    with source.connect(autocommit=False, database=SHAPES) as holder, holder.cursor() as cursor:
        cursor.execute("UPDATE number SET v = 'held' LIMIT 1")
        thread = threading.Thread(daemon=True, target=run)
        thread.start()
        said = "its lock did not come within 1 s, trying again"
        wait_for(lambda: said in caplog.text or not thread.is_alive(), what="an attempt that was given up")
        # Between two attempts others write.
        run_sql(source, ["UPDATE signed SET v = 'written' LIMIT 1"], database=SHAPES)
        assert ended == []
        holder.commit()
    thread.join()
    assert ended == [None]
    assert "the tables were locked for" in caplog.text
    assert state_differences(source, target, [SHAPES]) == []


@pytest.mark.mysql
@pytest.mark.parametrize("locking", ["global", pytest.param("auto", marks=LONG)])
def test_a_long_query_is_seen_before_all_tables_are_flushed(
    fresh_source: Endpoint, fresh_target: Endpoint, caplog: pytest.LogCaptureFixture, locking: str
) -> None:
    """FLUSH TABLES would wait for it, and everybody who wants its table behind that, even after FLUSH has given up."""
    make_shapes(fresh_source)
    caplog.set_level("INFO")
    flushed = "SELECT SUM(variable_value) FROM performance_schema.global_status WHERE variable_name = 'Com_flush'"
    before = fresh_source.query(flushed)
    settings = settings_for(fresh_source, fresh_target)
    with fresh_source.connect(database=SHAPES) as reader, ThreadPoolExecutor() as pool:
        query = pool.submit(lambda: reader.cursor().execute("SELECT SLEEP(600) FROM number LIMIT 1"))
        number = reader.thread_id()  # type: ignore[no-untyped-call]
        running = f"SELECT 1 FROM information_schema.processlist WHERE id = {number} AND time >= 1"
        wait_for(lambda: fresh_source.query(running), what="a query that runs for a second")
        copying = pool.submit(lambda: copy(settings, locking=locking, jobs=2))
        try:
            if locking == "auto":
                copying.result()
                assert "the tables were locked for" in caplog.text
            else:
                said = f"connection {number} of app runs a statement for "
                wait_for(lambda: said in caplog.text or copying.done(), what="the query to be named")
            assert fresh_source.query(flushed) == before
            run_sql(fresh_source, ["UPDATE number SET v = v LIMIT 1"], database=SHAPES)
        finally:
            fresh_source.query(f"KILL QUERY {number}")
        query.result()
        copying.result()
    assert state_differences(fresh_source, fresh_target, [SHAPES]) == []


def test_a_source_that_is_read_only_is_copied_without_a_marker(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make_shapes(source, count=5)
    name = "super_read_only" if source.brand == "mysql" else "read_only"
    source.query(f"SET GLOBAL {name} = 1")
    try:
        report = copy(settings)
        with pytest.raises(OperationError, match=r"--watermark writes to .* read-only \(" + name):
            copy(settings, watermark=True, overwrite_checkpoint=True, existing="drop")
    finally:
        source.query("SET GLOBAL read_only = 0")
    assert any(f"the source is read-only ({name})" in note and "--trust-stream" in note for note in report.notes)
    assert source.query("SELECT 1 FROM information_schema.schemata WHERE schema_name = 'pydbsync_heartbeat'") == []
    assert state_differences(source, target, [SHAPES]) == []


@pytest.mark.mariadb
def test_a_quiet_mariadb_is_not_locked_at_all(settings: Settings, source: Endpoint) -> None:
    make_shapes(source)
    statements = "SHOW GLOBAL STATUS WHERE variable_name IN ('Com_lock_tables', 'Com_flush', 'Com_backup')"
    before = source.query(statements)
    report = copy(settings)
    assert (report.lock_s, source.query(statements)) == (0.0, before)


@pytest.mark.mariadb
def test_schema_changes_and_a_kill_in_the_middle_of_a_copy_end_equal(carrier: Carrier, tmp_path: Path) -> None:
    """Tables that were altered, renamed, dropped and made between the snapshots begin anew with their own start."""
    config = {"db_info": carrier.target.db_info, "source_db_info": carrier.source.db_info}
    changes = (
        [
            "ALTER TABLE {0}.number ADD COLUMN a INT DEFAULT 1",
            "UPDATE {0}.number SET v = 'x' WHERE id < 70",
            "RENAME TABLE {0}.none TO {0}.was_none",
            "INSERT INTO {0}.was_none (id, v) VALUES (9, 'y'), (9, 'y')",
        ],
        [
            "DROP TABLE {0}.text",
            "CREATE TABLE {0}.text (id INT PRIMARY KEY, z INT)",
            "INSERT INTO {0}.text VALUES (1, 1)",
            "CREATE DATABASE other_one",
            "CREATE TABLE other_one.k (v INT)",
            "INSERT INTO other_one.k VALUES (1), (1)",
        ],
        ["TRUNCATE TABLE {0}.signed", "INSERT INTO {0}.signed VALUES (1, 'only')"],
    )
    for number, statements in enumerate(changes, start=1):
        killed = CopyProcess(config, tmp_path, PYDBSYNC_KILL_POINT=f"before-chunk-commit:{3 * number}").wait()
        assert killed.exit_code == KILLED, killed
        carrier.run(*(sql.format(SHAPES) for sql in statements))
    assert copy(settings_for(carrier.source, carrier.target)).is_resumed
    carrier.run(f"INSERT INTO {SHAPES}.was_none (id, v) VALUES (9, 'y')", "INSERT INTO other_one.k VALUES (1)")
    assert caught_up(carrier) == []
    assert carrier.differences("other_one") == []


def test_with_the_documented_rights_a_schema_change_waits_until_it_is_noticed(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pydbsync.ops.copy.sessions._BLOCKED_AFTER_S", 1)
    run_sql(
        carrier.source,
        [
            "DROP USER IF EXISTS copier@'%'",
            "CREATE USER copier@'%' IDENTIFIED BY 'copier'",
            "GRANT SELECT, SHOW VIEW, TRIGGER, REPLICATION CLIENT, LOCK TABLES ON *.* TO copier@'%'",
            "GRANT CREATE, INSERT ON pydbsync_heartbeat.* TO copier@'%'",
        ],
    )
    limited = {**carrier.source.db_info, "user": "copier", "password": "copier"}
    statements = [f"ALTER TABLE {name} ADD COLUMN added INT" for name in KEYS]
    thread = threading.Thread(
        daemon=True, target=run_sql, args=(carrier.source, statements), kwargs={"database": SHAPES}
    )
    waiting = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock'"

    def alter() -> None:
        thread.start()
        wait_for(
            lambda: not thread.is_alive() or carrier.source.query(waiting), what="schema changes that wait or are done"
        )

    settings = settings_for(carrier.source, carrier.target, source_db_info=limited)
    for run in range(2):  # a second marker needs no right to delete the first
        report = copy(settings, observer=Recorder(alter) if not run else None, overwrite_checkpoint=bool(run),
                      existing="drop" if run else "stop")  # fmt: skip
        assert not [note for note in report.notes if "marker" in note]
    thread.join()
    assert caught_up(carrier) == []
    run_sql(carrier.source, ["DROP USER copier@'%'"])


# -- limits ------------------------------------------------------------------------------------------------------------


class StopsAtWait(threading.Event):
    """Notes how long somebody wants to wait for it, and is set then."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        self.set()
        return True


@pytest.mark.parametrize("table", ["number", pytest.param("none", marks=LONG)])
def test_at_a_rate_the_next_rows_are_due_when_those_before_are_paid_for(
    settings: Settings, source: Endpoint, target: Endpoint, table: str
) -> None:
    make_shapes(source)
    rate, stop = 0.01, StopsAtWait()
    with pytest.raises(Stopped):
        copy(settings, stop=stop, rows_per_s=rate, jobs=1, tables=(f"{SHAPES}.{table}",))
    ((written,),) = target.query(f"SELECT COUNT(*) FROM {SHAPES}.{table}")
    assert 0 < written < ROWS
    assert (written - 10) / rate < stop.asked[0] <= written / rate


@contextlib.contextmanager
def copying(settings: Settings, **options: Any) -> Iterator[None]:
    """A copy in a thread of its own, which is done at the end, or stopped if something went wrong."""
    stop = threading.Event()
    thread = threading.Thread(daemon=True, target=copy, args=(settings,), kwargs={"stop": stop, **options})
    thread.start()
    try:
        yield
    except BaseException:
        stop.set()
        raise
    finally:
        thread.join()


@contextlib.contextmanager
def busy(endpoint: Endpoint, *, statements: int) -> Iterator[None]:
    """So many statements run at the server, until the end."""
    connections = [endpoint.connect() for _ in range(statements)]
    threads = [
        threading.Thread(daemon=True, target=sleep_until_killed, args=(connection,)) for connection in connections
    ]
    for thread in threads:
        thread.start()
    try:
        running = "SHOW GLOBAL STATUS LIKE 'Threads_running'"
        wait_for(lambda: int(endpoint.query(running)[0][1]) > statements, what="busy connections")
        yield
    finally:
        for connection in connections:
            own = connection.thread_id()  # type: ignore[no-untyped-call]
            endpoint.query(f"KILL {own}")
        for thread in threads:
            thread.join()


def sleep_until_killed(connection: pymysql.Connection[Any]) -> None:
    with contextlib.suppress(pymysql.Error), connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(600)")


def test_the_copy_waits_while_a_server_is_busy(
    settings: Settings, source: Endpoint, target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    make_shapes(source)
    caplog.set_level("INFO")
    with contextlib.ExitStack() as stack:
        ended = stack.enter_context(contextlib.ExitStack())
        ended.enter_context(busy(source, statements=16))
        stack.enter_context(copying(settings, threads_running=12))
        wait_for(lambda: "waiting: the source runs" in caplog.text, what="the brake")
        assert rows_at(target) == 0
        ended.close()
    assert "going on" in caplog.text
    assert state_differences(source, target, [SHAPES]) == []


def rows_at(target: Endpoint) -> int:
    return sum(int(target.query(f"SELECT COUNT(*) FROM {SHAPES}.{name}")[0][0]) for name in KEYS)


@contextlib.contextmanager
def replicating(source: Endpoint, target: Endpoint) -> Iterator[dict[str, str]]:
    """The target is a replica of the source, of a database that is not there; yields how to stop and go on."""
    is_mysql = target.brand == "mysql"
    file, offset = head(source).rsplit(":", 1)
    to = "REPLICATION SOURCE TO SOURCE" if is_mysql else "MASTER TO MASTER"
    prefix, word = ("SOURCE", "REPLICA") if is_mysql else ("MASTER", "SLAVE")
    ignore = "CHANGE REPLICATION FILTER REPLICATE_DO_DB = ({})" if is_mysql else "SET GLOBAL replicate_do_db = '{}'"
    run_sql(
        target,
        [
            ignore.format("not_there"),
            f"CHANGE {to}_HOST = '{source.host}', {prefix}_PORT = {source.port}, {prefix}_USER = '{source.user}',"
            f" {prefix}_PASSWORD = '{source.password}', {prefix}_LOG_FILE = '{file}', {prefix}_LOG_POS = {offset}"
            + (", SOURCE_SSL = 0, GET_SOURCE_PUBLIC_KEY = 1" if is_mysql else ""),
            f"START {word}",
        ],
    )
    try:
        yield {"stop": f"STOP {word} SQL_THREAD", "start": f"START {word} SQL_THREAD"}
    finally:
        run_sql(target, [f"STOP {word}", f"RESET {word} ALL", ignore.format("")])


def test_the_copy_waits_while_a_replica_of_the_target_is_behind(
    settings: Settings, source: Endpoint, target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    make_shapes(source)
    caplog.set_level("INFO")
    replica = Server(target.db_info, key="db_info", retry=settings.retry, stop=threading.Event())
    with replicating(source, target) as orders:
        wait_for(lambda: lag_of(replica) == 0, what="a replica that is up to date")
        target.query(orders["stop"])
        wait_for(lambda: lag_of(replica) == BEHIND_FOR_EVER_S, what="a replica that has stopped")
        with copying(settings, replicas=(f"{target.host}:{target.port}",), lag_s=5.0):
            said = "waiting: a replica of the target has stopped replicating"
            wait_for(lambda: said in caplog.text, what="the brake")
            assert rows_at(target) == 0
            target.query(orders["start"])
    assert "going on" in caplog.text
    replica.close()
    assert state_differences(source, target, [SHAPES]) == []


def test_a_replica_that_is_none_is_named(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make_shapes(source)
    with pytest.raises(OperationError, match="a server named by --replica replicates from nowhere"):
        copy(settings, replicas=(f"{target.host}:{target.port}",), lag_s=5.0)
