"""Notices what is missing in a stream: holes inside transactions, skipped heartbeats, and silence."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence

import msgspec

from pydbsync.model import COMMIT_ROW, Place, RowChange

HEARTBEAT_COLUMN = "number"
"""The column of the heartbeat table that counts up."""


HEARTBEAT_ROW = 1
"""The row that counts up each second. Others are single beats of tools that look whether one arrives: after those
nothing is to be expected."""


class _Heartbeat(msgspec.Struct):
    number: int
    id: int = HEARTBEAT_ROW


_decode_heartbeat = msgspec.json.Decoder(_Heartbeat).decode


def carries_everything(exchange_type: str, routing_keys: Sequence[str]) -> bool:
    """Whether a queue with these bindings gets every row of a transaction, so that a hole is a loss."""
    return exchange_type == "fanout" or any(key in ("#", "*.*", "*.#", "#.#") for key in routing_keys)


class TransactionWatch:
    """Looks for holes in the row numbers of source transactions.

    Only for queues that carry everything: where tables go to several queues, each sees holes that are none. Rows of
    tables that Maxwell itself filters out are not counted by it, so they leave no hole.
    """

    def __init__(self, place: Place) -> None:
        self._next = place.xoffset + 1 if 0 <= place.xoffset < COMMIT_ROW else 0
        self._xid: int | None = None
        self._position = ""
        self._is_first = True
        self.lacks_head = False
        """Whether the rows that the transaction looked at last begins with did not come."""

    def look_at(self, change: RowChange) -> str | None:
        """What is missing right before this new row, as a sentence; None if nothing is."""
        xid, position, xoffset = change.xid, change.position, change.xoffset
        if xid is None or position is None:
            return None
        missing = None
        if xid != self._xid:
            if self._xid is not None and self._next:
                missing = (
                    f"the end of transaction {self._xid} did not come: its last row seen was number {self._next - 1}"
                    f" at {self._position}"
                )
            # The first row after a start goes on in the middle of the transaction that the checkpoint ends in.
            if not self._is_first or xoffset == 0:
                self._next = 0
            self._is_first = False
            self._xid = xid
            self.lacks_head = xoffset is not None and xoffset > self._next
        self._position = position
        if change.commit:
            self._next = 0
            self._xid = None
        elif xoffset is not None:
            if xoffset > self._next and missing is None:
                missing = f"rows {self._next} to {xoffset - 1} of transaction {xid} did not come (before {position})"
            self._next = xoffset + 1
        return missing


class HeartbeatWatch:
    """Follows the number that the source counts up each second: a skipped one is a proven loss, none is a stall.

    The source's clock may be wrong: how long nothing has come is told by our own.
    """

    def __init__(self, number: int | None, ts: int | None) -> None:
        self.number = number
        self.ts = ts
        self._came_at = time.monotonic()
        """When the last one arrived here; for one of an earlier subscription, when this one began."""
        self._has_come = False
        self._stalled = False
        self._is_skew_told = False

    def take(self, change: RowChange) -> str | None:
        """Take a heartbeat in; what it proves missing, as a sentence. Raises msgspec.MsgspecError for another table."""
        found = _decode_heartbeat(change.data)
        if found.id != HEARTBEAT_ROW:
            return None
        number, missing = found.number, None
        if self.number is not None and number > self.number + 1:
            missing = (
                f"heartbeats {self.number + 1} to {number - 1} did not come: changes were lost between"
                f" {_utc(self.ts)} and {_utc(change.ts)} (source time)"
            )
        # A smaller number is an older one that came again, which has no place then; or the table was made anew.
        if self.number is None or number > self.number or change.position is not None or change.ts >= (self.ts or 0):
            self.number, self.ts = number, change.ts
        self._stalled = False
        self._came_at, self._has_come = time.monotonic(), True
        return missing

    def is_silent(self, *, stall_s: float) -> str | None:
        """Said once per silence: no new heartbeat came for `stall_s`; None if all is well or none was ever seen."""
        if self._stalled or self.ts is None or time.monotonic() - self._came_at <= stall_s:
            return None
        self._stalled = True
        return (
            f"no heartbeat has come for {stall_s:g} s, the last one is of {_utc(self.ts)} (source time): the source,"
            " Maxwell or its way to here stands still"
        )

    def skew(self, now: float, *, limit_s: float) -> str | None:
        """Said once: heartbeats come, with nothing waiting behind them, but bear a time that is off by `limit_s` from
        `now`, the time here."""
        is_live = self._has_come and time.monotonic() - self._came_at <= limit_s
        if self._is_skew_told or not is_live or self.ts is None or abs(now - self.ts) <= limit_s:
            return None
        self._is_skew_told = True
        off_s = round(abs(now - self.ts))
        if self.ts > now:
            return f"the source's clock is {off_s} s ahead of the clock here: how far the target is behind is not known"
        return (
            f"heartbeats come each second, but bear a time {off_s} s ago: the source's clock is behind the clock here,"
            " or Maxwell is behind the source; the lag is shown with it"
        )

    @property
    def stalled(self) -> bool:
        """Whether a silence was said and has not ended."""
        return self._stalled


def _utc(ts: int | None) -> str:
    return "the beginning" if ts is None else dt.datetime.fromtimestamp(ts, dt.timezone.utc).strftime("%F %T UTC")
