"""What a sink keeps of each stream, for status: its place, its owner, its pauses, what is parked, and what its worker
tells of itself."""

from __future__ import annotations

import datetime as dt
import logging
import time

from pydbsync.apply.tables.worker import WorkerRow
from pydbsync.config.settings import Settings
from pydbsync.ops.parked.counts import counts_by
from pydbsync.ops.sinks.desk import open_keeps
from pydbsync.ops.status.facts import Gap, ParkedGroup, Process, Queue, Reached, TaskRun
from pydbsync.sinks.keep import Keep, KeptChange
from pydbsync.sinks.notes import TaskNote, WorkerNote, read_incidents, read_tasks, read_workers
from pydbsync.work import StreamState

_INCIDENT_DAYS = 7
_TASK_DAYS = 2
_CLOCKS_S = 1.0
"""So much the clocks of two machines may differ unnoticed."""
_LOOK_S, _LONGEST_LOOK_S = 0.2, 3.0


def read_kept(settings: Settings, log: logging.Logger) -> tuple[list[Queue], list[TaskRun]]:
    """The queues of the configuration, and how tools have ended lately. Raises ConfigError, TransientError."""
    queues = {queue.stream: queue.queue for queue in settings.queues}
    every = open_keeps(settings, log)
    try:
        found = [_queue(stream, queues.get(stream, stream), parts.keep) for stream, parts in every.items()]
        tasks: dict[str, TaskNote] = {}
        for parts in every.values():
            tasks |= {each.kind: each for each in read_tasks(parts.keep)}
        now = time.time()
        return found, [_task(each, now) for each in tasks.values() if now - each.ended_at < _TASK_DAYS * 86_400]
    finally:
        for parts in every.values():
            parts.keep.close()
            parts.writer.close()


def _queue(stream: str, name: str, keep: Keep) -> Queue:
    state = keep.peek()
    is_owned = keep.is_locked()
    owner = keep.holder() if is_owned else ""
    pauses = keep.pauses()
    now = time.time()
    queue = Queue(
        stream=stream, queue=name, is_configured=True, is_owned=is_owned, lock_lasts_s=keep.lock_lasts_s,
        place=_place(state, owner, keep.changed_at()) if state is not None else None,
        parked=_groups([kept for kept in keep.parked() if kept.status == "parked"] if keep.parked_count() else []),
        paused=next((f"{stream} {each}" for each in pauses if not each.schema_changes_of), ""),
        paused_ddl=[f"the schema changes of {each.schema_changes_of} {each}" for each in pauses
                    if each.schema_changes_of],
        incidents=[Gap(each.kind, each.text, each.remedy, max(0.0, now - each.at))
                   for each in reversed(read_incidents(keep)) if now - each.at < _INCIDENT_DAYS * 86_400],
    )  # fmt: skip
    _read_workers(queue, keep)
    return queue


def _task(note: TaskNote, now: float) -> TaskRun:
    ended_s, started_s = max(0.0, now - note.ended_at), max(0.0, now - note.started_at)
    return TaskRun(
        id=0, kind=note.kind, name="", host=note.host, pid=note.pid, state="done", state_s=ended_s,
        started_s=started_s, written_s=ended_s, every_s=1.0, done=note.done, total=None, unit="rows", per_s=None,
        detail=None, result=note.result, last_error=None, exit_code=note.exit_code, is_over=True,
    )  # fmt: skip


def _read_workers(queue: Queue, keep: Keep) -> None:
    worker, stand_by = (_process(keep, note, which) for which, note in enumerate(read_workers(keep)))
    if worker is not None and stand_by is not None and (worker.host, worker.pid) == (stand_by.host, stand_by.pid):
        stand_by = None  # it has become the owner since
    if stand_by is not None and stand_by.is_fresh and stand_by.state != "stopped":
        if stand_by.state == "standing by":
            queue.stand_by = [stand_by]
        elif worker is None or not worker.is_fresh:
            worker = stand_by  # it has begun, and owns nothing yet
    if worker is not None and worker.state == "stopped" and queue.is_owned:
        worker = None  # whoever owns the stream now writes no figures
    queue.worker = worker
    queue.has_figures = worker is not None


def _process(keep: Keep, note: WorkerNote | None, which: int) -> Process | None:
    if note is None:
        return None
    row, age_s = note.row, time.time() - note.at
    if not -_CLOCKS_S < age_s <= _fresh_s(row) and row.state != "stopped":
        # Long ago, or later than now, by a clock that may be wrong: one that is written again is of now.
        ends_at = time.monotonic() + min(_LONGEST_LOOK_S, 2 * row.every_s)
        while time.monotonic() < ends_at:
            time.sleep(_LOOK_S)
            newer = read_workers(keep)[which]
            if newer is not None and newer.at != note.at:
                row, age_s = newer.row, 0.0
                break
    age_s = max(0.0, age_s)

    def since(then_s: float | None) -> float | None:
        return None if then_s is None else then_s + age_s

    figures = {name: getattr(row, name) for name in row.__struct_fields__ if name not in _OWN}
    figures |= {"last_commit_at_s": since(row.last_commit_age_s), "heartbeat_at_s": since(row.heartbeat_age_s)}
    return Process(
        host=note.host, pid=note.pid, pydbsync_version=row.pydbsync_version, state=row.state,
        state_s=row.state_age_s + age_s, written_s=age_s, every_s=row.every_s, figures=figures,
        last_error=row.last_error, last_error_s=since(row.last_error_age_s), remedy=row.remedy,
    )  # fmt: skip


def _fresh_s(row: WorkerRow) -> float:
    return max(2.0, 10 * row.every_s)


_OWN = frozenset({
    "queue", "pydbsync_version", "state", "every_s", "last_error", "remedy", "state_age_s", "started_age_s",
    "last_error_age_s", "last_commit_age_s", "heartbeat_age_s",
})  # fmt: skip


def _place(state: StreamState, owner: str, changed_at: float | None) -> Reached:
    checkpoint, now = state.checkpoint, time.time()
    return Reached(
        position=checkpoint.position(), gtid=checkpoint.open_gtid or checkpoint.gtids[-200:],
        newest_s=max(0.0, now - checkpoint.newest_ts) if checkpoint.newest_ts else None, applied=state.applied,
        duplicates=state.duplicates, owner=owner, epoch=state.epoch,
        changed_s=None if changed_at is None else max(0.0, now - changed_at),
    )  # fmt: skip


def _groups(parked: list[KeptChange]) -> list[ParkedGroup]:
    def time_of(at: float) -> dt.datetime:
        return dt.datetime.fromtimestamp(at, dt.timezone.utc)

    rows = []
    for kept in parked:
        change = kept.change
        waits, at = change.behind is not None, time_of(kept.parked_at)
        rows.append(("", *change.source, change.kind, change.code, change.reason, waits, 1, kept.id, at))
    now = time_of(time.time())
    return [
        ParkedGroup(
            count=each.count, table=each.table, code=each.code or 0, reason=each.reason, first_id=each.first_id,
            oldest_s=max(0.0, (now - each.oldest).total_seconds()), waits=each.waiting == each.count,
        )
        for each in counts_by(rows, ("table", "code", "reason"))
    ]  # fmt: skip
