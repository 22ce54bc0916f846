"""The last hours of each queue, read from what its workers kept of each minute."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError
from pydbsync.plan.quoting import quote_name

HOURS: Final = (1, 6, 24, 168)
_BARS: Final = 180
"""At most so many are drawn; minutes are put together until they fit."""
_MISSING: Final = (1049, 1146)


class HistoryStep(msgspec.Struct):
    """One or several minutes of one queue; None where nothing was written."""

    at: float
    """Its beginning, in seconds since 1970."""
    applied: int | None = None
    lag_s: float | None = None
    """The highest."""


class History(msgspec.Struct):
    """Of one queue, the oldest first and without holes."""

    stream: str
    step_s: int
    steps: list[HistoryStep]

    @property
    def is_empty(self) -> bool:
        """Whether no worker has written anything."""
        return all(step.applied is None for step in self.steps)


def read_history(connection: Connection, schema: str, *, hours: int) -> dict[str, History]:
    """By stream. Raises TransientError, PermanentError."""
    size_s = 60 * math.ceil(hours * 60 / _BARS)
    name = quote_name(schema)
    try:
        now = float(connection.value("SELECT UNIX_TIMESTAMP(CURRENT_TIMESTAMP)"))
        rows = connection.rows(
            f"SELECT stream, FLOOR(UNIX_TIMESTAMP(minute) / {size_s}) AS step, SUM(applied), MAX(lag_s)"
            f" FROM {name}.`worker_minute` WHERE minute > CURRENT_TIMESTAMP - INTERVAL {int(hours)} HOUR"
            " GROUP BY stream, step"
        )
    except PermanentError as exc:
        if exc.code in _MISSING:
            return {}
        raise
    minutes = ((str(stream), float(step) * size_s, applied, lag_s) for stream, step, applied, lag_s in rows)
    return history_of(minutes, hours=hours, now=now)


def history_of(
    minutes: Iterable[tuple[str, float, int, float | None]], *, hours: int, now: float
) -> dict[str, History]:
    """(stream, beginning, rows applied, highest lag) of some minutes → the last hours, by stream."""
    size_s = 60 * math.ceil(hours * 60 / _BARS)
    last = int(now // size_s)
    count = math.ceil(hours * 3600 / size_s)
    found: dict[str, History] = {}
    for stream, at, applied, lag_s in minutes:
        history = found.get(stream)
        if history is None:
            steps = [HistoryStep(at=float(number * size_s)) for number in range(last - count + 1, last + 1)]
            history = found[stream] = History(stream, size_s, steps)
        index = int(at // size_s) - (last - count + 1)
        if 0 <= index < count:
            step = history.steps[index]
            step.applied = (step.applied or 0) + int(applied)
            if lag_s is not None:
                step.lag_s = max(float(lag_s), step.lag_s or 0.0)
    return found
