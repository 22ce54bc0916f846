"""Capture and replay of a direction: kept still, started and ended.

A direction is kept still by the table `pause` of its target, which each of its workers obeys, those too that are
started later. Its processes are the operator's (hooks), or our own, which go on when we end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pika

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.operator_audit import actor_here
from pydbsync.apply.tables.pause import PauseTable
from pydbsync.apply.tables.progress import FRESH
from pydbsync.errors import ApplyError
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.proc import arguments, stat_fields
from pydbsync.ops.cutover.work import CutoverWork, Direction, StepFailed
from pydbsync.plan.quoting import quote_name
from pydbsync.source.connection import connection_name, connection_parameters

LOOK_S = 0.1
FOLLOWING = frozenset({"following", "stalled"})
"""A worker that follows its queue; stalled is one to which no heartbeat has come for a while."""
_MISSING = (1049, 1146)
_CAPTURE_LOCK = "LEFT(CONCAT('pydbsync capture ', %s, ' ', %s), 64)"
"""As capture's own state in tables takes it."""


class Running(NamedTuple):
    """A process that writes into the state schema what it does."""

    kind: str
    name: str
    host: str
    pid: int
    state: str

    @property
    def is_following(self) -> bool:
        """A worker that applies what comes."""
        return self.kind == "worker" and self.state in FOLLOWING

    def __str__(self) -> str:
        return f"{self.kind} {self.name} (pid {self.pid} on {self.host})"


def running(connection: Connection, way: Direction) -> list[Running]:
    """The workers and captures of a direction that have written lately, as its target knows them."""
    schema = quote_name(way.settings.state_schema)
    streams = tuple(queue.stream for queue in way.settings.queues) or ("",)
    found: list[Running] = []
    for kind, sql, parameters in (
        ("worker", f"SELECT stream, host, pid, state FROM {schema}.worker WHERE stream IN %s AND state <> 'stopped'"
                   f" AND {FRESH}", (streams,)),
        ("capture", f"SELECT name, host, pid, state FROM {schema}.task WHERE kind = 'capture' AND ended_at IS NULL"
                    f" AND {FRESH}", ()),
    ):  # fmt: skip
        try:
            found += [Running(kind, name, host, int(pid), state) for name, host, pid, state in
                      connection.rows(sql, parameters)]  # fmt: skip
        except ApplyError as exc:
            if exc.code not in _MISSING:
                raise
    return found


def keep_still(work: CutoverWork, way: Direction) -> None:
    """Have no worker of the direction write any more, and wait until each has obeyed."""
    target = work.servers(way).target
    table = PauseTable(way.settings.state_schema)
    for queue in way.settings.queues:
        target.call(
            lambda connection, stream=queue.stream: table.add(  # type: ignore[misc]
                connection, stream, "", actor=actor_here(), reason=_reason(work, way)
            )
        )
    for queue in way.settings.queues:
        row = CheckpointRow(schema=way.settings.state_schema, stream=queue.stream)
        while target.call(row.is_locked):
            states = {each.state for each in target.call(lambda connection: running(connection, way))
                      if each.kind == "worker" and each.name == queue.stream}  # fmt: skip
            if "paused" in states and not states & FOLLOWING:
                break
            work.wait(LOOK_S)


def let_go_on(work: CutoverWork, way: Direction) -> None:
    """End our pauses of the direction; those of an operator stay."""
    table = PauseTable(way.settings.state_schema)
    streams = {queue.stream for queue in way.settings.queues}

    def remove(connection: Connection) -> None:
        for pause in table.all(connection):
            if pause.stream in streams and not pause.schema_changes_of and pause.reason == _reason(work, way):
                table.remove(connection, pause.stream, "", actor=actor_here())

    work.servers(way).target.call(remove)


def _reason(work: CutoverWork, way: Direction) -> str:
    return f"the direction {way.name} of the plan {work.plan.name} is over"


def empty_queues(way: Direction) -> int:
    """Remove what waits in the direction's queues, and say how many. All of it lies before the place where its capture
    begins now, at which both servers were found equal."""
    removed = 0
    connection = pika.BlockingConnection(connection_parameters(way.settings.amqp, name=connection_name("cutover")))
    try:
        for queue in way.settings.queues:
            with suppress(pika.exceptions.ChannelClosedByBroker):  # it is not there yet
                channel = connection.channel()
                removed += int(channel.queue_purge(queue.queue).method.message_count)
                channel.close()
    except (pika.exceptions.AMQPError, OSError) as exc:
        raise StepFailed(f"RabbitMQ cannot be asked to empty the queues of {way.name}: {exc}") from exc
    finally:
        with suppress(pika.exceptions.AMQPError, OSError):
            connection.close()
    return removed


def capture_name(work: CutoverWork, way: Direction) -> str:
    """Of the capture that we start: another one each run, since each begins anew."""
    return f"{way.name}-{work.row.id}-{zlib.crc32(work.plan.name.encode()):08x}"


def forget_capture(work: CutoverWork, way: Direction) -> None:
    """A state of this name would have capture go on where that one was, and not begin where it has to: what the other
    direction wrote in between would come back to where it was written."""
    target, name = work.servers(way).target, capture_name(work, way)
    for table in ("capture_place", "capture_schema"):
        sql = f"DELETE FROM {quote_name(way.settings.state_schema)}.{table} WHERE name = %s"
        try:
            target.call(lambda connection, sql=sql: connection.run(sql, (name,)))  # type: ignore[misc]
        except ApplyError as exc:
            if exc.code not in _MISSING:
                raise


