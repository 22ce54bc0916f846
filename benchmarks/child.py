"""A contestant as a process of its own: run to its end, its memory sampled, its result read from a file."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.process import peak_rss_bytes, tree

SAMPLE_S = 0.05
KILL_AFTER_S = 1800.0


@dataclass(frozen=True)
class Outcome:
    """How a process tree went: seconds of wall clock and of CPU, bytes at its largest process's peak."""

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    result: Mapping[str, object]
    output: str

    @property
    def seconds(self) -> float:
        """The span that the process says it was at work; the whole process where it says nothing."""
        return self.number("seconds") if self.result else self.wall_s

    def number(self, key: str) -> float:
        """A number out of the result file; a sentence of an error when it is not there."""
        value = self.result.get(key)
        if not isinstance(value, int | float):
            raise RuntimeError(f"the result has no number {key!r}: exit code {self.exit_code}\n{self.output[-2000:]}")
        return float(value)


def run(
    command: Sequence[str],
    *,
    result_option: str | None = "--result",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Outcome:
    """Run a command that writes a JSON object to the file named behind `result_option`, or none."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        result = Path(scratch) / "result.json"
        log = Path(scratch) / "output.log"
        start = time.perf_counter()
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*command, *([result_option, str(result)] if result_option else [])],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=folder,
            )
            with Sampler(child.pid) as sampler:
                try:
                    exit_code = child.wait(KILL_AFTER_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                    exit_code = child.wait()
        wall_s = time.perf_counter() - start
        content = json.loads(result.read_text()) if result.exists() else {}
        text = log.read_text(errors="replace")
    return Outcome(exit_code, wall_s, sampler.cpu_s, sampler.peak_bytes, content, text)


class Sampler:
    """Keeps the highest resident memory (VmHWM) that any process of a tree has had, and adds up their CPU time.

    Of a process that ends, what it used since the last sample is missing.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._cpu_s: dict[int, float] = {}
        self.peak_bytes = 0

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values())

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            for pid, _ in tree(self._pid):
                self.peak_bytes = max(self.peak_bytes, peak_rss_bytes(pid))
                self._cpu_s[pid] = max(self._cpu_s.get(pid, 0.0), cpu_seconds(pid))
            if self._stop.wait(SAMPLE_S):
                return


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
