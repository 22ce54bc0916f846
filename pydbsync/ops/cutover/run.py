"""A call of cutover or rollback from its beginning to its end: which way may be gone, which run is gone on with."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError
from pydbsync.ops.cutover.carry import Carry
from pydbsync.ops.cutover.check import MayBegin
from pydbsync.ops.cutover.comparison import Verify
from pydbsync.ops.cutover.engine import OPEN, Engine, is_opened
from pydbsync.ops.cutover.failover import failover_steps
from pydbsync.ops.cutover.fence import Drain, Fence
from pydbsync.ops.cutover.journal import Command, CutoverJournal, RunRow, open_journal, read_runs
from pydbsync.ops.cutover.processes import start_replay
from pydbsync.ops.cutover.rehearse import Rehearsal, rehearse
from pydbsync.ops.cutover.switch import OpenWrites, Retire, StopForth, Switch
from pydbsync.ops.cutover.way_back import Arm, Ready, WatchBack
from pydbsync.ops.cutover.ways import Ways
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, StepFailed

_T = TypeVar("_T")


class CutoverOutcome(msgspec.Struct, frozen=True):
    """What a call came to."""

    command: str
    plan: str
    source: str
    target: str
    write_stop_s: float | None
    steps: tuple[tuple[str, str, float | None, str], ...]
    """(name, state, seconds, result)"""
    problems: tuple[str, ...] = ()


def steps() -> list[CutoverStep]:
    """Of cutover and rollback, which are the same one way and the other."""
    return [
        MayBegin(), Ready(), Fence(), Drain(), Verify(), StopForth(),
        Carry(), Arm(), Switch(), OpenWrites(), WatchBack(), Retire(),
    ]  # fmt: skip


class CutoverCall:
    """One call of a command. Raises ConfigError, OperationError before anything is done."""

    def __init__(
        self,
        ways: Ways,
        command: Command,
        *,
        is_back: bool = False,
        tell: Callable[[str], None],
        ask: Callable[[str], None],
        log: logging.Logger,
        stop: threading.Event,
    ) -> None:
        """`is_back`: a failover from the server that a cutover went to."""
        self._ways, self._command = ways, command
        self._tell, self._ask, self._log, self._stop = tell, ask, log, stop
        self._way, self._back = (ways.back, ways.forth) if is_back else ways.of(command)

    def failover(self, *, undo: bool = False, leaves_queues: bool = False) -> CutoverOutcome:
        """Open the target of a dead source; `leaves_queues` where the broker is dead too."""
        journal = open_journal(self._way.settings, self._ways.plan.name)
        try:
            journal.lock()
            self._assert_alone(journal)
            row, events = journal.newest(), []
            if (
                row is not None
                and row.is_open
                and row.command != "failover"
                and not (OPEN in journal.steps(row.id) and row.facts.get("opening", True))
            ):
                self._tell(f"the {row.command} that began at {row.started} is given up")
                events = row.facts.get("fence", {}).get("events", [])
                journal.set_state(row.id, "undone", "given up by a failover")
                row = None
            if row is None or not row.is_open:
                if undo:
                    raise OperationError("no run has been left unfinished: there is nothing to undo")
                if row is not None and row.state == "done" and row.command != "rollback":
                    raise OperationError(f"{self._way.target} is in charge already, since {row.started}")
                self._ask(f"failover of {self._ways.plan.name}: open {self._way.target} in place of {self._way.source}."
                          " Begin?")  # fmt: skip
                row = journal.begin(
                    "failover", turn=journal.turn() + 1, source=self._way.source, target=self._way.target
                )
            work = self._noted(self._work(journal, row))
            if events:  # which ran at the source until that cut-over disabled them
                work.keep("fence", {"events": events})
            engine = Engine(work, failover_steps(leaves_queues=leaves_queues))
            if undo:
                engine.undo("as was asked for")
            engine.go()
            return outcome(work, engine, first="check")
        finally:
            journal.close()

    def returned(self, settle: Callable[[CutoverWork], _T]) -> _T:
        """What `settle` does with the old source that is back. Raises OperationError where no failover is over."""
        journal = open_journal(self._way.settings, self._ways.plan.name)
        try:
            journal.lock()
            row = journal.newest()
            if row is None or row.command != "failover" or row.state != "done":
                raise OperationError("no failover of this plan is over: there is no old source that could be back")
            work = self._work(journal, row)
            with work.within(24 * 3600, "verify_s"):
                return settle(work)
        finally:
            journal.close()

    def look(self, look: Callable[[CutoverWork], _T]) -> _T:
        """What `look` finds; nothing is written down."""
        journal = open_journal(self._way.settings, self._ways.plan.name)
        try:
            row = RunRow(0, self._ways.plan.name, "failover", journal.turn() + 1, "running", self._way.source,
                         self._way.target, "", {}, None, "", None)  # fmt: skip
            work = self._work(journal, row)
            with work.within(24 * 3600, "verify_s"):
                return look(work)
        finally:
            journal.close()

    def _noted(self, work: CutoverWork) -> CutoverWork:
        """What the steps are about, as it was when they began. Raises OperationError where the plan says another thing
        now: what was done could neither be gone on with nor undone."""
        back = self._back.settings
        now = {
            "back": {"schema": back.state_schema, "streams": [each.stream for each in back.queues]},
            "back_tables": _tables(back),
            # What is over when it is done: with two_way nothing is.
            "streams": [] if work.is_two_way else [each.stream for each in self._way.settings.queues],
            "tables": _tables(self._way.settings),
        }
        for name, value in now.items():
            if work.facts.get(name, value) != value:
                what = self._back.config if name.startswith("back") else self._way.config
                raise OperationError(
                    f"{what} has other queues, another state_schema, another two_way or other tables than when"
                    f" {work.command} began at {work.row.started}: give it back what it had ({work.facts[name]}), and"
                    " call this again"
                )
        if "streams" not in work.facts:
            work.facts |= now
            work.keep("streams", now["streams"])
        return work

    def run(self, *, undo: bool = False) -> CutoverOutcome:
        """Go the way, or go on with it; `undo` takes back what an earlier call has left."""
        journal = open_journal(self._way.settings, self._ways.plan.name)
        other = open_journal(self._back.settings, self._ways.plan.name)
        try:
            journal.lock()
            other.lock()
            row = self._row(journal, other, undo=undo)
            return self._go(self._noted(self._work(journal, row)), undo=undo)
        finally:
            journal.close()
            other.close()

    def rehearse(self, *, drains: int, verifies: int, is_copied: bool = False) -> Rehearsal:
        """Everything but the switch. Writes heartbeats, and no step. `is_copied`: replay begins behind a copy."""
        journal = open_journal(self._way.settings, self._ways.plan.name)
        try:
            journal.lock()
            row = RunRow(0, self._ways.plan.name, self._command, journal.turn() + 1, "running", self._way.source,
                         self._way.target, "", {}, None, "", None)  # fmt: skip
            work = self._work(journal, row)
            if is_copied and not work.plan.hooks.start:
                with work.within(work.plan.limits.arm_s, "arm_s"):
                    start_replay(work, work.way)
            return rehearse(work, steps(), drains=drains, verifies=verifies)
        finally:
            journal.close()

    def _work(self, journal: CutoverJournal, row: RunRow) -> CutoverWork:
        return CutoverWork(
            plan=self._ways.plan, command=self._command, way=self._way, back=self._back, journal=journal, row=row,
            tell=self._tell, ask=self._ask, log=self._log, facts=dict(row.facts), asked_to_stop=self._stop,
        )  # fmt: skip

    def _row(self, journal: CutoverJournal, other: CutoverJournal, *, undo: bool) -> RunRow:
        self._assert_alone(journal)
        self._assert_alone(other)
        theirs, ours = other.newest(), journal.newest()
        if theirs is not None and theirs.is_open:
            raise OperationError(
                f"{theirs.command} of this plan has begun at {theirs.started} and has not ended: call `pydbsync"
                f" {theirs.command}` again, which goes on with it"
            )
        if ours is not None and ours.is_open:
            if (ours.source, ours.target) != (self._way.source[:255], self._way.target[:255]):
                raise OperationError(
                    f"{ours.command} of this plan began from {ours.source} to {ours.target} and has not ended, and the"
                    f" plan goes from {self._way.source} to {self._way.target} now: give it the former servers back"
                )
            if ours.command != self._command:
                raise OperationError(f"{ours.command} of this plan has not ended: call `pydbsync {ours.command}` again")
            self._tell(f"going on with the {self._command} that {ours.actor} began at {ours.started}")
            return ours
        if undo:
            raise OperationError("no run has been left unfinished: there is nothing to undo")
        here, there = journal.turn(), other.turn()
        if self._command == "cutover" and here > there:
            raise OperationError(f"the plan is cut over already: {self._way.target} is in charge; the way back is"
                                 " `pydbsync rollback`")  # fmt: skip
        if self._command == "rollback" and there <= here:
            raise OperationError(f"the plan is not cut over: {self._way.target} is in charge already")
        self._ask(
            f"{self._command} of {self._ways.plan.name}: close {self._way.source} for writes, and send the applications"
            f" to {self._way.target}. Begin?"
        )
        return journal.begin(self._command, turn=max(here, there) + 1, source=self._way.source, target=self._way.target)

    def _assert_alone(self, journal: CutoverJournal) -> None:
        """A plan that was renamed in the midst of it would take the closed server for one that was closed before."""
        for each in read_runs(journal.connection, journal.schema):
            if each.is_open and each.plan != self._ways.plan.name:
                raise OperationError(
                    f"{each.command} of the plan {each.plan} began at {each.started} and has not ended: go on with it,"
                    " or take it back with --undo (was this plan renamed? Give it its name back)"
                )

    def _go(self, work: CutoverWork, *, undo: bool) -> CutoverOutcome:
        engine = Engine(work, steps())
        if undo:
            if is_opened(work, work.journal.steps(work.row.id)):
                raise StepFailed(f"{self._way.target} has been opened: nothing is undone any more; the way back is the"
                                 " other command")  # fmt: skip
            engine.undo("as was asked for")
        engine.go()
        found = outcome(work, engine)
        work.keep("write_stop_s", found.write_stop_s)
        return found


def _tables(settings: Settings) -> dict[str, object]:
    """Which take part, and as what: of others it would be told too early that all has been applied."""
    return {
        "include": sorted(settings.include), "exclude": sorted(settings.exclude),
        "dbname_rewrite": dict(sorted(settings.dbname_rewrite.items())),
    }  # fmt: skip


def outcome(work: CutoverWork, engine: Engine, first: str = "fence") -> CutoverOutcome:
    """What the journal says; the write stop begins with the step `first`."""
    rows = work.journal.steps(work.row.id)
    return CutoverOutcome(
        command=work.command, plan=work.plan.name, source=work.way.source, target=work.way.target,
        write_stop_s=engine.seconds_between(first, OPEN),
        steps=tuple((row.name, row.state, row.seconds, row.result) for row in rows.values()),
        problems=(
            *work.facts.get("problems", ()),
            *(row.result for row in rows.values() if row.result.startswith("ATTENTION")),
        ),
    )  # fmt: skip
