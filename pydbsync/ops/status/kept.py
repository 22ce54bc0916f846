"""What a sink keeps of each stream, for status: its place, its owner, its pauses, and what is parked."""

from __future__ import annotations

import datetime as dt
import logging
import time

from pydbsync.config.settings import Settings
from pydbsync.ops.parked_counts import counted
from pydbsync.ops.sink_desk import open_keeps
from pydbsync.ops.status.facts import ParkedGroup, Place, Queue
from pydbsync.sinks.keep import Keep, KeptChange
from pydbsync.work import StreamState


def read_kept_queues(settings: Settings, log: logging.Logger) -> list[Queue]:
    """The queues of the configuration. Raises ConfigError, TransientError."""
    queues = {queue.stream: queue.queue for queue in settings.queues}
    every = open_keeps(settings, log)
    try:
        return [_queue(stream, queues.get(stream, stream), parts.keep) for stream, parts in every.items()]
    finally:
        for parts in every.values():
            parts.keep.close()
            parts.writer.close()


def _queue(stream: str, name: str, keep: Keep) -> Queue:
    state = keep.peek()
    is_owned = keep.is_locked()
    owner = keep.holder() if is_owned else ""
    whole = [each for each in keep.pauses() if not each.schema_changes_of]
    return Queue(
        stream=stream, queue=name, is_configured=True, is_owned=is_owned, has_figures=False,
        place=_place(state, owner, keep.changed_at()) if state is not None else None,
        parked=_groups([kept for kept in keep.parked() if kept.status == "parked"]),
        paused=f"{stream} {whole[0]}" if whole else "",
    )  # fmt: skip


def _place(state: StreamState, owner: str, changed_at: float | None) -> Place:
    checkpoint, now = state.checkpoint, time.time()
    return Place(
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
        for each in counted(rows, ("table", "code", "reason"))
    ]  # fmt: skip
