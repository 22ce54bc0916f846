"""The step before all others: may a cut-over begin? It changes nothing."""

from __future__ import annotations

import socket
import time

from pydbsync.apply.tables.pause import PauseTable
from pydbsync.errors import ApplyError, PydbsyncError
from pydbsync.model import End, TableName
from pydbsync.ops.cutover.carry import reported
from pydbsync.ops.cutover.fence import beat, not_passed, parked, source_place
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import running
from pydbsync.ops.cutover.sessions import long_transactions, replicated_from
from pydbsync.ops.cutover.triggers import orphans, refused_creator, refused_definers
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction, StepFailed
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.run import examine
from pydbsync.ops.doctor.source import prepared_transactions
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.place import carries
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_name
from pydbsync.route.filters import Filters

_POLL_S = 0.02
_READ_ONLY_CHECKS = frozenset({"read-only", "source-read-only"})


class MayBegin(CutoverStep):
    """May it begin? Changes nothing."""

    name = "check"
    says = "doctor, rights, nothing parked, level, a comparison that was equal"
    limit = "verify_s"

    def __init__(self, *, asks_age: bool = True) -> None:
        """`asks_age`: whether a comparison must have been equal lately."""
        self._asks_age = asks_age

    def do(self, work: CutoverWork) -> str:
        if problems := self.look(work):
            raise StepFailed("; ".join(problems))
        servers = work.servers()
        return "; ".join(("nothing stands against it", *reported(work.way, servers.source, servers.target)))

    def look(self, work: CutoverWork) -> list[str]:
        way = work.way
        problems = doctor_errors(way)
        problems += own_rights(work)
        target = work.servers().target
        for what, looks in (
            ("prepared XA transactions", self._prepared), ("long transactions", self._long),
            ("what it replicates", self._replicated), ("who may move triggers", self._creators),
            ("whose triggers move", orphans),
        ):  # fmt: skip
            try:
                problems += looks(work)
            except ApplyError as exc:
                problems.append(f"{what} of {way.source} cannot be seen: {exc}")
        problems += parked(target, way)
        problems += paused(target, way)
        problems += unrouted(work.back, way)
        if work.plan.hooks.start == "" and (elsewhere := _elsewhere(target, way)):
            problems.append(elsewhere)
        if work.plan.hooks.check:
            try:
                run_hook(work, "check", work.plan.hooks.check, way=way)
            except StepFailed as exc:
                problems.append(str(exc))
        if not problems:
            problems += _behind(work)
            problems += _verify_age(work) if self._asks_age else []
        return problems

    @staticmethod
    def _prepared(work: CutoverWork) -> list[str]:
        found = work.servers().source.call(prepared_transactions)
        return [f"the XA transaction {each} is prepared at {work.way.source}: commit or roll it back, since whoever"
                " commits it later writes past the fence" for each in found]  # fmt: skip

    @staticmethod
    def _long(work: CutoverWork) -> list[str]:
        found = long_transactions(work.servers().source, work.plan.limits.transaction_s)
        return [f"{each} at {work.way.source}: it would be rolled back; end it, or raise limits.transaction_s"
                for each in found]  # fmt: skip

    @staticmethod
    def _creators(work: CutoverWork) -> list[str]:
        ends: tuple[End, ...] = ("source", "target")
        found = [refused_creator(work, work.way, end) for end in ends]
        return list(filter(None, [*found, *(refused_definers(work, end) for end in ends)]))

    @staticmethod
    def _replicated(work: CutoverWork) -> list[str]:
        way, servers = work.way, work.servers()
        return [
            *(f"{way.source} is a replica of {each} and goes on writing what comes from there, closed or not: STOP"
              " REPLICA, when it is level" for each in replicated_from(servers.source)),
            *(f"{way.target} is a replica of {each}: what comes from there would go on to {way.source} by the way back,"
              " and keep a rollback from beginning: STOP REPLICA" for each in replicated_from(servers.target)),
        ]  # fmt: skip


