"""A ⇄ B under faults: both sides write, some of it to the same rows, and change the schema in turn; everything dies.

At the end both are equal, each conflict is recorded once, nothing is parked, and what is written last makes as few
commits as it needs: nothing goes round.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pymysql

from pydbsync.config.file import load_settings
from pydbsync.killpoints import KILL_POINTS
from pydbsync.model import End
from tests.processes import REPOSITORY, SyncProcess, wait_for, write_config
from tests.resolving import decide_all
from tests.servers import Endpoint, Vhost
from tests.state import differences, read_state
from tests.torture import races
from tests.torture.races import Races

SETTLE_S = 180
MARKS = ("pydbsync.checkpoint", "pydbsync.mark", "pydbsync.schema_change")
TABLES = (
    "CREATE DATABASE d CHARACTER SET utf8mb4",
    "CREATE TABLE d.own (id INT PRIMARY KEY, v VARCHAR(40), n INT NOT NULL)",
    "CREATE TABLE d.uniq (id INT PRIMARY KEY, code INT UNIQUE)",
    "CREATE TABLE d.shared (id INT PRIMARY KEY, v VARCHAR(40))",
    f"INSERT INTO d.shared VALUES {', '.join(f'({number}, NULL)' for number in range(20))}",
    *races.TABLES,
)
QUEUES = {
    "own": ["d.own", "d.", *(f"d.n{number}" for number in range(1, 200))],
    "rest": ["d.uniq", "d.shared", *(f"d.{table}" for table in races.POLICIES)],
}
TAKEN: tuple[End, End] = ("target", "source")
"""Of each side, whose row is taken of conflicts that are parked: that of the first one."""
ROUNDS = 5
MOST_COMMITS = 6 * ROUNDS + 12
"""Of both sides in the last rounds: what each writes is applied, and comes back, in pieces at most; and what was still
on its way before."""


@dataclass
class Result:
    """What one run has shown."""

    faults: Counter[str] = field(default_factory=Counter)
    transactions: int = 0
    schema_changes: int = 0
    conflicts: int = 0
    resolved: int = 0
    """Of them, those that were parked and decided by an operator."""
    applied_at_the_end: int = 0
    commits_at_the_end: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.wrong

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        lines = [
            f"faults survived     {sum(self.faults.values()):,} in {self.seconds:.0f} s ({kinds})",
            f"transactions        {self.transactions:,} of both sides, {self.schema_changes} schema changes in turn",
            f"conflicts           {self.conflicts:,}, each recorded once; {self.resolved} parked and resolved",
            f"at the end          {self.applied_at_the_end} rows applied of {2 * ROUNDS}, in {self.commits_at_the_end}"
            " commits",
            *self.wrong[:20],
            "both sides are equal, and nothing goes round" if self.is_equal else f"{len(self.wrong)} WRONG",
        ]
        return "\n".join(lines)


class Writer(threading.Thread):
    """Writes at one side until `finish`: rows that are its own by their keys, and rows that the other writes too."""

    def __init__(self, server: Endpoint, side: int, own: Races, *, seed: int, pause_s: float) -> None:
        super().__init__(name=f"writer-{side}", daemon=True)
        self._server, self._side, self._races = server, side, own
        self._chance = random.Random(seed)
        self._pause_s = pause_s
        self._is_over = threading.Event()
        self._number = 0
        self.transactions = 0
        self.failure: BaseException | None = None

    def finish(self) -> None:
        """End after the present transaction."""
        self._is_over.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        try:
            with self._server.connect(autocommit=False) as connection:
                while not self._is_over.wait(self._chance.random() * 2 * self._pause_s):
                    self._transaction(connection)
        except BaseException as exc:
            self.failure = exc

    def _transaction(self, connection: pymysql.Connection[Any]) -> None:
        steps = [self._insert, self._update, self._remove, self._move, self._swap, self._share, self._race]
        try:
            for step in self._chance.choices(steps, k=self._chance.randint(1, 3)):
                step(connection.cursor())
            connection.commit()
            self.transactions += 1
        except (pymysql.OperationalError, pymysql.InternalError) as exc:
            if exc.args[0] not in (1205, 1213, 1020, 1412):  # replay, or a schema change, has the rows
                raise
            connection.rollback()

    def _key(self, most: int = 400) -> int:
        return 2 * self._chance.randrange(most) + self._side

    def _fresh(self) -> int:
        self._number += 1
        return self._number

    def _insert(self, cursor: Any) -> None:
        rows = [(self._key(), self._fresh()) for _ in range(self._chance.choice((1, 5, 60)))]
        cursor.executemany("INSERT IGNORE INTO d.own (id, v, n) VALUES (%s, 'x', %s)", rows)

    def _update(self, cursor: Any) -> None:
        cursor.execute(
            "UPDATE d.own SET n = %s, v = %s WHERE id %% 2 = %s AND id > %s ORDER BY id LIMIT 9",
            (self._fresh(), f"{self._side}-é{self._number}", self._side, self._key()),
        )

    def _remove(self, cursor: Any) -> None:
        cursor.execute(
            "DELETE FROM d.own WHERE id %% 2 = %s AND id < %s ORDER BY id DESC LIMIT 6", (self._side, self._key())
        )

    def _move(self, cursor: Any) -> None:
        cursor.execute("UPDATE IGNORE d.own SET id = %s, n = %s WHERE id = %s",
                       (self._key(), self._fresh(), self._key()))  # fmt: skip

    def _swap(self, cursor: Any) -> None:
        key, other = self._key(20), self._key(20) + 40
        cursor.execute("REPLACE INTO d.uniq (id, code) VALUES (%s, %s), (%s, %s)", (key, key, other, other))
        cursor.execute("UPDATE d.uniq SET code = %s WHERE id = %s", (-1 - self._side, key))
        cursor.execute("UPDATE d.uniq SET code = %s WHERE id = %s", (key, other))
        cursor.execute("UPDATE d.uniq SET code = %s WHERE id = %s", (other, key))

    def _race(self, cursor: Any) -> None:
        self._races.run_next(cursor)

    def _share(self, cursor: Any) -> None:
        # A value that was never there before: a row that comes back to what it was is no conflict that could be seen.
        cursor.execute(
            "UPDATE d.shared SET v = %s WHERE id = %s",
            (f"side {self._side} no {self._fresh()}", self._chance.randrange(20)),
        )


class Way:
    """One direction: capture at its source, a supervisor, queues of its own."""

    def __init__(
        self, name: str, source: Endpoint, target: Endpoint, vhost: Vhost, folder: Path, *, prefer: str
    ) -> None:
        self.name, self.source, self.target, self.folder = name, source, target, folder / name
        self.folder.mkdir()
        self.queues = {f"{name}-{part}": [*keys, *MARKS] for part, keys in QUEUES.items()}
        exchange = f"{name}-exchange"
        for queue, keys in self.queues.items():
            vhost.declare(queue, exchange=exchange, routing_keys=keys)
        self.config = write_config(
            {
                "db_info": target.db_info,
                "source_db_info": source.db_info,
                "rabbitmq_conn_info": vhost.conn_info,
                # Bound already.
                "rabbitmq_queue_bind": [
                    {"exchange": [exchange, "topic"], "queues": {queue: [] for queue in self.queues}}
                ],
                "two_way": {"mark_s": 3600},  # none behind the first: what is counted at the end is what went on
                "detect_conflicts": "on",
                "conflicts": {
                    "prefer": prefer,
                    "policy": "prefer",
                    "tables": {f"d.{table}": policy for table, policy in races.POLICIES.items()},
                },
                "include": ["d.*"],
                "log_file_prefix": str(self.folder / "%s.log"),
                "lock_timeout_s": 3,
                "statement_timeout_s": 3,
                "state_interval_s": 0,
                "retry": {"first_s": 0.1, "max_s": 1.0},
                "batch_rows": 50,
            },
            self.folder / "config.py",
        )
        self._capture: subprocess.Popen[bytes] | None = None
        self.supervisor: SyncProcess | None = None
        self._runs = 0
        self._dies = False

    def start_capture(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "capture.log").open("ab") as log:
            command = [sys.executable, "-m", "pydbsync", "capture", "--config", str(self.config), *words]
            command += ["--state", str(self.folder / "state"), "--name", self.name]
            self._capture = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self._capture

    def start(self, **environment: str) -> None:
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        folder.mkdir()
        options = ["--config", str(self.config)]
        self._dies = bool(environment)
        self.supervisor = SyncProcess("mysql_sync.py", options, folder=folder, environment=environment)

    def ensure(self) -> None:
        """Start again what has ended, as a service manager does; and what has died at its step, without it."""
        if self._dies and self.supervisor is not None and "was ended by signal" in self.supervisor.stderr:
            self.supervisor.kill()
        if self.supervisor is None or not self.supervisor.is_running:
            if self.supervisor is not None:
                self.supervisor.kill()
            self.start()
        if self._capture is None or self._capture.poll() is not None:
            self.start_capture()

    def kill_worker(self, chance: random.Random) -> None:
        workers = sorted(self.supervisor.workers()) if self.supervisor is not None else []
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)

    def kill_supervisor(self, chance: random.Random) -> None:
        if self.supervisor is not None:
            self.supervisor.kill()
        self.start()

    def kill_capture(self, chance: random.Random) -> None:
        if self._capture is not None:
            self._capture.kill()
            self._capture.wait()
        self.start_capture()

    def die_at_a_step(self, chance: random.Random) -> None:
        if self.supervisor is not None:
            self.supervisor.kill()
        self.start(PYDBSYNC_KILL_POINT=f"{chance.choice(KILL_POINTS)}:{chance.choice((1, 2, 7, 40))}")

    def end(self) -> None:
        if self.supervisor is not None:
            self.supervisor.kill()
        if self._capture is not None:
            self._capture.kill()
            self._capture.wait()


FAULTS: Mapping[str, Callable[[Way, random.Random], None]] = {
    "worker killed": Way.kill_worker,
    "supervisor killed": Way.kill_supervisor,
    "capture killed": Way.kill_capture,
    "dies at a step": Way.die_at_a_step,
}


class Pair:
    """Both directions, between two servers without databases."""

    def __init__(self, a: Endpoint, b: Endpoint, vhost: Vhost, folder: Path, *, seed: int) -> None:
        self.sides = (a, b)
        self.races = tuple(Races(side, seed + 10 + side) for side in range(2))
        for server in self.sides:
            for sql in TABLES:
                server.query(sql)
        self.ways = (
            Way("forth", a, b, vhost, folder, prefer="source"),
            Way("back", b, a, vhost, folder, prefer="target"),
        )
        self._columns = self._tables = 0
        for way in self.ways:
            assert way.start_capture("--until-end").wait() == 0, (way.folder / "capture.log").read_text()
        for server, own in zip(self.sides, self.races, strict=True):
            with server.connect(autocommit=True) as connection:
                own.run_first(connection.cursor())
        for way in self.ways:
            way.ensure()

    def end(self) -> None:
        for way in self.ways:
            way.end()

    def ensure(self) -> bool:
        for way in self.ways:
            way.ensure()
        return True

    def change_schema(self, side: int, chance: random.Random) -> None:
        """At one side, and wait until the other one has it: two at once would be two different tables."""
        self._columns += 1
        here, there = self.sides[side], self.sides[1 - side]
        choice = chance.randrange(3)
        if choice == 0:
            self._tables += 1
            here.query(f"CREATE TABLE d.n{self._tables} (id INT PRIMARY KEY)")
        else:
            table = chance.choice(("own", "uniq"))
            unnamed = f", ADD INDEX (c{self._columns})" if choice == 1 else ""
            clauses = f"ADD c{self._columns} INT NOT NULL DEFAULT {self._columns}{unnamed}"
            try:
                here.query(f"ALTER TABLE d.{table} {clauses}")
            except pymysql.err.IntegrityError:  # what a writer was refused meanwhile: MySQL does it again in its copy
                here.query(f"ALTER TABLE d.{table} LOCK=SHARED, {clauses}")
        self._wait(lambda: shapes(here) == shapes(there), "the schema change at the other side")

    def come_to_rest(self) -> None:
        """A last row of each side for each queue, after which nothing comes."""
        for number, server in enumerate(self.sides):
            server.query(f"INSERT INTO d.own (id, v, n) VALUES ({100_000 + number}, 'the end', 0)")
            server.query(f"INSERT INTO d.uniq (id, code) VALUES ({100_000 + number}, {100_000 + number})")
        ends = "SELECT COUNT(*) FROM d.own JOIN d.uniq USING (id) WHERE id >= 100000"
        self._wait(lambda: all(server.query(ends) == [(2,)] for server in self.sides), "the last rows")

    def decide(self) -> int:
        """What is parked, at both sides for the first one; how many conflicts it were."""
        count = 0
        for way, take in zip(reversed(self.ways), TAKEN, strict=True):
            count += decide_all(load_settings(way.config)[0], take)
        return count

    def last_rounds(self) -> tuple[int, int]:
        """Rows applied and commits of both sides while each writes one row more, and again when it has arrived."""
        before = self._counted()
        for number in range(1, ROUNDS + 1):
            for side, server in enumerate(self.sides):
                server.query(f"UPDATE d.own SET n = {number} WHERE id = {100_000 + side}")
            self._wait(partial(self._has_arrived, number), "one more row")
        applied, commits = (now - former for now, former in zip(self._counted(), before, strict=True))
        return applied, commits

    def _has_arrived(self, number: int) -> bool:
        there = f"SELECT COUNT(*) FROM d.own WHERE id >= 100000 AND n = {number}"
        return all(server.query(there) == [(2,)] for server in self.sides)

    def _counted(self) -> tuple[int, int]:
        found = [server.query("SELECT SUM(applied), SUM(commits) FROM pydbsync.checkpoint")[0] for server in self.sides]
        return sum(int(applied) for applied, _ in found), sum(int(commits) for _, commits in found)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_for(lambda: self.ensure() and condition(), what=what, timeout_s=SETTLE_S)


def shapes(server: Endpoint) -> Any:
    """The columns and keys of all tables."""
    columns = server.query(
        "SELECT table_name, column_name, 1 FROM information_schema.columns WHERE table_schema = 'd' ORDER BY 1, 2"
    )
    return columns, server.query(
        "SELECT table_name, index_name, column_name FROM information_schema.statistics WHERE table_schema = 'd'"
        " ORDER BY 1, 2, 3"
    )


@contextlib.contextmanager
def pair(a: Endpoint, b: Endpoint, vhost: Vhost, folder: Path, *, seed: int) -> Iterator[Pair]:
    """All of it, ended in the end."""
    with ExitStack() as opened:
        found = Pair(a, b, vhost, folder, seed=seed)
        opened.callback(found.end)
        yield found


def torture(
    a: Endpoint,
    b: Endpoint,
    vhost: Vhost,
    folder: Path,
    *,
    faults: int,
    seed: int,
    pause_s: float = 0.02,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run `faults` random faults, let all come to rest, compare. AssertionError where it does not come to rest."""
    chance = random.Random(seed)
    result = Result()
    began_at = time.monotonic()
    with pair(a, b, vhost, folder, seed=seed) as both:
        writers = [
            Writer(server, side, both.races[side], seed=seed + side, pause_s=pause_s)
            for side, server in enumerate(both.sides)
        ]
        for writer in writers:
            writer.start()
        for number in range(faults):
            name = chance.choice(list(FAULTS))
            way = both.ways[chance.randrange(2)]
            say(f"{number + 1:4} {time.monotonic() - began_at:6.1f} s  {way.name}: {name}")
            FAULTS[name](way, chance)
            result.faults[name] += 1
            both.change_schema(number % 2, chance)
            result.schema_changes += 1
        for writer in writers:
            writer.finish()
            result.transactions += writer.transactions
        both.come_to_rest()
        result.resolved = both.decide()
        result.applied_at_the_end, result.commits_at_the_end = both.last_rounds()
        result.wrong = wrong(both, result)
    result.seconds = time.monotonic() - began_at
    return result


