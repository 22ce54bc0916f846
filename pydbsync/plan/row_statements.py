"""The SQL of rows: one statement for many images of a table, and the forms of one change by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from pydbsync.errors import PlanError, StopError
from pydbsync.model import NO_JSON, RowChange, TableName, read_image
from pydbsync.plan.identity import row_identity
from pydbsync.plan.large import LARGE_BYTES
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.row_shape import RowShape, ShapeError
from pydbsync.plan.rows import Strategy, TablePlan

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
    row: tuple[bytes, ...] = ()
    """The row by its identities, where it passes its change on to children that may be of another source."""
    is_transactional: bool = True
    """False where the table's engine knows no transactions: MySQL with GTIDs refuses it inside one."""


def delete_by_key(plan: TablePlan, images: list[msgspec.Raw]) -> Iterator[RowStatement]:
    keys = KEYS_PER_DELETE if plan.compares_rows else CONDITIONS_PER_DELETE
    for start in range(0, len(images), keys):
        part = images[start : start + keys]
        yield RowStatement(
            b"DELETE FROM %s WHERE %s" % (plan.quoted, where_keys(plan, part)), len(part), table=plan.name
        )


def where_keys(plan: TablePlan, images: list[msgspec.Raw]) -> bytes:
    """The condition for the rows under the keys of these images."""
    key = plan.row_key
    if not plan.compares_rows:
        return b" OR ".join(where_key(plan, data) for data in images)
    tuples = [_literals_of_key(plan, data) for data in images]
    names = b", ".join(quote_name(name).encode() for name in key)
    if len(key) == 1:
        return b"%s IN (%s)" % (names, b",".join(values[0] for values in tuples))
    return b"(%s) IN (%s)" % (names, b",".join(b"(" + b",".join(values) + b")" for values in tuples))


def _literals_of_key(plan: TablePlan, data: msgspec.Raw) -> tuple[bytes, ...]:
    return shape_of(plan, data).key_literals(data, plan.row_key)


def shape_of(plan: TablePlan, data: msgspec.Raw) -> RowShape:
    """The shape that fits this image: by far most often the one used last."""
    shape = plan.shape
    if shape is not None:
        try:
            shape.tokens(data)
        except ShapeError:
            return plan.shape_for(data)
        return shape
    return plan.shape_for(data)


