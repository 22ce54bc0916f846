"""Cutover and rollback on real servers, while a small application writes: no committed write is missing or doubled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_for
from tests.servers import Endpoint, Vhost
from tests.switching import Application, Stage


@pytest.fixture
def stage(fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(fresh_source, fresh_target, vhost, tmp_path)
    yield stage
    stage.close()


def test_there_and_back_under_load_no_write_is_lost_or_doubled(stage: Stage) -> None:
    stage.write_plan()
    application = Application(stage).start()
    stage.begin()
    application.write_more(50)

    options = ("--reports", str(stage.folder), "--drains", "3", "--verifies", "1")
    done = stage.call("rehearse", options=options)
    assert (done.exit_code, "could not write for about" in done.stdout) == (0, True), done
    assert (stage.folder / "shop-rehearsal.html").read_text().count("<polyline points='") == 2

    done = stage.call("cutover")
    assert done.exit_code == 0, done
    assert "Applications could not write for" in done.stdout
    application.write_more(50)
    assert stage.call("cutover").exit_code == 2  # it is cut over already
    status = json.loads(stage.run("status", "--config", str(stage.folder / "forth.py"), "--json").stdout)
    (told,) = status["cutovers"]
    assert (told["state"], told["ended_streams"], told["write_stop_s"] > 0) == ("done", ["sync"], True)
    assert "a rollback now would stop writing for about" in told["way_back"]

    done = stage.call("rollback")
    assert done.exit_code == 0, done
    application.write_more(50)
    application.stop()
    assert application.faults(stage.source) == []
    wait_for(lambda: application.faults(stage.target) == [], what="the last orders at the other server")


KILLS = ("fence-done", "carry-done", "arm-done", "open-done")
"""`make torture ARGS=--switches` has all of them."""


def test_what_fails_is_undone_and_what_is_killed_is_gone_on_with(stage: Stage) -> None:
    stage.write_plan(hooks={"switch": "echo no such proxy; exit 7"})
    application = Application(stage).start()
    stage.begin()
    application.write_more(20)

    assert stage.call("cutover", kill_at="cutover-undo-carry").exit_code < 0
    refused = application.refused
    wait_for(lambda: application.refused > refused, what="a write that is refused while the undoing is not over")
    done = stage.call("cutover")
    assert (done.exit_code, "exit code 7: no such proxy" in done.stderr) == (3, True), done
    application.write_more(20)
    assert stage.source.query("SELECT event_name, status FROM information_schema.events") == [("nightly", "ENABLED")]
    fires = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'"
    assert (stage.source.query(fires), stage.target.query(fires)) == ([("count_orders",)], [])
    assert stage.target.query("SELECT event_name FROM information_schema.events") == []

    stage.write_plan()
    for point in KILLS:
        done = stage.call("cutover", kill_at=f"cutover-{point}")
        assert done.exit_code < 0, f"{point}: {done}"
    done = stage.call("cutover")
    assert done.exit_code == 0, done
    application.write_more(20)
    application.stop()
    assert application.faults(stage.target) == []
    wait_for(lambda: application.faults(stage.source) == [], what="the last orders at the other server")
    assert stage.source.query("SELECT status FROM information_schema.events") == [("DISABLED",)]
    assert stage.target.query("SELECT status FROM information_schema.events") == [("ENABLED",)]
