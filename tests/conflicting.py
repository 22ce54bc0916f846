"""Two servers that replicate each other, as a model: what each decides of the other's changes, and what is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pydbsync.config.conflicts import ConflictPolicy
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.plan.agreement import Saying, ToldRows
from pydbsync.plan.conflicts import ChangedPart, ConflictState, Decision, decide
from pydbsync.plan.row_shape import ConflictRule
from pydbsync.plan.rows import TablePlan

SCHEMA = TableSchema(
    name=TableName("d", "t"),
    columns=(
        Column("id", "int", nullable=False), Column("v", "varchar", charset="utf8mb4"), Column("n", "int"),
        Column("u", "int"),
    ),
    primary_key=("id",), row_key=("id",), unique_keys=(("u",),),
)  # fmt: skip
MOST_ROUNDS = 50


class Row(NamedTuple):
    """A row of the table."""

    id: int
    v: str
    n: int
    u: int | None = None


class Change(NamedTuple):
    """A change at one of the servers."""

    before: Row | None
    after: Row | None


class Said(NamedTuple):
    """What one of them says of a row."""

    saying: Saying
    key: int
    row: Row | None = None
    number: str = ""


Rows: TypeAlias = dict[int, Row]


def rules(policy: ConflictPolicy, prefer: str) -> tuple[ConflictRule, ConflictRule]:
    """The rule at server a and at server b, where `prefer` names the one that is preferred."""
    names = {"a": "target" if prefer == "a" else "source", "b": "target" if prefer == "b" else "source"}
    return ConflictRule(policy, names["a"]), ConflictRule(policy, names["b"])


@dataclass
class Server:
    """One end: its rows, and what it has changed and said itself that the other has not heard yet."""

    rule: ConflictRule
    rows: Rows = field(default_factory=dict)
    told: list[Change | Said] = field(default_factory=list)
    conflicts: int = 0
    agrees: bool = False
    """Whether it talks with the other end of the rows that were in conflict."""
    waits: ToldRows = field(default_factory=ToldRows)
    """Of which rows it has told, and waits for the answer."""
    _met: set[int] = field(default_factory=set)
    """Keys of rows that are in conflict."""

    def write(self, change: Change) -> None:
        """A change of an application."""
        if change.before is not None:
            assert self.rows.pop(change.before.id) == change.before
        if change.after is not None:
            assert change.after.id not in self.rows
            assert change.after.u is None or all(row.u != change.after.u for row in self.rows.values())
            self.rows[change.after.id] = change.after
        self.told.append(change)

    def take(self, change: Change | Said) -> None:
        """What the other server has changed, or says."""
        if isinstance(change, Said):
            self._hear(change)
            return
        before, after = change
        parts = [(before, after)]
        if before is not None and after is not None and before.id != after.id:
            parts = [(before, None), (None, after)]
        self._met.clear()
        self.waits.touch(row_id(row.id) for row in change if row is not None)
        for each in parts:
            self._take(*each)
        for key in sorted(self._met if self.agrees else ()):
            self._say("tell" if self._is_preferred else "ask", key)

    @property
    def _is_preferred(self) -> bool:
        return self.rule.prefer == "target"

    def _say(self, saying: Saying, key: int, number: str = "") -> None:
        if saying in ("tell", "insist"):
            number = self.waits.tell(row_id(key))
        self.told.append(Said(saying, key, self.rows.get(key), number))

    def _hear(self, said: Said) -> None:
        saying, key, row, number = said
        if saying == "ask":
            self._say("tell", key)
        elif saying in ("agree", "differ"):
            answer = self.waits.answer(row_id(key), number, agrees=saying == "agree")
            if answer is not None:
                self._say(answer, key)
        elif self.rows.get(key) == row or saying == "insist":
            self._put(key, row)
            self._say("agree", key, number)
        else:
            self._say("differ", key, number)

    def _put(self, key: int, row: Row | None) -> None:
        self.rows.pop(key, None)
        if row is not None:
            for other in [each for each in self.rows.values() if each.u == row.u is not None]:
                del self.rows[other.id]
                self._say("ask", other.id)
            self.rows[key] = row

    def _take(self, before: Row | None, after: Row | None) -> None:
        key = (after or before).id  # type: ignore[union-attr]
        there = self.rows.get(key)
        if there != before:
            self.conflicts += 1
            self._met.add(key)
            if there == after:
                return
            found: ConflictState = "missing" if there is None else "exists" if before is None else "changed"
            if self._decide(found, before, after, there) == "target":
                return
        if after is None:
            self.rows.pop(key, None)
            return
        holders = [row for row in self.rows.values() if row.u == after.u is not None and row.id != key]
        self.conflicts += len(holders)
        self._met |= {key, *(row.id for row in holders)} if holders else set()
        if any(self._decide("unique", before, after, row) == "target" for row in holders):
            self.rows.pop(key, None)
            return
        for row in holders:
            del self.rows[row.id]
        self.rows[key] = after

    def _decide(self, found: ConflictState, before: Row | None, after: Row | None, there: Row | None) -> Decision:
        comparison = 0
        if after is not None and there is not None:
            comparison = (after.n > there.n) - (after.n < there.n)
            if self.rule.policy.name == "smaller":
                comparison = -comparison
        plan = TablePlan(SCHEMA, conflicts=self.rule)
        images = (None if row is None else b"{}" for row in (before, after))
        return decide(plan, ChangedPart(*images), found, comparison)  # type: ignore[arg-type]


def row_id(key: int) -> tuple[TableName, bytes]:
    """What tells the row with this key."""
    return SCHEMA.name, b"%d" % key


def exchange(one: Server, other: Server) -> None:
    """Each hears all that the other has to tell, until neither says anything more."""
    for _ in range(MOST_ROUNDS):
        for sender, receiver in ((one, other), (other, one)):
            while sender.told:
                receiver.take(sender.told.pop(0))
        if not one.told:
            return
    raise AssertionError(f"they go on talking: {one.told}")
