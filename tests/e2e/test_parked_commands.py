"""`pydbsync parked`, while a worker follows the queue."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import call
from tests.conftest import RunSync, StartSync
from tests.e2e.streams import QUICK
from tests.maxwell import Binlog, insert, update
from tests.processes import sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]


@pytest.fixture
def config(vhost: Vhost, fresh_target: Endpoint) -> dict[str, Any]:
    vhost.declare("sync")
    return sync_config(fresh_target, vhost, **QUICK)


@pytest.fixture
def desk(config: dict[str, Any], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    file = write_config({**config, "log_file_prefix": ""}, tmp_path / "config.py")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("parked", *arguments, "--config", str(file))

    return run


Desk = Callable[..., subprocess.CompletedProcess[str]]


def status_of(target: Endpoint) -> list[tuple[Any, ...]]:
    return target.query("SELECT id, kind, status, behind FROM pydbsync.parked ORDER BY id")


def parked_so_far(target: Endpoint) -> list[tuple[Any, ...]]:
    """As status_of, from before the worker has made its tables."""
    made = target.query("SELECT 1 FROM information_schema.tables WHERE table_name = 'parked'")
    return status_of(target) if made else []


def begin(binlog: Binlog) -> list[bytes]:
    return [
        *binlog.ddl("CREATE DATABASE d", "d"),
        *binlog.ddl("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(5))", "d.t", columns=("id", "v")),
        *binlog.ddl("CREATE TABLE d.u (id INT PRIMARY KEY, v VARCHAR(5))", "d.u", columns=("id", "v")),
    ]


def test_a_row_is_edited_and_applied_in_order_and_the_worker_goes_on_with_it(
    config: dict[str, Any], desk: Desk, vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, tmp_path: Path
) -> None:
    binlog = Binlog()
    start_sync(config)
    vhost.publish(begin(binlog))
    too_long = insert("d.t", {"id": 1, "v": "much too long"})
    vhost.publish(binlog.transaction(too_long, insert("d.t", {"id": 2, "v": "b"})))
    # In one batch with its successor the first image would not be written at all.
    wait_for(lambda: vhost.depth("sync") == 0 and len(parked_so_far(fresh_target)) == 1, what="a parked change")
    vhost.publish(binlog.transaction(update("d.t", {"id": 1, "v": "later"}, {"v": "much too long"})))
    vhost.publish(binlog.transaction(insert("d.t", {"id": 3, "v": "c"})))
    rows = "SELECT * FROM d.t ORDER BY id"
    wait_for(lambda: vhost.depth("sync") == 0 and len(status_of(fresh_target)) == 2, what="two parked changes")
    wait_for(lambda: fresh_target.query(rows) == [(2, "b"), (3, "c")], what="the other rows")

    listed = [json.loads(line) for line in desk("list", "--json").stdout.splitlines()]
    assert [(each["id"], each["kind"], each["table"], each["code"], each["behind"]) for each in listed] == [
        (1, "insert", "d.t", 1406, None),
        (2, "update", "d.t", 0, 1),
    ]
    assert desk("list", "--format", "json").stdout == desk("list", "--json").stdout
    shown = desk("show", "1").stdout
    assert "much too long" in shown
    assert "1406" in shown

    refused = [desk("retry", "1"), desk("retry", "2")]
    assert [each.returncode for each in refused] == [1, 1]
    assert "1: stays parked: " in refused[0].stdout
    assert "2: stays parked: waits behind 1" in refused[1].stdout

    edited = tmp_path / "edited.json"
    edited.write_text(listed[0]["message"].replace("much too long", "short"))
    assert desk("edit", "1", "--message-file", str(edited)).returncode == 0
    applied = desk("retry")
    assert applied.returncode == 0, applied.stdout
    assert fresh_target.query(rows) == [(1, "later"), (2, "b"), (3, "c")]

    def is_applied_by_the_worker() -> bool:
        """What came before the worker looked is parked behind; what comes then it applies itself."""
        desk("retry")
        vhost.publish(binlog.transaction(update("d.t", {"id": 1, "v": "again"}, {"v": "later"})))
        wait_for(lambda: vhost.depth("sync") == 0, what="the change taken")
        return fresh_target.query(rows)[0] == (1, "again") and not json_lines(desk)

    wait_for(is_applied_by_the_worker, what="a worker that applies the row again")
    actions = fresh_target.query("SELECT parked_id, action FROM pydbsync.parked_audit WHERE parked_id <= 2 ORDER BY id")
    assert actions == [(1, "retry"), (1, "edit"), (1, "retry"), (2, "retry")]
    history = desk("show", "1").stdout
    assert "edit by " in history


def json_lines(desk: Desk) -> list[str]:
    return [line for line in desk("list", "--json").stdout.splitlines() if line.startswith("{")]


def test_a_schema_change_is_edited_and_what_waits_behind_it_follows(
    config: dict[str, Any], desk: Desk, vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, tmp_path: Path
) -> None:
    binlog = Binlog()
    start_sync(config)
    vhost.publish(begin(binlog))
    vhost.publish(binlog.ddl("ALTER TABLE d.u ADD w NONSENSE", "d.u", columns=("id", "v", "w")))
    vhost.publish(binlog.transaction(insert("d.u", {"id": 1, "v": "a", "w": 7}), insert("d.t", {"id": 1, "v": "a"})))
    wait_for(lambda: vhost.depth("sync") == 0 and len(parked_so_far(fresh_target)) == 2, what="two parked changes")
    wait_for(lambda: fresh_target.query("SELECT * FROM d.t") == [(1, "a")], what="the other table")
    assert status_of(fresh_target) == [(1, "table-alter", "parked", None), (2, "insert", "parked", 1)]

    statement = tmp_path / "edited.sql"
    statement.write_text("ALTER TABLE d.u ADD w INT\n")
    assert desk("edit", "1", "--message-file", str(statement)).returncode == 0
    applied = desk("retry")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert fresh_target.query("SELECT * FROM d.u") == [(1, "a", 7)]
    assert {status for _, _, status, _ in status_of(fresh_target)} == {"applied"}


def test_a_change_is_given_up_only_with_a_reason(
    config: dict[str, Any], desk: Desk, vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync
) -> None:
    binlog = Binlog()
    vhost.publish([*begin(binlog), b"no message of Maxwell"])
    assert run_sync(config, "--until-drained").exit_code == 0
    assert desk("skip", "1").returncode == 2
    refused = desk("skip", "1", "--reason", " ")
    assert (refused.returncode, "needs a reason" in refused.stderr) == (2, True)
    assert desk("skip", "1", "--reason", "a test of the operator").returncode == 0
    assert status_of(fresh_target) == [(1, "unreadable", "skipped", None)]
    again = desk("retry", "1")
    assert "nothing is parked" in again.stdout
    assert fresh_target.query("SELECT action, detail FROM pydbsync.parked_audit") == [
        ("skip", "a test of the operator")
    ]
    nothing = desk("skip", "99", "--reason", "x")
    assert (nothing.returncode, "there is no parked change 99" in nothing.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "kept"), [({"on_error": "stop"}, 0), ({"max_parked": 1}, 1)], ids=["on_error", "max_parked"]
)
def test_those_who_would_rather_stop_lose_nothing(
    config: dict[str, Any], vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync, options: dict[str, Any], kept: int
) -> None:
    binlog = Binlog()
    vhost.publish(begin(binlog))
    for number in range(2):
        vhost.publish(binlog.transaction(insert("d.t", {"id": number, "v": "much too long"})))
    config["batch_rows"] = 1
    finished = run_sync({**config, **options})
    assert finished.exit_code == 3, finished
    assert "started again" not in finished.stderr
    assert len(status_of(fresh_target)) == kept
    assert vhost.depth("sync") == 2 - kept
    assert run_sync(config, "--until-drained").exit_code == 0
    assert len(status_of(fresh_target)) == 2
