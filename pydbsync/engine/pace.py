"""How many rows a batch may have, by how long the target took for the ones before, and when the next one may begin."""

from __future__ import annotations

from typing import Final

LEAST_ROWS: Final = 50


class BatchPace:
    """Keeps the target's transactions near `time_s`: rows that it finds slowly come in smaller batches.

    A long transaction holds its locks, and all of it is lost when the worker dies in the middle.
    """

    def __init__(self, *, most_rows: int, time_s: float, rows_per_s: float = 0.0) -> None:
        """With `rows_per_s` a batch holds no more rows than may be written in `time_s`."""
        if rows_per_s:
            most_rows = max(1, min(most_rows, int(rows_per_s * time_s)))
        self._most_rows = most_rows
        self._least_rows = min(LEAST_ROWS, most_rows)
        self._time_s = time_s
        self._rows_per_s = rows_per_s
        self._free_at = 0.0
        self.rows = most_rows
        """The limit for the next batch."""

    def wait_s(self, now: float) -> float:
        """How long the next batch has to wait for the rows of those before."""
        return max(0.0, self._free_at - now)

    def began(self, rows: int, now: float) -> None:
        """A batch of so many rows is given to the target."""
        if self._rows_per_s:
            self._free_at = max(now, self._free_at) + rows / self._rows_per_s

    def took(self, rows: int, seconds: float) -> None:
        """A batch of so many rows was committed; the wait for a target that was away may be in its time."""
        if seconds > self._time_s:
            self.rows = max(self._least_rows, min(self.rows, int(rows * self._time_s / seconds)))
        else:
            self.rows = min(self._most_rows, 2 * self.rows)
