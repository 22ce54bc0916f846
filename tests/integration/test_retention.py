"""History is deleted after some days: what is mended and passed, and nothing that is parked or recognises a repeat."""

from __future__ import annotations

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.retention import Pruned, Retention
from tests.servers import Endpoint

OLD = "CURRENT_TIMESTAMP(6) - INTERVAL 40 DAY"
STREAMS = (("a", "binlog", 7, 500), ("b", "binlog", 6, 900), ("c", "other", 1, 4), ("new", "", 0, 0))
STATEMENTS = {
    "passed by all": ("a", "done", "binlog.000006:800", OLD),
    "skipped and passed": ("a", "skipped", "binlog.000005:4", OLD),
    "parked, and mended": ("a", "parked", "binlog.000005:100", OLD),
    "KEPT passed by its own stream alone": ("a", "done", "binlog.000006:950", OLD),
    "KEPT at the very place": ("c", "done", "other.000001:4", OLD),
    "KEPT of another binlog": ("a", "done", "former.000001:4", OLD),
    "KEPT without a place": ("a", "done", "", OLD),
    "KEPT not ended": ("a", "intent", "binlog.000001:4", OLD),
    "KEPT still parked": ("a", "parked", "binlog.000005:200", OLD),
    "KEPT of several sources": ("a", "done", "binlog.000001:8", OLD),
    "KEPT of a stream that is gone": ("gone", "done", "binlog.000001:9", OLD),
    "KEPT young": ("a", "done", "binlog.000005:9", "CURRENT_TIMESTAMP(6)"),
}
PARKED = {
    "applied": ("a", "applied", OLD, OLD),
    "skipped": ("a", "skipped", OLD, OLD),
    "KEPT parked": ("a", "parked", OLD, OLD),
    "KEPT touched lately": ("a", "applied", OLD, "CURRENT_TIMESTAMP(6)"),
    "KEPT young": ("a", "applied", "CURRENT_TIMESTAMP(6)", OLD),
    "KEPT of a bootstrap": ("c", "applied", OLD, OLD),
}


def hashed(name: str) -> str:
    """SHA1 is no function of every server."""
    return f"LEFT(SHA2('{name}', 256), 40)"


def test_what_is_old_and_of_no_use_goes_and_all_else_stays(fresh_target: Endpoint) -> None:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    run = connection.execute
    for stream, base, file, offset in STREAMS:
        run(
            "INSERT INTO pydbsync.checkpoint (stream, binlog_base, binlog_file, binlog_offset, gtids, ghosts)"
            f" VALUES ('{stream}', '{base}', {file}, {offset}, '', '')"
        )
    for name, (stream, status, position, ended) in STATEMENTS.items():
        run(
            "INSERT INTO pydbsync.schema_change"
            " (statement_hash, position, stream, status, statement, before_state, note, ts, ended_at)"
            f" VALUES ({hashed(name)}, '{position}', '{stream}', '{status}', '{name}', '', '', 1, {ended})"
        )
    run(f"INSERT INTO pydbsync.schema_change_source VALUES ({hashed('KEPT of several sources')}, 'd', '`d`.`t`')")
    columns = "stream, status, position, kind, source_database, source_table, target_database, row_keys, is_whole_table"
    for name, (stream, status, parked_at, touched_at) in PARKED.items():
        run(
            f"INSERT INTO pydbsync.parked ({columns}, reason, code, message, parked_at)"
            f" VALUES ('{stream}', '{status}', '', 'insert', 'd', 't', 'd', '', 0, '{name}', 0, '', {parked_at})"
        )
        run("INSERT INTO pydbsync.parked_piece VALUES (LAST_INSERT_ID(), 1, 'x')")
        run(
            "INSERT INTO pydbsync.parked_audit (parked_id, action, actor, detail, done_at)"
            f" SELECT MAX(id), 'retry', 'me', '', {touched_at} FROM pydbsync.parked"
        )
    run(
        f"INSERT INTO pydbsync.parked ({columns}, reason, code, message)"
        " VALUES ('a', 'parked', 'binlog.000005:200', 'table-alter', 'd', 't', 'd', '', 1, 'KEPT statement', 0, '')"
    )
    run("INSERT INTO pydbsync.bootstrap VALUES ('c', 'd', 't')")
    for plan, at in (("old", OLD), ("KEPT", OLD), ("KEPT", "CURRENT_TIMESTAMP(6)")):
        run(f"INSERT INTO pydbsync.repair SELECT '{plan}', COUNT(*), 'applied', '', {at} FROM pydbsync.repair")

    assert Retention("pydbsync").prune(connection, 30) == Pruned(parked=2, schema_changes=3, repairs=1)
    names = {name for (name,) in fresh_target.query("SELECT statement FROM pydbsync.schema_change")}
    assert names == {name for name in STATEMENTS if name.startswith("KEPT")}
    names = {name for (name,) in fresh_target.query("SELECT reason FROM pydbsync.parked")}
    assert names == {*(name for name in PARKED if name.startswith("KEPT")), "KEPT statement"}
    for table in ("parked_piece", "parked_audit"):
        gone = f"SELECT COUNT(*) FROM pydbsync.{table} WHERE parked_id NOT IN (SELECT id FROM pydbsync.parked)"
        assert fresh_target.query(gone) == [(0,)]
    assert fresh_target.query("SELECT plan, COUNT(*) FROM pydbsync.repair GROUP BY plan") == [("KEPT", 2)]
    assert Retention("pydbsync").prune(connection, 30) == Pruned()
    connection.close()


def test_a_worker_deletes_piece_by_piece_and_nothing_without_the_setting(fresh_target: Endpoint) -> None:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    digits = " UNION ALL ".join(f"SELECT {n} AS d" for n in range(10))
    connection.execute(
        "INSERT INTO pydbsync.repair SELECT 'old', a.d + 10 * b.d + 100 * c.d, 'applied', '',"
        f" {OLD} FROM ({digits}) a, ({digits}) b, ({digits}) c"
    )
    retention = Retention("pydbsync")
    left = []
    for days in (0, 30, 30, 30):
        retention.step(connection, days)
        left += fresh_target.query("SELECT COUNT(*) FROM pydbsync.repair")
    assert left == [(1000,), (500,), (0,), (0,)]
    connection.close()
