"""A ⇄ B: what a tool has written at B is known in B's stream for what it is, as what replay has written."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pydbsync.errors import OperationError
from pydbsync.ops.counters import behind_of, raise_counters
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.servers import Servers
from tests.comparing import settings_for
from tests.integration.captured import run
from tests.integration.copying import copy
from tests.integration.engine import LOG
from tests.integration.engine import settings_for as replay_settings
from tests.integration.two_way import TwoWay
from tests.repairing import Bench
from tests.servers import Endpoint

TABLES = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))",
    "CREATE TABLE shop.keyless (a INT, v VARCHAR(20))",
)


@pytest.fixture
def two_way(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> TwoWay:
    for server in (fresh_source, fresh_target):
        run(server, TABLES)
    return TwoWay(fresh_source, fresh_target, tmp_path)


def assert_nothing_came_back(two_way: TwoWay, *, rows: bool = True) -> None:
    """B has written something, and nothing of it is applied at A."""
    before = len(two_way.back.messages)
    two_way.settle()
    assert len(two_way.back.messages) > before
    assert (two_way.back.applied, two_way.back.schema_changes) == (0, 0)
    assert bool(two_way.back.echoes) is rows
    assert two_way.a.query("SELECT reason FROM pydbsync.parked") == []


def test_repair_and_its_undo(two_way: TwoWay, tmp_path: Path) -> None:
    run(two_way.a, ("INSERT INTO shop.t VALUES (1, 'a'), (2, 'b')", "INSERT INTO shop.keyless VALUES (1, 'x')"))
    two_way.settle()
    # damage that A's stream does not tell, at the side that is repaired
    with two_way.b.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("UPDATE shop.t SET v = 'broken' WHERE id = 1")
        cursor.execute("DELETE FROM shop.t WHERE id = 2")
        cursor.execute("INSERT INTO shop.keyless VALUES (2, 'y')")
    bench = Bench(two_way.a, two_way.b, tmp_path)
    bench.make_plan()
    bench.apply()
    assert two_way.differences("shop") == []
    assert_nothing_came_back(two_way)
    bench.undo()
    assert two_way.b.query("SELECT * FROM shop.t") == [(1, "broken")]
    assert_nothing_came_back(two_way)
    assert two_way.a.query("SELECT * FROM shop.t ORDER BY id") == [(1, "a"), (2, "b")]


def test_parked_retry_of_rows_and_of_a_schema_change(two_way: TwoWay) -> None:
    run(two_way.b, ("DROP TABLE shop.t",))
    two_way.back.read()  # by hand, and not to be carried over
    run(two_way.a, ("INSERT INTO shop.t VALUES (1, 'a'), (2, 'b')", "ALTER TABLE shop.t ADD c INT"))
    two_way.settle()
    run(two_way.b, ("CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))",))
    two_way.back.read()
    desk = ParkedDesk(replay_settings(two_way.b), LOG)
    try:
        outcomes = list(desk.retry())
    finally:
        desk.close()
    assert all(each.applied for each in outcomes)
    assert_nothing_came_back(two_way)
    assert two_way.differences("shop") == []


def test_copy_makes_and_fills_tables(two_way: TwoWay) -> None:
    rows = ", ".join(["('a')"] * 50)
    run(two_way.a, (f"INSERT INTO shop.t (v) VALUES {rows}", "INSERT INTO shop.keyless VALUES (1, 'x')"))
    two_way.forth.read()  # the copy brings it
    run(two_way.b, ("DROP DATABASE shop",))
    two_way.back.read()
    copy(settings_for(two_way.a, two_way.b), streams=("forth",))
    assert two_way.differences("shop") == []
    assert_nothing_came_back(two_way)
    assert two_way.a.query("SELECT COUNT(*) FROM shop.t") == [(50,)]


def test_counters(two_way: TwoWay) -> None:
    run(two_way.a, ("INSERT INTO shop.t VALUES (70, 'a')", "DELETE FROM shop.t"))
    two_way.settle()
    with two_way.b.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("ALTER TABLE shop.t AUTO_INCREMENT = 1")
    settings = settings_for(two_way.a, two_way.b)
    servers = Servers(settings, threading.Event(), writer="counters")
    try:
        behind = behind_of(settings, servers)
        assert behind
        servers.target.call(lambda connection: raise_counters(connection, behind))
    finally:
        servers.close()
    echoes = two_way.back.echoes
    assert_nothing_came_back(two_way)
    assert two_way.back.echoes > echoes


def test_copy_and_repair_refuse_tables_without_transactions(two_way: TwoWay, tmp_path: Path) -> None:
    run(two_way.a, ("CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO shop.old VALUES (1)"))
    with pytest.raises(OperationError, match=r"shop\.old of the source has no transactions: with two_way"):
        copy(settings_for(two_way.a, two_way.b, two_way=True), streams=("forth",))
    run(two_way.b, ("CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM",))
    bench = Bench(two_way.a, two_way.b, tmp_path, two_way=True)
    plan = bench.make_plan()
    assert ["shop.old has no transactions" in each for each in plan.left_out] == [True]
    assert two_way.b.query("SELECT * FROM shop.old") == []
