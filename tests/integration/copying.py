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

from pydbsync.config.settings import Settings
from pydbsync.ops.copy.options import CopiedTable, CopyObserver, CopyOptions, CopyReport
from pydbsync.ops.copy.run import run_copy
from tests.comparing import compare, run_sql
from tests.processes import REPOSITORY, Finished, write_config
from tests.servers import Endpoint
from tests.state import differences, read_state

LOG = logging.getLogger("tests.copying")
KILLED = -9
"""The exit code of a copy that SIGKILL ended."""
OWN = ("pydbsync", "pydbsync_heartbeat")
"""Databases of the tool itself: its state at the target, its markers at the source."""

KEYS = {
    "number": ("id BIGINT UNSIGNED PRIMARY KEY", "n * 7"),
    "signed": ("id INT PRIMARY KEY", "n - 300"),
    "text": (
        "id VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY",
        "CONCAT(CHAR(97 + n % 26 USING utf8mb4), n, '''')",
    ),
    "bytes": ("id VARBINARY(20) PRIMARY KEY", "CONCAT(CHAR(n % 256), CHAR(n DIV 256), '\\\\')"),
    "moment": ("id DATETIME(3) PRIMARY KEY", "'2024-01-01' + INTERVAL n * 1001000 MICROSECOND"),
    "several": ("id INT NOT NULL, part CHAR(5) NOT NULL DEFAULT 'x', PRIMARY KEY (part, id)", "n"),
    "unique_key": ("id DECIMAL(12,2) NOT NULL, UNIQUE (id)", "n / 4"),
    "labels": ("id INT NOT NULL, e ENUM('b','a','c') NOT NULL DEFAULT 'a', PRIMARY KEY (e, id)", "n"),
    "none": ("id INT NOT NULL", "n DIV 3"),
    "nullable": ("id INT, UNIQUE (id)", "IF(n % 5, n, NULL)"),
}
"""Keys of all shapes: a definition that begins with the column id, and its value in the n-th row."""
KEYLESS = ("none", "nullable")
SHAPES = "shapes"
ROWS = 600
PACKET = 1 << 16


def make_shapes(source: Endpoint, *, count: int = ROWS) -> None:
    """A table for each shape of key, in a database of their own."""
    source.query(f"CREATE DATABASE {SHAPES} CHARACTER SET utf8mb4")
    digits = " UNION ALL ".join(f"SELECT {n} AS d" for n in range(10))
    numbers = (
        "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n"
        f" FROM ({digits}) a, ({digits}) b, ({digits}) c, ({digits}) e"
    )
    run_sql(
        source,
        [
            *(f"CREATE TABLE {name} ({columns}, v TEXT)" for name, (columns, _) in KEYS.items()),
            *(
                f"INSERT INTO {name} (id, v) SELECT {value}, REPEAT(CHAR(97 + n % 26), 40 + n % 50)"
                f" FROM ({numbers}) numbers WHERE n < {count}"
                for name, (_, value) in KEYS.items()
            ),
            f"ANALYZE TABLE {', '.join(KEYS)}",
        ],
        database=SHAPES,
    )


class Recorder(CopyObserver):
    """Keeps what a copy tells. `at_row` is called once, when the first rows of a table have been written, and what
    `at_phase` names whenever that phase begins."""

    def __init__(
        self, at_row: Callable[[], None] = lambda: None, *, at_phase: Mapping[str, Callable[[], None]] | None = None
    ) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.steps: list[tuple[str, int, str]] = []
        """Each time something of a table changed: its name, its rows so far, its state."""
        self._at_row = at_row
        self._at_phase = at_phase or {}
        self._was_called = False

    def phase(self, text: str) -> None:
        self.phases.append(text)
        if text in self._at_phase:
            self._at_phase[text]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def table(self, table: CopiedTable) -> None:
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
