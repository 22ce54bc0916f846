"""From publish to visible: a steady stream of one-row transactions, and a reader that polls the target.

The publisher notes when it sent each change; the reader asks for the highest visible number in a tight loop and notes
when each question was asked and answered. Both read the machine's monotonic clock. A change counts as visible when
the answer that first showed it had arrived, so every figure is an upper bound; it is too high by at most the time
between the asking of the question before and that arrival (`error_ms`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.engine import Engine
from benchmarks.generate import Facts, Generated
from benchmarks.messages import MessageWriter
from benchmarks.publish import FramePublisher, declare, delete
from benchmarks.rig import Rig, ask, connect
from benchmarks.tables import Table, decimal, integer, text
from benchmarks.workload import DATABASE, WORKLOADS
from lab.mariadb import MariaDB

QUEUE = "bench.latency"
TABLE = Table("latency", (integer("seq", definition="BIGINT NOT NULL"), decimal("amount"), text("note", 60, "TEXT")))
WARM_UP_S = 3.0
POLL_PAUSE_S = 0.0002
ARRIVAL_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds from publish to visible; the warm-up is left out."""

    changes: int
    changes_a_second: float
    median_ms: float
    p99_ms: float
    highest_ms: float
    error_ms: float
    """Median of what a figure can be too high by."""


@dataclass(frozen=True)
class Poll:
    asked: float
    answered: float
    highest: int


def measure(rig: Rig, *, rate: int, seconds: float) -> Latency:
    """Publish `rate` changes a second for so long to a running pydbsync."""
    declare(rig.broker.url, {QUEUE: [f"{DATABASE}.{TABLE.name}"]})
    generated = Generated(WORKLOADS["keyless"], rig.root / "latency", Facts("latency", 0, 0, 0, (TABLE.name,)))
    (rig.root / "latency").mkdir(parents=True, exist_ok=True)
    generated.base_sql.write_text(f"CREATE DATABASE {DATABASE}; USE {DATABASE}; {TABLE.create()};\n")
    rig.prepare_template(generated)
    with rig.target(generated, binlog=True) as target:
        engine = Engine(rig.broker, target, {QUEUE: [f"{DATABASE}.{TABLE.name}"]}, rig.root / "engine", {})
        with engine.running(), tempfile.TemporaryDirectory() as scratch:
            sent_file = Path(scratch) / "sent.json"
            count = int(rate * (seconds + WARM_UP_S))
            command = [sys.executable, "-m", "benchmarks.latency", "--amqp", rig.broker.url, "--rate", str(rate)]
            publisher = subprocess.Popen([*command, "--count", str(count), "--result", str(sent_file)])
            polls = poll(target, count)
            if publisher.wait() != 0:
                raise RuntimeError(f"the publisher ended with {publisher.returncode}")
            sent: list[float] = json.loads(sent_file.read_text())
            (visible,) = ask(target, f"SELECT COUNT(*) FROM {DATABASE}.{TABLE.name}")
            if visible != count:
                raise RuntimeError(f"{visible} of {count} changes are visible")
    delete(rig.broker.url, [QUEUE])
    return evaluate(sent, polls, skip=int(rate * WARM_UP_S))


def poll(target: MariaDB, count: int) -> list[Poll]:
    """Ask for the highest visible number until it is the last one."""
    connection = connect(target)
    polls: list[Poll] = []
    moved_at = time.monotonic()
    with connection.cursor() as cursor:
        while True:
            asked = time.monotonic()
            cursor.execute(f"SELECT MAX(seq) FROM {DATABASE}.{TABLE.name}")
            (highest,) = cursor.fetchone() or (None,)
            answered = time.monotonic()
            number = -1 if highest is None else int(str(highest))
            if not polls or polls[-1].highest != number:
                moved_at = answered
            polls.append(Poll(asked, answered, number))
            if number >= count - 1:
                break
            if answered - moved_at > ARRIVAL_TIMEOUT_S:
                raise TimeoutError(f"nothing became visible for {ARRIVAL_TIMEOUT_S:g} s after change {number}")
            time.sleep(POLL_PAUSE_S)
    connection.close()
    return polls


def evaluate(sent: Sequence[float], polls: Sequence[Poll], *, skip: int) -> Latency:
    """For each change the first poll that shows it."""
    seen = [p.highest for p in polls]
    waits: list[float] = []
    errors: list[float] = []
    for number in range(skip, len(sent)):
        place = bisect_left(seen, number)
        waits.append(polls[place].answered - sent[number])
        # Visible before its own poll was answered, but not when the poll before was asked, nor before it was sent.
        errors.append(polls[place].answered - max(polls[max(place - 1, 0)].asked, sent[number]))
    waits.sort()
    errors.sort()
    return Latency(
        changes=len(waits),
        changes_a_second=(len(sent) - 1 - skip) / (sent[-1] - sent[skip]),
        median_ms=waits[len(waits) // 2] * 1e3,
        p99_ms=waits[int(len(waits) * 0.99)] * 1e3,
        highest_ms=waits[-1] * 1e3,
        error_ms=errors[len(errors) // 2] * 1e3,
    )


def publish_steadily(url: str, *, rate: int, count: int) -> list[float]:
    """When each change was sent, by the monotonic clock."""
    random = Random(11)
    writer = MessageWriter(DATABASE)
    bodies = [writer.insert(TABLE, TABLE.make_row(random, number), last=True) for number in range(count)]
    sent: list[float] = []
    with FramePublisher(url) as publisher:
        start = time.monotonic()
        for number, body in enumerate(bodies):
            due = start + number / rate
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            sent.append(time.monotonic())
            publisher.publish((body,))
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish numbered changes at a steady rate.")
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    options.result.write_text(json.dumps(publish_steadily(options.amqp, rate=options.rate, count=options.count)))


if __name__ == "__main__":
    main()
