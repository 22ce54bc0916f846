"""What the engine tells those who watch it: progress, metrics and tests hook in here, never inline."""

from __future__ import annotations

from collections.abc import Callable

from pydbsync.apply.parked import ParkedChange


class Observer:
    """Does nothing; subclasses override what they care for. Called from the worker's main thread."""

    def now(self, state: str) -> None:
        """What the worker is doing from now on, in one word or two."""

    def began(self) -> None:
        """Deliveries were taken in."""

    def committed(self, *, rows: int, parked: int, ts: int) -> None:
        """A transaction is committed; `ts` is the newest change in it, in seconds."""

    def duplicate(self) -> None:
        """A change was seen that is applied already."""

    def parked(self, parked: ParkedChange) -> None:
        """A change is parked."""

    def schema_changed(self, *, ran: bool) -> None:
        """A schema change is behind us; `ran` is False where it was a duplicate or skipped."""

    def new_stream(self, position: str) -> None:
        """Places went back while time went on."""

    def gap(self, text: str) -> None:
        """Something is missing in the stream, or nothing comes any more."""

    def heartbeat(self, number: int, ts: int) -> None:
        """The source's heartbeat has arrived; `ts` in seconds."""

    def idle(self, depth: int | None) -> None:
        """Nothing is at hand."""

    def depth(self, read: Callable[[], int | None]) -> None:
        """Deliveries are at hand; `read` tells how many more wait."""
