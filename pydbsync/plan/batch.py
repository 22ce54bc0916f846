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

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from pydbsync.errors import PlanError, StopError
from pydbsync.model import NO_JSON, RowChange, TableName, read_image
from pydbsync.plan.large import LARGE_BYTES
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import RowShape, ShapeError, Strategy, TablePlan

STATEMENT_BYTES = 1 << 20
"""A statement is closed when it is longer than this."""
KEYS_PER_DELETE = 1000
CONDITIONS_PER_DELETE = 100
"""Where each key has a condition of its own: MariaDB plans a thousand of them much longer than ten times these."""
_SHOWN_BYTES = 500

Ends: TypeAlias = Callable[[TablePlan, RowShape], tuple[bytes, bytes]]
"""What stands before and behind the images of rows of this shape."""


class RowStatement(NamedTuple):
    """One SQL statement and what must be true of it."""

    sql: bytes
    rows: int
    """Row changes behind it, for the counters."""
    affected: int | None = None
    """Exactly so many rows must match, or the change is in conflict with the target; None where any number may."""
    held: int = 0
    """So many of its rows the target must have held: that fewer match is told, since the end is right all the same."""
    checks_foreign_keys: bool = False
    table: TableName | None = None
    error_values: int = 0
    """So many error values '' of ENUM are written, outside strict mode, each with a warning; nothing else is cut."""
    is_transactional: bool = True
    """False where the table's engine knows no transactions: MySQL with GTIDs refuses it inside one."""


class Batch:
    """Collects row changes of whole source transactions; `statements` gives their SQL."""

    def __init__(self) -> None:
        self.rows = 0
        self._buffers: dict[TablePlan, _Buffer] = {}
        self._segments: list[dict[TablePlan, _Buffer] | RowStatement] = [self._buffers]

    def __bool__(self) -> bool:
        return self.rows > 0

    def add(self, change: RowChange, plan: TablePlan) -> None:
        """Take in the next change of the stream. Raises PlanError; the batch is then as before."""
        buffer = self._buffers.get(plan)
        if buffer is None:
            buffer = self._new_buffer(change, plan)
        if plan.referrers and change.kind in ("update", "delete") and _passes_on(change, plan):
            self._stand_alone(parent_statement(change, plan))
        elif buffer.moves_rows and buffer.must_move(change):
            self._stand_alone(ordered_statement(change, plan))
        else:
            buffer.add(change)
        self.rows += 1

    def _new_buffer(self, change: RowChange, plan: TablePlan) -> _Buffer:
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


class _Buffer:
    """The changes of one table between two borders."""

    moves_rows = False
    """Whether `must_move` has to be asked."""

    def __init__(self, plan: TablePlan) -> None:
        self.plan = plan

    def must_move(self, change: RowChange) -> bool:
        """Whether the row must be updated in place: its columns that only the target has move to the new key."""
        return False

    def add(self, change: RowChange) -> None:
        raise NotImplementedError

    def statements(self) -> Iterator[RowStatement]:
        raise NotImplementedError


def _buffer_for(change: RowChange, plan: TablePlan) -> _Buffer:
    strategy = plan.strategy_for(plan.shape_for(change.data))
    if strategy is Strategy.KEYLESS:
        return _KeylessBuffer(plan)
    if strategy is Strategy.ORDERED:
        return _OrderedBuffer(plan)
    if strategy is Strategy.MERGED:
        return _MergedBuffer(plan)
    return _KeyedBuffer(plan, strategy)


