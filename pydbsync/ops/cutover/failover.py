"""The source is dead: open the target with all that has arrived; when the old source is back, settle what had not."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import pika

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.engine.table_plans import router_from
from pydbsync.errors import OperationError, PydbsyncError
from pydbsync.model import RowChange, SchemaChange
from pydbsync.ops.counters import read_counters
from pydbsync.ops.cutover.carry import drop_triggers, keep_triggers, make_triggers
from pydbsync.ops.cutover.dangling import Dangling, Last, beside_target, inverse, read_changes
from pydbsync.ops.cutover.engine import Step, StepFailed, Way, Work
from pydbsync.ops.cutover.events import disable_events, enabled_events
from pydbsync.ops.cutover.fence import own_users, source_place
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import LOOK_S, empty_queues, end, forget_capture, let_go_on
from pydbsync.ops.cutover.sessions import ReadOnly, end_sessions, set_read_only
from pydbsync.ops.cutover.switch import Arm, Open, Retire, StopForth, Switch
from pydbsync.ops.doctor.finding import counted, listed
from pydbsync.ops.servers import SYSTEM_DATABASES
from pydbsync.plan.quoting import quote_name
from pydbsync.source.connection import connection_name, connection_parameters

Policy: TypeAlias = Literal["source", "target", "ask"]
POLICIES: tuple[Policy, ...] = ("source", "target", "ask")
"""Who wins where both servers changed a row."""
_CONNECT_S = 5
_SILENT_CODES = frozenset({2002, 2003, 2006, 2013, 2055})
"""Nothing answers as a server there. Whatever else it says comes of one that lives: too many connections (1040),
another password (1045), this host blocked (1129)."""


class Dead(Step):
    """Nobody writes at the old source any more."""

    name = "check"
    says = "the source must not answer, or be closed"
    limit = "hook_s"

    def do(self, work: Work) -> str:
        if problems := self.look(work):
            raise StepFailed("; ".join(problems))
        return f"{work.way.source} does not take writes"

    def look(self, work: Work) -> list[str]:
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


class Arrive(Step):
    """All that the broker has is applied."""

    name = "drain"
    says = "apply all that is in the queues"
    limit = "drain_s"

    def do(self, work: Work) -> str:
        while problem := not_empty(work, work.way):
            work.waits_for = problem
            work.wait(LOOK_S)
        last = [each.as_facts() for each in places(work)]
        work.keep("last", last)
        return "; ".join(said(Last(**each)) for each in last)


class Gap(Step):
    """Numbers that the old source may have given out and nobody has seen are not given out again."""

    name = "carry"
    says = "leave a gap behind the last number of each table"
    limit = "carry_s"

    def do(self, work: Work) -> str:
        target = work.servers().target
        if "gap" not in work.facts:
            router = router_from(work.way.settings)
            taken = {
                name: number + work.plan.failover_gap
                for name, number in target.call(read_counters).items()
                if name.database not in SYSTEM_DATABASES and name.database != work.way.settings.state_schema
                and router.sources(name.database)
            }  # fmt: skip
            work.keep("gap", [[name.database, name.table, number] for name, number in taken.items()])
        for database, table, number in work.facts["gap"]:
            name = f"{quote_name(database)}.{quote_name(table)}"
            sql = f"ALTER TABLE {name} AUTO_INCREMENT = {int(number)}"
            target.call(lambda connection, sql=sql: connection.execute(sql))  # type: ignore[misc]
        if "back_from" not in work.facts:
            work.keep("back_from", list(source_place(work, work.back)))
        return (
            f"raised by {work.plan.failover_gap:,}: {counted(len(work.facts['gap']), 'counter')}; triggers and events"
            " of the old source cannot be read: make those that are missing"
        )


class FailoverSwitch(Switch):
    """As a cut-over's, but that nobody can look whether the old source was written to."""

    def do(self, work: Work) -> str:
        way = work.way
        work.ask_person(
            f"Open {way.target} and send the applications there? What {way.source} has beyond it is settled later."
        )
        if not work.plan.hooks.switch:
            return f"no hook switch is given: send the applications to {way.target} yourself"
        work.keep("switched", True)
        said = run_hook(work, "switch", work.plan.hooks.switch, way=way)
        return f"the applications are sent to {way.target}" + (f" ({said})" if said else "")


def failover_steps() -> list[Step]:
    """In their order; up to the opening they are undone where one fails."""
    return [Dead(), Arrive(), StopForth(), Gap(), FailoverSwitch(), Open(), Retire()]


def places(work: Work) -> list[Last]:
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
                 newest=newest)
        )  # fmt: skip
    return found


def said(last: Last) -> str:
    """For people."""
    gtids = f", GTIDs {last.gtids}" if last.gtids else ""
    return f"{last.stream} is applied up to {last.position}{gtids}, the newest change of {last.newest} UTC"


def not_empty(work: Work, way: Way) -> str:
    """Empty where no message waits in the direction's queues and no worker holds one; else which does."""
    depths = queue_depths(way)
    target = work.servers(way).target
    schema = quote_name(way.settings.state_schema)
    for queue in way.settings.queues:
        if depths.get(queue.queue):
            return f"{depths[queue.queue]:,} messages wait in {queue.queue}"
        rows = target.rows(
            f"SELECT held FROM {schema}.worker WHERE stream = %s AND written_at > CURRENT_TIMESTAMP(6) -"
            " INTERVAL GREATEST(2, 10 * every_s) SECOND AND state <> 'stopped'",
            (queue.stream,),
        )
        if not rows:
            return f"no worker follows {queue.queue}"
        if any(int(held or 0) for (held,) in rows):
            return f"the worker of {queue.queue} holds messages that are not committed"
    return ""


