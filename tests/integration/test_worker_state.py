"""What a worker writes about itself: for everyone to read, and in nobody's way."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.state_writer import StateWriter, state_connection
from pydbsync.process.worker import follow
from pydbsync.source.memory import MemorySource
from tests.integration.engine import LOG, replay, settings_for
from tests.maxwell import Binlog, insert
from tests.processes import wait_for
from tests.proxy import Proxy
from tests.servers import Endpoint

TABLE = ("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)")


def worker(target: Endpoint, *columns: str) -> list[tuple[Any, ...]]:
    return list(target.query(f"SELECT {', '.join(columns)} FROM pydbsync.worker"))


def make_table(target: Endpoint) -> None:
    for sql in TABLE:
        target.query(sql)


def test_a_worker_that_has_ended_says_what_it_did(fresh_target: Endpoint) -> None:
    make_table(fresh_target)
    binlog = Binlog()
    bodies = [body for number in range(5) for body in binlog.transaction(insert("d.t", {"id": number}))]
    replay(fresh_target, bodies)
    assert worker(fresh_target, "stream", "state", "applied", "duplicates", "parked", "epoch", "last_error") == [
        ("memory", "stopped", 5, 0, 0, 1, None)
    ]
    replay(fresh_target, bodies)
    ((epoch, duplicates, age),) = worker(
        fresh_target, "epoch", "duplicates", "TIMESTAMPDIFF(SECOND, state_since, CURRENT_TIMESTAMP) BETWEEN 0 AND 60"
    )
    assert (epoch, duplicates, age) == (2, 5, 1)
    assert fresh_target.query("SELECT stream, SUM(applied) FROM pydbsync.worker_minute GROUP BY stream") == [
        ("memory", 5)
    ]


def test_an_error_that_ends_a_worker_is_kept_with_its_remedy(fresh_target: Endpoint) -> None:
    make_table(fresh_target)
    bodies = Binlog().transaction(insert("d.missing", {"id": 1}))
    with pytest.raises(Exception, match="on_error"):
        replay(fresh_target, bodies, on_error="stop")
    ((state, error, remedy),) = worker(fresh_target, "state", "last_error", "remedy")
    assert state == "stopped"
    assert "d.missing" in error
    assert "start again" in remedy
    assert fresh_target.query("SELECT stream, kind, text, remedy FROM pydbsync.incident") == [
        ("memory", "ended", error, remedy)
    ]


def test_nothing_is_written_where_nobody_wants_it(fresh_target: Endpoint) -> None:
    make_table(fresh_target)
    replay(fresh_target, Binlog().transaction(insert("d.t", {"id": 1})), state_interval_s=0)
    assert worker(fresh_target, "stream") == []


def test_while_it_follows_its_row_is_written_again_and_again(fresh_target: Endpoint) -> None:
    make_table(fresh_target)
    stop = threading.Event()
    settings = settings_for(fresh_target, state_interval_s=0.1)
    source = MemorySource(Binlog().transaction(insert("d.t", {"id": 1})))
    thread = threading.Thread(
        target=follow, args=(settings, source), kwargs={"stop": stop, "send": lambda status: None, "log": LOG}
    )
    thread.start()
    try:
        wait_for(lambda: fresh_target.query("SHOW DATABASES LIKE 'pydbsync'"), what="the state schema")
        wait_for(
            lambda: (
                fresh_target.query("SHOW TABLES FROM pydbsync LIKE 'worker'")
                and worker(fresh_target, "state", "applied", "depth") == [("following", 1, 0)]
            ),
            what="a row that says what was applied",
        )
        ((first,),) = worker(fresh_target, "written_at")
        wait_for(lambda: worker(fresh_target, "written_at") > [(first,)], what="a newer row")
    finally:
        stop.set()
        thread.join()
    assert worker(fresh_target, "state") == [("stopped",)]


class Written:
    """Counts how often it was called to write, and writes something small."""

    def __init__(self) -> None:
        self.begun = self.done = self.read = 0

    def write(self, connection: Connection) -> None:
        self.begun += 1
        connection.value("SELECT 1")
        self.done += 1

    def has_begun_after(self, begun: int) -> bool:
        return self.begun > begun

    def after(self, connection: Connection) -> None:
        self.read += 1


@pytest.fixture
def log() -> logging.Logger:
    return logging.getLogger("tests.state")


def test_a_target_that_goes_and_comes_back_or_hangs_holds_nobody_up(
    fresh_target: Endpoint,
    make_proxy: Callable[[int], Proxy],
    log: logging.Logger,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pydbsync.apply.state_writer.ANSWER_S", 0.5)
    proxy = make_proxy(fresh_target.port)
    settings = settings_for(fresh_target, db_info={**fresh_target.db_info, "port": proxy.port})
    written = Written()
    writer = StateWriter(
        state_connection(settings.target), write=written.write, read=written.after, every_s=0.05, log=log
    )
    writer.start()
    try:
        wait_for(lambda: written.read > 2, what="some writings")
        proxy.cut()
        done = written.done
        wait_for(lambda: written.done > done + 2, what="writings over a new connection")
        proxy.hold()
        begun = wait_for(
            lambda: written.begun - written.done == 1 and written.begun, what="a writing without an answer"
        )
        assert written.begun == begun
    finally:
        writer.end(0.2)
    assert caplog.records == []


def test_rights_that_lack_are_named_once(fresh_target: Endpoint, log: logging.Logger, caplog: Any) -> None:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    connection.close()
    written = Written()

    def write(connection: Connection) -> None:
        written.begun += 1
        connection.value("SELECT no_such_column")

    writer = StateWriter(state_connection(settings_for(fresh_target).target), write=write, every_s=0.01, log=log)
    writer.start()
    wait_for(lambda: caplog.records, what="a line of the log")
    for _ in range(2):
        begun = written.begun
        writer.hurry()
        wait_for(functools.partial(written.has_begun_after, begun), what="another try")
    writer.end()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot be written into the state schema" in caplog.text