class _KeyedBuffer(_Buffer):
    """The last image of each key; None where it is deleted."""

    def __init__(self, plan: TablePlan, strategy: Strategy) -> None:
        super().__init__(plan)
        self.moves_rows = strategy is Strategy.UPSERT
        self._images: dict[bytes, msgspec.Raw] = {}
        self._gone: dict[bytes, msgspec.Raw] = {}
        """What the target held before the batch."""
        self._passed: dict[bytes, msgspec.Raw] = {}
        """What was written within the batch: the target may have held the row or not."""
        self._may_repeat = False
        """Whether messages without places came: what they delete may be gone already."""
        self._changes = 0

    def must_move(self, change: RowChange) -> bool:
        plan = self.plan
        if not self.moves_rows or change.kind != "update":
            return False
        key = plan.key_of(change.data)
        return plan.may_change_key(change) and plan.key_of(plan.old_image(change)) != key

    def add(self, change: RowChange) -> None:
        plan = self.plan
        key = plan.key_of(change.data)
        if change.kind == "delete":
            self._remove(key, change.data, change.position)
        else:
            if change.kind == "update" and change.old is not NO_JSON and plan.may_change_key(change):
                old = plan.old_image(change)
                old_key = plan.key_of(old)
                if old_key != key:
                    self._remove(old_key, old, change.position)
            self._images[key] = change.data
        self._changes += 1

    def _remove(self, key: bytes, data: msgspec.Raw, position: str | None) -> None:
        if position is None:
            self._may_repeat = True
        if self._images.pop(key, None) is None:
            self._gone[key] = data
        elif key not in self._gone:
            self._passed[key] = data

    def statements(self) -> Iterator[RowStatement]:
        plan, images = self.plan, self._images
        rows = self._changes
        for removed, is_held in ((self._gone, not self._may_repeat), (self._passed, False)):
            deleted = [data for key, data in removed.items() if self.moves_rows or key not in images]
            for statement in _delete_by_key(plan, deleted):
                held = statement.rows if is_held else 0
                yield statement._replace(rows=min(statement.rows, rows), held=held)
                rows -= min(statement.rows, rows)
        for count, statement in enumerate(_write_images(plan, images.values())):
            # changes that were compacted away count with the first statement
            yield statement._replace(rows=statement.rows + (rows - len(images) if count == 0 else 0))


class _MergedBuffer(_Buffer):
    """The last image of each key of a table that several sources feed: what is in the way of a row stays.

    Rows that were there are deleted and inserted anew where another unique key is, since REPLACE would take a row of
    another source along; new ones are only inserted.
    """

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan)
        self._images: dict[bytes, msgspec.Raw] = {}
        self._came: set[bytes] = set()
        """Keys of images that the target does not hold, but for what `_gone` takes away."""
        self._gone: dict[bytes, msgspec.Raw] = {}
        self._changes = 0

    def add(self, change: RowChange) -> None:
        plan = self.plan
        key = plan.key_of(change.data)
        if change.kind == "delete":
            self._remove(key, change.data)
        else:
            old_key = None if _is_new_row(change) else key
            if change.kind == "update" and change.old is not NO_JSON and plan.may_change_key(change):
                old_key = plan.key_of(plan.old_image(change))
            if key != old_key and key in self._images:
                raise PlanError(
                    f"{plan.name} has a row of this key from another source; the row that came:"
                    f" {show_image(change.data)}; in its way: {show_image(self._images[key])}"
                )
            if old_key is not None and key != old_key:
                self._remove(old_key, plan.old_image(change))
            if key != old_key:
                self._came.add(key)
            self._images[key] = change.data
        self._changes += 1

    def _remove(self, key: bytes, data: msgspec.Raw) -> None:
        self._images.pop(key, None)
        if key in self._came:
            self._came.discard(key)
        else:
            self._gone[key] = data

    def statements(self) -> Iterator[RowStatement]:
        plan = self.plan
        came = [data for key, data in self._images.items() if key in self._came]
        were = [data for key, data in self._images.items() if key not in self._came]
        rows = self._changes
        removed = [*self._gone.values(), *were] if plan.has_other_keys else list(self._gone.values())
        for count, statement in enumerate(_delete_by_key(plan, removed)):
            deleted = max(0, rows - len(self._images)) if count == 0 else 0
            yield statement._replace(rows=deleted)
            rows -= deleted
        if plan.has_other_keys:
            written = _write_images(plan, [*were, *came])
        else:
            written = itertools.chain(_write_images(plan, came), _write_images(plan, were, ends_of=_replacing))
        for statement in written:
            yield statement._replace(rows=min(statement.rows, rows))
            rows -= min(statement.rows, rows)


def _is_new_row(change: RowChange) -> bool:
    """Whether the source has just made the row: a bootstrap, or a message without a place, may come again."""
    return change.kind == "insert" and change.position is not None


