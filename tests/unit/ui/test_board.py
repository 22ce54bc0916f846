"""The alert rules see what the state schema tells of a worker as they see what a worker tells itself."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.config.alerts import AlertSettings
from pydbsync.ops.status.facts import Gap, ParkedGroup, Process, Queue
from pydbsync.process.alert_rules import AlertRules
from pydbsync.process.histogram import LAG_S, Histogram
from pydbsync.ui.board import as_told

PERIOD_S = 60.0


def queue(state: str = "following", *, written_s: float = 0.5, **given: Any) -> Queue:
    figures = {"lag_s": 0.4, "depth": 0, "transactions": 7, **given.pop("figures", {})}
    process = Process("db1", 7, "1", state, 600, written_s, 1, figures)
    return Queue(stream="q", queue="q", is_configured=True, worker=process, **given)


def fired(found: Queue, *, minutes: int = 10) -> set[str]:
    """What fires when it has been like that for so many minutes."""
    rules = AlertRules(AlertSettings(period_s=PERIOD_S))
    names: set[str] = set()
    for number in range(minutes * 12 + 1):
        names = {alert.rule for alert in rules.look([as_told(found, PERIOD_S)], 1000 + 5.0 * number)}
    return names


GONE = "PydbsyncWorkerDown"


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (queue(), set()),
        (queue("paused", figures={"lag_s": 900.0}), set()),
        (queue("waiting for the target"), {GONE}),
        (queue(written_s=900), {GONE, "PydbsyncLagHigh", "PydbsyncStreamStalled"}),
        (queue(figures={"lag_s": 40.0, "depth": 9}), {"PydbsyncLagHigh"}),
        (queue(figures={"lag_s": 400.0, "depth": 9}), {"PydbsyncLagHigh", "PydbsyncStreamStalled"}),
        (queue(figures={"lag_s": None}), set()),
        (queue(parked=[ParkedGroup(3, "d.t", 1062, "x", 1, 5, waits=False)]), {"PydbsyncParked"}),
        (queue(incidents=[Gap("gap", "rows are missing", "", 100)]), {"PydbsyncGap"}),
        (queue(incidents=[Gap("gap", "rows are missing", "", 61 * PERIOD_S)]), set()),
        (queue(incidents=[Gap("ended", "a fault", "", 100)]), {"PydbsyncWorkerRestarting"}),
        (queue(incidents=[Gap("ended", "a fault", "", 16 * PERIOD_S)]), set()),
    ],
)
def test_rules_fire_by_the_state_schema(found: Queue, names: set[str]) -> None:
    assert fired(found) == names


def late(batches: int, lag_s: float, before: Histogram | None = None) -> str:
    found = Histogram.of(LAG_S) if before is None else before
    for _ in range(batches):
        found.observe(lag_s)
    return found.to_json()


@pytest.mark.parametrize(
    ("looks", "fires"),
    [
        ([late(10, 40.0), late(10, 40.0)], False),  # nothing was committed while somebody looked
        ([late(10, 1.0), late(10, 40.0)], True),
        ([late(10, 1.0), late(2000, 1.0, Histogram.from_json(late(12, 40.0), LAG_S))], False),
        ([late(900, 1.0), late(20, 40.0)], True),  # another process, which counts from the beginning
        ([late(900, 1.0), late(20, 40.0), late(25, 1.0)], True),
        ([None, late(20, 40.0)], True),  # one of a version that wrote none, before
        (["{}", '{"limits":[1],"counts":[1,2],"sum":3}'], False),
    ],
)
def test_the_tail_of_the_lag_is_that_of_the_batches_that_were_committed_meanwhile(
    looks: list[str | None], fires: bool
) -> None:
    rules = AlertRules(AlertSettings(period_s=PERIOD_S))
    names: set[str] = set()
    for number, commit_lag in enumerate(looks):
        told = as_told(queue(figures={"commit_lag": commit_lag}), PERIOD_S)
        names = {alert.rule for alert in rules.look([told], 1000 + 5.0 * number)}
    assert ("PydbsyncLagTail" in names) is fires


def test_a_moment_is_no_alert() -> None:
    assert fired(queue(figures={"lag_s": 40.0, "depth": 9}), minutes=1) == set()
    assert fired(queue("starting"), minutes=1) == set()
