"""Deliveries from a list: what a queue does, without a broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from pydbsync.model import Delivery

_REST_S = 0.01


class MemorySource:
    """Hands out `bodies` in order, tagged from 1; what was not acknowledged comes again after the next `open`."""

    is_new = False

    def __init__(self, bodies: Iterable[bytes], *, stream: str = "memory", block: int = 1000) -> None:
        """`block` is the number of deliveries that one `take` returns at most."""
        self.stream: str = stream
        self._bodies = list(bodies)
        self._block = block
        self._acknowledged = 0
        self._taken = 0
        self._seen = 0
        """The highest tag ever handed out: up to here a delivery is a redelivered one."""

    @property
    def acknowledged(self) -> int:
        """The highest tag acknowledged; 0 before the first."""
        return self._acknowledged

    def open(
        self, stop: threading.Event, while_waiting: Callable[[], object] = lambda: None, *, goes_on: bool = False
    ) -> None:
        self._taken = self._acknowledged

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        """Nothing is added to a list: who asks on is answered late, and leaves the processor to others."""
        if self.is_drained():
            time.sleep(min(timeout_s, _REST_S))
        first, last = self._taken, min(self._taken + self._block, len(self._bodies))
        self._taken = last
        seen, self._seen = self._seen, max(self._seen, last)
        return [Delivery(self._bodies[index], index + 1, index < seen) for index in range(first, last)]

    def acknowledge(self, tag: int) -> None:
        self._acknowledged = max(self._acknowledged, tag)

    def is_drained(self) -> bool:
        return self._taken == len(self._bodies)

    def finish(self) -> bool:
        return False

    def depth(self) -> int | None:
        return len(self._bodies) - self._taken

    def close(self) -> None:
        self._taken = self._acknowledged