def show_image(image: msgspec.Raw) -> str:
    """The beginning of a row's image, for people."""
    shown = bytes(memoryview(image)[:_SHOWN_BYTES]).decode("utf-8", "replace")
    return shown if len(image) <= _SHOWN_BYTES else f"{shown}…"


def _delete_by_key(plan: TablePlan, images: list[msgspec.Raw]) -> Iterator[RowStatement]:
    keys = KEYS_PER_DELETE if plan.compares_rows else CONDITIONS_PER_DELETE
    for start in range(0, len(images), keys):
        part = images[start : start + keys]
        yield RowStatement(
            b"DELETE FROM %s WHERE %s" % (plan.quoted, _where_keys(plan, part)), len(part), table=plan.name
        )


def _where_keys(plan: TablePlan, images: list[msgspec.Raw]) -> bytes:
    key = plan.row_key
    if not plan.compares_rows:
        return b" OR ".join(_where_key(plan, data) for data in images)
    tuples = [_literals_of_key(plan, data) for data in images]
    names = b", ".join(quote_name(name).encode() for name in key)
    if len(key) == 1:
        return b"%s IN (%s)" % (names, b",".join(values[0] for values in tuples))
    return b"(%s) IN (%s)" % (names, b",".join(b"(" + b",".join(values) + b")" for values in tuples))


def _literals_of_key(plan: TablePlan, data: msgspec.Raw) -> tuple[bytes, ...]:
    return _shape_of(plan, data).key_literals(data, plan.row_key)


def _shape_of(plan: TablePlan, data: msgspec.Raw) -> RowShape:
    """The shape that fits this image: by far most often the one used last."""
    shape = plan.shape
    if shape is not None:
        try:
            shape.tokens(data)
        except ShapeError:
            return plan.shape_for(data)
        return shape
    return plan.shape_for(data)


def _write_images(
    plan: TablePlan, images: Iterable[msgspec.Raw], *, ends_of: Ends | None = None
) -> Iterator[RowStatement]:
    ends_of = ends_of or _head_and_tail
    shape: RowShape | None = None
    values: list[bytes] = []
    size = 0
    for data in images:
        if len(data) >= LARGE_BYTES:
            if shape is not None and values:
                yield _write_statement(plan, ends_of(plan, shape), values)
                values, size = [], 0
            yield _write_large(plan, ends_of, data)
            continue
        try:
            if shape is None:
                raise ShapeError
            row = shape.values(data)
        except ShapeError:
            if shape is not None and values:
                yield _write_statement(plan, ends_of(plan, shape), values)
                values, size = [], 0
            shape = plan.shape_for(data)
            row = shape.values(data)
        if shape.has_error_values and (errors := shape.error_values(data)):
            yield _write_statement(plan, ends_of(plan, shape), [row])._replace(error_values=errors)
            continue
        values.append(row)
        size += len(row)
        if size > STATEMENT_BYTES:
            yield _write_statement(plan, ends_of(plan, shape), values)
            values, size = [], 0
    if shape is not None and values:
        yield _write_statement(plan, ends_of(plan, shape), values)


def _write_statement(plan: TablePlan, ends: tuple[bytes, bytes], values: list[bytes]) -> RowStatement:
    head, tail = ends
    return RowStatement(head + b",".join(values) + tail, len(values), table=plan.name)


def _write_large(plan: TablePlan, ends_of: Ends, data: msgspec.Raw) -> RowStatement:
    shape = _shape_of(plan, data)
    head, tail = ends_of(plan, shape)
    sql = shape.statement(head, data, tail)
    return RowStatement(sql, 1, table=plan.name, error_values=shape.error_values(data))


def _head_and_tail(plan: TablePlan, shape: RowShape) -> tuple[bytes, bytes]:
    """What stands before and behind the images of rows that are written by key."""
    strategy = plan.strategy_for(shape)
    if strategy is Strategy.REPLACE:
        return shape.replace_head, b""
    if strategy is Strategy.UPSERT:
        return shape.insert_head, _on_duplicate(shape, plan.row_key)
    if strategy is Strategy.MERGED:
        return shape.insert_head, b""
    # Merged sources that are altered one after the other: the applier goes on with each change by itself.
    raise PlanError(f"rows of {plan.name} come with and without some of its columns, and it has other unique keys")


