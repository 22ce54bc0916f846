"""Who watches is never in the way; what is changed from outside, a worker that is ended included, stops no queue."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import RunSync, StartSync
from tests.e2e.streams import QUICK, Ledger
from tests.e2e.test_one_consumer import logged
from tests.e2e.test_refusals import closed_port
from tests.matrices import LONG
from tests.processes import REPOSITORY, sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]

LINES = 1500
"""Messages that are parked: their lines fill any pipe."""


def unreadable(count: int) -> list[bytes]:
    return [b'{"database":"l","table":"ledger","type":"nonsense %d"}' % number for number in range(count)]


def config_of(target: Endpoint, vhost: Vhost, **options: Any) -> dict[str, Any]:
    return sync_config(target, vhost, **QUICK, **options)


def test_a_pipe_that_nobody_reads_stops_neither_replay_nor_metrics_nor_the_end(
    vhost: Vhost, fresh_target: Endpoint, tmp_path: Path
) -> None:
    ledger, port = Ledger("l"), closed_port()
    vhost.declare("sync")
    vhost.publish(ledger.begin())
    config = config_of(fresh_target, vhost, metrics_port=port, log_file_prefix="")
    file = write_config(config, tmp_path / "config.py")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "mysql_sync.py"), "--config", str(file)], stderr=writing, cwd=REPOSITORY
    )
    os.close(writing)

    def figure(name: str) -> float:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        return float(re.findall(rf"^{name}\S* ([0-9.]+)$", text, re.MULTILINE)[0])

    try:
        wait_for(lambda: vhost.consumers("sync") == 1, what="the worker")
        vhost.publish(unreadable(LINES))
        vhost.publish(ledger.write(20))
        wait_for(lambda: ledger.applied(fresh_target) == 20, what="the changes")
        wait_for(lambda: figure("pydbsync_parkings_total") == LINES, what="the figures")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
    assert ledger.faults(fresh_target) == {}


@LONG  # what nobody reads is in the test above
def test_a_supervisor_that_was_stopped_does_not_stop_its_workers(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync
) -> None:
    ledger = Ledger("l")
    vhost.declare("sync")
    vhost.publish(ledger.begin())
    process = start_sync(config_of(fresh_target, vhost))
    wait_for(lambda: vhost.consumers("sync") == 1, what="the worker")
    process.send(signal.SIGSTOP)
    try:
        vhost.publish(unreadable(LINES))
        vhost.publish(ledger.write(20))
        wait_for(lambda: ledger.applied(fresh_target) == 20, what="the changes")
    finally:
        process.send(signal.SIGCONT)
    wait_for(lambda: process.stderr.count("parked ") > LINES / 10, what="what the worker said meanwhile")
    assert process.stop().exit_code == 0
    assert ledger.faults(fresh_target) == {}


def test_a_worker_that_somebody_ends_is_started_again(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync
) -> None:
    ledger = Ledger("l")
    vhost.declare("sync")
    vhost.publish(ledger.begin())
    process = start_sync(config_of(fresh_target, vhost))
    said = "worker of sync was told to stop by somebody else"
    for count, signum in enumerate((signal.SIGTERM, signal.SIGINT), start=1):
        wait_for(lambda: vhost.consumers("sync") == 1, what="the worker")
        workers = process.workers()
        os.kill(workers[0], signum)
        wait_for(logged(process, said, count), what="the line")
        vhost.publish(ledger.write(10))
        wait_for(lambda: ledger.applied(fresh_target) == ledger.written, what="the changes")
    finished = process.stop()
    assert finished.exit_code == 0, finished
    assert finished.stderr.count(said) == 2, finished
    assert ledger.faults(fresh_target) == {}


def test_a_log_file_of_a_queue_that_cannot_be_opened_is_a_wrong_setting(
    vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync, tmp_path: Path
) -> None:
    (tmp_path / "sync.log").mkdir()
    finished = run_sync(config_of(fresh_target, vhost, log_file_prefix=str(tmp_path / "%s.log")), timeout_s=30)
    assert finished.exit_code == 2, finished
    assert re.search(r"log_file_prefix: the log file .*sync\.log' cannot be opened", finished.stderr), finished
    assert "started again" not in finished.stderr


def test_an_argument_that_rabbitmq_refuses_ends_the_run_with_its_words(
    vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync
) -> None:
    config = config_of(fresh_target, vhost, queue_arguments={"x-max-length": "many"})
    finished = run_sync(config, timeout_s=30)
    assert finished.exit_code == 2, finished
    assert re.search(r"queue_arguments: .*invalid arg 'x-max-length'", finished.stderr), finished


def test_a_dry_run_makes_nothing_at_the_broker(vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync) -> None:
    finished = run_sync(config_of(fresh_target, vhost), "--dry-run", timeout_s=30)
    assert finished.exit_code == 2, finished
    assert "there is no queue 'sync'" in finished.stderr
    assert vhost.broker.call("GET", f"/queues/{vhost.name}") == []


def test_a_login_that_is_refused_later_stops_no_queue(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync
) -> None:
    ledger, broker, user = Ledger("l"), vhost.broker, vhost.name
    vhost.declare("sync")
    vhost.publish(ledger.begin())

    def let_in(password: str) -> None:
        broker.call("PUT", f"/users/{user}", {"password": password, "tags": ""})
        broker.call("PUT", f"/permissions/{vhost.name}/{user}", {"configure": ".*", "write": ".*", "read": ".*"})

    def connection_of_worker() -> str | None:
        found = broker.call("GET", f"/vhosts/{vhost.name}/connections")
        workers = [each for each in found if each["client_properties"]["connection_name"].startswith("pydbsync sync ")]
        return workers[0]["name"] if workers else None

    let_in("first")
    fresh_target.query("DROP USER IF EXISTS 'late'@'%%'")
    fresh_target.query("CREATE USER 'late'@'%%' IDENTIFIED BY 'first'")
    fresh_target.query("GRANT ALL ON *.* TO 'late'@'%%'")
    config = config_of(fresh_target, vhost)
    config["rabbitmq_conn_info"] |= {"user": user, "password": "first"}
    config["db_info"] |= {"user": "late", "password": "first"}
    process = start_sync(config)
    try:
        wait_for(lambda: vhost.consumers("sync") == 1, what="the worker")
        let_in("second")
        name = wait_for(connection_of_worker, what="its connection")
        broker.call("DELETE", f"/connections/{quote(name)}")
        wait_for(lambda: "refuses user" in process.stderr, what="the refusal")
        let_in("first")
        vhost.publish(ledger.write(10))
        wait_for(lambda: ledger.applied(fresh_target) == 10, what="the changes")

        fresh_target.query("ALTER USER 'late'@'%%' IDENTIFIED BY 'second'")
        for (number,) in fresh_target.query("SELECT id FROM information_schema.processlist WHERE user = 'late'"):
            fresh_target.query(f"KILL {number}")
        vhost.publish(ledger.write(10))
        wait_for(lambda: "user or password is wrong" in process.stderr, what="the refusal")
        fresh_target.query("ALTER USER 'late'@'%%' IDENTIFIED BY 'first'")
        wait_for(lambda: ledger.applied(fresh_target) == 20, what="the changes")
        finished = process.stop()
        assert finished.exit_code == 0, finished
        assert ledger.faults(fresh_target) == {}
    finally:
        fresh_target.query("DROP USER 'late'@'%%'")
        broker.call("DELETE", f"/users/{user}")
