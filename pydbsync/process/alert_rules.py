"""The alerts of pydbsync itself: the rules that are shipped for Prometheus, by the same names and in the same words."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import yaml

from pydbsync.config.alerts import AlertSettings
from pydbsync.process.histogram import LAG_S, Histogram
from pydbsync.process.status import WorkerStatus
from pydbsync.process.tasks import Facts, Task

FOLLOWING, PAUSED = "following", "paused"
_NO_FACTS: Final = Facts()
_LAG_PERIODS, _TAIL_PERIODS, _DOWN_PERIODS, _RESTART_PERIODS, _GAP_PERIODS = 3, 5, 2, 15, 60
_SHARE: Final = 0.99
_LOOKS_EACH_PERIOD: Final = 12
_PLACE: Final = re.compile(r"\{\{\s*\$(?:labels\.(\w+)|(value))(\s*\|\s*humanizeDuration)?\s*\}\}")


class Alert(NamedTuple):
    """What is wrong, and what to do."""

    rule: str
    about: str
    """The queue, or the tool."""
    severity: str
    summary: str
    description: str
    remedy: str


@cache
def texts() -> Mapping[str, Mapping[str, Any]]:
    """The shipped rules by their names."""
    document = yaml.safe_load(files("pydbsync").joinpath("monitoring/pydbsync.rules.yml").read_text(encoding="utf-8"))
    return {rule["alert"]: rule for rule in document["groups"][0]["rules"]}


def alert(rule: str, labels: Mapping[str, str], value: float | None = None) -> Alert:
    """An alert in the words of the shipped rule; it is about what its labels say."""

    def fill(found: re.Match[str]) -> str:
        label, _, is_duration = found.groups()
        if label:
            return labels[label]
        return "?" if value is None else f"{value:.3g} s" if is_duration else f"{value:g}"

    found = texts()[rule]
    words = {name: _PLACE.sub(fill, text) for name, text in found["annotations"].items()}
    return Alert(rule, " ".join(filter(None, labels.values())), found["labels"]["severity"], **words)


class AlertRules:
    """Looks at the workers' figures a few times in each period."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self.look_every_s = settings.period_s / _LOOKS_EACH_PERIOD
        self._watches: dict[str, _QueueWatch] = {}

    def look(self, statuses: Sequence[WorkerStatus], now: float, facts: Facts = _NO_FACTS) -> list[Alert]:
        """What is wrong now; `now` by the monotonic clock."""
        found = []
        for status in statuses:
            watch = self._watches.setdefault(status.stream, _QueueWatch(self._settings))
            watch.take(status, now)
            values = {name: rule(watch) for name, rule in RULES.items()}
            values["PydbsyncBinlogRetention"] = _late_for_binlog(status, facts)
            labels = {"queue": status.stream}
            found += [alert(name, labels, value) for name, value in values.items() if value is not None]
        for task in facts.tasks:
            labels = {"kind": task.kind, "name": task.name}
            found += [alert(name, labels) for name, holds in TASK_RULES.items() if holds(task)]
        return found


class _QueueSample(NamedTuple):
    at: float
    lag_s: float | None
    commits: int
    commit_lag: Histogram


