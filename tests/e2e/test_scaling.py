"""Many queues: by table with topic keys, or spread by a consistent-hash exchange; one worker each, stand-bys behind."""

from __future__ import annotations

import signal

import pymysql
import pytest

from tests.conftest import RunSync, StartSync
from tests.matrices import LONG
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import sync_config, wait_for
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.kept_state

TABLES = [f"t{number}" for number in range(6)]
ROWS = 40


def workload(seed: int = 0) -> list[bytes]:
    """Transactions over all tables; afterwards each table holds the even ids, each with the value 2 * id."""
    binlog = Binlog()
    messages: list[bytes] = []
    for number in range(ROWS):
        messages += binlog.transaction(*[insert(f"scale.{table}", {"id": number, "v": 0}) for table in TABLES])
    for number in range(ROWS):
        messages += binlog.transaction(
            *[update(f"scale.{table}", {"id": number, "v": 2 * number}, {"v": 0}) for table in TABLES]
        )
    for number in range(1, ROWS, 2):
        messages += binlog.transaction(*[delete(f"scale.{table}", {"id": number, "v": 2 * number}) for table in TABLES])
    return messages


def make_tables(target: Endpoint) -> None:
    with target.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE scale")
        for table in TABLES:
            cursor.execute(f"CREATE TABLE scale.{table} (id INT PRIMARY KEY, v INT)")


def assert_applied(target: Endpoint) -> None:
    for table in TABLES:
        found = target.query(f"SELECT id, v FROM scale.{table} ORDER BY id")
        assert found == [(number, 2 * number) for number in range(0, ROWS, 2)], table


def test_queues_by_table_each_have_their_worker(fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync) -> None:
    make_tables(fresh_target)
    queues = {f"q{index}": [f"scale.{table}" for table in TABLES[index::3]] for index in range(3)}
    for queue, keys in queues.items():
        vhost.declare(queue, routing_keys=keys)
    vhost.publish(workload())
    finished = run_sync(sync_config(fresh_target, vhost, queues=queues), "--until-drained")
    assert finished.exit_code == 0, finished
    assert_applied(fresh_target)
    streams = fresh_target.query("SELECT stream FROM pydbsync.checkpoint WHERE applied > 0 ORDER BY stream")
    assert [stream for (stream,) in streams] == sorted(queues)


def test_a_consistent_hash_exchange_keeps_each_table_in_one_queue(
    fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync
) -> None:
    make_tables(fresh_target)
    exchange = ("maxwell.hash", "x-consistent-hash")
    queues = {f"h{index}": ["1"] for index in range(3)}
    for queue in queues:
        vhost.declare(queue, exchange=exchange[0], exchange_type=exchange[1], routing_keys=["1"])
    vhost.publish(workload(), exchange=exchange[0])
    finished = run_sync(sync_config(fresh_target, vhost, queues=queues, exchange=exchange), "--until-drained")
    assert finished.exit_code == 0, finished
    assert_applied(fresh_target)


@pytest.mark.parametrize("queue_type", ["quorum", pytest.param("classic", marks=LONG)])
def test_a_stand_by_takes_over_where_the_first_machine_stopped(
    queue_type: str, fresh_target: Endpoint, vhost: Vhost, start_sync: StartSync
) -> None:
    make_tables(fresh_target)
    vhost.declare("sync", arguments={"x-queue-type": queue_type})
    config = sync_config(fresh_target, vhost, queue_type=queue_type, consumer_poll_s=0.1)
    messages = workload()
    half = len(messages) // 2

    def applied() -> int:
        try:
            return int(fresh_target.query("SELECT SUM(applied) FROM pydbsync.checkpoint")[0][0] or 0)
        except (pymysql.ProgrammingError, pymysql.OperationalError):  # the state schema is not made yet
            return 0

    first = start_sync(config)
    vhost.publish(messages[:half])
    wait_for(lambda: applied() == half, what="the first half")
    stand_by = start_sync(config)
    wait_for(lambda: "waiting for sync" in stand_by.stderr, what="the stand-by's wait for the lock")
    assert vhost.consumers("sync") == 1
    first.send(signal.SIGKILL)
    wait_for(lambda: not first.workers(), what="the worker's end without its supervisor")
    vhost.publish(messages[half:])
    wait_for(lambda: applied() == len(messages), what="the stand-by's work")
    assert stand_by.stop().exit_code == 0
    assert_applied(fresh_target)
