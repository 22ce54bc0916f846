"""The highest memory of processes that come and go, taken from /proc while they run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from lab.process import peak_rss_bytes, tree

LOOK_S = 0.2


class Watched(NamedTuple):
    """A process, the name of it, and that of the processes that are forked for it."""

    name: str
    forked: str | None


class MemoryWatch:
    """The highest resident memory (VmHWM) of each kind of process, those that were killed included."""

    def __init__(self) -> None:
        self._watched: dict[int, Watched] = {}
        self._peaks_bytes: dict[str, int] = {}
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._halt.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, name: str, pid: int, *, forked: str | None = None) -> None:
        """Watch this process, and under the name `forked` those below it; its own children count as it."""
        self._peaks_bytes.setdefault(name, 0)
        self._watched[pid] = Watched(name, forked)

    def _run(self) -> None:
        while not self._halt.wait(LOOK_S):
            for pid, (name, forked) in list(self._watched.items()):
                if not Path(f"/proc/{pid}").exists():
                    del self._watched[pid]
                elif forked is None:
                    self._note(name, pid)
                else:
                    for other, depth in tree(pid):
                        self._note(name if depth < 2 else forked, other)

    def _note(self, name: str, pid: int) -> None:
        self._peaks_bytes[name] = max(self._peaks_bytes.get(name, 0), peak_rss_bytes(pid))

    def show(self, console: Console) -> None:
        """Print the peaks."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("process")
        table.add_column("highest memory", justify="right")
        for name, peak in self._peaks_bytes.items():
            table.add_row(name, f"{peak / 2**20:,.0f} MB" if peak else "too short to be seen")
        console.print(table)
