"""Tools tell how far they are, all in one way: a row of the table `task`, written once a second while they work.

It is written where there is a state schema and a right to write to it, and else it is not: no tool works otherwise, or
waits, or fails for it. Capture and heartbeat need no target; with `db_info` in their configuration they tell there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

from pydbsync import __version__
from pydbsync.apply.connection import Connection
from pydbsync.apply.state_writer import StateWriter, state_connection
from pydbsync.apply.tables.task import TaskRow, TaskTable
from pydbsync.config.settings import NOT_CONFIGURED, Settings
from pydbsync.errors import (
    ConfigError,
    OperationError,
    PermanentError,
    PydbsyncError,
    SourceError,
    StopError,
    Stopped,
    TransientError,
)

_WINDOW_S = 15.0
_REMEDIES = {
    ConfigError: "correct what the sentence names, and run it again",
    OperationError: "do what the sentence says, and run it again (docs/errors.md has more about it)",
    StopError: "mend the cause that the sentence names, and run it again: it goes on there",
    TransientError: "see that the server answers, and run it again",
    SourceError: "see that the server answers, and run it again",
    PermanentError: "mend what the server refuses, and run it again (docs/errors.md has more about it)",
}
"""What to do about an error that ended a tool, by its kind."""
_log = logging.getLogger("pydbsync.told")
_log.setLevel(logging.CRITICAL + 1)  # where nothing can be written, nothing is missed


class Told:
    """What the tool sets while it works; any thread may."""

    def __init__(self, kind: str, name: str, unit: str) -> None:
        self.row = TaskRow(
            kind=kind, name=name[:190], unit=unit, host=socket.gethostname()[:190], pid=os.getpid(),
            pydbsync_version=__version__,
        )  # fmt: skip
        self.look: Callable[[], None] = lambda: None
        """Called before each writing, to take figures over that nobody hands us."""
        self.findings: str | None = None
        """What was found, as JSON of a bounded size: written once with the next writing."""
        self.began_at = self.state_at = time.monotonic()
        self.is_over = False

    def says(self, detail: str) -> None:
        """What it does now."""
        self.row.detail = detail

    def now(self, state: str) -> None:
        """running, or what it waits for."""
        if state != self.row.state:
            self.row.state, self.state_at = state, time.monotonic()

    def ended(self, state: str, exit_code: int, error: str = "", remedy: str = "") -> None:
        """How it ended."""
        self.now(state)
        self.row.exit_code, self.row.last_error, self.is_over = exit_code, error or None, True
        self.row.remedy = remedy or None


@contextlib.contextmanager
def telling(settings: Settings, kind: str, *, name: str = "", unit: str = "rows") -> Iterator[Told]:
    """Tell what is done inside, and how it ends: by its error, or by `row.exit_code` where the tool has set one."""
    told = Told(kind, name, unit)
    if not settings.state_interval_s or settings.target == NOT_CONFIGURED:
        yield told
        return
    table = TaskTable(settings.state_schema)
    samples: deque[tuple[float, int]] = deque()

    def write(connection: Connection) -> None:
        told.look()
        row, now = told.row, time.monotonic()
        row.state_age_s, row.started_age_s = now - told.state_at, now - told.began_at
        row.every_s = settings.state_interval_s
        if row.done is not None:
            samples.append((now, row.done))
            while len(samples) > 2 and now - samples[1][0] > _WINDOW_S:
                samples.popleft()
            (first_at, first), (last_at, last) = samples[0], samples[-1]
            row.per_s = max(0, last - first) / (last_at - first_at) if last_at > first_at else None
        table.write(connection, row, is_over=told.is_over)
        findings, told.findings = told.findings, None
        if findings is not None:
            table.write_findings(connection, kind, findings)

    writer = StateWriter(state_connection(settings.target), write=write, every_s=settings.state_interval_s, log=_log)
    writer.start()
    try:
        yield told
    except BaseException as exc:
        told.ended(*_end_of(exc))
        raise
    else:
        code = told.row.exit_code or 0
        told.ended("done", code)
    finally:
        writer.end()


def _end_of(exc: BaseException) -> tuple[str, int, str, str]:
    """State, exit code, error, and what to do about it."""
    if isinstance(exc, Stopped | KeyboardInterrupt):
        return "stopped", 0, "", ""
    if isinstance(exc, PydbsyncError):
        remedy = next((text for kind, text in _REMEDIES.items() if isinstance(exc, kind)), "")
        return "failed", exc.command_exit_code, str(exc), remedy
    code = getattr(exc, "exit_code", None)  # typer's way to end with a code
    if isinstance(code, int):
        return "done", code, "", ""
    return "failed", 70, f"{type(exc).__name__}: {exc}", "report it with the lines of the log"
