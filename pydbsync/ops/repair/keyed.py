"""Rows of a table with a key: each is found by it, and looked at before and after it is written."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.model import NO_JSON, read_image
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.group import (
    CHANGED_SINCE,
    SOURCE_CHANGED,
    TARGET_CHANGED,
    ChangeRefused,
    Refusals,
    TableRepair,
    exclusive_transaction,
    execute,
    refusal,
    refusing,
)
from pydbsync.ops.repair.images import CountedImage, read_images
from pydbsync.ops.repair.journal import RepairJournal
from pydbsync.ops.verify.sides import FoundRow, Request
from pydbsync.plan.normal import normal_json

Images = dict[Request, CountedImage | str]


class KeyedRows:
    """Applies and undoes changes of one table with a key, a group of them in one transaction."""

    def __init__(self, table: TableRepair, journal: RepairJournal) -> None:
        self._sides = table.sides
        self._writer = table.writer
        self._journal = journal

    def apply(self, connection: Connection, group: list[PlannedChange]) -> Refusals:
        """Write the rows; those that are not as the plan knows them are refused. Raises ChangeRefused, ApplyError."""
        refused: Refusals = {}
        at_source = read_images(self._sides.source, _requests(group))
        with exclusive_transaction(connection):
            recorded = self._journal.recorded(connection, group)
            held = self._held(connection, group)
            ready: list[PlannedChange] = []
            for change in group:
                if recorded.get(change.number, ("",))[0] == "applied":  # the answer to the former COMMIT was lost
                    continue
                if _bytes(at_source.get(change.request)) != _raw(change.after):
                    refused[change.number] = refusal(change, SOURCE_CHANGED)
                elif _bytes(held.get(change.request)) != _raw(change.before):
                    refused[change.number] = refusal(change, TARGET_CHANGED)
                else:
                    ready.append(change)
            for step in (self._writer.removals, self._writer.writes):
                for change in ready:
                    with refusing(change):
                        execute(connection, change, step(change))
            # Not before: a DELETE by replay does not wait for a row that is missing, only for one that was written.
            wanted = self._sides.source.fetch(_requests(ready))
            found = self._sides.target.fetch(_requests(ready), within=connection)
            written = self._held(connection, ready)
            for change in ready:
                self._check(change, wanted.get(change.request), found.get(change.request))
                image = written.get(change.request)
                if isinstance(image, str):
                    raise ChangeRefused(change, refusal(change, image))
                self._journal.write(connection, change.number, "applied", bytes(image.data) if image else None)
        return refused

    def undo(self, connection: Connection, group: list[PlannedChange]) -> Refusals:
        """Put the rows back; those that have changed since are refused. Raises ChangeRefused, ApplyError."""
        refused: Refusals = {}
        with exclusive_transaction(connection):
            recorded = self._journal.recorded(connection, group)
            held = self._held(connection, group)
            ready: list[PlannedChange] = []
            for change in group:
                status, image = recorded.get(change.number, ("", None))
                if status != "applied":
                    continue
                if _bytes(held.get(change.request)) == image:
                    ready.append(change)
                else:
                    refused[change.number] = refusal(change, CHANGED_SINCE)
            for step in (self._writer.undo_removals, self._writer.undo_writes):
                for change in ready:
                    with refusing(change):
                        execute(connection, change, step(change))
            written = self._held(connection, ready)
            for change in ready:
                if not self._is_restored(written.get(change.request), change.before):
                    raise ChangeRefused(change, refusal(change, "the target does not hold the former row as it was"))
                self._journal.write(connection, change.number, "undone", None)
        return refused

    def _check(self, change: PlannedChange, wanted: FoundRow | None, found: FoundRow | None) -> None:
        """What was written must be what verify calls equal, or the same row would be repaired for ever."""
        doubt = next((each.doubt for each in (wanted, found) if each is not None and each.doubt), "")
        if doubt:
            raise ChangeRefused(change, refusal(change, f"it cannot be read as it is: {doubt}"))
        if (wanted.state if wanted else None) == (found.state if found else None):
            return
        sides = self._sides
        if _bytes(read_images(sides.source, {change.request}).get(change.request)) != _raw(change.after):
            raise ChangeRefused(change, refusal(change, SOURCE_CHANGED))
        names: list[str] = []
        if wanted is not None and found is not None:
            names = [
                column.name
                for column, source, target in zip(sides.columns, wanted.values, found.values, strict=True)
                if not column.equal(source, target, across_brands=sides.across_brands)
            ]
        what = f"the source's value of {', '.join(names)}" if names else "the source's row"
        raise ChangeRefused(change, refusal(change, f"the target does not hold {what} as it was written"))

    def _is_restored(self, image: CountedImage | str | None, before: msgspec.Raw) -> bool:
        """Whether the row is as it was; documents come back from text, where a DECIMAL 1.50 inside is 1.5."""
        if not isinstance(image, CountedImage) or not before:
            return _bytes(image) == _raw(before)
        names = {column.name for column in self._sides.target_schema.columns if column.kind == "json"}
        now, then = (
            {n: _normal(t) if n in names else bytes(t) for n, t in read_image(each).items()}
            for each in (image.data, before)
        )
        return now == then

    def _held(self, connection: Connection, changes: Sequence[PlannedChange]) -> Images:
        """The target's rows now, which nobody else changes until the transaction ends."""
        return read_images(self._sides.target, _requests(changes), within=connection)


def _normal(document: msgspec.Raw) -> bytes:
    return normal_json(bytes(document), across_brands=False)


def _requests(changes: Sequence[PlannedChange]) -> set[Request]:
    return {change.request for change in changes}


def _raw(image: msgspec.Raw) -> bytes | None:
    return None if image is NO_JSON or not image else bytes(image)


def _bytes(image: CountedImage | str | None) -> bytes | None:
    """The row as bytes, None where there is none; a row that cannot be written is like no other."""
    if image is None:
        return None
    return bytes(image.data) if isinstance(image, CountedImage) else b""
