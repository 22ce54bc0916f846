"""A stream that an operator has paused applies nothing until it is resumed, and goes on without a gap."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.pause import PauseTable
from pydbsync.cli import application
from pydbsync.process.status import WorkerStatus
from pydbsync.process.worker import follow
from pydbsync.source.memory import MemorySource
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.maxwell import Binlog, insert
from tests.processes import wait_for, write_config
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

ROWS = 200


class Counting(MemorySource):
    """Counts how often it was subscribed to."""

    opened = 0

    def open(self, *arguments: Any, **options: Any) -> None:
        self.opened += 1
        super().open(*arguments, **options)


class Running:
    """The engine in a thread."""

    def __init__(self, target: Endpoint, source: MemorySource, **options: Any) -> None:
        self.stop = threading.Event()
        self.state = ""
        self.fault: BaseException | None = None
        self._thread = threading.Thread(daemon=True, target=self._run, args=(target, source, options))
        self._thread.start()

    def _run(self, target: Endpoint, source: MemorySource, options: dict[str, Any]) -> None:
        def send(status: WorkerStatus) -> None:
            self.state = status.state

        try:
            follow(settings_for(target, **options), source, stop=self.stop, send=send, log=LOG, until_drained=True)
        except BaseException as exc:
            self.fault = exc

    def join(self) -> BaseException | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.fault


@contextmanager
def running(target: Endpoint, source: MemorySource, **options: Any) -> Iterator[Running]:
    run = Running(target, source, **options)
    try:
        yield run
    finally:
        run.stop.set()
        run.join()


@pytest.fixture
def pauses(fresh_target: Endpoint) -> Iterator[tuple[PauseTable, Connection]]:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    yield PauseTable("pydbsync"), connection
    connection.close()


def messages_of(binlog: Binlog) -> list[bytes]:
    messages = [
        *binlog.ddl("CREATE DATABASE d", "d"),
        *binlog.ddl("CREATE TABLE d.t (id INT)", "d.t", columns=("id",)),
    ]
    for number in range(ROWS):
        messages += binlog.transaction(insert("d.t", {"id": number}))
    return messages


def test_it_stops_between_two_batches_survives_restarts_and_goes_on_where_it_was(
    fresh_target: Endpoint, binlog: Binlog, pauses: tuple[PauseTable, Connection]
) -> None:
    table, connection = pauses
    source = Counting(messages_of(binlog), block=1)
    count = "SELECT COUNT(*), COUNT(DISTINCT id) FROM d.t"
    with running(fresh_target, source, batch_rows=1, target_rows_per_s=50) as run:
        wait_for(lambda: run.state == "following" and source.acknowledged > 3, what="the first rows")
        assert table.add(connection, "memory", "", actor="me", reason="a test")
        assert not table.add(connection, "memory", "", actor="you", reason="again")
        wait_for(lambda: run.state == "paused", what="the pause")
        [(rows, distinct)] = fresh_target.query(count)
        assert 0 < rows == distinct < ROWS
        run.stop.set()
        assert run.join() is None or "paused" in str(run.fault)
    assert fresh_target.query(count) == [(rows, distinct)], "a stop applies nothing of what it held"
    assert source.acknowledged == rows + 2

    opened = source.opened
    with running(fresh_target, source, lock_timeout_s=2) as run:
        wait_for(lambda: run.state == "paused", what="the pause after a restart")
        assert source.opened == opened, "nothing is taken from the broker"
        assert table.remove(connection, "memory", "", actor="me")
        assert run.join() is None
    assert fresh_target.query(count) == [(ROWS, ROWS)]
    audit = fresh_target.query("SELECT action, about, actor FROM pydbsync.operator_audit ORDER BY id")
    assert audit == [("pause", "memory", "me"), ("resume", "memory", "me")]


def test_the_schema_changes_of_a_table_wait_with_what_is_behind_them_and_are_applied_by_resume(
    fresh_target: Endpoint, binlog: Binlog, tmp_path: Path
) -> None:
    replay(fresh_target, [
        *binlog.ddl("CREATE DATABASE d", "d"),
        *binlog.ddl("CREATE TABLE d.t (id INT PRIMARY KEY)", "d.t", columns=("id",)),
        *binlog.ddl("CREATE TABLE d.u (id INT PRIMARY KEY)", "d.u", columns=("id",)),
    ])  # fmt: skip
    config = str(write_config({"db_info": fresh_target.db_info, "log_file_prefix": ""}, tmp_path / "config.py"))

    def call(command: str, *arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(application(command), [command, *arguments, "--config", config])
        return done.exit_code, done.output

    assert call("pause", "--ddl", "d.t", "--reason", "at night")[0] == 0
    assert "the schema changes of d.t" in call("pause")[1]
    replay(fresh_target, [
        *binlog.ddl("ALTER TABLE d.u ADD v INT", "d.u", columns=("id", "v")),
        *binlog.ddl("ALTER TABLE d.t ADD v INT", "d.t", columns=("id", "v")),
        *binlog.transaction(insert("d.t", {"id": 1, "v": 1}), insert("d.u", {"id": 1, "v": 1})),
        *binlog.ddl("ALTER TABLE d.t ADD w INT", "d.t", columns=("id", "v", "w")),
        *binlog.transaction(insert("d.t", {"id": 2, "v": 2, "w": 2})),
    ])  # fmt: skip
    assert fresh_target.query("SELECT * FROM d.u") == [(1, 1)]
    found = parked(fresh_target)
    assert [(each.kind, each.table) for each in found] == [
        ("table-alter", "d.t"), ("insert", "d.t"), ("table-alter", "d.t"), ("insert", "d.t"),
    ]  # fmt: skip
    assert "schema changes of d.t are paused" in found[0].reason
    code, said = call("resume", "--ddl", "d.t")
    assert (code, "4 that waited were applied" in said) == (0, True), said
    assert fresh_target.query("SELECT * FROM d.t ORDER BY id") == [(1, 1, None), (2, 2, 2)]
    assert call("pause")[1] == "nothing is paused\n"
    replay(fresh_target, binlog.ddl("ALTER TABLE d.t ADD x INT", "d.t", columns=("id", "v", "w", "x")))
    assert parked(fresh_target) == []
    assert len(fresh_target.query("SHOW COLUMNS FROM d.t")) == 4
