"""Rows in Redis: equal to the source's whatever comes again, is lost, or is done by two workers at once."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

import lab
from pydbsync.cli import main
from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import CheckpointConflict, ConfigError, TransientError
from pydbsync.model import Delivery, RowChange, TableName
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.sinks.desk import SinkDesk
from pydbsync.ops.sinks.tool import SinkTool
from pydbsync.places import Checkpoint
from pydbsync.sinks.redis import scripts
from pydbsync.sinks.redis.client import ScriptCall
from pydbsync.sinks.writer import SinkRow, place_of
from pydbsync.source.memory import MemorySource
from pydbsync.work import StreamState
from tests.certificates import Certificates
from tests.comparing import run_sql
from tests.integration.captured import Capture
from tests.integration.redis_sink import connect, parts_of, rows_in, settings_for
from tests.integration.sink_runs import LOG, Running, run
from tests.matrices import LONG
from tests.maxwell import Binlog, Step, delete, insert, update
from tests.processes import wait_for, write_config
from tests.servers import Endpoint

TABLES = {"d.t": {"key": "t:{id}"}}


@pytest.fixture(scope="session")
def redis_server() -> lab.Redis:
    return lab.start_redis(options={"appendfsync": "always"})  # so that nothing is waited for


@pytest.fixture
def server(redis_server: lab.Redis) -> lab.Redis:
    """A Redis without any key."""
    redis_server.start()
    client = connect(redis_server)
    client.config_set("maxmemory", "0")
    client.flushall()
    client.script_flush()
    return redis_server


@pytest.fixture
def table(fresh_source: Endpoint) -> Endpoint:
    """A source with the table d.t."""
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    return fresh_source


def row(number: int, value: int) -> dict[str, int]:
    return {"id": number, "v": value}


# -- what a row becomes ------------------------------------------------------------------------------------------------

VALUES: list[tuple[str, Any, str | None, Any]] = [
    ("DECIMAL(65,30)", 1.5, "1.500000000000000000000000000000", "1.500000000000000000000000000000"),
    ("BIGINT UNSIGNED", 18446744073709551615, "18446744073709551615", 18446744073709551615),
    ("FLOAT", 1.10000002, "1.1", 1.1),
    ("DOUBLE", 0.1, "0.1", 0.1),
    ("VARCHAR(9)", "é\\n", "é\\n", "é\\n"),
    ("VARBINARY(9)", "AP8=", "AP8=", "AP8="),
    ("BINARY(3)", "YQ==", "YQAA", "YQAA"),
    ("DATE", "2020-02-29", "2020-02-29", "2020-02-29"),
    ("DATETIME(3)", "2020-02-29 01:02:03.1", "2020-02-29 01:02:03.100", "2020-02-29 01:02:03.100"),
    ("TIME", "-838:59:59", "-838:59:59", "-838:59:59"),
    ("YEAR", 1999, "1999", 1999),
    ("BIT(3)", 5, "5", 5),
    ("ENUM('a','b')", "b", "b", "b"),
    ("SET('a','b')", ["a", "b"], "a,b", "a,b"),
    ("JSON", {"b": [1, None], "a": "x"}, '{"a":"x","b":[1,null]}', {"a": "x", "b": [1, None]}),
    ("INT", None, None, None),
]


@pytest.mark.parametrize("null", ["absent", "empty"])
def test_values_are_exact_by_type(server: lab.Redis, fresh_source: Endpoint, null: str) -> None:
    fresh_source.query("CREATE DATABASE d")
    columns = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(VALUES))
    for name in "hj":
        fresh_source.query(f"CREATE TABLE d.{name} (id INT PRIMARY KEY, {columns})")
    tables = {"d.h": {"key": "h:{id}", "null": null}, "d.j": {"key": "j:{id}", "as": "json"}}
    data = {"id": 1, **{f"c{number}": value for number, (_, value, *_) in enumerate(VALUES)}}
    run(settings_for(server, fresh_source, tables), Binlog().transaction(insert("d.h", data), insert("d.j", data)))
    found = rows_in(connect(server))
    texts = {f"c{number}": text for number, (*_, text, _) in enumerate(VALUES)}
    wanted = {name: "" if text is None else text for name, text in texts.items() if text is not None or null == "empty"}
    assert found["h:1"] == {"id": "1", **wanted}
    document = {"id": 1, **{f"c{number}": value for number, (*_, value) in enumerate(VALUES)}}
    assert json.loads(found["j:1"]) == document


FORMS: list[tuple[str, dict[str, Any], Any]] = [
    ("a part of the columns", {"columns": ["v"]}, {"v": "5"}),
    ("a computed field", {"columns": ["v"], "fields": {"w": "concat(v * 2, ':', hex)"}}, {"v": "5", "w": "10:YQ=="}),
    ("hexadecimal", {"columns": ["hex"], "binary": "hex"}, {"hex": "61"}),
    ("bytes as they are", {"columns": ["hex"], "binary": "raw"}, {"hex": "a"}),
    ("a text", {"as": "string", "value": "concat(id, '-', v)"}, "1-5"),
    ("a document", {"as": "json", "columns": ["v"], "fields": {"w": "v / 4"}}, '{"v":5,"w":"1.25"}'),
]


@pytest.mark.parametrize(("options", "wanted"), [each[1:] for each in FORMS], ids=[each[0] for each in FORMS])
def test_a_row_has_the_form_of_its_table(
    server: lab.Redis, fresh_source: Endpoint, options: dict[str, Any], wanted: Any
) -> None:
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT, hex VARBINARY(9))")
    settings = settings_for(server, fresh_source, {"d.t": {"key": "t:{id}", **options}})
    run(settings, Binlog().transaction(insert("d.t", {"id": 1, "v": 5, "hex": "YQ=="})))
    assert rows_in(connect(server)) == {"t:1": wanted}


def test_a_changed_key_takes_the_old_one_away_and_a_deletion_the_key(server: lab.Redis, table: Endpoint) -> None:
    binlog = Binlog()
    settings = settings_for(server, table, TABLES)
    first = binlog.transaction(insert("d.t", row(1, 1)), insert("d.t", row(11, 2)))
    second = binlog.transaction(update("d.t", row(2, 1), {"id": 1}), delete("d.t", row(11, 2)))
    run(settings, first)
    assert rows_in(connect(server)) == {"t:1": {"id": "1", "v": "1"}, "t:11": {"id": "11", "v": "2"}}
    run(settings, first + second)
    assert rows_in(connect(server)) == {"t:2": {"id": "2", "v": "1"}}
    moved = [update("d.t", row(3, 1), {"id": 2}), update("d.t", row(4, 1), {"id": 3}), insert("d.t", row(2, 9))]
    run(settings, binlog.transaction(*moved))  # in one batch
    assert rows_in(connect(server)) == {"t:4": {"id": "4", "v": "1"}, "t:2": {"id": "2", "v": "9"}}


def test_keys_live_as_long_as_they_are_told(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, {"d.t": {"key": "t:{id}", "ttl_s": 1000}}, tombstone_s=500)
    binlog = Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1)), insert("d.t", row(2, 1)), delete("d.t", row(2, 1))))
    client = connect(server)
    assert 900 < client.ttl("t:1") <= 1000
    assert 1400 < client.ttl("pydbsync:{t:1}:place") <= 1500  # the mark outlives the key
    assert 400 < client.ttl("pydbsync:{t:2}:place") <= 1500


def test_invalidation_only_deletes_and_never_writes(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, {"d.t": {"key": "t:{id}", "as": "invalidate"}})
    client = connect(server)
    for number in range(1, 6):
        client.set(f"t:{number}", "cached")
    binlog = Binlog()
    steps = [insert("d.t", row(1, 1)), update("d.t", row(2, 2), {"v": 1}), update("d.t", row(3, 1), {"id": 4})]
    run(settings, binlog.transaction(*steps))
    assert rows_in(client) == {"t:5": "cached"}
    client.set("t:1", "cached again")
    run(settings, binlog.transaction(delete("d.t", row(1, 1))))
    assert rows_in(client) == {"t:5": "cached"}


def test_a_stream_has_each_change_once_whatever_comes_again(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, {"d.t": {"key": "t:{id}", "changes": "changes"}})
    binlog = Binlog()
    steps = [insert("d.t", row(1, 1)), update("d.t", row(1, 2), {"v": 1}), delete("d.t", row(1, 2))]
    bodies = binlog.transaction(*steps)
    run(settings, bodies)
    client = connect(server)
    state = client.dump("pydbsync:{memory}:state")
    more = binlog.transaction(insert("d.t", row(2, 1)))
    run(settings, bodies + more)
    client.restore("pydbsync:{memory}:state", 0, state, replace=True)  # the checkpoint goes back
    run(settings, bodies + more)
    entries = rows_in(client)["changes"]
    assert [(entry["type"], entry["key"]) for entry in entries] == [
        ("insert", "t:1"), ("update", "t:1"), ("delete", "t:1"), ("insert", "t:2"),
    ]  # fmt: skip
    assert json.loads(entries[1]["old"]) == {"v": 1}


def test_rows_of_a_bootstrap_fill_what_is_missing_and_nothing_else(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, TABLES)
    binlog = Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 5)), insert("d.t", row(2, 5)), insert("d.t", row(4, 5))))
    run(settings, binlog.transaction(delete("d.t", row(2, 5))))
    client = connect(server)
    client.delete("t:4")  # lost
    run(settings, binlog.bootstrap("d.t", [row(number, 1) for number in (1, 2, 3, 4)]))
    assert {key: value["v"] for key, value in rows_in(client).items()} == {"t:1": "5", "t:3": "1", "t:4": "1"}
    run(settings, binlog.transaction(update("d.t", row(3, 6), {"v": 1})))
    assert rows_in(client)["t:3"]["v"] == "6"


def test_what_cannot_be_written_is_parked_with_its_reason(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, {"d.t": {"key": "t:{id}", "fields": {"w": "1 / v"}}})
    binlog = Binlog()
    bodies = binlog.transaction(insert("d.t", row(1, 0)), insert("d.t", row(2, 4)), insert("d.t", {"v": 1}))
    status = run(settings, bodies)
    assert status.parked == 2
    parts = parts_of(settings)
    reasons = [kept.change.reason for kept in parts.keep.parked()]
    assert any("has no value for this row" in reason for reason in reasons)
    assert any("no column 'id', which the key" in reason for reason in reasons)
    assert set(rows_in(connect(server))) == {"t:2"}
    assert run(settings, binlog.transaction(update("d.t", row(1, 3), {"v": 0}))).parked == 1  # behind the first
    for kept in parts.keep.parked():
        parts.keep.amend(msgspec.structs.replace(kept, status="skipped"))
    run(settings, binlog.transaction(update("d.t", row(1, 2), {"v": 3})))
    assert rows_in(connect(server))["t:1"]["w"] == "0.5"


def test_what_a_message_of_debezium_does_not_tell_is_known_from_the_source(
    server: lab.Redis, fresh_source: Endpoint
) -> None:
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, u BIGINT UNSIGNED, b VARBINARY(9), c VARCHAR(9))")
    settings = settings_for(
        server, fresh_source, {"d.t": {"key": "t:{id}", "binary": "hex"}},
        run_input_format="debezium", run_debezium_modes={"binary.handling.mode": "hex"},
    )  # fmt: skip
    place = {"db": "d", "table": "t", "ts_ms": 5500, "file": "binlog.000002", "row": 0, "server_id": 7}
    types = {"id": "int32", "u": "int64", "b": "string", "c": "string"}
    fields = [{"field": name, "type": kind} for name, kind in types.items()]
    schema = {"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": fields}]}
    bodies = []
    for number, schemas in ((1, {"schema": schema}), (2, {})):
        after = {"id": number, "u": -1, "b": "00ff", "c": "00ff"}
        payload = {"op": "c", "before": None, "after": after, "source": {**place, "pos": 400 + number}}
        bodies.append(json.dumps({**schemas, "payload": payload}).encode())
    assert run(settings, bodies).parked == 0
    exact = {"u": str(2**64 - 1), "b": "00ff", "c": "00ff"}
    assert rows_in(connect(server)) == {f"t:{number}": {"id": str(number), **exact} for number in (1, 2)}


def test_a_change_that_its_stream_refused_is_added_when_it_is_tried_again(server: lab.Redis, table: Endpoint) -> None:
    queues = {f"run_{name}": value for name, value in RABBITMQ.items()}
    settings = settings_for(server, table, {"d.t": {"key": "t:{id}", "changes": "changes"}}, **queues)
    binlog, client = Binlog(), connect(server)
    client.set("changes", "of somebody else")
    assert run(settings, binlog.transaction(insert("d.t", row(1, 1))), stream="cache").parked == 1
    client.delete("changes")
    run(settings, binlog.transaction(insert("d.t", row(2, 2))), stream="cache")
    (outcome,) = SinkDesk(settings, LOG).retry(Selection())
    assert outcome.applied, outcome
    assert [entry["key"] for entry in rows_in(client)["changes"]] == ["t:2", "t:1"], "late, and not lost"


# -- older never over newer --------------------------------------------------------------------------------------------


def history(chance: random.Random, *, keys: int = 4, steps: int = 60) -> list[SinkRow]:
    """Changes of a few rows, keys and deletions among them; `v` only grows."""
    binlog, rows, found = Binlog(), {}, []
    for value in range(1, steps + 1):
        number, other = chance.randrange(keys), chance.randrange(keys)
        if number not in rows:
            step = insert("d.t", row(number, value))
            rows[number] = value
        elif chance.random() < 0.2:
            step = delete("d.t", row(number, rows.pop(number)))
        elif chance.random() < 0.3 and other not in rows:
            step = update("d.t", row(other, value), {"id": number, "v": rows.pop(number)})
            rows[other] = value
        else:
            step = update("d.t", row(number, value), {"v": rows[number]})
            rows[number] = value
        found.append(placed(*binlog.transaction(step)))
    return found


def placed(body: bytes) -> SinkRow:
    """The row of a message, as the engine gives it to a sink."""
    change = decode_message(body)
    assert isinstance(change, RowChange)
    return SinkRow(TableName(change.database, change.table), change, place_of(change, 0))


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_any_deliveries_ends_the_same_and_never_goes_back(
    server: lab.Redis, table: Endpoint, seed: int
) -> None:
    chance = random.Random(seed)
    settings = settings_for(server, table, TABLES)
    parts, client = parts_of(settings), connect(server)
    changes = history(chance)
    parts.writer.write(changes)
    wanted = rows_in(client)
    client.flushdb()
    deliveries = changes + chance.choices(changes, k=60)
    chance.shuffle(deliveries)
    newest: dict[str, int] = {}
    for start in range(0, len(deliveries), 3):
        parts.writer.write(sorted(deliveries[start : start + 3], key=lambda each: each.place))
        for key, value in rows_in(client).items():
            assert newest.get(key, 0) <= int(value["v"])
            newest[key] = int(value["v"])
    assert rows_in(client) == wanted


def test_a_worker_that_was_replaced_changes_nothing_any_more(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, TABLES)
    changes = history(random.Random(1))
    one, other = parts_of(settings), parts_of(settings)
    assert one.keep.lock()
    state = one.keep.take_over()
    assert not other.keep.lock()
    connect(server).delete("pydbsync:{memory}:lock")  # it stood still for longer than its lock lives
    assert other.keep.lock()
    other.keep.take_over()
    other.writer.write(changes)
    other.keep.commit(StreamState(Checkpoint(), commits=1), [])
    wanted = rows_in(connect(server))
    one.writer.write(changes[:30])
    state.commits = 1
    with pytest.raises(CheckpointConflict):
        one.keep.commit(state, [])
    assert rows_in(connect(server)) == wanted
    other.writer.close()
    one.keep.close()
    assert connect(server).get("pydbsync:{memory}:lock") is not None  # the other one's


# -- what is lost on the way -------------------------------------------------------------------------------------------


def growing(rows: int = 50, rounds: int = 60) -> tuple[list[bytes], dict[str, Any]]:
    """Messages that raise all rows again and again, with one more row each time, which nothing mends where it is lost;
    and what is there in the end."""
    binlog, bodies = Binlog(), []
    wanted = {f"t:{number}": {"id": str(number), "v": str(rounds - 1)} for number in range(rows)}
    for number in range(rows):
        bodies += binlog.transaction(insert("d.t", row(number, 0)))
    for value in range(1, rounds):
        steps = [update("d.t", row(number, value), {"v": value - 1}) for number in range(rows)]
        bodies += binlog.transaction(insert("d.t", row(1000 + value, value)), *steps)
        wanted[f"t:{1000 + value}"] = {"id": str(1000 + value), "v": str(value)}
    return bodies, wanted


@pytest.mark.parametrize("policy", ["everysec", "always"])
def test_a_message_is_acknowledged_only_when_redis_cannot_lose_it(
    server: lab.Redis, table: Endpoint, policy: str
) -> None:
    """Redis loses what it had not synced, as by a loss of power: here the file is cut to what it was 1.4 s before."""
    server_of_its_own = lab.start_redis("redis-cut", options={"appendfsync": policy})
    client = connect(server_of_its_own)
    client.flushall()
    bodies, wanted = growing()
    source = MemorySource(bodies, block=50)
    settings = settings_for(server_of_its_own, table, TABLES, run_batch_rows=50)
    running = Running(settings, source)
    sizes: list[tuple[float, int]] = []
    file = next((server_of_its_own.folder / "appendonlydir").glob("*.incr.aof"))

    def has_acknowledged() -> bool:
        sizes.append((time.monotonic(), file.stat().st_size))
        return source.acknowledged > 200

    wait_for(has_acknowledged, what="the first acknowledgements")
    acknowledged = source.acknowledged
    server_of_its_own.kill()
    if policy == "everysec":
        end = time.monotonic()
        size = max((size for at, size in sizes if at < end - 1.4), default=0)
        data = file.read_bytes()
        file.write_bytes(data[:size])
    server_of_its_own.start()
    running.join()
    assert acknowledged
    assert rows_in(connect(server_of_its_own)) == wanted
    server_of_its_own.stop()


def test_a_redis_that_comes_and_goes_ends_equal_and_never_shows_older(server: lab.Redis, table: Endpoint) -> None:
    bodies, wanted = growing(rounds=200)
    source = MemorySource(bodies, block=100)
    running = Running(settings_for(server, table, TABLES, run_batch_rows=100), source)
    newest: dict[str, int] = {}
    for _ in range(4):
        goal = max(newest.values(), default=0) + 10

        def grows(goal: int = goal) -> bool:
            found = rows_in(connect(server))
            for key, value in found.items():
                assert newest.get(key, 0) <= int(value["v"]), "older over newer"
                newest[key] = int(value["v"])
            return not source.depth() or max(newest.values(), default=-1) >= goal

        wait_for(grows, what="rows that grow")
        server.kill()
        server.start()
    running.join()
    assert rows_in(connect(server)) == wanted


def test_a_redis_without_memory_is_waited_for(
    server: lab.Redis, table: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(server)
    client.config_set("maxmemory", "1")
    bodies, wanted = growing(rounds=3)
    running = Running(settings_for(server, table, TABLES), MemorySource(bodies))
    wait_for(lambda: "maxmemory" in caplog.text, what="a refusal")
    assert rows_in(client) == {}
    client.config_set("maxmemory", "0")
    running.join()
    assert rows_in(client) == wanted


class GatedSource(MemorySource):
    """Hands out the second part once it is told to."""

    def __init__(self, before: list[bytes], behind: list[bytes]) -> None:
        super().__init__([*before, *behind], block=len(before))
        self._first = len(before)
        self._gate = threading.Event()

    def open_gate(self) -> None:
        self._gate.set()

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        if self._taken >= self._first and not self._gate.wait(min(timeout_s, 0.02)):
            return []
        return super().take(timeout_s=timeout_s)


@pytest.mark.parametrize("lost", ["everything", "the state of the stream", "the rows"])
def test_keys_that_somebody_removes_while_the_worker_runs(
    server: lab.Redis, table: Endpoint, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    settings, binlog, client = settings_for(server, table, TABLES), Binlog(), connect(server)
    before = binlog.transaction(insert("d.t", row(1, 1)), insert("d.t", row(2, 1)))
    behind = binlog.transaction(update("d.t", row(1, 2), {"v": 1}), delete("d.t", row(2, 1)), insert("d.t", row(3, 3)))
    source = GatedSource(before, behind)
    running = Running(settings, source)
    wait_for(lambda: source.acknowledged == len(before), what="the first acknowledgements")
    found = set(client.scan_iter())
    own = {key for key in found if key.startswith(b"pydbsync:{memory}")}
    gone = {"everything": found, "the state of the stream": own, "the rows": found - own}
    client.delete(*gone[lost])
    source.open_gate()
    running.join()
    assert rows_in(client) == {"t:1": {"id": "1", "v": "2"}, "t:3": {"id": "3", "v": "3"}}
    assert ("the target has gone back" in caplog.text) == (lost != "the rows")


def test_policies_of_the_server_that_change_while_the_worker_runs_are_noticed(
    server: lab.Redis, table: Endpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydbsync.sinks.redis.durability._ASK_S", 0.0)
    parts, client = parts_of(settings_for(server, table, TABLES)), connect(server)
    try:
        assert parts.durability.mark() is None
        client.config_set("appendfsync", "everysec")
        assert parts.durability.mark() is not None
        assert caplog.text == ""
        client.config_set("appendonly", "no")
        assert parts.durability.mark() is None
        assert "`pydbsync repair` mends it" in caplog.text
        with pytest.raises(ConfigError, match=r"sink.durability: Redis keeps no append-only file"):
            parts_of(settings_for(server, table, TABLES, durability="aof"))
    finally:
        client.config_set("appendfsync", "always")
        client.config_set("appendonly", "yes")
    parts.durability.mark()
    assert "acknowledged again only when Redis has them on its disk" in caplog.text


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("allkeys-lru", "the checkpoint and what is parked; nothing is promised"),
        ("volatile-ttl", "the place of a deleted"),
    ],
)
def test_keys_that_redis_may_remove_are_told_of_by_the_worker_and_by_doctor(
    server: lab.Redis, table: Endpoint, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], policy: str, said: str,
) -> None:  # fmt: skip
    client = connect(server)
    config = write_config(
        {"sink": {"type": "redis", "port": server.port, "tables": TABLES}, "source_db_info": table.db_info, **RABBITMQ},
        tmp_path / "config.py",
    )

    def doctor() -> str:
        with pytest.raises(SystemExit):
            main(["doctor", "--skip", "broker", "--skip", "stream", "--config", str(config)])
        return capsys.readouterr().out

    try:
        client.config_set("maxmemory-policy", policy)
        durability = parts_of(settings_for(server, table, TABLES)).durability
        assert caplog.text == "", "there is no limit"
        client.config_set("maxmemory", str(2**30))
        durability.start()
        assert said in caplog.text
        assert said in doctor()
        client.config_set("maxmemory-policy", "noeviction")
        durability.start()
        assert "removes no keys of pydbsync any more" in caplog.text
        assert said not in doctor()
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")


def test_what_refuses_for_ever_is_no_redis_that_is_away(server: lab.Redis, table: Endpoint) -> None:
    for options, sentence in (
        ({"cluster": True}, "sink.cluster: Redis is no cluster"),
        ({"db": 99}, "sink.db: Redis has no database of this number"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            run(settings_for(server, table, TABLES, **options), [])
    nobody = settings_for(server, table, TABLES, port=1)
    for settings in (nobody, settings_for(server, table, TABLES, port=1, cluster=True)):
        with pytest.raises(TransientError):
            parts_of(settings)


def test_without_an_append_only_file_the_loss_is_told(
    server: lab.Redis, table: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(server)
    client.config_set("appendonly", "no")
    try:
        with pytest.raises(ConfigError, match=r"sink.durability: Redis keeps no append-only file"):
            run(settings_for(server, table, TABLES, durability="aof"), [])
        run(settings_for(server, table, TABLES), Binlog().transaction(insert("d.t", row(1, 1))))
        assert "`pydbsync repair` mends it" in caplog.text
    finally:
        client.config_set("appendonly", "yes")


# -- schema changes ----------------------------------------------------------------------------------------------------

STATEMENTS = [
    ("TRUNCATE TABLE t", "table-alter", {"u:1"}),
    ("DROP TABLE t", "table-drop", {"u:1"}),
    ("RENAME TABLE t TO gone", "table-alter", {"u:1"}),
    ("RENAME TABLE t TO old, u TO t", "table-alter", {"t:1", "t:2"}),
    ("ALTER TABLE t ADD c INT", "table-alter", {"t:1", "t:2", "u:1"}),
    ("CREATE INDEX i ON t (v)", "table-alter", {"t:1", "t:2", "u:1"}),
    ("DROP DATABASE d", "database-drop", set()),
]


@pytest.mark.parametrize(("statement", "kind", "left"), STATEMENTS, ids=[each[0] for each in STATEMENTS])
def test_a_schema_change_has_a_defined_outcome(
    server: lab.Redis, table: Endpoint, statement: str, kind: str, left: set[str]
) -> None:
    table.query("CREATE TABLE d.u LIKE d.t")
    settings = settings_for(server, table, {"d.t": {"key": "t:{id}"}, "d.u": {"key": "u:{id}"}})
    binlog, client = Binlog(), connect(server)
    client.set("t:foreign", "not ours")
    rows = binlog.transaction(insert("d.t", row(1, 1)), insert("d.t", row(2, 1)), insert("d.u", row(1, 1)))
    names = ["d"] if "DATABASE" in statement else ["d.t"]
    bodies = rows + binlog.ddl(statement, *names, kind=kind, columns=("id", "v"))
    run(settings, bodies)
    client.delete("pydbsync:{memory}:lock")
    run(settings, bodies)
    assert set(rows_in(client)) == left | {"t:foreign"}
    parts = parts_of(settings)  # what comes again late does not bring it back
    late = [decode_message(body) for body in rows]
    parts.writer.write([SinkRow(TableName("d", c.table), c, place_of(c, 0)) for c in late if isinstance(c, RowChange)])
    assert set(rows_in(client)) == left | {"t:foreign"}
    if "DATABASE" not in statement:
        run(settings, binlog.transaction(insert("d.t", row(1, 3))))
        assert rows_in(client)["t:1"]["v"] == "3"


# -- other ways to reach it --------------------------------------------------------------------------------------------

RIGHTS = (
    "~t:* ~pydbsync:* ~changes +@connection +evalsha +script|load +info +get +set +del +hset +hget +hmget +hgetall"
    " +hincrby +exists +pexpire +xadd +scan +config|get"
)


def test_tls_and_a_user_with_the_least_rights(table: Endpoint, certificates: Certificates) -> None:
    server = lab.start_redis(
        "redis-tls", tls=lab.Tls(certificates.ca, certificates.server.certificate, certificates.server.key)
    )
    client: Any = redis.Redis(port=server.port, ssl=True, ssl_ca_certs=str(certificates.ca))
    client.flushall()
    client.execute_command("ACL", "SETUSER", "sync", "reset", "on", ">secret", *RIGHTS.split())
    access = {"user": "sync", "password": "secret", "tls": {"ca": str(certificates.ca)}}
    tables = {"d.t": {"key": "t:{id}", "changes": "changes", "ttl_s": 60}}
    settings = settings_for(server, table, tables, **access)
    binlog = Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1)), update("d.t", row(2, 1), {"id": 1})))
    run(settings, binlog.ddl("TRUNCATE TABLE t", "d.t", kind="table-alter"))
    assert set(rows_in(client)) == {"changes"}
    client.execute_command("ACL", "SETUSER", "sync", "-config|get")
    run(settings, binlog.transaction(insert("d.t", row(3, 1))))
    assert "t:3" in rows_in(client)
    wrong = settings_for(server, table, tables, **{**access, "password": "wrong"})
    with pytest.raises(ConfigError, match="refuses the user") as caught:
        run(wrong, [])
    assert "wrong" not in str(caught.value)
    for denied, granted in (("-pexpire", "+pexpire"), ("resetkeys ~pydbsync:*", "~t:* ~changes")):  # seen in a script
        client.execute_command("ACL", "SETUSER", "sync", *denied.split())
        with pytest.raises(ConfigError, match="refuses the user"):
            run(settings, binlog.transaction(insert("d.t", row(4, 1))))
        client.execute_command("ACL", "SETUSER", "sync", *granted.split())
    client.execute_command("ACL", "SETUSER", "sync", "-evalsha")
    with pytest.raises(ConfigError, match="refuses the user"):
        run(settings, binlog.transaction(insert("d.t", row(4, 1))))
    server.stop()


def is_whole(client: Any) -> bool:
    return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[lab.Redis]]:
    options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
    for number in range(3):
        lab.Redis(f"redis-cluster-{number}").remove()
    nodes = [lab.start_redis(f"redis-cluster-{number}", options=options) for number in range(3)]
    clients = [connect(node) for node in nodes]
    for number, client in enumerate(clients):
        first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        port, bus = nodes[0].port, nodes[0].ports["bus"]
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
    wait_for(lambda: all(is_whole(client) for client in clients), what="the cluster")
    yield nodes
    for node in nodes:
        node.stop()


def test_a_cluster_keeps_rows_on_all_nodes_and_ends_equal(cluster: list[lab.Redis], table: Endpoint) -> None:
    bodies, wanted = growing(rows=30, rounds=20)
    tables = {"d.t": {"key": "t:{id}", "changes": "changes"}}
    settings = settings_for(cluster[0], table, tables, cluster=True)
    source = MemorySource(bodies, block=200)
    running = Running(settings, source)
    wait_for(lambda: source.acknowledged > 0, what="the first acknowledgement")
    cluster[1].kill()
    cluster[1].start()
    running.join()
    wait_for(lambda: all(is_whole(connect(node)) for node in cluster), what="the cluster again")
    found: dict[str, Any] = {}
    for node in cluster:
        here = rows_in(connect(node))
        assert here.keys() - {"changes"}
        found |= here
    assert len(found.pop("changes")) == len(bodies)
    assert found == wanted
    truncate = Binlog()
    truncate.offset = 10**6
    run(settings, truncate.ddl("TRUNCATE TABLE t", "d.t", kind="table-alter"))
    assert [key for node in cluster for key in rows_in(connect(node)) if key.startswith("t:")] == []


def test_a_node_of_a_cluster_is_not_taken_for_all_of_it(cluster: list[lab.Redis], table: Endpoint) -> None:
    with pytest.raises(ConfigError, match=r"sink\.cluster: Redis .* is a cluster: set this to true"):
        run(settings_for(cluster[0], table, TABLES), [])


def test_a_row_whose_hash_tag_is_empty_is_written_where_its_mark_is(cluster: list[lab.Redis], table: Endpoint) -> None:
    table.query("CREATE TABLE d.s (a VARCHAR(9), b INT, PRIMARY KEY (a, b))")
    settings = settings_for(cluster[0], table, {"d.s": {"key": "{{{a}}}:{b}"}}, cluster=True)
    binlog = Binlog()
    binlog.offset = 2 * 10**6
    assert run(settings, binlog.transaction(insert("d.s", {"a": "", "b": 1}))).parked == 0
    assert any("{%E}:1" in rows_in(connect(node)) for node in cluster)
    run(settings, binlog.ddl("TRUNCATE TABLE s", "d.s", kind="table-alter"))
    assert not any("{%E}:1" in rows_in(connect(node)) for node in cluster)


@LONG  # a cluster is in test_a_cluster_keeps_rows_on_all_nodes_and_ends_equal
def test_slots_that_move_are_followed(cluster: list[lab.Redis], table: Endpoint) -> None:
    clients = [connect(node) for node in cluster]
    names = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
    for client in clients:
        client.flushall()
    tables = {"d.t": {"key": "{{{id}}}:t", "changes": "{1}:changes"}}
    settings = settings_for(cluster[0], table, tables, cluster=True)
    parts = parts_of(settings)
    slot = clients[0].execute_command("CLUSTER", "KEYSLOT", "{1}:t")
    old = next(number for number in range(3) if slot in range(16384 * number // 3, 16384 * (number + 1) // 3))
    new = (old + 1) % 3
    binlog = Binlog()

    def write(step: Step) -> None:
        assert parts.writer.write([placed(*binlog.transaction(step))]) == []

    write(insert("d.t", row(1, 1)))
    clients[new].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[old])
    clients[old].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[new])
    write(update("d.t", {"id": 1, "v": None}, {"v": 1}))
    assert rows_in(clients[old])["{1}:t"] == {"id": "1"}
    keys = clients[old].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10)
    assert len(keys) == 4, "the row, the list of changes, and a mark of each"
    clients[old].execute_command("MIGRATE", "127.0.0.1", cluster[new].port, "", 0, 5000, "KEYS", *keys)
    write(update("d.t", row(1, 3), {"v": None}))
    for client in clients[new:] + clients[:new]:
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[new])
    assert rows_in(clients[new])["{1}:t"] == {"id": "1", "v": "3"}
    write(update("d.t", row(1, 4), {"v": 3}))
    found = rows_in(clients[new])
    assert (found["{1}:t"]["v"], len(found["{1}:changes"])) == ("4", 4)


def test_a_master_is_found_by_sentinels_and_followed_to_another(table: Endpoint) -> None:
    master, replica = lab.start_redis("redis-a"), lab.start_redis("redis-b")
    for each in (master, replica):
        connect(each).replicaof("NO", "ONE")
    connect(master).flushall()
    connect(replica).replicaof("127.0.0.1", master.port)
    watch = {"sentinel monitor shop": f"127.0.0.1 {master.port} 1", "sentinel down-after-milliseconds shop": "500"}
    watch |= {"sentinel failover-timeout shop": "2000"}
    lab.Redis("redis-sentinel").remove()
    sentinel = lab.start_redis("redis-sentinel", options=watch, sentinel=True)
    wait_for(lambda: connect(master).info("replication")["connected_slaves"] == 1, what="the replica")
    asked = connect(sentinel)
    with pytest.raises(ConfigError, match=r"sink\.host: is a sentinel"):
        run(settings_for(sentinel, table, TABLES), [])
    wait_for(lambda: len(asked.sentinel_slaves("shop")) == 1, what="the sentinel to know the replica")
    bodies, wanted = growing(rounds=40)
    source = MemorySource(bodies, block=100)
    where = {"sentinel": {"service": "shop", "nodes": [f"127.0.0.1:{sentinel.port}"]}, "replicas": 1}
    running = Running(settings_for(master, table, TABLES, run_batch_rows=100, **where), source)
    wait_for(lambda: source.acknowledged > 0, what="the first acknowledgement")
    master.kill()
    wait_for(lambda: connect(replica).info("replication")["role"] == "master", what="the fail-over")
    master.start()  # comes back as a replica, without which nothing is acknowledged
    running.join()
    assert rows_in(connect(replica)) == wanted
    for each in (sentinel, master, replica):
        each.stop()


def test_scripts_that_were_flushed_are_loaded_again(server: lab.Redis, table: Endpoint) -> None:
    parts, client = parts_of(settings_for(server, table, TABLES)), connect(server)
    client.script_flush()
    with pytest.raises(TransientError, match="lost its scripts"):
        parts.client.call(ScriptCall(scripts.RELEASE, ("pydbsync:x",), ("x",)))
    parts.writer.open()
    parts.client.call(ScriptCall(scripts.RELEASE, ("pydbsync:x",), ("x",)))


def test_what_cannot_be_known_without_the_source_is_asked_for(server: lab.Redis, table: Endpoint) -> None:
    settings = settings_for(server, table, TABLES, run_source_db_info=None)
    with pytest.raises(ConfigError, match=r"^source_db_info: is missing: the types of columns"):
        run(settings, [])


# -- copy, verify, repair ----------------------------------------------------------------------------------------------


@pytest.fixture
def tool(server: lab.Redis, table: Endpoint) -> Any:
    """make(): the operator's tools on Redis, with a copy of d.t and a table of every type in it."""
    columns = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(VALUES))
    table.query(f"CREATE TABLE d.h (id INT PRIMARY KEY, g INT AS (id + 1) STORED, {columns})")
    table.query("CREATE TABLE d.j LIKE d.h")
    table.query(
        "INSERT INTO d.h VALUES (1, DEFAULT, 1.5, 18446744073709551615, 1.1, 0.1, 'é\\\\n', X'00FF', 'a', '2020-02-29',"
        " '2020-02-29 01:02:03.1', '-838:59:59', 1999, 5, 'b', 'b,a', '{\"b\": [1, null], \"a\": \"x\"}', NULL)"
    )
    table.query("INSERT INTO d.h (id) VALUES (2)")
    table.query(
        "INSERT INTO d.j (id, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15) SELECT id,"
        " c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15 FROM d.h"
    )
    table.query("INSERT INTO d.t SELECT seq, seq FROM (SELECT 1 AS seq UNION SELECT 2 UNION SELECT 3) AS s")
    tables = {"d.t": {"key": "t:{id}"}, "d.h": {"key": "h:{id}"}, "d.j": {"key": "j:{id}", "as": "json"}}
    settings = settings_for(server, table, tables)

    def make(**options: Any) -> SinkTool:
        return SinkTool(settings, wait_s=0.5, stop=threading.Event(), log=LOG, **options)

    make.settings = settings  # type: ignore[attr-defined]
    return make


