"""Makes the parts of the sink `redis`."""

from __future__ import annotations

import logging
from typing import NamedTuple

from pydbsync.config.settings import Settings
from pydbsync.config.sinks import RedisSettings
from pydbsync.route.router import Router
from pydbsync.sinks.redis.client import RedisClient
from pydbsync.sinks.redis.durability import Durability
from pydbsync.sinks.redis.keep import RedisKeep
from pydbsync.sinks.redis.shapes import RedisShapes
from pydbsync.sinks.redis.writer import RedisSink
from pydbsync.sinks.source_tables import SourceTables


class RedisParts(NamedTuple):
    """They share one connection to Redis, and one to the source."""

    tables: SourceTables
    client: RedisClient
    shapes: RedisShapes
    writer: RedisSink
    keep: RedisKeep
    durability: Durability


def redis_parts(
    settings: Settings, sink: RedisSettings, router: Router, stream: str, *, log: logging.Logger
) -> RedisParts:
    """Nothing is connected yet. Raises ConfigError."""
    client = RedisClient(sink)
    tables = SourceTables(settings, router)
    shapes = RedisShapes(sink, tables.routed)
    durability = Durability(sink, client, log=log)
    writer = RedisSink(sink, client, shapes, durability, log=log)
    keep = RedisKeep(sink, client, stream=stream, lock_s=settings.lock_timeout_s)
    return RedisParts(tables, client, shapes, writer, keep, durability)
