"""A source whose acknowledgements wait until the sink has kept what they stand for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from pydbsync.model import Delivery
from pydbsync.protocols import Source
from pydbsync.source.wrapped import WrappedSource

_MarkT = TypeVar("_MarkT")
_LOOK_S = 0.1


class Keeps(Protocol[_MarkT]):
    """What tells when something is kept."""

    def mark(self) -> _MarkT:
        """Something was written just now."""

    def is_kept(self, mark: _MarkT) -> bool:
        """Whether all that was written before the mark is kept. Raises TransientError."""

    def forget(self) -> None:
        """Nobody asks for the marks any more."""


class HeldAcknowledgements(WrappedSource, Generic[_MarkT]):
    """What is not acknowledged comes again: so a message is there until the sink cannot lose it any more."""

    def __init__(self, source: Source, keeps: Keeps[_MarkT]) -> None:
        super().__init__(source)
        self._keeps = keeps
        self._held: deque[tuple[int, _MarkT]] = deque()

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        self._release()
        return self._source.take(timeout_s=min(timeout_s, _LOOK_S) if self._held else timeout_s)

    def acknowledge(self, tag: int) -> None:
        self._held.append((tag, self._keeps.mark()))
        self._release()

    def is_drained(self) -> bool:
        self._release()
        return not self._held and self._source.is_drained()

    def finish(self) -> bool:
        self._release()
        return self._source.finish()

    def close(self) -> None:
        self._held.clear()
        self._keeps.forget()
        self._source.close()

    def _release(self) -> None:
        tag = 0
        while self._held and self._keeps.is_kept(self._held[0][1]):
            tag, _ = self._held.popleft()
        if tag:
            self._source.acknowledge(tag)