def test_copy_fills_redis_and_verify_finds_it_equal(server: lab.Redis, table: Endpoint, tool: Any) -> None:
    assert [(each.table, each.rows) for each in tool().copy()] == [("d.h", 2), ("d.j", 2), ("d.t", 3)]
    found = rows_in(connect(server))
    texts = {f"c{number}": text for number, (*_, text, _) in enumerate(VALUES) if text is not None}
    found["h:1"].pop("g", None)  # not of a source that leaves it out of its updates
    assert found["h:1"] == {"id": "1", **texts}
    assert json.loads(found["j:1"])["c14"] == {"a": "x", "b": [1, None]}
    assert [each.is_equal for each in tool().verify()] == [True, True, True]


def test_generated_columns_are_in_all_rows_or_in_none(
    server: lab.Redis, fresh_source: Endpoint, tmp_path: Path
) -> None:
    """MariaDB 11.8 writes them for INSERT alone."""
    fresh_source.query("CREATE DATABASE d CHARACTER SET utf8mb4")
    fresh_source.query(
        "CREATE TABLE d.g (id INT PRIMARY KEY, n INT, s INT AS (n + 1) STORED, v INT AS (n * 2) VIRTUAL)"
    )
    settings = settings_for(server, fresh_source, {"d.g": {"key": "g:{id}"}})
    capture, client = Capture(fresh_source, tmp_path), connect(server)
    capture.read()
    run_sql(
        fresh_source, ["INSERT INTO g (id, n) VALUES (1, 1), (2, 2)", "UPDATE g SET n = 5 WHERE id = 1"], database="d"
    )
    run(settings, capture.read())
    found = rows_in(client)
    computed = {"s": "6", "v": "10"} if "s" in found["g:2"] else {}
    assert found["g:1"] == {"id": "1", "n": "5", **computed}
    tools = [SinkTool(settings, stream="memory", wait_s=0.5, stop=threading.Event(), log=LOG) for _ in range(2)]
    assert [each.is_equal for each in tools[0].verify()] == [True]
    tools[1].copy()
    assert rows_in(client) == found


