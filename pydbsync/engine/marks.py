"""Marks that the worker itself writes at the source, and which must come through its queue: the proof that marks do.

Nothing that is applied may be an echo that was not told. So no row is handed on before a mark has come this way, and
whatever the source has made later than a mark must come behind it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from pydbsync.errors import DecodeError, StopError
from pydbsync.model import Delivery, RowChange
from pydbsync.protocols import Decode, Source
from pydbsync.source.wrapped import WrappedSource

NEVER: Final = 2**62
_CLOCK_S: Final = 1
"""A source whose clock is set back by so little between two changes is no reason to stop."""
_AHEAD_S: Final = 5
"""What claims to be made so much later than now was not (SET timestamp)."""


def writer_of(stream: str) -> str:
    """Under which name the stream's own marks are written; 40 characters."""
    return hashlib.sha256(f"two-way\0{stream}".encode()).hexdigest()[:40]


class SentMarks:
    """Which marks were written, and which have come. They are written by another thread."""

    def __init__(self, stream: str, *, schema: str) -> None:
        """`schema` is the state schema of the source."""
        self.writer = writer_of(stream)
        self.schema = schema
        self.is_following = False
        """Whether the stream is subscribed to, so that marks are to be written."""
        self.due = NEVER
        """A mark was written in this second of the source and has not come."""
        self.is_proven = False
        """Whether a mark has come once: all that has to come of it, through this queue."""
        self.refusal = ""
        """Why none can be written."""
        self._is_clean = self._has_seen_replay = False
        self._number = self._due_number = 0
        self._sent_at = 0.0
        self._lock = threading.Lock()

    @property
    def is_under_way(self) -> bool:
        """Whether one was written and has not come."""
        return self.due != NEVER

    @property
    def lets_through(self) -> bool:
        """Whether what comes may be handed on."""
        return self.is_proven or self._has_seen_replay or self._is_clean

    def sent(self, number: int, ts: int, *, is_clean: bool) -> None:
        """One was committed before the end of this second of the source; `is_clean` says that nothing but such marks
        had been written there by pydbsync before, so that what stands before it is no echo."""
        with self._lock:
            self.refusal = ""
            self._is_clean = is_clean
            if number > self._number:
                self.due, self._due_number, self._sent_at = ts, number, time.monotonic()

    def came(self, number: int) -> None:
        """One of ours has come, whole."""
        with self._lock:
            self.is_proven = True
            self._number = max(number, self._number)
            if self._number >= self._due_number:
                self.due = NEVER

    def replay_came(self) -> None:
        """A mark of the other direction's replay has come."""
        self._has_seen_replay = True

    def is_missing(self, change: RowChange) -> bool:
        """Whether the change was made behind a mark that has not come before it."""
        due = self.due
        if due == NEVER or change.kind == "bootstrap-insert" or change.ts <= due + _CLOCK_S:
            return False
        return change.ts <= due + time.monotonic() - self._sent_at + _AHEAD_S

    def missing(self, change: RowChange) -> StopError:
        """What to say of it."""
        return StopError(
            f"marks do not come through this queue: a change of {change.database}.{change.table} at {change.position}"
            f" has come, which was made behind a mark that has not (two_way). Bind the queue to"
            f" {self.schema}.checkpoint, {self.schema}.mark and {self.schema}.schema_change, and let Maxwell's filters"
            " pass them"
        )


class ProvenSource(WrappedSource):
    """A source that hands nothing out before a mark has come: what comes before is held, as far as `prefetch` goes."""

    def __init__(
        self, source: Source, marks: SentMarks, *, decode: Decode, most: int, most_bytes: int, log: logging.Logger
    ) -> None:
        super().__init__(source)
        self._marks = marks
        self._decode = decode
        self._most, self._most_bytes = most, most_bytes
        self._log = log
        self._held: list[Delivery] = []
        self._held_bytes = 0
        self._is_told = False

    def open(
        self, stop: threading.Event, while_waiting: Callable[[], object] = lambda: None, *, goes_on: bool = False
    ) -> None:
        self._source.open(stop, while_waiting, goes_on=goes_on)
        self._marks.is_following = True

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        if not self._marks.lets_through:
            self._hold(self._source.take(timeout_s=timeout_s))
            if not self._marks.lets_through:
                return ()
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            return held
        return self._source.take(timeout_s=timeout_s)

    def is_drained(self) -> bool:
        return self._marks.is_proven and not self._held and self._source.is_drained()

    def close(self) -> None:
        self._marks.is_following = False
        self._held, self._held_bytes = [], 0
        self._source.close()

    def _hold(self, deliveries: Sequence[Delivery]) -> None:
        """Raises StopError where no mark can come any more, or too much would be held."""
        if self._marks.refusal:
            raise StopError(f"no mark can be written at the source, which two_way needs: {self._marks.refusal}")
        if not self._is_told:
            self._is_told = True
            self._log.info("two_way: waiting for the mark that is written at the source to come through the queue")
        self._held += deliveries
        for delivery in deliveries:
            self._held_bytes += len(delivery.body)
            self._look_at(delivery)
        if not self._marks.lets_through and (len(self._held) >= self._most or self._held_bytes >= self._most_bytes):
            raise StopError(
                f"no mark has come among the first {len(self._held)} messages of the queue (two_way), and nothing"
                " before one may be applied. See that the queue is bound to the marks; where they only stand further"
                " behind, raise prefetch and read_ahead_bytes, or begin anew with an empty queue"
            )

    def _look_at(self, delivery: Delivery) -> None:
        try:
            changes = self._decode(delivery.body)
        except DecodeError:
            return
        for change in changes:
            if not isinstance(change, RowChange):
                continue
            if change.database == self._marks.schema:
                if change.table == "checkpoint" and change.kind == "update":
                    self._marks.replay_came()
                elif change.table == "mark" and f'"{self._marks.writer}"'.encode() in bytes(change.data):
                    self._marks.replay_came()  # whether all of it has come is looked at where it is judged
            elif not self._marks.lets_through and self._marks.is_missing(change):
                raise self._marks.missing(change)
