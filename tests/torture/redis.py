"""The torture of the sink `redis`: workers, Redis and the broker are killed, old changes are written out of order by
somebody else meanwhile, and a watcher looks at each key all the time. In the end Redis is equal to MySQL."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

import lab
from tests.integration.redis_sink import connect, parts_of
from tests.processes import wait_for
from tests.torture.sinks import (
    LAST_ROW,
    QUEUE,
    SETTLE_S,
    Busy,
    Overhearer,
    Result,
    Rig,
    Writer,
    freeze_worker,
    kill_broker,
    kill_supervisor,
    kill_worker,
    run_faults,
    unequal_rows,
    write_last_row,
)

TABLES: dict[str, Any] = {
    "shop.t": {"key": "t:{a}:{b}"},
    "shop.j": {"key": "j:{a}:{b}", "as": "json", "changes": "changes"},
}


class RedisRig(Rig):
    """With a Redis."""

    name = "torture-redis"

    def __init__(self, folder: Path, opened: contextlib.ExitStack, seed: int) -> None:
        super().__init__(folder, opened, seed)
        self.policy = "everysec"
        self.redis = lab.start_redis("torture-redis", options={"appendfsync": self.policy})
        opened.callback(self.redis.stop, timeout_s=0)
        connect(self.redis).flushall()
        sink = {"type": "redis", "port": self.redis.port, "tables": TABLES, "timeout_s": 2, "durability": "aof"}
        self.write_config(sink)

    def restart_redis(self) -> None:
        self.redis.kill()
        self.policy = self.chance.choice(("everysec", "always"))
        self.redis = lab.start_redis("torture-redis", options={"appendfsync": self.policy})


class Watcher(Busy):
    """Looks at all keys: what is there is never older than what was there, in one life of Redis."""

    def __init__(self, rig: RedisRig, result: Result) -> None:
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


def kill_redis(rig: RedisRig) -> None:
    rig.restart_redis()


def freeze_redis(rig: RedisRig) -> None:
    rig.redis.freeze()
    time.sleep(rig.chance.choice((0.2, 3.0)))
    rig.redis.thaw()


FAULTS: dict[str, tuple[Callable[[RedisRig], None], int]] = {
    "worker killed": (kill_worker, 5),
    "supervisor killed": (kill_supervisor, 3),
    "worker frozen": (freeze_worker, 3),
    "redis killed": (kill_redis, 5),
    "redis frozen": (freeze_redis, 3),
    "broker killed": (kill_broker, 1),
}


def torture(folder: Path, *, faults: int, seed: int, say: Callable[[str], None] = lambda text: None) -> Result:
    """Run `faults` random faults, let all come to rest, compare."""
    result, began_at = Result("Redis"), time.monotonic()
    with contextlib.ExitStack() as opened:
        rig = RedisRig(folder, opened, seed)
        others = Watcher(rig, result), Overhearer(rig, result, seed, parts_of)
        threads: list[Busy] = [Writer(rig, result, seed), *others]

        def wait_now_and_then(number: int) -> None:
            if number % 4 == 0:
                _wait_for_progress(rig)

        run_faults(
            result, rig, threads, FAULTS, faults=faults, seed=seed, say=say,
            has_begun=lambda: values_in(connect(rig.redis)), after=wait_now_and_then,
            come_to_rest=lambda: _come_to_rest(rig),
        )  # fmt: skip
        result.differences = list(_differences(rig))
        result.keys = len(values_in(connect(rig.redis)))
    result.seconds = time.monotonic() - began_at
    return result


def _newest(rig: RedisRig) -> int:
    with contextlib.suppress(redis.RedisError):
        return max(values_in(connect(rig.redis)).values(), default=0)
    return 0


def _wait_for_progress(rig: RedisRig) -> None:
    (goal,) = rig.source.query("SELECT MAX(v) FROM shop.t")[0]

    def has_come() -> bool:
        rig.ensure_supervisors()
        return _newest(rig) >= int(goal or 0)

    wait_for(has_come, what="what was written before", timeout_s=SETTLE_S)


def _come_to_rest(rig: RedisRig) -> None:
    write_last_row(rig)

    def has_come() -> bool:
        rig.ensure_supervisors()
        with contextlib.suppress(redis.RedisError):
            return bool(connect(rig.redis).exists(f"j:{LAST_ROW}:{LAST_ROW}")) and rig.vhost.depth(QUEUE) == 0
        return False

    wait_for(has_come, what="the last row", timeout_s=SETTLE_S)


def _differences(rig: RedisRig) -> Iterator[str]:
    found = values_in(connect(rig.redis))
    wanted = {
        f"{name}:{a}:{b}": int(v) for name in "tj" for a, b, v in rig.source.query(f"SELECT a, b, v FROM shop.{name}")
    }
    yield from unequal_rows(found, wanted, product="Redis")
    client = connect(rig.redis)
    places = [entry[b"place"] for _, entry in client.xrange("changes")]
    if places != sorted(set(places)):
        yield f"the stream of changes: {len(places)} entries, {len(set(places))} places, not each once and in order"
    yield from (f"parked: {value!r}" for value in client.hgetall("pydbsync:{shop}:parked").values())
