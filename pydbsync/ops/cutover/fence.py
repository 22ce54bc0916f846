"""The steps before and at the fence: may it begin, close the server that is left, prove that nothing is on its way."""

from __future__ import annotations

import socket
import time

from pydbsync.apply.connection import Connection
from pydbsync.apply.pause_table import PauseTable
from pydbsync.engine.table_plans import router_from
from pydbsync.errors import ApplyError, OperationError, PydbsyncError, SourceError
from pydbsync.model import TableName
from pydbsync.ops.cutover.engine import Step, StepFailed, Way, Work
from pydbsync.ops.cutover.events import disable_events, enable_events, enabled_events
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import running
from pydbsync.ops.cutover.sessions import (
    ReadOnly,
    end_sessions,
    long_transactions,
    prepared,
    privileged,
    read_only,
    set_read_only,
)
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import counted, listed
from pydbsync.ops.doctor.run import examine
from pydbsync.ops.heartbeat import beat_once
from pydbsync.ops.servers import SYSTEM_DATABASES, Server
from pydbsync.ops.verify.place import Passed, SourcePlace, Streams, carries
from pydbsync.plan.quoting import quote_name
from pydbsync.route.filters import Filters

_POLL_S = 0.02
_READ_ONLY_CHECKS = frozenset({"read-only", "source-read-only"})


class Check(Step):
    """May it begin? Changes nothing."""

    name = "check"
    says = "doctor, rights, nothing parked, level, a comparison that was equal"
    limit = "verify_s"

    def __init__(self, *, asks_age: bool = True) -> None:
        """`asks_age`: whether a comparison must have been equal lately."""
        self._asks_age = asks_age

    def do(self, work: Work) -> str:
        if problems := self.look(work):
            raise StepFailed("; ".join(problems))
        return "nothing stands against it"

    def look(self, work: Work) -> list[str]:
        way = work.way
        problems = doctor_errors(way)
        problems += own_rights(work)
        source, target = work.servers().source, work.servers().target
        problems += [f"the XA transaction {each} is prepared at {way.source}: commit or roll it back, since whoever"
                     " commits it later writes past the fence" for each in prepared(source)]  # fmt: skip
        problems += [f"{each} at {way.source}: it would be rolled back; end it, or raise limits.transaction_s"
                     for each in long_transactions(source, work.plan.limits.transaction_s)]  # fmt: skip
        problems += parked(target, way)
        problems += paused(target, way)
        problems += unrouted(work.back, way)
        if work.plan.hooks.start == "" and (elsewhere := _elsewhere(target, way)):
            problems.append(elsewhere)
        if not problems:
            problems += _behind(work)
            problems += _verify_age(work) if self._asks_age else []
        return problems


def doctor_errors(way: Way, *, but: frozenset[str] = frozenset()) -> list[str]:
    """What `doctor` calls an error, but for what a cut-over itself has set, and checks that say nothing here."""
    report = examine(Examination(way.settings), skip=("canary", "stream"))
    return [
        f"doctor ({way.name}): {each.text}; {each.remedy}"
        for each in report.findings
        if each.level == "error" and each.check not in _READ_ONLY_CHECKS | but
    ]


def own_rights(work: Work) -> list[str]:
    """Whether our users may close and open both servers, and write to a closed one."""
    problems = []
    hooks = work.plan.hooks
    for way, end, does in (
        (work.way, "source", not hooks.fence),
        (work.way, "target", True),
        (work.back, "target", True),
    ):
        exam = Examination(way.settings)
        try:
            grants, account = exam.grants(end), exam.account(end)
            connection = exam.source() if end == "source" else exam.target()
            wanted = ("READ_ONLY ADMIN",) if connection.dialect.is_mariadb else (
                "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN")  # fmt: skip
            if (
                does
                and (lacks := grants.lacks(wanted))
                and not (
                    connection.dialect.is_mariadb and connection.dialect.version < (10, 11) and grants.has("SUPER")
                )
            ):
                address = way.source if end == "source" else way.target
                problems.append(
                    f"{account} at {address} lacks {listed(lacks)}: it has to close and open the server, and to write"
                    " while others may not"
                )
        except PydbsyncError as exc:
            problems.append(f"the rights at the {end} of {way.name} cannot be seen: {exc}")
        finally:
            exam.close()
    return problems


