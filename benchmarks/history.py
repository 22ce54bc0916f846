"""A long history replayed by one process: the rate, the CPU and the memory at its beginning and at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pymysql

from benchmarks.child import cpu_seconds
from benchmarks.engine import Engine
from benchmarks.generate import Facts, Generated, message, write_base
from benchmarks.messages import MessageWriter
from benchmarks.publish import FramePublisher, declare, delete, holds, wait_for
from benchmarks.rig import Rig, TableState, ask, connect, pipe, read_state
from benchmarks.tables import Table, decimal, integer, text
from benchmarks.workload import DATABASE, Rows, Run, Transaction, Workload
from lab.mariadb import MariaDB
from lab.process import peak_rss_bytes, tree

QUEUE = "bench.history"
STATE_SCHEMA = "pydbsync"
LEDGER = Table(
    "ledger",
    (integer("id"), integer("account", 5_000), decimal("amount"), text("note", 30, "VARCHAR(120) NOT NULL")),
    ("KEY `account` (`account`)",),
)
BASE_ROWS = 20_000
SAMPLE_S = 0.25
PART = 0.1
"""Begin and end are the first and the last tenth; the first hundredth is left out as start-up."""
START_UP = 0.01
STALL_S = 60.0


@dataclass(frozen=True)
class Part:
    """A stretch of the history: changes a second, CPU microseconds a change, resident megabytes at its end."""

    rate: float
    engine_us: float
    target_us: float
    resident_mb: float


@dataclass(frozen=True)
class History:
    changes: int
    seconds: float
    begin: Part
    end: Part
    state_rows: int
    """Rows in all tables of the state schema afterwards."""
    outcome: str


@dataclass(frozen=True)
class Sample:
    at: float
    applied: int
    engine_s: float
    target_s: float
    resident_mb: float


def transactions(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    (ledger,) = rows
    while True:
        yield [ledger.insert(), ledger.update("amount"), ledger.update("note", "account"), ledger.delete()]


def measure(rig: Rig, *, changes: int, seed: int) -> History:
    """Fill a queue with `changes`, replay them in one go, sample the checkpoint's own counter."""
    workload = Workload("history", "long history", (LEDGER,), BASE_ROWS, changes, transactions)
    folder = rig.root / "history"
    folder.mkdir(parents=True, exist_ok=True)
    generated = Generated(workload, folder, Facts("history", changes, changes // 4, 0, (LEDGER.name,)))
    run = workload.start(seed)
    write_base(generated.base_sql, run.rows)
    rig.prepare_template(generated)
    publish(rig, run, changes)
    expected = final_state(rig, generated, run)
    with rig.target(generated, binlog=True) as target:
        engine = Engine(rig.broker, target, {QUEUE: ["#"]}, rig.root / "engine", {})
        with engine.running() as child:
            samples = sample_until(target, child.pid, changes)
        outcome = "equal" if read_state(target, generated.facts.tables) == expected else "WRONG"
        state_rows = count_state_rows(target)
    delete(rig.broker.url, [QUEUE])
    return History(
        changes=changes,
        seconds=samples[-1].at - samples[0].at,
        begin=part(samples, START_UP * changes, PART * changes),
        end=part(samples, (1 - PART) * changes, changes),
        state_rows=state_rows,
        outcome=outcome,
    )


def publish(rig: Rig, run: Run, changes: int) -> None:
    declare(rig.broker.url, {QUEUE: ["#"]})
    writer = MessageWriter(DATABASE)

    def bodies() -> Iterator[bytes]:
        for transaction in run.transactions():
            for number, change in enumerate(transaction, start=1):
                yield message(writer, change, last=number == len(transaction))

    with FramePublisher(rig.broker.url, confirm=True) as publisher:
        publisher.publish(bodies())
    wait_for(lambda: holds(rig.broker.url, QUEUE, changes), timeout_s=120, what=f"{changes} messages in {QUEUE}")


def final_state(rig: Rig, generated: Generated, run: Run) -> dict[str, TableState]:
    """What the rows must be at the end: written as plain rows into a server and read back."""
    rows_sql = generated.folder / "final.sql"
    write_base(rows_sql, run.rows)
    text_of = rows_sql.read_text(encoding="utf-8")
    rows_sql.write_text(text_of.replace("CREATE DATABASE", f"DROP DATABASE {DATABASE}; CREATE DATABASE", 1))
    with rig.target(generated, binlog=True) as server:
        pipe(server, rows_sql)
        return read_state(server, generated.facts.tables)


def sample_until(target: MariaDB, engine_pid: int, changes: int) -> list[Sample]:
    """Samples until `changes` are applied."""
    samples: list[Sample] = []
    server = target.process
    assert server is not None
    connection = connect(target)
    pause = threading.Event()
    moved_at = time.monotonic()
    while True:
        applied = read_applied(connection)
        pids = [pid for pid, _ in tree(engine_pid)]
        now = time.monotonic()
        if not samples or samples[-1].applied != applied:
            moved_at = now
        samples.append(
            Sample(
                at=now,
                applied=applied,
                engine_s=sum(map(cpu_seconds, pids)),
                target_s=cpu_seconds(server.pid),
                resident_mb=max(map(peak_rss_bytes, pids)) / 2**20,
            )
        )
        if applied >= changes:
            break
        if now - moved_at > STALL_S:
            raise TimeoutError(f"the checkpoint stands at {applied:,} of {changes:,} changes for {STALL_S:g} s")
        pause.wait(SAMPLE_S)
    connection.close()
    return samples


def read_applied(connection: pymysql.Connection[pymysql.cursors.Cursor]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT SUM(applied) FROM {STATE_SCHEMA}.checkpoint")
        (applied,) = cursor.fetchone() or (None,)
    return int(str(applied or 0))


def part(samples: list[Sample], first: float, last: float) -> Part:
    """The stretch between two counts of applied changes."""
    begin = next(s for s in samples if s.applied >= first)
    end = next(s for s in samples if s.applied >= last)
    count = end.applied - begin.applied
    if not count:
        raise RuntimeError("too few changes to tell the beginning from the end: ask for more with --history")
    return Part(
        rate=count / (end.at - begin.at),
        engine_us=(end.engine_s - begin.engine_s) / count * 1e6,
        target_us=(end.target_s - begin.target_s) / count * 1e6,
        resident_mb=end.resident_mb,
    )


def count_state_rows(target: MariaDB) -> int:
    connection = connect(target)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT table_name FROM information_schema.tables WHERE table_schema='{STATE_SCHEMA}'")
            names = [str(row[0]) for row in cursor.fetchall()]
    finally:
        connection.close()
    return sum(int(str(ask(target, f"SELECT COUNT(*) FROM {STATE_SCHEMA}.`{name}`")[0])) for name in names)
