"""The plan: each change with its SQL and its reverse, in a file that people read and this tool executes.

A change stands in the file as a comment with its images, from which the planner of replay makes the statements below
it. They are shown so that they can be read (or run by hand); what is executed is made from the images again, and a
file in which the two do not fit is refused.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pydbsync.errors import OperationError
from pydbsync.files import write_result
from pydbsync.model import TableName
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.writer import ChangeWriter

FORMAT: Final = 3
_WITH_END: Final = 2
"""The first format of plans that say where they end; the third tells long statements by their digest too."""
_HEAD: Final = b"-- pydbsync repair plan "
_CHANGE: Final = b"-- change "
_END: Final = b"-- end of the plan"
_SHOWN_BYTES: Final = 20_000


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


def new_plan_name() -> str:
    """A name that no other plan has."""
    return secrets.token_hex(12)


def write_plan(plan: RepairPlan, path: Path, writers: dict[TableName, ChangeWriter]) -> None:
    """Write the file, as a whole or not at all; it holds rows, so that only its owner may read it.

    Raises OperationError if it exists: a plan may be the only record of what was there before.
    """
    write_result(path, _rendered(plan, writers), replaces=False)


def _rendered(plan: RepairPlan, writers: dict[TableName, ChangeWriter]) -> Iterator[bytes]:
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
    yield b"\n" + _END + b"\n"


def render_change(change: PlannedChange, writer: ChangeWriter, *, has_digests: bool = True) -> bytes:
    """One change as it stands in the file; plans of former versions have no digests of statements."""
    forward = [*writer.removals(change), *writer.writes(change)]
    reverse = [*writer.undo_removals(change), *writer.undo_writes(change)]
    lines = [_CHANGE + msgspec.json.encode(change)]
    lines += [_shown(statement.sql, has_digests) for statement in forward]
    lines += [b"-- undo: " + _shown(statement.sql, has_digests) for statement in reverse]
    return b"\n".join(lines) + b"\n"


def _shown(sql: bytes, has_digests: bool) -> bytes:
    if len(sql) > _SHOWN_BYTES or b"\n" in sql or b"\r" in sql:
        digest = f", SHA-256 {hashlib.sha256(sql).hexdigest()}" if has_digests else ""
        return b"-- (a statement of %d bytes, made from the images above%s)" % (len(sql), digest.encode())
    return sql + b";"


def read_plan(path: Path) -> RepairPlan:
    """Raises OperationError if the file is no plan."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise OperationError(f"the plan {path} cannot be read: {exc.strerror}") from exc
    lines = content.split(b"\n")
    try:
        if not lines[0].startswith(_HEAD):
            raise OperationError(f"{path} is no repair plan")
        head = msgspec.json.decode(lines[0][len(_HEAD) :], type=PlanHead)
        changes = tuple(
            msgspec.json.decode(line[len(_CHANGE) :], type=PlannedChange) for line in lines if line.startswith(_CHANGE)
        )
    except msgspec.MsgspecError as exc:
        raise OperationError(f"{path} is no repair plan: {exc}") from exc
    if not 1 <= head.format <= FORMAT:
        raise OperationError(
            f"{path} is a plan of another version of pydbsync (format {head.format}); make a new one from a new report"
        )
    if head.format >= _WITH_END and not any(line.rstrip() == _END for line in lines):
        raise OperationError(
            f"the plan {path} was cut off: its last line, {_END.decode()!r}, is missing. Take the whole file from where"
            " it was made, or make a new plan from a new report; if you took out what stood last, put that line back"
        )
    if content.partition(b"\n" + _END)[2].strip():
        raise OperationError(
            f"the plan {path} goes on behind its last line, {_END.decode()!r}: take away what stands there, or put it"
            " before that line"
        )
    twice = [number for number, times in Counter(change.number for change in changes).items() if times > 1]
    if twice:
        raise OperationError(f"change {twice[0]} is in the plan {path} twice; delete one of the two")
    return RepairPlan(head, changes)


def check_unedited(path: Path, plan: RepairPlan, writers: dict[TableName, ChangeWriter]) -> None:
    """Raises OperationError if the statements in the file are not those that would be executed."""
    has_digests = plan.head.format >= FORMAT
    content = path.read_bytes()
    blocks = (b"\n" + content).partition(b"\n" + _END)[0].split(b"\n" + _CHANGE)[1:]
    for block, change in zip(blocks, plan.changes, strict=True):
        wanted = render_change(change, writers[change.table], has_digests=has_digests)[len(_CHANGE) :]
        if _statements(block) != _statements(wanted):
            raise OperationError(
                f"the statements of change {change.number} in {path} were edited, or the table has changed since the"
                " plan was made; delete the change, or make a new plan from a new report"
            )


def _statements(block: bytes) -> list[bytes]:
    return [line.strip() for line in block.split(b"\n") if line.strip()]
