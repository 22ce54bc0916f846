"""One round of the fuzz of repair: a random table, random damage; equal after repair, as before after its reverse."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
from hypothesis import HealthCheck, given, note, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from pydbsync.ops.repair.run import RepairOptions
from tests.comparing import QUICK
from tests.integration.random_tables import RandomTable
from tests.repairing import Bench
from tests.servers import Endpoint
from tests.state import differences, read_state

SESSION = (
    "SET sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+03:00', timestamp = 1700000000,"
    " innodb_lock_wait_timeout = 5"
)
"""The clock stands still, so that columns that the servers fill are equal."""


class Ends:
    """A source and a target at rest, with a connection each that lasts."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        self.at_source: pymysql.Connection[Any] = source.connect()
        self.at_target: pymysql.Connection[Any] = target.connect()
        self.changes = 0
        """How many were planned, applied and undone in all rounds."""

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.closing(self.at_source), contextlib.closing(self.at_target):
            pass

    def begin(self) -> None:
        """An empty database `shop` at both ends."""
        for connection in (self.at_source, self.at_target):
            with connection.cursor() as cursor:
                cursor.execute(SESSION)
                cursor.execute("DROP DATABASE IF EXISTS shop")
                cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
                cursor.execute("USE shop")

    def run(self, connection: pymysql.Connection[Any], sql: str) -> bool:
        """False where the server refuses the statement, such as a value that is there already."""
        note(f"{'source' if connection is self.at_source else 'target'}: {sql}")
        with connection.cursor() as cursor:
            try:
                cursor.execute(sql)
            except pymysql.MySQLError as refused:
                note(f"-- refused: {refused}")
                return False
        return True

    def both(self, sql: str) -> bool:
        """Run it at both ends, which must agree."""
        answers = [self.run(connection, sql) for connection in (self.at_source, self.at_target)]
        assert answers[0] == answers[1], sql
        return answers[0]


def one_round(data: st.DataObject, ends: Ends) -> None:
    """Make, damage, repair, compare, take back, compare, and repair once more."""
    ends.begin()
    table = RandomTable(data.draw, ends.source.brand, "t")
    if not ends.both(table.create()):
        return
    for _ in range(data.draw(st.integers(1, 8), label="statements before")):
        ends.both(table.statement())
    mode = data.draw(st.sampled_from(["replace", "upsert"]), label="apply_mode")
    if mode == "upsert":
        ends.run(ends.at_target, "ALTER TABLE t ADD COLUMN own VARCHAR(9) NULL DEFAULT 'own'")
        ends.run(ends.at_target, "UPDATE t SET own = RIGHT(UUID(), 4)")
    for _ in range(data.draw(st.integers(1, 8), label="damage")):
        for sql in _damage(data, table):
            ends.run(data.draw(st.sampled_from([ends.at_target, ends.at_target, ends.at_source])), sql)
    shutil.rmtree(ends.folder / "round", ignore_errors=True)
    (ends.folder / "round").mkdir()
    bench = Bench(ends.source, ends.target, ends.folder / "round", apply_mode=mode)
    options = RepairOptions(settle=QUICK, takes_unproven=True, group_rows=data.draw(st.sampled_from([1, 3, 100])))
    _check(bench, ends, options, has_own=mode == "upsert")


def _check(bench: Bench, ends: Ends, options: RepairOptions, *, has_own: bool) -> None:
    before, broken = _state(ends.at_target), bench.different()
    plan = bench.make_plan(options)
    assert plan.left_out == ()
    assert bool(plan.changes) == bool(broken)
    if not plan.changes:
        return
    note(bench.plan.read_text(encoding="utf-8", errors="replace"))
    for turn in range(2):
        outcome = bench.apply(options)
        assert (outcome.done, outcome.before, outcome.refused, outcome.different) == (len(plan.changes), 0, (), 0)
        assert bench.different() == {}
        if not has_own:
            assert list(differences(_state(ends.at_source), _state(ends.at_target), data_only=True)) == []
        if turn == 0:
            undone = bench.undo(options)
            assert (undone.done, undone.refused) == (len(plan.changes), ())
            assert list(differences(before, _state(ends.at_target), data_only=True)) == []
    ends.changes += len(plan.changes)


def _damage(data: st.DataObject, table: RandomTable) -> Iterator[str]:
    """A statement of any kind, or two rows that swap the values of a column."""
    if data.draw(st.integers(0, 2), label="swap"):
        yield table.statement()
        return
    column = data.draw(st.sampled_from([each for each in table.columns if each.kind]))
    order = data.draw(st.sampled_from(table.columns)).name
    yield f"SET @one = (SELECT {column.name} FROM t ORDER BY {order} LIMIT 1)"
    yield f"SET @other = (SELECT {column.name} FROM t ORDER BY {order} LIMIT 1 OFFSET 1)"
    yield f"UPDATE t SET {column.name} = {data.draw(column.values())} ORDER BY {order} LIMIT 1"
    yield f"UPDATE t SET {column.name} = @one WHERE {column.name} = @other LIMIT 1"
    yield f"UPDATE t SET {column.name} = @other ORDER BY {order} LIMIT 1"


def _state(connection: pymysql.Connection[Any]) -> Any:
    return read_state(connection, ["shop"])


def fuzz(ends: Ends, *, rounds: int, seed: int | None, on_round: Callable[[int], None] = lambda number: None) -> None:
    """So many rounds; without a seed always the same ones. AssertionError with the smallest round that fails."""
    done = 0

    def work(data: st.DataObject) -> None:
        nonlocal done
        one_round(data, ends)
        done += 1
        on_round(done)

    test = given(st.data())(work)
    if seed is not None:
        test = seeded(seed)(test)
    settings(
        max_examples=rounds,
        deadline=None,
        database=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
    )(test)()
