"""`python -m benchmarks --redis`: the same changes to Redis, to the MySQL target, and by a bare redis-py pipeline.

All take their messages from a list, so that the broker is not measured. The bare pipeline decodes each message and
writes its row with HSET: no place, no checkpoint, no acknowledgement.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import redis

import lab
from pydbsync.config.settings import settings_from_mapping
from pydbsync.process.worker import follow
from pydbsync.source.memory import MemorySource
from tests.maxwell import Binlog, Step, insert, update
from tests.servers import Endpoint

TABLE = "CREATE TABLE bench.t (id INT PRIMARY KEY, name VARCHAR(60), price DECIMAL(10,2), made DATETIME, v INT)"
QUIET = {"log_file_prefix": "", "prefetch": 65_535}


def messages(rows: int, seed_rows: int) -> list[bytes]:
    """Inserts of `seed_rows` rows, then updates of them by turns, ten a transaction."""
    binlog, found = Binlog(), []

    def row(number: int, version: int) -> dict[str, Any]:
        name = f"somebody called {number:010}"
        return {"id": number, "name": name, "price": number + 0.25, "made": "2030-01-31 12:00:00", "v": version}

    steps: list[Step] = [insert("bench.t", row(number, 0)) for number in range(min(rows, seed_rows))]
    for index in range(len(steps), rows):
        number, version = index % seed_rows, index // seed_rows
        steps.append(update("bench.t", row(number, version), {"v": version - 1}))
    for start in range(0, len(steps), 10):
        found += binlog.transaction(*steps[start : start + 10])
    return found


def through_pydbsync(given: dict[str, Any], bodies: Sequence[bytes]) -> float:
    settings, _ = settings_from_mapping({**QUIET, **given}, require=("db_info",))
    source = MemorySource(bodies)
    log = logging.getLogger("benchmarks.redis")
    began = time.perf_counter()
    follow(settings, source, stop=threading.Event(), send=lambda status: None, log=log, until_drained=True)
    return time.perf_counter() - began


def bare_pipeline(client: Any, bodies: Sequence[bytes]) -> float:
    began = time.perf_counter()
    pipeline = client.pipeline(transaction=False)
    for number, body in enumerate(bodies, start=1):
        data = msgspec.json.decode(body)["data"]
        pipeline.hset(f"t:{data['id']}", mapping=data)
        if number % 500 == 0:
            pipeline.execute()
    pipeline.execute()
    return time.perf_counter() - began


def make_tables(*endpoints: Endpoint) -> None:
    """Anew and empty, at each of them."""
    for endpoint in endpoints:
        endpoint.query("CREATE DATABASE IF NOT EXISTS bench")
        endpoint.query("DROP TABLE IF EXISTS bench.t")
        endpoint.query(TABLE)


def tell(rates: Mapping[str, Sequence[float]], say: Callable[[str], None]) -> None:
    """The median of each contestant, and between what its rounds lay."""
    for name, found in rates.items():
        say(f"{name:42} {statistics.median(found):>10,.0f} changes/s ({min(found):,.0f} to {max(found):,.0f})")


def run(*, rows: int, rounds: int, say: Callable[[str], None]) -> None:
    """Measure by turns, and print the median rates."""
    server = lab.start_redis("bench-redis", options={"appendfsync": "always"})
    source, target = Endpoint.of_lab(lab.up("source")), Endpoint.of_lab(lab.up("target"))
    client: Any = redis.Redis(port=server.port)
    bodies = messages(rows, max(1, rows // 10))
    make_tables(source, target)
    sink = {"type": "redis", "port": server.port, "tables": {"bench.t": {"key": "t:{id}"}}}
    contestants: dict[str, Callable[[], float]] = {
        "pydbsync to Redis (appendfsync always)": lambda: through_pydbsync(
            {"sink": sink, "source_db_info": source.db_info}, bodies
        ),
        "pydbsync to Redis (durability memory)": lambda: through_pydbsync(
            {"sink": {**sink, "durability": "memory"}, "source_db_info": source.db_info}, bodies
        ),
        "a bare redis-py pipeline of HSET": lambda: bare_pipeline(client, bodies),
        "pydbsync to MariaDB": lambda: through_pydbsync({"db_info": target.db_info}, bodies),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            client.flushall()
            client.config_set("appendfsync", "always" if "always" in name else "everysec")
            target.query("TRUNCATE TABLE bench.t")
            target.query("DROP DATABASE IF EXISTS pydbsync")
            rates[name].append(rows / contestant())
            if "MariaDB" not in name:
                _check(client, rows)
    tell(rates, say)
    server.stop()


def _check(client: Any, rows: int) -> None:
    count = max(1, rows // 10)
    keys = [f"t:{number}" for number in (0, count - 1)]
    versions = [(rows - 1 - number) // count for number in (0, count - 1)]
    found = [int(client.hget(key, "v")) for key in keys]
    assert found == versions, f"{found} in Redis, {versions} expected"
