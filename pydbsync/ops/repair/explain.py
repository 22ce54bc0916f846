"""A plan in words: which rows, how they are found, and which values change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from pydbsync.model import TableName, read_image
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.plan import RepairPlan
from pydbsync.ops.repair.writer import ChangeWriter

_ROWS_SHOWN = 20
_VALUE_SHOWN = 60


def explained(
    plan: RepairPlan, writers: Mapping[TableName, ChangeWriter], statuses: Mapping[int, str]
) -> Iterator[str]:
    """The lines; `statuses` says what became of changes that were applied or undone."""
    for name in dict.fromkeys(change.table for change in plan.changes):
        changes = [change for change in plan.changes if change.table == name]
        kinds = Counter(change.kind for change in changes)
        yield f"{name}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}; {_way(writers[name])}"
        for change in changes[:_ROWS_SHOWN]:
            status = statuses.get(change.number)
            yield f"  {change.kind} {_row(change, writers[name])}" + (f" ({status})" if status else "")
        if len(changes) > _ROWS_SHOWN:
            yield f"  … and {len(changes) - _ROWS_SHOWN} more"


def _way(writer: ChangeWriter) -> str:
    key = writer.schema.row_key
    if not key:
        return "no key: the rows of a transaction are found in a few passes over the table"
    replaced = "; a row is removed and written anew, as it has other unique keys" if writer.replaces else ""
    return f"rows are found by {', '.join(key)}{replaced}"


def _row(change: PlannedChange, writer: ChangeWriter) -> str:
    before, after = (
        {k: _shown(v) for k, v in read_image(each).items()} if each else {} for each in (change.before, change.after)
    )
    image = before or after
    by_name = {name.lower(): name for name in image}
    names = [by_name[name.lower()] for name in writer.schema.row_key if name.lower() in by_name] or list(image)[:4]
    found = ", ".join(f"{name} = {image[name]}" for name in names)
    if change.kind == "update":
        changed = [f"{name} {before.get(name)} → {value}" for name, value in after.items() if before.get(name) != value]
        return f"{found}: {', '.join(changed)}"
    return found + (f" ({change.copies} times)" if change.copies > 1 else "")


def _shown(token: object) -> str:
    text = bytes(token).decode("utf-8", "replace")  # type: ignore[call-overload]
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"
