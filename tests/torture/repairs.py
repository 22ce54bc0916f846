"""Random tables with random damage: equal after repair, and as before after its reverse.

`python -m tests.torture --repair 2000` takes the lab's MariaDB servers, or the pair of PYDBSYNC_TEST_MYSQL_…, or those
that `--source` and `--target` name.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pymysql
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from pydbsync.ops.repair.run import RepairOptions
from tests.comparing import QUICK
from tests.integration.random_tables import RandomTable
from tests.repairing import Bench
from tests.servers import Endpoint
from tests.state import differences, read_state

TABLES = 20
"""Repaired in one run."""
SESSION = (
    "SET sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+03:00', timestamp = 1700000000,"
    " innodb_lock_wait_timeout = 5"
)
"""The clock stands still, so that columns that the servers fill are equal."""


class Script(NamedTuple):
    """A table, what happens to it at both ends, and what at one of them alone."""

    name: str
    create: str
    both: list[str]
    damage: list[tuple[bool, str]]
    """Whether at the source, and a statement."""

    def __str__(self) -> str:
        alone = [f"{'source' if at_source else 'target'}: {sql}" for at_source, sql in self.damage]
        return "\n  ".join([self.create, *self.both, *alone])


def draw_scripts(count: int, seed: str, brand: str) -> list[Script]:
    """So many, always the same for a seed. Drawn before anything is run: a draw may be given up and tried again."""
    found: list[Script] = []

    def draw(data: st.DataObject) -> None:
        found.append(_script(data, f"t{len(found)}", brand))

    settings(
        max_examples=count + 1,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(seeded(seed)(given(st.data())(draw)))()
    return found[1 : count + 1]  # the first is the smallest of all


def _script(data: st.DataObject, name: str, brand: str) -> Script:
    table = RandomTable(data.draw, brand, name)
    create = table.create()
    both = [table.statement() for _ in range(data.draw(st.integers(1, 8)))]
    damage: list[tuple[bool, str]] = []
    for _ in range(data.draw(st.integers(1, 8))):
        at_source = data.draw(st.sampled_from([False, False, True]))
        damage += [(at_source, sql) for sql in _damage(data, table)]
    return Script(name, create, both, damage)


def _damage(data: st.DataObject, table: RandomTable) -> Iterator[str]:
    """A statement of any kind, or two rows that swap the values of a column."""
    if data.draw(st.integers(0, 2)):
        yield table.statement()
        return
    name = table.name
    column = data.draw(st.sampled_from([each for each in table.columns if each.kind]))
    order = data.draw(st.sampled_from(table.columns)).name
    yield f"SET @one = (SELECT {column.name} FROM {name} ORDER BY {order} LIMIT 1)"
    yield f"SET @other = (SELECT {column.name} FROM {name} ORDER BY {order} LIMIT 1 OFFSET 1)"
    yield f"UPDATE {name} SET {column.name} = {data.draw(column.values())} ORDER BY {order} LIMIT 1"
    yield f"UPDATE {name} SET {column.name} = @one WHERE {column.name} = @other LIMIT 1"
    yield f"UPDATE {name} SET {column.name} = @other ORDER BY {order} LIMIT 1"


class Fuzz:
    """Rounds of random tables between two servers at rest."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path, *, seed: int) -> None:
        self._source, self._target, self._folder, self._seed = source, target, folder, seed
        self.tables = self.changes = 0
        """How many tables there were, and how many changes were planned, applied, undone and applied again."""

    def run(self, rounds: int, *, say: Callable[[str], None] = lambda text: None) -> list[str]:
        """What went wrong, a text a table; nothing when nothing did."""
        wrong: list[str] = []
        for start in range(0, rounds, TABLES):
            found = self._batch(min(TABLES, rounds - start), start // TABLES)
            wrong += found
            if found:
                say("\n".join(found))
            if start % 100 < TABLES:
                say(f"{min(start + TABLES, rounds)} of {rounds} tables, {self.changes} changes, {len(wrong)} wrong")
        return wrong

    def _batch(self, count: int, number: int) -> list[str]:
        seed = f"{self._seed}/{number}"
        chance = random.Random(seed)
        mode, group_rows = chance.choice(["replace", "upsert"]), chance.choice([1, 3, 100])
        scripts = draw_scripts(count, seed, self._source.brand)
        self.tables += len(scripts)
        why = self._tried(scripts, mode, group_rows)
        if not why:
            return []
        head = f"seed {seed}, {mode}, {group_rows} rows a transaction"
        alone = [(script, self._tried([script], mode, group_rows)) for script in scripts]
        found = [f"{head}: {failure}\n  {script}" for script, failure in alone if failure]
        return found or [f"{head}: only together: {why}"]

    def _tried(self, scripts: Sequence[Script], mode: str, group_rows: int) -> str:
        try:
            self._repair(scripts, mode, group_rows)
        except Exception as exc:
            return f"{type(exc).__name__}: {str(exc)[:2000]}"
        return ""

    def _repair(self, scripts: Sequence[Script], mode: str, group_rows: int) -> None:
        """Make, damage, repair, compare, take back, compare, and repair once more."""
        with ExitStack() as opened:
            at_source, at_target = (opened.enter_context(each.connect()) for each in (self._source, self._target))
            for connection in (at_source, at_target):
                _run(connection, SESSION, "DROP DATABASE IF EXISTS shop", "CREATE DATABASE shop CHARACTER SET utf8mb4")
                _run(connection, "USE shop")
            for script in scripts:
                _play(script, at_source, at_target, has_own=mode == "upsert")
            shutil.rmtree(self._folder / "round", ignore_errors=True)
            (self._folder / "round").mkdir()
            bench = Bench(self._source, self._target, self._folder / "round", apply_mode=mode)
            options = RepairOptions(settle=QUICK, takes_unproven=True, group_rows=group_rows)
            self.changes += _check(bench, at_source, at_target, options)


def _run(connection: pymysql.Connection[Any], *statements: str) -> None:
    with connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def _takes(connection: pymysql.Connection[Any], sql: str) -> bool:
    """False where the server refuses the statement, such as a value that is there already."""
    try:
        _run(connection, sql)
    except pymysql.MySQLError:
        return False
    return True


def _play(
    script: Script, at_source: pymysql.Connection[Any], at_target: pymysql.Connection[Any], *, has_own: bool
) -> None:
    ends = (at_source, at_target)
    taken = [_takes(end, script.create) for end in ends]
    if not all(taken):
        for end in ends:
            _run(end, f"DROP TABLE IF EXISTS {script.name}")
        return
    for sql in script.both:
        for end in ends:
            _takes(end, sql)
    if has_own:
        _takes(at_target, f"ALTER TABLE {script.name} ADD COLUMN own VARCHAR(9) NULL DEFAULT 'own'")
        _takes(at_target, f"UPDATE {script.name} SET own = RIGHT(UUID(), 4)")
    for is_source, sql in script.damage:
        _takes(at_source if is_source else at_target, sql)


def _check(
    bench: Bench, at_source: pymysql.Connection[Any], at_target: pymysql.Connection[Any], options: RepairOptions
) -> int:
    """How many changes there were. AssertionError where a step does not do what it says."""
    before, broken = _state(at_target), bench.different()
    plan = bench.make_plan(options)
    _expect(plan.left_out == (), f"left out: {plan.left_out}")
    _expect(bool(plan.changes) == bool(broken), f"{len(plan.changes)} changes are planned of {broken}")
    for turn in range(2 if plan.changes else 0):
        outcome = bench.apply(options)
        done = (outcome.done, outcome.before, outcome.refused, outcome.different)
        _expect(done == (len(plan.changes), 0, (), 0), f"applied, time {turn}: {done} of {len(plan.changes)}")
        _expect(bench.different() == {}, f"verify, time {turn}: {bench.different()}")
        _expect_same(_state(at_source), _state(at_target), f"after repair, time {turn}")
        if turn == 0:
            undone = bench.undo(options)
            _expect((undone.done, undone.refused) == (len(plan.changes), ()), f"undone: {undone}")
            _expect_same(before, _state(at_target), "after undo")
    return len(plan.changes)


def _state(connection: pymysql.Connection[Any]) -> Any:
    return read_state(connection, ["shop"])


def _expect_same(wanted: Any, found: Any, when: str) -> None:
    unlike = list(differences(wanted, found, data_only=True))
    _expect(not unlike, f"{when}: {unlike[:5]}")


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise AssertionError(otherwise)
