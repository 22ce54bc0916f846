"""The plan: each change with its SQL and its reverse, in a file that people read and this tool executes.

A change stands in the file as a comment with its images, from which the planner of replay makes the statements below
it. They are shown so that they can be read (or run by hand); what is executed is made from the images again, and a
file in which the two do not fit is refused.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from pydbsync.errors import OperationError, PlanError
from pydbsync.model import NO_JSON, RowChange, TableName, TableSchema
from pydbsync.ops.verify.sides import Request
from pydbsync.plan.batch import Batch, Statement
from pydbsync.plan.rows import ColumnOverrides, Dialect, TablePlan

FORMAT: Final = 1
_HEAD: Final = b"-- pydbsync repair plan "
_CHANGE: Final = b"-- change "
_SHOWN_BYTES: Final = 20_000

Kind = Literal["insert", "update", "delete"]


class PlannedChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the target that is to be written, with its image before and after."""

    number: int
    table: TableName
    sources: tuple[TableName, ...]
    kind: Kind
    request: Request
    """By what the row is found: its printed key, or without a key the digest of the row that comes or goes."""
    before: msgspec.Raw = NO_JSON
    """The target's row, all its columns; NO_JSON for an insert."""
    after: msgspec.Raw = NO_JSON
    """The source's row; NO_JSON for a delete."""
    copies: int = 1
    """How many equal rows come or go; more than one only without a key."""
    had: int = 0
    """Without a key: how many such rows the target held when the plan was made."""
    source_had: int = 0
    """Without a key: how many rows with this digest the source held then."""


class PlanHead(msgspec.Struct, frozen=True):
    """What a plan is for."""

    plan: str
    """A name that no other plan has; what was applied is recorded under it in the target."""
    source: str
    target: str
    made_at: str
    changes: int
    format: int = FORMAT


class RepairPlan(msgspec.Struct, frozen=True):
    """A whole plan. `left_out` are rows that cannot be repaired, each with its reason."""

    head: PlanHead
    changes: tuple[PlannedChange, ...]
    left_out: tuple[str, ...] = ()


class RowWriter:
    """Statements for one target table, made by the planner of replay: one row each, exactly one row affected."""

    def __init__(self, schema: TableSchema, *, overrides: ColumnOverrides, dialect: Dialect, keeps_own: bool) -> None:
        """`keeps_own` says that the target has columns of its own, which a row must not lose."""
        self.schema = schema
        # Foreign keys do nothing here: the children that a change of the source touched differ by themselves.
        common = {"dialect": dialect, "apply_mode": "plain", "passes_actions_on": False}
        self._incoming = TablePlan(schema, overrides=overrides, **common)  # type: ignore[arg-type]
        self._own = TablePlan(schema, **common)  # type: ignore[arg-type]
        others = set(schema.unique_keys) - {schema.row_key}
        # Two rows that swap a unique value collide when they are updated one by one. So all rows are removed first and
        # written afterwards, where another unique key is and nothing is lost by it.
        self._replaces = bool(others) and not keeps_own

    def removals(self, change: PlannedChange) -> list[Statement]:
        """What takes the old row away, if the change does it so."""
        if change.kind == "delete" or (change.kind == "update" and self._replaces):
            return self._of(change, "delete", change.before, self._own)
        return []

    def writes(self, change: PlannedChange) -> list[Statement]:
        """What writes the new row."""
        if change.kind == "insert" or (change.kind == "update" and self._replaces):
            return self._of(change, "insert", change.after, self._incoming)
        return self._of(change, "update", change.after, self._incoming) if change.kind == "update" else []

    def undo_removals(self, change: PlannedChange) -> list[Statement]:
        """What takes the row away that the change wrote."""
        if change.kind == "insert" or (change.kind == "update" and self._replaces):
            return self._of(change, "delete", change.after, self._incoming)
        return []

    def undo_writes(self, change: PlannedChange) -> list[Statement]:
        """What puts the row back that was there."""
        if change.kind == "delete" or (change.kind == "update" and self._replaces):
            return self._of(change, "insert", change.before, self._own)
        return self._of(change, "update", change.before, self._own) if change.kind == "update" else []

    def where_incoming(self, image: msgspec.Raw) -> bytes:
        """The condition for rows equal to an image of the source."""
        return self._incoming.shape_for(image).where_row(image)

    def where_own(self, image: msgspec.Raw) -> bytes:
        """The condition for rows equal to an image of the target."""
        return self._own.shape_for(image).where_row(image)

    def _of(self, change: PlannedChange, kind: Kind, image: msgspec.Raw, plan: TablePlan) -> list[Statement]:
        if not image:
            raise PlanError(f"change {change.number} has no image to {kind}")
        name = self.schema.name
        row = RowChange(kind=kind, database=name.database, table=name.table, ts=0, data=image, old=NO_JSON)
        batch = Batch()
        for _ in range(change.copies):
            batch.add(row, plan)
        return list(batch.statements())


