"""A long recorded stream ends as its source ended, however it is cut and however often it comes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pydbsync.errors import MessagesGoneError, StopError
from pydbsync.model import Delivery
from pydbsync.source.memory import MemorySource
from tests.conftest import RunSync
from tests.corpus import STREAM
from tests.integration.carried import Carrier
from tests.integration.engine import checksums, follow_source, parked, replay
from tests.matrices import LONG
from tests.maxwell import Binlog, insert
from tests.processes import sync_config
from tests.servers import Endpoint, Vhost
from tests.state import compare

DATABASES = sorted(STREAM.state)
SOURCE = "mariadb 10.11"


def differences(target: Endpoint) -> list[str]:
    with target.connect() as connection:
        return compare(connection, STREAM.state, data_only=target.brand != STREAM.brand)


@LONG  # that all cases twice change nothing is in test_corpus.py
def test_the_recorded_stream_twice_in_a_row_leaves_the_target_unchanged_the_second_time(
    fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync, tmp_path: Path
) -> None:
    config = sync_config(fresh_target, vhost, source_server=SOURCE)
    figures = []
    vhost.declare("sync")
    seen: list[dict[str, int]] = []
    for _ in range(2):
        vhost.publish(STREAM.messages)
        finished = run_sync(config, "--until-drained", "--summary-json", str(tmp_path / "figures.json"))
        assert finished.exit_code == 0, finished
        assert vhost.depth("sync") == 0
        figures.append(json.loads((tmp_path / "figures.json").read_text()))
        seen.append(checksums(fresh_target, DATABASES))
    assert differences(fresh_target) == []
    assert seen[0] == seen[1]
    rows = sum(b'"sql"' not in message for message in STREAM.messages)
    assert [(each["applied"], each["parked"]) for each in figures] == [(rows, 0), (0, 0)]
    assert figures[1]["duplicates"] == len(STREAM.messages)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"batch_rows": 100, "transaction_rows": 25}, marks=LONG),
        {"batch_bytes": 20_000, "apply_mode": "upsert"},
        pytest.param({"apply_mode": "plain"}, marks=LONG),
    ],
    ids=str,
)
def test_the_recorded_stream_ends_the_same_however_it_is_written(
    fresh_target: Endpoint, options: dict[str, Any]
) -> None:
    status = replay(fresh_target, STREAM.messages, source_server=SOURCE, **options)
    assert differences(fresh_target) == []
    assert status.parked == 0
    assert parked(fresh_target) == []


def test_a_worker_that_is_replaced_again_and_again_applies_every_change_once(fresh_target: Endpoint) -> None:
    """Each worker takes over from the checkpoint; what was applied but not acknowledged comes again."""
    messages, choose = STREAM.messages, random.Random(7)
    done = 0
    while done < len(messages):
        upto = min(done + choose.randint(1, 4000), len(messages))
        status = follow_source(fresh_target, MemorySource(messages[done:upto], stream="s"), source_server=SOURCE)
        assert status.parked == 0
        done = upto if upto == len(messages) else max(done, upto - choose.randint(0, 500))
    assert differences(fresh_target) == []


class MadeAnew(MemorySource):
    """A queue that was deleted while nobody read it."""

    is_new = True


def test_a_queue_that_was_not_there_any_more_is_a_hole_in_its_stream(
    fresh_target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    binlog = Binlog()
    rows = [binlog.transaction(insert("d.t", {"id": number})) for number in range(4)]
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    said = "was not there any more and was made anew"
    assert follow_source(fresh_target, MadeAnew(rows[0], stream="s")).gaps == 0  # nobody has read the stream before
    assert said not in caplog.text
    assert follow_source(fresh_target, MadeAnew(rows[2], stream="s")).gaps == 1
    assert caplog.text.count(said) == 1
    with pytest.raises(StopError, match=said):
        follow_source(fresh_target, MadeAnew(rows[3], stream="s"), on_gap="stop")
    assert fresh_target.query("SELECT id FROM d.t") == [(0,), (2,)]


class Purged(MemorySource):
    """A queue from which others take messages behind its second one."""

    is_purged = False

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        if self._taken == 2 and not self.is_purged:
            self.is_purged = True
            raise MessagesGoneError("at least 7 messages have gone")
        return super().take(timeout_s=timeout_s)


def test_messages_that_have_gone_from_the_queue_are_a_hole_in_its_stream(
    fresh_target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    binlog = Binlog()
    rows = [binlog.transaction(insert("d.t", {"id": number}))[0] for number in range(4)]
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    said = "a hole in the stream: at least 7 messages have gone"
    with pytest.raises(StopError, match=said):
        follow_source(fresh_target, Purged(rows, stream="s", block=2), on_gap="stop")
    assert follow_source(fresh_target, Purged(rows, stream="s", block=2)).gaps == 1
    assert caplog.text.count(said) == 2
    assert fresh_target.query("SELECT id FROM d.t") == [(0,), (1,), (2,), (3,)]


def test_a_source_that_is_reset_and_written_within_one_second_loses_and_doubles_nothing(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    at = f"SET timestamp = {int(time.time()) + 3600}"
    carrier = Carrier(fresh_source, fresh_target, tmp_path)
    carrier.run("CREATE DATABASE r", "CREATE TABLE r.t (n INT)", at, *(f"INSERT INTO r.t VALUES ({n})" for n in (1, 2)))
    carrier.replay()
    reset = "RESET BINARY LOGS AND GTIDS" if fresh_source.brand == "mysql" else "RESET MASTER"
    (tmp_path / "reset").mkdir()
    fresh_source.query("FLUSH BINARY LOGS")
    fresh_source.query(reset)
    again = Carrier(fresh_source, fresh_target, tmp_path / "reset")
    again.run(at, *(f"INSERT INTO r.t VALUES ({n})" for n in (3, 4)))
    for _ in range(2):
        again.replay()
        assert fresh_target.query("SELECT n FROM r.t ORDER BY n") == [(1,), (2,), (3,), (4,)]
