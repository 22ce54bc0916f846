"""Runs of copy, in this process and in one of their own, and how source and target compare afterwards."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydbsync.ops.copy.options import CopyObserver, CopyOptions, CopyReport, TableReport
from pydbsync.ops.copy.run import run_copy
from pydbsync.settings import Settings
from tests.comparing import compare
from tests.processes import REPOSITORY, Finished, write_config
from tests.servers import Endpoint
from tests.state import differences, read_state

LOG = logging.getLogger("tests.copying")
OWN = ("pydbsync", "pydbsync_heartbeat")
"""Databases of the tool itself: its state at the target, its markers at the source."""


class Recorder(CopyObserver):
    """Keeps what a copy tells; `at_row` is called once, when the first rows of a table have been written."""

    def __init__(self, at_row: Callable[[], None] = lambda: None) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.steps: list[tuple[str, int, str]] = []
        """Each time something of a table changed: its name, its rows so far, its state."""
        self._at_row = at_row
        self._was_called = False

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def table(self, table: TableReport) -> None:
        self.steps.append((str(table.name), table.rows, table.state))
        if table.rows and not self._was_called:
            self._was_called = True
            self._at_row()


def copy(
    settings: Settings, *, observer: CopyObserver | None = None, stop: threading.Event | None = None, **options: Any
) -> CopyReport:
    """Copy in this process; `options` are those of CopyOptions."""
    return run_copy(settings, CopyOptions(**options), stop=stop, observer=observer, log=LOG)


class CopyProcess:
    """`python -m pydbsync copy …`, whose output goes to files."""

    def __init__(self, config: Mapping[str, Any], folder: Path, *arguments: str, **environment: str) -> None:
        path = write_config({"log_file_prefix": "", **config}, folder / "copy_config.py")
        self._out, self._err = folder / "copy.out", folder / "copy.err"
        command = [sys.executable, "-m", "pydbsync", "copy", "--config", str(path), *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=REPOSITORY, env={**os.environ, **environment}, stdout=out, stderr=err
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, *, timeout_s: float = 120) -> Finished:
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"copy still ran after {timeout_s} s: {self.stderr}") from None
        return Finished(code, self._out.read_text(encoding="utf-8"), self.stderr)

    @property
    def stderr(self) -> str:
        return self._err.read_text(encoding="utf-8", errors="replace")


def state_differences(
    source: Endpoint, target: Endpoint, databases: Iterable[str], *, renamed: Mapping[str, str] | None = None
) -> list[str]:
    """How the target's databases differ from the source's, in structure and rows, as tests.state reads them."""
    names = list(databases)
    given = dict(renamed or {})
    with source.connect() as at_source, target.connect() as at_target:
        wanted = read_state(at_source, names)
        found = read_state(at_target, [given.get(name, name) for name in names])
    return list(differences({given.get(name, name): wanted[name] for name in names}, found, data_only=False))


def unequal(settings: Settings) -> dict[str, list[str]]:
    """The tables that verify does not find equal, each with what it says of them; {} when all are."""
    reports = compare(settings)
    assert reports
    return {
        name: [table.status, table.error, *table.structure]
        for name, table in reports.items()
        if table.status != "equal"
    }
