"""Applies a plan, or takes it back: small transactions, each row only if it is still as the plan knows it.

What was done is recorded in the target, in the same transaction as the rows: a run that was killed goes on without
doing anything twice, and `--undo` knows what the row looked like afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from pydbsync.apply.connection import Connection
from pydbsync.apply.server_errors import DUPLICATE_CODE
from pydbsync.errors import PermanentError, PlanError
from pydbsync.model import TableName
from pydbsync.ops.answers import DoubtfulError
from pydbsync.ops.brake import Brake
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.group import ChangeRefused, Refusals, TableRepair, refusal
from pydbsync.ops.repair.journal import RepairJournal
from pydbsync.ops.repair.keyed import KeyedRows
from pydbsync.ops.repair.keyless import KeylessRows
from pydbsync.ops.repair.order import Moves, grouped
from pydbsync.ops.servers import Server

_GROUP_BYTES = 1 << 20


class Done(NamedTuple):
    """What became of a plan's changes. `refused` says why, a sentence a change."""

    done: int
    before: int
    """Done by an earlier run."""
    refused: tuple[str, ...]


GroupWork: TypeAlias = Callable[[Connection, list[PlannedChange]], Refusals]
"""Does a group over a connection, in one transaction; why not, for each change that was not done."""


class PlanRunner:
    """Applies or undoes the changes of a plan in groups, each one transaction."""

    def __init__(
        self,
        target: Server,
        journal: RepairJournal,
        tables: dict[TableName, TableRepair],
        *,
        brake: Brake,
        group_rows: int = 100,
    ) -> None:
        self._target = target
        self._journal = journal
        self._tables = tables
        self._brake = brake
        self._group_rows = group_rows

    def apply(self, changes: Sequence[PlannedChange]) -> Done:
        """Do them all. Raises TransientError if the target stays away, ConfigError, Stopped."""
        self._target.call(self._journal.prepare)
        recorded = self._target.call(self._journal.statuses)
        todo = [change for change in changes if recorded.get(change.number) != "applied"]
        refused: Refusals = {}
        for table, part in _by_table(todo):
            moves = self._tables[table].writer.moves
            refused |= self._run_table(self._rows(table).apply, part, moves)
        return _done(todo, len(changes) - len(todo), refused)

    def undo(self, changes: Sequence[PlannedChange]) -> Done:
        """Put back what was there before, the last change first. Raises as `apply`."""
        self._target.call(self._journal.prepare)
        recorded = self._target.call(self._journal.statuses)
        todo = [change for change in reversed(changes) if recorded.get(change.number) == "applied"]
        before = sum(recorded.get(change.number) == "undone" for change in changes)
        refused: Refusals = {}
        for table, part in _by_table(todo):
            moves = self._tables[table].writer.undo_moves
            refused |= self._run_table(self._rows(table).undo, part, moves)
        return _done(todo, before, refused)

    def _rows(self, table: TableName) -> KeyedRows | KeylessRows:
        repair = self._tables[table]
        return (KeyedRows if repair.sides.has_key else KeylessRows)(repair, self._journal)

    def _run_table(
        self, work: GroupWork, changes: Iterable[PlannedChange], moves: Callable[[PlannedChange], Moves]
    ) -> Refusals:
        """The changes of one table in transactions; those that were refused and why."""
        by_number = {change.number: change for change in changes}
        refused: Refusals = {}
        for group in self._grouped(by_number.values(), moves):
            self._brake.wait()
            refused |= self._run(work, group, moves)
            self._brake.worked(len(group))
        # A key of a prefix or an expression: which rows swap its values was not known before.
        collided = [number for number, why in refused.items() if why.code == DUPLICATE_CODE]
        if len(collided) > 1:
            again = self._run(work, [by_number[number] for number in collided], moves)
            refused = {number: why for number, why in refused.items() if why.code != DUPLICATE_CODE} | again
        return refused

    def _grouped(
        self, changes: Iterable[PlannedChange], moves: Callable[[PlannedChange], Moves]
    ) -> Iterator[list[PlannedChange]]:
        return grouped(changes, moves, _weight, rows=self._group_rows, size_bytes=_GROUP_BYTES)

    def _run(self, work: GroupWork, group: list[PlannedChange], moves: Callable[[PlannedChange], Moves]) -> Refusals:
        """Do the group in one transaction, and what the target refuses of it without the rest."""
        refused: Refusals = {}
        parts = [group]
        while parts:
            part = parts.pop()
            try:
                refused |= self._attempt(work, part)
            except ChangeRefused as exc:
                refused[exc.change.number] = exc.refusal
                rest = [change for change in part if change.number != exc.change.number]
                # Rows that needed each other may do so no more, without the one that stays as it is.
                parts += reversed(list(self._grouped(rest, moves)))
            except (PermanentError, PlanError, DoubtfulError) as exc:
                if len(part) == 1:
                    refused[part[0].number] = refusal(part[0], str(exc))
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
        return refused

    def _attempt(self, work: GroupWork, group: list[PlannedChange]) -> Refusals:
        return self._target.call(lambda connection: work(connection, group))


def _by_table(changes: Iterable[PlannedChange]) -> Iterator[tuple[TableName, list[PlannedChange]]]:
    found: dict[TableName, list[PlannedChange]] = {}
    for change in changes:
        found.setdefault(change.table, []).append(change)
    yield from found.items()


def _weight(change: PlannedChange) -> int:
    return len(bytes(change.before)) + len(bytes(change.after))


def _done(todo: Sequence[PlannedChange], before: int, refused: Refusals) -> Done:
    reasons = tuple(refused[change.number].text for change in todo if change.number in refused)
    return Done(len(todo) - len(reasons), before, reasons)