def parked(target: Server, way: Way) -> list[str]:
    """What is parked in the direction."""
    try:
        count = int(target.value(
            f"SELECT COUNT(*) FROM {quote_name(way.settings.state_schema)}.parked WHERE status = 'parked'"
            " AND stream IN %s", (tuple(queue.stream for queue in way.settings.queues) or ("",),),
        ))  # fmt: skip
    except ApplyError as exc:
        if exc.code not in (1049, 1146):
            raise
        return [f"nothing was ever replayed by {way.name}: copy, and let replay run first"]
    return (
        [f"{count:,} changes are parked: `pydbsync parked list`, mend the cause, then `parked retry`"] if count else []
    )


def paused(target: Server, way: Way) -> list[str]:
    """What an operator has paused of the direction: it would be waited for in vain, and never go on by itself."""
    try:
        found = target.call(PauseTable(way.settings.state_schema).all)
    except ApplyError as exc:
        if exc.code not in (1049, 1146):
            raise
        return []
    streams = {"", *(queue.stream for queue in way.settings.queues)}
    return [f"paused: {pause} (`pydbsync resume`)" for pause in found if pause.stream in streams]


def unrouted(back: Way, way: Way) -> list[str]:
    """Tables that the capture of the way back would take and no queue would: it would end at the first change."""
    state = TableName(way.settings.state_schema, "checkpoint")
    if not back.settings.queues:
        return [f"{back.config} has no queues (rabbitmq_queue_bind)"]
    taken = Filters(include=back.settings.include, exclude=back.settings.exclude).takes(state)
    if taken and not any(carries(queue, str(state)) for queue in back.settings.queues):
        return [
            f"capture with {back.config} would publish {state}, which no queue takes, and end:"
            f" `exclude: ['{state.database}']` there"
        ]
    return []


def _elsewhere(target: Server, way: Way) -> str:
    found = [each for each in target.call(lambda connection: running(connection, way))
             if each.host != socket.gethostname()]  # fmt: skip
    return (
        f"{found[0]} runs on another machine, where it cannot be ended from here: give the plan the hooks start and"
        " stop, or call this there"
        if found
        else ""
    )


def _behind(work: Work) -> list[str]:
    limit_s = work.plan.limits.lag_s
    beat(work, work.way)
    place, began = source_place(work, work.way), time.monotonic()
    while problem := not_passed(work, work.way, place):
        if time.monotonic() - began >= limit_s:
            return [f"the target is more than {limit_s:g} s behind ({problem}): wait until it is level (limits.lag_s)"]
        work.wait(_POLL_S)
    return []


def _verify_age(work: Work) -> list[str]:
    limit_s = work.plan.limits.verify_age_s
    if not limit_s:
        return []
    age = work.servers().target.value(
        "SELECT TIMESTAMPDIFF(SECOND, MAX(started_at), CURRENT_TIMESTAMP(6)) FROM"
        f" {quote_name(work.way.settings.state_schema)}.task WHERE kind = 'verify' AND exit_code = 0"
        " AND ended_at IS NOT NULL"
    )
    if age is None:
        return ["no comparison has found both servers equal yet: `pydbsync verify`, or `pydbsync rehearse` (or"
                " limits.verify_age_s: 0)"]  # fmt: skip
    if int(age) > limit_s:
        return [f"the last comparison that was equal is {int(age):,} s old (limits.verify_age_s is {limit_s:g})"]
    return []


