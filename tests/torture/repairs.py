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
from tests.torture.odd_settings import odd_settings

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
    both = [*_more_keys(data, table), *(table.statement() for _ in range(data.draw(st.integers(1, 8))))]
    children = _children(data, table)
    both += children
    damage: list[tuple[bool, str]] = []
    for _ in range(data.draw(st.integers(1, 8))):
        at_source = data.draw(st.sampled_from([False, False, True]))
        damage += [(at_source, sql) for sql in _damage(data, table)]
        if children and not data.draw(st.integers(0, 1)):
            damage.append((at_source, f"DELETE FROM {name}_child ORDER BY id LIMIT 1"))
    return Script(name, create, both, damage)


def _more_keys(data: st.DataObject, table: RandomTable) -> Iterator[str]:
    """Up to two more unique keys, each of one or two columns or of their beginnings."""
    for number in range(data.draw(st.sampled_from([0, 0, 1, 2]))):
        columns = data.draw(st.lists(st.sampled_from(table.columns), min_size=1, max_size=2, unique_by=str))
        parts = [part for column in columns if (part := table.part(column))]
        if parts:
            yield f"ALTER TABLE {table.name} ADD UNIQUE KEY more{number} ({', '.join(parts)})"


def _children(data: st.DataObject, table: RandomTable) -> list[str]:
    """Another table whose rows refer to those of the table, and go and change with them, or none."""
    columns = {column.name: column for column in table.columns}
    kind = columns[table.key[0]].kind if len(table.key) == 1 else None
    if kind is None or data.draw(st.integers(0, 2)):
        return []
    action = data.draw(st.sampled_from(["CASCADE", "SET NULL"]))
    child, key = f"{table.name}_child", table.key[0]
    return [
        f"CREATE TABLE {child} (id INT PRIMARY KEY AUTO_INCREMENT, parent {kind.sql} NULL, note VARCHAR(9) UNIQUE,"
        f" FOREIGN KEY (parent) REFERENCES {table.name} ({key}) ON DELETE {action} ON UPDATE {action})",
        f"INSERT INTO {child} (parent) SELECT {key} FROM {table.name} ORDER BY {key}",
    ]


def _damage(data: st.DataObject, table: RandomTable) -> Iterator[str]:
    """A statement of any kind, or two or three rows that hand on the values of a column in a circle."""
    if data.draw(st.integers(0, 2)):
        yield table.statement()
        return
    name = table.name
    column = data.draw(st.sampled_from([each for each in table.columns if each.kind]))
    order = data.draw(st.sampled_from(table.columns)).name
    count = data.draw(st.sampled_from([2, 2, 3]))
    for number in range(count):
        yield f"SET @v{number} = (SELECT {column.name} FROM {name} ORDER BY {order} LIMIT 1 OFFSET {number})"
    aside = data.draw(column.values())
    yield f"UPDATE {name} SET {column.name} = {aside} WHERE {column.name} = @v0 LIMIT 1"
    for number in range(1, count):
        yield f"UPDATE {name} SET {column.name} = @v{number - 1} WHERE {column.name} = @v{number} LIMIT 1"
    yield f"UPDATE {name} SET {column.name} = @v{count - 1} WHERE {column.name} = {aside} LIMIT 1"


class Fuzz:
    """Rounds of random tables between two servers at rest."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path, *, seed: int) -> None:
        self._source, self._target, self._folder, self._seed = source, target, folder, seed
        self.tables = self.changes = 0
        """How many tables there were, and how many changes were planned, applied, undone and applied again."""
        self.told: list[str] = []
        """The servers' settings of the last run."""

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
        odd = chance.randbytes(8)  # the same when a table is tried alone
        why = self._tried(scripts, mode, group_rows, odd)
        if not why:
            return []
        head = f"seed {seed}, {mode}, {group_rows} rows a transaction, {', '.join(self.told)}"
        alone = [(script, self._tried([script], mode, group_rows, odd)) for script in scripts]
        found = [f"{head}: {failure}\n  {script}" for script, failure in alone if failure]
        return found or [f"{head}: only together: {why}"]

    def _tried(self, scripts: Sequence[Script], mode: str, group_rows: int, odd: bytes) -> str:
        try:
            self._repair(scripts, mode, group_rows, odd)
        except Exception as exc:
            return f"{type(exc).__name__}: {str(exc)[:2000]}"
        return ""

    def _repair(self, scripts: Sequence[Script], mode: str, group_rows: int, odd: bytes) -> None:
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
            self.told = opened.enter_context(odd_settings(random.Random(odd), self._source, self._target))
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
