"""Cutover and rollback on real servers, while a small application writes: no committed write is missing or doubled."""

from __future__ import annotations

import json
import os
import signal
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


ORDERS = "SELECT id, token, note FROM shop.orders ORDER BY id"
LATE = (
    "INSERT INTO shop.orders VALUES (4, 'd', NULL)",
    "UPDATE shop.orders SET note = 'late' WHERE id = 2",
    "DELETE FROM shop.orders WHERE id = 3",
    "UPDATE shop.orders SET note = 'mine' WHERE id = 1",
    "UPDATE shop.orders SET note = 'later' WHERE id = 2",
)
"""What the source writes when nothing reads its binlog any more."""
BESIDE = [
    ("insert", 4, None, "free"),
    ("update", 2, {"id": 2, "token": "b", "note": None}, "free"),
    ("delete", 3, {"id": 3, "token": "c", "note": None}, "free"),
    ("update", 1, {"id": 1, "token": "a", "note": "theirs"}, "conflict"),
    ("update", 2, {"id": 2, "token": "b", "note": None}, "free"),
]
SETTLED = {
    "--carry-over=target": [(1, "a", "theirs"), (2, "b", "later"), (4, "d", None)],
    "--undo-old": [(1, "a", "theirs"), (2, "b", None), (3, "c", None)],
}


@pytest.mark.mariadb
@pytest.mark.parametrize("ending", SETTLED)
def test_what_a_dead_source_has_beyond_the_target_is_listed_and_settled(stage: Stage, ending: str) -> None:
    source, target = stage.source, stage.target
    source.query("DROP TRIGGER shop.count_orders")
    source.query("INSERT INTO shop.orders VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL)")
    stage.write_plan()
    capture = stage.begin()
    source.query("UPDATE shop.balance SET n = 7")
    balance = "SELECT n FROM shop.balance"
    wait_for(lambda: target.query(balance) == [(7,)], what="the last change that is carried")
    os.killpg(capture.pid, signal.SIGKILL)
    for sql in LATE:
        source.query(sql)
    assert stage.call("failover").exit_code == 3  # the source answers
    assert source.server is not None
    source.server.kill()

    done = stage.call("failover")
    assert done.exit_code == 0, done
    assert stage.active.read_text().strip() == f"{target.host}:{target.port}"
    target.query("UPDATE shop.orders SET note = 'theirs' WHERE id = 1")
    target.query("INSERT INTO shop.orders (token) VALUES ('new')")
    ((new,),) = target.query("SELECT id FROM shop.orders WHERE token = 'new'")
    assert new > 1000

    source.server.start()
    done = stage.call("failover", options=("--returned", "--json"))
    assert done.exit_code == 1, done
    changes = json.loads(done.stdout)["changes"]
    assert [(c["kind"], (c["after"] or c["before"])["id"], c["now"], c["standing"]) for c in changes] == BESIDE
    assert source.query("SELECT @@global.read_only") == [(1,)]

    done = stage.call("failover", options=("--returned", ending, "--follow", "--yes"))
    assert done.exit_code == 0, done
    wanted = [*SETTLED[ending], (new, "new", None)]
    assert target.query(ORDERS) == wanted
    wait_for(lambda: source.query(ORDERS) == wanted, what="the old source as the target is")
