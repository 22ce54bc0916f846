"""Tells of what is wrong, once, and of its end: in threads of its own, so that replay never waits for a receiver."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from pydbsync.backoff import Backoff
from pydbsync.config.alerts import AlertSettings
from pydbsync.process.alert_rules import Alert, AlertRules, alert
from pydbsync.process.notify import AlertNotice, NotTold, senders
from pydbsync.process.status import WorkerStatus
from pydbsync.process.tasks import Facts

_MOST_WAITING = 200
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_GIVEN_UP_S = 3600.0
"""So long a message is tried; then those behind it have their turn."""


class Alerts:
    """Looks at the statuses that it was last given, and tells each receiver what has begun and what has ended."""

    def __init__(self, settings: AlertSettings, log: logging.Logger) -> None:
        self._settings = settings
        self._rules = AlertRules(settings)
        self._log = log
        self._statuses: list[WorkerStatus] = []
        self._facts = Facts()
        self._ledger = AlertLedger(settings.repeat_s, clear_s=settings.period_s)
        self._stop = threading.Event()
        self._receivers: list[Receiver] = []

    def start(self) -> None:
        """Begin to look, if anybody is to be told."""
        if not self._settings.are_sent:
            return
        self._receivers = [Receiver(name, send, self._log) for name, send in senders(self._settings)]
        self._log.info("alerts go to: %s", ", ".join(receiver.name for receiver in self._receivers))
        threading.Thread(target=self._run, name="alerts", daemon=True).start()

    def update(self, statuses: list[WorkerStatus], facts: Facts) -> None:
        """What the next look sees."""
        self._statuses, self._facts = statuses, facts

    def close(self, timeout_s: float) -> None:
        """Stop looking; what is to be told may still take so long."""
        self._stop.set()
        deadline = time.monotonic() + timeout_s
        for receiver in self._receivers:
            receiver.flush(deadline - time.monotonic())

    def ended(self, queue: str, exit_code: int) -> None:
        """Tell that a worker has ended for good, and the run with it."""
        down = alert("PydbsyncWorkerDown", {"queue": queue})
        text = f"It has ended with exit code {exit_code}, and is not started again before a person has looked."
        self._tell([AlertNotice(down._replace(description=text), True, time.time())])

    def _run(self) -> None:
        while not self._stop.wait(self._rules.look_every_s):
            try:
                found = self._rules.look(self._statuses, time.monotonic(), self._facts)
                self._tell(self._ledger.compare(found, time.time()))
            except Exception:
                self._log.exception("a fault of pydbsync's alerts; please report it with these lines")
                return

    def _tell(self, notices: Iterable[AlertNotice]) -> None:
        for notice in notices:
            log = self._log.warning if notice.is_firing else self._log.info
            log("alert %s: %s", "begins or goes on" if notice.is_firing else "is over", notice.alert.summary)
            for receiver in self._receivers:
                receiver.tell(notice)


class _ToldAlert:
    """An alert that was told."""

    def __init__(self, about: Alert, now: float) -> None:
        self.alert = about
        self.began_at = self.told_at = self.seen_at = now


class AlertLedger:
    """What was told and is not over: an alert is told when it begins, again after `repeat_s`, and at its end, which is
    when it has been clear for `clear_s`: one that comes and goes is told once."""

    def __init__(self, repeat_s: float, *, clear_s: float) -> None:
        self._repeat_s = repeat_s
        self._clear_s = clear_s
        self._told: dict[tuple[str, str], _ToldAlert] = {}

    def compare(self, found: Iterable[Alert], now: float) -> list[AlertNotice]:
        """What is to be told."""
        notices = []
        for each in found:
            told = self._told.get((each.rule, each.about))
            if told is None:
                told = self._told[each.rule, each.about] = _ToldAlert(each, now)
                notices.append(AlertNotice(each, True, now))
            elif now - told.told_at >= self._repeat_s:
                told.told_at = now
                notices.append(AlertNotice(each, True, told.began_at))
            told.seen_at = now
        for key, told in list(self._told.items()):
            if now - told.seen_at >= self._clear_s:
                del self._told[key]
                notices.append(AlertNotice(told.alert, False, told.began_at, told.seen_at))
        return notices


class Receiver:
    """Hands notices to one receiver in order, each until it is taken; too many are left out, the oldest first."""

    def __init__(self, name: str, send: Callable[[AlertNotice], None], log: logging.Logger) -> None:
        self.name = name
        self._send = send
        self._log = log
        self._backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        self._changed = threading.Condition()
        self._waiting: deque[AlertNotice] = deque(maxlen=_MOST_WAITING)
        self._is_sending = False
        threading.Thread(target=self._run, name="alert receiver", daemon=True).start()

    def tell(self, notice: AlertNotice) -> None:
        """Have this sent soon; never waits."""
        with self._changed:
            self._waiting.append(notice)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is taken, or for so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_sending, max(0.0, timeout_s))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_sending = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                notice = self._waiting.popleft()
                self._is_sending = True
            self._send_until_taken(notice)

    def _send_until_taken(self, notice: AlertNotice) -> None:
        began_at, is_told = time.monotonic(), False
        while True:
            try:
                self._send(notice)
            except NotTold as exc:
                if time.monotonic() - began_at > _GIVEN_UP_S:
                    self._log.error("an alert is given up: %s: %s", notice.title, exc)
                    return
                if not is_told:
                    self._log.warning("an alert is not told yet, trying again: %s", exc)
                is_told = True
                time.sleep(self._backoff.next_s())
            else:
                self._backoff.reset()
                if is_told:
                    self._log.info("the %s takes alerts again", self.name)
                return
