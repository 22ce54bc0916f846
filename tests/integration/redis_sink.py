"""The sink `redis` in this process: a real Redis, a real source for the types, deliveries from a list."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import redis

import lab
from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.config.sinks import RedisSettings
from pydbsync.engine.table_plans import router_from
from pydbsync.process.status import WorkerStatus
from pydbsync.process.worker import follow
from pydbsync.sinks.redis.make import RedisParts, redis_parts
from pydbsync.source.memory import MemorySource
from tests.servers import Endpoint

LOG = logging.getLogger("tests.redis")


def settings_for(server: lab.Redis, source: Endpoint, tables: Mapping[str, Any], **options: Any) -> Settings:
    """Options of the sink have their names; those of the run begin with `run_`."""
    sink = {"type": "redis", "port": server.port, "tables": tables}
    sink |= {name: value for name, value in options.items() if not name.startswith("run_")}
    given: dict[str, Any] = {"sink": sink, "source_db_info": source.db_info, "log_file_prefix": ""}
    given |= {"retry": {"first_s": 0.01, "max_s": 0.1}}
    given |= {name[4:]: value for name, value in options.items() if name.startswith("run_")}
    return settings_from_mapping(given, require=("db_info",))[0]


def run(settings: Settings, bodies: Iterable[bytes], *, stream: str = "memory", block: int = 1000) -> WorkerStatus:
    """Follow until drained: all is acknowledged then."""
    source = MemorySource(bodies, stream=stream, block=block)
    status = follow(settings, source, stop=threading.Event(), send=lambda status: None, log=LOG, until_drained=True)
    assert source.depth() == 0
    return status


def parts_of(settings: Settings, *, stream: str = "memory") -> RedisParts:
    """The sink by itself, connected."""
    assert isinstance(settings.sink, RedisSettings)
    parts = redis_parts(settings, settings.sink, router_from(settings), stream, log=LOG)
    parts.writer.open()
    return parts


def rows_in(client: Any) -> dict[str, Any]:
    """All keys but pydbsync's own, as texts."""
    found: dict[str, Any] = {}
    for key in client.scan_iter(count=1000):
        name = key.decode()
        if not name.startswith("pydbsync:"):
            kind = client.type(key)
            if kind == b"hash":
                found[name] = {field.decode(): _text(value) for field, value in client.hgetall(key).items()}
            elif kind == b"string":
                found[name] = _text(client.get(key))
            elif kind == b"stream":
                found[name] = [{a.decode(): _text(b) for a, b in entry.items()} for _, entry in client.xrange(key)]
    return found


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def connect(server: lab.Redis) -> Any:
    """A client of redis-py, half of which has no types."""
    return redis.Redis(port=server.port, socket_timeout=10)
