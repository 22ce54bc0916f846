"""Keeps the load within the operator's limits: between two chunks it waits as long as a server is busy or behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from pydbsync.errors import Stopped
from pydbsync.ops.servers import Server

_LOOK_EVERY_S = 1.0


class LoadLimits(msgspec.Struct, frozen=True):
    """What must not be exceeded; 0 is no limit."""

    threads_running: int = 0
    """Statements that a server runs at the same time."""
    lag_s: float = 0.0
    """How far the target is behind the source."""
    rows_per_s: float = 0.0


class Brake:
    """Waits before each piece of work. Looks at the servers at most once a second, over connections of its own."""

    def __init__(
        self,
        limits: LoadLimits,
        *,
        servers: Sequence[tuple[str, Server]],
        lag_s: Callable[[], float],
        late: Callable[[float], str] = lambda lag_s: f"the target is {lag_s:.0f} s behind the source",
        stop: threading.Event,
        log: logging.Logger,
    ) -> None:
        self._limits = limits
        self._servers = servers
        self._lag_s = lag_s
        self._late = late
        self._stop = stop
        self._log = log
        self._looked_at = float("-inf")
        self._due_at = float("-inf")
        self._why = ""

    def worked(self, rows: int) -> None:
        """So many rows were read: at a rate, the next piece is due later."""
        if self._limits.rows_per_s:
            self._due_at = max(self._due_at, time.monotonic()) + rows / self._limits.rows_per_s

    def wait(self) -> None:
        """Return when the next piece may be done. Raises Stopped."""
        while not self._stop.is_set():
            pause_s = self._due_at - time.monotonic()
            if pause_s > 0:
                self._stop.wait(pause_s)
                continue
            why = self._too_much()
            if why and not self._why:
                self._log.info("waiting: %s", why)
            if self._why and not why:
                self._log.info("going on")
            self._why = why
            if not why:
                return
            self._stop.wait(_LOOK_EVERY_S)
        raise Stopped("stopped between two chunks")

    def _too_much(self) -> str:
        limits, now = self._limits, time.monotonic()
        if not self._why and now - self._looked_at < _LOOK_EVERY_S:
            return ""
        self._looked_at = now
        if limits.threads_running:
            for name, server in self._servers:
                running = int(server.rows("SHOW GLOBAL STATUS LIKE 'Threads_running'")[0][1])
                if running > limits.threads_running:
                    return f"the {name} runs {running} statements at the same time"
        if limits.lag_s:
            lag_s = self._lag_s()
            if lag_s > limits.lag_s:
                return self._late(lag_s)
        return ""
