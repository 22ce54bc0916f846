"""What the engine tells those who watch it: progress, metrics and tests hook in here, never inline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydbsync.work import Conflict, ParkedChange


class Observer:
    """Does nothing; subclasses override what they care for. Called from the worker's main thread, so that none of them
    may wait for anybody."""

    def now(self, state: str) -> None:
        """What the worker is doing from now on, in one word or two."""

    def connected(self, server: str) -> None:
        """A new connection is there: to the `broker` with its subscription, or to the `target`."""

    def began(self, *, redelivered: int) -> None:
        """Deliveries were taken in; so many of them had been handed out before."""

    def committed(self, *, rows: int, parked: int, ts: int, seconds: float) -> None:
        """A transaction is committed, which the target worked on for so long; `ts` is the newest change in it."""

    def parked_now(self, count: int) -> None:
        """So many changes of the stream are parked at this moment."""

    def duplicate(self) -> None:
        """A change was seen that is applied already."""

    def echo(self) -> None:
        """A change was seen that our own replay in the other direction has made."""

    def parked(self, parked: ParkedChange) -> None:
        """A change is parked."""

    def conflict(self, conflict: Conflict) -> None:
        """A change did not find the target's row as the source's was, and it is decided whose stays."""

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


class Observers(Observer):
    """Several observers as one: each is told everything, in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        for name in vars(Observer):
            if not name.startswith("_"):
                setattr(self, name, _all_of([getattr(each, name) for each in observers]))


def _all_of(calls: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call(*arguments: object, **named: object) -> None:
        for each in calls:
            each(*arguments, **named)

    return call
