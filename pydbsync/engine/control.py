"""What an operator asks of a running worker: written by other threads, read by the engine between batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pydbsync.config.settings import Settings


class Control:
    """The settings that hold now, and those that were given since."""

    def __init__(self, settings: Settings, *, use: Callable[[Settings], object] = lambda settings: None) -> None:
        """`use` hands new settings to the stages, between two batches."""
        self.settings = settings
        self._use = use
        self._given: deque[Settings] = deque(maxlen=1)

    def give(self, settings: Settings) -> None:
        """Have these hold from the next border between two batches on. From any thread."""
        self._given.append(settings)

    @property
    def is_waiting(self) -> bool:
        """Whether some were given that do not hold yet."""
        return bool(self._given)

    def take_over(self) -> None:
        """Have those hold that were given, if any. Only while nothing is taken in and nothing under way."""
        if self._given:
            self.settings = self._given.pop()
            self._use(self.settings)
