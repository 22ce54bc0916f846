"""Retries that go on while the browser is told of them: one at a time, each in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from pydbsync.errors import PydbsyncError
from pydbsync.ops.parked.retry import RetryOutcome

_SHOWN: Final = 20


class RetryJob(msgspec.Struct):
    """What a retry has done so far."""

    title: str
    applied: int = 0
    stayed: int = 0
    last: str = ""
    """What became of the last one."""
    refused: list[RetryOutcome] = []
    """The first of those that stay."""
    error: str = ""
    is_over: bool = False


class Jobs:
    """The newest one is kept until the next begins."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.newest: RetryJob | None = None

    def start(self, title: str, work: Callable[[], Iterable[RetryOutcome]], *, wait_s: float) -> RetryJob | None:
        """Begin, and wait for the end so long; None where another one is at work."""
        with self._lock:
            if self.newest is not None and not self.newest.is_over:
                return None
            job = self.newest = RetryJob(title)
        thread = threading.Thread(target=self._run, args=(job, work), name="retry", daemon=True)
        self._thread = thread
        thread.start()
        thread.join(wait_s)
        return job

    def close(self, wait_s: float) -> None:
        """Wait so long for the one at work; what it told is committed, whatever becomes of the rest."""
        if self._thread is not None:
            self._thread.join(wait_s)

    def _run(self, job: RetryJob, work: Callable[[], Iterable[RetryOutcome]]) -> None:
        try:
            for outcome in work():
                job.last = f"{outcome.id}: {'applied' if outcome.applied else 'stays parked'}: {outcome.detail}"
                if outcome.applied:
                    job.applied += 1
                    continue
                job.stayed += 1
                if len(job.refused) < _SHOWN:
                    job.refused.append(outcome)
        except PydbsyncError as exc:
            job.error = f"{exc}; what was told is done, the rest stays parked"
        except Exception:
            self._log.exception("a fault of pydbsync's page; please report it with these lines")
            job.error = "a fault of pydbsync: its log says more; what was told is done"
        finally:
            job.is_over = True
