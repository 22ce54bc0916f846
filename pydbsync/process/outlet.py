"""What this process tells others, handed over by a thread of its own: who watches is never waited for.

A reader may be slow, stopped, or gone: a terminal on which somebody has pressed Ctrl-S, a pipe that nobody empties, a
supervisor that was stopped. What it does not take in time is left out, the oldest first, and counted.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Outlet(Generic[_T]):
    """Calls `deliver(item)` for each item in order, in a thread of its own; `put` never waits."""

    def __init__(self, deliver: Callable[[_T], object], *, most: int, left_out: Callable[[int], _T]) -> None:
        """At most `most` items wait; `left_out(count)` is delivered in place of those that were too many."""
        self._deliver = deliver
        self._most = most
        self._left_out = left_out
        self._changed = threading.Condition()
        # what follows is shared with the thread and guarded by _changed
        self._waiting: deque[_T] = deque()
        self._lost = 0
        self._delivering_since: float | None = None
        threading.Thread(target=self._run, name="outlet", daemon=True).start()

    def put(self, item: _T) -> None:
        """Have this delivered soon."""
        with self._changed:
            if len(self._waiting) >= self._most:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(item)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is delivered, or for so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._delivering_since is None, timeout_s)

    def held_s(self) -> float:
        """For how long the reader has not taken what is handed to it now."""
        since = self._delivering_since
        return 0.0 if since is None else time.monotonic() - since

    def _run(self) -> None:
        while True:
            with self._changed:
                self._delivering_since = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                self._delivering_since = time.monotonic()
                lost, self._lost = self._lost, 0
                item = self._left_out(lost) if lost else self._waiting.popleft()
            with contextlib.suppress(OSError, ValueError):  # who watched has gone
                self._deliver(item)


class TerminalStream(io.TextIOBase):
    """A text file over a file descriptor whose writes never wait."""

    encoding = "utf-8"
    _MOST_WRITES = 2000

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._outlet: Outlet[str] = Outlet(
            self._write, most=self._MOST_WRITES, left_out=lambda count: f"({count} lines were left out here)\n"
        )

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, text: str) -> int:
        """Have this written soon."""
        if text:
            self._outlet.put(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: `drain` waits."""

    def drain(self, timeout_s: float) -> bool:
        """Wait until all is written, or for so long; whether it is."""
        return self._outlet.flush(timeout_s)

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # somebody has made the terminal non-blocking
                select.select([], [self._fd], [], 1.0)
                time.sleep(0)