def start_replay(work: CutoverWork, way: Direction) -> None:
    """Have workers follow the direction's queues, unless they do; returns when they do."""
    target = work.servers(way).target
    streams = [CheckpointRow(schema=way.settings.state_schema, stream=each.stream) for each in way.settings.queues]
    if not all(target.call(row.is_locked) for row in streams):
        _spawn(work, way, "run")
    wait_for_workers(work, way)


def start(work: CutoverWork, way: Direction, place: str) -> None:
    """Capture from `place` on, and replay; those that run are left alone. Returns when both are at work."""
    if work.plan.hooks.start:
        run_hook(
            work, "start", work.plan.hooks.start, way=way,
            more={"PYDBSYNC_START": place, "PYDBSYNC_CAPTURE_NAME": capture_name(work, way)},
        )  # fmt: skip
        wait_for_workers(work, way)
    else:
        start_replay(work, way)
        _start_capture(work, way, place)


def wait_for_workers(work: CutoverWork, way: Direction) -> None:
    """Until a worker follows each queue of the direction."""
    target = work.servers(way).target
    missing = {queue.stream for queue in way.settings.queues}
    while missing:
        found = target.call(lambda connection: running(connection, way))
        missing -= {each.name for each in found if each.is_following}
        if missing:
            work.waits_for = f"no worker of {way.name} follows {', '.join(sorted(missing))} yet"
            work.wait(LOOK_S)


def _start_capture(work: CutoverWork, way: Direction, place: str) -> None:
    name, schema = capture_name(work, way), way.settings.state_schema
    target = work.servers(way).target
    if target.value(f"SELECT IS_USED_LOCK({_CAPTURE_LOCK})", (schema, name)) is None:
        bundle = ["--bundle", "--routing-key", "%db%"] if work.plan.bundle else []
        _spawn(work, way, "capture", "--state", "target", "--name", name, "--start", place, *bundle)
    while True:
        with suppress(ApplyError):
            held = target.value(f"SELECT IS_USED_LOCK({_CAPTURE_LOCK})", (schema, name))
            if held is not None and target.rows(
                f"SELECT 1 FROM {quote_name(schema)}.capture_place WHERE name = %s", (name,)
            ):
                return
        work.waits_for = f"capture {name} has not begun; what it says stands beside the plan"
        work.wait(LOOK_S)


def assert_capturing(work: CutoverWork, way: Direction) -> None:
    """Raises StepFailed with what it said where the capture that we have started has ended: it would be waited for in
    vain."""
    if work.plan.hooks.start:
        return
    name, schema = capture_name(work, way), way.settings.state_schema
    if work.servers(way).target.value(f"SELECT IS_USED_LOCK({_CAPTURE_LOCK})", (schema, name)) is not None:
        return
    log = _log_of(work, way, "capture")
    try:
        said = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    except OSError:
        said = "nothing"
    raise StepFailed(f"capture {name} has ended; the last that {log} says: {said[-1000:]}")


def _log_of(work: CutoverWork, way: Direction, command: str) -> Path:
    return Path(work.plan.log_folder) / f"{work.plan.name}-{way.name}-{command}.log"


def _spawn(work: CutoverWork, way: Direction, *arguments: str) -> None:
    """A process that outlives us, with what it says in a file of the plan's log folder."""
    command, *options = arguments
    log = _log_of(work, way, command)
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "pydbsync", command, "--config", str(way.config), *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
    except OSError as exc:
        raise StepFailed(f"`pydbsync {command}` cannot be started with its output in {log}: {exc}") from exc
    process.returncode = 0  # it outlives this object; without this, Popen warns of a child still running


def end(work: CutoverWork, way: Direction) -> str:
    """End capture and replay of a direction. Raises StepFailed for what runs on another machine and has no hook."""
    if work.plan.hooks.stop:
        run_hook(work, "stop", work.plan.hooks.stop, way=way)
    target = work.servers(way).target
    told: set[int] = set()
    count = 0
    while left := target.call(lambda connection: list(_at_work(connection, way))):
        elsewhere = [each for each in left if each.host != socket.gethostname()]
        if elsewhere and not work.plan.hooks.stop:
            raise StepFailed(
                f"{elsewhere[0]} runs on another machine: end it there, or give the plan the hooks start and stop"
            )
        for each in left if not work.plan.hooks.stop else ():
            pid = _owner(each.pid)
            if pid is not None and pid not in told:
                told.add(pid)
                count += 1
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)
        work.waits_for = f"{left[0]} has not ended"
        work.wait(LOOK_S)
    return f"capture and replay of {way.name} have ended ({count} processes)" if count else (
        f"no capture and no replay of {way.name} is at work"
    )  # fmt: skip


def _at_work(connection: Connection, way: Direction) -> Iterator[Running]:
    """Those whose lock is held or whose process is there; a row alone may be that of one that was killed."""
    for each in running(connection, way):
        if each.host == socket.gethostname() and _owner(each.pid) is None:
            continue
        yield each


def _owner(pid: int) -> int | None:
    """The process to be told that a worker or a capture is to end: its supervisor, or itself. None where it is gone."""
    if _is_ours(pid):
        return pid
    parent = _parent(pid)
    while parent > 1 and _is_fork_server(parent):
        parent = _parent(parent)
    return parent if _is_ours(parent) else None


def _is_ours(pid: int) -> bool:
    words = arguments(pid)
    scripts = {Path(word).name for word in words[:2]}
    return bool(scripts & {"pydbsync", "mysql_sync.py", "binlog_consumer.py"}) or any(
        pair == ("-m", "pydbsync") for pair in pairwise(words)
    )


def _is_fork_server(pid: int) -> bool:
    return any("multiprocessing" in word for word in arguments(pid))


def _parent(pid: int) -> int:
    fields = stat_fields(pid)
    return int(fields[1]) if fields else 0
