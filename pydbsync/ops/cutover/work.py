"""What the steps of a cut-over work with, and what a step is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydbsync.config.cutover_plan import CutoverPlan
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError, Stopped
from pydbsync.model import TableName
from pydbsync.ops.cutover.journal import Command, CutoverJournal, RunRow
from pydbsync.ops.servers import Servers


class StepFailed(OperationError):
    """A step cannot be done, or what it did does not hold any more."""


class Undone(OperationError):
    """The cut-over did not take place, and everything is as it was before."""


@dataclass(frozen=True)
class Direction:
    """One direction: its configuration, and the file that it comes from."""

    name: str
    """forth or back."""
    settings: Settings
    config: Path

    @property
    def source(self) -> str:
        """The server whose changes are carried, for people."""
        return self.settings.source.address if self.settings.source else ""

    @property
    def target(self) -> str:
        """The server that takes them."""
        return self.settings.target.address


@dataclass
class CutoverWork:
    """What the steps work with."""

    plan: CutoverPlan
    command: Command
    way: Direction
    """The direction that ends: from the server that is left to the one that is gone to."""
    back: Direction
    """The direction that begins."""
    journal: CutoverJournal
    row: RunRow
    tell: Callable[[str], None]
    ask: Callable[[str], None]
    """Asks a person before what cannot be taken back; raises where the answer is no."""
    log: logging.Logger
    facts: dict[str, Any] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the time of the running step is over, or somebody has asked to stop."""
    asked_to_stop: threading.Event = field(default_factory=threading.Event)
    waits_for: str = ""
    """What the running step waits for, in words."""
    tables: dict[tuple[str, bool], dict[str, list[TableName]]] = field(default_factory=dict)
    """Which tables each queue carries, as the running step has found it; by direction, with the heartbeat or not."""
    is_blind: bool = False
    """The journal's server is away, and what can be undone is undone without it."""
    is_asking: bool = False
    """A person is being waited for, which takes none of the step's time."""
    _servers: dict[str, Servers] = field(default_factory=dict)

    @property
    def is_two_way(self) -> bool:
        """Whether both directions run at once, before and after: none of them is started, kept still or ended."""
        return self.way.settings.two_way is not None

    def keep(self, name: str, value: Any) -> None:
        """Store a fact before what it is about is done."""
        self.facts[name] = value
        if not self.is_blind:
            self.journal.keep(self.row.id, self.facts)

    def problem(self, *texts: str) -> None:
        """What a person has to see to, although nothing stops; a next call has it too."""
        known = self.facts.get("problems", [])
        if new := [text for text in texts if text not in known]:
            self.keep("problems", [*known, *new])

    def ask_person(self, question: str) -> None:
        """Raises where the answer is no."""
        self.is_asking = True
        try:
            self.ask(question)
        finally:
            self.is_asking = False

    def servers(self, way: Direction | None = None) -> Servers:
        """Both ends of a direction, for the running step."""
        way = way or self.way
        if way.name not in self._servers:
            self._servers[way.name] = Servers(way.settings, self.stop, is_interrupted=True)
        return self._servers[way.name]

    def wait(self, seconds: float) -> None:
        """Raises Stopped when the step's time is over."""
        if self.stop.wait(seconds):
            raise Stopped("stopped while waiting")

    @contextmanager
    def within(self, limit_s: float, key: str, *, heeds_stop: bool = True) -> Iterator[None]:
        """The time of a step. Raises StepFailed where it is not enough, or where somebody asks to stop."""
        self.stop = stop = threading.Event()
        self.waits_for = ""
        self.tables.clear()
        is_late = threading.Event()
        over = threading.Event()

        def watch() -> None:
            waited = 0.0
            while not over.wait(0.1):
                waited += 0.0 if self.is_asking else 0.1
                if waited >= limit_s:
                    is_late.set()
                if is_late.is_set() or (heeds_stop and self.asked_to_stop.is_set()):
                    stop.set()
                    return

        watcher = threading.Thread(target=watch, name="limit", daemon=True)
        watcher.start()
        try:
            yield
        except Stopped as exc:
            if is_late.is_set():
                waits_for = f": {self.waits_for}" if self.waits_for else ""
                raise StepFailed(f"it took longer than {limit_s:g} s (limits.{key} of the plan){waits_for}") from exc
            raise StepFailed("stopped, as was asked for") from exc
        finally:
            over.set()
            watcher.join()
            for servers in self._servers.values():
                servers.close()
            self._servers.clear()


class CutoverStep:
    """One step. Each can be done again after a kill in its middle, and undone whether it was done whole or in part."""

    name = ""
    says = ""
    """What it does, as the plan of a rehearsal tells it."""
    undo_says = "nothing is to be undone"
    limit = ""
    """The limit of the plan that it obeys."""
    opens = False
    """Whether its undo lets applications write at the server that is left again."""
    needs_others = False
    """Whether it is undone only where all behind it were: the direction must not go on beside the way back."""

    def limit_s(self, work: CutoverWork) -> float:
        """How long it may take."""
        return float(getattr(work.plan.limits, self.limit))

    def do(self, work: CutoverWork) -> str:
        """What was done, in a sentence. Raises PydbsyncError."""
        raise NotImplementedError

    def undo(self, work: CutoverWork) -> str:
        """Everything as before; a sentence, or nothing."""
        return ""

    def keeps_closed(self, work: CutoverWork) -> bool:
        """Whether the server that is left must not be opened, where the undo has failed."""
        return False

    def still(self, work: CutoverWork) -> None:
        """Raises StepFailed where what was done before a kill does not hold any more."""

    def look(self, work: CutoverWork) -> list[str]:
        """What would keep it from being done, a sentence each; for a rehearsal. Changes nothing."""
        return []
