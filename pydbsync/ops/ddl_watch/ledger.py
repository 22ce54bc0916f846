"""Which differences are real: one counts when it was seen twice, and the stream had passed the first sight in between.

Pure. What the source had at a look is in its binlog before the place that the binlog had after that look. So once the
target has all up to there, a difference that is still the same is no lag: nothing that is on its way can explain it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Generic, NamedTuple, Protocol, TypeVar

from pydbsync.model import TableName


class StreamMark(Protocol):
    """What the stream must pass."""

    def is_void(self, newer: object) -> bool:
        """Whether it can never be passed, as a newer one shows."""


MarksT = TypeVar("MarksT", bound=StreamMark)


class Difference(NamedTuple):
    """One sentence about one table of the target, and what to do."""

    table: TableName
    """The target's."""
    kind: str
    """table, structure, index or rows."""
    text: str
    sources: tuple[TableName, ...] = ()
    remedy: str = ""
    detail: str = ""
    """What may be another at each look."""
    sql: str = ""
    """What makes it even, where that is safe at any place of the stream."""

    @property
    def key(self) -> tuple[TableName, str]:
        """By what it is the same difference at the next look."""
        return self.table, self.text

    def __str__(self) -> str:
        return f"{self.table}: {self.text}{f' ({self.detail})' if self.detail else ''}"


class ToBeSaid(NamedTuple):
    """What is to be said after a look."""

    begun: list[Difference]
    ended: list[Difference]


class WatchLedger(Generic[MarksT]):
    """What was seen once, and what is proven; a mark is what the stream must have passed."""

    def __init__(self) -> None:
        self._suspected: dict[tuple[TableName, str], tuple[Difference, MarksT]] = {}
        self._proven: dict[tuple[TableName, str], Difference] = {}

    @property
    def proven(self) -> list[Difference]:
        """The differences that stand."""
        return list(self._proven.values())

    @property
    def suspected(self) -> list[tuple[Difference, MarksT]]:
        """Those that were seen once, each with what the stream must have passed."""
        return list(self._suspected.values())

    @property
    def tables(self) -> set[TableName]:
        """The tables of both."""
        return {table for table, _ in (*self._suspected, *self._proven)}

    def take(
        self,
        found: Iterable[Difference],
        marks: MarksT,
        *,
        passed: Collection[tuple[TableName, str]],
        is_looked_at: Callable[[TableName], bool],
    ) -> ToBeSaid:
        """Take the outcome of a look over. `passed` are the suspected ones whose marks had been passed before it."""
        now = {difference.key: difference for difference in found}
        told = ToBeSaid([], [])
        for key, difference in now.items():
            if key in self._proven:
                self._proven[key] = difference
            elif key in self._suspected and key in passed:
                del self._suspected[key]
                self._proven[key] = difference
                told.begun.append(difference)
            else:
                _, since = self._suspected.get(key, (None, marks))
                self._suspected[key] = (difference, marks if since.is_void(marks) else since)
        for key in [key for key in self._suspected if key not in now and is_looked_at(key[0])]:
            del self._suspected[key]
        for key in [key for key in self._proven if key not in now and is_looked_at(key[0])]:
            told.ended.append(self._proven.pop(key))
        return told
