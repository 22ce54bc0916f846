"""The torture of the sink `redis`: workers, Redis and the broker are killed, old changes are written out of order by
somebody else meanwhile, and a watcher looks at each key all the time. In the end Redis is equal to MySQL."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

import lab
from pydbsync.config.file import load_settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import PydbsyncError
from pydbsync.model import RowChange, TableName
from pydbsync.sinks.writer import SinkRow, place_of
from tests.integration.redis_sink import connect, parts_of
from tests.processes import REPOSITORY, SyncProcess, wait_for, write_config
from tests.servers import Endpoint, Vhost

VHOST, QUEUE, COPY = "torture-redis", "shop", "overheard"
TABLES: dict[str, Any] = {
    "shop.t": {"key": "t:{a}:{b}"},
    "shop.j": {"key": "j:{a}:{b}", "as": "json", "changes": "changes"},
}
SETTLE_S = 120


@dataclass
class Result:
    """What one run has shown."""

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
                f"looks at all keys     {self.looks:,}, of which none saw older over newer",
                f"keys compared         {self.keys:,}",
                *self.differences[:20],
                "Redis is equal to MySQL" if self.is_equal else f"{len(self.differences)} DIFFERENCES",
            ]
        )


class Rig:
    """A source that is written to, capture, a broker, a Redis, two supervisors on one queue."""

    def __init__(self, folder: Path, opened: contextlib.ExitStack, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.source = Endpoint.of_lab(lab.start_mariadb("torture-source"))
        self.broker = lab.start_rabbitmq("torture-rabbitmq")
        self.policy = "everysec"
        self.redis = lab.start_redis("torture-redis", options={"appendfsync": self.policy})
        for server in (self.source.server, self.broker, self.redis):
            assert server is not None
            opened.callback(server.stop, timeout_s=0)
        connect(self.redis).flushall()
        self.source.drop_databases()
        self.source.query("CREATE DATABASE shop")
        for name in "tj":
            self.source.query(f"CREATE TABLE shop.{name} (a INT, b INT, v BIGINT, d DECIMAL(9,2), PRIMARY KEY (a, b))")
        self.broker.delete_vhost(VHOST)
        self.broker.create_vhost(VHOST)
        self.vhost = Vhost(self.broker, VHOST)
        for queue in (QUEUE, COPY):
            self.vhost.declare(queue, routing_keys=["shop.*"])
        sink = {"type": "redis", "port": self.redis.port, "tables": TABLES, "timeout_s": 2, "durability": "aof"}
        self.config = write_config(
            {
                "sink": sink,
                "source_db_info": self.source.db_info,
                "rabbitmq_conn_info": {**self.vhost.conn_info, "heartbeat_s": 2},
                "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {QUEUE: ["shop.*"]}}],
                "log_file_prefix": str(folder / "%s.log"),
                "lock_timeout_s": 3,
                "retry": {"first_s": 0.1, "max_s": 1.0},
                "batch_rows": 100,
            },
            folder / "config.py",
        )
        self.supervisors: dict[int, SyncProcess] = {}
        self._runs = 0
        self.publisher: subprocess.Popen[bytes] | None = None
        opened.callback(self._end)

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

    def restart_redis(self) -> None:
        self.redis.kill()
        self.policy = self.chance.choice(("everysec", "always"))
        self.redis = lab.start_redis("torture-redis", options={"appendfsync": self.policy})

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

    def __init__(self, rig: Rig, result: Result, seed: int) -> None:
        super().__init__()
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
        time.sleep(0.005)


class Watcher(Busy):
    """Looks at all keys: what is there is never older than what was there, in one life of Redis."""

    def __init__(self, rig: Rig, result: Result) -> None:
        super().__init__()
        self._rig, self._result = rig, result
        self._life = ""
        self._newest: dict[str, int] = {}

    def once(self) -> None:
        try:
            client = connect(self._rig.redis)
            life = str(client.info("server")["run_id"])
            found = values_in(client)
            if str(client.info("server")["run_id"]) != life:
                return
        except redis.RedisError:
            time.sleep(0.05)
            return
        if life != self._life:  # what was not synced may be gone with the former one
            self._life, self._newest = life, {}
        for key, value in found.items():
            assert value >= self._newest.get(key, 0), f"{key}: {value} over {self._newest[key]}"
            self._newest[key] = value
        self._result.looks += 1


class Overhearer(Busy):
    """Writes old changes again, out of order, as a worker would that was replaced and does not know it."""

    def __init__(self, rig: Rig, result: Result, seed: int) -> None:
        super().__init__()
        self._rig, self._result, self._chance = rig, result, random.Random(seed)
        self._heard: list[SinkRow] = []

    def once(self) -> None:
        time.sleep(0.05)
        with contextlib.suppress(Exception):  # the broker is away: what was heard is still there
            self._listen()
        if not self._heard:
            return
        old = self._chance.sample(self._heard, min(20, len(self._heard)))
        try:
            settings, _ = load_settings(self._rig.config)
            parts = parts_of(settings, stream="nobody")
            for row in old:  # one by one: any order
                parts.writer.write([row])
            parts.writer.close()
            self._result.overheard += len(old)
        except PydbsyncError:
            time.sleep(0.1)

    def _listen(self) -> None:
        with self._rig.vhost.connect() as connection:
            channel = connection.channel()
            for _ in range(200):
                method, _properties, body = channel.basic_get(COPY, auto_ack=True)
                if method is None:
                    break
                change = decode_message(body)
                if isinstance(change, RowChange) and change.table == "t":
                    self._heard.append(SinkRow(TableName("shop", "t"), change, place_of(change, 0)))


def values_in(client: Any) -> dict[str, int]:
    """`v` by key, of both tables."""
    found: dict[str, int] = {}
    keys = list(client.scan_iter(match="[tj]:*", count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        if key.startswith(b"t:"):
            pipeline.hget(key, "v")
        else:
            pipeline.get(key)
    for key, value in zip(keys, pipeline.execute(), strict=True):
        if value is not None:
            found[key.decode()] = int(value if key.startswith(b"t:") else value.split(b'"v":')[1].split(b",")[0])
    return found


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


def kill_redis(rig: Rig) -> None:
    rig.restart_redis()


def freeze_redis(rig: Rig) -> None:
    rig.redis.freeze()
    time.sleep(rig.chance.choice((0.2, 3.0)))
    rig.redis.thaw()


def kill_broker(rig: Rig) -> None:
    rig.broker.kill()
    rig.broker.start()


FAULTS: dict[str, tuple[Callable[[Rig], None], int]] = {
    "worker killed": (kill_worker, 5),
    "supervisor killed": (kill_supervisor, 3),
    "worker frozen": (freeze_worker, 3),
    "redis killed": (kill_redis, 5),
    "redis frozen": (freeze_redis, 3),
    "broker killed": (kill_broker, 1),
}


def torture(folder: Path, *, faults: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Result:
    """Run `faults` random faults, let all come to rest, compare."""
    result, began_at, chance = Result(), time.monotonic(), random.Random(seed)
    with contextlib.ExitStack() as opened:
        rig = Rig(folder, opened, seed)
        rig.start_publisher()
        rig.ensure_supervisors()
        threads: list[Busy] = [Writer(rig, result, seed), Watcher(rig, result), Overhearer(rig, result, seed)]
        for thread in threads:
            thread.start()
        wait_for(lambda: values_in(connect(rig.redis)), what="the first rows")
        for number in range(1, faults + 1):
            (name,) = chance.choices(list(FAULTS), [weight for _, weight in FAULTS.values()])
            say(f"{number:4} {time.monotonic() - began_at:6.1f} s  {name}")
            FAULTS[name][0](rig)
            result.faults[name] += 1
            time.sleep(chance.choice((0.0, 0.3, 1.5)))
            rig.ensure_supervisors()
            if number % 4 == 0:
                _wait_for_progress(rig)
        threads[0].end()
        say("the faults are over")
        _come_to_rest(rig)
        for thread in threads[1:]:
            thread.end()
        result.differences = list(_differences(rig))
        result.keys = len(values_in(connect(rig.redis)))
    result.seconds = time.monotonic() - began_at
    return result


def _newest(rig: Rig) -> int:
    with contextlib.suppress(redis.RedisError):
        return max(values_in(connect(rig.redis)).values(), default=0)
    return 0


def _wait_for_progress(rig: Rig) -> None:
    (goal,) = rig.source.query("SELECT MAX(v) FROM shop.t")[0]

    def has_come() -> bool:
        rig.ensure_supervisors()
        return _newest(rig) >= int(goal or 0)

    wait_for(has_come, what="what was written before", timeout_s=SETTLE_S)


def _come_to_rest(rig: Rig) -> None:
    rig.source.query("INSERT INTO shop.t VALUES (99, 99, 1000000000, 0)")

    def has_come() -> bool:
        rig.ensure_supervisors()
        with contextlib.suppress(redis.RedisError):
            return bool(connect(rig.redis).exists("t:99:99")) and rig.vhost.depth(QUEUE) == 0
        return False

    wait_for(has_come, what="the last row", timeout_s=SETTLE_S)


def _differences(rig: Rig) -> Iterator[str]:
    found = values_in(connect(rig.redis))
    wanted = {
        f"{name}:{a}:{b}": int(v) for name in "tj" for a, b, v in rig.source.query(f"SELECT a, b, v FROM shop.{name}")
    }
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            yield f"{key}: {found.get(key)} in Redis, {wanted.get(key)} in MySQL"
    client = connect(rig.redis)
    places = [entry[b"place"] for _, entry in client.xrange("changes")]
    if places != sorted(set(places)):
        yield f"the stream of changes: {len(places)} entries, {len(set(places))} places, not each once and in order"
    yield from (f"parked: {value!r}" for value in client.hgetall("pydbsync:{shop}:parked").values())