def _replacing(plan: TablePlan, shape: RowShape) -> tuple[bytes, bytes]:
    """The same for rows that are there, of a table that several sources feed."""
    _head_and_tail(plan, shape)
    return shape.replace_head, b""


def _on_duplicate(shape: RowShape, row_key: tuple[str, ...]) -> bytes:
    # VALUES() is deprecated in MySQL 8.0.20 but is the one form that both brands know.
    names = [quote_name(column.name).encode() for column in shape.written]
    return b" ON DUPLICATE KEY UPDATE " + b", ".join(b"%s = VALUES(%s)" % (name, name) for name in names)


class _Row(NamedTuple):
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

    def __init__(self, old: _Row | None, new: _Row | None) -> None:
        self.old, self.new = old, new


class _KeylessBuffer(_Buffer):
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
        self._gone: dict[bytes, tuple[_Row, int]] = {}
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

    def _row(self, data: msgspec.Raw) -> _Row:
        shape = _shape_of(self.plan, data)
        return _Row(shape.row_id(data), shape, data)

    def _take(self, row: _Row) -> _Slot | None:
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
        new: list[_Row] = []
        for slot in self._slots:
            if slot.old is not None:
                if not self._is_compact:
                    yield from self._insert(new)
                    new = []
                yield from self._change(slot.old, slot.new)
            elif slot.new is not None:
                new.append(slot.new)
        yield from self._insert(new)

    def _change(self, old: _Row, new: _Row | None) -> Iterator[RowStatement]:
        if new is None:
            yield self._delete(old, 1)
        elif new.identity == old.identity:
            return
        elif old.is_large or new.is_large:  # never two large values in one statement
            yield self._delete(old, 1)
            yield from self._insert([new])
        else:
            yield _update_row(self.plan, _one_row(old.shape, old.data), new.shape, new.data)

    def _delete(self, row: _Row, count: int) -> RowStatement:
        sql = b"DELETE FROM %s WHERE %s LIMIT %d" % (self.plan.quoted, _one_row(row.shape, row.data), count)
        return RowStatement(sql, 1, affected=count)

    def _insert(self, rows: list[_Row]) -> Iterator[RowStatement]:
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


def _one_row(shape: RowShape, data: msgspec.Raw) -> bytes:
    """The condition for rows equal to this image, and which of them comes first where they can be told apart."""
    return shape.where_row(data) + shape.nearest_first(data)


def _update_row(plan: TablePlan, where: bytes, shape: RowShape, data: msgspec.Raw) -> RowStatement:
    """A row without a key changes in its place."""
    sql = b"UPDATE %s SET %s WHERE %s LIMIT 1" % (plan.quoted, shape.assignments(data), where)
    return RowStatement(sql, 1, affected=1, table=plan.name, error_values=shape.error_values(data))


class _OrderedBuffer(_Buffer):
    """Each change by itself, in order."""

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan)
        self._changes: list[RowChange] = []

    def add(self, change: RowChange) -> None:
        self._changes.append(change)

    def statements(self) -> Iterator[RowStatement]:
        for change in self._changes:
            yield ordered_statement(change, self.plan)


def ordered_statement(change: RowChange, plan: TablePlan) -> RowStatement:
    """INSERT, UPDATE or DELETE of one row by its key, exactly one row affected."""
    shape = _shape_of(plan, change.data)
    if change.kind in ("insert", "bootstrap-insert"):
        sql = shape.statement(shape.insert_head, change.data)
    elif change.kind == "delete":
        sql = b"DELETE FROM %s WHERE %s LIMIT 1" % (plan.quoted, _where_key(plan, change.data))
    else:
        where = _where_key(plan, plan.old_image(change))
        sql = b"UPDATE %s SET %s WHERE %s LIMIT 1" % (plan.quoted, shape.assignments(change.data), where)
    return RowStatement(sql, 1, affected=1, table=plan.name)


