"""What a round of the copy has to do. A round is one snapshot; a copy that nothing disturbs has just one.

A second round follows when tables were left unfinished: the process was killed, the connections to the source were
lost, or a table was altered after the snapshot, which then shows it no more. The rows read then are newer than the
place of the first snapshot, which is harmless for tables whose replay converges: their chunks go on where they were.
All others begin anew, with the place of the new snapshot as a start of their own.

Every table whose definition has changed since it was read begins anew as well, finished or not, those that have gone
are dropped, and new ones are copied. So no statement of the stream that lies before the new place has anything left to
do for them, and renames between such tables need not be understood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import NamedTuple

from pydbsync.model import TableName
from pydbsync.ops.copy.journal import TableRecord


class Round(NamedTuple):
    """Which source tables to do what with."""

    anew: tuple[TableName, ...]
    """Made anew at the target, and copied whole."""
    on: tuple[TableName, ...]
    """Gone on with, chunk by chunk, over rows that may be there already."""
    gone: tuple[TableName, ...]
    """Dropped at the target."""

    def __bool__(self) -> bool:
        return bool(self.anew or self.on or self.gone)


def plan_round(
    found: Mapping[TableName, str],
    records: Mapping[TableName, TableRecord],
    *,
    converges: Callable[[TableName], bool],
    tied: Iterable[Set[TableName]],
) -> Round:
    """The next round. `found` is what the source has now, with fingerprints; `records` what was done so far.

    `tied` are sets of tables that can only begin anew together: by foreign keys that pass changes on, or because they
    come to the same table of the target.
    """
    unfinished = {name for name, record in records.items() if record.status == "begun"}
    if records and not unfinished:
        return Round((), (), ())
    gone = {name for name, record in records.items() if record.status != "gone" and name not in found}
    anew = {
        name
        for name, fingerprint in found.items()
        if name not in records or records[name].status == "gone" or records[name].fingerprint != fingerprint
    }
    # Without a start the process was killed before the table was made and seen by a snapshot.
    anew |= {name for name in unfinished - gone - anew if not (has_start(records[name]) and converges(name))}
    while spread := {name for family in tied if family & (anew | gone) for name in family & found.keys()} - anew:
        anew |= spread
    return Round(tuple(sorted(anew)), tuple(sorted(unfinished - gone - anew)), tuple(sorted(gone)))


def has_start(record: TableRecord) -> bool:
    """Whether the place is known from which on what is said of the table is new to the target."""
    return bool(record.start.base or record.start.marker)
