"""Two queues of one name, on two virtual hosts, into one target."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import lab
from tests.conftest import RunSync, StartSync
from tests.e2e.streams import QUICK, Ledger, all_faults
from tests.matrices import LONG
from tests.processes import sync_config, wait_for
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.mariadb


@pytest.fixture
def other_vhost(rabbitmq: lab.RabbitMQ) -> Iterator[Vhost]:
    vhost = Vhost(rabbitmq, f"test-{uuid.uuid4().hex[:12]}")
    rabbitmq.create_vhost(vhost.name)
    yield vhost
    rabbitmq.delete_vhost(vhost.name)


def test_the_second_queue_of_a_name_is_refused_until_it_has_a_name_of_its_own(
    vhost: Vhost, other_vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, run_sync: RunSync
) -> None:
    ledgers = [Ledger("one"), Ledger("two")]
    for ledger, place in zip(ledgers, (vhost, other_vhost), strict=True):
        place.declare("sync")
        place.publish(ledger.begin())
        place.publish(ledger.write(10))
    first = start_sync(sync_config(fresh_target, vhost, **QUICK))
    wait_for(lambda: ledgers[0].applied(fresh_target) == 10, what="the first queue's changes")

    config = sync_config(fresh_target, other_vhost, **QUICK)
    for _ in ("while the first one runs", "and afterwards"):
        refused = run_sync(config, "--until-drained", timeout_s=30)
        assert refused.exit_code == 2, refused
        assert f"belongs to queue 'sync' in vhost '{vhost.name}'" in refused.stderr
        assert ledgers[1].applied(fresh_target) == 0
        if first.is_running:
            assert first.stop().exit_code == 0

    named = run_sync({**config, "stream_names": {"sync": "two.sync"}}, "--until-drained")
    assert named.exit_code == 0, named
    assert all_faults(fresh_target, ledgers) == {}
    streams = fresh_target.query("SELECT stream FROM pydbsync.checkpoint ORDER BY stream")
    assert [stream for (stream,) in streams] == ["sync", "two.sync"]


@LONG  # earlier forms of the state schema are in test_state_schema.py
def test_a_checkpoint_from_before_origins_were_kept_is_taken_over(
    vhost: Vhost, fresh_target: Endpoint, run_sync: RunSync
) -> None:
    ledger = Ledger("one")
    vhost.declare("sync")
    vhost.publish(ledger.begin())
    vhost.publish(ledger.write(10))
    config = sync_config(fresh_target, vhost, **QUICK)
    assert run_sync(config, "--until-drained").exit_code == 0
    fresh_target.query("DROP TABLE pydbsync.stream_origin")
    vhost.publish(ledger.write(10))
    assert run_sync(config, "--until-drained").exit_code == 0
    assert ledger.faults(fresh_target) == {}
    assert fresh_target.query("SELECT stream, queue, vhost FROM pydbsync.stream_origin") == [
        ("sync", "sync", vhost.name)
    ]