ROUTE = {
    "table": "d.c",
    "columns": {
        "leave_out": ["note"], "rename": {"total": "sum"}, "add": {"site": "x", "n": 7},
        "mask": {"email": {"fake": "email"}, "id": "hash"},
    },
    "where": "status <> 'gone' AND total >= 1.5",
}  # fmt: skip


def test_rows_come_masked_and_filtered_by_their_route(
    server: lab.Redis, fresh_source: Endpoint, tmp_path: Path
) -> None:
    fresh_source.query("CREATE DATABASE d CHARACTER SET utf8mb4")
    fresh_source.query(
        "CREATE TABLE d.c (id INT PRIMARY KEY, email VARCHAR(60) UNIQUE, note TEXT, total DECIMAL(8,2),"
        " status VARCHAR(9) COLLATE utf8mb4_bin)"
    )
    options = {"run_routes": [ROUTE], "run_mask_key": {"key": "0123456789abcdef"}}
    settings = settings_for(server, fresh_source, {"d.c": {"key": "c:{id}"}}, **options)
    capture, client = Capture(fresh_source, tmp_path, exact=True), connect(server)
    capture.read()

    def tool() -> SinkTool:
        return SinkTool(settings, stream="memory", wait_s=0.5, stop=threading.Event(), log=LOG)

    def replayed(*statements: str) -> dict[str, Any]:
        run_sql(fresh_source, statements, database="d")
        run(settings, capture.read())
        return rows_in(client)

    values = ", ".join(f"({n}, 'mail{n}@real.test', 'x', {n}, 'new')" for n in range(1, 7))
    first = replayed(f"INSERT INTO c VALUES {values}", "UPDATE c SET note = 'only this'")
    assert len(first) == 5
    assert {(each["sum"], each["site"], each["n"]) for each in first.values()} == {
        (f"{n}.00", "x", "7") for n in range(2, 7)
    }
    assert not any(f"c:{n}" in first for n in range(1, 7))
    assert all(each["email"].endswith("@example.com") and "note" not in each for each in first.values())
    second = replayed(
        "UPDATE c SET status = 'gone' WHERE id = 2", "UPDATE c SET total = 9 WHERE id = 1",
        "DELETE FROM c WHERE id = 3", "UPDATE c SET id = 14 WHERE id = 4",
        "UPDATE c SET email = 'new@real.test' WHERE id = 5",
        "INSERT INTO c VALUES (20, NULL, NULL, 1, 'new')", "INSERT INTO c VALUES (21, NULL, NULL, 3, NULL)",
    )  # fmt: skip
    assert sorted(each["sum"] for each in second.values()) == ["4.00", "5.00", "6.00", "9.00"]
    assert [each.is_equal for each in tool().verify()] == [True]
    key, *others = sorted(second)
    client.delete(key)
    client.hset(others[0], "email", "wrong")
    (outcome,) = tool().verify()
    assert (outcome.missing, outcome.different, outcome.extra) == (1, 1, 0)
    assert tool().repair()[0].mended == 2
    assert rows_in(client) == second
    replayed("ALTER TABLE c RENAME COLUMN email TO mail", "UPDATE c SET mail = 'clear@real.test' WHERE id = 6")
    assert rows_in(client) == second
    waiting = [kept.change for kept in parts_of(settings).keep.parked()]
    assert [each.kind for each in waiting] == ["table-alter", "update"]
    assert "the column email becomes mail" in waiting[0].reason
    client.flushall()
    run_sql(fresh_source, ["ALTER TABLE c RENAME COLUMN mail TO email"], database="d")
    tool().copy()
    assert {name: each["sum"] for name, each in rows_in(client).items()} == {n: e["sum"] for n, e in second.items()}