def new_plan_name() -> str:
    """A name that no other plan has."""
    return secrets.token_hex(12)


def write_plan(plan: RepairPlan, path: Path, writers: dict[TableName, RowWriter]) -> None:
    """Write the file, as a whole or not at all.

    Raises OperationError if it exists: a plan may be the only record of what was there before.
    """
    if path.exists():
        raise OperationError(f"the plan {path} exists; apply it (without --report), or give the new one another name")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.writelines(_rendered(plan, writers))
    partial.replace(path)


def _rendered(plan: RepairPlan, writers: dict[TableName, RowWriter]) -> Iterator[bytes]:
    head = plan.head
    yield _HEAD + msgspec.json.encode(head) + b"\n--\n"
    for text in (
        f"{head.changes} changes of {head.target}, so that it is as {head.source} was at {head.made_at}.",
        "Delete the changes that you do not want, each with its statements. Then",
        "  python -m pydbsync repair --plan THIS-FILE          applies them, each only if its row is still as it was,",
        "  python -m pydbsync repair --plan THIS-FILE --undo   puts back what was there, unless it has changed since.",
    ):
        yield f"-- {text}\n".encode()
    for text in plan.left_out:
        yield f"-- left out: {' '.join(text.split())}\n".encode()
    for change in plan.changes:
        yield b"\n" + render_change(change, writers[change.table])


def render_change(change: PlannedChange, writer: RowWriter) -> bytes:
    """One change as it stands in the file."""
    forward = [*writer.removals(change), *writer.writes(change)]
    reverse = [*writer.undo_removals(change), *writer.undo_writes(change)]
    lines = [_CHANGE + msgspec.json.encode(change)]
    lines += [_shown(statement.sql) for statement in forward]
    lines += [b"-- undo: " + _shown(statement.sql) for statement in reverse]
    return b"\n".join(lines) + b"\n"


def _shown(sql: bytes) -> bytes:
    if len(sql) > _SHOWN_BYTES or b"\n" in sql or b"\r" in sql:
        return b"-- (a statement of %d bytes, made from the images above)" % len(sql)
    return sql + b";"


def read_plan(path: Path) -> RepairPlan:
    """Raises OperationError if the file is no plan."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise OperationError(f"the plan {path} cannot be read: {exc.strerror}") from exc
    first, _, _ = content.partition(b"\n")
    try:
        if not first.startswith(_HEAD):
            raise OperationError(f"{path} is no repair plan")
        head = msgspec.json.decode(first[len(_HEAD) :], type=PlanHead)
        changes = tuple(
            msgspec.json.decode(line[len(_CHANGE) :], type=PlannedChange)
            for line in content.split(b"\n")
            if line.startswith(_CHANGE)
        )
    except msgspec.MsgspecError as exc:
        raise OperationError(f"{path} is no repair plan: {exc}") from exc
    if head.format != FORMAT:
        raise OperationError(f"{path} is a plan of another version of pydbsync (format {head.format})")
    return RepairPlan(head, changes)


def check_unedited(path: Path, changes: Iterable[PlannedChange], writers: dict[TableName, RowWriter]) -> None:
    """Raises OperationError if the statements in the file are not those that would be executed."""
    content = path.read_bytes()
    blocks = (b"\n" + content).split(b"\n" + _CHANGE)[1:]
    for block, change in zip(blocks, changes, strict=True):
        wanted = render_change(change, writers[change.table])[len(_CHANGE) :]
        if _statements(block) != _statements(wanted):
            raise OperationError(
                f"the statements of change {change.number} in {path} were edited, or the table has changed since the"
                " plan was made; delete the change, or make a new plan from a new report"
            )


def _statements(block: bytes) -> list[bytes]:
    return [line.strip() for line in block.split(b"\n") if line.strip()]