class _QueueWatch:
    """What was seen of one queue; each rule gives the value that it fires at, or None."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._samples: deque[_QueueSample] = deque()
        self._status = WorkerStatus(stream="")
        self._counted = self._commit_lag = Histogram.of(LAG_S)
        self._since: dict[str, float] = {}
        """When a condition began that has held since."""
        self._happened: dict[str, float] = {}
        """When a count rose last."""
        self._now = 0.0

    def take(self, status: WorkerStatus, now: float) -> None:
        """The figures of this moment."""
        samples, former = self._samples, self._status
        if samples:
            # As Prometheus counts: what a process that has ended counted, stays counted.
            self._commit_lag += status.commit_lag.since(self._counted)
        self._counted = status.commit_lag
        samples.append(_QueueSample(now, status.lag_s(), status.transactions, self._commit_lag))
        # The last one before the oldest period stays: what came since then is a difference from it.
        while len(samples) > 1 and samples[1].at <= self._ago(now, _TAIL_PERIODS):
            samples.popleft()
        self._status, self._now = status, now
        is_down = status.state not in (FOLLOWING, PAUSED)
        for name, holds in (("stalled", status.state == "stalled"), ("down", is_down)):
            if not holds:
                self._since.pop(name, None)
            else:
                self._since.setdefault(name, now)
        for name in ("gaps", "restarts"):
            if getattr(status, name) > getattr(former, name):
                self._happened[name] = now

    def lag_high(self) -> float | None:
        if self._status.state == PAUSED:
            return None
        for number in range(_LAG_PERIODS):
            start, end = self._ago(self._now, number + 1), self._ago(self._now, number)
            lags = [each.lag_s for each in self._samples if start < each.at <= end and each.lag_s is not None]
            if not lags or sum(lags) / len(lags) <= self._settings.lag_mean_s:
                return None
        return self._samples[-1].lag_s if self._is_known_for(_LAG_PERIODS) else None

    def lag_tail(self) -> float | None:
        last, first = self._samples[-1].commit_lag, self._samples[0].commit_lag
        found = _quantile(last.since(first).counts, last.limits)
        return found if found is not None and found > self._settings.lag_tail_s else None

    def stalled(self) -> float | None:
        if self._lasts("stalled", 1):
            return 1.0
        if self._status.state == PAUSED:
            return None
        last = self._samples[-1]
        then = [each for each in self._samples if each.at <= self._ago(self._now, _LAG_PERIODS)]
        if last.lag_s is None or last.lag_s <= self._settings.period_s or not then or then[-1].commits != last.commits:
            return None
        return last.lag_s

    def down(self) -> float | None:
        return 0.0 if self._lasts("down", _DOWN_PERIODS) else None

    def parked(self) -> float | None:
        return float(self._status.parked_now or 0) or None

    def gap(self) -> float | None:
        return 1.0 if self._is_recent("gaps", _GAP_PERIODS) else None

    def restarted(self) -> float | None:
        return 1.0 if self._is_recent("restarts", _RESTART_PERIODS) else None

    def _ago(self, now: float, periods: int) -> float:
        return now - periods * self._settings.period_s

    def _is_known_for(self, periods: int) -> bool:
        """Whether looks reach back so far, but for the time from one to the next."""
        return self._samples[0].at <= self._ago(self._now, periods) + 2 * self._settings.period_s / _LOOKS_EACH_PERIOD

    def _lasts(self, name: str, periods: int) -> bool:
        return name in self._since and self._since[name] <= self._ago(self._now, periods)

    def _is_recent(self, name: str, periods: int) -> bool:
        return name in self._happened and self._happened[name] > self._ago(self._now, periods)


def _late_for_binlog(status: WorkerStatus, facts: Facts) -> float | None:
    lag_s = status.lag_s()
    is_late = lag_s is not None and facts.retention_s is not None and lag_s > facts.retention_s / 2
    return lag_s if is_late else None


def _quantile(counts: Sequence[int], limits: Sequence[float]) -> float | None:
    """The limit of the bucket that holds 99 % of these with what is below it; None where there are none."""
    total, needed = 0, _SHARE * sum(counts)
    for limit, count in zip((*limits, float("inf")), counts, strict=True):
        total += count
        if total and total >= needed:
            return limit
    return None


RULES: Final[Mapping[str, Callable[[_QueueWatch], float | None]]] = {
    "PydbsyncLagHigh": _QueueWatch.lag_high,
    "PydbsyncLagTail": _QueueWatch.lag_tail,
    "PydbsyncStreamStalled": _QueueWatch.stalled,
    "PydbsyncWorkerDown": _QueueWatch.down,
    "PydbsyncParked": _QueueWatch.parked,
    "PydbsyncGap": _QueueWatch.gap,
    "PydbsyncWorkerRestarting": _QueueWatch.restarted,
}
"""Those about a queue, beside `PydbsyncBinlogRetention`. `PydbsyncAbsent` is none: who is not there tells nobody."""
TASK_RULES: Final[Mapping[str, Callable[[Task], bool]]] = {
    "PydbsyncVerifyDifferent": lambda task: task.kind == "verify" and task.exit_code == 1,
    "PydbsyncCopyFailed": lambda task: task.kind == "copy" and task.has_failed,
    "PydbsyncSilentSchemaChange": lambda task: task.kind == "ddl-watch" and task.is_running and bool(task.done),
    "PydbsyncCaptureDown": lambda task: task.kind in ("capture", "heartbeat") and task.has_failed,
}
"""Those about a tool."""
