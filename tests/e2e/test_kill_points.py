"""A worker that dies at any step of the pipeline, as by SIGKILL, leaves nothing lost and nothing doubled behind.

The process ends itself at a named step (PYDBSYNC_KILL_POINT). It is then run again without, through the same queue, and
the target must be as the source was: tables with and without keys, DDL of all kinds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from pydbsync.killpoints import KILL_POINTS
from pydbsync.ops.capture.publish.bundle import Bundle
from tests.conftest import LEG, RunSync, StartSync
from tests.corpus import VERSIONS, Brand, Case, cases
from tests.matrices import LONG
from tests.maxwell import Binlog, insert, update
from tests.processes import sync_config, wait_for
from tests.servers import Endpoint, Vhost
from tests.state import differences, read_state

pytestmark = pytest.mark.kept_state

OWN: Brand = "mysql" if LEG == "mysql" else "mariadb"
CHOSEN = ("12-keys", "13-no-primary-key", "20-ddl-alter", "21-ddl-tables", "26-pt-osc", "28-transactions")
SMALL, WHOLE = 3, 5000
"""Rows of a batch: while a full one is committed, the next is taken in."""
MOMENTS = [
    ("after-decode", 3, WHOLE),
    ("after-decode", 90, SMALL),
    ("mid-batch", 1, WHOLE),
    ("mid-batch", 12, SMALL),
    ("before-commit", 2, WHOLE),
    ("before-commit", 40, SMALL),
    ("after-commit", 1, WHOLE),
    ("after-commit", 9, SMALL),
    ("after-ack", 1, WHOLE),
    ("after-ack", 20, SMALL),
    ("after-intent", 1, WHOLE),
    ("after-intent", 25, SMALL),
    ("after-ddl", 2, WHOLE),
    ("after-ddl", 30, SMALL),
    ("after-schema-step", 2, WHOLE),
    ("after-schema-step", 30, SMALL),
    ("after-parking", 1, WHOLE),
]
IN_TURN = [
    ("after-decode", 5, SMALL), ("mid-batch", 2, SMALL), ("before-commit", 2, WHOLE), ("after-commit", 3, SMALL),
    ("after-ack", 1, WHOLE), ("after-intent", 2, SMALL), ("after-ddl", 2, WHOLE), ("after-schema-step", 3, SMALL),
    ("after-parking", 1, WHOLE),
]  # fmt: skip
"""Each point once, in one stream; the moments above, each in a stream of its own, are for the long tests."""


def chosen() -> list[Case]:
    return sorted((case for case in cases(OWN) if case.name in CHOSEN), key=_first_place)


def _first_place(case: Case) -> tuple[int, int]:
    """Where the case stands in the binlog: the cases were recorded in another order than their names tell."""
    found = re.search(rb'"position":"[^"]*\.(\d+):(\d+)"', case.messages[0])
    assert found is not None
    return int(found[1]), int(found[2])


def test_every_kill_point_is_tried() -> None:
    elsewhere = {"after-conflict", "after-run-mark"}  # tests/integration: test_conflicts.py, test_schema_changes.py
    assert {name for name, _, _ in MOMENTS} == {name for name, _, _ in IN_TURN}
    assert {name for name, _, _ in IN_TURN} | elsewhere == set(KILL_POINTS)


def publish_cases(vhost: Vhost) -> None:
    vhost.declare("sync")
    for case in chosen():
        vhost.publish(case.messages)


def test_deaths_at_every_step_one_after_another_lose_and_double_nothing(
    fresh_target: Endpoint, vhost: Vhost, start_sync: StartSync, run_sync: RunSync
) -> None:
    publish_cases(vhost)
    vhost.publish([b"no message of Maxwell"])
    config = sync_config(fresh_target, vhost, source_server=VERSIONS[OWN].replace("-", " "))
    for point, count, batch_rows in IN_TURN:
        die(point, count, {**config, "batch_rows": batch_rows}, start_sync)
    finished = run_sync(config, "--until-drained")
    assert finished.exit_code == 0, finished
    check_state(fresh_target)
    assert list(fresh_target.query("SELECT kind FROM pydbsync.parked")) == [("unreadable",)]


@LONG
@pytest.mark.parametrize(("point", "count", "batch_rows"), MOMENTS)
def test_a_death_at_any_step_loses_and_doubles_nothing(
    point: str,
    count: int,
    batch_rows: int,
    fresh_target: Endpoint,
    vhost: Vhost,
    start_sync: StartSync,
    run_sync: RunSync,
) -> None:
    publish_cases(vhost)
    if point == "after-parking":
        vhost.publish([b"no message of Maxwell"])
    server = VERSIONS[OWN].replace("-", " ")
    config = sync_config(fresh_target, vhost, source_server=server, batch_rows=batch_rows)
    die_and_go_on(point, count, config, start_sync, run_sync)
    check_state(fresh_target)
    parked = fresh_target.query("SELECT kind FROM pydbsync.parked")
    assert list(parked) == ([("unreadable",)] if point == "after-parking" else [])


@pytest.mark.parametrize(
    ("point", "count"),
    [("after-commit", 7), pytest.param("after-ack", 25, marks=LONG), pytest.param("after-intent", 9, marks=LONG)],
)
def test_a_death_within_a_bundle_loses_and_doubles_nothing(
    point: str, count: int, fresh_target: Endpoint, vhost: Vhost, start_sync: StartSync, run_sync: RunSync
) -> None:
    """A bundle comes again as a whole, when a part of it was applied."""
    vhost.declare("sync")
    bundle = Bundle(16_384)
    for case in chosen():
        vhost.publish(body for _, body in bundle.add("all", case.messages))
    vhost.publish(body for _, body in bundle.close())
    config = sync_config(fresh_target, vhost, source_server=VERSIONS[OWN].replace("-", " "), batch_rows=2)
    die_and_go_on(point, count, config, start_sync, run_sync)
    check_state(fresh_target)
    assert list(fresh_target.query("SELECT kind FROM pydbsync.parked")) == []
    ((suppressed,),) = fresh_target.query("SELECT duplicates FROM pydbsync.checkpoint")
    assert suppressed > 0


def die_and_go_on(point: str, count: int, config: Mapping[str, Any], start_sync: StartSync, run_sync: RunSync) -> None:
    """Replay until the worker ends itself, then replay the rest."""
    die(point, count, config, start_sync)
    finished = run_sync(config, "--until-drained")
    assert finished.exit_code == 0, finished


def die(point: str, count: int, config: Mapping[str, Any], start_sync: StartSync) -> None:
    dying = start_sync(config, "--until-drained", environment={"PYDBSYNC_KILL_POINT": f"{point}:{count}"})
    wait_for(lambda: "was ended by signal 9" in dying.stderr or not dying.is_running, what=f"the death {point}")
    assert "was ended by signal 9" in dying.stderr, f"{point}: {dying.finished(0)}"
    dying.kill()


def check_state(target: Endpoint) -> None:
    """The target is as the source was after all cases."""
    for case in chosen():
        found = read_state(target.connect(), list(case.state))
        assert list(differences(case.state, found, data_only=False)) == [], case


@pytest.mark.parametrize(
    ("point", "count"),
    [("after-commit", 4), pytest.param("after-ack", 4, marks=LONG), pytest.param("before-commit", 5, marks=LONG)],
)
def test_a_death_during_a_bootstrap_loses_nothing_of_what_maxwell_held_back(
    point: str, count: int, fresh_target: Endpoint, vhost: Vhost, start_sync: StartSync, run_sync: RunSync
) -> None:
    """The changes of a table that is read are printed behind newer ones of others: by their place they look old."""
    binlog = Binlog()
    vhost.declare("sync")
    vhost.publish(binlog.ddl("CREATE DATABASE d", "d"))
    for name in ("t", "other"):
        vhost.publish(binlog.ddl(f"CREATE TABLE {name} (id INT PRIMARY KEY, v INT)", f"d.{name}"))
    held = binlog.each([insert("d.t", {"id": 7, "v": 1}), update("d.t", {"id": 0, "v": 5}, {"v": 1})])
    meanwhile = binlog.each([insert("d.other", {"id": number, "v": 1}) for number in range(3)])
    bootstrap = binlog.bootstrap("d.t", [{"id": 0, "v": 1}])
    vhost.publish(bootstrap[:-1] + meanwhile + bootstrap[-1:] + held)
    config = sync_config(fresh_target, vhost, batch_rows=1)

    die(point, count, config, start_sync)
    applied = fresh_target.query("SELECT * FROM d.t")
    assert (7, 1) not in applied, "it was to die before the first held change"

    assert run_sync(config, "--until-drained").exit_code == 0
    assert fresh_target.query("SELECT * FROM d.t ORDER BY id") == [(0, 5), (7, 1)]
    assert fresh_target.query("SELECT COUNT(*) FROM d.other") == [(3,)]
