"""How many rows a batch may have, by how long the target took for the ones before."""

from __future__ import annotations

from typing import Final

LEAST_ROWS: Final = 50


class BatchPace:
    """Keeps the target's transactions near `time_s`: rows that it finds slowly come in smaller batches.

    A long transaction holds its locks, and all of it is lost when the worker dies in the middle.
    """

    def __init__(self, *, most_rows: int, time_s: float) -> None:
        self._most_rows = most_rows
        self._least_rows = min(LEAST_ROWS, most_rows)
        self._time_s = time_s
        self.rows = most_rows
        """The limit for the next batch."""

    def took(self, rows: int, seconds: float) -> None:
        """A batch of so many rows was committed; the wait for a target that was away may be in its time."""
        if seconds > self._time_s:
            self.rows = max(self._least_rows, min(self.rows, int(rows * self._time_s / seconds)))
        else:
            self.rows = min(self._most_rows, 2 * self.rows)
