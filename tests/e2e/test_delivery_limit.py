"""A queue that drops what was given back too often loses nothing by orderly stops under load."""

from __future__ import annotations

import functools
import threading

import pytest

from tests.conftest import StartSync
from tests.e2e.streams import QUICK, Ledger, all_faults
from tests.matrices import LONG
from tests.processes import sync_config, wait_for
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]

QUEUE = "counted"
STEP = 600
"""Transactions of two messages that wait before each start, and come during each stop."""
STOPS = 2


def has_more(ledger: Ledger, target: Endpoint, before: int) -> bool:
    return ledger.applied(target) > before


@LONG  # what orderly stops acknowledge is in test_mysql_sync.py
def test_orderly_stops_under_load_give_nothing_back(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync
) -> None:
    # What is given back a single time is dropped: it would be missing in the ledger.
    limit = {"x-delivery-limit": 0}
    vhost.declare(QUEUE, arguments={"x-queue-type": "quorum", **limit})
    ledger = Ledger("l")
    vhost.publish(ledger.begin())
    options = {"queue_type": "quorum", "queue_arguments": limit, "prefetch": 200, "batch_rows": 40, **QUICK}
    config = sync_config(fresh_target, vhost, queues={QUEUE: ["#"]}, **options)
    for _ in range(STOPS):
        vhost.publish(ledger.write(STEP))
        before = ledger.applied(fresh_target)
        process = start_sync(config)
        wait_for(functools.partial(has_more, ledger, fresh_target, before), what="some changes")
        publishing = threading.Thread(daemon=True, target=vhost.publish, args=[ledger.write(STEP)])
        publishing.start()
        finished = process.stop()
        publishing.join()
        assert finished.exit_code == 0, finished
        assert "it is given back" not in finished.stderr, finished
        assert vhost.depth(QUEUE) > 0, "it had applied all before it was stopped"
    finished = start_sync(config, "--until-drained").wait()
    assert finished.exit_code == 0, finished
    assert all_faults(fresh_target, [ledger]) == {}
