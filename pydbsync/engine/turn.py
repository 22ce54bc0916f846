"""When a stream may go on: not while it is paused, no faster than allowed, and not for long once told to stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pydbsync.engine.control import Control
from pydbsync.engine.observe import Observer
from pydbsync.engine.pace import BatchPace
from pydbsync.engine.stages import Stages

_PAUSE_LOOK_S = 0.1
"""How often a stream that is paused looks whether it was told to stop; at the target once a second, as ever."""
_PACE_LOOK_S = 0.5
_STOP_S = 2.5
"""How long what was taken in is still applied after being told to stop, where it should not be given back."""


class Turn:
    """Waits, and says whether to leave."""

    def __init__(
        self, stop: threading.Event, *, control: Control, stages: Stages, observer: Observer, log: logging.Logger
    ) -> None:
        self._stop = stop
        self._control = control
        self._source, self._store = stages.source, stages.store
        self._observer = observer
        self._log = log
        self._leaves_at: float | None = None
        """When the subscription ends, by the monotonic clock, once told to stop."""
        self._is_late_told = False

    def wait_while_paused(self, look_around: Callable[[], object]) -> bool:
        """Hold all until an operator resumes, with a look at the target between; False where told to stop meanwhile."""
        if not self._store.pauses.whole:
            return True
        self._log.warning("paused: %s", self._store.pauses.whole)
        while self._store.pauses.whole:
            self._observer.now("paused")
            if self._stop.wait(_PAUSE_LOOK_S):
                return False
            self._store.keep_alive()
            look_around()
        self._log.info("resumed")
        self._observer.now("following")
        return True

    def wait_for_pace(self, pace: BatchPace) -> None:
        """Give the target no more rows a second than it is allowed; shorter where told to stop, or given settings."""
        while (wait_s := pace.wait_s(time.monotonic())) and not self._stop.wait(min(wait_s, _PACE_LOOK_S)):
            self._store.keep_alive()
            if self._control.is_waiting:
                return

    def must_leave(self) -> bool:
        """Whether what is at hand is given back: at once when told to stop, but for a queue that counts it."""
        if not self._stop.is_set():
            return False
        if self._leaves_at is None:
            self._leaves_at = time.monotonic() + _STOP_S
        if not self._source.finish():
            return True
        is_late = time.monotonic() >= self._leaves_at
        if is_late and not self._is_late_told:
            self._is_late_told = True
            self._log.warning(
                "what was held of the queue was not applied and acknowledged within %g s: it is given back, which the"
                " queue counts", _STOP_S,
            )  # fmt: skip
        return is_late
