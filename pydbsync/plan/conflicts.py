"""Conflicts: what a change expects of the row that it changes, and whose row stays where the target has another one.

The same rules run at both ends of a two-way replication, each on the other's changes, and neither hears what the other
has decided. So a decision may depend on nothing but the two rows and the side that is preferred at both ends alike:

- a column decides by its value; where it is the same on both, the preferred side;
- a deletion has no value. Under a policy by column it always wins: whoever has deleted the row cannot tell any more how
  new it was, so nothing else can be the same at both ends;
- a change of the key is a deletion of one row and an insertion of another, each decided by itself;
- a row that comes with the unique value of another one must win over that one too. Where it does not, it stays away,
  and what the target holds under its key goes: at the other end the row with the value has taken its place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from pydbsync.config.conflicts import BY_COLUMN, PARK, ConflictPolicy
from pydbsync.errors import PlanError
from pydbsync.model import FLOAT_KINDS, INTEGER_KINDS, TEMPORAL_KINDS, Column, End, RowChange, read_image
from pydbsync.plan.large import LARGE_BYTES
from pydbsync.plan.literals import NULL
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.row_shape import ConflictRule
from pydbsync.plan.row_statements import (
    CONDITIONS_PER_DELETE,
    KEYS_PER_DELETE,
    STATEMENT_BYTES,
    RowStatement,
    shape_of,
    where_key,
    where_keys,
)
from pydbsync.plan.rows import TablePlan

ConflictState: TypeAlias = Literal["exists", "changed", "missing", "unique"]
"""What the target has against the change: a row that should not be there, another one than should, none, or a row that
holds one of its unique values."""
Decision: TypeAlias = Literal[End, "same", "parked"]
"""Whose row stays; `same` where both have done the same."""
T = TypeVar("T")
ROWS_PER_READ = 100
"""Each row is compared with as many images, until one is like it."""
ORDERED_KINDS: Final = INTEGER_KINDS | FLOAT_KINDS | TEMPORAL_KINDS | {"decimal", "year", "bit"}
"""Columns that a policy may go by."""


class ChangedPart(NamedTuple):
    """A row that a change leaves, or one that it takes away."""

    before: msgspec.Raw | None
    """What the source held under the key; None where there was nothing."""
    after: msgspec.Raw | None

    @property
    def key(self) -> msgspec.Raw:
        """An image with the key."""
        image = self.before if self.after is None else self.after
        assert image is not None  # noqa: S101 (one of them is there)
        return image


def parts_of(change: RowChange, plan: TablePlan) -> list[ChangedPart]:
    """The rows that the change is about: two where it changes the key. Raises PlanError."""
    if change.kind == "delete":
        return [ChangedPart(change.data, None)]
    if change.kind != "update":
        return [ChangedPart(None, change.data)]
    old = plan.old_image(change)
    if plan.may_change_key(change) and plan.key_of(old) != plan.key_of(change.data):
        return [ChangedPart(old, None), ChangedPart(None, change.data)]
    return [ChangedPart(old, change.data)]


class Expected:
    """What the target must hold before a batch, so that no change of it is in conflict."""

    def __init__(self) -> None:
        self._plans: dict[TablePlan, _BatchRows] = {}

    def add(self, change: RowChange, plan: TablePlan) -> bool:
        """Take in the next change of the batch; False where it does not follow from those before it, so that only a
        look at each of them can tell. Raises PlanError."""
        rows = self._plans.get(plan)
        if rows is None:
            if any(other.name == plan.name for other in self._plans):
                return False
            rows = self._plans[plan] = _BatchRows()
        for part in parts_of(change, plan):
            key = plan.key_of(part.key)
            if key not in rows.now:
                rows.before[key] = part
            elif not _is_same(rows.now[key], part.before):
                return False
            rows.now[key] = part.after
            if part.before is None and change.kind != "bootstrap-insert" and change.position is not None:
                rows.inserted.add(key)
        return True

    def statements(self) -> Iterator[RowStatement]:
        """Locking reads, each with the number of rows that it must find. Raises PlanError."""
        for plan, rows in self._plans.items():
            yield from _reads_of(plan, [part.before for part in rows.before.values() if part.before is not None])
            absent = [
                part.key
                for key, part in rows.before.items()
                if part.before is None and (key not in rows.inserted or rows.now[key] is None)
            ]
            step = KEYS_PER_DELETE if plan.compares_rows else CONDITIONS_PER_DELETE
            for start in range(0, len(absent), step):
                yield _locking_read(plan, where_keys(plan, absent[start : start + step]), 0)


class _BatchRows:
    def __init__(self) -> None:
        self.before: dict[bytes, ChangedPart] = {}
        """The first part of each key."""
        self.now: dict[bytes, msgspec.Raw | None] = {}
        """What the batch has made of each key so far."""
        self.inserted: set[bytes] = set()
        """Keys of rows that are new: the batch inserts what it leaves of them, and the server refuses it where there is
        one."""


def _is_same(one: msgspec.Raw | None, other: msgspec.Raw | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or read_image(one) == read_image(other)


def _is_row(plan: TablePlan, image: msgspec.Raw) -> bytes:
    return b"(" + shape_of(plan, image).where_row(image, uses_key=True) + b")"


def _reads_of(plan: TablePlan, images: Iterable[msgspec.Raw]) -> Iterator[RowStatement]:
    """Of rows that must be as these images. A comparison of whole rows is half as long as one of each column, and the
    server reads it in a fraction of the time."""
    alike: dict[bytes, list[tuple[msgspec.Raw, bytes]]] = {}
    others: list[msgspec.Raw] = []
    for image in images:
        shape = shape_of(plan, image)
        if shape.compared and len(image) < LARGE_BYTES:
            alike.setdefault(shape.compared, []).append((image, shape.values(image)))
        else:
            others.append(image)
    for compared, rows in alike.items():
        for part in _cut(rows, size=lambda row: len(row[1])):
            equal = b" OR ".join(compared + b"<=>" + values for _, values in part)
            where = b"(%s) AND (%s)" % (where_keys(plan, [image for image, _ in part]), equal)
            yield _locking_read(plan, where, len(part))
    for conditions in _cut((_is_row(plan, image) for image in others), size=len):
        yield _locking_read(plan, b" OR ".join(conditions), len(conditions))


def _cut(found: Iterable[T], *, size: Callable[[T], int]) -> Iterator[list[T]]:
    """In parts for a statement each."""
    part: list[T] = []
    size_bytes = 0
    for each in found:
        if part and (len(part) == ROWS_PER_READ or size_bytes + size(each) > STATEMENT_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(each)
        size_bytes += size(each)
    if part:
        yield part


def _locking_read(plan: TablePlan, where: bytes, count: int) -> RowStatement:
    return RowStatement(
        b"SELECT 1 FROM %s WHERE %s FOR UPDATE" % (plan.quoted, where), 0, affected=count, table=plan.name
    )


# -- one change by itself ------------------------------------------------------------------------------------------


def look_at_key(plan: TablePlan, part: ChangedPart, listed: bytes, *, key: msgspec.Raw | None = None) -> bytes:
    """A locking read of the row under the part's key, or that of another image: whether it is as before, whether it is
    as afterwards, how the values that decide compare, and what is `listed`."""
    as_before, as_after = (
        b"0" if image is None else b"%s IS TRUE" % _is_row(plan, image) for image in (part.before, part.after)
    )
    columns = b", ".join((as_before, as_after, _comparison(plan, part.after), listed))
    return b"SELECT %s FROM %s WHERE %s FOR UPDATE" % (columns, plan.quoted, where_key(plan, key or part.key))


def unique_conditions(plan: TablePlan, image: msgspec.Raw, *, without: msgspec.Raw | None = None) -> list[bytes]:
    """For each other unique key, the condition for rows of another key that hold the image's values in it; not the row
    under the key of `without`."""
    others = b" OR ".join(where_key(plan, each) for each in (image, without) if each is not None)
    shape = shape_of(plan, image)
    found = []
    for key in dict.fromkeys(plan.schema.unique_keys):
        if key == plan.row_key or not key or not shape.has_columns(key):
            continue
        literals = shape.key_literals(image, key)
        if not any(literal.upper() == b"NULL" for literal in literals):  # NULLs do not collide
            pairs = (quote_name(name).encode() + b" = " + each for name, each in zip(key, literals, strict=True))
            found.append(b"%s AND NOT (%s)" % (b" AND ".join(pairs), others))
    return found


def look_at_holders(plan: TablePlan, image: msgspec.Raw, condition: bytes, listed: bytes) -> bytes:
    """A locking read of the rows that hold a unique value: how the values that decide compare, and what is `listed`."""
    columns = b", ".join((_comparison(plan, image), listed))
    return b"SELECT %s FROM %s WHERE %s FOR UPDATE" % (columns, plan.quoted, condition)


def _comparison(plan: TablePlan, image: msgspec.Raw | None) -> bytes:
    """1 where the image wins over the target's row by the policy's column, -1 where it loses, 0 where none does. NULL
    loses."""
    rule = plan.conflicts
    if image is None or rule is None or rule.policy.name not in BY_COLUMN:
        return b"0"
    shape = shape_of(plan, image)
    column = deciding_column(plan, rule.policy)
    if not shape.has_columns((column.name,)):
        raise PlanError(f"the row has no value for {column.name!r}, by which conflicts of {plan.name} are decided")
    (literal,) = shape.key_literals(image, (column.name,))
    name = quote_name(column.name).encode()
    wins = b"<" if rule.policy.name == "smaller" else b">"
    is_null = b"TRUE" if literal.upper() == NULL.upper() else b"FALSE"
    return b"CASE WHEN %s <=> %s THEN 0 WHEN %s THEN -1 WHEN %s IS NULL OR %s %s %s THEN 1 ELSE -1 END" % (
        name, literal, is_null, name, literal, wins, name,
    )  # fmt: skip


def deciding_column(plan: TablePlan, policy: ConflictPolicy) -> Column:
    """The column that a policy goes by. Raises PlanError where the table has no such column, or none that has an order
    which both brands share."""
    for column in plan.schema.columns:
        if column.name.lower() == policy.column.lower():
            if column.kind in ORDERED_KINDS:
                return column
            raise PlanError(
                f"conflicts of {plan.name} cannot be decided by {column.name!r}: it is {column.kind}, and only numbers"
                " and times have one order on every server"
            )
    raise PlanError(f"{plan.name} has no column {policy.column!r}, by which its conflicts are to be decided")


def decided_for(plan: TablePlan, side: End) -> TablePlan:
    """The same plan, but that one side's row stays whatever the policy says."""
    found = copy.copy(plan)
    found.conflicts = ConflictRule(ConflictPolicy(f"{side}_wins"), side)
    return found


def decide(plan: TablePlan, part: ChangedPart, found: ConflictState, comparison: int) -> Decision:
    """Whose row stays, where the target's is neither as before nor as afterwards."""
    rule = plan.conflicts
    assert rule is not None  # noqa: S101 (conflicts of the table are looked for)
    name = rule.policy.name
    if name == PARK:
        return "parked"
    if name not in BY_COLUMN:
        return "target" if name == "target_wins" or (name == "prefer" and rule.prefer == "target") else "source"
    if part.after is None:
        return "source"
    if found == "missing":
        return "target"
    if comparison:
        return "source" if comparison > 0 else "target"
    return "target" if rule.prefer == "target" else "source"
