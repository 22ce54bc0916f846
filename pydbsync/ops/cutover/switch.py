"""The steps of the switch: one direction ended, applications sent, the other server opened, what is over ended."""

from __future__ import annotations

from dataclasses import replace

from pydbsync.errors import ApplyError, ConfigError, TransientError
from pydbsync.ops.cutover.engine import OPEN
from pydbsync.ops.cutover.events import enable_events, events_there
from pydbsync.ops.cutover.fence import Fence, assert_quiet, by_hook
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import end, keep_still, let_go_on
from pydbsync.ops.cutover.sessions import (
    ReadOnly,
    is_closed_by_file,
    keep_after_restart,
    open_after_restart,
    read_only,
    set_read_only,
)
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction, StepFailed
from pydbsync.ops.verify.place import SourcePlace
from pydbsync.ops.words import listed


class StopForth(CutoverStep):
    """The direction that ends writes nothing any more; the server that is gone to is closed until it is opened."""

    name = "stop"
    says = "keep the workers of this direction still, and close the server that is gone to"
    undo_says = "its workers go on, and the server takes writes as before"
    limit = "stop_s"
    needs_others = True

    def do(self, work: CutoverWork) -> str:
        way = work.way
        if work.is_two_way and work.command != "failover":
            return "both directions go on (two_way)"
        keep_still(work, way)
        if not work.plan.hooks.open:
            target = work.servers().target
            if "target_read_only" not in work.facts:
                if read_only(target).read_only and is_closed_by_file(target):
                    work.problem(f"read_only stands in the configuration of {way.target}: take it out there, else it is"
                                 " closed again when it is restarted")  # fmt: skip
                work.keep("target_read_only", read_only(target).read_only)
            if not read_only(target).read_only:
                set_read_only(work, way.settings.target, ReadOnly(True))
        return f"no worker of {way.name} writes to {way.target} any more"

    def undo(self, work: CutoverWork) -> str:
        way = work.way
        former, failure = work.facts.get("target_read_only"), work.facts.get("unswitched")
        if former is not None and not failure:
            set_read_only(work, way.settings.target, ReadOnly(former))
        let_go_on(work, way)
        note = f"; {way.target} stays read_only, since applications may still be sent there" if failure else ""
        return f"the workers of {way.name} go on{note}"

    def still(self, work: CutoverWork) -> None:
        if not work.is_two_way:
            keep_still(work, work.way)


class Switch(CutoverStep):
    """Applications are sent to the other server."""

    name = "switch"
    says = "send the applications to the other server"
    undo_says = "the switch's hook is called the other way round"
    limit = "hook_s"

    def do(self, work: CutoverWork) -> str:
        way = work.way
        work.ask_person(f"Send the applications from {way.source} to {way.target} now?")
        # Behind the question, which may have waited for long: a server that was restarted meanwhile came back open.
        Fence().still(work)
        # A call that was killed may have sent applications already: where the hook `open` leaves the other server open,
        # the way back has brought what they wrote there.
        may_be_there = bool(work.facts.get("switched") and work.plan.hooks.open)
        if not work.is_two_way and not may_be_there:
            assert_quiet(work, way, SourcePlace(*work.facts["quiet_from"]))
        if not work.plan.hooks.switch:
            return f"no hook switch is given: send the applications to {way.target} yourself"
        work.keep("switched", True)
        said = run_hook(work, "switch", work.plan.hooks.switch, way=way)
        return f"the applications are sent to {way.target}" + (f" ({said})" if said else "")

    def undo(self, work: CutoverWork) -> str:
        if not work.facts.get("switched"):
            return ""
        if not work.plan.hooks.switch:
            raise StepFailed("applications were sent by the hook switch, which the plan has no more: give it back")
        try:
            run_hook(work, "switch", work.plan.hooks.switch, way=turned(work.way))
        except StepFailed as exc:
            # Somebody may still write there: the server that was gone to stays closed, and the other one is opened.
            work.keep("unswitched", str(exc))
            return f"ATTENTION: applications could not be sent back: {exc}"
        work.keep("switched", False)
        return f"the applications are sent to {work.way.source}"


