"""A message longer than any statement that the target takes is parked whole, and applied once the target takes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydbsync.ops.parked.desk import ParkedDesk
from tests.integration.engine import LOG, replay, settings_for
from tests.maxwell import Binlog, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

PACKET = 2**18
LARGE = "aé'\"\\" * (PACKET // 4)


@pytest.fixture
def packet(fresh_target: Endpoint) -> Iterator[None]:
    """A target that takes no more than a quarter of a megabyte in one statement."""
    ((before,),) = fresh_target.query("SELECT @@global.max_allowed_packet")
    fresh_target.query(f"SET GLOBAL max_allowed_packet = {PACKET}")
    yield
    fresh_target.query(f"SET GLOBAL max_allowed_packet = {before}")


@pytest.fixture
def binlog(fresh_target: Endpoint, packet: None) -> Binlog:
    binlog = Binlog()
    create = "CREATE TABLE t (id INT PRIMARY KEY, n INT, v LONGTEXT)"
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(create, "d.t")])
    return binlog


def test_a_large_row_is_parked_whole_and_the_rest_flows_on(fresh_target: Endpoint, binlog: Binlog) -> None:
    first = binlog.transaction(insert("d.t", {"id": 2, "n": 0, "v": "x"}))
    large = binlog.transaction(insert("d.t", {"id": 1, "n": 1, "v": LARGE}))
    behind = binlog.transaction(update("d.t", {"id": 1, "n": 2, "v": LARGE}, {"n": 1}))
    last = binlog.transaction(insert("d.t", {"id": 3, "n": 0, "v": "x"}))
    messages = [*first, *large, *behind, *last]
    for _ in range(2):  # what comes again is not parked again
        replay(fresh_target, messages)
        assert fresh_target.query("SELECT id FROM d.t ORDER BY id") == [(2,), (3,)]
        desk = ParkedDesk(settings_for(fresh_target), LOG)
        found = list(desk.find())
        assert [each.message for each in found] == [*large, *behind]
        assert [each.code for each in found] == [1153, 0]
        assert [each.behind for each in found] == [None, found[0].id]
    assert [outcome.applied for outcome in desk.retry()] == [False, False]
    desk.close()

    fresh_target.query(f"SET GLOBAL max_allowed_packet = {64 * PACKET}")
    desk = ParkedDesk(settings_for(fresh_target), LOG)
    outcomes = list(desk.retry())
    desk.close()
    assert [outcome.applied for outcome in outcomes] == [True, True], outcomes
    assert fresh_target.query("SELECT n, v = %s FROM d.t WHERE id = 1", LARGE) == [(2, 1)]


@pytest.mark.parametrize("size", [PACKET - 2, PACKET, 3 * PACKET + 1])
def test_a_large_message_that_cannot_be_read_is_kept_as_it_came(
    fresh_target: Endpoint, binlog: Binlog, size: int
) -> None:
    poison = (bytes(range(256)) * (size // 256 + 1))[:size]
    replay(fresh_target, [poison, *binlog.transaction(insert("d.t", {"id": 1, "n": 0, "v": "x"}))])
    desk = ParkedDesk(settings_for(fresh_target), LOG)
    [found] = desk.find()
    desk.close()
    assert found.message == poison
    assert fresh_target.query("SELECT id FROM d.t") == [(1,)]


def test_a_large_schema_change_is_parked_once(fresh_target: Endpoint, binlog: Binlog) -> None:
    alter = binlog.ddl(f"ALTER TABLE t /* {LARGE} */ ADD w INT", "d.t", columns=("id", "n", "v", "w"))
    later = binlog.each(insert("d.t", {"id": number, "n": 0, "v": "x", "w": 1}) for number in (1, 2))
    for _ in range(2):
        replay(fresh_target, [*alter, *later])
        desk = ParkedDesk(settings_for(fresh_target), LOG)
        assert [each.message for each in desk.find()] == [*alter, *later]
        desk.close()
    fresh_target.query(f"SET GLOBAL max_allowed_packet = {64 * PACKET}")
    desk = ParkedDesk(settings_for(fresh_target), LOG)
    outcomes = list(desk.retry())
    desk.close()
    assert all(outcome.applied for outcome in outcomes), outcomes
    assert fresh_target.query("SELECT id, w FROM d.t ORDER BY id") == [(1, 1), (2, 1)]
