"""Many parked changes are retried in order, and what is parked is not read again for each of them."""

from __future__ import annotations

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.ops.parked_desk import ParkedDesk
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.maxwell import Binlog, insert, update
from tests.servers import Endpoint

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
        outcomes = desk.retry(desk.find())
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
        (outcome,) = desk.retry(desk.find(ids=[last]))
        assert outcome.detail == f"waits behind {first}, which is still parked"
        candidates = desk.find()
        other.skip(first, reason="test")
        outcomes = desk.retry(candidates)
    finally:
        desk.close()
        other.close()
    assert [each.applied for each in outcomes] == [False, True, True, True]
    assert fresh_target.query("SELECT v FROM d.t") == [(3,)]
