"""One torture run: load, faults, rest, comparison."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pymysql

from tests.processes import wait_for
from tests.state import differences, read_state
from tests.torture.faults import ALL_FAULTS, FAULTS
from tests.torture.rig import Rig, rig
from tests.torture.workload import DATABASES, QUEUES, Workload, make_tables

SETTLE_S = 180


@dataclass
class Result:
    """What one run has shown."""

    faults: Counter[str] = field(default_factory=Counter)
    transactions: int = 0
    schema_changes: int = 0
    redelivered: int = 0
    duplicates: int = 0
    tables: int = 0
    rows: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        lines = [
            f"faults survived       {sum(self.faults.values()):,} in {self.seconds:.0f} s ({kinds})",
            f"source transactions   {self.transactions:,}, and {self.schema_changes} schema changes",
            f"redeliveries          {self.redelivered:,} at least",
            f"duplicates suppressed {self.duplicates:,}",
            f"rows compared         {self.rows:,} in {self.tables} tables",
            *self.differences[:20],
            "the target is equal to the source" if self.is_equal else f"{len(self.differences)} DIFFERENCES",
        ]
        return "\n".join(lines)


def torture(
    folder: Path,
    *,
    faults: int,
    seed: int,
    only: str = "",
    pause_s: float = 0.01,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run `faults` random faults, let all come to rest, compare. AssertionError where it does not come to rest."""
    chance = random.Random(seed)
    chosen = {name: fault for name, fault in (ALL_FAULTS if only else FAULTS).items() if only in name}
    names, weights = list(chosen), [weight for _, weight in chosen.values()]
    result = Result()
    began_at = time.monotonic()
    with rig(folder) as servers:
        servers.is_operated = bool(only) and any(name.startswith("operator") for name in names)
        servers.start_publisher()
        servers.wait_for_publisher()
        make_tables(servers.source)
        for index in range(2):
            servers.start_supervisor(index)
        workload = Workload(servers.source, seed=seed, pause_s=pause_s)
        workload.start()
        wait_for(lambda: _moves_on(servers, 0), what="the first commits")
        for number in range(1, faults + 1):
            (name,) = chance.choices(names, weights)
            say(f"{number:4} {time.monotonic() - began_at:6.1f} s  {name}")
            chosen[name][0](servers, chance)
            servers.check_publisher()
            servers.note_redeliveries()
            result.faults[name] += 1
            time.sleep(chance.choice((0.0, 0.1, 1.0)))
            servers.ensure_supervisors()
            if number % 10 == 0:
                _wait_for_progress(servers)
        workload.finish()
        _come_to_rest(servers, say)
        result.transactions, result.schema_changes = workload.transactions, workload.schema_changes
        servers.note_redeliveries()
        result.redelivered, result.duplicates = servers.redelivered, servers.duplicates()
        _compare(servers, result)
    result.seconds = time.monotonic() - began_at
    return result


def _moves_on(servers: Rig, since: int) -> bool:
    servers.ensure_supervisors()
    try:
        return servers.committed() > since
    except pymysql.Error:
        return False


def _wait_for_progress(servers: Rig) -> None:
    since = servers.committed()
    wait_for(lambda: _moves_on(servers, since), what="a commit after the faults", timeout_s=SETTLE_S)


def _come_to_rest(servers: Rig, say: Callable[[str], None]) -> None:
    """A last row for each queue, after which nothing comes."""
    say("the faults are over")
    for queue in QUEUES:
        if queue == "big":
            servers.source.query("INSERT INTO big.texts VALUES ('the end', 'the end')")
        else:
            servers.source.query(f"CREATE TABLE {queue}.the_end (a INT)")
            servers.source.query(f"INSERT INTO {queue}.the_end VALUES (1)")

    def has_ended() -> bool:
        servers.ensure_supervisors()
        servers.check_publisher()
        try:
            return all(
                servers.target.query(
                    "SELECT 1 FROM big.texts WHERE name = 'the end'"
                    if queue == "big"
                    else f"SELECT a FROM {queue}.the_end"
                )
                for queue in QUEUES
            )
        except pymysql.Error:
            return False

    wait_for(has_ended, what="the last row of each queue", timeout_s=SETTLE_S)
    wait_for(lambda: all(servers.vhost.depth(queue) == 0 for queue in QUEUES), what="empty queues", timeout_s=SETTLE_S)


def _compare(servers: Rig, result: Result) -> None:
    wanted = read_state(servers.source.connect(), DATABASES)
    found = read_state(servers.target.connect(), DATABASES)
    result.tables = sum(len(tables or {}) for tables in wanted.values())
    result.rows = sum(len(table["rows"]) for tables in wanted.values() for table in (tables or {}).values())
    result.differences = [line[:300] for line in differences(wanted, found, data_only=False)]
    result.differences += [f"parked: {str(row)[:300]}" for row in servers.parked()]
