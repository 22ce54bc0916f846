"""A target without room is waited for, told of once, and goes on by itself; nothing is lost or doubled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest

import lab
from pydbsync.apply.server_errors import server_error
from pydbsync.errors import PermanentError, TransientError
from tests.integration.engine import parked, replay
from tests.integration.test_target_faults import meanwhile
from tests.maxwell import Binlog, insert
from tests.processes import wait_for
from tests.servers import Endpoint

CREATE = "CREATE TABLE t (id INT, v VARCHAR(4000))"
"""Without a key: what is applied twice is seen. (No LONGTEXT: MariaDB 10.11 aborts when it lacks the room to roll one
back.)"""
FULL = 1114
"""ER_RECORD_FILE_FULL."""
ROWS, ROW_BYTES = 1500, 4000


@pytest.fixture(scope="module")
def small_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A MariaDB whose tables have 32 MB in all."""
    server = lab.MariaDB(
        "small",
        root=Path(tmp_path_factory.mktemp("lab")),
        options={
            "innodb-file-per-table": "OFF",
            "innodb-data-file-path": "ibdata1:12M:autoextend:max:32M",
            "innodb-undo-tablespaces": "2",  # with them in the system tablespace, a full one hangs the server
        },
    )
    server.start()
    yield Endpoint.of_lab(server)
    server.stop()


@pytest.fixture
def binlog(small_target: Endpoint) -> Binlog:
    """With a table at the target that holds a few rows, and one that takes all the room that is left."""
    binlog = Binlog()
    small_target.drop_databases()
    replay(small_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(CREATE, "d.t"), *rows(binlog, ROWS)])
    small_target.query("CREATE DATABASE ballast")
    small_target.query("CREATE TABLE ballast.b (v VARCHAR(4000))")
    while put_ballast(small_target):
        pass
    return binlog


def put_ballast(target: Endpoint) -> bool:
    """A megabyte more; False if there is no room."""
    return has_room_for(target, "INSERT INTO ballast.b SELECT REPEAT('x', 4000) FROM ballast.seq_1_to_250")


def take_ballast_away(target: Endpoint) -> None:
    """DROP needs a little room itself: it may have to wait until the server has cleaned up behind others."""
    wait_for(lambda: has_room_for(target, "DROP TABLE IF EXISTS ballast.b"), what="the end of the ballast")


def has_room_for(target: Endpoint, sql: str) -> bool:
    """Run the statement; False if the server lacks the room for it."""
    try:
        target.query(sql)
    except pymysql.err.OperationalError as exc:
        if exc.args[0] != FULL:
            raise
        return False
    return True


def rows(binlog: Binlog, count: int, *, first: int = 0) -> list[bytes]:
    return binlog.each(insert("d.t", {"id": first + number, "v": "x" * ROW_BYTES}) for number in range(count))


def replay_until_there_is_room(
    target: Endpoint, messages: list[bytes], caplog: pytest.LogCaptureFixture, mend: Callable[[], object]
) -> list[str]:
    """Replay; once the lack of room was told, `mend`. The warnings."""
    caplog.set_level(logging.INFO)

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    def make_room() -> None:
        try:
            wait_for(warnings, what="a line in the log")
        finally:
            mend()

    with meanwhile(make_room):
        replay(target, messages, batch_rows=300)
    return warnings()


@pytest.mark.mariadb
def test_rows_wait_for_room(small_target: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture) -> None:
    warnings = replay_until_there_is_room(
        small_target, rows(binlog, ROWS, first=ROWS), caplog, lambda: take_ballast_away(small_target)
    )
    assert len(warnings) == 1, warnings
    assert "is full (1114)" in warnings[0]
    assert "the target takes it again" in [record.getMessage() for record in caplog.records]
    assert small_target.query("SELECT COUNT(*), COUNT(DISTINCT id) FROM d.t") == [(2 * ROWS, 2 * ROWS)]
    assert parked(small_target) == []


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (1114, "The table 't' is full", TransientError),
        (1021, "Disk full (/tmp/x); waiting for someone to free some space... (errno: 28)", TransientError),
        (1026, "Error writing file './binlog' (errno: 28 \"No space left on device\")", TransientError),
        (1030, "Got error 28 \"No space left on device\" from storage engine InnoDB", TransientError),
        (1030, "Got error 139 \"Too big row\" from storage engine InnoDB", PermanentError),
        (1005, "Can't create table `d`.`t` (errno: 28 \"No space left on device\")", TransientError),
        (1005, "Can't create table `d`.`t` (errno: 135 \"No more room in record file\")", TransientError),
        (1005, "Can't create table `d`.`t` (errno: 150)", PermanentError),
        (3, "Error writing file './d/t.MYI' (Errcode: 28 \"No space left on device\")", TransientError),
        (3, "Error writing file './d/t.MYI' (OS errno 28 - No space left on device)", TransientError),
        (1050, "Table '`d`.`#sql-alter-1618-26`' already exists", TransientError),
        (1050, "Table 't' already exists", PermanentError),
        (1062, "Duplicate entry 'errno: 28' for key 'PRIMARY'", PermanentError),
    ],
)  # fmt: skip
def test_a_full_disk_is_told_from_other_errors_with_the_same_number(
    code: int, text: str, expected: type[Exception]
) -> None:
    assert type(server_error(pymysql.err.OperationalError(code, text))) is expected
