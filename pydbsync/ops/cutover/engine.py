"""Takes the steps of a cut-over one by one, each written down before and behind it; what fails is undone backwards.

A kill at any moment leaves the journal: the next call, from whichever machine, finds the run there, does the step that
was begun once more (each can be done twice), and goes on; or goes on undoing. Once the other server has been opened
nothing is undone any more: writes may have come in there, and the way back is `rollback`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydbsync.config.cutover_plan import CutoverPlan
from pydbsync.config.settings import Settings
from pydbsync.errors import ApplyError, OperationError, PydbsyncError, Stopped
from pydbsync.killpoints import kill_point
from pydbsync.model import TableName
from pydbsync.ops.cutover.journal import Command, Journal, RunRow, StepRow, Taken
from pydbsync.ops.servers import Servers

OPEN: str = "open"
"""The step from which on nothing is undone."""
_BLIND_S = 5.0
"""How long a step may take to be undone while the journal's server is away: applications wait."""


class StepFailed(OperationError):
    """A step cannot be done, or what it did does not hold any more."""


class Undone(OperationError):
    """The cut-over did not take place, and everything is as it was before."""


@dataclass(frozen=True)
class Way:
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
class Work:
    """What the steps work with."""

    plan: CutoverPlan
    command: Command
    way: Way
    """The direction that ends: from the server that is left to the one that is gone to."""
    back: Way
    """The direction that begins."""
    journal: Journal
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

    def servers(self, way: Way | None = None) -> Servers:
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


class Step:
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

    def limit_s(self, work: Work) -> float:
        """How long it may take."""
        return float(getattr(work.plan.limits, self.limit))

    def do(self, work: Work) -> str:
        """What was done, in a sentence. Raises PydbsyncError."""
        raise NotImplementedError

    def undo(self, work: Work) -> str:
        """Everything as before; a sentence, or nothing."""
        return ""

    def keeps_closed(self, work: Work) -> bool:
        """Whether the server that is left must not be opened, where the undo has failed."""
        return False

    def still(self, work: Work) -> None:
        """Raises StepFailed where what was done before a kill does not hold any more."""

    def look(self, work: Work) -> list[str]:
        """What would keep it from being done, a sentence each; for a rehearsal. Changes nothing."""
        return []


def is_opened(work: Work, begun: Container[str]) -> bool:
    """Whether writes may have come in at the server that is gone to: nothing is undone any more then."""
    return OPEN in begun and bool(work.facts.get("opening", True))


