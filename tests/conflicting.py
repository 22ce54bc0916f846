"""Two servers that replicate each other, as a model: what each decides of the other's changes, and what is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pydbsync.config.conflicts import ConflictPolicy
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.plan.conflicts import Decision, Found, Part, decide
from pydbsync.plan.rows import ConflictRule, TablePlan

SCHEMA = TableSchema(
    name=TableName("d", "t"),
    columns=(
        Column("id", "int", nullable=False), Column("v", "varchar", charset="utf8mb4"), Column("n", "int"),
        Column("u", "int"),
    ),
    primary_key=("id",), row_key=("id",), unique_keys=(("u",),),
)  # fmt: skip
OTHER = {"source": "target", "target": "source"}


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


Rows: TypeAlias = dict[int, Row]


def rules(policy: ConflictPolicy, prefer: str) -> tuple[ConflictRule, ConflictRule]:
    """The rule at server a and at server b, where `prefer` names the one that is preferred."""
    names = {"a": "target" if prefer == "a" else "source", "b": "target" if prefer == "b" else "source"}
    return ConflictRule(policy, names["a"]), ConflictRule(policy, names["b"])


@dataclass
class Server:
    """One end: its rows, and what it has changed itself that the other has not heard yet."""

    rule: ConflictRule
    rows: Rows = field(default_factory=dict)
    told: list[Change] = field(default_factory=list)
    conflicts: int = 0

    def write(self, change: Change) -> None:
        """A change of an application."""
        if change.before is not None:
            assert self.rows.pop(change.before.id) == change.before
        if change.after is not None:
            self.rows[change.after.id] = change.after
        self.told.append(change)

    def take(self, change: Change) -> None:
        """A change of the other server."""
        before, after = change
        parts = [(before, after)]
        if before is not None and after is not None and before.id != after.id:
            parts = [(before, None), (None, after)]
        for each in parts:
            self._take(*each)

    def _take(self, before: Row | None, after: Row | None) -> None:
        key = (after or before).id  # type: ignore[union-attr]
        there = self.rows.get(key)
        if there != before:
            self.conflicts += 1
            if there == after:
                return
            found: Found = "missing" if there is None else "exists" if before is None else "changed"
            if self._decide(found, before, after, there) == "target":
                return
        if after is None:
            self.rows.pop(key, None)
            return
        holders = [row for row in self.rows.values() if row.u == after.u is not None and row.id != key]
        self.conflicts += len(holders)
        if any(self._decide("unique", before, after, row) == "target" for row in holders):
            self.rows.pop(key, None)
            return
        for row in holders:
            del self.rows[row.id]
        self.rows[key] = after

    def _decide(self, found: Found, before: Row | None, after: Row | None, there: Row | None) -> Decision:
        comparison = 0
        if after is not None and there is not None:
            comparison = (after.n > there.n) - (after.n < there.n)
            if self.rule.policy.name == "smaller":
                comparison = -comparison
        plan = TablePlan(SCHEMA, conflicts=self.rule)
        images = (None if row is None else b"{}" for row in (before, after))
        return decide(plan, Part(*images), found, comparison)  # type: ignore[arg-type]


def exchange(one: Server, other: Server) -> None:
    """Each hears all that the other has to tell."""
    for sender, receiver in ((one, other), (other, one)):
        while sender.told:
            receiver.take(sender.told.pop(0))
