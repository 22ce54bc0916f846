"""The steps from the comparison to the opening: equal, one direction ended, the other one armed, switched, opened."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta

from pydbsync.errors import ApplyError, ConfigError, TransientError
from pydbsync.ops.cutover.engine import OPEN, Step, StepFailed, Way, Work
from pydbsync.ops.cutover.events import enable_events
from pydbsync.ops.cutover.fence import Fence, assert_quiet, beat, by_hook, not_passed, parked, source_place
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import (
    assert_capturing,
    empty_queues,
    end,
    forget_capture,
    keep_still,
    let_go_on,
    running,
    start,
    start_replay,
    wait_for_workers,
)
from pydbsync.ops.cutover.sessions import (
    ReadOnly,
    is_closed_by_file,
    keep_after_restart,
    open_after_restart,
    read_only,
    set_read_only,
)
from pydbsync.ops.doctor.finding import listed
from pydbsync.ops.told import telling
from pydbsync.ops.verify.compare import CompareOptions, Since
from pydbsync.ops.verify.place import SourcePlace
from pydbsync.ops.verify.report import Report
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.ops.verify.settle import SettleOptions
from pydbsync.plan.quoting import quote_name

_POLL_S = 0.05
_MARGIN_S = 60
_ZONES_S = 36 * 3600
"""A DATETIME is meant in whatever zone the application has, and a DATE is the beginning of its day."""
_LIVE_PASSES = 3


class Verify(Step):
    """Both servers hold the same rows."""

    name = "verify"
    says = "compare both servers"
    limit = "verify_s"

    def do(self, work: Work) -> str:
        if work.plan.verify == "none":
            return "nothing was compared, as the plan says"
        return compare(work, is_live=work.is_two_way)


def compare(work: Work, *, is_live: bool = False) -> str:
    """Compare as the plan says. Raises StepFailed where something differs, or could not be compared.

    `is_live`: while the application writes; rows that changed whenever they were looked at say nothing then, and are
    not looked at for long.
    """
    way = work.way
    since = since_last(work) if work.plan.since_column else None
    settle = SettleOptions(passes=_LIVE_PASSES) if is_live else SettleOptions()
    options = VerifyOptions(jobs=work.plan.verify_jobs, compare=CompareOptions(since=since), settle=settle)
    with telling(way.settings, "verify", name=work.command) as told:
        report = Verification(way.settings, options, stop=work.stop, log=work.log).run()
        told.row.exit_code = report.exit_code()
    if work.stop.is_set():
        work.wait(0)
    only_in_flux = is_live and all(
        table.status == "equal" or (table.in_flux and not (table.different or table.structure or table.error))
        for table in report.tables
    )
    if report.exit_code() != 0 and not only_in_flux:
        raise StepFailed(f"both servers are not equal: {different(report)}; `pydbsync verify` shows the rows")
    rows = sum(table.source_rows for table in report.tables)
    changed = f" that have changed since {since.value}" if since else ""
    return f"{len(report.tables)} tables with {rows:,} rows{changed} are equal"


def since_last(work: Work) -> Since:
    """From when on rows are compared: the beginning of the last comparison of all rows that was equal."""
    source, target = work.servers().source, work.servers().target
    found = target.value(
        "SELECT CAST(CONVERT_TZ(MAX(started_at), @@session.time_zone, '+00:00') AS CHAR) FROM"
        f" {quote_name(work.way.settings.state_schema)}.task WHERE kind = 'verify' AND exit_code = 0 AND name = ''"
    )
    if found is None:
        raise StepFailed(
            "no comparison of all rows has been equal yet: `pydbsync verify`, or `verify: full` in the plan"
        )
    # The target's clock says when that was, and the source's when a row has changed.
    now = "SELECT UNIX_TIMESTAMP(NOW(6))"
    margin_s = _MARGIN_S + max(0.0, float(target.value(now)) - float(source.value(now)))
    if source.value(
        "SELECT 1 FROM information_schema.columns WHERE column_name = %s AND data_type <> 'timestamp' LIMIT 1",
        (work.plan.since_column,),
    ):
        margin_s += _ZONES_S
    begun = datetime.fromisoformat(str(found)) - timedelta(seconds=margin_s)
    return Since(work.plan.since_column, begun.replace(microsecond=0).isoformat(" "))


def different(report: Report) -> str:
    """Which tables, and how."""
    return listed(
        f"{table.target} ({table.error or '; '.join(table.structure) or f'{table.different:,} rows differ'})"
        for table in report.tables
        if table.status != "equal"
    )


class StopForth(Step):
    """The direction that ends writes nothing any more; the server that is gone to is closed until it is opened."""

    name = "stop"
    says = "keep the workers of this direction still, and close the server that is gone to"
    undo_says = "its workers go on, and the server takes writes as before"
    limit = "stop_s"
    needs_others = True

    def do(self, work: Work) -> str:
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

    def undo(self, work: Work) -> str:
        way = work.way
        former, failure = work.facts.get("target_read_only"), work.facts.get("unswitched")
        if former is not None and not failure:
            set_read_only(work, way.settings.target, ReadOnly(former))
        let_go_on(work, way)
        note = f"; {way.target} stays read_only, since applications may still be sent there" if failure else ""
        return f"the workers of {way.name} go on{note}"

    def still(self, work: Work) -> None:
        if not work.is_two_way:
            keep_still(work, work.way)


class Ready(Step):
    """What of the way back can be started before anybody has to wait for it."""

    name = "ready"
    says = "have replay of the way back follow its empty queues"
    undo_says = "replay of the way back ends"
    limit = "arm_s"

    def do(self, work: Work) -> str:
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

    def undo(self, work: Work) -> str:
        if "ready" not in work.facts:
            return ""
        return end(work, work.back)

    def still(self, work: Work) -> None:
        if work.plan.hooks.start or work.is_two_way:
            return
        # With super_read_only at its target the worker cannot even write that it follows; `arm` sees to it then.
        if not read_only(work.servers(work.back).target).super_read_only:
            start_replay(work, work.back)


class Arm(Step):
    """The way back carries what will be written, before anything is."""

    name = "arm"
    says = "start capture and replay of the way back, and prove that they carry"
    undo_says = "capture and replay of the way back end"
    limit = "arm_s"

    def do(self, work: Work) -> str:
        back = work.back
        if work.is_two_way:
            return f"{back.name} carries what is written to {back.source} (two_way){self._proven(work)}"
        if "back_from" not in work.facts:
            forget_capture(work, back)
            work.keep("back_from", list(source_place(work, back)))
        begin = SourcePlace(*work.facts["back_from"])
        let_go_on(work, back)
        start(work, back, str(begin))
        return f"the way back carries what is written to {back.source} from {begin} on{self._proven(work)}"

    def _proven(self, work: Work) -> str:
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

    def _not_carried(self, work: Work, place: SourcePlace) -> str:
        try:
            return not_passed(work, work.back, place, with_heartbeat=True)
        except StepFailed as exc:
            return str(exc)  # a new stream has no checkpoint yet

    def undo(self, work: Work) -> str:
        return end(work, work.back) if "back_from" in work.facts else ""

    def still(self, work: Work) -> None:
        if not work.is_two_way:
            start(work, work.back, str(SourcePlace(*work.facts["back_from"])))


class Switch(Step):
    """Applications are sent to the other server."""

    name = "switch"
    says = "send the applications to the other server"
    undo_says = "the switch's hook is called the other way round"
    limit = "hook_s"

    def do(self, work: Work) -> str:
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

    def undo(self, work: Work) -> str:
        if not work.facts.get("switched"):
            return ""
        try:
            run_hook(work, "switch", work.plan.hooks.switch, way=turned(work.way))
        except StepFailed as exc:
            # Somebody may still write there: the server that was gone to stays closed, and the other one is opened.
            work.keep("unswitched", str(exc))
            return f"ATTENTION: applications could not be sent back: {exc}"
        work.keep("switched", False)
        return f"the applications are sent to {work.way.source}"


def turned(way: Way) -> Way:
    """The same with both ends exchanged, for a hook that is to send applications back."""
    settings = way.settings
    if settings.source is None:
        return way
    return replace(way, settings=replace(settings, source=settings.target, target=settings.source))


class Open(Step):
    """The other server takes writes. From here on nothing is undone."""

    name = OPEN
    says = "open the other server"
    undo_says = "nothing is undone from here on: the way back is `rollback`"
    limit = "fence_s"

    def do(self, work: Work) -> str:
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
        missing = enable_events(target, work.facts.get("fence", {}).get("events", []))
        note = f"; it does not have the events {listed(missing)}" if missing else ""
        return f"{closed}{way.target} takes writes{note}"

    def _open(self, work: Work) -> None:
        """A server that refuses to be opened and says that it is closed has let nobody in: it can be undone."""
        try:
            set_read_only(work, work.way.settings.target, ReadOnly(False))
        except StepFailed:
            if read_only(work.servers().target).read_only:
                work.keep("opening", False)
            raise
        open_after_restart(work.servers().target)

    def _source_closed(self, work: Work) -> str:
        """Applications are here already: the server that was left is closed once more if it was restarted meanwhile."""
        source = work.way.settings.source
        if work.command == "failover" or source is None or work.is_two_way:
            return ""
        try:
            Fence().still(work)
        except StepFailed:
            set_read_only(work, source, ReadOnly(True))
            return f"ATTENTION: {work.way.source} was open again (a restart?) and is closed anew; "
        except (TransientError, ConfigError) as exc:
            return f"ATTENTION: {work.way.source} is away ({exc}), and may come back open; "
        return ""


class Watch(Step):
    """The first seconds: does the way back follow?"""

    name = "watch"
    says = "watch the way back"
    limit = "watch_s"

    def limit_s(self, work: Work) -> float:
        return 60 + work.plan.limits.watch_s

    def do(self, work: Work) -> str:
        back = work.back
        ends_at = time.monotonic() + work.plan.limits.watch_s
        problems: list[str] = []
        while time.monotonic() < ends_at:
            found = work.servers(back).target.call(lambda connection: running(connection, back))
            following = {each.name for each in found if each.is_following}
            problems = [f"no worker follows {queue.stream}" for queue in back.settings.queues
                        if queue.stream not in following]  # fmt: skip
            problems += parked(work.servers(back).target, back)
            work.wait(min(1.0, max(0.05, ends_at - time.monotonic())))
        work.keep("watch_problems", problems)
        return "ATTENTION: " + "; ".join(problems) if problems else "the way back follows, nothing is parked"


class Retire(Step):
    """Capture and replay of the direction that has ended are ended too."""

    name = "retire"
    says = "end capture and replay of the direction that is over"
    limit = "stop_s"

    def do(self, work: Work) -> str:
        work.keep("retired", True)
        if work.is_two_way:
            return "both directions go on (two_way)"
        try:
            return end(work, work.way) + self._stays_closed(work)
        except (StepFailed, ApplyError) as exc:
            return f"ATTENTION: {exc}. Its workers are kept still (`pydbsync pause`); its queues fill up until then"

    def _stays_closed(self, work: Work) -> str:
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
