"""A source in front of another one, to which it hands on all that it does not do itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pydbsync.model import Delivery
from pydbsync.protocols import Source


class WrappedSource:
    """Does what the other source does; subclasses override what they do in another way. Fits protocols.Source."""

    def __init__(self, source: Source) -> None:
        self.stream: str = source.stream
        self._source = source

    def open(
        self, stop: threading.Event, while_waiting: Callable[[], object] = lambda: None, *, goes_on: bool = False
    ) -> None:
        self._source.open(stop, while_waiting, goes_on=goes_on)

    @property
    def is_new(self) -> bool:
        return self._source.is_new

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        return self._source.take(timeout_s=timeout_s)

    def acknowledge(self, tag: int) -> None:
        self._source.acknowledge(tag)

    def is_drained(self) -> bool:
        return self._source.is_drained()

    def finish(self) -> bool:
        return self._source.finish()

    def depth(self) -> int | None:
        return self._source.depth()

    def close(self) -> None:
        self._source.close()
