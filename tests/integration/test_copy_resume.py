"""Copies that are killed, cut off or stopped, and go on: equal at the end, nothing doubled, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import ER
from pymysql.cursors import Cursor

from pydbsync.errors import OperationError, StopError, Stopped
from tests.comparing import run_sql, settings_for
from tests.integration.carried import Carrier
from tests.integration.copying import (
    KEYLESS,
    KEYS,
    KILLED,
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
from tests.proxy import Proxy
from tests.servers import Endpoint

pytestmark = [pytest.mark.usefixtures("small_packets"), pytest.mark.kept_state]
JOBS = 4
SEED = int(os.environ.get("PYDBSYNC_SEED", "1"))
"""Where copies are killed; the long form has another one each time."""
LATE = "INSERT INTO {t} (id, v) VALUES (5000, 'late')"
CHANGES = (
    "DELETE FROM {t} WHERE v LIKE 'aaa%' LIMIT 20",
    "UPDATE {t} SET v = 'changed' WHERE v LIKE 'bbb%' LIMIT 20",
    "DELETE FROM {t} WHERE v LIKE 'z%' ORDER BY v LIMIT 1",
)
"""What happens at the source between two runs."""


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    """A capture that has begun before the copy."""
    return Carrier(fresh_source, fresh_target, tmp_path)


@pytest.fixture
def config(fresh_source: Endpoint, fresh_target: Endpoint) -> dict[str, object]:
    return {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info}


def change_all(carrier: Carrier) -> None:
    carrier.run(f"USE {SHAPES}", *(change.format(t=name) for name in KEYS for change in CHANGES))


def caught_up(carrier: Carrier) -> list[str]:
    """Replay what was captured since before the copy, and compare."""
    carrier.run()
    replay(carrier.target, carrier.messages, stream="file", source_server=carrier.source_server, lossy_values="off")
    assert parked(carrier.target) == []
    return carrier.differences(SHAPES)


def test_a_copy_that_is_killed_again_and_again_ends_equal(
    carrier: Carrier, config: dict[str, object], tmp_path: Path
) -> None:
    """The source goes on changing between the runs, so that each later snapshot is another moment."""
    chosen = random.Random(SEED)
    make_shapes(carrier.source)
    for point in ("after-chunk", "before-chunk-commit"):
        killed_at = f"{point}:{chosen.randint(1, 8)}"
        print(f"killed at {killed_at}")
        assert CopyProcess(config, tmp_path, PYDBSYNC_KILL_POINT=killed_at).wait().exit_code == KILLED
        change_all(carrier)
    # Of the whole, not of one table: that one may be the last, and the copy at its end before it is killed.
    rows = sum(count(carrier.source, name) for name in KEYS) * chosen.uniform(0.2, 0.5)
    print(f"killed when there are {rows:.0f} rows")
    running = CopyProcess(config, tmp_path, "--rate", "1000", "--jobs", str(chosen.randint(1, 4)))
    wait_for(lambda: sum(count(carrier.target, name) for name in KEYS) >= rows, what="a part of the rows")
    running.kill()
    assert running.process.returncode == KILLED
    change_all(carrier)
    assert copy(settings_for(carrier.source, carrier.target)).is_resumed
    assert caught_up(carrier) == []


def count(endpoint: Endpoint, table: str) -> int:
    """Its rows; none while there is no such table, as when a resumed copy begins one without a key anew."""
    try:
        ((found,),) = endpoint.query(f"SELECT COUNT(*) FROM {SHAPES}.{table}")
    except pymysql.ProgrammingError as exc:
        if exc.args[0] != ER.NO_SUCH_TABLE:
            raise
        return 0
    return int(found)


def chunks_done(target: Endpoint) -> int:
    """How many chunks are committed; before the first one there may be no table of them."""
    table = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'pydbsync' AND table_name = 'copy_chunk'"
    if not target.query(table):
        return 0
    ((found,),) = target.query("SELECT COUNT(*) FROM pydbsync.copy_chunk WHERE is_done")
    return int(found)


def test_a_copy_that_goes_on_reads_again_only_what_was_not_done(
    config: dict[str, object], fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    make_shapes(fresh_source)
    killed = CopyProcess(config, tmp_path, "--jobs", "1", PYDBSYNC_KILL_POINT="after-chunk:30").wait()
    assert killed.exit_code == KILLED
    chunks = fresh_target.query(
        "SELECT source_table, COUNT(*), MIN(upper_key) FROM pydbsync.copy_chunk WHERE is_done GROUP BY source_table"
    )
    assert sum(number for _, number, _ in chunks) == 30
    done = {str(table) for table, _, _ in chunks}
    # A row of a chunk that is done is not written again: what is broken there stays broken.
    for table in done:
        fresh_target.query(
            f"UPDATE {SHAPES}.{table} SET v = 'kept' ORDER BY {'e, ' if table == 'labels' else ''}id LIMIT 1"
        )
    report = copy(settings_for(fresh_source, fresh_target))
    assert report.is_resumed
    assert report.rounds == 2
    differing = {line.partition(": ")[0] for line in state_differences(fresh_source, fresh_target, [SHAPES])}
    assert differing == {f"{SHAPES}.{table}" for table in done}


def test_a_copy_that_was_begun_goes_on_only_with_the_same_options(
    config: dict[str, object], fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    make_shapes(fresh_source)
    assert CopyProcess(config, tmp_path, PYDBSYNC_KILL_POINT="after-chunk:3").wait().exit_code == KILLED
    settings = settings_for(fresh_source, fresh_target)
    with pytest.raises(
        OperationError, match=r"other options was begun \(tables\): finish it with them, or .*--restart"
    ):
        copy(settings, tables=("shapes.*",))
    with pytest.raises(OperationError, match=r"begun from another source"):
        copy(settings_for(fresh_target, fresh_target))
    report = copy(settings, tables=(f"{SHAPES}.number",), restart=True)
    assert not report.is_resumed
    assert [name for (name,) in fresh_target.query(f"SHOW TABLES FROM {SHAPES}")] == ["number"]
    assert fresh_target.query("SELECT status FROM pydbsync.copy_run ORDER BY id") == [("given up",), ("done",)]
    assert fresh_target.query("SELECT COUNT(*) FROM pydbsync.copy_chunk") == [(0,)]


def test_tables_that_were_to_be_kept_are_emptied_and_not_dropped_when_the_copy_is_given_up(
    config: dict[str, object], fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    make_shapes(fresh_source)
    run_sql(
        fresh_target,
        [
            f"CREATE DATABASE {SHAPES}",
            f"CREATE TABLE {SHAPES}.number (id BIGINT PRIMARY KEY, v TEXT, own INT DEFAULT 5)",
        ],
    )
    begun = CopyProcess(config, tmp_path, "--existing", "keep", PYDBSYNC_KILL_POINT="after-chunk:30").wait()
    assert begun.exit_code == KILLED
    with pytest.raises(OperationError, match=r"the target has \d+ of the tables already"):
        copy(settings_for(fresh_source, fresh_target), restart=True)
    assert fresh_target.query(f"SELECT COUNT(own) FROM {SHAPES}.number") == [(0,)]


def test_only_the_tables_that_the_copy_made_are_dropped_when_it_is_given_up(
    config: dict[str, object], fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    """Meanwhile an operator has put a table of his own in the place of one that was made, and altered another."""
    make_shapes(fresh_source)
    assert CopyProcess(config, tmp_path, PYDBSYNC_KILL_POINT="after-chunk:3").wait().exit_code == KILLED
    run_sql(
        fresh_target,
        [
            "DROP TABLE number", "CREATE TABLE number (mine INT)", "INSERT INTO number VALUES (1)",
            "ALTER TABLE text ADD own INT",
        ],
        database=SHAPES,
    )  # fmt: skip
    settings = settings_for(fresh_source, fresh_target)
    with pytest.raises(OperationError, match=r"2 of the tables already \(shapes\.number, shapes\.text\)"):
        copy(settings, restart=True)
    assert fresh_target.query(f"SELECT * FROM {SHAPES}.number") == [(1,)]
    assert [name for (name,) in fresh_target.query(f"SHOW TABLES FROM {SHAPES}")] == ["number", "text"]
    copy(settings, existing="drop")
    assert state_differences(fresh_source, fresh_target, [SHAPES]) == []


def test_a_table_that_is_new_at_the_source_does_not_replace_one_of_the_target(
    config: dict[str, object], fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    """Nor does one that goes at the source take the target's own with it."""
    make_shapes(fresh_source)
    assert CopyProcess(config, tmp_path, PYDBSYNC_KILL_POINT="after-chunk:3").wait().exit_code == KILLED
    fresh_source.query(f"CREATE TABLE {SHAPES}.later (id INT PRIMARY KEY)")
    fresh_source.query(f"DROP TABLE {SHAPES}.number, {SHAPES}.text")
    run_sql(
        fresh_target,
        [
            "CREATE TABLE later (mine INT)", "INSERT INTO later VALUES (1)",
            "DROP TABLE number", "CREATE TABLE number (mine INT)", "INSERT INTO number VALUES (2)",
        ],
        database=SHAPES,
    )  # fmt: skip
    settings = settings_for(fresh_source, fresh_target)
    for existing in ("stop", "keep"):
        with pytest.raises(OperationError, match=r"the target has shapes\.later, which this copy has not made"):
            copy(settings, existing=existing)
    assert fresh_target.query(f"SELECT * FROM {SHAPES}.later") == [(1,)]
    assert fresh_target.query(f"SELECT * FROM {SHAPES}.number") == [(2,)]
    fresh_target.query(f"DROP TABLE {SHAPES}.later, {SHAPES}.number")
    assert copy(settings).is_resumed
    assert state_differences(fresh_source, fresh_target, [SHAPES]) == []


