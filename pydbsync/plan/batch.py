"""A batch of row changes, compacted, as SQL statements.

Only the last image of each key is written: all deletions of a table first, then all images. This is right

- because the batch ends at a state that the source itself was in, so the final images do not collide with each other,
  with secondary unique keys either: a row of the target that collides with a final image has itself changed or gone
  within the batch, and REPLACE may remove it, since its own final image is written by the same batch (or it is gone);
- because deletions come first: keys are told apart by their text, finer than a collation does, so 'a' may be deleted
  and 'A' written although the server holds them for one key;
- with foreign_key_checks off, so that the order of tables does not matter. Referenced parents whose foreign keys pass
  changes on are a border instead: what was before is written before, the parent's change runs alone with the checks on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydbsync.model import RowChange
from pydbsync.plan.buffers import Buffer, KeyedBuffer, MergedBuffer, OrderedBuffer
from pydbsync.plan.keyless import KeylessBuffer
from pydbsync.plan.large import LARGE_BYTES
from pydbsync.plan.row_statements import (
    RowStatement,
    delete_one,
    is_new_row,
    on_duplicate,
    one_row,
    ordered_statement,
    ordered_statements,
    parent_statement,
    respell,
    shape_of,
    update_in_place,
    where_key,
)
from pydbsync.plan.rows import Strategy, TablePlan


class RowBatch:
    """Collects row changes of whole source transactions; `statements` gives their SQL."""

    def __init__(self) -> None:
        self.rows = 0
        self._buffers: dict[TablePlan, Buffer] = {}
        self._segments: list[dict[TablePlan, Buffer] | RowStatement] = [self._buffers]

    def __bool__(self) -> bool:
        return self.rows > 0

    def add(self, change: RowChange, plan: TablePlan) -> None:
        """Take in the next change of the stream. Raises PlanError; the batch is then as before."""
        buffer = self._buffers.get(plan)
        if buffer is None:
            buffer = self._new_buffer(change, plan)
        if plan.referrers and plan.passes_on(change):
            self._stand_alone(parent_statement(change, plan))
        elif buffer.moves_rows and buffer.must_move(change):
            self._stand_alone(ordered_statement(change, plan))
        else:
            buffer.add(change)
        self.rows += 1

    def _new_buffer(self, change: RowChange, plan: TablePlan) -> Buffer:
        buffer = _buffer_for(change, plan)
        if any(other.name == plan.name for other in self._buffers):
            # Another source table, written in another way, goes to the same target table.
            self._new_segment()
        self._buffers[plan] = buffer
        return buffer

    def _new_segment(self) -> None:
        self._buffers = {}
        self._segments.append(self._buffers)

    def _stand_alone(self, statement: RowStatement) -> None:
        self._segments.append(statement)
        self._new_segment()

    def statements(self) -> Iterator[RowStatement]:
        """The statements in order. Raises PlanError for a value that its column cannot take."""
        for segment in self._segments:
            if isinstance(segment, RowStatement):
                yield segment
            else:
                for buffer in segment.values():
                    yield from _marked(buffer.statements(), buffer.plan)


def _marked(statements: Iterable[RowStatement], plan: TablePlan) -> Iterable[RowStatement]:
    if plan.schema.transactional:
        return statements
    return (statement._replace(is_transactional=False) for statement in statements)


def _buffer_for(change: RowChange, plan: TablePlan) -> Buffer:
    strategy = plan.strategy_for(plan.shape_for(change.data))
    if strategy is Strategy.KEYLESS:
        return KeylessBuffer(plan)
    if strategy is Strategy.ORDERED:
        return OrderedBuffer(plan)
    if strategy is Strategy.MERGED:
        return MergedBuffer(plan)
    return KeyedBuffer(plan, strategy)


def single_statements(change: RowChange, plan: TablePlan, *, in_place: bool = False) -> list[RowStatement]:
    """One change in the forms of the original: `REPLACE INTO` and `DELETE IGNORE FROM … LIMIT 1`.

    They give the same rows as the batch: `--dry-run` prints them, and the applier falls back to them to find which
    change of a batch the target refuses. With `in_place` a row without a key stays where it is when it changes, as in
    the batch. Raises PlanError.
    """
    return list(_marked(_single_statements(change, plan, in_place=in_place), plan))


def _single_statements(change: RowChange, plan: TablePlan, *, in_place: bool) -> list[RowStatement]:
    shape = shape_of(plan, change.data)
    strategy = plan.strategy_for(shape)
    if plan.referrers and plan.passes_on(change):
        return [parent_statement(change, plan)]
    if strategy is Strategy.ORDERED or (strategy is Strategy.UPSERT and KeyedBuffer(plan, strategy).must_move(change)):
        return list(ordered_statements(change, plan))
    found: list[RowStatement] = []
    if strategy is Strategy.KEYLESS:
        if change.kind in ("update", "delete"):
            gone = change.data if change.kind == "delete" else plan.old_image(change)
            where = one_row(shape_of(plan, gone), gone)
            if in_place and change.kind == "update" and max(len(change.data), len(gone)) < LARGE_BYTES:
                return list(update_in_place(plan, shape_of(plan, gone), gone, shape_of(plan, change.data), change.data))
            sql = b"DELETE IGNORE FROM %s WHERE %s LIMIT 1" % (plan.quoted, where)
            found.append(RowStatement(sql, 0, affected=1, table=plan.name))
    elif change.kind == "delete":
        found.append(delete_one(plan, change.data, change))
    elif change.kind == "update" and plan.may_change_key(change):
        old = plan.old_image(change)
        if plan.key_of(old) != plan.key_of(change.data):
            found.append(delete_one(plan, old, change))
    if change.kind != "delete":
        head, tail = shape.replace_head, b""
        if strategy is Strategy.MERGED:
            is_there = (plan.keeps_others or not is_new_row(change)) and not found
            if is_there and plan.has_other_keys:
                found.append(delete_one(plan, change.data, change)._replace(held=0))
            if found or not is_there:
                head = shape.insert_head
        if strategy is Strategy.UPSERT:
            head, tail = shape.insert_head, on_duplicate(shape, plan.row_key)
            if change.kind == "update":
                found += respell(plan, change.data, change.old, where_key(plan, change.data))
        elif strategy is Strategy.KEYLESS and plan.schema.unique_keys:
            head = shape.insert_head  # REPLACE would remove the row of another that holds the same value
        sql = shape.statement(head, change.data, tail)
        found.append(RowStatement(sql, 0, table=plan.name))
        found[-1] = found[-1]._replace(error_values=shape.error_values(change.data))
    found[-1] = found[-1]._replace(rows=1)
    return found