def write_images(
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
    shape = shape_of(plan, data)
    head, tail = ends_of(plan, shape)
    sql = shape.statement(head, data, tail)
    return RowStatement(sql, 1, table=plan.name, error_values=shape.error_values(data))


def _head_and_tail(plan: TablePlan, shape: RowShape) -> tuple[bytes, bytes]:
    """What stands before and behind the images of rows that are written by key."""
    strategy = plan.strategy_for(shape)
    if strategy is Strategy.REPLACE:
        return shape.replace_head, b""
    if strategy is Strategy.UPSERT:
        return shape.insert_head, on_duplicate(shape, plan.row_key)
    if strategy is Strategy.MERGED:
        return shape.insert_head, b""
    # Merged sources that are altered one after the other: the applier goes on with each change by itself.
    raise PlanError(f"rows of {plan.name} come with and without some of its columns, and it has other unique keys")


def replacing(plan: TablePlan, shape: RowShape) -> tuple[bytes, bytes]:
    """The same for rows that are there, of a table that several sources feed."""
    _head_and_tail(plan, shape)
    return shape.replace_head, b""


def on_duplicate(shape: RowShape, row_key: tuple[str, ...]) -> bytes:
    # VALUES() is deprecated in MySQL 8.0.20 but is the one form that both brands know.
    names = [quote_name(column.name).encode() for column in shape.written]
    return b" ON DUPLICATE KEY UPDATE " + b", ".join(b"%s = VALUES(%s)" % (name, name) for name in names)


def one_row(shape: RowShape, data: msgspec.Raw) -> bytes:
    """The condition for rows equal to this image, and which of them comes first where they can be told apart."""
    return shape.where_row(data) + shape.nearest_first(data)


_IN_BETWEEN = b'"pydbsync: another spelling"'


def update_in_place(
    plan: TablePlan, old_shape: RowShape, old: msgspec.Raw, new_shape: RowShape, new: msgspec.Raw
) -> Iterator[RowStatement]:
    """A row without a key changes in its place; in two steps where MySQL would keep a document that it holds for the
    new one."""
    respelled = {name.lower() for name, _ in new_shape.respelled(new, old)} if plan.documents else ()
    if respelled:
        image = read_image(old)
        between = msgspec.Raw(_IN_BETWEEN)
        image.update({name: between for name in image if name.lower() in respelled})
        changed = msgspec.Raw(msgspec.json.encode(image))
        yield update_row(plan, one_row(old_shape, old), old_shape, changed)._replace(rows=0)
        old = changed
    yield update_row(plan, one_row(old_shape, old), new_shape, new)


def update_row(plan: TablePlan, where: bytes, shape: RowShape, data: msgspec.Raw) -> RowStatement:
    """A row without a key changes in its place."""
    sql = b"UPDATE %s SET %s WHERE %s LIMIT 1" % (plan.quoted, shape.assignments(data), where)
    return RowStatement(sql, 1, affected=1, table=plan.name, error_values=shape.error_values(data))


def respell(plan: TablePlan, data: msgspec.Raw, former: msgspec.Raw, where: bytes) -> Iterator[RowStatement]:
    """What has to go before an update in place, so that MySQL writes a document that it holds for the former one:
    nothing for most."""
    found = shape_of(plan, data).respelled(data, former) if plan.documents and former is not NO_JSON else ()
    if found:
        named = [(quote_name(name).encode(), is_so) for name, is_so in found]
        other = b", ".join(b"%s = IF(%s, CAST('null' AS JSON), %s)" % (name, is_so, name) for name, is_so in named)
        conditions = b" OR ".join(is_so for _, is_so in found)
        yield RowStatement(
            b"UPDATE %s SET %s WHERE %s AND (%s)" % (plan.quoted, other, where, conditions), 0, table=plan.name
        )


def ordered_statements(change: RowChange, plan: TablePlan) -> Iterator[RowStatement]:
    """`ordered_statement` with what goes before it."""
    if change.kind == "update" and plan.documents and change.old is not NO_JSON:
        yield from respell(plan, change.data, change.old, where_key(plan, plan.old_image(change)))
    yield ordered_statement(change, plan)


def ordered_statement(change: RowChange, plan: TablePlan) -> RowStatement:
    """INSERT, UPDATE or DELETE of one row by its key, exactly one row affected."""
    shape = shape_of(plan, change.data)
    if change.kind in ("insert", "bootstrap-insert"):
        sql = shape.statement(shape.insert_head, change.data)
    elif change.kind == "delete":
        sql = b"DELETE FROM %s WHERE %s LIMIT 1" % (plan.quoted, where_key(plan, change.data))
    else:
        where = where_key(plan, plan.old_image(change))
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
    row = tuple(row_identity(change, plan)) if plan.is_merged else ()
    return ordered_statement(change, plan)._replace(checks_foreign_keys=True, affected=None, row=row)


def where_key(plan: TablePlan, data: msgspec.Raw) -> bytes:
    literals = _literals_of_key(plan, data)
    return b" AND ".join(
        quote_name(name).encode() + b" = " + literal for name, literal in zip(plan.row_key, literals, strict=True)
    )


def delete_one(plan: TablePlan, data: msgspec.Raw, change: RowChange) -> RowStatement:
    sql = b"DELETE IGNORE FROM %s WHERE %s LIMIT 1" % (plan.quoted, where_key(plan, data))
    return RowStatement(sql, 0, held=0 if change.position is None else 1, table=plan.name)


def is_new_row(change: RowChange) -> bool:
    """Whether the source has just made the row: a bootstrap, or a message without a place, may come again."""
    return change.kind == "insert" and change.position is not None


def show_image(image: msgspec.Raw) -> str:
    """The beginning of a row's image, for people."""
    shown = bytes(memoryview(image)[:_SHOWN_BYTES]).decode("utf-8", "replace")
    return shown if len(image) <= _SHOWN_BYTES else f"{shown}…"
