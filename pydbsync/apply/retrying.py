"""One step that a server does not take now: when its connection is of no use any more, how long to wait, what is said.

Everything that asks a server over PyMySQL again goes through this, so that a code means the same everywhere; what a
step is, and how a connection is made anew, its owner knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pydbsync.apply.server_errors import LEFTOVER_CODE, LOST_CODES, READ_ONLY_CODES
from pydbsync.backoff import Backoff, Waitable
from pydbsync.errors import Stopped, TransientError

_USELESS_CODES = LOST_CODES | READ_ONLY_CODES | {LEFTOVER_CODE}


class Retrying:
    """The failures of one step in a row."""

    def __init__(
        self, backoff: Backoff, *, stop: Waitable, log: logging.Logger, says: str, stopped: str, told_at: int = 1
    ) -> None:
        """`says` is logged once, with the server's words, at the failure `told_at`; `stopped` is what Stopped says."""
        self._backoff = backoff
        self._stop = stop
        self._log = log
        self._says = says
        self._stopped = stopped
        self._told_at = told_at
        self.failures = 0

    def failed(self, exc: TransientError, drop: Callable[[], object], *, limit: int | None = None) -> None:
        """Wait before the step is tried again; `drop` closes a connection that is of no use any more.

        A new one also follows an address that has moved from a server that is read-only now. Raises Stopped, and the
        error itself from the failure number `limit` on.
        """
        self.failures += 1
        if exc.code in _USELESS_CODES:
            drop()
        if limit is not None and self.failures >= limit:
            raise exc
        if self.failures == self._told_at:
            self._log.warning("%s: %s", self._says, exc)
        if self._backoff.wait(self._stop):
            raise Stopped(self._stopped) from exc
