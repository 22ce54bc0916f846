"""Either server away for long costs nothing but time: bounded memory, a line when it goes and one when it is back.

The back-off is short here, so that as many tries are made within seconds as within an hour with the usual one.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartSync
from tests.e2e.streams import QUICK, Ledger
from tests.e2e.test_refusals import closed_port
from tests.matrices import LONG
from tests.maxwell import insert
from tests.processes import SyncProcess, sync_config, wait_for
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]

TRIES = 120
"""With waits of up to half a minute, random between nothing and that: half an hour."""
OPTIONS = {**QUICK, "retry": {"first_s": 0.01, "max_s": 0.02}, "read_ahead_bytes": 4 * 2**20, "batch_bytes": 2**20}
LARGE_ROWS, LARGE_BYTES = 110, 2**20
MOST_MORE_BYTES = 80 * 10**6


def memory_of(process: SyncProcess, name: str) -> int:
    """VmRSS or VmHWM of the worker, in bytes."""
    (pid,) = process.workers()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def is_up(port: int) -> float:
    """pydbsync_up."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return float(re.findall(r"^pydbsync_up\S* ([0-9.]+)$", text, re.MULTILINE)[0])


def test_a_target_that_is_away_for_long_is_waited_for_in_bounded_memory(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, make_proxy: Callable[[int], Proxy]
) -> None:
    server = fresh_target.server
    assert server is not None
    ledger, proxy = Ledger("l"), make_proxy(fresh_target.port)
    vhost.declare("sync")
    vhost.publish(ledger.begin())
    vhost.publish(ledger.binlog.ddl("CREATE TABLE l.large (id INT PRIMARY KEY, v LONGTEXT)", "l.large"))
    vhost.publish(ledger.write(20))
    port = closed_port()
    config = sync_config(fresh_target, vhost, metrics_port=port, **OPTIONS)
    config["db_info"] |= {"port": proxy.port}
    process = start_sync(config)
    wait_for(lambda: ledger.applied(fresh_target) == 20, what="the first changes")
    before = memory_of(process, "VmRSS")

    server.kill()
    tries = proxy.tried
    rows = (insert("l.large", {"id": number, "v": "x" * LARGE_BYTES}) for number in range(LARGE_ROWS))
    vhost.publish(ledger.binlog.each(rows))
    vhost.publish(ledger.write(50))
    wait_for(lambda: proxy.tried - tries > TRIES, what="many tries")
    assert memory_of(process, "VmHWM") - before < MOST_MORE_BYTES < LARGE_ROWS * LARGE_BYTES
    assert process.stderr.count("WARNING") == 1, process.stderr
    wait_for(lambda: is_up(port) == 0, what="the figure that says so")
    server.start()

    wait_for(lambda: ledger.applied(fresh_target) == 70, what="all changes")
    wait_for(lambda: is_up(port) == 1, what="the figure that says so")
    assert memory_of(process, "VmHWM") - before < MOST_MORE_BYTES
    finished = process.stop()
    assert finished.exit_code == 0, finished
    assert finished.stderr.count("WARNING") == 1, finished
    assert len(re.findall(r"the target (?:is back|takes it again)", finished.stderr)) == 1, finished
    assert fresh_target.query("SELECT COUNT(*), SUM(LENGTH(v)) FROM l.large") == [
        (LARGE_ROWS, LARGE_ROWS * LARGE_BYTES)
    ]
    assert ledger.faults(fresh_target) == {}


@LONG  # a broker that goes and comes back is in test_loss.py, one that is away in test_status.py
def test_a_broker_that_is_away_for_long_is_waited_for_with_one_line(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, make_proxy: Callable[[int], Proxy]
) -> None:
    ledger, proxy = Ledger("l"), make_proxy(vhost.broker.port)
    vhost.declare("sync")
    vhost.publish(ledger.begin())
    vhost.publish(ledger.write(20))
    config = sync_config(fresh_target, vhost, **OPTIONS)
    config["rabbitmq_conn_info"] |= {"port": proxy.port, "heartbeat_s": 2}
    process = start_sync(config)
    wait_for(lambda: ledger.applied(fresh_target) == 20, what="the first changes")
    before = memory_of(process, "VmRSS")

    vhost.broker.kill()
    tries = proxy.tried
    wait_for(lambda: proxy.tried - tries > TRIES, what="many tries")
    assert memory_of(process, "VmHWM") - before < MOST_MORE_BYTES
    assert process.stderr.count("the source is away") == 1, process.stderr
    vhost.broker.start()
    vhost.publish(ledger.write(50))

    wait_for(lambda: ledger.applied(fresh_target) == 70, what="all changes")
    wait_for(lambda: "the source is back" in process.stderr, what="a line for the way back")
    finished = process.stop()
    assert finished.exit_code == 0, finished
    assert finished.stderr.count("WARNING") == 1, finished
    assert finished.stderr.count("the source is back") == 1, finished
    assert ledger.faults(fresh_target) == {}
