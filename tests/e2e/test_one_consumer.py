"""One consumer, fenced, in order: workers that die, hang or lose their line while they hold deliveries.

Each test has queues of two kinds, and a ledger in each; the long form has all kinds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import call
from tests.conftest import StartSync
from tests.e2e.streams import QUICK, Ledger, all_faults
from tests.matrices import LONG
from tests.processes import SyncProcess, sync_config, wait_for, write_config
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]

KINDS: dict[str, dict[str, Any]] = {
    "classic": {},
    "quorum": {"x-queue-type": "quorum"},
    "single": {"x-single-active-consumer": True},
    "quorum_single": {"x-queue-type": "quorum", "x-single-active-consumer": True},
}
FIRST, SECOND, THIRD = 30, 300, 40


class Queues:
    """A queue of each kind with its ledger, named alike."""

    def __init__(self, vhost: Vhost, target: Endpoint, *kinds: str) -> None:
        self.vhost, self.target = vhost, target
        self.ledgers = [Ledger(kind) for kind in kinds]
        for kind in kinds:
            vhost.declare(kind, routing_keys=[f"{kind}.#"], arguments=KINDS[kind])
        vhost.publish([message for each in self.ledgers for message in each.begin()])

    def config(self, *, port: int | None = None, **options: Any) -> dict[str, Any]:
        bound = {each.name: [f"{each.name}.#"] for each in self.ledgers}
        config = sync_config(self.target, self.vhost, queues=bound, **QUICK, **options)
        config["rabbitmq_conn_info"] |= {"heartbeat_s": 2, **({"port": port} if port else {})}
        return config

    def write(self, count: int) -> None:
        self.vhost.publish([message for each in self.ledgers for message in each.write(count)])

    def wait_until_applied(self) -> None:
        def is_applied() -> bool:
            return all(each.applied(self.target) >= each.written for each in self.ledgers)

        wait_for(is_applied, what="all changes")
        wait_for(lambda: not any(self.vhost.depth(each.name) for each in self.ledgers), what="acks")

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """The ledgers are locked: the workers take deliveries in and cannot apply them."""
        with ExitStack() as opened:
            cursor = opened.enter_context(opened.enter_context(self.target.connect()).cursor())
            tables = ", ".join(f"{each.name}.ledger WRITE, {each.name}.counter WRITE" for each in self.ledgers)
            cursor.execute(f"LOCK TABLES {tables}")
            yield
            cursor.execute("UNLOCK TABLES")

    def wait_until_held(self) -> None:
        """All is delivered, and each worker is in a transaction: before one has begun it has nothing to lose."""
        wait_for(lambda: not any(self.vhost.depth(each.name) for each in self.ledgers), what="prefetched deliveries")
        waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%'"
        wait_for(lambda: self.target.query(waiting)[0][0] >= len(self.ledgers), what="workers at the locked ledgers")


@pytest.fixture(params=[("classic", "quorum_single"), pytest.param(tuple(KINDS), marks=LONG)], ids=["two", "all"])
def queues(vhost: Vhost, fresh_target: Endpoint, request: pytest.FixtureRequest) -> Queues:
    return Queues(vhost, fresh_target, *request.param)


def logged(process: SyncProcess, text: str, times: int) -> Callable[[], bool]:
    return lambda: process.stderr.count(text) >= times


def test_a_killed_worker_gives_what_it_held_to_one_that_waits(queues: Queues, start_sync: StartSync) -> None:
    first = start_sync(queues.config())
    queues.write(FIRST)
    queues.wait_until_applied()
    second = start_sync(queues.config())
    wait_for(logged(second, "it is owned by", len(queues.ledgers)), what="stand-bys")
    with queues.held_up():
        queues.write(SECOND)
        queues.wait_until_held()
        for pid in first.workers():
            os.kill(pid, signal.SIGKILL)
        queues.write(THIRD)
    queues.wait_until_applied()
    assert all_faults(queues.target, queues.ledgers) == {}


def test_a_hung_worker_is_replaced_and_applies_nothing_when_it_comes_back(
    queues: Queues, start_sync: StartSync
) -> None:
    first = start_sync(queues.config())
    queues.write(FIRST)
    queues.wait_until_applied()
    with queues.held_up():
        queues.write(SECOND)
        queues.wait_until_held()
        hung = first.workers()
        for pid in hung:
            os.kill(pid, signal.SIGSTOP)
    try:
        second = start_sync(queues.config())
        queues.write(THIRD)
        queues.wait_until_applied()
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
    # What comes back finds another worker's mark in the checkpoint row, ends with exit code 4 and stands by.
    wait_for(logged(first, "has taken over", len(queues.ledgers)), what="the fence")
    wait_for(logged(first, "ended with exit code 4; it is started again", len(queues.ledgers)), what="the restart")
    wait_for(logged(first, "it is owned by", len(queues.ledgers)), what="stand-bys")
    queues.write(THIRD)
    queues.wait_until_applied()
    assert second.is_running
    assert "exit code" not in second.stderr
    assert all_faults(queues.target, queues.ledgers) == {}


def test_a_worker_whose_connection_was_cut_silently_comes_back_and_keeps_the_order(
    queues: Queues, start_sync: StartSync, make_proxy: Callable[[int], Proxy]
) -> None:
    proxy = make_proxy(queues.vhost.broker.port)
    worker = start_sync(queues.config(port=proxy.port))
    queues.write(FIRST)
    queues.wait_until_applied()
    with queues.held_up():
        queues.write(SECOND)
        queues.wait_until_held()
        proxy.swallow()
        queues.write(THIRD)
        wait_for(lambda: all(queues.vhost.consumers(each.name) == 0 for each in queues.ledgers), what="no consumer")
    wait_for(logged(worker, "the source is away", len(queues.ledgers)), what="the loss noticed")
    proxy.resume()
    proxy.cut()
    queues.wait_until_applied()
    wait_for(logged(worker, "the source is back", len(queues.ledgers)), what="the way back")
    assert all_faults(queues.target, queues.ledgers) == {}
    assert worker.stderr.count("the source is away") == len(queues.ledgers)


def test_messages_that_come_back_behind_newer_ones_are_parked_and_the_worker_stops_for_good(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, tmp_path: Path
) -> None:
    """A classic queue refuses a second consumer: it is consumed exclusively."""
    queues = Queues(vhost, fresh_target, "quorum")
    config = queues.config()
    process = start_sync(config)
    queues.wait_until_applied()
    wait_for(lambda: all(vhost.consumers(each.name) == 1 for each in queues.ledgers), what="the workers")
    held = 25
    with vhost.connect() as intruder:
        channel = intruder.channel()
        channel.basic_qos(prefetch_count=2 * held)  # messages of two rows
        channel.basic_consume("quorum", lambda *_: None)
        queues.write(SECOND)
        wait_for(
            lambda: (
                not intruder.process_data_events(0)
                and all(each.applied(fresh_target) >= each.written - 2 * held for each in queues.ledgers)
                and not any(vhost.depth(each.name) for each in queues.ledgers)
            ),
            what="what the intruder left",
        )
    finished = process.wait(timeout_s=60)
    assert finished.exit_code == 5, finished
    assert finished.stderr.count("came back behind newer ones") == 1, finished
    assert "started again" not in finished.stderr
    kept = dict(fresh_target.query("SELECT stream, COUNT(*) FROM pydbsync.parked GROUP BY stream"))
    assert kept == {"quorum": 2 * held}

    # The next start takes nothing for a duplicate that was not applied, and what is parked can be applied in order.
    again = start_sync(config, "--until-drained").wait()
    assert again.exit_code == 0, again
    file = write_config({**config, "log_file_prefix": ""}, tmp_path / "config.py")
    done = call("parked", "retry", "--config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    for each in queues.ledgers:
        assert each.applied(fresh_target) == each.written
        numbers = fresh_target.query(f"SELECT n FROM {each.name}.ledger ORDER BY n")
        assert [number for (number,) in numbers] == list(range(1, each.written + 1))
