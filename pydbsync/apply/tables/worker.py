"""What a worker is doing, written for everyone to read: the tables `worker`, `worker_minute` and `incident`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.plan.quoting import quote_name

MINUTES_KEPT_DAYS = 7
INCIDENTS_KEPT_DAYS = 30
_GONE_AFTER_S = 60
"""Rows of earlier processes of the same machine are cleared away at a start, when they are as old."""
_TEXT = 16_000


class WorkerRow(msgspec.Struct, kw_only=True):
    """One row of `worker`, by the names of its columns; what ends in `_age_s` is stored as the time that it was.

    None is what is not known.
    """

    queue: str
    pydbsync_version: str
    state: str
    every_s: float
    epoch: int | None = None
    """Of the ownership that this process holds; None for one that stands by."""
    busy_s: float | None = None
    """How long the worker has been at one thing, such as a statement of the target."""
    applied: int = 0
    transactions: int = 0
    schema_changes: int = 0
    duplicates: int = 0
    redelivered: int = 0
    new_streams: int = 0
    gaps: int = 0
    parked: int = 0
    """Since this process started, as all counters."""
    parked_now: int | None = None
    rows_per_s: float | None = None
    """Over the last seconds."""
    messages_per_s: float | None = None
    """Messages that were done with."""
    arriving_per_s: float | None = None
    """Messages that came into the queue."""
    depth: int | None = None
    """Messages that wait in the queue."""
    held: int | None = None
    """Messages that were taken in and are not committed."""
    level_s: float | None = None
    """When the queue is empty if it goes on like this; None where it does not get shorter."""
    newest_ts: int | None = None
    """Of the newest change that was committed, by the source's clock."""
    lag_s: float | None = None
    published_s: float | None = None
    """The parts of the lag of the last batch: from the source's commit to the publishing,"""
    received_s: float | None = None
    """from there, or where that is not known from the source's commit, to the worker,"""
    committed_s: float | None = None
    """and from there to the commit at the target."""
    batch_rows: float | None = None
    batch_s: float | None = None
    """Of the last seconds' batches, on average."""
    heartbeat: int | None = None
    broker_reconnects: int = 0
    target_reconnects: int = 0
    resident_bytes: int | None = None
    last_error: str | None = None
    remedy: str | None = None
    conflict_rule: str | None = None
    """What decides conflicts, for the worker of the other direction; None where nobody looks for any."""
    commit_lag: str | None = None
    """How often a batch was how late since this process started, as JSON: the counts of `LAG_S`, which is in it."""
    state_age_s: float = 0.0
    started_age_s: float = 0.0
    last_error_age_s: float | None = None
    last_commit_age_s: float | None = None
    heartbeat_age_s: float | None = None


_TIMES = {
    "state_age_s": "state_since",
    "started_age_s": "started_at",
    "last_error_age_s": "last_error_at",
    "last_commit_age_s": "last_commit_at",
    "heartbeat_age_s": "heartbeat_at",
}
_FIELDS = WorkerRow.__struct_fields__
_COLUMNS = tuple(_TIMES.get(name, name) for name in _FIELDS)
_VALUES = tuple(
    "CURRENT_TIMESTAMP(6) - INTERVAL %s MICROSECOND" if name in _TIMES else "%s" for name in _FIELDS
)  # fmt: skip


class Minute(NamedTuple):
    """What is kept of some seconds."""

    applied: int
    lag_s: float | None
    depth: int | None
    parked_now: int | None


class Incident(NamedTuple):
    """What somebody should know of later too."""

    kind: str
    """gap, silence, ended or structure."""
    text: str
    remedy: str = ""


class WorkerTable:
    """The rows of one process."""

    def __init__(self, *, schema: str, stream: str, host: str, pid: int) -> None:
        self._worker, self._minute, self._incident = (
            f"{quote_name(schema)}.{quote_name(name)}" for name in ("worker", "worker_minute", "incident")
        )
        self._key = (stream, host[:190], pid)
        columns = ("stream", "host", "pid", *_COLUMNS, "written_at")
        values = ("%s", "%s", "%s", *_VALUES, "CURRENT_TIMESTAMP(6)")
        updates = ", ".join(f"{name} = VALUES({name})" for name in columns[3:])
        self._sql = (
            f"INSERT INTO {self._worker} ({', '.join(columns)}) VALUES ({', '.join(values)})"
            f" ON DUPLICATE KEY UPDATE {updates}"
        )

    def write(self, connection: Connection, row: WorkerRow) -> None:
        """Store how it is now. Raises TransientError, PermanentError."""
        found = (_stored(name, getattr(row, name)) for name in _FIELDS)
        connection.run(self._sql, (*self._key, *found))

    def add_minute(self, connection: Connection, minute: Minute) -> None:
        """Add to the present minute's row."""
        connection.run(
            f"INSERT INTO {self._minute} (stream, minute, applied, lag_s, depth, parked_now) VALUES"
            " (%s, CURRENT_TIMESTAMP - INTERVAL SECOND(CURRENT_TIMESTAMP) SECOND, %s, %s, %s, %s)"
            " ON DUPLICATE KEY UPDATE applied = applied + VALUES(applied), parked_now = VALUES(parked_now),"
            " lag_s = GREATEST(COALESCE(lag_s, VALUES(lag_s)), COALESCE(VALUES(lag_s), lag_s)),"
            " depth = GREATEST(COALESCE(depth, VALUES(depth)), COALESCE(VALUES(depth), depth))",
            (self._key[0], *minute),
        )

    def add_incidents(self, connection: Connection, incidents: Iterable[Incident]) -> None:
        """Store what happened."""
        for incident in incidents:
            add_incident(connection, self._incident, self._key[0], incident)

    def clear(self, connection: Connection, *, is_start: bool) -> None:
        """Remove what is too old to be of use, and at a start what earlier processes of this machine have left."""
        stream, host, pid = self._key
        connection.run(
            f"DELETE FROM {self._worker} WHERE stream = %s AND written_at < CURRENT_TIMESTAMP - INTERVAL 1 DAY",
            (stream,),
        )
        if is_start:
            connection.run(
                f"DELETE FROM {self._worker} WHERE stream = %s AND host = %s AND pid <> %s"
                f" AND written_at < CURRENT_TIMESTAMP - INTERVAL {_GONE_AFTER_S} SECOND",
                (stream, host, pid),
            )
        connection.run(
            f"DELETE FROM {self._minute} WHERE stream = %s"
            f" AND minute < CURRENT_TIMESTAMP - INTERVAL {MINUTES_KEPT_DAYS} DAY",
            (stream,),
        )
        connection.run(
            f"DELETE FROM {self._incident} WHERE stream = %s"
            f" AND happened_at < CURRENT_TIMESTAMP - INTERVAL {INCIDENTS_KEPT_DAYS} DAY",
            (stream,),
        )


def add_incident(connection: Connection, table: str, stream: str, incident: Incident) -> None:
    """Store what happened; `table` is the quoted name of `incident`."""
    connection.run(
        f"INSERT INTO {table} (stream, kind, text, remedy) VALUES (%s, %s, %s, %s)",
        (stream, incident.kind, incident.text[:_TEXT], incident.remedy[:_TEXT]),
    )


def _stored(name: str, value: object) -> object:
    if name in _TIMES and isinstance(value, int | float):
        return round(value * 1e6)
    return value[:_TEXT] if isinstance(value, str) else value
