"""SIGHUP: a running supervisor and its workers take the configuration over, and nothing is lost by it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartSync
from tests.e2e.streams import QUICK, Ledger, all_faults
from tests.maxwell import insert
from tests.processes import SyncProcess, sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]

TAKEN = "the configuration that was given holds from here on"


@pytest.fixture
def config(vhost: Vhost, fresh_target: Endpoint, tmp_path: Path) -> dict[str, Any]:
    queues = {"a": ["a.#"], "b": ["b.#", "c.#"]}
    for queue, keys in queues.items():
        vhost.declare(queue, routing_keys=keys)
    return sync_config(
        fresh_target, vhost, queues=queues, log_file_prefix=str(tmp_path / "%s.log"), exclude=["a.left_out"], **QUICK
    )


def hang_up(process: SyncProcess, said: str) -> None:
    """SIGHUP, and wait until the supervisor has said so once more."""
    before = process.stderr.count(said)
    process.send(signal.SIGHUP)
    wait_for(lambda: process.stderr.count(said) > before, what=said)


def test_filters_rewrites_limits_and_the_level_change_at_a_border_in_all_workers_and_nothing_is_lost(
    config: dict[str, Any], vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, tmp_path: Path
) -> None:
    file = write_config(config, tmp_path / "config.py")
    process = start_sync(file)
    ledgers = [Ledger("a"), Ledger("b")]
    of_a, of_b = (ledger.binlog for ledger in ledgers)
    for ledger in ledgers:
        vhost.publish(ledger.begin() + ledger.write(300))
    made = of_a.ddl("CREATE TABLE a.left_out (id INT PRIMARY KEY)", "a.left_out", columns=("id",))
    wait_for(lambda: ledgers[0].applied(fresh_target) == 300, what="the first changes")
    fresh_target.query("CREATE TABLE a.left_out (id INT PRIMARY KEY)")
    vhost.publish([*made, *of_a.transaction(insert("a.left_out", {"id": 1}))])
    wait_for(lambda: vhost.depth("a") == 0, what="the change that is left out")

    write_config({**config, "exclude": ["a.no_such"], "batch_rows": 7, "log_level": "debug", "prefetch": 50,
                  "dbname_rewrite": {"c": "b"}}, file)  # fmt: skip
    for ledger in ledgers:
        vhost.publish(ledger.write(300))
    hang_up(process, "reload: taken over: dbname_rewrite, exclude, batch_rows, log_level")
    assert "reload: changed too, but needs a restart: prefetch" in process.stderr
    wait_for(lambda: process.stderr.count(TAKEN) == len(ledgers), what="both workers")
    vhost.publish(of_a.transaction(insert("a.left_out", {"id": 2})))
    vhost.publish(of_b.transaction(insert("c.ledger", {"n": 901, "v": "x"})))
    wait_for(lambda: fresh_target.query("SELECT n FROM b.ledger WHERE n > 900") == [(901,)], what="the rewritten row")
    wait_for(lambda: fresh_target.query("SELECT id FROM a.left_out") == [(2,)], what="the row that is taken now")
    fresh_target.query("DELETE FROM b.ledger WHERE n > 900")

    file.write_text("include = ['a.*'\n")
    hang_up(process, "reload: refused, and the former configuration goes on: ")
    write_config({**config, "batch_rows": "many"}, file)
    hang_up(process, "reload: refused, and the former configuration goes on: ")
    assert "batch_rows: expected a whole number" in process.stderr
    for ledger in ledgers:
        vhost.publish(ledger.write(50))
        wait_for(lambda: ledger.applied(fresh_target) == ledger.written, what="the last changes")  # noqa: B023
    finished = process.stop()
    assert finished.exit_code == 0, finished
    assert "started again" not in finished.stderr
    assert all_faults(fresh_target, ledgers) == {}


def test_the_rate_is_kept_and_lifted_by_a_reload(
    config: dict[str, Any], vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, tmp_path: Path
) -> None:
    """At ten rows a second the last of a thousand would come after a minute and a half, with the connection idle longer
    than it may be in between."""
    file = write_config({**config, "target_rows_per_s": 10}, tmp_path / "config.py")
    process = start_sync(file)
    ledger = Ledger("a")
    vhost.publish(ledger.begin() + ledger.write(500))
    wait_for(lambda: ledger.applied(fresh_target) >= 10, what="more than one batch")
    commits = fresh_target.query("SELECT MAX(commits) FROM pydbsync.checkpoint WHERE stream = 'a'")[0][0]
    assert ledger.applied(fresh_target) <= 20 * commits, "a batch holds what may be written in batch_time_s"
    write_config(config, file)
    hang_up(process, "reload: taken over: target_rows_per_s")
    wait_for(lambda: ledger.applied(fresh_target) == 500, what="all rows")
    finished = process.stop()
    assert finished.exit_code == 0, finished
    assert "lost" not in finished.stderr
    assert all_faults(fresh_target, [ledger]) == {}
