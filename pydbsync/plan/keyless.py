"""The changes of one table without a key between two borders of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pydbsync.model import RowChange
from pydbsync.plan.buffers import Buffer
from pydbsync.plan.large import LARGE_BYTES
from pydbsync.plan.row_shape import RowShape
from pydbsync.plan.row_statements import STATEMENT_BYTES, RowStatement, one_row, shape_of, update_in_place
from pydbsync.plan.rows import TablePlan


class _KeylessRow(NamedTuple):
    """A row image of a table without a key. Rows are the same if the same columns have the same values."""

    identity: bytes
    """Equal for equal rows, whatever the order of their columns."""
    shape: RowShape
    data: msgspec.Raw

    @property
    def is_large(self) -> bool:
        return len(self.data) >= LARGE_BYTES


class _Slot:
    """A row that came within the batch: inserted, or in the place of one that the target holds."""

    __slots__ = ("new", "old")

    def __init__(self, old: _KeylessRow | None, new: _KeylessRow | None) -> None:
        self.old, self.new = old, new


class KeylessBuffer(Buffer):
    """A multiset of whole rows, in the source's order: the server numbers them by it, if a key is added one day.

    What comes and goes within the batch is left out, and what changes stays in its place. With other unique keys, which
    may be NULL, every change is made as it came, since values may move from row to row.
    """

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan)
        self._is_compact = not plan.schema.unique_keys
        self._slots: list[_Slot] = []
        self._came: dict[bytes, list[_Slot]] = {}
        """Of the rows that came within the batch and are still there: the slots, in order."""
        self._gone: dict[bytes, tuple[_KeylessRow, int]] = {}
        """How many of which rows go that the target holds, where the order does not matter."""
        self._changes = 0

    def add(self, change: RowChange) -> None:
        old = new = None
        if change.kind == "delete":
            old = self._row(change.data)
        else:
            if change.kind == "update":
                old = self._row(self.plan.old_image(change))
            new = self._row(change.data)
        # Nothing is taken in before all of it is known to be right.
        self._changes += 1
        if old is not None and new is not None and old.identity == new.identity:
            return
        slot = self._take(old) if old is not None else None
        if slot is not None:
            slot.new = new
        elif old is not None and new is None and self._is_compact:
            row, count = self._gone.get(old.identity, (old, 0))
            self._gone[old.identity] = row, count + 1
            return
        else:
            slot = _Slot(old, new)
            self._slots.append(slot)
        if new is not None and self._is_compact:
            slots = self._came.get(new.identity)
            if slots is None:
                self._came[new.identity] = [slot]
            else:
                slots.append(slot)

    def _row(self, data: msgspec.Raw) -> _KeylessRow:
        shape = shape_of(self.plan, data)
        return _KeylessRow(shape.row_id(data), shape, data)

    def _take(self, row: _KeylessRow) -> _Slot | None:
        """The first slot that holds such a row now; it does so no longer."""
        slots = self._came.get(row.identity)
        if not slots:
            return None
        slot = slots.pop(0)
        if not slots:
            del self._came[row.identity]
        return slot

    def statements(self) -> Iterator[RowStatement]:
        left = self._changes
        for statement in self._statements():
            rows = min(statement.rows, left)
            left -= rows
            yield statement._replace(rows=rows, table=self.plan.name)

    def _statements(self) -> Iterator[RowStatement]:
        for row, count in self._gone.values():
            yield self._delete(row, count)
        new: list[_KeylessRow] = []
        for slot in self._slots:
            if slot.old is not None:
                if not self._is_compact:
                    yield from self._insert(new)
                    new = []
                yield from self._change(slot.old, slot.new)
            elif slot.new is not None:
                new.append(slot.new)
        yield from self._insert(new)

    def _change(self, old: _KeylessRow, new: _KeylessRow | None) -> Iterator[RowStatement]:
        if new is None:
            yield self._delete(old, 1)
        elif new.identity == old.identity:
            return
        elif old.is_large or new.is_large:  # never two large values in one statement
            yield self._delete(old, 1)
            yield from self._insert([new])
        else:
            yield from update_in_place(self.plan, old.shape, old.data, new.shape, new.data)

    def _delete(self, row: _KeylessRow, count: int) -> RowStatement:
        sql = b"DELETE FROM %s WHERE %s LIMIT %d" % (self.plan.quoted, one_row(row.shape, row.data), count)
        return RowStatement(sql, 1, affected=count)

    def _insert(self, rows: list[_KeylessRow]) -> Iterator[RowStatement]:
        values: list[bytes] = []
        head, size = b"", 0
        for row in rows:
            columns = row.shape.insert_head
            if values and (row.is_large or columns != head or size > STATEMENT_BYTES):
                yield RowStatement(head + b",".join(values), len(values), affected=len(values))
                values, size = [], 0
            if row.is_large:
                yield RowStatement(row.shape.statement(columns, row.data), 1, affected=1)
                continue
            head = columns
            values.append(row.identity if row.shape.is_usual else row.shape.values(row.data))
            size += len(values[-1])
        if values:
            yield RowStatement(head + b",".join(values), self._changes, affected=len(values))
