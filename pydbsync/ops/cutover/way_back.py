"""The steps that begin the way back, and watch it: it carries before anybody writes at the other server."""

from __future__ import annotations

import time

from pydbsync.ops.cutover.fence import beat, not_passed, parked, source_place
from pydbsync.ops.cutover.processes import (
    assert_capturing,
    capture_name,
    empty_queues,
    end,
    forget_capture,
    let_go_on,
    running,
    start,
    start_replay,
    wait_for_workers,
)
from pydbsync.ops.cutover.sessions import read_only
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, StepFailed
from pydbsync.ops.verify.place import SourcePlace

_POLL_S = 0.05


class Ready(CutoverStep):
    """What of the way back can be started before anybody has to wait for it."""

    name = "ready"
    says = "have replay of the way back follow its empty queues"
    undo_says = "replay of the way back ends"
    limit = "arm_s"

    def do(self, work: CutoverWork) -> str:
        back = work.back
        if work.is_two_way:
            wait_for_workers(work, back)
            return f"replay of {back.name} follows its queues (two_way)"
        if "ready" not in work.facts:
            end(work, back)
            removed = empty_queues(back)
            if removed:
                work.tell(f"    {removed:,} old messages were removed from the queues of {back.name}")
            beat(work, back)  # it may have to make the table, which need not be carried
            work.keep("ready", True)
        if work.plan.hooks.start:
            return "the hook start has both started later"
        let_go_on(work, back)
        start_replay(work, back)
        return f"replay of {back.name} follows its queues"

    def undo(self, work: CutoverWork) -> str:
        if "ready" not in work.facts:
            return ""
        return end(work, work.back)

    def still(self, work: CutoverWork) -> None:
        if work.plan.hooks.start or work.is_two_way:
            return
        # With super_read_only at its target the worker cannot even write that it follows; `arm` sees to it then.
        if not read_only(work.servers(work.back).target).super_read_only:
            start_replay(work, work.back)


class Arm(CutoverStep):
    """The way back carries what will be written, before anything is."""

    name = "arm"
    says = "start capture and replay of the way back, and prove that they carry"
    undo_says = "capture and replay of the way back end"
    limit = "arm_s"

    def do(self, work: CutoverWork) -> str:
        back = work.back
        if work.is_two_way:
            return f"{back.name} carries what is written to {back.source} (two_way){self._proven(work)}"
        if "back_from" not in work.facts:
            forget_capture(work, back)
            work.keep("back_from", list(source_place(work, back)))
        begin = SourcePlace(*work.facts["back_from"])
        let_go_on(work, back)
        start(work, back, str(begin))
        if not work.plan.hooks.start:
            work.keep("back_capture", capture_name(work, back))  # whose row `status` looks for
        return f"the way back carries what is written to {back.source} from {begin} on{self._proven(work)}"

    def _proven(self, work: CutoverWork) -> str:
        back = work.back
        if not beat(work, back):
            return " (no queue of it carries the heartbeat: that it does is not proven before the first write)"
        place = source_place(work, back)
        began = time.monotonic()
        while problem := self._not_carried(work, place):
            work.waits_for = problem
            if not work.is_two_way:
                assert_capturing(work, back)
            work.wait(_POLL_S)
        return f"; a heartbeat took {time.monotonic() - began:.2f} s"

    def _not_carried(self, work: CutoverWork, place: SourcePlace) -> str:
        try:
            return not_passed(work, work.back, place, with_heartbeat=True)
        except StepFailed as exc:
            return str(exc)  # a new stream has no checkpoint yet

    def undo(self, work: CutoverWork) -> str:
        return end(work, work.back) if "back_from" in work.facts else ""

    def still(self, work: CutoverWork) -> None:
        if not work.is_two_way:
            start(work, work.back, str(SourcePlace(*work.facts["back_from"])))


class WatchBack(CutoverStep):
    """The first seconds: does the way back follow?"""

    name = "watch"
    says = "watch the way back"
    limit = "watch_s"

    def limit_s(self, work: CutoverWork) -> float:
        return 60 + work.plan.limits.watch_s

    def do(self, work: CutoverWork) -> str:
        back = work.back
        ends_at = time.monotonic() + work.plan.limits.watch_s
        problems: list[str] = []
        while time.monotonic() < ends_at:
            found = work.servers(back).target.call(lambda connection: running(connection, back))
            following = {each.name for each in found if each.is_following}
            problems = [f"no worker follows {queue.stream}" for queue in back.settings.queues
                        if queue.stream not in following]  # fmt: skip
            problems += parked(work.servers(back).target, back)
            if not work.is_two_way:
                try:
                    assert_capturing(work, back)
                except StepFailed as exc:
                    problems.append(str(exc))
            work.wait(min(1.0, max(0.05, ends_at - time.monotonic())))
        work.keep("watch_problems", problems)
        return "ATTENTION: " + "; ".join(problems) if problems else "the way back follows, nothing is parked"
