"""The sink `redis` in this process: a real Redis, a real source for the types, deliveries from a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

import lab
from pydbsync.config.settings import Settings
from pydbsync.config.sinks import RedisSettings
from pydbsync.engine.routing import router_from
from pydbsync.sinks.redis.make import RedisParts, redis_parts
from tests.integration.sink_runs import LOG, sink_settings
from tests.servers import Endpoint


def settings_for(server: lab.Redis, source: Endpoint, tables: Mapping[str, Any], **options: Any) -> Settings:
    """As `sink_settings`."""
    return sink_settings({"type": "redis", "port": server.port, "tables": tables}, source, options)


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