def test_repair_mends_what_was_lost_and_nothing_else(server: lab.Redis, table: Endpoint, tool: Any) -> None:
    tool().copy()
    client = connect(server)
    wanted = rows_in(client)
    client.delete("t:1", "h:2")
    client.hset("t:2", "v", "wrong")
    client.hdel("h:1", "c4")
    client.set("j:1", "no document")
    table.query("DELETE FROM d.t WHERE id = 3")  # its message is lost
    client.set("t:99", "somebody else's")
    found = {each.table: (each.missing, each.different, each.extra) for each in tool().verify()}
    assert found == {"d.h": (1, 1, 0), "d.j": (0, 1, 0), "d.t": (1, 1, 1)}
    mended = tool().repair()
    assert sum(each.mended for each in mended) == 6
    assert [each.is_equal for each in tool().verify()] == [True, True, True]
    del wanted["t:3"]
    assert rows_in(client) == {**wanted, "t:99": "somebody else's"}


def test_what_the_stream_has_before_the_copy_changes_nothing_and_what_it_has_behind_goes_on(
    server: lab.Redis, table: Endpoint, tool: Any
) -> None:
    place = table.query("SHOW MASTER STATUS" if table.brand == "mariadb" else "SHOW BINARY LOG STATUS")[0]
    base, _, file = str(place[0]).partition(".")
    binlog = Binlog(base=base, server_id=int(table.query("SELECT @@server_id")[0][0]), ts=int(time.time()))
    binlog.file, binlog.offset = int(file), int(place[1]) - 500
    before = binlog.transaction(insert("d.t", row(1, -1)), delete("d.t", row(2, -1)))
    binlog.offset = int(place[1]) - 100
    behind = binlog.transaction(update("d.t", row(1, 7), {"v": 1}))
    tool(stream="memory").copy()
    assert run(tool.settings, before + behind).applied == 1
    found = rows_in(connect(server))
    assert (found["t:1"]["v"], found["t:2"]["v"]) == ("7", "2")
    connect(server).delete("pydbsync:{memory}:state")  # even where the checkpoint is lost, the keys know
    parts = parts_of(tool.settings)
    changes = [decode_message(body) for body in before]
    parts.writer.write([SinkRow(TableName("d", "t"), c, place_of(c, 0)) for c in changes if isinstance(c, RowChange)])
    assert rows_in(connect(server)) == found


