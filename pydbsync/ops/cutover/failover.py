"""The source is dead: open the target with all that has arrived, fenced so that nothing of it comes later by itself."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress

import pika

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.progress import FRESH
from pydbsync.engine.routing import router_from
from pydbsync.errors import PydbsyncError
from pydbsync.ops.counters import last_numbers, placed_sequences, read_counters
from pydbsync.ops.cutover.dangling import Last
from pydbsync.ops.cutover.fence import parked, source_place
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import LOOK_S, let_go_on
from pydbsync.ops.cutover.switch import OpenWrites, Retire, StopForth, Switch
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction, StepFailed
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_name
from pydbsync.source.connection import connection_name, connection_parameters

_CONNECT_S = 5
_SILENT_CODES = frozenset({2002, 2003, 2006, 2013, 2055})
"""Nothing answers as a server there. Whatever else it says comes of one that lives: too many connections (1040),
another password (1045), this host blocked (1129)."""


class Dead(CutoverStep):
    """Nobody writes at the old source any more."""

    name = "check"
    says = "the source must not answer, or be closed"
    limit = "hook_s"

    def do(self, work: CutoverWork) -> str:
        if problems := self.look(work):
            raise StepFailed("; ".join(problems))
        return f"{work.way.source} does not take writes"

    def look(self, work: CutoverWork) -> list[str]:
        source = work.way.settings.source
        if source is None:
            return []
        try:
            connection = Connection({**source.connect_keywords(), "connect_timeout": _CONNECT_S}, key=source.key,
                                    read_timeout_s=_CONNECT_S)  # fmt: skip
        except PydbsyncError as exc:
            if getattr(exc, "code", None) in _SILENT_CODES:
                return []
            return [f"{work.way.source} answers, although it lets nobody in ({exc}): it may be taking writes of others"]
        try:
            if str(connection.value("SELECT @@global.read_only")).upper() not in ("0", "OFF"):
                return []
        finally:
            connection.close()
        return [f"{work.way.source} answers and takes writes: `pydbsync cutover` goes over without a loss; or close it"]


class Arrive(CutoverStep):
    """All that the broker has is applied."""

    name = "drain"
    says = "apply all that is in the queues"
    limit = "drain_s"

    def __init__(self, *, leaves_queues: bool = False) -> None:
        """`leaves_queues`: the broker is dead too, and what it holds is listed from the old source's binlog later."""
        self._leaves_queues = leaves_queues

    def do(self, work: CutoverWork) -> str:
        let_go_on(work, work.way)  # a cut-over that is given up may have kept its workers still
        if self._leaves_queues:
            work.problem(
                "what was in the queues is left there: `failover --returned` lists it with what was not captured"
            )
        while not self._leaves_queues and (problem := not_empty(work, work.way)):
            work.waits_for = problem
            work.wait(LOOK_S)
        work.problem(*parked(work.servers().target, work.way))
        last = [each.as_facts() for each in places(work)]
        work.keep("last", last)
        return "; ".join(said(Last(**each)) for each in last)


class SkipNumbers(CutoverStep):
    """Numbers that the old source may have given out and nobody has seen are not given out again."""

    name = "carry"
    says = "leave a gap behind the last number of each table"
    limit = "carry_s"

    def do(self, work: CutoverWork) -> str:
        target = work.servers().target
        work.waits_for = "a transaction or LOCK TABLES may keep a table from being altered (SHOW PROCESSLIST)"
        if "gap" not in work.facts:
            router = router_from(work.way.settings)
            last = target.call(last_numbers)
            taken = {
                name: (number, left_out(number, work.plan.failover_gap, last.get(name)))
                for name, number in target.call(read_counters).items()
                if name.database not in SYSTEM_DATABASES and name.database != work.way.settings.state_schema
                and router.sources(name.database)
            }  # fmt: skip
            wanted = work.plan.failover_gap
            work.keep("gap_short", sorted(str(name) for name, (_, gap) in taken.items() if gap < wanted))
            work.keep("gap", [[*name, number + gap] for name, (number, gap) in taken.items()])
        for database, table, number in work.facts["gap"]:
            name = f"{quote_name(database)}.{quote_name(table)}"
            sql = f"ALTER TABLE {name} AUTO_INCREMENT = {int(number)}"
            target.call(lambda connection, sql=sql: connection.execute(sql))  # type: ignore[misc]
        short = work.facts.get("gap_short")
        notes = [
            f"the type of {listed(short)} has few numbers left: fewer were left out, see whether that is enough"
        ] if short else []  # fmt: skip
        notes += filter(None, [self._sequences(work)])
        # Behind the last ALTER, after a kill too: capture that begins later knows the tables as they are by then.
        work.keep("back_from", list(source_place(work, work.back)))
        said = f"; ATTENTION: {'; '.join(notes)}" if notes else ""
        return (
            f"raised by {work.plan.failover_gap:,}: {counted(len(work.facts['gap']), 'counter')}; triggers and events"
            f" of the old source cannot be read: make those that are missing{said}"
        )

    def _sequences(self, work: CutoverWork) -> str:
        """Replay does not move them, and the source cannot be asked: each comes behind the last number that a column
        with it as its default holds, with the gap. What used numbers otherwise only a person knows."""
        target = work.servers().target
        if not target.dialect.is_mariadb:
            return ""
        if "sequences" not in work.facts:
            router = router_from(work.way.settings)
            found = [each for each in target.call(placed_sequences) if router.sources(each.name.database)]
            gap = work.plan.failover_gap
            work.keep("sequences", [[*each.name, each.behind(gap), each.round] for each in found])
        for database, name, number, round_ in work.facts["sequences"]:
            sql = f"SELECT SETVAL({quote_name(database)}.{quote_name(name)}, {int(number)}, 0, {int(round_)})"
            target.rows(sql)
        names = listed(f"{database}.{name}" for database, name, *_ in work.facts["sequences"])
        return (
            f"the sequences {names} were moved behind the numbers that tables show: see whether that is enough"
            if (names)
            else ""
        )


