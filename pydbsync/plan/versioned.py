"""System-versioned tables of MariaDB: current rows are replayed, their history every server makes itself.

In the binlog an update comes with an insert of the row as it was, and a delete is an update of the end of its time. No
server takes such rows as data: to write them would replace the current ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pydbsync.model import NO_JSON, Period, RowChange, TableSchema, read_image

HIDDEN = Period("row_start", "row_end")
"""What MariaDB calls the columns where the table declares none."""
_FOREVER = frozenset({
    b'"2038-01-19 03:14:07.999999"', b'"2106-02-07 06:28:15.999999"', b"18446744073709551615",
})  # fmt: skip
"""The end of a row that is current: of 32 bits, of 64 (11.5), and of a table that is versioned by transactions."""


def period_of(schema: TableSchema, names: Iterable[str]) -> Period | None:
    """The columns of the time of a row in images with these columns; None where all rows are current ones."""
    given = {name.lower() for name in names}
    for period in (schema.period, HIDDEN if HIDDEN.is_missing(schema) else None):
        if period is not None and {period.start.lower(), period.end.lower()} <= given:
            return period
    return None


def current_change(change: RowChange, period: Period) -> RowChange | None:
    """The change of the current row, without the columns of its time; None where only history changes."""
    data, old = read_image(change.data), read_image(change.old) if change.old is not NO_JSON else {}
    spelled = {name.lower(): name for name in data}
    start, end = (spelled.get(name.lower(), name) for name in period)
    is_current = bytes(data.get(end, msgspec.Raw())) in _FOREVER
    was_current = bytes(old.get(end, data.get(end, msgspec.Raw()))) in _FOREVER
    kind = change.kind
    if kind == "update" and was_current and not is_current:
        kind, data, old = "delete", {**data, **old}, {}
    elif not is_current or (kind == "update" and not was_current):
        return None
    for image in (data, old):
        for name in (start, end):
            image.pop(name, None)
    return msgspec.structs.replace(
        change,
        kind=kind,
        data=msgspec.Raw(msgspec.json.encode(data)),
        old=msgspec.Raw(msgspec.json.encode(old)) if kind == "update" else NO_JSON,
    )
