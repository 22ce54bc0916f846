"""Takes the steps of a cut-over one by one, each written down before and behind it; what fails is undone backwards.

A kill at any moment leaves the journal: the next call, from whichever machine, finds the run there, does the step that
was begun once more (each can be done twice), and goes on; or goes on undoing. Once the other server has been opened
nothing is undone any more: writes may have come in there, and the way back is `rollback`.
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping, Sequence

from pydbsync.errors import ApplyError, PydbsyncError
from pydbsync.killpoints import kill_point
from pydbsync.ops.cutover.journal import StepRow, Taken
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, StepFailed, Undone

OPEN: str = "open"
"""The step from which on nothing is undone."""
_BLIND_S = 5.0
"""How long a step may take to be undone while the journal's server is away: applications wait."""


def is_opened(work: CutoverWork, begun: Container[str]) -> bool:
    """Whether writes may have come in at the server that is gone to: nothing is undone any more then."""
    return OPEN in begun and bool(work.facts.get("opening", True))


class Engine:
    """Runs the steps of one call."""

    def __init__(self, work: CutoverWork, steps: Sequence[CutoverStep]) -> None:
        self._work = work
        self._steps = steps
        self._begun: set[str] = set()
        """The names of steps that were begun and not undone, as far as this call knows."""
        self._times: dict[str, tuple[float, float]] = {}
        """When steps that this call has done began and ended, by a clock that nobody sets."""

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

    def seconds_between(self, first: str, last: str) -> float | None:
        """From the beginning of one step to the end of another. Where an earlier call has begun it, the clock of the
        journal's server tells, which may have been set meanwhile; None where that cannot be."""
        if first in self._times and last in self._times:
            return self._times[last][1] - self._times[first][0]
        found = self._work.journal.seconds_between(self._work.row.id, first, last)
        return None if found is None or found < 0 else found

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

    def _do(self, number: int, step: CutoverStep) -> None:
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
        self._times[step.name] = began, time.monotonic()
        kill_point(f"cutover-{step.name}-written")
        work.tell(f"    {time.monotonic() - began:.2f} s: {result}")

    def _failed(self, step: CutoverStep, exc: PydbsyncError) -> None:
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
