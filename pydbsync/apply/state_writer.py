"""Writes what this process is doing into the state schema now and then, over a connection and in a thread of its own.

Nobody waits for it: a server that is away or slow makes what is shown old, and nothing else. One writing at a time,
each with what is true when it begins, so that nothing piles up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic, Protocol, TypeVar

from pydbsync.apply.connection import Connection, connection_for_questions
from pydbsync.backoff import Backoff
from pydbsync.config.servers import TargetSettings
from pydbsync.errors import PermanentError, PydbsyncError, TransientError

ANSWER_S = 5.0
"""A server that takes longer for one small statement is given up, until later."""
_REFUSED_WAIT_S = 30.0
LAST_WORDS_S = 1.0
_MISSING = (1049, 1146)
"""No such database, no such table: whoever starts is about to make them."""


class Openable(Protocol):
    """A connection, to whatever keeps the state."""

    def is_open(self) -> bool: ...

    def close(self) -> None: ...


_C = TypeVar("_C", bound=Openable)


def state_connection(server: TargetSettings) -> Callable[[], Connection]:
    """Connects for small statements that are answered soon."""

    return partial(connection_for_questions, server, answer_s=ANSWER_S)


class StateWriter(Generic[_C]):
    """Calls `write` every `every_s` seconds, and once more at the end."""

    def __init__(
        self,
        connect: Callable[[], _C],
        *,
        write: Callable[[_C], None],
        read: Callable[[_C], None] = lambda connection: None,
        every_s: float,
        log: logging.Logger,
        refused: Callable[[str], object] | None = None,
    ) -> None:
        """`read` is called behind each writing, over the same connection: what somebody wants of this process.
        `refused` hears, instead of the log, why the server does not let it write."""
        self._refused = refused
        self._connect = connect
        self._write = write
        self._read = read
        self._every_s = every_s
        self._log = log
        self._wanted = threading.Event()
        self._is_ending = False
        self._is_refusal_told = False
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def end(self, wait_s: float = LAST_WORDS_S) -> None:
        """Write how it ended, if that can be done at once."""
        self._is_ending = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def hurry(self) -> None:
        """Write now, not only when it is time: something has changed that people wait to see."""
        self._wanted.set()

    def _run(self) -> None:
        backoff = Backoff(self._every_s, max(self._every_s, ANSWER_S))
        connection: _C | None = None
        started_at = time.monotonic()
        try:
            while True:
                is_last, wait_s = self._is_ending, self._every_s
                self._wanted.clear()
                try:
                    if connection is None or not connection.is_open():
                        connection = self._connect()
                    began_at = time.monotonic()
                    self._write(connection)
                    if not is_last:
                        self._read(connection)
                    backoff.reset()
                    wait_s = max(0.0, self._every_s - (time.monotonic() - began_at))
                except TransientError:  # the worker itself says that the server is away
                    if connection is not None:
                        connection.close()
                    wait_s = backoff.next_s()
                except PydbsyncError as exc:
                    is_missing = isinstance(exc, PermanentError) and exc.code in _MISSING
                    if not is_missing or time.monotonic() - started_at > _REFUSED_WAIT_S:
                        wait_s = _REFUSED_WAIT_S
                        self._tell_refusal(exc)
                if is_last:
                    return
                if not self._is_ending:
                    self._wanted.wait(wait_s)
        except Exception:
            self._log.exception("what this process is doing is not written any more; please report it with these lines")
        finally:
            if connection is not None:
                connection.close()

    def _tell_refusal(self, exc: Exception) -> None:
        if self._refused is not None:
            self._refused(str(exc))
            return
        if not self._is_refusal_told:
            self._is_refusal_told = True
            with suppress(Exception):
                self._log.warning("what this process is doing cannot be written into the state schema: %s", exc)
