"""A run of capture: one session after the other, whatever is lost in between."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import replace

from pydbsync.backoff import Backoff
from pydbsync.errors import OperationError, SourceError
from pydbsync.model import TableName
from pydbsync.ops.capture.publish.amqp import QueueFull
from pydbsync.ops.capture.session import CaptureReport, CaptureSession
from pydbsync.ops.capture.settings import CaptureSettings
from pydbsync.ops.told import Told

log = logging.getLogger("pydbsync.capture")


def run_capture(settings: CaptureSettings, stop: threading.Event, told: Told | None = None) -> CaptureReport:
    """Publish the source's changes until `stop` is set, or without `follow` until the end of its binlog; `told` hears
    how far it is.

    Waits while the source or RabbitMQ is away. Raises ConfigError, OperationError (a message that no queue takes, a
    place that the source has purged, a source without a row binlog) and StopError (`on_unreadable`).
    """
    return _Capture(settings, stop, told).run()


class _Capture:
    def __init__(self, settings: CaptureSettings, stop: threading.Event, told: Told | None) -> None:
        self._settings = settings
        self._stop = stop
        self._told = told
        self._session: CaptureSession | None = None
        self._report = CaptureReport()
        if told is not None:
            told.look = self._look
        self._backoff = Backoff(settings.retry.first_s, settings.retry.max_s)

    def run(self) -> CaptureReport:
        is_away = False
        asked_for: list[TableName] = []
        one_by_one = False
        while not self._stop.is_set():
            try:
                with ExitStack() as opened:
                    session = CaptureSession(
                        self._settings, self._stop, opened, ask_for=asked_for[-1:], one_by_one=one_by_one
                    )
                    if is_away:
                        log.info("capture goes on from %s", session.place)
                        is_away = False
                    self._session = session
                    self._is_waiting_for("")
                    try:
                        session.run(self._backoff)
                    except OperationError:
                        # The catalogue may show by now what it did not when capture began.
                        unknown = session.unknown_table
                        if unknown is None or unknown in asked_for:
                            raise
                        asked_for.append(unknown)
                        continue
                    finally:
                        self._session = None
                        self._report = session.added_to(self._report)
                    return self._report
            except SourceError as exc:
                one_by_one = one_by_one or isinstance(exc, QueueFull)
                if not is_away:
                    log.warning("capture waits: %s", exc)
                    self._is_waiting_for(str(exc))
                is_away = True
                self._report = replace(self._report, reconnects=self._report.reconnects + 1)
                self._backoff.wait(self._stop)
        return self._report

    def _is_waiting_for(self, reason: str) -> None:
        if self._told is not None:
            self._told.now("waiting" if reason else "running")
            self._told.row.last_error = reason or self._told.row.last_error

    def _look(self) -> None:
        """Called by the thread that writes: counters are read as they stand."""
        session, told = self._session, self._told
        if told is not None:
            if session is not None:
                self._is_waiting_for(session.waits_for)
            report = self._report if session is None else session.added_to(self._report)
            told.row.done = report.rows
            told.says(
                f"up to {report.place or 'the beginning'}, {report.transactions:,} transactions,"
                f" {report.schema_changes:,} schema changes"
            )
