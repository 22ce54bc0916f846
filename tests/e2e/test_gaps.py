"""Losses before pydbsync are noticed: a skipped heartbeat, silence, a hole within a transaction."""

from __future__ import annotations

import logging
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lab.process import free_port
from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.heartbeat import run_heartbeat
from tests.commands import call
from tests.conftest import RunSync, StartSync
from tests.e2e.streams import QUICK
from tests.matrices import LONG
from tests.maxwell import Binlog, insert, update
from tests.processes import sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]
TABLE = "pydbsync_heartbeat.heartbeat"


def beat(binlog: Binlog, number: int) -> list[bytes]:
    return binlog.transaction(update(TABLE, {"id": 1, "number": number}, {"number": number - 1}))


def metrics(port: int) -> dict[str, float]:
    """The samples of the one queue by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if 'queue="sync"' in line}


def test_the_heartbeat_counts_up_at_the_source(fresh_source: Endpoint, tmp_path: Path) -> None:
    config = write_config({"source_db_info": fresh_source.db_info, "log_file_prefix": ""}, tmp_path / "config.py")
    for total in (2, 4):
        done = call("heartbeat", "--beats", "2", "--config", str(config))
        assert done.returncode == 0, done.stderr
        assert fresh_source.query(f"SELECT id, number FROM {TABLE}") == [(1, total)]


class _EmptiesTheTable(threading.Event):
    """An operator, between two beats."""

    def __init__(self, source: Endpoint) -> None:
        super().__init__()
        self._source = source

    def wait(self, timeout: float | None = None) -> bool:
        self._source.query(f"TRUNCATE TABLE {TABLE}")
        return self.is_set()


def test_the_heartbeat_begins_again_in_a_table_that_somebody_has_emptied(fresh_source: Endpoint) -> None:
    settings, _ = settings_from_mapping({"source_db_info": fresh_source.db_info}, require=())
    log = logging.getLogger("test")
    assert run_heartbeat(settings, _EmptiesTheTable(fresh_source), log, beats=3) == 1
    assert fresh_source.query(f"SELECT id, number FROM {TABLE}") == [(1, 1)]


def test_a_skipped_heartbeat_and_silence_are_said_and_measured(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync
) -> None:
    vhost.declare("sync")
    binlog = Binlog(ts=int(time.time()))
    port = free_port()
    process = start_sync(sync_config(fresh_target, vhost, metrics_port=port, heartbeat_stall_s=3, **QUICK))
    vhost.publish(beat(binlog, 1))
    wait_for(lambda: "metrics:" in process.stderr, what="the port")
    wait_for(lambda: metrics(port).get("pydbsync_heartbeat_number") == 1, what="a heartbeat")

    def gaps_and_stalls() -> tuple[int, int]:
        return process.stderr.count("did not come: changes were lost"), process.stderr.count("no heartbeat has come")

    binlog.ts = int(time.time())
    vhost.publish([*beat(binlog, 2), *beat(binlog, 5)])
    wait_for(lambda: metrics(port)["pydbsync_heartbeat_number"] == 5, what="the next ones")
    wait_for(lambda: metrics(port)["pydbsync_up"] == 0, what="the stall")
    gaps, stalls = gaps_and_stalls()
    assert gaps == 1
    assert "heartbeats 3 to 4 did not come" in process.stderr
    assert 1 <= stalls <= 2  # the worker may have started later than the first heartbeat lived
    assert metrics(port)["pydbsync_gaps_total"] == gaps + stalls
    binlog.ts = int(time.time()) + 60
    vhost.publish(beat(binlog, 6))
    wait_for(lambda: metrics(port)["pydbsync_heartbeat_number"] == 6, what="the next one")
    wait_for(lambda: metrics(port)["pydbsync_up"] == 1, what="its end")
    assert gaps_and_stalls() == (gaps, stalls)


@pytest.mark.parametrize("skew", [3600, pytest.param(-3600, marks=LONG)])
def test_a_source_whose_clock_is_wrong_is_named_once_and_its_silence_is_noticed(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, skew: int
) -> None:
    vhost.declare("sync")
    binlog = Binlog()
    port = free_port()
    process = start_sync(sync_config(fresh_target, vhost, metrics_port=port, heartbeat_stall_s=3, **QUICK))
    wait_for(lambda: vhost.consumers("sync") == 1, what="the worker")
    for number in range(1, 6):
        binlog.ts = int(time.time()) + skew
        vhost.publish(beat(binlog, number))
        wait_for(lambda number=number: metrics(port).get("pydbsync_heartbeat_number") == number, what="a heartbeat")  # type: ignore[misc]
    wait_for(
        lambda: "of the clock here" in process.stderr or "behind the clock here" in process.stderr, what="the skew"
    )
    wait_for(lambda: metrics(port)["pydbsync_up"] == 0, what="the stall")
    assert process.stderr.count("the clock here") == 1
    assert process.stderr.count("no heartbeat has come") == metrics(port)["pydbsync_gaps_total"] == 1


@pytest.mark.parametrize("lost", ["a row in the middle", pytest.param("the end", marks=LONG), "a heartbeat"])
def test_on_gap_stop_applies_nothing_behind_a_proven_loss(
    vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync, lost: str
) -> None:
    vhost.declare("sync")
    binlog = Binlog()
    messages = [
        *binlog.ddl("CREATE DATABASE d", "d"),
        *binlog.ddl("CREATE TABLE d.t (id INT PRIMARY KEY)", "d.t", columns=("id",)),
        *beat(binlog, 1),
    ]
    rows = binlog.transaction(*(insert("d.t", {"id": number}) for number in range(4)))
    behind: list[Any] = binlog.transaction(insert("d.t", {"id": 9}))
    if lost == "a row in the middle":
        del rows[1]
    elif lost == "the end":
        del rows[3]
    else:
        rows += beat(binlog, 3)
        behind = binlog.transaction(insert("d.t", {"id": 9}))
    vhost.publish([*messages, *rows, *behind])
    finished = run_sync(sync_config(fresh_target, vhost, on_gap="stop", **QUICK))
    assert finished.exit_code == 3, finished
    assert "a hole in the stream" in finished.stderr
    assert (9,) not in fresh_target.query("SELECT id FROM d.t")
