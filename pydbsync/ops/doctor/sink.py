"""Where the target is a sink: whether it can be reached or written, and what it keeps of the streams."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydbsync.config.sinks import NdjsonSettings, OwnSinkSettings, RedisSettings, for_stream
from pydbsync.errors import ConfigError, TransientError
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.sinks.desk import open_keeps
from pydbsync.ops.status.kept import read_kept
from pydbsync.ops.words import counted

_LOG = logging.getLogger("pydbsync.doctor")


def check_sink(exam: Examination) -> Iterator[Finding]:
    """The sink takes what is written."""
    sink = exam.settings.sink
    if sink is None:
        return
    if isinstance(sink, NdjsonSettings):
        for queue in exam.settings.queues:
            if sink.path != "-":
                yield _file(Path(for_stream(sink.path, queue.stream)))
        return
    try:
        for parts in open_keeps(exam.settings, _LOG).values():
            parts.keep.close()
            parts.writer.close()
        found = list(_redis(sink)) if isinstance(sink, RedisSettings) else []
    except (ConfigError, TransientError) as exc:
        yield error("target-connection", f"the sink: {exc}", "correct what the sentence names under `sink`")
        return
    if isinstance(sink, OwnSinkSettings):
        yield unknown("target-connection", f"{sink.type} is found; whether it can write shows when a worker opens it")
    else:
        yield ok("target-connection", f"the sink answers: {sink.address}")
    yield from found


def _redis(sink: RedisSettings) -> Iterator[Finding]:
    """What each server says of itself that would keep it from taking rows, or from keeping them."""
    from pydbsync.sinks.redis.client import RedisClient, translated  # noqa: PLC0415 (redis-py is loaded where it is used)
    from pydbsync.sinks.redis.durability import evicted  # noqa: PLC0415

    client = RedisClient(sink)
    client.open()
    try:
        for name, node in client.nodes().items():
            with translated():
                figures: Mapping[str, Any] = node.info()
            yield from _redis_findings(f"Redis {name}".strip(), sink, figures, evicted(figures))
    finally:
        client.close()


def _redis_findings(where: str, sink: RedisSettings, figures: Mapping[str, Any], evicted: str) -> Iterator[Finding]:
    if figures.get("role") != "master":
        yield error(
            "target-writable", f"{where} is a replica, and takes no rows", "name its master, or ask sentinels for it"
            " (`sink.sentinel`)",
        )  # fmt: skip
    if figures.get("aof_enabled") and figures.get("aof_last_write_status") != "ok":
        yield error(
            "target-writable", f"{where} cannot write its append-only file, and refuses all writes (MISCONF)",
            "make room on its disk, and look into its log",
        )  # fmt: skip
    if figures.get("rdb_last_bgsave_status") != "ok":
        yield warning(
            "target-writable",
            f"{where} could not save its last snapshot: with stop-writes-on-bgsave-error, the default, it refuses all"
            " writes (MISCONF)", "make room on its disk, and look into its log; or `CONFIG SET save \"\"`",
        )  # fmt: skip
    if evicted:
        gone = int(figures.get("evicted_keys", 0))
        yield warning(
            "eviction", f"{evicted} ({where}: {counted(gone, 'key')} removed since it was started)",
            "CONFIG SET maxmemory-policy noeviction",
        )  # fmt: skip
    if not figures.get("aof_enabled") and sink.durability == "auto":
        yield warning(
            "durability", f"{where} keeps no append-only file: what it loses when it ends does not come again",
            "set its appendonly to yes; or `durability: memory`, if `pydbsync repair` follows each of its ends",
        )  # fmt: skip


def check_kept(exam: Examination) -> Iterator[Finding]:
    """Who owns the streams, how far they are, what is paused and parked."""
    if exam.settings.sink is None:
        return
    try:
        queues, _ = read_kept(exam.settings, _LOG)
    except (ConfigError, TransientError) as exc:
        yield unknown("state", f"what the sink keeps cannot be read: {exc}")
        return
    for queue in queues:
        if queue.place is None:
            yield ok("stream", f"{queue.queue} has no checkpoint yet: its first worker begins with what comes")
        else:
            who = f"owned by {queue.place.owner}" if queue.is_owned else "owned by nobody"
            yield ok("stream", f"{queue.queue} stands at {queue.place.position or 'the beginning'}, {who}")
        if queue.paused:
            yield warning("paused", f"{queue.queue} is paused {queue.paused}", f"pydbsync resume {queue.queue}")
        if queue.parked:
            total, first = sum(group.count for group in queue.parked), queue.parked[0]
            yield warning(
                "parked", f"{counted(total, 'change')} of {queue.queue} parked: {first.table}: {first.reason}",
                f"pydbsync parked list --stream {queue.stream}; mend the cause, then pydbsync parked retry",
            )  # fmt: skip


def _file(path: Path) -> Finding:
    place = path if path.exists() else path.absolute().parent
    if os.access(place, os.W_OK):
        return ok("target-connection", f"the file {path} can be written")
    return error(
        "target-connection", f"the file {path} cannot be written", f"give this user the right to write {place}"
    )
