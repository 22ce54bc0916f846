"""A ⇄ B as it runs: capture and pydbsync both ways over a broker, writes and schema changes at both, kills."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.capture import CaptureSettings, run_capture
from pydbsync.ops.capture.publish.bundle import BUNDLE_BYTES
from tests.conftest import StartSync
from tests.e2e.streams import QUICK
from tests.integration.captured import run
from tests.processes import sync_config, wait_for
from tests.servers import Endpoint, Vhost
from tests.state import differences, read_state

MARKS = ["pydbsync.checkpoint", "pydbsync.mark", "pydbsync.schema_change"]
TABLES = (
    "CREATE DATABASE d",
    "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20))",
    "CREATE TABLE d.u (id INT PRIMARY KEY, v VARCHAR(20))",
)


@contextmanager
def captured(config: Mapping[str, Any], folder: Path, name: str) -> Iterator[None]:
    """Capture of the configuration's source in a thread of this process, until the end."""
    settings, _ = settings_from_mapping(config)
    assert settings.source is not None
    stop = threading.Event()
    chosen = CaptureSettings(
        source=settings.source.connect_keywords(), amqp=settings.amqp, exchange=settings.queues[0].exchange,
        state=folder / name, name=name, state_schema=settings.source_state_schema, include=("d.*",),
        bundle_bytes=BUNDLE_BYTES, retry=settings.retry,
    )  # fmt: skip
    run_capture(CaptureSettings(**{**vars(chosen), "follow": False}), threading.Event())  # from now on
    thread = threading.Thread(daemon=True, target=run_capture, args=(chosen, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Pair:
    """Two servers with the tables, and a configuration for each direction."""

    def __init__(self, a: Endpoint, b: Endpoint, vhost: Vhost) -> None:
        self.a, self.b = a, b
        self.forth = self._config(a, b, vhost, "a", {"forth": ["d.*", *MARKS]})
        # What one transaction changes comes by two queues.
        self.back = self._config(b, a, vhost, "b", {"back-t": ["d.t", *MARKS], "back-u": ["d.u", *MARKS]})
        for server in (a, b):
            run(server, TABLES)
            with closing(Connection(server.db_info)) as connection:
                ensure_state_schema(connection, "pydbsync")

    def _config(
        self, source: Endpoint, target: Endpoint, vhost: Vhost, exchange: str, queues: Mapping[str, list[str]]
    ) -> dict[str, Any]:
        for queue, keys in queues.items():
            vhost.declare(queue, exchange=exchange, routing_keys=keys)
        return sync_config(
            target, vhost, queues=queues, exchange=(exchange, "topic"), source_db_info=source.db_info,
            two_way={"mark_s": 0.5}, state_interval_s=0, **QUICK,
        )  # fmt: skip

    def write(self, server: Endpoint, first: int) -> None:
        """A transaction of four rows, in both tables."""
        run(
            server,
            (
                "BEGIN",
                f"INSERT INTO d.t (id, v) VALUES ({first}, 'a'), ({first + 1}, 'b')",
                f"INSERT INTO d.u VALUES ({first}, 'a')",
                f"UPDATE d.u SET v = 'new' WHERE id = {first}",
                "COMMIT",
            ),
        )

    def applied(self, server: Endpoint) -> int:
        """Row changes that replay has applied at this side."""
        return int(server.query("SELECT COALESCE(SUM(applied), 0) FROM pydbsync.checkpoint")[0][0])

    def has_applied(self, server: Endpoint, count: int) -> bool:
        return self.applied(server) >= count

    def differences(self) -> Sequence[str]:
        with self.a.connect() as a, self.b.connect() as b:
            return list(differences(read_state(a, ["d"]), read_state(b, ["d"]), data_only=False))


def test_both_ways_with_kills_end_equal_and_nothing_goes_round(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, start_sync: StartSync, tmp_path: Path
) -> None:
    pair = Pair(fresh_source, fresh_target, vhost)
    with ExitStack() as stack:
        stack.enter_context(captured(pair.forth, tmp_path, "forth"))
        stack.enter_context(captured(pair.back, tmp_path, "back"))
        processes = [start_sync(pair.forth), start_sync(pair.back)]
        for number in range(2):
            for first in range(0, 30, 2):
                pair.write(pair.a, 1000 * number + first)
                pair.write(pair.b, 1000 * number + 500 + first)
            wait_for(partial(pair.has_applied, pair.b, 60 * number + 1), what="something of A at B")
            processes[number % 2].kill()
            run(pair.a if number % 2 else pair.b, (f"ALTER TABLE d.t ADD c{number} INT, ADD INDEX (v)",))
            processes[number % 2] = start_sync((pair.forth, pair.back)[number % 2])
            wait_for(lambda: not pair.differences(), what="both equal")
        wait_for(lambda: pair.applied(pair.b) == 120, what="all of A applied at B")
        wait_for(lambda: pair.applied(pair.a) == 120, what="all of B applied at A")
        # What is written last goes there, comes back and is left out: whatever went round would be counted by now.
        pair.write(pair.a, 9000)
        pair.write(pair.b, 9500)
        wait_for(lambda: pair.applied(pair.b) >= 124 and pair.applied(pair.a) >= 124, what="the last transactions")
        for process in processes:
            assert process.stop().exit_code == 0
        assert (pair.applied(pair.a), pair.applied(pair.b)) == (124, 124)
        assert pair.differences() == []
        for server in (pair.a, pair.b):
            assert server.query("SELECT reason FROM pydbsync.parked") == []


def test_a_queue_that_marks_do_not_reach_is_not_applied(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, start_sync: StartSync, tmp_path: Path
) -> None:
    pair = Pair(fresh_source, fresh_target, vhost)
    for key in MARKS:
        vhost.declare("elsewhere", exchange="c", routing_keys=[key])
    vhost.declare("back-d", exchange="c", routing_keys=["d.*"])
    back = {**pair.back, "rabbitmq_queue_bind": [{"exchange": ["c", "topic"], "queues": {"back-d": ["d.*"]}}]}
    with captured(pair.forth, tmp_path, "forth"), captured(back, tmp_path, "back"):
        start_sync(pair.forth)
        pair.write(pair.a, 1)
        wait_for(lambda: pair.applied(pair.b) == 4, what="replay to B")
        process = start_sync(back)
        numbers = iter(range(100, 10_000, 10))

        def ends() -> bool:
            pair.write(pair.b, next(numbers))
            return not process.is_running

        wait_for(ends, what="its end")
        finished = process.wait()
    assert finished.exit_code == 3, finished
    assert "marks do not come through this queue" in finished.stderr
    assert pair.applied(pair.a) == 0


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("INSERT INTO pydbsync.checkpoint (stream, server_id, gtids, ghosts) VALUES ('third', 99, '', '')", "ring"),
        (None, "both have server_id"),
    ],
)
def test_more_than_two_servers_are_refused_at_start(
    statement: str | None,
    says: str,
    fresh_source: Endpoint,
    fresh_target: Endpoint,
    vhost: Vhost,
    start_sync: StartSync,
) -> None:
    pair = Pair(fresh_source, fresh_target, vhost)
    config = pair.back
    if statement is None:
        config = {**config, "source_db_info": config["db_info"]}
    else:
        run(pair.b, (statement,))
    finished = start_sync(config).wait()
    assert finished.exit_code == 2, finished
    assert says in finished.stderr
