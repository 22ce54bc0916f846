"""What a copy keeps in the target and at the source: its journal, its markers and the streams that it owns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.table_start import TableStart, read_start_row
from pydbsync.errors import ConfigError, OperationError, StopError
from pydbsync.model import Place, TableName
from pydbsync.ops.chunks import Chunk
from pydbsync.ops.copy.journal import CopyJournal, TableRecord
from pydbsync.ops.copy.markers import KEPT_DAYS, Markers, marker_table
from pydbsync.ops.copy.streams import OwnedStreams
from tests.comparing import run_sql, settings_for
from tests.integration.carried import Carrier
from tests.integration.copying import copy
from tests.integration.engine import replay
from tests.processes import sync_config
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.kept_state

SCHEMA = "pydbsync"
STRANGE = TableName("böse`s", "t'a\"b\\l% e☃")
START = TableStart(base="bin\\log", place=Place(7, 1 << 40, -1), newest_ts=5, gtids="a-b:1-5,\nc:7", marker="")


@pytest.fixture
def connection(fresh_target: Endpoint) -> Iterator[Connection]:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, SCHEMA)
    yield connection
    connection.close()


@pytest.fixture
def journal(connection: Connection) -> CopyJournal:
    journal = CopyJournal(SCHEMA)
    return journal


def test_a_run_is_read_as_it_was_written(connection: Connection, journal: CopyJournal) -> None:
    options, source = {"tables": "a.* 'b`", "streams": "ström"}, {"server": "x 1"}
    number = journal.begin(connection, options, source)
    later = TableStart(base="b", place=Place(8, 4, -1))
    journal.set_start(connection, START, later, TableStart(marker="m"), 3)
    (run,) = journal.running(connection)
    assert (run.id, run.options, run.source, run.rounds) == (number, options, source, 3)
    assert (run.start, run.latest, run.default) == (START, later, TableStart(marker="m"))


def test_a_run_that_has_ended_is_not_gone_on_with_and_its_chunks_are_forgotten(
    connection: Connection, journal: CopyJournal
) -> None:
    first = journal.begin(connection, {}, {})
    journal.plan_chunk(connection, STRANGE, Chunk(0))
    second = journal.begin(connection, {}, {})
    journal.plan_chunk(connection, STRANGE, Chunk(0))
    journal.end(connection, first, "given up")
    assert [run.id for run in journal.running(connection)] == [second]
    assert len(journal.chunks(connection, STRANGE)) == 1
    journal.run_id = first
    assert journal.chunks(connection, STRANGE) == []


def test_tables_are_known_by_their_exact_names(connection: Connection, journal: CopyJournal) -> None:
    journal.begin(connection, {}, {})
    records = {
        name: TableRecord(name, 2, "done", START, "f" * 40, rows=1 << 40, size_bytes=1 << 50)
        for name in (STRANGE, TableName("d", "T"), TableName("d", "t"))
    }
    for record in records.values():
        journal.write_table(connection, record)
    assert journal.tables(connection) == records
    gone = TableRecord(STRANGE, 3, "gone", TableStart(), "")
    journal.write_table(connection, gone)
    assert journal.tables(connection)[STRANGE] == gone


@pytest.mark.parametrize("names", ["utf8mb4", "binary"])
def test_chunks_are_known_again_whatever_the_session_speaks(
    connection: Connection, journal: CopyJournal, names: str
) -> None:
    journal.begin(connection, {}, {})
    chunks = [
        Chunk(0, None, ("1", "2024-01-01 00:00:00.5")),
        Chunk(1, ("1", "2024-01-01 00:00:00.5"), ("6C5C", "-1e5")),
    ]
    for chunk in chunks:
        journal.plan_chunk(connection, STRANGE, chunk)
    connection.execute(f"SET NAMES {names}")
    journal.end_chunk(connection, STRANGE, chunks[0], rows=7, size_bytes=70)
    assert journal.is_chunk_done(connection, STRANGE, chunks[0])
    assert not journal.is_chunk_done(connection, STRANGE, chunks[1])
    connection.execute("SET NAMES utf8mb4")
    journal.plan_chunk(connection, STRANGE, chunks[0])  # planned again after a lost answer: it stays done
    found = journal.chunks(connection, STRANGE)
    assert [(each.chunk, each.is_done, each.rows, each.size_bytes) for each in found] == [
        (chunks[0], True, 7, 70),
        (chunks[1], False, 0, 0),
    ]
    journal.write_table(connection, TableRecord(STRANGE, 2, "begun", START, ""), forget_chunks=True)
    assert journal.chunks(connection, STRANGE) == []


def test_without_the_right_to_make_tables_the_key_is_named(fresh_target: Endpoint, connection: Connection) -> None:
    run_sql(
        fresh_target,
        [
            "DROP USER IF EXISTS reader@'%'",
            "CREATE USER reader@'%' IDENTIFIED BY 'reader'",
            "GRANT SELECT ON *.* TO reader@'%'",
        ],
    )
    limited = Connection({**fresh_target.db_info, "user": "reader", "password": "reader"})
    with pytest.raises(ConfigError, match=r"state_schema.*cannot be read, made or brought up to date"):
        ensure_state_schema(limited, "another")
    limited.close()


# -- markers -----------------------------------------------------------------------------------------------------------


def test_markers_are_kept_beside_the_heartbeat_for_some_days(fresh_source: Endpoint) -> None:
    settings = settings_for(fresh_source, fresh_source, heartbeat_table="beat.pulse")
    table = marker_table(settings)
    assert table == TableName("beat", "pulse_marker")
    connection = Connection(fresh_source.db_info)
    markers = Markers(connection, table)
    markers.ensure()
    first, second = markers.write(), markers.write()
    assert first.marker != second.marker
    assert (first.base, first.is_known()) == ("", False)
    ((now,),) = fresh_source.query("SELECT UNIX_TIMESTAMP()")
    assert first.newest_ts <= second.newest_ts <= now
    fresh_source.query(
        f"UPDATE beat.pulse_marker SET written_at = NOW() - INTERVAL {KEPT_DAYS + 1} DAY WHERE id = %s", first.marker
    )
    markers.ensure()
    assert fresh_source.query("SELECT id FROM beat.pulse_marker") == [(second.marker,)]
    connection.close()


# -- streams -----------------------------------------------------------------------------------------------------------


def test_parked_changes_are_named_before_they_become_meaningless(connection: Connection) -> None:
    streams = OwnedStreams(connection, SCHEMA, ["a", "b"])
    streams.acquire()
    streams.refuse_parked()
    connection.execute(
        "INSERT INTO pydbsync.parked (stream, position, kind, source_database, source_table, target_database, row_keys,"
        " is_whole_table, reason, code, message) VALUES ('b', '', 'insert', 'd', 't', 'd', '', 0, '', 0, '')"
    )
    with pytest.raises(OperationError, match=r"1 change\(s\) of 'b' are parked.*`python -m pydbsync parked skip`"):
        streams.refuse_parked()


def test_a_stream_that_another_owns_is_not_taken(connection: Connection, fresh_target: Endpoint) -> None:
    OwnedStreams(connection, SCHEMA, ["a", "b"]).acquire()
    other = Connection(fresh_target.db_info)
    with pytest.raises(OperationError, match=r"'b' is owned by .*: stop the replay, and any other copy, first"):
        OwnedStreams(other, SCHEMA, ["b"]).acquire()
    OwnedStreams(other, SCHEMA, ["c"]).acquire()
    other.close()


def test_a_copy_that_is_given_up_leaves_no_start(connection: Connection) -> None:
    streams = OwnedStreams(connection, SCHEMA, ["a"])
    streams.acquire()
    streams.begin(5, TableName("beat", "marker"), {"a"}, proven=False)
    row = read_start_row(connection, SCHEMA, "a")
    assert row is not None
    assert (row.run_id, row.phase, row.is_proven, row.queue_existed) == (5, "copying", False, True)
    assert not streams.trust()  # it is not finished: there is nothing to trust yet
    streams.give_back(())
    assert read_start_row(connection, SCHEMA, "a") is None


def test_queues_that_were_there_before_the_copy_share_the_proof(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Only one of them needs a message from before; a queue that came later could have missed some."""
    carrier = Carrier(fresh_source, fresh_target, tmp_path_factory.mktemp("carrier"))
    carrier.run("CREATE DATABASE d", "CREATE TABLE d.a (v INT)", "CREATE TABLE d.b (v INT)", "CREATE TABLE d.c (v INT)")
    for queue in ("a", "b"):
        vhost.declare(queue)
    queues = {queue: [f"d.{queue}"] for queue in ("a", "b", "c")}
    config = sync_config(fresh_target, vhost, queues=queues, source_db_info=fresh_source.db_info)
    copy(settings_for(fresh_source, fresh_target, **config))
    later = {queue: carrier.run(f"INSERT INTO d.{queue} VALUES (1)") for queue in queues}
    later["a"] = [body for body in carrier.messages if body not in later["b"] + later["c"]]
    for queue in ("a", "b"):
        replay(fresh_target, [body for body in later[queue] if b"heartbeat" not in body or queue == "a"], stream=queue)
        assert fresh_target.query(f"SELECT v FROM d.{queue}") == [(1,)]
    with pytest.raises(StopError, match=r"c: the stream begins at .*, behind the copy's place"):
        replay(fresh_target, later["c"], stream="c")
    assert fresh_target.query("SELECT v FROM d.c") == []
