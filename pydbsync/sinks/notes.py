"""What the worker of a sink tells of itself, kept beside the state of its stream: its figures, the minutes of the last
days, gaps and errors; as the tables `worker`, `worker_minute` and `incident` have them for a MySQL target."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from pydbsync.apply.tables.worker import INCIDENTS_KEPT_DAYS, MINUTES_KEPT_DAYS, Incident, Minute, WorkerRow

WORKER: Final = "worker"
STAND_BY: Final = "stand-by"
"""The last one that has written of those that own nothing."""
_INCIDENTS: Final = "incidents"
_DEEDS: Final = "deeds"
_TOOLS: Final = ("copy", "verify", "repair")
_HOURS: Final = 24 * MINUTES_KEPT_DAYS
_MOST_INCIDENTS: Final = 50
_MOST_DEEDS: Final = 20
_T = TypeVar("_T")
_N = TypeVar("_N", int, float)


class Notes(Protocol):
    """A keep, as far as notes are concerned."""

    def note(self, name: str, text: bytes) -> None: ...

    def notes(self, names: Sequence[str]) -> list[bytes | None]: ...


class WorkerNote(msgspec.Struct):
    """What one process wrote last, and when, by its clock."""

    host: str
    pid: int
    at: float
    row: WorkerRow


class MinuteNote(msgspec.Struct, array_like=True):
    """What became of a minute; its number since 1970."""

    minute: int
    applied: int
    lag_s: float | None
    depth: int | None
    parked_now: int | None


class _Hour(msgspec.Struct):
    hour: int
    minutes: list[MinuteNote]


class IncidentNote(msgspec.Struct):
    """A gap, or an error that ended a worker."""

    kind: str
    text: str
    remedy: str
    at: float


class DeedNote(msgspec.Struct):
    """What an operator did with the whole stream."""

    action: str
    about: str
    actor: str
    detail: str
    at: float


class TaskNote(msgspec.Struct):
    """How the last run of a tool has ended; a sink's are not told of while they are at work."""

    kind: str
    host: str
    pid: int
    started_at: float
    ended_at: float
    exit_code: int
    done: int
    """Rows."""
    result: str


class WorkerNotes:
    """Writes what one process tells, as `WorkerTable` does."""

    def __init__(self, *, host: str, pid: int) -> None:
        self._host, self._pid = host, pid

    def write(self, keep: Notes, row: WorkerRow) -> None:
        """Keep how it is now. Raises TransientError, ConfigError."""
        note = WorkerNote(self._host, self._pid, time.time(), row)
        is_owner = row.epoch is not None and row.state != "standing by"
        keep.note(WORKER if is_owner else STAND_BY, msgspec.json.encode(note))

    def add_minute(self, keep: Notes, minute: Minute) -> None:
        """Add to the present minute. An hour is one note, and the hours of a week go round."""
        number = int(time.time() // 60)
        name = _hour(number // 60)
        found = _decoded(keep.notes([name])[0], _Hour)
        minutes = found.minutes if found is not None and found.hour == number // 60 else []
        before = minutes.pop() if minutes and minutes[-1].minute == number else MinuteNote(number, 0, None, None, None)
        minutes.append(
            MinuteNote(
                number, before.applied + minute.applied, _most(before.lag_s, minute.lag_s),
                _most(before.depth, minute.depth), minute.parked_now,
            )
        )  # fmt: skip
        keep.note(name, msgspec.json.encode(_Hour(number // 60, minutes)))

    def add_incidents(self, keep: Notes, incidents: Iterable[Incident]) -> None:
        """Keep what happened; the last ones of some weeks."""
        now = time.time()
        every = read_incidents(keep)
        every += [IncidentNote(each.kind, each.text, each.remedy, now) for each in incidents]
        kept = [each for each in every if now - each.at < INCIDENTS_KEPT_DAYS * 86_400]
        keep.note(_INCIDENTS, msgspec.json.encode(kept[-_MOST_INCIDENTS:]))

    def clear(self, keep: Notes, *, is_start: bool) -> None:
        """Nothing grows: each note takes the place of the one before."""


def read_workers(keep: Notes) -> tuple[WorkerNote | None, WorkerNote | None]:
    """The owner, or whoever was it last, and the one that stands by."""
    worker, stand_by = keep.notes([WORKER, STAND_BY])
    return _decoded(worker, WorkerNote), _decoded(stand_by, WorkerNote)


def read_minutes(keep: Notes, *, hours: int) -> list[MinuteNote]:
    """Those of the last hours, the oldest first."""
    last = int(time.time() // 3600)
    wanted = range(last - min(hours, _HOURS - 1), last + 1)
    found = [_decoded(each, _Hour) for each in keep.notes([_hour(hour) for hour in wanted])]
    return [
        minute
        for hour, each in zip(wanted, found, strict=True)
        if each is not None and each.hour == hour
        for minute in each.minutes
    ]


def read_incidents(keep: Notes) -> list[IncidentNote]:
    """The oldest first."""
    return _decoded(keep.notes([_INCIDENTS])[0], list[IncidentNote]) or []


def add_task(keep: Notes, task: TaskNote) -> None:
    """Keep how it has ended, in place of the one before of its kind."""
    keep.note(f"task-{task.kind}", msgspec.json.encode(task))


def read_tasks(keep: Notes) -> list[TaskNote]:
    """The last one of each kind."""
    found = (_decoded(each, TaskNote) for each in keep.notes([f"task-{kind}" for kind in _TOOLS]))
    return [each for each in found if each is not None]


def add_deed(keep: Notes, action: str, about: str, *, actor: str, detail: str) -> None:
    """Keep what somebody did; the last ones."""
    every = [*read_deeds(keep), DeedNote(action, about, actor, detail, time.time())]
    keep.note(_DEEDS, msgspec.json.encode(every[-_MOST_DEEDS:]))


def read_deeds(keep: Notes) -> list[DeedNote]:
    """The oldest first."""
    return _decoded(keep.notes([_DEEDS])[0], list[DeedNote]) or []


def _hour(number: int) -> str:
    return f"hour-{number % _HOURS}"


def _decoded(text: bytes | None, kind: type[_T]) -> _T | None:
    """None also for what another version of pydbsync has written: it is written again soon."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        return None


def _most(one: _N | None, other: _N | None) -> _N | None:
    return other if one is None else one if other is None else max(one, other)
