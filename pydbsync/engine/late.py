"""Messages that came back behind newer ones: stored at once, since they would look like duplicates from now on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pydbsync.engine.judge import Judge
from pydbsync.errors import BrokenOrderError, DecodeError, PlanError, SourceError
from pydbsync.model import Delivery, Marker, RowChange, SchemaChange
from pydbsync.protocols import Decode, Plans, Source
from pydbsync.work import ParkedChange, describe_change, park_row, park_whole

_WAIT_S = 1.0
_REASON = "came back behind newer changes (broken order): compare the row with the source, then skip or retry it"


class LateMessages:
    """What came back late, from the first message on."""

    def __init__(self, source: Source, *, decode: Decode, judge: Judge, plans: Plans[Any]) -> None:
        self._source = source
        self._decode = decode
        self._judge = judge
        self._plans = plans
        self._first: RowChange | SchemaChange | None = None
        self.parked: list[ParkedChange] = []
        self.tag = 0
        """The last delivery that is looked at."""

    def collect(self, deliveries: Sequence[Delivery], *, log: logging.Logger) -> None:
        """Look at these, and at what else comes back right behind them, up to the first that is not late: that one, and
        all behind it, come again."""
        try:
            while deliveries:
                for delivery in deliveries:
                    if not self._take(delivery):
                        return
                deliveries = self._source.take(timeout_s=_WAIT_S)
        except SourceError as exc:
            log.warning("%s", exc)

    def error(self) -> BrokenOrderError:
        """What happened, as a sentence."""
        if self._first is None:
            return BrokenOrderError(f"{self._source.stream}: messages came back behind newer ones")
        kind, position, table = describe_change(self._first)
        return BrokenOrderError(
            f"{self._source.stream}: messages came back behind newer ones (first {kind} of {table} at {position});"
            " they are parked. Another consumer was on the queue: see that it has gone, compare these tables with the"
            " source, mend what is parked, then start again"
        )

    def _take(self, delivery: Delivery) -> bool:
        """Whether the delivery came back, and all in it is at or before what was applied."""
        if not delivery.redelivered:
            return False
        try:
            changes = self._decode(delivery.body)
        except DecodeError as exc:
            self.parked.append(
                ParkedChange(
                    message=delivery.body, reason=str(exc), kind="unreadable", input_format=exc.input_format
                )
            )  # fmt: skip
            self.tag = delivery.tag
            return True
        if not all(isinstance(change, Marker) or self._judge.is_past(change) for change in changes):
            return False
        for change in changes:
            if not isinstance(change, Marker) and self._judge.is_late(delivery, change):
                self._first = self._first or change
                self.parked += self._park(delivery, change)
        self.tag = delivery.tag
        return True

    def _park(self, delivery: Delivery, change: RowChange | SchemaChange) -> list[ParkedChange]:
        try:
            if not isinstance(change, RowChange):
                raise PlanError("a schema change concerns the whole table")
            return [park_row((delivery, sent, plan), _REASON) for plan, sent in self._plans.route(change)]
        except PlanError:
            return [
                park_whole(delivery, change, target.database, _REASON, table=target.table)
                for target in self._plans.targets(change)
            ]