class Fence(Step):
    """No write of an application gets into the server that is left."""

    name = "fence"
    says = "close the server that is left, and end the applications' sessions"
    undo_says = "the server that was left is opened again, its events are enabled"
    limit = "fence_s"

    def __init__(self) -> None:
        self._ended = 0

    def do(self, work: Work) -> str:
        way = work.way
        servers = work.servers()
        if "fence" not in work.facts:
            former = read_only(servers.source)
            events = enabled_events(servers.source, way.settings) if work.plan.events else []
            # How it was closed: the plan may be another one when it is opened again.
            work.keep("fence", {"read_only": former.read_only, "super": former.super_read_only, "events": events,
                                "hook": bool(work.plan.hooks.fence)})  # fmt: skip
        beat(work, way)
        now = enabled_events(servers.source, way.settings)
        disable_events(servers.source, [each for each in work.facts["fence"]["events"] if each in now])
        if by_hook(work):
            if not work.plan.hooks.fence:
                raise StepFailed("it was begun with the hook fence, which the plan has no more: give it back")
            run_hook(work, "fence", work.plan.hooks.fence, way=way)
        elif way.settings.source is not None:
            is_mysql = not servers.source.dialect.is_mariadb
            # A session that is to be ended anyway may hold LOCK TABLES, for which the server would wait.
            set_read_only(work, way.settings.source, ReadOnly(True, super_read_only=is_mysql),
                          while_waiting=lambda: self._end_sessions(work))  # fmt: skip
        ended = self._end_sessions(work)
        if found := prepared(servers.source):
            raise StepFailed(f"the XA transaction {found[0]} is prepared at {way.source}")
        work.keep("fence_place", list(source_place(work, way)))
        may = [] if by_hook(work) or not servers.source.dialect.is_mariadb else privileged(servers.source)
        note = f"; these may write all the same: {listed(may)}" if may else ""
        return f"{way.source} takes no writes of applications any more; ended: {counted(ended, 'session')}{note}"

    def _end_sessions(self, work: Work) -> int:
        self._ended += end_sessions(work, work.servers().source, work.plan.sessions, own_users(work))
        return self._ended

    def undo(self, work: Work) -> str:
        found = work.facts.get("fence")
        if found is None:
            return ""
        way = work.way
        if by_hook(work):
            if not work.plan.hooks.unfence:
                raise StepFailed("it was closed by the hook fence, and the plan has no hook unfence any more: give it"
                                 " back")  # fmt: skip
            run_hook(work, "unfence", work.plan.hooks.unfence, way=way)
        elif way.settings.source is not None:
            set_read_only(work, way.settings.source, ReadOnly(found["read_only"], found["super"]))
        enable_events(work.servers().source, found["events"])
        return f"{way.source} takes writes as before"

    def still(self, work: Work) -> None:
        if by_hook(work) or "retired" in work.facts:
            return
        if not read_only(work.servers().source).read_only:
            raise StepFailed(f"{work.way.source} is not read_only any more: writes may have come in")


def by_hook(work: Work) -> bool:
    """Whether the server was closed by the operator's hook."""
    return bool(work.facts.get("fence", {}).get("hook", work.plan.hooks.fence))


class Drain(Step):
    """All that was written before the fence is applied."""

    name = "drain"
    says = "wait until every queue has been applied up to the fence"
    limit = "drain_s"

    def do(self, work: Work) -> str:
        began = time.monotonic()
        place = SourcePlace(*work.facts["fence_place"])
        while problem := not_passed(work, work.way, place):
            work.waits_for = problem
            work.wait(_POLL_S)
        if problems := parked(work.servers().target, work.way):
            raise StepFailed("; ".join(problems))
        count = len(work.way.settings.queues)
        return f"{counted(count, 'queue')} applied up to {place}, after {time.monotonic() - began:.2f} s"


def own_users(work: Work) -> set[str]:
    """The users as whom we and our tools are at the server that is left."""
    servers = (work.way.settings.source, work.back.settings.target)
    return {str(each.connect.get("user", "")) for each in servers if each is not None}


