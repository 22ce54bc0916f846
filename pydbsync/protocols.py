"""What the engine asks of its stages; each stage is a class that fits one of these."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from pydbsync.model import Delivery, TableName, TableSchema


class Source(Protocol):
    """Where deliveries come from, in order, one subscription at a time.

    After any SourceError the subscription is void: nothing taken from it may be acknowledged any more, and what was
    not acknowledged comes again after the next `open`.
    """

    stream: str
    """The name under which the checkpoint of this source is kept: the queue's name, or the one given for a file."""

    def open(self, stop: threading.Event, while_waiting: Callable[[], object] = ...) -> None:
        """Connect and subscribe; wait for the turn if another consumer is there. Raises SourceError.

        `while_waiting` is called now and then meanwhile; what it raises ends the waiting.
        """

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        """All deliveries at hand in order, waiting up to `timeout_s`; empty if none came. Raises SourceError."""

    def acknowledge(self, tag: int) -> None:
        """This delivery and all before it are safe in the target; never blocks. Raises SourceError."""

    def is_drained(self) -> bool:
        """Whether nothing is left: no delivery at hand, none at the broker. Raises SourceError."""

    def depth(self) -> int | None:
        """Messages waiting behind the ones taken, where the source knows; a figure for people, not for decisions."""

    def close(self) -> None:
        """Give back what was not acknowledged. Never raises."""


class Catalog(Protocol):
    """The target's tables as they are now."""

    def table(self, name: TableName) -> TableSchema | None:
        """The table's schema, or None where there is no such table."""

    def forget(self, database: str | None = None) -> None:
        """A schema change has run: look again next time."""
