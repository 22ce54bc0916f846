"""What status has found, before anybody says what it means; also its JSON."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Health: TypeAlias = Literal["healthy", "degraded", "down"]


class Process(msgspec.Struct):
    """A worker, as it wrote itself: the owner of its queue, or one that stands by."""

    host: str
    pid: int
    pydbsync_version: str
    state: str
    state_s: float
    """How long it has been in this state."""
    written_s: float
    """How long ago it wrote this."""
    every_s: float
    figures: dict[str, Any]
    """The other columns of `worker`; None is what is not known."""
    last_error: str | None = None
    last_error_s: float | None = None
    remedy: str | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether it has written lately: a process that is gone or frozen does not."""
        return self.written_s <= max(2.0, 10 * self.every_s)


class ParkedGroup(msgspec.Struct):
    """Parked changes of one table for one reason."""

    count: int
    table: str
    code: int
    reason: str
    """Of the first of them."""
    first_id: int
    oldest_s: float
    waits: bool
    """Whether they wait behind others, and are applied when those are."""


class DecidedConflicts(msgspec.Struct):
    """Conflicts of the last day that were decided alike."""

    decision: str
    """source, target, same or parked."""
    count: int
    newest_s: float


class Gap(msgspec.Struct):
    """Something that is missing in the stream, or an error that ended a worker."""

    kind: str
    text: str
    remedy: str
    age_s: float


class Reached(msgspec.Struct):
    """The checkpoint."""

    position: str
    gtid: str
    newest_s: float | None
    """How old the newest change is that was applied, by the source's clock."""
    applied: int
    duplicates: int
    owner: str
    epoch: int
    changed_s: float | None
    """How long ago that was written; None where it is not known."""


class BrokerQueue(msgspec.Struct):
    """What RabbitMQ says of the queue."""

    depth: int
    consumers: int


class Queue(msgspec.Struct):
    """One queue, or one file that was replayed."""

    stream: str
    queue: str
    is_configured: bool
    health: Health = "healthy"
    behind: str = ""
    """In words: how far, and when it is level."""
    problems: list[str] = []
    todo: list[str] = []
    worker: Process | None = None
    stand_by: list[Process] = []
    is_owned: bool = False
    """Whether somebody holds its lock in the target."""
    place: Reached | None = None
    parked: list[ParkedGroup] = []
    conflicts: list[DecidedConflicts] = []
    incidents: list[Gap] = []
    broker: BrokerQueue | None = None
    broker_note: str = ""
    has_figures: bool = True
    """Whether its workers write what they do where we read it: those of a sink may be of an older version."""
    lock_lasts_s: float = 0.0
    """So long the lock of an owner that was killed is still held."""
    paused: str = ""
    """The stream, since when, by whom and why."""
    paused_ddl: list[str] = []
    """Tables whose schema changes are paused, said in the same way."""


class TaskRun(msgspec.Struct):
    """A run of copy, verify, repair, capture or heartbeat."""

    id: int
    kind: str
    name: str
    host: str
    pid: int
    state: str
    state_s: float
    started_s: float
    written_s: float
    every_s: float
    done: int | None
    total: int | None
    unit: str
    per_s: float | None
    detail: str | None
    result: str | None
    last_error: str | None
    exit_code: int | None
    is_over: bool
    remedy: str | None = None
    health: Health = "healthy"

    @property
    def is_fresh(self) -> bool:
        """As a worker's."""
        return self.written_s <= max(2.0, 10 * self.every_s)


class Cutover(msgspec.Struct):
    """The newest cutover, rollback or failover of a plan."""

    plan: str
    command: str
    state: str
    """running, undoing or done."""
    source: str
    target: str
    started: str
    write_stop_s: float | None = None
    ended_streams: list[str] = []
    """Those of this state schema whose direction is over by it."""
    way_back: str = ""
    """In words: whether it is level, and what a rollback would take."""
    is_level: bool | None = None
    rollback_s: float | None = None


class Status(msgspec.Struct):
    """All of it."""

    at: str
    """UTC, by this machine's clock."""
    health: Health = "healthy"
    says: str = ""
    target: str = ""
    target_note: str = ""
    """Why the target does not answer, where it does not."""
    state_schema: str = ""
    state_version: int = 0
    state_lost: list[str] = []
    """Tables of the state schema that somebody has removed, or columns of them."""
    rabbitmq: str = ""
    rabbitmq_note: str = ""
    queues: list[Queue] = []
    tasks: list[TaskRun] = []
    cutovers: list[Cutover] = []
    todo: list[str] = []
    """What to do now, the gravest first."""

    def exit_code(self) -> int:
        """0 healthy, 1 degraded, 2 down."""
        return ("healthy", "degraded", "down").index(self.health)