def parent_statement(change: RowChange, plan: TablePlan) -> RowStatement:
    """The change of a referenced parent, by which the target cascades as the source did. Raises PlanError, and
    StopError where it is not known whether the children come as changes of their own."""
    if plan.passes_actions_on is None:
        raise StopError(
            f"{plan.name} is referenced with ON DELETE or ON UPDATE actions, and it is not known what the source is:"
            " MySQL 9.6 and newer write the children to the binlog, MariaDB and older MySQL do not. Nothing of this"
            " change was applied; set source_server (such as `mysql 8.4`), or source_db_info so that the source can be"
            " asked, then start again"
        )
    if not plan.row_key:
        raise PlanError(f"{plan.name} is referenced by a foreign key with an action but has no key of its own")
    return ordered_statement(change, plan)._replace(checks_foreign_keys=True, affected=None)


def _where_key(plan: TablePlan, data: msgspec.Raw) -> bytes:
    literals = _literals_of_key(plan, data)
    return b" AND ".join(
        quote_name(name).encode() + b" = " + literal for name, literal in zip(plan.row_key, literals, strict=True)
    )


def _passes_on(change: RowChange, plan: TablePlan) -> bool:
    """Whether the change of a referenced parent reaches its children."""
    if change.kind == "delete":
        return True
    if change.old is NO_JSON:
        return False
    changed = {name.lower() for name in read_image(change.old)}
    return any(name.lower() in changed for name in plan.referred_columns())


def single_statements(change: RowChange, plan: TablePlan, *, in_place: bool = False) -> list[RowStatement]:
    """One change in the forms of the original: `REPLACE INTO` and `DELETE IGNORE FROM … LIMIT 1`.

    They give the same rows as the batch: `--dry-run` prints them, and the applier falls back to them to find which
    change of a batch the target refuses. With `in_place` a row without a key stays where it is when it changes, as in
    the batch. Raises PlanError.
    """
    return list(_marked(_single_statements(change, plan, in_place=in_place), plan))


def _single_statements(change: RowChange, plan: TablePlan, *, in_place: bool) -> list[RowStatement]:
    shape = _shape_of(plan, change.data)
    strategy = plan.strategy_for(shape)
    if plan.referrers and change.kind in ("update", "delete") and _passes_on(change, plan):
        return [parent_statement(change, plan)]
    if strategy is Strategy.ORDERED or (strategy is Strategy.UPSERT and _KeyedBuffer(plan, strategy).must_move(change)):
        return [ordered_statement(change, plan)]
    found: list[RowStatement] = []
    if strategy is Strategy.KEYLESS:
        if change.kind in ("update", "delete"):
            gone = change.data if change.kind == "delete" else plan.old_image(change)
            where = _one_row(_shape_of(plan, gone), gone)
            if in_place and change.kind == "update" and max(len(change.data), len(gone)) < LARGE_BYTES:
                return [_update_row(plan, where, _shape_of(plan, change.data), change.data)]
            sql = b"DELETE IGNORE FROM %s WHERE %s LIMIT 1" % (plan.quoted, where)
            found.append(RowStatement(sql, 0, affected=1, table=plan.name))
    elif change.kind == "delete":
        found.append(_delete_one(plan, change.data, change))
    elif change.kind == "update" and plan.may_change_key(change):
        old = plan.old_image(change)
        if plan.key_of(old) != plan.key_of(change.data):
            found.append(_delete_one(plan, old, change))
    if change.kind != "delete":
        head, tail = shape.replace_head, b""
        if strategy is Strategy.MERGED:
            is_there = not _is_new_row(change) and not found
            if is_there and plan.has_other_keys:
                found.append(_delete_one(plan, change.data, change)._replace(held=0))
            if found or not is_there:
                head = shape.insert_head
        if strategy is Strategy.UPSERT:
            head, tail = shape.insert_head, _on_duplicate(shape, plan.row_key)
        elif strategy is Strategy.KEYLESS and plan.schema.unique_keys:
            head = shape.insert_head  # REPLACE would remove the row of another that holds the same value
        sql = shape.statement(head, change.data, tail)
        found.append(RowStatement(sql, 0, table=plan.name))
        found[-1] = found[-1]._replace(error_values=shape.error_values(change.data))
    found[-1] = found[-1]._replace(rows=1)
    return found


def _delete_one(plan: TablePlan, data: msgspec.Raw, change: RowChange) -> RowStatement:
    sql = b"DELETE IGNORE FROM %s WHERE %s LIMIT 1" % (plan.quoted, _where_key(plan, data))
    return RowStatement(sql, 0, held=0 if change.position is None else 1, table=plan.name)
