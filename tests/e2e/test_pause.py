"""A paused queue of a real broker: nothing is applied, nothing is given back but by a stop, and nothing is lost."""

from __future__ import annotations

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.pause import PauseTable
from tests.conftest import StartSync
from tests.e2e.streams import QUICK, Ledger, all_faults
from tests.e2e.test_one_consumer import logged
from tests.processes import sync_config, wait_for
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]


def test_a_worker_that_is_paused_keeps_queue_and_lock_and_goes_on_and_ends_when_told(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync
) -> None:
    """The queue drops what is given back twice: each pause that gave its messages back would lose them."""
    vhost.declare("sync", arguments={"x-queue-type": "quorum", "x-delivery-limit": 1})
    config = sync_config(fresh_target, vhost, queue_type="quorum", prefetch=50, **QUICK)
    ledger, table = Ledger("l"), PauseTable("pydbsync")
    vhost.publish(ledger.begin() + ledger.write(10))
    process = start_sync(config)
    wait_for(lambda: ledger.applied(fresh_target) == 10, what="the first changes")
    operator = Connection(fresh_target.db_info)
    for pauses in (1, 2):
        table.add(operator, "sync", "", actor="me", reason="a test")
        wait_for(logged(process, "paused: sync since", pauses), what="the pause")
        applied = ledger.written
        vhost.publish(ledger.write(100))
        wait_for(lambda: vhost.depth("sync") == 150, what="as many messages taken as may be")
        assert (vhost.consumers("sync"), ledger.applied(fresh_target)) == (1, applied)
        table.remove(operator, "sync", "", actor="me")
        wait_for(lambda: ledger.applied(fresh_target) == ledger.written, what="all changes")

    table.add(operator, "sync", "", actor="me", reason="again")
    wait_for(logged(process, "paused: sync since", 3), what="the pause")
    finished = process.stop()
    assert (finished.exit_code, "killed" in finished.stderr) == (0, False), finished
    faults = "SELECT COUNT(*) FROM pydbsync.worker WHERE last_error LIKE '%stopped%'"
    assert fresh_target.query(faults) == [(0,)]  # it ended as it was asked to
    applied = ledger.written
    vhost.publish(ledger.write(10))
    process = start_sync(config)
    wait_for(logged(process, "paused: sync since", 1), what="the pause after a restart")
    assert (vhost.consumers("sync"), ledger.applied(fresh_target)) == (0, applied)
    table.remove(operator, "sync", "", actor="me")
    wait_for(lambda: ledger.applied(fresh_target) == ledger.written, what="the last changes")
    operator.close()
    assert process.stop().exit_code == 0
    assert all_faults(fresh_target, [ledger]) == {}
