"""What the tortures of sinks have in common: a source that is written to, capture, a broker, two supervisors."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import lab
from pydbsync.config.file import load_settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import PydbsyncError
from pydbsync.model import RowChange, TableName
from pydbsync.sinks.writer import SinkRow, place_of
from tests.processes import REPOSITORY, SyncProcess, wait_for, write_config
from tests.servers import Endpoint, Vhost

QUEUE, COPY = "shop", "overheard"
SETTLE_S = 120
OVERHEARD_TABLE = "t"
LAST_ROW = 99
"""Both parts of the key of what is written last, to `j`."""


@dataclass
class Result:
    """What one run has shown."""

    product: str
    faults: Counter[str] = field(default_factory=Counter)
    transactions: int = 0
    overheard: int = 0
    looks: int = 0
    keys: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return "\n".join(
            [
                f"faults survived       {sum(self.faults.values()):,} in {self.seconds:.0f} s ({kinds})",
                f"source transactions   {self.transactions:,}",
                f"old changes written   {self.overheard:,} out of order, by somebody else",
                f"looks at all rows     {self.looks:,}, of which none saw older over newer",
                f"rows compared         {self.keys:,}",
                *self.differences[:20],
                f"{self.product} is equal to MySQL" if self.is_equal else f"{len(self.differences)} DIFFERENCES",
            ]
        )


class Rig:
    """A source that is written to, capture, a broker, two supervisors on one queue; its target is the subclass's."""

    name: ClassVar[str]

    def __init__(self, folder: Path, opened: contextlib.ExitStack, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.source = Endpoint.of_lab(lab.start_mariadb("torture-source"))
        self.broker = lab.start_rabbitmq("torture-rabbitmq")
        for server in (self.source.server, self.broker):
            assert server is not None
            opened.callback(server.stop, timeout_s=0)
        self.source.drop_databases()
        self.source.query("CREATE DATABASE shop")
        for name in "tj":
            self.source.query(f"CREATE TABLE shop.{name} (a INT, b INT, v BIGINT, d DECIMAL(9,2), PRIMARY KEY (a, b))")
        self.broker.delete_vhost(self.name)
        self.broker.create_vhost(self.name)
        self.vhost = Vhost(self.broker, self.name)
        for queue in (QUEUE, COPY):
            self.vhost.declare(queue, routing_keys=["shop.*"])
        self.config = folder / "config.py"
        self.supervisors: dict[int, SyncProcess] = {}
        self._runs = 0
        self.publisher: subprocess.Popen[bytes] | None = None
        opened.callback(self._end)

    def write_config(self, sink: Mapping[str, Any]) -> None:
        write_config(
            {
                "sink": sink,
                "source_db_info": self.source.db_info,
                "rabbitmq_conn_info": {**self.vhost.conn_info, "heartbeat_s": 2},
                "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {QUEUE: ["shop.*"]}}],
                "log_file_prefix": str(self.folder / "%s.log"),
                "lock_timeout_s": 3,
                "retry": {"first_s": 0.1, "max_s": 1.0},
                "batch_rows": 100,
            },
            self.config,
        )

    def start_publisher(self) -> None:
        with (self.folder / "publisher.log").open("ab") as log:
            command = [sys.executable, "-m", "tests.torture.publisher", str(self.config)]
            command += [str(self.folder / "state"), "0"]
            self.publisher = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: "capture begins at" in (self.folder / "publisher.log").read_text(), what="capture's beginning")

    def ensure_supervisors(self) -> None:
        for index in range(2):
            process = self.supervisors.get(index)
            if process is None or not process.is_running:
                self._runs += 1
                folder = self.folder / f"run-{self._runs}"
                folder.mkdir()
                self.supervisors[index] = SyncProcess(
                    "mysql_sync.py", ["--config", str(self.config)], folder=folder, environment={}
                )  # fmt: skip

    def workers(self) -> list[int]:
        return sorted(pid for each in self.supervisors.values() if each.is_running for pid in each.workers())

    def _end(self) -> None:
        for process in self.supervisors.values():
            for pid in process.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            process.kill()
        if self.publisher is not None:
            self.publisher.kill()
            self.publisher.wait()


# -- what goes on all the time -----------------------------------------------------------------------------------------