def doctor_errors(way: Direction, *, but: frozenset[str] = frozenset()) -> list[str]:
    """What `doctor` calls an error, but for what a cut-over itself has set, and checks that say nothing here."""
    report = examine(Examination(way.settings), skip=("canary", "stream"))
    return [
        f"doctor ({way.name}): {each.text}; {each.remedy}"
        for each in report.findings
        if each.level == "error" and each.check not in _READ_ONLY_CHECKS | but
    ]


def own_rights(work: CutoverWork) -> list[str]:
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
            wanted = ["READ_ONLY ADMIN"] if connection.dialect.is_mariadb else [
                "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"]  # fmt: skip
            ends = end == "source" and work.plan.sessions.end != "none"
            if ends and connection.dialect.is_mariadb:
                wanted.append("CONNECTION ADMIN")
            if ends and grants.lacks(("PROCESS",)):
                problems.append(f"{account} at {way.source} lacks PROCESS: it sees no sessions but its own, and would"
                                " end none of the applications'")  # fmt: skip
            if (
                does
                and (lacks := grants.lacks(wanted))
                and not (
                    connection.dialect.is_mariadb and connection.dialect.version < (10, 11) and grants.has("SUPER")
                )
            ):
                address = way.source if end == "source" else way.target
                problems.append(
                    f"{account} at {address} lacks {listed(lacks)}: it has to close and open the server, to end"
                    " sessions, and to write while others may not"
                )
        except PydbsyncError as exc:
            problems.append(f"the rights at the {end} of {way.name} cannot be seen: {exc}")
        finally:
            exam.close()
    return problems


def paused(target: Server, way: Direction) -> list[str]:
    """What an operator has paused of the direction: it would be waited for in vain, and never go on by itself."""
    try:
        found = target.call(PauseTable(way.settings.state_schema).all)
    except ApplyError as exc:
        if exc.code not in (1049, 1146):
            raise
        return []
    streams = {"", *(queue.stream for queue in way.settings.queues)}
    return [f"paused: {pause} (`pydbsync resume`)" for pause in found if pause.stream in streams]


def unrouted(back: Direction, way: Direction) -> list[str]:
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


def _elsewhere(target: Server, way: Direction) -> str:
    found = [each for each in target.call(lambda connection: running(connection, way))
             if each.host != socket.gethostname()]  # fmt: skip
    return (
        f"{found[0]} runs on another machine, where it cannot be ended from here: give the plan the hooks start and"
        " stop, or call this there"
        if found
        else ""
    )


def _behind(work: CutoverWork) -> list[str]:
    limit_s = work.plan.limits.lag_s
    beat(work, work.way)
    place, began = source_place(work, work.way), time.monotonic()
    while problem := not_passed(work, work.way, place):
        if time.monotonic() - began >= limit_s:
            return [f"the target is more than {limit_s:g} s behind ({problem}): wait until it is level (limits.lag_s)"]
        work.wait(_POLL_S)
    return []


def _verify_age(work: CutoverWork) -> list[str]:
    limit_s = work.plan.limits.verify_age_s
    if not limit_s:
        return []
    age = work.servers().target.value(  # of a clock that was set back it would be negative
        "SELECT ABS(TIMESTAMPDIFF(SECOND, MAX(started_at), CURRENT_TIMESTAMP(6))) FROM"
        f" {quote_name(work.way.settings.state_schema)}.task WHERE kind = 'verify' AND exit_code = 0"
        " AND ended_at IS NOT NULL AND name <> 'part'"
    )
    if age is None:
        return ["no comparison has found both servers equal yet: `pydbsync verify`, or `pydbsync rehearse` (or"
                " limits.verify_age_s: 0)"]  # fmt: skip
    if int(age) > limit_s:
        return [f"the last comparison that was equal is {int(age):,} s old (limits.verify_age_s is {limit_s:g})"]
    return []