def left_out(number: int, gap: int, last: int | None) -> int:
    """So many numbers behind the next one, and never more than half of those that the column's type still has."""
    return gap if last is None else max(0, min(gap, (last - number) // 2))


class FailoverSwitch(Switch):
    """As a cut-over's, but that nobody can look whether the old source was written to."""

    def do(self, work: CutoverWork) -> str:
        way = work.way
        work.ask_person(
            f"Open {way.target} and send the applications there? What {way.source} has beyond it is settled later."
        )
        if not work.plan.hooks.switch:
            return f"no hook switch is given: send the applications to {way.target} yourself"
        work.keep("switched", True)
        said = run_hook(work, "switch", work.plan.hooks.switch, way=way)
        return f"the applications are sent to {way.target}" + (f" ({said})" if said else "")


def failover_steps(*, leaves_queues: bool = False) -> list[CutoverStep]:
    """In their order; up to the opening they are undone where one fails."""
    return [
        Dead(),
        Arrive(leaves_queues=leaves_queues),
        StopForth(),
        SkipNumbers(),
        FailoverSwitch(),
        OpenWrites(),
        Retire(),
    ]


def places(work: CutoverWork) -> list[Last]:
    """Up to where each queue is applied. Raises StepFailed for one that never was."""
    found = []
    target = work.servers().target
    for queue in work.way.settings.queues:
        state = target.call(CheckpointRow(schema=work.way.settings.state_schema, stream=queue.stream).read)
        if state is None or not state.checkpoint.base:
            raise StepFailed(f"the queue {queue.queue} has no place yet: nothing of it was ever applied")
        at = state.checkpoint
        newest = dt.datetime.fromtimestamp(at.newest_ts, dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        found.append(
            Last(queue.stream, at.base, *at.place, server_id=at.server_id, position=at.position(), gtids=at.gtids,
                 newest=newest, xid=at.xid)
        )  # fmt: skip
    return found


def said(last: Last) -> str:
    """For people."""
    gtids = f", GTIDs {last.gtids}" if last.gtids else ""
    return f"{last.stream} is applied up to {last.position}{gtids}, the newest change of {last.newest} UTC"


def not_empty(work: CutoverWork, way: Direction) -> str:
    """Empty where no message waits in the direction's queues and no worker holds one; else which does."""
    depths = queue_depths(way)
    target = work.servers(way).target
    schema = quote_name(way.settings.state_schema)
    for queue in way.settings.queues:
        if depths.get(queue.queue):
            return f"{depths[queue.queue]:,} messages wait in {queue.queue}"
        rows = target.rows(
            f"SELECT held FROM {schema}.worker WHERE stream = %s AND {FRESH} AND state <> 'stopped'",
            (queue.stream,),
        )
        if not rows:
            return f"no worker follows {queue.queue}"
        if any(int(held or 0) for (held,) in rows):
            return f"the worker of {queue.queue} holds messages that are not committed"
    return ""


def queue_depths(way: Direction) -> dict[str, int]:
    """Messages that wait, by queue. Raises StepFailed where RabbitMQ cannot be asked."""
    found: dict[str, int] = {}
    try:
        connection = pika.BlockingConnection(connection_parameters(way.settings.amqp, name=connection_name("failover")))
    except (pika.exceptions.AMQPError, OSError) as exc:
        raise StepFailed(f"RabbitMQ cannot be asked what waits in the queues of {way.name}: {exc}") from exc
    try:
        for queue in way.settings.queues:
            with suppress(pika.exceptions.ChannelClosedByBroker):
                channel = connection.channel()
                found[queue.queue] = int(channel.queue_declare(queue.queue, passive=True).method.message_count)
                channel.close()
    finally:
        with suppress(pika.exceptions.AMQPError, OSError):
            connection.close()
    return found
