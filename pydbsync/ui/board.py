"""What every page shows, read by one thread for all browsers: status, pauses, and the alerts that fire."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import msgspec

from pydbsync.apply.tables.pause import Pause
from pydbsync.config.settings import Settings
from pydbsync.errors import PydbsyncError
from pydbsync.ops.status.facts import Queue, Status
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.read import read_status
from pydbsync.process.alert_rules import FOLLOWING, Alert, AlertRules
from pydbsync.process.histogram import LAG_S, Histogram
from pydbsync.process.status import WorkerStatus
from pydbsync.process.task_facts import TaskFacts
from pydbsync.ui.store import Store

_EVERY_S: Final = 2.0
_WATCHED_S: Final = 20.0
"""So long after the last page it is read as often as for one."""
_WAIT_S: Final = 15.0
_OLD_S: Final = 15.0
"""What is older is told to be old."""
_TIMES_ITS_LENGTH: Final = 4
_GAP_PERIODS, _RESTART_PERIODS = 60, 15
"""As the alert rules: so long a gap, and the end of a worker, are told of."""


class Look(msgspec.Struct):
    """What was found at one time."""

    status: Status
    pauses: list[Pause]
    alerts: list[Alert]
    began_at: float
    """When it was begun, by the monotonic clock,"""
    at: float
    """and when it was done."""

    @property
    def every_s(self) -> float:
        """How long until the next one is wanted: many parked changes, or a slow target, are not asked all the time."""
        return max(_EVERY_S, _TIMES_ITS_LENGTH * (self.at - self.began_at))

    @property
    def is_old(self) -> bool:
        """Whether there should have been another one long ago."""
        return self.age_s > max(_OLD_S, 3 * self.every_s)

    @property
    def age_s(self) -> float:
        """How old it is now."""
        return time.monotonic() - self.at


class Board:
    """Reads every few seconds while somebody looks, and as often as the alert rules need it else."""

    def __init__(self, settings: Settings, log: logging.Logger, *, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._log = log
        self._rules = AlertRules(settings.alerts)
        self._facts = TaskFacts(settings, log)
        self._changed = threading.Condition()
        self._look: Look | None = None
        self._wanted_at = self._newer_than = float("-inf")
        self._is_over = False
        self.began_at = time.monotonic()

    def start(self) -> None:
        """Begin to read."""
        self._facts.start()
        threading.Thread(target=self._run, name="board", daemon=True).start()

    def close(self) -> None:
        """Read no more."""
        self._facts.close()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def look(self, *, newer_than: float = float("-inf")) -> Look | None:
        """The newest that is known, waited for if there is none that is recent; None where nothing was ever read.

        `newer_than` is a time by the monotonic clock, such as that of a change that is to be seen.
        """
        with self._changed:
            self._wanted_at = time.monotonic()
            self._newer_than = max(self._newer_than, newer_than)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: (
                    self._look is not None
                    and self._look.began_at > newer_than
                    and self._look.age_s < 2 * self._look.every_s
                ),
                _WAIT_S,
            )
            return self._look

    def hurry(self) -> Look | None:
        """One that begins now: something was changed."""
        return self.look(newer_than=time.monotonic())

    def _run(self) -> None:
        while True:
            began_at = time.monotonic()
            found = self._read(began_at)
            with self._changed:
                self._look = found
                self._changed.notify_all()
                while not self._is_over and (wait_s := self._wait_s(found)) > 0:
                    self._changed.wait(wait_s)
                if self._is_over:
                    return

    def _wait_s(self, last: Look) -> float:
        """Until the next one: none where somebody waits for it."""
        now = time.monotonic()
        if self._newer_than > last.began_at:
            return 0.0
        is_watched = now - self._wanted_at < _WATCHED_S
        return last.began_at + (last.every_s if is_watched else max(last.every_s, self._rules.look_every_s)) - now

    def _read(self, began_at: float) -> Look:
        try:
            status = read_status(self._settings)
            judge(status)
            pauses = [] if status.target_note else self._store.pauses()
            alerts = [] if status.target_note else self._alerts(status)
        except PydbsyncError as exc:
            return self._failed(str(exc), began_at)
        except Exception:
            self._log.exception("a fault of pydbsync's page; please report it with these lines")
            return self._failed("a fault of pydbsync: its log says more", began_at)
        return Look(status=status, pauses=pauses, alerts=alerts, began_at=began_at, at=time.monotonic())

    def _failed(self, text: str, began_at: float) -> Look:
        status = Status(at=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), health="down", says=text)
        sink = self._settings.sink
        status.target, status.target_note = (self._settings.target if sink is None else sink).address, text
        status.todo = [text]
        return Look(status=status, pauses=[], alerts=[], began_at=began_at, at=time.monotonic())

    def _alerts(self, status: Status) -> list[Alert]:
        period_s = self._settings.alerts.period_s
        statuses = [as_told(queue, period_s) for queue in status.queues if queue.is_configured and queue.worker]
        return self._rules.look(statuses, time.monotonic(), self._facts.found)


def as_told(queue: Queue, period_s: float) -> WorkerStatus:
    """The figures that a worker tells its supervisor, as it has written them for all."""
    worker = queue.worker
    found = WorkerStatus(stream=queue.stream, state="gone")
    if worker is None:
        return found
    figures = worker.figures
    if worker.is_fresh:
        found.state = worker.state
    if (lag_s := figures.get("lag_s")) is not None:
        found.as_of = time.time() - float(lag_s) - worker.written_s
    if found.state == FOLLOWING and not figures.get("depth") and worker.is_fresh and lag_s is not None:
        found.as_of = time.time() - float(lag_s)
    found.transactions = int(figures.get("transactions") or 0)
    found.commit_lag = Histogram.from_json(figures.get("commit_lag"), LAG_S)
    found.parked_now = sum(group.count for group in queue.parked)
    found.gaps = sum(each.kind == "gap" and each.age_s < _GAP_PERIODS * period_s for each in queue.incidents)
    found.restarts = sum(each.kind == "ended" and each.age_s < _RESTART_PERIODS * period_s for each in queue.incidents)
    return found
