"""Applies a plan, or takes it back: small transactions, each row only if it is still as the plan knows it.

What was done is recorded in the target, in the same transaction as the rows: a run that was killed goes on without
doing anything twice, and `--undo` knows what the row looked like afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.errors import ConfigError, PermanentError, PlanError
from pydbsync.model import NO_JSON, TableName
from pydbsync.ops.brake import Brake
from pydbsync.ops.repair.images import Image, read_images
from pydbsync.ops.repair.plan import PlannedChange, RowWriter
from pydbsync.ops.repair.planning import count_rows, count_under
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.matching import TableSides
from pydbsync.ops.verify.sides import Request
from pydbsync.plan.batch import Statement
from pydbsync.plan.quoting import quote_name

_GROUP_BYTES = 1 << 20

_JOURNAL = """
    plan VARCHAR(64) CHARACTER SET ascii NOT NULL,
    number BIGINT UNSIGNED NOT NULL,
    status ENUM('applied', 'undone') CHARACTER SET ascii NOT NULL,
    after_image LONGBLOB NULL,
    done_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
    PRIMARY KEY (plan, number)
"""


class Done(NamedTuple):
    """What became of a plan's changes. `refused` says why, a sentence a change."""

    done: int
    before: int
    """Done by an earlier run."""
    refused: tuple[str, ...]


class Journal:
    """Which changes of a plan stand in the target, and what the rows looked like afterwards."""

    def __init__(self, state_schema: str, plan: str) -> None:
        self._schema = state_schema
        self._table = f"{quote_name(state_schema)}.`repair`"
        self._plan = plan

    def prepare(self, connection: Connection) -> None:
        """Make the table where it is missing. Raises ConfigError if the user may not."""
        ensure_state_schema(connection, self._schema)
        try:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} ({_JOURNAL}) ENGINE=InnoDB")
        except PermanentError as exc:
            raise ConfigError(
                f"the table {self._table} cannot be made in the target: {exc}", key="state_schema"
            ) from exc

    def statuses(self, connection: Connection) -> dict[int, str]:
        """The status of each change that was done, by its number."""
        found = connection.rows(f"SELECT number, status FROM {self._table} WHERE plan = %s", (self._plan,))
        return {int(number): str(status) for number, status in found}

    def recorded(self, connection: Connection, changes: Iterable[PlannedChange]) -> dict[int, tuple[str, bytes | None]]:
        """The same for some changes, within the running transaction."""
        listed = ", ".join(str(change.number) for change in changes)
        found = connection.rows(
            f"SELECT number, status, after_image FROM {self._table} WHERE plan = %s AND number IN ({listed})",
            (self._plan,),
        )
        return {int(number): (status, image) for number, status, image in found}

    def write(self, connection: Connection, number: int, status: str, image: bytes | None) -> None:
        """Record one change as part of the running transaction."""
        connection.run(
            f"REPLACE INTO {self._table} (plan, number, status, after_image) VALUES (%s, %s, %s, %s)",
            (self._plan, number, status, image),
        )


class TableRepair(NamedTuple):
    """What is needed to write one target table."""

    sides: TableSides
    writer: RowWriter


GroupWork: TypeAlias = Callable[[Connection, list[PlannedChange]], list[str]]
"""Does a group over a connection; why not, a sentence for each change that was not done."""


