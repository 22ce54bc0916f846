"""What a rehearsal tells: its steps as they come, and at the end a table of their times."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass
class Step:
    """A part of the road. `outcome` is what is worth to know of it afterwards."""

    title: str
    outcome: str = ""
    seconds: float = 0.0


@dataclass
class Record:
    """Writes to the terminal. While a tool has it, what happens beside is kept until the tool has ended."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    steps: list[Step] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _kept: list[str] | None = None

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step with its heading; its time is taken."""
        step = Step(title)
        self.steps.append(step)
        self.console.print(f"\n[bold]{len(self.steps):2}  {title}[/bold]")
        begun = time.monotonic()
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - begun

    def say(self, text: str) -> None:
        """One line, with the time since the beginning."""
        line = f"    [dim]{time.monotonic() - self.started_at:6.1f} s[/dim]  {text}"
        with self._lock:
            if self._kept is not None:
                self._kept.append(line)
            else:
                self.console.print(line)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The terminal belongs to a tool."""
        with self._lock:
            self._kept = []
        try:
            yield
        finally:
            with self._lock:
                kept, self._kept = self._kept or [], None
            for line in kept:
                self.console.print(line)

    def show_times(self) -> None:
        """The steps, and how long each took."""
        table = Table(box=box.SIMPLE_HEAD, show_footer=True, pad_edge=False)
        table.add_column("", justify="right")
        table.add_column("step", footer="all of it", no_wrap=True)
        table.add_column("time", justify="right", footer=clock(time.monotonic() - self.started_at), no_wrap=True)
        table.add_column("outcome", overflow="fold")
        for number, step in enumerate(self.steps, start=1):
            table.add_row(str(number), step.title, clock(step.seconds), step.outcome)
        self.console.print(table)


def clock(seconds: float) -> str:
    """`4.2 s`, `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