def turned(way: Direction) -> Direction:
    """The same with both ends exchanged, for a hook that is to send applications back."""
    settings = way.settings
    if settings.source is None:
        return way
    return replace(way, settings=replace(settings, source=settings.target, target=settings.source))


class OpenWrites(CutoverStep):
    """The other server takes writes. From here on nothing is undone."""

    name = OPEN
    says = "open the other server"
    undo_says = "nothing is undone from here on: the way back is `rollback`"
    limit = "fence_s"

    def do(self, work: CutoverWork) -> str:
        way = work.way
        if not work.facts.get("opening"):
            work.keep("opening", False)
        target = work.servers().target
        closed = self._source_closed(work)
        work.keep("opening", True)  # from here on writes may come in, whatever fails
        if work.facts.get("target_read_only") is not None and work.plan.hooks.open:
            set_read_only(work, way.settings.target, ReadOnly(False))  # the plan got its hook after we closed it
        if work.plan.hooks.open:
            run_hook(work, "open", work.plan.hooks.open, way=way)
        else:
            self._open(work)
        missing = enable_events(target, events_there(work.facts.get("fence", {}).get("events", []), way.settings))
        note = f"; it does not have the events {listed(missing)}" if missing else ""
        return f"{closed}{way.target} takes writes{note}"

    def _open(self, work: CutoverWork) -> None:
        """A server that refuses to be opened and says that it is closed has let nobody in: it can be undone."""
        try:
            set_read_only(work, work.way.settings.target, ReadOnly(False))
        except StepFailed:
            if read_only(work.servers().target).read_only:
                work.keep("opening", False)
            raise
        open_after_restart(work.servers().target)

    def _source_closed(self, work: CutoverWork) -> str:
        """Applications are here already: the server that was left is closed once more if it was restarted meanwhile.
        What somebody has written there behind the look of `switch` would be missing here: it is undone then."""
        source = work.way.settings.source
        if work.command == "failover" or source is None or work.is_two_way:
            return ""
        note = ""
        try:
            Fence().still(work)
        except StepFailed:
            set_read_only(work, source, ReadOnly(True))
            note = f"ATTENTION: {work.way.source} was open again (a restart?) and is closed anew; "
        except (TransientError, ConfigError) as exc:
            return f"ATTENTION: {work.way.source} is away ({exc}), and may come back open; "
        # With a hook `open`, or once it was opened, the way back brings what applications write here.
        if not (work.facts["opening"] or work.plan.hooks.open) and "quiet_from" in work.facts:
            assert_quiet(work, work.way, SourcePlace(*work.facts["quiet_from"]))
        return note


class Retire(CutoverStep):
    """Capture and replay of the direction that has ended are ended too."""

    name = "retire"
    says = "end capture and replay of the direction that is over"
    limit = "stop_s"

    def do(self, work: CutoverWork) -> str:
        work.keep("retired", True)
        if work.is_two_way:
            return "both directions go on (two_way)"
        try:
            return end(work, work.way) + self._stays_closed(work)
        except (StepFailed, ApplyError) as exc:
            return f"ATTENTION: {exc}. Its workers are kept still (`pydbsync pause`); its queues fill up until then"

    def _stays_closed(self, work: CutoverWork) -> str:
        """Behind the last step nobody looks whether the server that was left is closed."""
        if work.command == "failover" or by_hook(work):
            return ""
        try:
            is_lasting = keep_after_restart(work.servers().source)
        except (ApplyError, ConfigError):
            return ""
        if is_lasting:
            return f"; {work.way.source} stays read_only when it is restarted (SET PERSIST)"
        return f"; write read_only into the configuration of {work.way.source}: a restart would open it"
