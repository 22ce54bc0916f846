"""The old source is back behind a failover: what it has beyond the target is listed, and settled one way or the other.

How it is settled is written down before anything is: a call that was killed is called again and goes on, and another
way is refused from then on, since a part may have been written already.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from pydbsync.apply.state import ensure_state_schema
from pydbsync.engine.routing import router_from
from pydbsync.errors import OperationError
from pydbsync.killpoints import kill_point
from pydbsync.model import RowChange, SchemaChange
from pydbsync.ops.cutover.dangling import Dangling, Last, beside_target, inverse, read_changes
from pydbsync.ops.cutover.events import disable_events, enabled_events
from pydbsync.ops.cutover.fence import own_users, source_place
from pydbsync.ops.cutover.hooks import run_hook
from pydbsync.ops.cutover.processes import empty_queues, end, forget_capture, let_go_on
from pydbsync.ops.cutover.sessions import ReadOnly, end_sessions, set_read_only
from pydbsync.ops.cutover.triggers import drop_triggers, keep_triggers, make_triggers
from pydbsync.ops.cutover.way_back import Arm
from pydbsync.ops.cutover.work import CutoverWork, Direction
from pydbsync.ops.verify.place import SourcePlace
from pydbsync.ops.words import counted, listed
from pydbsync.places import parse_position
from pydbsync.plan.quoting import quote_name

Preference: TypeAlias = Literal["policies", "source", "target", "ask"]
POLICIES: tuple[Preference, ...] = ("policies", "source", "target", "ask")
"""Who wins where both servers changed a row: what `conflicts` of the configuration says, one of them, or a person."""
ReturnedChange: TypeAlias = "tuple[bytes, RowChange | SchemaChange]"
_UNDO = "undo"
_KEYLESS = "unknown"


class Returned(msgspec.Struct):
    """What the old source has that the target never got, and what became of it."""

    plan: str
    source: str
    target: str
    changes: list[Dangling] = []
    done: str = ""
    is_settled: bool = False
    """Nothing is left for a person to decide."""


class Return:
    """Everything here can be called again."""

    def __init__(self, work: CutoverWork, choose: Callable[[Dangling], bool]) -> None:
        """`choose` asks a person whether a change is carried over."""
        self._work = work
        self._choose = choose
        if "last" not in work.facts:
            raise OperationError("the failover of this plan has not noted up to where the target had come")

    @property
    def settled(self) -> str:
        """How the changes were settled by an earlier call; empty where they were not."""
        return str(self._work.facts.get("settled", ""))

    @property
    def is_begun(self) -> str:
        """Why nothing but that may be gone on with, where an earlier call has begun to settle them and was killed."""
        settling = self._work.facts.get("settling")
        return "" if settling is None else f"the changes are settled in part: call {_option(settling['how'])} again"

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
        kill_point("failover-returned-closed")
        return f"{way.source} is closed, {counted(ended, 'session')} ended, {counted(len(events), 'event')} disabled"

    def changes(self) -> list[ReturnedChange]:
        """All that is dangling: once they are being settled, only what was there when that began, for undoing them
        writes at the old source too."""
        found = read_changes(self._work.way, [Last(**each) for each in self._work.facts["last"]], self._work.stop)
        settling = self._work.facts.get("settling")
        if settling is None:
            return found
        until = SourcePlace(*settling["until"])
        return [each for each in found if parse_position(each[1].position or "")[1:] < (until.file, until.offset)]

    def beside(self, changes: Sequence[ReturnedChange]) -> list[Dangling]:
        """Each beside what the target has now."""
        settings = self._work.way.settings
        return self._work.servers().target.call(lambda connection: list(beside_target(settings, connection, changes)))

    def begin(self, how: str, found: Sequence[Dangling]) -> None:
        """Write down how it is settled. Raises OperationError where another way was begun."""
        work = self._work
        if work.is_two_way:
            raise OperationError(
                "with two_way the queues carry them, and conflict policies decide: --follow lets the queues go on"
            )
        settling = work.facts.get("settling")
        if settling is not None and settling["how"] != how:
            raise OperationError(
                f"the changes were begun to be settled another way ({_option(settling['how'])}), of which a part may be"
                " written: call that again"
            )
        if settling is None:
            chosen = [each.number for each in found if how != "ask" or self._is_chosen(each)]
            until = list(source_place(work, work.way))
            work.keep("settling", {"how": how, "until": until, "chosen": chosen})
        kill_point("failover-settling")

    def _is_chosen(self, each: Dangling) -> bool:
        return not each.statement and (each.standing in ("free", "done") or self._choose(each))

    def carry_over(self, changes: Sequence[ReturnedChange], found: Sequence[Dangling], policy: Preference) -> str:
        """Write them at the target, in their order, each compared with the row that is there: a conflict is decided by
        the policies, and written down with its three rows."""
        work, way = self._work, self._work.way
        self.begin(policy, found)
        chosen = set(work.facts["settling"]["chosen"])
        wins = {"ask": "source", "policies": ""}.get(policy, policy)
        keyed, keyless = [], []
        for (message, change), each in zip(changes, found, strict=True):
            if isinstance(change, SchemaChange) or each.statement or each.number not in chosen:
                continue
            if each.standing != _KEYLESS:
                keyed.append(message)
            elif wins == "source":  # no conflict of it can be found: it is written as replay would have done
                keyless.append(message)
        stream = f"failover-{work.row.id}-{policy}"
        self._replay(keyless, way, f"{stream}-keyless")
        config = (
            "from pydbsync.config.cutover_plan import carried_of\n\n"
            f"globals().update(carried_of({str(way.config)!r}, {wins!r}))\n"
        )
        self._replay(keyed, way, stream, config=config, may_park=policy == "policies")
        done = len(keyed) + len(keyless)
        note = f"; {len(changes) - done:,} were not" if len(changes) > done else ""
        return self._end(f"{done:,} changes were carried over to {way.target}{self._conflicts(stream)}{note}")

    def _conflicts(self, stream: str) -> str:
        schema = quote_name(self._work.way.settings.state_schema)
        rows = self._work.servers().target.rows(
            f"SELECT decision, COUNT(*) FROM {schema}.conflict WHERE stream = %s GROUP BY decision ORDER BY decision",
            (stream,),
        )
        if not rows:
            return ""
        said = ", ".join(f"{_DECIDED.get(str(decision), str(decision))} {int(count):,}" for decision, count in rows)
        parked = any(str(decision) == "parked" for decision, _ in rows)
        what = "; ATTENTION: decide the parked ones by `pydbsync conflicts resolve`" if parked else ""
        return f"; conflicts: {said} (`pydbsync conflicts list --stream {stream}`){what}"

    def undo_at_source(self, changes: Sequence[ReturnedChange], found: Sequence[Dangling]) -> str:
        """Take them back there, the newest first. Raises OperationError where a schema change is among them."""
        work = self._work
        if statements := [change.sql for _, change in changes if isinstance(change, SchemaChange)]:
            raise OperationError(
                f"a schema change is not taken back by itself: {listed(statements)}; do that by hand at"
                f" {work.way.source} first, or copy anew"
            )
        self.begin(_UNDO, found)
        router = router_from(work.way.settings)
        rows = [change for _, change in changes if isinstance(change, RowChange)]
        messages = [
            inverse(change, router.databases(change.database)[0], number=number)
            for number, change in enumerate(reversed(rows), start=1)
        ]
        self._replay(messages, work.back, f"failover-undo-{work.row.id}")
        return self._end(f"{len(messages):,} changes were taken back at {work.way.source}")

    def _end(self, said: str) -> str:
        kill_point("failover-replayed")
        self._work.keep("settled", said)
        kill_point("failover-settled")
        return said

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
            kill_point("failover-forgotten")
            work.keep("followed", True)
        if work.plan.triggers and "triggers" in work.facts:
            make_triggers(work)
        kill_point("failover-following")
        with work.within(work.plan.limits.arm_s, "arm_s"):
            return Arm().do(work)

    def _replay(
        self, messages: Iterable[bytes], way: Direction, stream: str, *, config: str = "", may_park: bool = False
    ) -> None:
        """By replay itself: what was begun and killed is gone on with, and nothing is written twice."""
        lines = b"".join(message + b"\n" for message in messages)
        if not lines:
            return
        with tempfile.TemporaryDirectory(prefix="pydbsync-failover-") as folder:
            file, own = Path(folder) / "changes.ndjson", Path(folder) / "config.py"
            file.write_bytes(lines)
            own.write_text(config, encoding="utf-8")
            options = ("--config", str(own if config else way.config), "--stream", stream)
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
        if parked and not may_park:
            raise OperationError(
                f"{parked} of the changes could not be applied at {way.target} and are parked: `pydbsync parked list"
                f" --stream {stream}`"
            )


_DECIDED = {"source": "the old source's row in", "target": "the target's row in", "same": "both the same in",
            "parked": "parked"}  # fmt: skip


def _option(how: str) -> str:
    return "--undo-old" if how == _UNDO else f"--carry-over {how}"
