"""What signals do: SIGTERM and Ctrl-C end in order, a second Ctrl-C at once; SIGHUP has the configuration read again.

Ending at once is as safe as a kill, which the tests prove for each command: what was not committed is rolled back by
the servers and comes again, and a command that keeps a journal goes on from it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

TOLD_TO_STOP: Final = 143
"""The exit code after a signal, as a shell gives it for SIGTERM: who sent it is for the supervisor to know."""
ENDED_AT_ONCE: Final = 130
"""The exit code after a second Ctrl-C, as a shell gives it for SIGINT."""
_SHOW_CURSOR: Final = "\x1b[?25h"


class StopEvent(threading.Event):
    """Set when the process is to end. `before_end` is called first where it has to end at once."""

    before_end: Callable[[], object] | None = None


def stop_on_signals(*, says: str = "stopping in order") -> StopEvent:
    """An event that SIGTERM and SIGINT set, so that what is under way is finished first; a second SIGINT ends the
    process at once with exit code 130.

    `says` is what a person at the terminal is told of the first Ctrl-C. A SIGTERM does not count as the first of two:
    a supervisor sends it to workers that the terminal has told already.
    """
    stop = StopEvent()
    came: queue.SimpleQueue[int] = queue.SimpleQueue()
    interrupts = 0

    def on_signal(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += signum == signal.SIGINT
        if interrupts > 1 and signum == signal.SIGINT:
            end_at_once(stop)
        # Not the event itself: the handler may run in the middle of the main thread's own use of it, which holds its
        # lock. A SimpleQueue takes things from handlers.
        came.put(signum)

    def listen() -> None:
        while True:
            signum = came.get()
            is_first = not stop.is_set()
            stop.set()
            if says and is_first and signum == signal.SIGINT and sys.stderr.isatty():
                logging.getLogger("pydbsync").info("%s; Ctrl-C again ends at once", says)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


class Hangup:
    """SIGHUP: to read the configuration again. Where it tells that the terminal was closed, the process ends in
    order."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]
        self._has_come = False
        signal.signal(signal.SIGHUP, self._on_signal)

    def came(self) -> bool:
        """Whether the configuration is to be read again since this was asked last."""
        has_come, self._has_come = self._has_come, False
        if has_come and any(not os.isatty(fd) for fd in self._terminals):  # EIO, once the other end has gone
            self._stop.set()
            return False
        return has_come

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._has_come = True


def end_at_once(stop: StopEvent) -> None:
    """End the process here, without a word to the servers: they roll back what was not committed."""
    with contextlib.suppress(Exception):
        if stop.before_end is not None:
            stop.before_end()
    with contextlib.suppress(OSError, ValueError):
        if os.isatty(2) and select.select([], [2], [], 0)[1]:  # a terminal that was stopped takes nothing
            os.write(2, f"{_SHOW_CURSOR}\nended at once; what was not committed is rolled back\n".encode())
    os._exit(ENDED_AT_ONCE)