def beat(work: Work, way: Way) -> bool:
    """Write the heartbeat once, where a queue carries it: so each of them gets something to apply that is new."""
    if not any(carries(queue, way.settings.heartbeat_table) for queue in way.settings.queues):
        return False
    filters = Filters(include=way.settings.include, exclude=way.settings.exclude)
    if not filters.takes(TableName(*way.settings.heartbeat_table.split(".", 1))):
        return False  # capture leaves it out, and it would be waited for in vain
    source = way.settings.source
    if source is None:
        return False
    connection = Connection(source.connect_keywords(), key=source.key, read_timeout_s=10)
    try:
        beat_once(connection, way.settings.heartbeat_table)
    except ApplyError as exc:  # it is closed already, or the right is missing: the place in the binlog proves it too
        work.log.info("no heartbeat is written: %s", exc)
        return False
    finally:
        connection.close()
    return True


def source_place(work: Work, way: Way) -> SourcePlace:
    """The end of the binlog of the direction's source now. Raises StepFailed where it cannot be seen."""
    servers = work.servers(way)
    streams = Streams(way.settings, servers.source, servers.target)
    place = streams.source_place()
    if place is None:
        raise StepFailed(streams.why_unknown)
    return place


def tables_of(work: Work, way: Way, *, with_heartbeat: bool = False) -> dict[str, list[TableName]]:
    """The source's tables that take part, by the stream that carries them; looked up once a step."""
    if (found := work.tables.get((way.name, with_heartbeat))) is not None:
        return found
    router = router_from(way.settings)
    names = [
        TableName(str(database), str(table))
        for database, table in work.servers(way).source.rows(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type NOT IN ('VIEW',"
            " 'SYSTEM VIEW', 'SEQUENCE')"
        )
        if str(database) not in SYSTEM_DATABASES
    ]
    taken = [name for name in names if router.takes(name)]
    if with_heartbeat:
        taken.append(TableName(*way.settings.heartbeat_table.split(".", 1)))
    found = {queue.stream: [name for name in taken if carries(queue, str(name))] for queue in way.settings.queues}
    work.tables[way.name, with_heartbeat] = found
    return found


def not_passed(work: Work, way: Way, place: SourcePlace, *, with_heartbeat: bool = False) -> str:
    """Empty where every queue of the direction has been applied up to the place; else which has not, in a sentence.

    Raises StepFailed where it cannot be told.
    """
    servers = work.servers(way)
    for stream, tables in tables_of(work, way, with_heartbeat=with_heartbeat).items():
        if not tables:
            continue
        streams = Streams(way.settings, servers.source, servers.target, streams=[stream])
        answer = streams.passed(place, tables)
        if answer is Passed.UNKNOWN:
            raise StepFailed(
                f"whether the queue {stream} has been applied up to {place} cannot be told: {streams.why_unknown}; a"
                " heartbeat that is bound to it tells (`pydbsync heartbeat`)"
            )
        if answer is Passed.NO:
            checkpoint = streams.checkpoint(stream)
            return f"{stream} stands at {checkpoint.position() if checkpoint else 'nothing'} and not at {place}"
    return ""


def assert_quiet(work: Work, way: Way, begin: SourcePlace) -> SourcePlace:
    """Nothing was written at the direction's source since then but by us; the end of its binlog. Raises StepFailed."""
    servers = work.servers(way)
    now = source_place(work, way)
    tables = sorted({name for names in tables_of(work, way).values() for name in names})
    try:
        is_quiet = Streams(way.settings, servers.source, servers.target).is_quiet(begin, now, tables)
    except (ApplyError, OperationError, SourceError) as exc:
        raise StepFailed(f"whether anybody wrote past the fence cannot be seen in the binlog: {exc}") from exc
    if not is_quiet:
        raise StepFailed(
            f"somebody wrote to tables that take part at {way.source} after it was closed, between {begin} and {now}:"
            " take the right to write on a read_only server from that account, or close it by a hook"
        )
    return now
