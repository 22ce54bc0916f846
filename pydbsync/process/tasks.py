"""What is known of the tools beside replay: their newest runs, and how long the source keeps what they read."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """The newest run of one kind and name. Times in seconds since 1970, by the target's clock."""

    kind: str
    name: str
    state: str
    started_at: float
    ended_at: float | None
    exit_code: int | None
    done: int | None
    total: int | None
    unit: str
    is_running: bool
    """It has not ended, and has written lately."""

    @property
    def has_failed(self) -> bool:
        """Whether it ended with a fault, or without a word. A difference that verify found is none."""
        return self.state == "failed" or (self.ended_at is None and not self.is_running)

    @property
    def title(self) -> str:
        """Its kind, and its name where it has another."""
        return f"{self.kind} {self.name}" if self.name and self.name != self.kind else self.kind


class Facts(NamedTuple):
    """All that is known beside the workers' own figures."""

    tasks: tuple[Task, ...] = ()
    retention_s: float | None = None
    """How long the source keeps its binlog; None where it is not known, or kept for ever."""
