"""The changes of one table with a key between two borders of a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from pydbsync.errors import RowThereError
from pydbsync.model import NO_JSON, RowChange, read_image
from pydbsync.plan.row_statements import (
    RowStatement,
    delete_by_key,
    is_new_row,
    ordered_statements,
    replacing,
    respell,
    show_image,
    where_key,
    write_images,
)
from pydbsync.plan.rows import Strategy, TablePlan


class Buffer:
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


class KeyedBuffer(Buffer):
    """The last image of each key; None where it is deleted."""

    def __init__(self, plan: TablePlan, strategy: Strategy) -> None:
        super().__init__(plan)
        self.moves_rows = strategy is Strategy.UPSERT
        self._images: dict[bytes, msgspec.Raw] = {}
        self._gone: dict[bytes, msgspec.Raw] = {}
        """What the target held before the batch."""
        self._passed: dict[bytes, msgspec.Raw] = {}
        """What was written within the batch: the target may have held the row or not."""
        self._documents = plan.documents if strategy is Strategy.UPSERT else ()
        self._former: dict[bytes, dict[str, msgspec.Raw]] = {}
        """Of these columns, what rows held before the batch."""
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
            if self._documents and change.old is not NO_JSON:
                self._remember(key, change.old)
            self._images[key] = change.data
        self._changes += 1

    def _remember(self, key: bytes, old: msgspec.Raw) -> None:
        former = self._former.setdefault(key, {})
        for name, token in read_image(old).items():
            if name.lower() in self._documents:
                former.setdefault(name, token)

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
            for statement in delete_by_key(plan, deleted):
                held = statement.rows if is_held else 0
                yield statement._replace(rows=min(statement.rows, rows), held=held)
                rows -= min(statement.rows, rows)
        for key, former in self._former.items():
            if former and key in images:
                image = images[key]
                yield from respell(plan, image, msgspec.Raw(msgspec.json.encode(former)), where_key(plan, image))
        for count, statement in enumerate(write_images(plan, images.values())):
            # changes that were compacted away count with the first statement
            yield statement._replace(rows=statement.rows + (rows - len(images) if count == 0 else 0))


class MergedBuffer(Buffer):
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
            old_key = None if is_new_row(change) else key
            if change.kind == "update" and change.old is not NO_JSON and plan.may_change_key(change):
                old_key = plan.key_of(plan.old_image(change))
            # Where conflicts are looked for, what the other end has done in between is left out of the stream: this is
            # one, which `Expected` sees too, so that each change is looked at by itself.
            if key != old_key and key in self._images and plan.conflicts is None:
                raise RowThereError(
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
        for count, statement in enumerate(delete_by_key(plan, removed)):
            deleted = max(0, rows - len(self._images)) if count == 0 else 0
            yield statement._replace(rows=deleted)
            rows -= deleted
        if plan.has_other_keys:
            written = write_images(plan, [*were, *came])
        else:
            written = itertools.chain(write_images(plan, came), write_images(plan, were, ends_of=replacing))
        for statement in written:
            yield statement._replace(rows=min(statement.rows, rows))
            rows -= min(statement.rows, rows)


class OrderedBuffer(Buffer):
    """Each change by itself, in order."""

    def __init__(self, plan: TablePlan) -> None:
        super().__init__(plan)
        self._changes: list[RowChange] = []

    def add(self, change: RowChange) -> None:
        self._changes.append(change)

    def statements(self) -> Iterator[RowStatement]:
        for change in self._changes:
            yield from ordered_statements(change, self.plan)
