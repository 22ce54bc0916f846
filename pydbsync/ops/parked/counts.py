"""How many changes are parked, by table and by the shape of their reason: values and numbers in it count as equal."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

FIELDS: Final = ("stream", "table", "kind", "code", "reason")
"""What changes can be counted by."""
_SHOWN: Final = 200
_SHAPES: Final = (
    (re.compile(r"; (?:the row that came|in its way): .*", re.DOTALL), ""),
    (re.compile(r"(entry|value:?) '(?:[^']|'')*?'(?= for | at |$)"), r"\1 '…'"),
    (re.compile(r"\{.*\}", re.DOTALL), "{…}"),
    (re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)"), "…"),
)


class Count(msgspec.Struct):
    """So many changes that are alike; what they were not counted by is empty."""

    count: int
    waiting: int
    """How many of them only wait behind another one."""
    first_id: int
    oldest: dt.datetime
    stream: str = ""
    table: str = ""
    kind: str = ""
    code: int | None = None
    reason: str = ""


def shape_of(reason: str) -> str:
    """The reason without what differs from row to row."""
    for pattern, rest in _SHAPES:
        reason = pattern.sub(rest, reason)
    return reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}…"


def counts_by(rows: Iterable[tuple[Any, ...]], by: Collection[str]) -> list[Count]:
    """(stream, database, table, kind, code, reason, is waiting, count, first id, oldest) → what is alike in `by`, the
    most first."""
    found: dict[tuple[object, ...], Count] = {}
    for stream, database, table, kind, code, reason, is_waiting, count, first_id, oldest in rows:
        values: dict[str, Any] = {
            "stream": stream,
            "table": f"{database}.{table}",
            "kind": kind,
            "code": int(code),
            "reason": shape_of(reason) if "reason" in by else "",
        }
        key = tuple(values[name] for name in FIELDS if name in by)
        waiting = int(count) if is_waiting else 0
        if (known := found.get(key)) is not None:
            known.count += int(count)
            known.waiting += waiting
            known.first_id = min(known.first_id, int(first_id))
            known.oldest = min(known.oldest, oldest)
        else:
            found[key] = Count(
                count=int(count), waiting=waiting, first_id=int(first_id), oldest=oldest,
                **{name: values[name] for name in FIELDS if name in by},
            )  # fmt: skip
    return sorted(found.values(), key=lambda each: (-each.count, each.first_id))