class PlanRunner:
    """Applies or undoes the changes of a plan in groups, each one transaction."""

    def __init__(
        self,
        target: Server,
        journal: Journal,
        tables: dict[TableName, TableRepair],
        *,
        brake: Brake,
        log: logging.Logger,
        group_rows: int = 100,
    ) -> None:
        self._target = target
        self._journal = journal
        self._tables = tables
        self._brake = brake
        self._log = log
        self._group_rows = group_rows

    def apply(self, changes: Sequence[PlannedChange]) -> Done:
        """Do them all in order. Raises TransientError if the target stays away, ConfigError, Stopped."""
        self._target.call(self._journal.prepare)
        recorded = self._target.call(self._journal.statuses)
        todo = [change for change in changes if change.number not in recorded]
        refused: list[str] = []
        for group in self._groups(todo):
            self._brake.wait()
            refused += self._run(self._apply_group, group)
            self._brake.worked(len(group))
        return Done(len(todo) - len(refused), len(changes) - len(todo), tuple(refused))

    def undo(self, changes: Sequence[PlannedChange]) -> Done:
        """Put back what was there before, the last change first."""
        self._target.call(self._journal.prepare)
        recorded = self._target.call(self._journal.statuses)
        todo = [change for change in reversed(changes) if recorded.get(change.number) == "applied"]
        before = sum(status == "undone" for status in recorded.values())
        refused: list[str] = []
        for group in self._groups(todo):
            self._brake.wait()
            refused += self._run(self._undo_group, group)
            self._brake.worked(len(group))
        return Done(len(todo) - len(refused), before, tuple(refused))

    def _groups(self, changes: Iterable[PlannedChange]) -> Iterator[list[PlannedChange]]:
        """Changes of one table that go into one transaction."""
        group: list[PlannedChange] = []
        size = 0
        for change in changes:
            weight = len(bytes(change.before)) + len(bytes(change.after))
            if group and (
                change.table != group[0].table or len(group) >= self._group_rows or size + weight > _GROUP_BYTES
            ):
                yield group
                group, size = [], 0
            group.append(change)
            size += weight
        if group:
            yield group

    def _run(self, work: GroupWork, group: list[PlannedChange]) -> list[str]:
        """Do the group in one transaction; where the target refuses it, one change at a time. Why not, if not."""
        try:
            return self._target.call(lambda connection: work(connection, group))
        except (PermanentError, PlanError) as exc:
            if len(group) == 1:
                return [_refusal(group[0], str(exc))]
        return [why for change in group for why in self._run(work, [change])]

    def _apply_group(self, connection: Connection, group: list[PlannedChange]) -> list[str]:
        table = self._tables[group[0].table]
        refused: list[str] = []
        fresh = self._as_planned_at_source(table, group, refused)
        with connection.transaction():
            recorded = self._journal.recorded(connection, group)
            held = self._lock(connection, table, fresh)
            ready: list[PlannedChange] = []
            for change in fresh:
                if change.number in recorded:  # the answer to the former COMMIT was lost
                    continue
                if self._is_held(connection, table, change, held, _raw(change.before), change.had):
                    ready.append(change)
                else:
                    refused.append(_refusal(change, "the target's row has changed since the plan was made"))
            for step in (table.writer.removals, table.writer.writes):
                for change in ready:
                    _execute(connection, step(change))
            written = self._lock(connection, table, ready)
            for change in ready:
                image = written.get(change.request)
                if isinstance(image, str):
                    raise PlanError(image)
                self._journal.write(connection, change.number, "applied", bytes(image.data) if image else None)
        return refused

    def _undo_group(self, connection: Connection, group: list[PlannedChange]) -> list[str]:
        table = self._tables[group[0].table]
        refused: list[str] = []
        with connection.transaction():
            recorded = self._journal.recorded(connection, group)
            held = self._lock(connection, table, group)
            ready: list[PlannedChange] = []
            for change in group:
                status, image = recorded.get(change.number, ("", None))
                if status != "applied":
                    continue
                count = change.had + (change.copies if change.kind == "insert" else -change.copies)
                if self._is_held(connection, table, change, held, image, count):
                    ready.append(change)
                else:
                    refused.append(_refusal(change, "the row has changed since the repair"))
            for step in (table.writer.undo_removals, table.writer.undo_writes):
                for change in ready:
                    _execute(connection, step(change))
            for change in ready:
                self._journal.write(connection, change.number, "undone", None)
        return refused

    def _as_planned_at_source(
        self, table: TableRepair, group: list[PlannedChange], refused: list[str]
    ) -> list[PlannedChange]:
        """The changes whose row at the source is still the one that the plan wants to write."""
        sides, fresh = table.sides, []
        images = read_images(sides.source, {change.request for change in group}) if sides.has_key else {}
        for change in group:
            if sides.has_key:
                is_same = _bytes(images.get(change.request)) == _raw(change.after)
            else:
                is_same = count_under(sides, change.request) == change.source_had
            if is_same:
                fresh.append(change)
            else:
                refused.append(_refusal(change, "the source's row has changed since the plan was made"))
        return fresh

    def _lock(
        self, connection: Connection, table: TableRepair, changes: Sequence[PlannedChange]
    ) -> dict[Request, Image | str]:
        """The target's rows now, which nobody else changes until the transaction ends. Nothing without a key."""
        if not table.sides.has_key:
            return {}
        return read_images(table.sides.target, {change.request for change in changes}, within=connection)

    def _is_held(
        self,
        connection: Connection,
        table: TableRepair,
        change: PlannedChange,
        held: dict[Request, Image | str],
        wanted: bytes | None,
        count: int,
    ) -> bool:
        """Whether the target's row is this image; without a key, whether there are so many of it."""
        if table.sides.has_key:
            return _bytes(held.get(change.request)) == wanted
        writer = table.writer
        is_insert = change.kind == "insert"
        where = writer.where_incoming(change.after) if is_insert else writer.where_own(change.before)
        return count_rows(connection, change.table, where, lock=True) == count


def _execute(connection: Connection, statements: Iterable[Statement]) -> None:
    for statement in statements:
        matched = connection.execute(statement.sql)
        if statement.affected is not None and matched != statement.affected:
            raise PermanentError(f"{matched} rows were matched instead of {statement.affected}")


def _raw(image: msgspec.Raw) -> bytes | None:
    return None if image is NO_JSON else bytes(image)


def _bytes(image: Image | str | None) -> bytes | None:
    """The row as bytes, None where there is none; a row that cannot be written is like no other."""
    if image is None:
        return None
    return bytes(image.data) if isinstance(image, Image) else b""


def _refusal(change: PlannedChange, why: str) -> str:
    return f"change {change.number} ({change.kind} of {change.table}): {why}"