def wrong(both: Pair, result: Result) -> list[str]:
    """What is not as it should be."""
    with both.sides[0].connect() as a, both.sides[1].connect() as b:
        found = [line[:300] for line in differences(read_state(a, ["d"]), read_state(b, ["d"]), data_only=False)]
    for server in both.sides:
        found += [
            f"parked: {str(row)[:300]}"
            for row in server.query("SELECT position, reason FROM pydbsync.parked WHERE status = 'parked'")
        ]
        twice = (
            "SELECT stream, position, COUNT(*) FROM pydbsync.conflict"
            " GROUP BY stream, position, found, before_image, after_image, found_image HAVING COUNT(*) > 1"
        )
        found += [f"a conflict recorded more than once: {row}" for row in server.query(twice)]
        result.conflicts += int(server.query("SELECT COUNT(*) FROM pydbsync.conflict")[0][0])
        tables = server.query("SELECT DISTINCT source_table FROM pydbsync.conflict WHERE decision <> 'same'")
        found += [f"no conflict in {table}" for table in races.POLICIES if (table,) not in tables]
        others = "SELECT COUNT(*) FROM pydbsync.conflict WHERE source_table IN ('own', 'uniq')"
        if server.query(others) != [(0,)]:
            found.append(f"conflicts of rows that one side alone writes: {server.query(others)}")
    if result.applied_at_the_end != 2 * ROUNDS or result.commits_at_the_end > MOST_COMMITS:
        found.append(f"something goes round: {result.applied_at_the_end} rows, {result.commits_at_the_end} commits")
    return found