def test_databases_that_are_merged_are_not_doubled_when_the_copy_goes_on(
    config: dict[str, object], fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    """One table without a key is whole, another of the same target table is not: both begin anew, and with them the
    rows that the first has brought."""
    for number, (with_key, without_key) in {1: (900, 1800), 2: (100, 400)}.items():
        digits = f"WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {without_key}) SELECT"
        fresh_source.query(f"CREATE DATABASE d{number}")
        run_sql(
            fresh_source,
            [
                "SET SESSION max_recursive_iterations = 5000" if fresh_source.brand == "mariadb" else
                "SET SESSION cte_max_recursion_depth = 5000",
                "CREATE TABLE t (id INT PRIMARY KEY, v CHAR(200))",
                "CREATE TABLE k (i INT, v CHAR(200))",
                f"INSERT INTO k {digits} i DIV 2, '{number}' FROM n",
                f"INSERT INTO t {digits} i * 2 + {number - 1}, '{number}' FROM n WHERE i <= {with_key}",
                "ANALYZE TABLE t, k",
            ],
            database=f"d{number}",
        )  # fmt: skip
    merged: dict[str, Any] = {"dbname_rewrite": {"d1": "d", "d2": "d"}}
    killed = CopyProcess({**config, **merged}, tmp_path, "--jobs", "1", PYDBSYNC_KILL_POINT="after-chunk:1").wait()
    assert killed.exit_code == KILLED
    assert fresh_target.query("SELECT COUNT(*) FROM d.k") == [(1800,)]
    assert copy(settings_for(fresh_source, fresh_target, **merged)).is_resumed
    for table in ("t", "k"):
        wanted = [row for number in (1, 2) for row in fresh_source.query(f"SELECT * FROM d{number}.{table}")]
        assert sorted(fresh_target.query(f"SELECT * FROM d.{table}")) == sorted(wanted)


@pytest.mark.parametrize("is_stopped", [pytest.param(False, marks=LONG), True])
def test_a_large_table_gets_its_keys_behind_its_rows(
    fresh_source: Endpoint, fresh_target: Endpoint, is_stopped: bool
) -> None:
    make_shapes(fresh_source)
    run_sql(
        fresh_source,
        [
            "ALTER TABLE number ADD KEY `odd``, name` (v(9)), ADD UNIQUE (id)",
            "ALTER TABLE number ADD KEY second (id, v(5)) COMMENT 'KEY `x`'",
            "ALTER TABLE none ADD KEY (id), ADD c INT AUTO_INCREMENT, ADD KEY (c)",
            "ALTER TABLE none ADD FULLTEXT (v)",
            "ALTER TABLE signed ADD KEY (v(3))",
            "CREATE TABLE child (id INT, KEY (id), CONSTRAINT f FOREIGN KEY (id) REFERENCES signed (id))",
            f"ANALYZE TABLE {', '.join(KEYS)}",
        ],
        database=SHAPES,
    )
    settings = settings_for(fresh_source, fresh_target)
    keys = (
        "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_name = 'number' AND table_schema ="
        f" '{SHAPES}' AND non_unique"
    )
    seen: list[object] = []
    stop = threading.Event()

    def look() -> None:
        seen.append(fresh_target.query(keys))
        if is_stopped:
            stop.set()

    with pytest.raises(Stopped) if is_stopped else contextlib.nullcontext():
        copy(settings, late_keys_bytes=1, observer=Recorder(look), stop=stop, jobs=1)
    if is_stopped:
        assert copy(settings, late_keys_bytes=0).is_resumed
    assert seen == [[]]
    assert state_differences(fresh_source, fresh_target, [SHAPES]) == []
    assert sorted(fresh_target.query(keys)) == sorted(fresh_source.query(keys)) != []


def test_replay_does_not_start_into_half_a_copy(carrier: Carrier, config: dict[str, object], tmp_path: Path) -> None:
    make_shapes(carrier.source)
    assert CopyProcess(config, tmp_path, PYDBSYNC_KILL_POINT="after-chunk:3").wait().exit_code == KILLED
    carrier.run(*(f"DELETE FROM {SHAPES}.{name}" for name in KEYS))
    before = [count(carrier.target, name) for name in sorted(KEYS)]
    assert sum(before) > 0
    with pytest.raises(StopError, match=r"begun and is not finished: finish it with `python -m pydbsync copy`"):
        replay(carrier.target, carrier.messages, stream="file")
    assert [count(carrier.target, name) for name in sorted(KEYS)] == before


def test_a_stopped_copy_goes_on(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    make_shapes(fresh_source)
    settings = settings_for(fresh_source, fresh_target)
    stop = threading.Event()
    with pytest.raises(Stopped):
        copy(settings, stop=stop, observer=Recorder(stop.set))
    assert copy(settings).is_resumed
    assert state_differences(fresh_source, fresh_target, [SHAPES]) == []


def test_a_table_belongs_to_one_copy_at_a_time(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    """Of two that keep it, each would remove the rows of the other, or double them where there is no key."""
    for end in (fresh_source, fresh_target):
        run_sql(end, ["CREATE DATABASE shop", "CREATE TABLE shop.a (v INT)", "CREATE TABLE shop.b (v INT)"])
    run_sql(fresh_source, ["INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (2), (2)"], database="shop")
    settings = settings_for(fresh_source, fresh_target)
    stop = threading.Event()
    with pytest.raises(Stopped):
        copy(settings, stop=stop, observer=Recorder(stop.set), jobs=1, existing="keep", streams=("x",))
    assert fresh_target.query("SELECT * FROM shop.b") == []
    with pytest.raises(OperationError, match=r"shop\.b belongs to another copy .* of the streams x"):
        copy(settings, existing="keep", streams=("y",), tables=("shop.b",))
    assert copy(settings, jobs=1, existing="keep", streams=("x",)).is_resumed
    assert state_differences(fresh_source, fresh_target, ["shop"]) == []


@pytest.mark.parametrize("end", ["source", pytest.param("target", marks=LONG)])
def test_connections_of_workers_that_are_lost_are_made_anew(
    carrier: Carrier, fresh_source: Endpoint, fresh_target: Endpoint, end: str
) -> None:
    """A lost source takes its snapshot with it: another round follows, with rows that are newer. A target does not."""
    make_shapes(fresh_source)
    settings = settings_for(fresh_source, fresh_target, retry={"first_s": 0.01, "max_s": 0.05})
    endpoint = {"source": fresh_source, "target": fresh_target}[end]
    with endpoint.connect() as connection, connection.cursor() as cursor:
        others = connection_ids(cursor)

    def kill_all_but_the_first() -> None:
        with endpoint.connect() as connection, connection.cursor() as cursor:
            assert kill_workers(cursor, others) > 0
        run_sql(fresh_source, [LATE.format(t=name) for name in KEYLESS], database=SHAPES)

    report = copy(settings, observer=Recorder(kill_all_but_the_first))
    assert report.rounds == {"source": 2, "target": 1}[end]
    assert caught_up(carrier) == []


def test_workers_that_cannot_reach_the_target_wait_and_keep_their_snapshot(
    carrier: Carrier, fresh_source: Endpoint, fresh_target: Endpoint, make_proxy: Callable[[int], Proxy]
) -> None:
    make_shapes(fresh_source)
    proxy = make_proxy(fresh_target.port)
    behind = {**fresh_target.db_info, "port": proxy.port}
    settings = settings_for(fresh_source, fresh_target, db_info=behind, retry={"first_s": 0.01, "max_s": 0.05})
    with ThreadPoolExecutor() as pool:

        def let_in_later() -> None:
            proxy.refuse_new(but=1)  # over which the workers ask what the tables are like
            enough = proxy.tried + 1 + 2 * JOBS
            waiting.append(pool.submit(wait_for, lambda: proxy.tried >= enough, what="workers that try again"))
            waiting[0].add_done_callback(lambda _: proxy.resume())

        waiting: list[Future[Any]] = []
        report = copy(settings, observer=Recorder(at_phase={"copying": let_in_later}), jobs=JOBS)
    assert waiting[0].result()
    assert report.rounds == 1
    assert caught_up(carrier) == []


def connection_ids(cursor: Cursor) -> set[int]:
    """All but the cursor's own, also those that were closed and that the server has not missed yet."""
    cursor.execute("SELECT id FROM information_schema.processlist WHERE user = SUBSTRING_INDEX(USER(), '@', 1)")
    return {number for (number,) in cursor.fetchall()} - {cursor.connection.thread_id()}  # type: ignore[no-untyped-call]


def kill_workers(cursor: Cursor, others: set[int]) -> int:
    """How many there were. The first connection of a copy owns the streams, or takes the snapshots, and is spared."""
    killed = 0
    for number in sorted(connection_ids(cursor) - others)[1:]:
        with contextlib.suppress(pymysql.Error):  # it has gone by itself
            cursor.execute(f"KILL {number}")
            killed += 1
    return killed


@pytest.mark.parametrize("end", ["source", pytest.param("target", marks=LONG)])
def test_a_copy_whose_server_goes_away_waits_and_goes_on(
    carrier: Carrier, config: dict[str, object], tmp_path: Path, make_proxy: Callable[[int], Proxy], end: str
) -> None:
    make_shapes(carrier.source)
    process, proxy = begin_behind_proxy(carrier, config, tmp_path, make_proxy, end=end)
    run_sql(carrier.source, [LATE.format(t=name) for name in KEYLESS], database=SHAPES)
    proxy.resume()
    finished = process.wait()
    assert finished.exit_code == 0, finished
    assert "Traceback" not in finished.stderr
    assert caught_up(carrier) == []


@LONG  # that it waits, and that it can be stopped, are apart below and above
def test_a_copy_that_waits_for_a_server_can_be_stopped_and_goes_on_later(
    carrier: Carrier, config: dict[str, object], tmp_path: Path, make_proxy: Callable[[int], Proxy]
) -> None:
    make_shapes(carrier.source)
    process, _ = begin_behind_proxy(carrier, config, tmp_path, make_proxy, end="source")
    process.process.terminate()
    finished = process.wait()
    assert finished.exit_code == 0
    assert "the same command goes on" in finished.stderr.splitlines()[-1]
    assert copy(settings_for(carrier.source, carrier.target)).is_resumed
    assert caught_up(carrier) == []


def test_a_copy_does_not_wait_for_a_server_that_was_not_there_at_its_beginning(
    config: dict[str, object], fresh_source: Endpoint, tmp_path: Path, make_proxy: Callable[[int], Proxy]
) -> None:
    proxy = make_proxy(fresh_source.port)
    proxy.refuse()
    behind = {**config, "source_db_info": {**fresh_source.db_info, "port": proxy.port}}
    finished = CopyProcess(behind, tmp_path).wait()
    assert finished.exit_code == 2
    assert finished.stderr.splitlines()[-1].endswith("no copy was begun")


def begin_behind_proxy(
    carrier: Carrier, config: dict[str, object], folder: Path, make_proxy: Callable[[int], Proxy], *, end: str
) -> tuple[CopyProcess, Proxy]:
    """A copy that waits, in the midst of its work, for the server at this end.

    Writers wait for the target themselves, and keep the snapshot; a lost source takes the snapshot with it.
    """
    name, endpoint = {"source": ("source_db_info", carrier.source), "target": ("db_info", carrier.target)}[end]
    proxy = make_proxy(endpoint.port)
    behind = {**config, name: {**endpoint.db_info, "port": proxy.port}, "retry": {"first_s": 0.05, "max_s": 0.2}}
    process = CopyProcess(behind, folder, "--rate", "1000")
    wait_for(lambda: chunks_done(carrier.target), what="the first chunk")
    proxy.refuse()
    told = {"source": "the copy waits", "target": "the target does not take it now"}[end]
    wait_for(lambda: told in process.stderr, what="the copy's waiting")
    return process, proxy