def queue_depths(way: Way) -> dict[str, int]:
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


class Returned(msgspec.Struct):
    """What the old source has that the target never got, and what became of it."""

    plan: str
    source: str
    target: str
    changes: list[Dangling] = []
    done: str = ""


class Return:
    """The old source is back. Everything here can be called again."""

    def __init__(self, work: Work, choose: Callable[[Dangling], bool]) -> None:
        """`choose` asks a person whether a change is carried over."""
        self._work = work
        self._choose = choose
        if "last" not in work.facts:
            raise OperationError("the failover of this plan has not noted up to where the target had come")

    def close_source(self) -> str:
        """Nobody but us writes there."""
        work, way = self._work, self._work.way
        source = work.servers().source
        events = enabled_events(source, way.settings)
        if work.plan.hooks.fence:
            run_hook(work, "fence", work.plan.hooks.fence, way=way)
        disable_events(source, events)
        if work.plan.triggers:
            keep_triggers(work)
            drop_triggers(work)
        if not work.plan.hooks.fence and way.settings.source is not None:
            set_read_only(work, way.settings.source, ReadOnly(True))
        ended = end_sessions(work, source, work.plan.sessions, own_users(work))
        return f"{way.source} is closed, {counted(ended, 'session')} ended, {counted(len(events), 'event')} disabled"

    def changes(self) -> list[tuple[bytes, RowChange | SchemaChange]]:
        """All that is dangling."""
        return read_changes(self._work.way, [Last(**each) for each in self._work.facts["last"]], self._work.stop)

    def beside(self, changes: Sequence[tuple[bytes, RowChange | SchemaChange]]) -> list[Dangling]:
        """Each beside what the target has now."""
        settings = self._work.way.settings
        return self._work.servers().target.call(lambda connection: list(beside_target(settings, connection, changes)))

    def carry_over(
        self, changes: Sequence[tuple[bytes, RowChange | SchemaChange]], found: Sequence[Dangling], policy: Policy
    ) -> str:
        """Write them at the target, in their order: all where the source wins, those that meet nothing of the
        target's own where it wins."""
        self._refuse_two_way()
        chosen, left = [], 0
        for (message, change), each in zip(changes, found, strict=True):
            if isinstance(change, SchemaChange) or each.statement:
                left += 1
            elif each.standing in ("free", "done") or policy == "source" or (policy == "ask" and self._choose(each)):
                chosen.append(message)
            else:
                left += 1
        way = self._work.way
        self._replay(chosen, way, f"failover-{self._work.row.id}-{policy}")
        note = f"; {left:,} were not" if left else ""
        return f"{len(chosen):,} changes were carried over to {way.target}{note}"

    def undo_at_source(self, changes: Sequence[tuple[bytes, RowChange | SchemaChange]]) -> str:
        """Take them back there, the newest first. Raises OperationError where a schema change is among them."""
        work = self._work
        self._refuse_two_way()
        if statements := [change.sql for _, change in changes if isinstance(change, SchemaChange)]:
            raise OperationError(
                f"a schema change is not taken back by itself: {listed(statements)}; do that by hand at"
                f" {work.way.source} first, or copy anew"
            )
        router = router_from(work.way.settings)
        rows = [change for _, change in changes if isinstance(change, RowChange)]
        messages = [inverse(change, router.databases(change.database)[0]) for change in reversed(rows)]
        self._replay(messages, work.back, f"failover-undo-{work.row.id}")
        return f"{len(messages):,} changes were taken back at {work.way.source}"

    def follow(self) -> str:
        """The way back carries what was written at the target since it was opened."""
        work = self._work
        if work.is_two_way:
            let_go_on(work, work.way)
            return "both directions go on (two_way)"
        schema = work.back.settings.state_schema
        work.servers(work.back).target.call(lambda connection: ensure_state_schema(connection, schema))
        if "followed" not in work.facts:
            end(work, work.back)
            empty_queues(work.back)
            forget_capture(work, work.back)
            work.keep("followed", True)
        if work.plan.triggers and "triggers" in work.facts:
            make_triggers(work)
        return Arm().do(work)

    def _refuse_two_way(self) -> None:
        if self._work.is_two_way:
            raise OperationError(
                "with two_way the queues carry them, and conflict policies decide: --follow lets the queues go on"
            )

    def _replay(self, messages: Sequence[bytes], way: Way, stream: str) -> None:
        """By replay itself: what was begun and killed is gone on with, and nothing is written twice."""
        if not messages:
            return
        with tempfile.TemporaryDirectory(prefix="pydbsync-failover-") as folder:
            file = Path(folder) / "changes.ndjson"
            file.write_bytes(b"".join(message + b"\n" for message in messages))
            options = ("--config", str(way.config), "--stream", stream)
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-m", "pydbsync", "replay", str(file), *options],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise OperationError(f"the changes could not be written to {way.target}: {done.stderr.strip()[-2000:]}")
        target = self._work.servers(way).target
        parked = target.value(
            f"SELECT COUNT(*) FROM {quote_name(way.settings.state_schema)}.parked WHERE stream = %s AND"
            " status = 'parked'",
            (stream,),
        )
        if parked:
            raise OperationError(
                f"{parked} of the changes could not be applied at {way.target} and are parked: `pydbsync parked list"
                f" --stream {stream}`"
            )
