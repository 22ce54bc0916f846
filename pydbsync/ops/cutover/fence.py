"""The fence and the drain: close the server that is left, and prove that nothing is on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.apply.connection import Connection
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError, OperationError, PydbsyncError, SourceError
from pydbsync.model import TableName
from pydbsync.ops.cutover.events import disable_events, enable_events, enabled_events
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.sessions import ReadOnly, end_sessions, privileged, read_only, set_read_only
from pydbsync.ops.cutover.statements import concerning, drops_trigger
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction, StepFailed
from pydbsync.ops.doctor.source import prepared_transactions
from pydbsync.ops.heartbeat import beat_once
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.place import Passed, SourcePlace, Streams, carries
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_name
from pydbsync.route.filters import Filters

_POLL_S = 0.02
_PATIENCE_S = 0.5


def parked(target: Server, way: Direction) -> list[str]:
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


class Fence(CutoverStep):
    """No write of an application gets into the server that is left."""

    name = "fence"
    says = "close the server that is left, and end the applications' sessions"
    undo_says = "the server that was left is opened again, its events are enabled"
    limit = "fence_s"
    opens = True

    def __init__(self) -> None:
        self._ended = 0

    def do(self, work: CutoverWork) -> str:
        way = work.way
        servers = work.servers()
        if "fence" not in work.facts:
            former = read_only(servers.source)
            events = enabled_events(servers.source, way.settings) if work.plan.events else []
            # How it was closed: the plan may be another one when it is opened again.
            work.keep("fence", {"read_only": former.read_only, "super": former.super_read_only, "events": events,
                                "hook": bool(work.plan.hooks.fence)})  # fmt: skip
        now = enabled_events(servers.source, way.settings)
        disable_events(servers.source, [each for each in work.facts["fence"]["events"] if each in now])
        beat(work, way)  # behind the last statement that no queue carries
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
        if found := servers.source.call(prepared_transactions):
            raise StepFailed(f"the XA transaction {found[0]} is prepared at {way.source}")
        work.keep("fence_place", list(source_place(work, way)))
        may = [] if by_hook(work) or not servers.source.dialect.is_mariadb else privileged(servers.source)
        note = f"; these may write all the same: {listed(may)}" if may else ""
        return f"{way.source} takes no writes of applications any more; ended: {counted(ended, 'session')}{note}"

    def _end_sessions(self, work: CutoverWork) -> int:
        self._ended += end_applications(work, work.servers().source)
        return self._ended

    def undo(self, work: CutoverWork) -> str:
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
        source = work.servers().source
        now = enabled_events(source, way.settings)
        enable_events(source, [each for each in found["events"] if each not in now])
        return f"{way.source} takes writes as before"

    def still(self, work: CutoverWork) -> None:
        if by_hook(work) or "retired" in work.facts:
            return
        if not read_only(work.servers().source).read_only:
            raise StepFailed(f"{work.way.source} is not read_only any more: writes may have come in")


def by_hook(work: CutoverWork) -> bool:
    """Whether the server was closed by the operator's hook."""
    return bool(work.facts.get("fence", {}).get("hook", work.plan.hooks.fence))


class Drain(CutoverStep):
    """All that was written before the fence is applied."""

    name = "drain"
    says = "wait until every queue has been applied up to the fence"
    limit = "drain_s"

    def do(self, work: CutoverWork) -> str:
        began = time.monotonic()
        place = SourcePlace(*work.facts["fence_place"])
        while problem := not_passed(work, work.way, place):
            work.waits_for = problem
            work.wait(_POLL_S)
        if problems := parked(work.servers().target, work.way):
            raise StepFailed("; ".join(problems))
        count = len(work.way.settings.queues)
        return f"{counted(count, 'queue')} applied up to {place}, after {time.monotonic() - began:.2f} s"


def end_applications(work: CutoverWork, source: Server) -> int:
    """The sessions that the plan means; how many there were."""
    return end_sessions(work, source, work.plan.sessions, own_users(work))


@contextmanager
def applications_ended(work: CutoverWork) -> Iterator[None]:
    """What is done at the server that is left waits for none that has come again since the fence, and holds a table: a
    transaction that has read it is enough."""
    source, over = work.servers().source.another(), threading.Event()

    def look() -> None:
        while not over.wait(_PATIENCE_S):
            with suppress(PydbsyncError):  # what is done meets it too
                end_applications(work, source)

    thread = threading.Thread(target=look, name="sessions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        source.close()


def own_users(work: CutoverWork) -> set[str]:
    """The users as whom we and our tools are at the server that is left."""
    servers = (work.way.settings.source, work.back.settings.target)
    return {str(each.connect.get("user", "")) for each in servers if each is not None}


def beat(work: CutoverWork, way: Direction) -> bool:
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


def source_place(work: CutoverWork, way: Direction) -> SourcePlace:
    """The end of the binlog of the direction's source now. Raises StepFailed where it cannot be seen."""
    servers = work.servers(way)
    streams = Streams(way.settings, servers.source, servers.target)
    place = streams.source_place()
    if place is None:
        raise StepFailed(streams.why_unknown)
    return place


def tables_of(work: CutoverWork, way: Direction, *, with_heartbeat: bool = False) -> dict[str, list[TableName]]:
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


def not_passed(work: CutoverWork, way: Direction, place: SourcePlace, *, with_heartbeat: bool = False) -> str:
    """Empty where every queue of the direction has been applied up to the place; else which has not, in a sentence.

    Raises StepFailed where it cannot be told.
    """
    servers, router = work.servers(way), router_from(way.settings)
    for stream, tables in tables_of(work, way, with_heartbeat=with_heartbeat).items():
        queue = next(each for each in way.settings.queues if each.stream == stream)
        concerns = concerning(router, is_mariadb=servers.source.dialect.is_mariadb, queue=queue)
        streams = Streams(way.settings, servers.source, servers.target, streams=[stream], concerns=concerns)
        if not tables and streams.checkpoint(stream) is None:
            continue  # nothing ever came by it
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


def assert_quiet(work: CutoverWork, way: Direction, begin: SourcePlace) -> SourcePlace:
    """Nothing was written at the direction's source since then but by us, who drop triggers there; the end of its
    binlog. Raises StepFailed."""
    servers = work.servers(way)
    now = source_place(work, way)
    tables = sorted({name for names in tables_of(work, way).values() for name in names})
    try:
        is_mariadb = servers.source.dialect.is_mariadb
        streams = Streams(
            way.settings, servers.source, servers.target,
            concerns=concerning(router_from(way.settings), is_mariadb=is_mariadb),
            harmless=lambda sql: drops_trigger(sql, is_mariadb=is_mariadb),
        )  # fmt: skip
        is_quiet = streams.is_quiet(begin, now, tables)
    except (ApplyError, OperationError, SourceError) as exc:
        raise StepFailed(f"whether anybody wrote past the fence cannot be seen in the binlog: {exc}") from exc
    if not is_quiet:
        raise StepFailed(
            f"somebody wrote to tables that take part at {way.source} after it was closed, between {begin} and {now}:"
            " take the right to write on a read_only server from that account, or close it by a hook"
        )
    return now
