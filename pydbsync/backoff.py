"""Waiting between attempts: exponential back-off with full jitter, cut short by an event."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Protocol


class Waitable(Protocol):
    """What threading.Event and multiprocessing.Event have in common."""

    def wait(self, timeout: float) -> bool: ...


def delays(first_s: float, max_s: float, *, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Endless waits in seconds: each is random between 0 and a limit that doubles from `first_s` up to `max_s`.

    `chance` gives numbers from 0 to 1. Full jitter, rather than a little noise on a fixed wait, keeps many workers that
    lost the same server from coming back at the same moment.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    limit_s = min(first_s, max_s)
    while True:
        yield limit_s * chance()
        limit_s = min(limit_s * 2, max_s)


class Backoff:
    """The waits of one thing that is tried again and again. `attempts` counts the waits since the last success."""

    def __init__(self, first_s: float, max_s: float, *, chance: Callable[[], float] = random.random) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._chance = chance
        self.reset()

    def reset(self) -> None:
        """Start over, after a success."""
        self.attempts = 0
        self._delays = delays(self._first_s, self._max_s, chance=self._chance)

    def next_s(self) -> float:
        """The next wait in seconds."""
        self.attempts += 1
        return next(self._delays)

    def wait(self, stop: Waitable) -> bool:
        """Wait once; True if `stop` was set before or meanwhile."""
        return stop.wait(self.next_s())