class Engine:
    """Runs the steps of one call."""

    def __init__(self, work: Work, steps: Sequence[Step]) -> None:
        self._work = work
        self._steps = steps
        self._begun: set[str] = set()
        """The names of steps that were begun and not undone, as far as this call knows."""

    def go(self) -> None:
        """To the end, or back to the beginning. Raises Undone, StepFailed (nothing was undone)."""
        work = self._work
        if work.row.state == "undoing":
            work.tell("an earlier call was undoing what it had done, and that is gone on with")
            self.undo(work.row.result or "an earlier call gave up")
        rows = self._rows()
        self._begun = {row.name for row in rows.values() if row.state != "undone"}
        for number, step in enumerate(self._steps, start=1):
            row = rows.get(step.name)
            try:
                work.journal.lock()
                if row is not None and row.state == "done":
                    with work.within(step.limit_s(work), step.limit):
                        step.still(work)
                    work.tell(f"{number:2}  {step.name}: done before: {row.result}")
                    continue
                self._do(number, step)
            except Taken:
                raise
            except PydbsyncError as exc:
                self._failed(step, exc)
        work.journal.set_state(work.row.id, "done")

    def _rows(self) -> Mapping[str, StepRow]:
        """What was begun. Raises StepFailed where that were other steps than ours: nothing of them is understood."""
        rows = self._work.journal.steps(self._work.row.id)
        known = {step.name: number for number, step in enumerate(self._steps, start=1)}
        for row in rows.values():
            if known.get(row.name) != row.number:
                raise StepFailed(
                    f"another version of pydbsync has begun it, with {row.name} as its step {row.number}: go on with"
                    f" that version (`{self._work.command}`, or with --undo)"
                )
        return rows

    def _do(self, number: int, step: Step) -> None:
        work = self._work
        self._begun.add(step.name)
        work.journal.begin_step(work.row.id, number, step.name)
        kill_point(f"cutover-{step.name}-begun")
        work.tell(f"{number:2}  {step.name}: {step.says}")
        began = time.monotonic()
        with work.within(step.limit_s(work), step.limit):
            result = step.do(work)
        kill_point(f"cutover-{step.name}-done")
        work.journal.end_step(work.row.id, number, "done", result)
        kill_point(f"cutover-{step.name}-written")
        work.tell(f"    {time.monotonic() - began:.2f} s: {result}")

    def _failed(self, step: Step, exc: PydbsyncError) -> None:
        work = self._work
        if is_opened(work, self._begun):
            raise StepFailed(
                f"{step.name}: {exc}; {work.way.target} has been opened, so nothing is undone: call `{work.command}`"
                " again to go on, or go back with the other command"
            ) from exc
        work.tell(f"    failed: {exc}")
        self.undo(f"{step.name}: {exc}", cause=exc)

    def undo(self, why: str, *, cause: Exception | None = None) -> None:
        """Take everything back, the last first. Raises Undone at its end, StepFailed where something cannot be."""
        work = self._work
        try:
            self._undo_steps(why)
        except ApplyError as exc:  # it is away, or takes no writes: its disk is full, its tables are gone
            self._undo_blindly(why, exc)
        work.journal.set_state(work.row.id, "undone", why)
        raise Undone(f"{why}; nothing has changed: applications go on at {work.way.source}") from cause

    def _undo_steps(self, why: str) -> None:
        """Raises ApplyError where the journal cannot be written, StepFailed where a step cannot be undone. The others
        are undone all the same: applications wait for the server that is left, and not for what is left elsewhere."""
        work = self._work
        work.journal.lock()
        work.journal.set_state(work.row.id, "undoing", why)
        rows = self._rows()
        self._begun |= {row.name for row in rows.values() if row.state != "undone"}
        left: list[str] = []
        stays_closed, failure = False, None
        for number, step in reversed(list(enumerate(self._steps, start=1))):
            row = rows.get(step.name)
            if row is None or row.state == "undone":
                continue
            if (left and step.needs_others) or (stays_closed and step.opens):
                left.append(f"{step.name} waits for that")
                continue
            kill_point(f"cutover-undo-{step.name}")
            try:
                with work.within(max(30.0, step.limit_s(work)), step.limit, heeds_stop=False):
                    result = step.undo(work)
            except Taken:
                raise
            except PydbsyncError as exc:
                work.journal.lock()  # TransientError, where that server is away
                left.append(f"{step.name} ({exc})")
                stays_closed, failure = stays_closed or step.opens or step.keeps_closed(work), failure or exc
                continue
            work.journal.end_step(work.row.id, number, "undone", row.result)
            self._begun.discard(step.name)
            if result:
                work.tell(f"    undone: {result}")
        if left:
            goes_on = "" if stays_closed else f" Applications go on at {work.way.source}."
            raise StepFailed(
                f"{why}; and not all could be undone: {'; '.join(left)}.{goes_on} Mend that and call"
                f" `{work.command}` again, which goes on undoing"
            ) from failure

    def _undo_blindly(self, why: str, away: ApplyError) -> None:
        """Applications must not wait for a server that is dead or full: what can be is undone without its journal.
        The next call finds that the fence does not hold any more, and undoes the rest. Raises StepFailed."""
        work = self._work
        work.is_blind = True
        work.tell(f"    the journal at {work.way.target} cannot be written: what can be is undone without it")
        left: list[str] = []
        stays_closed = False
        for step in reversed(self._steps):
            if step.name not in self._begun:
                continue
            if (left and step.needs_others) or (stays_closed and step.opens):
                left.append(step.name)
                continue
            try:
                with work.within(_BLIND_S, step.limit, heeds_stop=False):
                    result = step.undo(work)
            except PydbsyncError as exc:
                left.append(f"{step.name} ({exc})")
                stays_closed = stays_closed or step.keeps_closed(work)
            else:
                if result:
                    work.tell(f"    undone: {result}")
        raise StepFailed(
            f"{why}; {away}. Could not be undone: {'; '.join(left) or 'nothing'}; the rest is as before. Call"
            f" `{work.command}` again when {work.way.target} is back, which undoes what is left"
        ) from away
