"""While the target works on a batch the next one is taken in; what needs the target meanwhile waits for its turn."""

from __future__ import annotations

import base64
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from pydbsync.apply.attempt import Attempt
from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError, StopError
from pydbsync.source.memory import MemorySource
from tests.integration.engine import follow_source, parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import wait_for
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

WRITING = "SELECT id FROM information_schema.processlist WHERE info LIKE 'REPLACE INTO%'"


@pytest.fixture
def tables(fresh_target: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("CREATE DATABASE d", "d")
    messages += binlog.ddl("CREATE TABLE bytes (a INT, v VARBINARY(5))", "d.bytes")
    for name in ("k", "other"):
        messages += binlog.ddl(f"CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR(5))", f"d.{name}")
    replay(fresh_target, messages + binlog.each([insert("d.k", {"id": 1, "v": "a"})]))


@contextmanager
def held_up(target: Endpoint, source: MemorySource, *, taken: int) -> Iterator[int]:
    """A worker of batches of one row, from where its first one waits for the row 1 of d.k and so many messages were
    taken in until all are applied; the number of its connection. The row is released behind the block."""
    with target.connect(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM d.k WHERE id = 1 FOR UPDATE")
        depth = (source.depth() or 0) - taken
        worker = threading.Thread(daemon=True, target=follow_source, args=(target, source), kwargs={"batch_rows": 1})
        worker.start()
        try:
            wait_for(lambda: source.depth() == depth, what="the next batch to be taken in")
            [(thread,)] = wait_for(lambda: target.query(WRITING), what="the worker to wait for the row")
            yield thread
        finally:
            other.rollback()
            worker.join()


@pytest.mark.parametrize("end", ["released", "query killed", "connection killed"])
@pytest.mark.parametrize("following", ["d.k", "d.other"])
@pytest.mark.usefixtures("tables")
def test_a_batch_is_taken_in_while_the_one_before_waits_at_the_target(
    fresh_target: Endpoint, binlog: Binlog, following: str, end: str
) -> None:
    """`d.other` has not been looked up then: that waits, and so do the messages behind."""
    changes = [
        update("d.k", {"id": 1, "v": "b"}, {"v": "a"}),
        *[insert(following, {"id": n, "v": "c"}) for n in (2, 3)],
    ]
    source = MemorySource(binlog.each(changes), block=1)
    with held_up(fresh_target, source, taken=2) as thread:
        assert source.acknowledged == 0
        if end != "released":
            what = "QUERY" if end == "query killed" else "CONNECTION"
            fresh_target.query(f"KILL {what} {thread}")
            wait_for(
                lambda: what == "QUERY" or [each for (each,) in fresh_target.query(WRITING) if each != thread],
                what="another try",
            )
    assert source.acknowledged == len(changes)
    assert fresh_target.query("SELECT * FROM d.k WHERE id = 1") == [(1, "b")]
    assert fresh_target.query(f"SELECT * FROM {following} WHERE id > 1 ORDER BY id") == [(2, "c"), (3, "c")]
    assert fresh_target.query("SELECT applied, duplicates FROM pydbsync.checkpoint") == [(4, 0)]


@pytest.mark.usefixtures("tables")
def test_what_was_taken_in_of_a_row_that_is_refused_waits_behind_it_in_order(
    fresh_target: Endpoint, binlog: Binlog
) -> None:
    """The batch that is open then holds changes that could be applied, and some that were parked for another reason."""
    long = {"a": 1, "v": base64.b64encode(b"far too long").decode()}
    first = binlog.transaction(update("d.k", {"id": 1, "v": "b"}, {"v": "a"}), insert("d.bytes", long))
    rest = binlog.transaction(
        insert("d.bytes", {"a": 2, "v": "no base64"}),
        insert("d.bytes", {"a": 3, "v": "Yg=="}),
        update("d.bytes", {"a": 1, "v": "Yg=="}, {"v": long["v"]}),
        delete("d.bytes", {"a": 2, "v": "no base64"}),
        update("d.bytes", {"a": 1, "v": "Yw=="}, {"v": "Yg=="}),
        delete("d.k", {"id": 1, "v": "b"}),
    )
    source = MemorySource(first + rest, block=len(first))
    # Of the value that is no base64 the table is looked up anew: that waits for the target, and so do the rest.
    with held_up(fresh_target, source, taken=2 * len(first)):
        pass
    found = parked(fresh_target)
    assert [each.message for each in found] == [first[1], rest[0], *rest[2:5]]
    refused, unreadable, *_ = [each.id for each in found]
    assert [each.behind for each in found] == [None, None, refused, unreadable, found[2].id]
    assert [each.code for each in found] == [1406, 0, 0, 0, 0]
    assert ["base64" in each.reason for each in found] == [False, True, False, False, False]
    assert fresh_target.query("SELECT * FROM d.bytes") == [(3, b"b")]
    assert fresh_target.query("SELECT * FROM d.k") == []
    assert source.acknowledged == len(first + rest)


@pytest.mark.usefixtures("tables")
def test_nothing_of_the_next_batch_is_applied_when_replay_stops_at_a_refused_change(
    fresh_target: Endpoint, binlog: Binlog
) -> None:
    changes = [insert("d.k", {"id": 5, "v": "far too long"}), insert("d.k", {"id": 6, "v": "b"})]
    source = MemorySource(binlog.each(changes))
    with pytest.raises(StopError, match="nothing after it was applied"):
        follow_source(fresh_target, source, batch_rows=1, on_error="stop")
    assert source.acknowledged == 0
    assert fresh_target.query("SELECT * FROM d.k") == [(1, "a")]


# -- one connection, two who speak -----------------------------------------------------------------------------------


@pytest.fixture
def connection(fresh_target: Endpoint) -> Iterator[Connection]:
    found = Connection(fresh_target.db_info)
    yield found
    found.close()


def steps(connection: Connection, *statements: bytes) -> Generator[None, None, int]:
    for statement in statements:
        connection.send(statement)
        yield
        connection.receive()
    return len(statements)


def test_whoever_speaks_in_between_waits_until_the_attempt_has_ended(connection: Connection) -> None:
    attempt = Attempt(connection, steps(connection, b"DO SLEEP(0.2)", b"SET @done = 1"))
    assert not attempt.has_ended
    assert connection.value("SELECT @done") == 1
    assert attempt.has_ended
    assert attempt.finish() == 2


def test_what_went_wrong_is_told_at_the_end_and_to_nobody_else(connection: Connection) -> None:
    attempt = Attempt(connection, steps(connection, b"DO SLEEP(0.1)", b"no SQL", b"SET @done = 1"))

    def has_ended() -> bool:
        attempt.advance()
        return attempt.has_ended

    wait_for(has_ended, what="the end")
    assert connection.value("SELECT @done") is None
    with pytest.raises(PermanentError, match="1064"):
        attempt.finish()
