"""One try at a transaction, which can be left alone while the target works on a statement of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, TypeVar

from pydbsync.apply.connection import Connection

_T = TypeVar("_T")


class Attempt(Generic[_T]):
    """Runs `steps`, which yields wherever it has sent a statement and waits for the answer.

    Whoever says something else over the connection meanwhile waits until the attempt has ended.
    """

    def __init__(self, connection: Connection, steps: Generator[None, None, _T]) -> None:
        self._connection = connection
        self._steps = steps
        self._failure: Exception | None = None
        self._result: list[_T] = []
        connection.let_end = self.end
        self._step()

    @property
    def has_ended(self) -> bool:
        """Whether `finish` would not wait."""
        return bool(self._result) or self._failure is not None

    def advance(self) -> None:
        """Go on as far as the target has answered. What goes wrong is kept for `finish`."""
        while not self.has_ended and self._connection.has_answer():
            self._step()

    def end(self) -> None:
        """Wait for the end. What went wrong is kept for `finish`."""
        while not self.has_ended:
            self._step()

    def finish(self) -> _T:
        """Wait for the end; the result of `steps`. Raises what went wrong."""
        self.end()
        if self._failure is not None:
            raise self._failure
        return self._result[0]

    def _step(self) -> None:
        try:
            next(self._steps)
        except StopIteration as ended:
            self._result = [ended.value]
        except Exception as exc:
            self._failure = exc
