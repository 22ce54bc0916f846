"""What was aimed at, as ratios within one run, and what was reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.history import History
from benchmarks.latency import Latency
from benchmarks.names import (
    CAPTURE,
    CAPTURE_BUNDLES,
    CAPTURE_RABBITMQ,
    DRAIN,
    DRAIN_QUORUM,
    ENGINE,
    ENGINE_BUNDLES,
    ENGINE_QUORUM,
    FOUR_QUEUES,
    LIMIT,
    MAIN,
    NATIVE,
    ORIGINAL,
    PUBLISH,
)
from benchmarks.results import NO_TARGET, WITH_BINLOG, WITHOUT_BINLOG, ResultSet, Spread

ODD_SHAPES = ("wide", "text", "keyless", "keyless-index", "deletes", "huge")


@dataclass(frozen=True)
class Goal:
    """One aim. `key` names it in a regression check; `is_ratio` tells whether it may be compared between machines."""

    key: str
    title: str
    value: float
    wanted: float
    unit: str = "×"
    at_most: bool = False
    is_ratio: bool = True
    against: str = ""

    @property
    def is_met(self) -> bool:
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def goals(found: ResultSet, latency: Latency | None, history: History | None) -> list[Goal]:
    """Those that this run can answer."""
    return [*rate_goals(found), *latency_goals(latency), *history_goals(history), *memory_goals(found)]


def rate_goals(found: ResultSet) -> Iterator[Goal]:
    with_binlog = found.of(MAIN, ENGINE, WITH_BINLOG)
    without = found.of(MAIN, ENGINE, WITHOUT_BINLOG)
    yield from against(found.of(MAIN, ORIGINAL), with_binlog, "original", "the original's way of working", 20.0)
    yield from against_native(found, MAIN, WITH_BINLOG, 1.5, "native-binlog", "best native mode, both with a binlog")
    yield from against_native(found, MAIN, WITHOUT_BINLOG, 1.0, "native", "best native mode, both without a binlog")
    yield from against(found.of(MAIN, DRAIN, NO_TARGET), with_binlog, "drain", "bare pika drain", 0.8)
    yield from against_native(found, "hot", WITH_BINLOG, 2.0, "hot-binlog", "hot rows: best native mode, with a binlog")
    yield from against_native(found, "hot", WITHOUT_BINLOG, 2.0, "hot", "hot rows: best native mode, without a binlog")
    for contestant, key, words in (
        (ENGINE_QUORUM, "quorum", "from a quorum queue"), (ENGINE_BUNDLES, "bundles", "in bundles")
    ):  # fmt: skip
        title = f"hot rows {words}: best native mode, with a binlog"
        yield from against_native(found, "hot", WITH_BINLOG, 2.0, f"hot-{key}", title, contestant=contestant)
        title = f"hot rows {words}: best native mode, without a binlog"
        yield from against_native(found, "hot", WITHOUT_BINLOG, 2.0, f"hot-{key}-plain", title, contestant=contestant)
    yield from against(with_binlog, found.of(MAIN, FOUR_QUEUES), "queues", "four queues against one", 1.0)
    quorum = found.of(MAIN, ENGINE_QUORUM, WITH_BINLOG)
    title = "bare pika drain, both on a quorum queue (no goal)"
    yield from against(found.of(MAIN, DRAIN_QUORUM, NO_TARGET), quorum, "drain-quorum", title, 0.0)
    yield from against(with_binlog, found.of(MAIN, CAPTURE), "capture", "capture to a file against replay", 1.0)
    to_rabbitmq = found.of(MAIN, CAPTURE_RABBITMQ)
    yield from against(with_binlog, to_rabbitmq, "capture-rabbitmq", "capture to RabbitMQ against replay", 1.0)
    in_bundles, of_bundles = found.of(MAIN, CAPTURE_BUNDLES), found.of(MAIN, ENGINE_BUNDLES, WITH_BINLOG)
    title = "capture to RabbitMQ in bundles against replay of single messages"
    yield from against(with_binlog, in_bundles, "capture-bundles", title, 1.0)
    title = "capture to RabbitMQ in bundles against replay of bundles"
    yield from against(of_bundles, in_bundles, "capture-replay-bundles", title, 1.0)
    title = "replay of bundles against replay of single messages (no goal)"
    yield from against(with_binlog, of_bundles, "bundles", title, 0.0)
    title = "capture to RabbitMQ against a bare publisher with confirms (no goal)"
    yield from against(found.of(MAIN, PUBLISH), to_rabbitmq, "capture-publish", title, 0.0)
    yield from against(found.of(MAIN, LIMIT, WITH_BINLOG), with_binlog, "limit", "target's limit (no goal)", 0.0)
    yield from against(found.of(MAIN, LIMIT, WITHOUT_BINLOG), without, "limit-plain", "the same without a binlog", 0.0)
    for name in ODD_SHAPES:
        title = f"{name}: best native mode (no order of magnitude off)"
        yield from against_native(found, name, WITH_BINLOG, 0.1, f"shape-{name}", title)


def against(base: Spread | None, ours: Spread | None, key: str, title: str, wanted: float) -> Iterator[Goal]:
    if base and ours and base.median:
        yield Goal(key, title, ours.median / base.median, wanted, against=f"{base.median:,.0f}")


def against_native(
    found: ResultSet, workload: str, setting: str, wanted: float, key: str, title: str, *, contestant: str = ENGINE
) -> Iterator[Goal]:
    best = found.best(workload, NATIVE, setting)
    ours = found.of(workload, contestant, setting)
    if best and ours:
        name, rates = best
        mode = name.removeprefix(NATIVE)
        yield Goal(key, title, ours.median / rates.median, wanted, against=f"{rates.median:,.0f} ({mode})")


def latency_goals(latency: Latency | None) -> Iterator[Goal]:
    if latency:
        title = f"at {latency.changes_a_second:,.0f} changes/s, publish to visible"
        make: Callable[[str, str, float, float], Goal] = lambda key, name, value, wanted: Goal(  # noqa: E731
            key, f"latency, {name}, {title}", value, wanted, " ms", at_most=True, is_ratio=False
        )
        yield make("latency-median", "median", latency.median_ms, 5.0)
        yield make("latency-p99", "99th percentile", latency.p99_ms, 25.0)


def history_goals(history: History | None) -> Iterator[Goal]:
    if history:
        title = f"rate of the last tenth of {history.changes:,} changes against the first"
        yield Goal("history", title, history.end.rate / history.begin.rate, 0.9)


def memory_goals(found: ResultSet) -> Iterator[Goal]:
    peak = max(found.peak_rss_mb(name) for name in (ENGINE, ENGINE_QUORUM, ENGINE_BUNDLES, FOUR_QUEUES))
    if peak:
        title = "resident memory of a worker, highest of all workloads"
        yield Goal("memory", title, peak, 150.0, " MB", at_most=True, is_ratio=False)


def regressions(now: list[Goal], before: list[Goal], *, tolerance: float) -> list[str]:
    """Ratios that fell by more than `tolerance` (0.2 is a fifth) since an earlier run, as sentences."""
    past = {goal.key: goal for goal in before if goal.is_ratio}
    return [
        f"{goal.title}: {goal.value:.2f}, was {past[goal.key].value:.2f}"
        for goal in now
        if goal.key in past and goal.value < past[goal.key].value * (1 - tolerance)
    ]
