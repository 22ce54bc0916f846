"""The changes that were taken in and are not committed yet. It holds, and never commits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.engine.pace import BatchPace
from pydbsync.errors import LossyValueError, PlanError
from pydbsync.model import Delivery, RowChange, SchemaChange, TableName
from pydbsync.plan.agreement import SaidOfRow
from pydbsync.protocols import Plans, StateStore
from pydbsync.work import (
    PENDING,
    CopyRows,
    Entry,
    ParkedChange,
    ParkedRows,
    StreamState,
    Work,
    describe_change,
    park_row,
    park_whole,
    table_of_key,
)

_OF_ANOTHER = (
    "an earlier change of this row ({}) met another source's row in {} and was skipped: what stands there may be that"
    " one's; `parked retry` looks, and applies this where it is not"
)


class BatchLimits:
    """How much a batch may hold: asked for after each row, and given anew by a reload."""

    def __init__(self, settings: Settings, pace: BatchPace) -> None:
        self.use(settings, pace)

    def use(self, settings: Settings, pace: BatchPace) -> None:
        """These hold from now on."""
        self.pace, self.bytes, self.time_s = pace, settings.batch_bytes, settings.batch_time_s
        self.most_bytes = 4 * settings.batch_bytes
        # The broker hands out no more than `prefetch` before an acknowledgement: a longer transaction is cut there at
        # once, rather than waited for.
        self.most_rows = min(settings.transaction_rows, settings.prefetch)


class OpenBatch:
    """Entries in order, and what is parked between them, behind which later ones wait."""

    def __init__(self, *, store: StateStore, plans: Plans[Any], limits: BatchLimits) -> None:
        self._store = store
        self._plans = plans
        self._limits = limits
        self._batch = plans.batch()
        self.entries: list[Entry[Any]] = []
        self.parked: list[ParkedChange] = []
        self._parked_after: list[int] = []
        """How many of `entries` came before each of `parked`."""
        self._pending: ParkedRows | None = None
        """What later changes must wait for, of those in `parked`."""
        self.bytes = 0
        self.rows = 0
        """Row changes that were looked at, whether they led to an entry or not."""
        self.schema_changes = 0
        """Messages of schema changes that were looked at."""
        self.state_rows = 0
        """How many of `rows` are of the source's state schema, where replay runs in both directions."""
        self.tag = 0
        """The last delivery of which all is taken in; 0 for none."""
        self.new_streams: list[int] = []
        """The tags of deliveries with which the stream begins anew."""
        self.ts = 0
        """The time of the newest change at the source, in seconds."""
        self.is_open = False
        self.opened_at = 0.0
        self._kept: dict[CopyRows, list[bytes]] = {}
        self.taken_up: list[int] = []
        """Which rows that were kept are applied by it."""

    @property
    def has_only_state(self) -> bool:
        """Whether nothing but rows of the source's state schema has come."""
        return bool(self.state_rows) and self.state_rows == self.rows and not self.schema_changes

    @property
    def words(self) -> int:
        """How many of `entries` change nothing by themselves: what the other end says of rows."""
        return sum(isinstance(change, SaidOfRow) for _, change, _ in self.entries) if self.state_rows else 0

    def is_full(self) -> bool:
        """Whether it is to be committed at the next end of a source transaction."""
        limits = self._limits
        return self.is_open and (
            len(self.entries) + len(self.parked) >= limits.pace.rows
            or self.bytes >= limits.bytes
            or time.monotonic() - self.opened_at >= limits.time_s
        )

    def open(self) -> None:
        """Something is being taken in: from now on the batch has an age."""
        if not self.is_open:
            self.opened_at = time.monotonic()
            self.is_open = True

    def work(self, state: StreamState) -> Work[Any]:
        """All of it as one transaction that leads to this state."""
        return Work(
            batch=self._batch, entries=self.entries, parked=self.parked, state=state,
            new_streams=tuple(self.new_streams), kept=self._kept, taken_up=self.taken_up,
        )  # fmt: skip

    def keep(self, copy: CopyRows, message: bytes) -> None:
        """Have a row of a copy stored, which is left out for now."""
        self._kept.setdefault(copy, []).append(message)

    def add(self, entry: Entry[Any]) -> None:
        """Take a change in, or park it: behind what it must wait for, or because it cannot be written. Raises StopError
        by policy."""
        delivery, change, plan = entry
        if self._pending is not None or not self._store.parked.is_empty:
            keys = plan.identity(change)
            behind = self._blocker_of_row(plan.name, keys, plan.passes_to(change))
            if behind is not None:
                self.park(park_row(entry, "waits behind a parked change of the same row or table", behind=behind))
                return
            left = self._store.parked.left(TableName(change.database, change.table), plan.name, keys)
            if left is not None and plan.is_merged:
                self.park(park_row(entry, _OF_ANOTHER.format(left, plan.name), behind=left))
                return
        try:
            self._batch.add(change, plan)
        except PlanError as exc:
            renewed = None if isinstance(exc, LossyValueError) else self._plans.renew(plan)
            if renewed is not None:  # somebody has altered the table meanwhile
                self.add((delivery, change, renewed))
            else:
                self.park(park_row(entry, str(exc), code=exc.code))
            return
        self.entries.append(entry)

    def add_said(self, entry: Entry[Any]) -> None:
        """Take in what the other end says of a row, which is no change of it, behind those that came before; whether
        what was parked earlier is mended by now is looked at when it is heard. Raises StopError by policy."""
        _, change, plan = entry
        pending = self._pending
        behind = None if pending is None else pending.blocker_of_row(plan.name, plan.identity(change))
        if behind is not None:
            self.park(park_row(entry, "waits behind a parked change of the same row or table", behind=behind))
        else:
            self.entries.append(entry)

    def add_routed(self, delivery: Delivery, change: RowChange) -> bool:
        """Take in what a change is at the target, in however many tables; whether it is anything there, if only parked.
        Raises StopError by policy."""
        try:
            routed = self._plans.route(change)
        except PlanError as exc:
            self.park_unplanned(delivery, change, str(exc))
            return True
        for plan, sent in routed:
            self.add((delivery, sent, plan))
        return bool(routed)

    def park(self, parked: ParkedChange) -> None:
        """Have it stored with the batch; later changes of its row, or table, wait behind it from now on. Raises
        StopError by policy."""
        self._store.refuse_if_stopping(parked)
        self._remember(parked)

    def park_delivery(
        self,
        delivery: Delivery,
        reason: str,
        change: RowChange | SchemaChange | None = None,
        *,
        input_format: str = "maxwell",
    ) -> None:
        """Park a message that could not be read, or, of a change, its place. Raises StopError by policy."""
        parked = ParkedChange(message=delivery.body, reason=reason, kind="unreadable", input_format=input_format)
        if change is not None:
            _, position, source = describe_change(change)
            parked = msgspec.structs.replace(parked, position=position, source=source)
        self.park(parked)

    def park_unplanned(self, delivery: Delivery, change: RowChange, reason: str) -> None:
        """Park a change that cannot be planned: of its rows, where these can be named, else of the whole table. Raises
        StopError by policy."""
        rows = self._plans.named_rows(change)
        for plan, sent in rows:
            self.park_entry((delivery, sent, plan), reason)
        if rows:
            return
        for target in self._plans.targets(change):
            behind = self.blocker(target)
            self.park(park_whole(delivery, change, target.database, reason, behind=behind, table=target.table))

    def park_entry(self, entry: Entry[Any], reason: str) -> None:
        """Park a change that is not to be made now, with what follows of its rows. Raises StopError by policy."""
        _, change, plan = entry
        behind = self._blocker_of_row(plan.name, plan.identity(change), plan.passes_to(change))
        self.park(park_row(entry, reason, behind=behind))

    def blocker(self, target: TableName, keys: tuple[bytes, ...] | list[bytes] = ()) -> int | None:
        """What a change of these rows of the table, or one that concerns no row, must wait for."""
        pending = None if self._pending is None else self._pending.blocker(target, keys)
        return self._store.parked.blocker(target, keys) if pending is None else pending

    def _blocker_of_row(self, target: TableName, keys: Sequence[bytes], along: Sequence[TableName] = ()) -> int | None:
        pending = None if self._pending is None else self._pending.blocker_of_row(target, keys, along)
        return self._store.parked.blocker_of_row(target, keys, along) if pending is None else pending

    def blocker_of_all(self, target: TableName) -> int | None:
        """What a change of the whole table must wait for; of the whole database, where no table is named."""
        for parked in filter(None, (self._pending, self._store.parked)):
            found = parked.blocker_of_table(target) if target.table else parked.blocker_of_database(target.database)
            if found is not None:
                return found
        return None

    def plan_again(self, *, look_again: bool = False) -> None:
        """Something that came before is parked now, so that what is of the same rows waits behind it; or, with
        `look_again`, tables of the target were altered."""
        if look_again:
            self._plans.forget()
        entries, parked = self.entries, list(zip(self._parked_after, self.parked, strict=True))
        self._batch, self.entries = self._plans.batch(), []
        self.parked, self._parked_after, self._pending = [], [], None
        for place, entry in enumerate(entries):
            while parked and parked[0][0] <= place:
                self._park_again(parked.pop(0)[1])
            delivery, change, plan = entry
            add = self.add_said if isinstance(change, SaidOfRow) else self.add
            add((delivery, change, self._plans.current(plan)))
        for _, each in parked:
            self._park_again(each)

    def _park_again(self, parked: ParkedChange) -> None:
        along = [name for key in parked.row_keys if (name := table_of_key(key)) is not None]
        behind = self._blocker_of_row(parked.target, parked.row_keys, () if parked.is_whole_table else along)
        self._remember(msgspec.structs.replace(parked, behind=behind))

    def _remember(self, parked: ParkedChange) -> None:
        if self._pending is None:
            self._pending = ParkedRows()
        self._pending.remember(PENDING + len(self.parked), parked)
        self.parked.append(parked)
        self._parked_after.append(len(self.entries))