class Busy:
    """A thread that does one thing again and again; what it raises is raised by `end`."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.once()
        except BaseException as exc:
            self._error = exc

    def once(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)
        if self._error is not None:
            raise self._error


class Writer(Busy):
    """Writes to the source: `v` only grows, whatever becomes of a row."""

    def __init__(self, rig: Rig, result: Result, seed: int, *, rest_s: float = 0.005) -> None:
        super().__init__()
        self._rest_s = rest_s
        self._connection = rig.source.connect()
        self._chance, self._result, self._value = random.Random(seed), result, 0

    def once(self) -> None:
        chance = self._chance
        with self._connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for _ in range(chance.choice((1, 1, 3, 20))):
                self._value += 1
                table, a, b = chance.choice("tj"), chance.randrange(1, 13), chance.randrange(1, 13)
                where = f"WHERE a = {a} AND b = {b}"
                what = chance.random()
                if what < 0.6:
                    cursor.execute(f"REPLACE shop.{table} VALUES ({a}, {b}, {self._value}, {self._value} / 100)")
                elif what < 0.8:
                    cursor.execute(f"DELETE FROM shop.{table} {where}")
                else:
                    other = f"a = {chance.randrange(1, 13)}, b = {chance.randrange(1, 13)}"
                    cursor.execute(f"UPDATE IGNORE shop.{table} SET v = {self._value}, {other} {where}")
            cursor.execute("COMMIT")
        self._result.transactions += 1
        time.sleep(self._rest_s)


class Overhearer(Busy):
    """Writes old changes again, out of order, as a worker would that was replaced and does not know it."""

    def __init__(self, rig: Rig, result: Result, seed: int, parts_of: Callable[..., Any]) -> None:
        """`parts_of` makes the sink's parts of settings and the name of a stream."""
        super().__init__()
        self._rig, self._result, self._chance = rig, result, random.Random(seed)
        self._parts_of = parts_of
        self._heard: list[SinkRow] = []

    def once(self) -> None:
        time.sleep(0.05)
        with contextlib.suppress(Exception):  # the broker is away: what was heard is still there
            self._listen()
        if self._heard:
            old = self._chance.sample(self._heard, min(20, len(self._heard)))
            self._result.overheard += self._write(old)

    def _write(self, rows: list[SinkRow]) -> int:
        """Write them one by one, so in any order; how many were, which is none where the sink is away."""
        try:
            settings, _ = load_settings(self._rig.config)
            parts = self._parts_of(settings, stream="nobody")
            for row in rows:
                parts.writer.write([row])
            parts.writer.close()
            return len(rows)
        except PydbsyncError:
            time.sleep(0.1)
            return 0

    def _listen(self) -> None:
        with self._rig.vhost.connect() as connection:
            channel = connection.channel()
            for _ in range(200):
                method, _properties, body = channel.basic_get(COPY, auto_ack=True)
                if method is None:
                    break
                change = decode_message(body)
                if isinstance(change, RowChange) and change.table == OVERHEARD_TABLE:
                    self._heard.append(SinkRow(TableName("shop", "t"), change, place_of(change, 0)))


# -- faults ------------------------------------------------------------------------------------------------------------


def kill_worker(rig: Rig) -> None:
    for pid in rig.workers()[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_supervisor(rig: Rig) -> None:
    rig.supervisors[rig.chance.randrange(2)].kill()


def freeze_worker(rig: Rig) -> None:
    """For longer than its lock lives, so that the other one takes over; then it wakes up and goes on writing."""
    pids = rig.workers()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rig.chance.choice((0.5, 4.0)))
            os.kill(pid, signal.SIGCONT)
            return


def kill_broker(rig: Rig) -> None:
    rig.broker.kill()
    rig.broker.start()


# -- the run -----------------------------------------------------------------------------------------------------------

RigT = TypeVar("RigT", bound=Rig)


def run_faults(
    result: Result,
    rig: RigT,
    threads: Sequence[Busy],
    kinds: Mapping[str, tuple[Callable[[RigT], None], int]],
    *,
    faults: int,
    seed: int,
    say: Callable[[str], None],
    has_begun: Callable[[], object],
    after: Callable[[int], None] = lambda number: None,
    come_to_rest: Callable[[], None],
) -> None:
    """Have `faults` random faults of `kinds` (what is done, how often beside the others) while the threads work, the
    first of which writes to the source; then let all come to rest."""
    began_at, chance = time.monotonic(), random.Random(seed)
    rig.start_publisher()
    rig.ensure_supervisors()
    for thread in threads:
        thread.start()
    wait_for(has_begun, what="the first rows")
    for number in range(1, faults + 1):
        (name,) = chance.choices(list(kinds), [weight for _, weight in kinds.values()])
        say(f"{number:4} {time.monotonic() - began_at:6.1f} s  {name}")
        kinds[name][0](rig)
        result.faults[name] += 1
        time.sleep(chance.choice((0.0, 0.3, 1.5)))
        rig.ensure_supervisors()
        after(number)
    threads[0].end()
    say("the faults are over")
    come_to_rest()
    for thread in threads[1:]:
        thread.end()


def write_last_row(rig: Rig) -> None:
    """When this row has come, so has all before it: it is not in the table whose changes others write too."""
    rig.source.query(f"INSERT INTO shop.j VALUES ({LAST_ROW}, {LAST_ROW}, 1000000000, 0)")


def unequal_rows(found: Mapping[str, int], wanted: Mapping[str, int], *, product: str) -> Iterator[str]:
    """The rows by name, with `v` of both sides, that are not the same."""
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            yield f"{key}: {found.get(key)} in {product}, {wanted.get(key)} in MySQL"