def test_a_repair_while_changes_flow_never_goes_back(server: lab.Redis, table: Endpoint, tool: Any) -> None:
    """The row in the source is older than what was replayed meanwhile: the place of the repair tells."""
    tool(stream="memory").copy()
    client = connect(server)
    state = client.hget("pydbsync:{memory}:state", "state")
    checkpoint = json.loads(state)["checkpoint"]
    binlog = Binlog(base=checkpoint["base"], server_id=checkpoint["server_id"], ts=int(time.time()))
    binlog.file, binlog.offset = checkpoint["place"][0], checkpoint["place"][1] + 10**6
    run(tool.settings, binlog.transaction(update("d.t", row(1, 9), {"v": 1})))
    (outcome,) = tool(stream="memory", tables=["d.t"]).repair()
    assert (outcome.different, outcome.mended) == (1, 0)
    assert rows_in(client)["t:1"]["v"] == "9"


def test_the_commands_know_the_sink(
    server: lab.Redis, table: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.query("INSERT INTO d.t VALUES (1, 1)")
    sink = {"type": "redis", "port": server.port, "tables": {"d.t": {"key": "t:{id}"}}}
    config = write_config(
        {"sink": sink, "source_db_info": table.db_info, "log_file_prefix": "", **RABBITMQ}, tmp_path / "config.py"
    )

    def command(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--config", str(config)])
        return int(ended.value.code or 0)

    assert command("copy") == 0
    assert command("verify") == 0
    assert "d.t: 1 rows, equal" in capsys.readouterr().out
    connect(server).delete("t:1")
    assert command("verify", "--wait-s", "0") in (1, 2)
    assert "missing: t:1" in capsys.readouterr().out
    assert command("repair", "--wait-s", "0") == 0
    assert "1 missing, 0 different, 0 extra; 1 mended" in capsys.readouterr().out
    assert command("verify", "--wait-s", "0") == 0
    assert command("copy", "--restart") == 2
    assert "--restart means nothing where the target is a sink" in capsys.readouterr().err


RABBITMQ = {
    "rabbitmq_conn_info": {"host": "127.0.0.1"},
    "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"cache": ["d.*"]}}],
}
