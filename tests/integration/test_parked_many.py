"""Many parked changes are retried in order, and what is parked is not read again for each of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.select import Selection
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.maxwell import Binlog, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

ROWS = 300


def test_each_retry_asks_for_its_own_change_alone(
    fresh_target: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [*binlog.ddl("CREATE DATABASE d", "d")]
    for number in range(ROWS):
        messages += binlog.transaction(insert("d.t", {"id": number, "v": 0}))
        messages += binlog.transaction(update("d.t", {"id": number, "v": 1}, {"v": 0}))
    replay(fresh_target, messages)  # the table's own DDL did not come: everything is parked
    assert len(parked(fresh_target)) == 2 * ROWS
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    read = 0
    rows = Connection.rows

    def counted(connection: Connection, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        nonlocal read
        found = rows(connection, sql, parameters)
        read += len(found)
        return found

    desk = ParkedDesk(settings_for(fresh_target), LOG)
    try:
        monkeypatch.setattr(Connection, "rows", counted)
        outcomes = list(desk.retry())
    finally:
        desk.close()
    assert all(each.applied for each in outcomes), [each for each in outcomes if not each.applied][:3]
    assert fresh_target.query("SELECT COUNT(*), SUM(v) FROM d.t") == [(ROWS, ROWS)]
    assert read < 10 * len(outcomes), "what is parked was read again and again"


def test_what_waits_stays_until_all_it_waits_for_is_mended_also_by_somebody_else(
    fresh_target: Endpoint, binlog: Binlog
) -> None:
    messages = [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.transaction(insert("d.t", {"id": 1, "v": 0}))]
    for value in range(3):
        messages += binlog.transaction(update("d.t", {"id": 1, "v": value + 1}, {"v": value}))
    replay(fresh_target, messages)
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    settings = settings_for(fresh_target)
    first, *_, last = [each.id for each in parked(fresh_target)]
    desk, other = ParkedDesk(settings, LOG), ParkedDesk(settings, LOG)
    try:
        (outcome,) = desk.retry(Selection(ids=(last,)))
        assert outcome.detail == f"waits behind {first}, which is still parked"
        other.skip(Selection(ids=(first,)), reason="test")
        outcomes = list(desk.retry())
        assert [each.applied for each in outcomes] == [True, True, True]
        assert list(desk.retry(Selection(ids=(first,)))) == []
    finally:
        desk.close()
        other.close()
    assert fresh_target.query("SELECT v FROM d.t") == [(3,)]


@pytest.fixture
def desk(fresh_target: Endpoint, binlog: Binlog) -> Iterator[ParkedDesk]:
    """Of two tables, with their keys, values that do not fit, and a message that is none."""
    messages = [
        *binlog.ddl("CREATE DATABASE d", "d"),
        *binlog.ddl("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(3))", "d.t", columns=("id", "v")),
        *binlog.ddl("CREATE TABLE d.a_b (id INT PRIMARY KEY, v INT UNIQUE)", "d.a_b", columns=("id", "v")),
        *binlog.transaction(insert("d.a_b", {"id": 0, "v": 7})),
    ]
    for number in range(1, 6):
        messages += binlog.transaction(insert("d.t", {"id": number, "v": f"too long {number}"}))
        messages += binlog.transaction(update("d.t", {"id": number, "v": "ok"}, {"v": f"too long {number}"}))
        messages += binlog.transaction(insert("d.a_b", {"id": number, "v": 2**40 + number}))
    messages.append(b"no message")
    messages += binlog.ddl("ALTER TABLE d.a_b ADD w NONSENSE", "d.a_b", columns=("id", "v", "w"))
    replay(fresh_target, messages, batch_rows=1)
    desk = ParkedDesk(settings_for(fresh_target), LOG)
    yield desk
    desk.close()


SELECTIONS = {
    "table": (Selection(tables=("d.t",)), 10),
    "globs": (Selection(tables=("*.a?b", "no.such")), 6),
    "database of its own": (Selection(tables=("x.*",)), 0),
    "kind": (Selection(kinds=("insert",)), 10),
    "kinds": (Selection(kinds=("table-*", "unreadable")), 2),
    "an underscore is no glob": (Selection(kinds=("table_alter",)), 0),
    "reason": (Selection(because="TOO LONG"), 5),
    "reason with a sign": (Selection(because="%"), 0),
    "code": (Selection(code=1406), 5),
    "waits": (Selection(because="waits behind", tables=("d.t",)), 5),
    "stream": (Selection(stream="memory", kinds=("insert",)), 10),
    "another stream": (Selection(stream="other"), 0),
    "old": (Selection(older_than_s=3600), 0),
    "new": (Selection(newer_than_s=3600), 17),
}


def test_what_is_meant_is_told_by_table_kind_reason_number_and_age(desk: ParkedDesk) -> None:
    for name, (selection, count) in SELECTIONS.items():
        assert (desk.count(selection), len(list(desk.find(selection)))) == (count, count), name
    with pytest.raises(OperationError, match=r"expected database\.table, got 't'"):
        desk.count(Selection(tables=("t",)))
    with pytest.raises(OperationError, match="there is no parked change 999"):
        desk.retry(Selection(ids=(1, 999)))


def test_reasons_that_differ_in_values_are_counted_as_one(desk: ParkedDesk) -> None:
    found = desk.counts(Selection(), by=("table", "kind"))
    assert [(each.table, each.kind, each.count, each.waiting) for each in found] == [
        ("d.t", "insert", 5, 0),
        ("d.t", "update", 5, 5),
        ("d.a_b", "insert", 5, 0),
        (".", "unreadable", 1, 0),
        ("d.a_b", "table-alter", 1, 0),
    ]
    by_reason = desk.counts(Selection(tables=("d.t",)), by=("reason",))
    assert [each.count for each in by_reason] == [5, 5], [each.reason for each in by_reason]


def test_many_are_retried_and_skipped_by_what_they_have_in_common(desk: ParkedDesk, fresh_target: Endpoint) -> None:
    assert [each.applied for each in desk.retry(Selection(tables=("d.t",), kinds=("update",)))] == [False] * 5
    fresh_target.query("ALTER TABLE d.t MODIFY v VARCHAR(30)")
    assert [each.applied for each in desk.retry(Selection(tables=("d.t",)))] == [True] * 10
    assert fresh_target.query("SELECT COUNT(*), MIN(v), MAX(v) FROM d.t") == [(5, "ok", "ok")]
    assert desk.skip(Selection(code=1264), reason="they are wrong at the source") == 5
    assert desk.skip(Selection(code=1264), reason="again") == 0
    assert {each.kind for each in desk.find()} == {"unreadable", "table-alter"}
    audit = fresh_target.query(
        "SELECT action, detail, COUNT(*) FROM pydbsync.parked_audit WHERE action = 'skip' GROUP BY 1, 2"
    )
    assert audit == [("skip", "they are wrong at the source", 5)]


def test_a_retry_that_meets_another_transaction_is_made_again(desk: ParkedDesk, fresh_target: Endpoint) -> None:
    """The row that it inserts is held by another session until the retry has been refused once."""
    fresh_target.query("ALTER TABLE d.t MODIFY v VARCHAR(30)")
    desk._connection.execute("SET innodb_lock_wait_timeout = 1")
    refused = threading.Event()
    execute = Connection.execute

    def note(connection: Connection, sql: bytes | str) -> int:
        try:
            return execute(connection, sql)
        except TransientError:
            refused.set()
            raise

    with fresh_target.connect(autocommit=False) as holder, holder.cursor() as cursor:
        cursor.execute("INSERT INTO d.t VALUES (3, 'held')")
        with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "execute", note)
            outcomes = pool.submit(lambda: list(desk.retry(Selection(tables=("d.t",)))))
            assert refused.wait(60)
            holder.rollback()
            assert [each.applied for each in outcomes.result()] == [True] * 10
    assert fresh_target.query("SELECT COUNT(*), MIN(v), MAX(v) FROM d.t") == [(5, "ok", "ok")]
    assert fresh_target.query("SELECT COUNT(*) FROM pydbsync.parked_audit WHERE action = 'retry'") == [(10,)]
