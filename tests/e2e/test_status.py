"""`pydbsync status` on a real run: what it says while all is well, and as one thing after the other goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.status.facts import Status
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.read import read_status
from pydbsync.ops.status.show import shown
from tests.conftest import StartSync
from tests.maxwell import Binlog, insert
from tests.processes import sync_config, wait_for, write_config
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost


def look(config: dict[str, Any]) -> Status:
    status = read_status(settings_from_mapping(config)[0])
    judge(status)
    return status


def is_following(status: Status) -> bool:
    worker = status.queues[0].worker
    return worker is not None and worker.is_fresh and worker.state == "following"


def wait_until(config: dict[str, Any], holds: Callable[[Status], bool], what: str) -> Status:
    last: list[Status] = []

    def is_so() -> bool:
        last.append(look(config))
        return holds(last[-1])

    try:
        wait_for(is_so, what=what, timeout_s=90)
    except AssertionError as exc:
        raise AssertionError(f"{exc}\n{shown(last[-1])}") from None
    return last[-1]


@pytest.mark.mariadb
def test_status_names_what_is_wrong_and_what_to_do(
    fresh_target: Endpoint, vhost: Vhost, make_proxy: Callable[[int], Proxy], start_sync: StartSync,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("pydbsync.ops.status.judge._WAITING_S", 1)
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    broker = make_proxy(vhost.broker.port)
    config = sync_config(fresh_target, vhost, state_interval_s=0.2, retry={"first_s": 0.1, "max_s": 0.2})
    config["rabbitmq_conn_info"] |= {"port": broker.port}
    assert look(config).health == "down"
    assert "start `pydbsync run`" in look(config).todo[0]

    sync = start_sync(config)
    status = wait_until(config, is_following, "a worker that follows")
    assert status.health == "healthy"
    binlog = Binlog(ts=int(time.time()))
    vhost.publish(binlog.transaction(insert("d.t", {"id": 1}), insert("d.t", {"id": 2})))
    status = wait_until(
        config, lambda status: bool(status.queues[0].place and status.queues[0].place.applied == 2), "two rows"
    )
    status = wait_until(
        config,
        lambda status: bool(status.queues[0].worker and status.queues[0].worker.figures["committed_s"] is not None),
        "the parts of the lag",
    )
    figures = status.queues[0].worker.figures if status.queues[0].worker else {}
    assert figures["received_s"] is not None
    assert status.queues[0].broker is not None
    assert status.queues[0].broker.consumers == 1

    vhost.publish(binlog.transaction(insert("d.missing", {"id": 1})))
    status = wait_until(config, lambda status: bool(status.queues[0].parked), "a parked change")
    assert (status.health, status.queues[0].parked[0].table) == ("degraded", "d.missing")

    # A worker that is frozen holds its queue, and says nothing; one that is killed holds none.
    (pid,) = sync.workers()
    os.kill(pid, signal.SIGSTOP)
    status = wait_until(config, lambda status: "holds the queue" in str(status.queues[0].problems), "a frozen worker")
    assert status.health in ("degraded", "down")
    os.kill(pid, signal.SIGCONT)
    wait_until(config, is_following, "that it goes on")
    broker.refuse()
    status = wait_until(config, lambda status: status.health == "down", "a broker that is away")
    assert "RabbitMQ" in status.todo[0]
    assert status.rabbitmq_note
    broker.resume()
    wait_until(config, is_following, "a broker that is back")
    sync.kill()
    wait_until(config, lambda status: "gone without a word" in str(status.queues[0].problems), "that it is missed")

    assert fresh_target.server is not None
    fresh_target.server.kill()
    status = look(config)
    assert (status.exit_code(), "does not answer" in status.todo[0]) == (2, True)
    fresh_target.server.start()


def test_the_command_prints_json_and_ends_with_the_exit_code(
    fresh_target: Endpoint, vhost: Vhost, tmp_path: Path
) -> None:
    file = write_config(sync_config(fresh_target, vhost), tmp_path / "config.py")
    command = [sys.executable, "-m", "pydbsync", "status", "--json", "--config", str(file)]
    finished = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert finished.returncode == 2, finished
    assert json.loads(finished.stdout)["health"] == "down"
    assert fresh_target.databases() == []
