"""Rows in OpenSearch: equal to the source's whatever comes again, is lost, or is done by two workers at once."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pydbsync.cli import main
from pydbsync.config.file import load_settings
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import CheckpointConflict, ConfigError, OperationError, TransientError
from pydbsync.model import RowChange, TableName
from pydbsync.ops.sinks.tool import SinkTool
from pydbsync.places import Checkpoint
from pydbsync.sinks.search.keep import SearchKeep
from pydbsync.sinks.writer import SinkRow, place_of
from pydbsync.source.memory import MemorySource
from pydbsync.work import ParkedChange, StreamState
from tests.certificates import Certificates
from tests.conftest import RunSync
from tests.integration.search_sink import NEEDED, STATE, URL, Answer, Between, Cluster, parts_of, settings_for
from tests.integration.sink_page import OPTIONS, operate
from tests.integration.sink_runs import LOG, Running, run
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import wait_for, write_config
from tests.servers import Endpoint

pytestmark = pytest.mark.skipif(not URL, reason=NEEDED)
TABLES = {"d.t": {"id": "{id}", "index": "t"}}


@pytest.fixture
def cluster() -> Cluster:
    """An OpenSearch without any index."""
    found = Cluster(URL)
    found.clear()
    return found


@pytest.fixture
def between(cluster: Cluster) -> Iterator[Between]:
    proxy = Between(cluster)
    yield proxy
    proxy.close()


@pytest.fixture
def table(fresh_source: Endpoint) -> Endpoint:
    """A source with the table d.t."""
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    return fresh_source


def row(number: int, value: int) -> dict[str, int]:
    return {"id": number, "v": value}


# -- what a row becomes ------------------------------------------------------------------------------------------------

LONG = "x" * 40_000
VALUES: list[tuple[str, Any, Any, Any]] = [
    # column type, value as Maxwell has it, value in `_source`, a query that finds it by its index (None: none does)
    ("TINYINT", -128, -128, {"term": -128}),
    ("TINYINT UNSIGNED", 255, 255, {"term": 255}),
    ("SMALLINT UNSIGNED", 65535, 65535, {"term": 65535}),
    ("MEDIUMINT", -8388608, -8388608, {"term": -8388608}),
    ("INT UNSIGNED", 4294967295, 4294967295, {"term": 4294967295}),
    ("BIGINT", -9223372036854775808, -9223372036854775808, {"term": -9223372036854775808}),
    ("BIGINT UNSIGNED", 18446744073709551615, 18446744073709551615, {"term": 18446744073709551615}),
    ("DECIMAL(65,30)", "12345678901234567890123456789012345.123456789012345678901234567891",
     "12345678901234567890123456789012345.123456789012345678901234567891",
     {"exact": "12345678901234567890123456789012345.123456789012345678901234567891"}),
    ("DECIMAL(5,2)", 1.5, "1.50", {"range": {"gte": 1.4, "lte": 1.6}}),
    ("FLOAT", 1.10000002, 1.1, {"term": 1.1}),
    ("FLOAT", 3.4028235e38, 3.4028235e38, {"range": {"gte": 3e38}}),
    ("DOUBLE", 1.7976931348623157e308, 1.7976931348623157e308, {"term": 1.7976931348623157e308}),
    ("DOUBLE", 5e-324, 5e-324, None),
    ("CHAR(9)", "é 😀", "é 😀", {"keyword": "é 😀"}),
    ("VARCHAR(99)", "The quick fox", "The quick fox", {"match": "quick"}),
    ("MEDIUMTEXT", LONG, LONG, None),
    ("VARBINARY(9)", "AP8=", "AP8=", None),
    ("BINARY(3)", "YQ==", "YQAA", None),
    ("LONGBLOB", "AAECAw==", "AAECAw==", None),
    ("DATE", "2020-02-29", "2020-02-29", {"range": {"gte": "2020-02-29", "lte": "2020-02-29"}}),
    ("DATE", "9999-12-31", "9999-12-31", {"range": {"gte": "9999-12-31"}}),
    ("DATE", "0000-00-00", "0000-00-00", None),
    ("DATETIME", "2020-02-30 00:00:00", "2020-02-30 00:00:00", None),
    ("DATETIME(6)", "1000-01-01 00:00:00.1", "1000-01-01 00:00:00.100000",
     {"range": {"lte": "1000-01-01 00:00:00.100000"}}),
    ("DATETIME(3)", "2020-02-29 01:02:03.1", "2020-02-29 01:02:03.100", {"term": "2020-02-29 01:02:03.100"}),
    ("TIMESTAMP(6) NULL", "2038-01-19 03:14:07.999999", "2038-01-19 03:14:07.999999",
     {"range": {"gte": "2038-01-19 03:14:07.999000"}}),
    ("TIME", "-838:59:59", "-838:59:59", {"term": "-838:59:59"}),
    ("TIME(2)", "00:00:01", "00:00:01.00", {"term": "00:00:01.00"}),
    ("YEAR", 2155, 2155, {"term": 2155}),
    ("BIT(3)", 5, 5, {"term": 5}),
    ("BIT(64)", 18446744073709551615, 18446744073709551615, {"term": 18446744073709551615}),
    ("ENUM('a','B')", "B", "B", {"term": "B"}),
    ("SET('a','b')", ["a", "b"], ["a", "b"], {"term": "b"}),
    ("SET('c','d')", [], [], None),
    ("JSON", {"b": [1, None, {"c": "d"}], "a": 1.5}, {"a": 1.5, "b": [1, None, {"c": "d"}]}, None),
    ("JSON", [1, "x"], [1, "x"], None),
    ("GEOMETRY", "POINT (1 200)", "POINT (1 200)", None),
    ("LINESTRING", "LINESTRING (0 0, 1.5 -1)", "LINESTRING (0 0, 1.5 -1)", None),
    ("INT", None, None, None),
]  # fmt: skip
TYPES = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(VALUES))
DOCUMENT = {"id": 1, **{f"c{number}": value for number, (_, _, value, _) in enumerate(VALUES)}}


def query_of(field: str, how: dict[str, Any]) -> dict[str, Any]:
    ((kind, value),) = how.items()
    if kind in ("exact", "keyword"):
        return {"term": {f"{field}.{kind}": value}}
    return {kind: {field: value}}


def test_values_of_every_type_come_back_exactly_and_are_found(cluster: Cluster, fresh_source: Endpoint) -> None:
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query(f"CREATE TABLE d.t (id INT PRIMARY KEY, {TYPES})")
    data = {"id": 1, **{f"c{number}": value for number, (_, value, *_) in enumerate(VALUES)}}
    others = dict.fromkeys(data) | {"id": 2}
    run(settings_for(cluster, fresh_source, TABLES), Binlog().transaction(insert("d.t", data), insert("d.t", others)))
    assert cluster.search("t") == {"1": DOCUMENT, "2": others}
    texts = [json.dumps(each, sort_keys=True) for each in (cluster.search("t")["1"], DOCUMENT)]
    assert texts[0] == texts[1]  # numbers as they are written
    for number, (kind, _, _, how) in enumerate(VALUES):
        if how is not None:
            assert cluster.find("t", query_of(f"c{number}", how)) == {"1"}, (number, kind)


def test_ids_are_escaped_hashed_where_long_and_have_their_routing(cluster: Cluster, fresh_source: Endpoint) -> None:
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (a VARCHAR(500), b VARCHAR(500), PRIMARY KEY (a(300), b(300)))")
    tables = {
        "d.t": {"id": "{a}-{b}", "index": "t", "routing": "{a}", "settings": {"number_of_shards": 3}},
    }
    settings = settings_for(cluster, fresh_source, tables)
    pairs = [("1", "11"), ("11", "1"), ("1-1", "1"), ("1", "1-1"), ("é" * 300, "x"), ("é" * 300, "y"), (None, "%N")]
    binlog = Binlog()
    run(settings, binlog.transaction(*[insert("d.t", {"a": a, "b": b}) for a, b in pairs]))
    found = cluster.search("t")
    assert len(found) == len(pairs)
    assert {"1-11", "11-1", "1%2D1-1", "1-1%2D1", "%N-%25N"} < set(found)
    assert len([name for name in found if name.startswith("%#") and len(name) == 66]) == 2
    assert cluster.get("/t/_doc/1-11?routing=1")["found"]
    moved = update("d.t", {"a": "2", "b": "11"}, {"a": "1"})  # to another shard
    run(settings, binlog.transaction(moved, *[delete("d.t", {"a": a, "b": b}) for a, b in pairs[1:]]))
    assert cluster.search("t") == {"2-11": {"a": "2", "b": "11"}}


def test_a_part_of_the_columns_with_a_mapping_of_its_own(cluster: Cluster, fresh_source: Endpoint) -> None:
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, place POINT, v INT, `a.b` INT)")
    chosen = {"columns": ["id", "place"], "mapping": {"place": {"type": "geo_point"}}}
    settings = settings_for(cluster, fresh_source, {"d.t": {"id": "{id}", "index": "t", **chosen}})
    rows = [{"id": number, "place": f"POINT (8 {40 + number})", "v": 1, "a.b": 2} for number in (1, 2)]
    run(settings, Binlog().transaction(*[insert("d.t", each) for each in rows]))
    assert cluster.search("t")["1"] == {"id": 1, "place": "POINT (8 41)"}
    assert cluster.find("t", {"geo_distance": {"distance": "9km", "place": {"lat": 41, "lon": 8}}}) == {"1"}


def test_a_changed_key_takes_the_old_document_away_and_a_deletion_its_own(cluster: Cluster, table: Endpoint) -> None:
    binlog, settings = Binlog(), settings_for(cluster, table, TABLES)
    run(settings, binlog.transaction(insert("d.t", row(1, 1)), insert("d.t", row(11, 2))))
    run(settings, binlog.transaction(update("d.t", row(2, 1), {"id": 1}), delete("d.t", row(11, 2))))
    assert cluster.search("t") == {"2": row(2, 1)}
    moved = [update("d.t", row(3, 1), {"id": 2}), update("d.t", row(4, 1), {"id": 3}), insert("d.t", row(2, 9))]
    run(settings, binlog.transaction(*moved))  # in one batch
    assert cluster.search("t") == {"4": row(4, 1), "2": row(2, 9)}


def test_what_was_deleted_long_ago_is_removed_for_good(cluster: Cluster, table: Endpoint) -> None:
    settings, binlog = settings_for(cluster, table, TABLES, tombstone_s=60), Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1)), delete("d.t", row(1, 1)), delete("d.t", row(2, 1))))
    assert cluster.search("t") == {}
    left = cluster.get(f"/{cluster.index('t')}/_search?size=9")["hits"]["hits"]
    assert {hit["_id"] for hit in left} == {"1", "2"}
    ago = {"script": {"source": "ctx._source.pydbsync.at -= 61000"}}
    cluster.ask("POST", "/t/_update/1?refresh=true", ago)
    run(settings, binlog.transaction(insert("d.t", row(3, 1))))
    cluster.ask("POST", "/t/_refresh")
    left = cluster.get(f"/{cluster.index('t')}/_search?size=9")["hits"]["hits"]
    assert {hit["_id"] for hit in left} == {"2", "3"}


def test_rows_of_a_bootstrap_fill_what_is_missing_and_nothing_else(cluster: Cluster, table: Endpoint) -> None:
    settings, binlog = settings_for(cluster, table, TABLES), Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 5)), insert("d.t", row(2, 5))))
    run(settings, binlog.transaction(delete("d.t", row(2, 5))))
    run(settings, binlog.bootstrap("d.t", [row(number, 1) for number in (1, 2, 3)]))
    assert cluster.search("t") == {"1": row(1, 5), "3": row(3, 1)}
    run(settings, binlog.transaction(update("d.t", row(3, 6), {"v": 1})))
    assert cluster.search("t")["3"] == row(3, 6)


def test_what_the_index_refuses_is_parked_and_written_when_it_comes_mended(cluster: Cluster, table: Endpoint) -> None:
    tables = {"d.t": {"id": "{id}", "index": "t", "mapping": {"v": {"type": "short"}}}}
    settings, binlog = settings_for(cluster, table, tables), Binlog()
    bodies = binlog.transaction(insert("d.t", row(1, 70_000)), insert("d.t", row(2, 4)), insert("d.t", {"v": 1}))
    assert run(settings, bodies).parked == 2
    parts = parts_of(settings)
    reasons = [kept.change.reason for kept in parts.keep.parked()]
    assert any("'70000'" in reason and "Numeric value (70000) out of range" in reason for reason in reasons), reasons
    assert any("no column 'id', which the id" in reason for reason in reasons)
    assert cluster.search("t") == {"2": row(2, 4)}
    assert run(settings, binlog.transaction(update("d.t", row(1, 3), {"v": 70_000}))).parked == 1  # behind the first
    assert [kept.id for kept in parts.keep.parked()] == [1, 2, 3]
    for kept in parts.keep.parked():
        parts.keep.amend(msgspec.structs.replace(kept, status="skipped"))
    run(settings, binlog.transaction(update("d.t", row(1, 2), {"v": 3})))
    assert cluster.search("t")["1"] == row(1, 2)


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
        found += placed(binlog.transaction(step))
    return found


def placed(bodies: list[bytes], generation: int = 0) -> list[SinkRow]:
    found = []
    for body in bodies:
        change = decode_message(body)
        assert isinstance(change, RowChange)
        found.append(SinkRow(TableName("d", change.table), change, place_of(change, generation)))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_any_order_of_any_deliveries_ends_the_same_and_never_goes_back(
    cluster: Cluster, table: Endpoint, seed: int
) -> None:
    chance = random.Random(seed)
    parts = parts_of(settings_for(cluster, table, TABLES))
    changes = history(chance)
    parts.writer.write(changes)
    wanted = cluster.search("t")
    cluster.ask("DELETE", f"/{cluster.index('t')}")
    deliveries = changes + chance.choices(changes, k=30)
    chance.shuffle(deliveries)
    newest: dict[str, int] = {}
    for start in range(0, len(deliveries), 5):
        parts.writer.write(sorted(deliveries[start : start + 5], key=lambda each: each.place))
        for key, value in cluster.search("t").items():
            assert newest.get(key, 0) <= value["v"]
            newest[key] = value["v"]
    assert cluster.search("t") == wanted


PLACES = [
    ("an offset behind 4 GiB", (0, 1, 2**32 + 5, 0), (0, 1, 5, 0)),
    ("another file", (0, 10, 4, 0), (0, 9, 2**40, 0)),
    ("another generation", (10, 1, 4, 0), (9, 999_999, 2**40, 0)),
    ("a row behind a million", (0, 1, 4, 1_000_001), (0, 1, 4, 999_999)),
]


@pytest.mark.parametrize(("newer", "older"), [each[1:] for each in PLACES], ids=[each[0] for each in PLACES])
def test_places_of_any_size_compare(cluster: Cluster, table: Endpoint, newer: Any, older: Any) -> None:
    parts = parts_of(settings_for(cluster, table, TABLES))

    def at(place: tuple[int, int, int, int], value: int) -> SinkRow:
        generation, file, offset, number = place
        message = {
            "database": "d", "table": "t", "type": "insert", "ts": 1, "xid": 1, "xoffset": number,
            "position": f"b.{file:06}:{offset}", "data": row(1, value),
        }  # fmt: skip
        return placed([json.dumps(message).encode()], generation)[0]

    parts.writer.write([at(newer, 2)])
    parts.writer.write([at(older, 1)])
    assert cluster.search("t") == {"1": row(1, 2)}


def test_a_deletion_is_remembered_without_the_document(cluster: Cluster, table: Endpoint) -> None:
    """Also over a start of the shards anew, and longer than index.gc_deletes."""
    settings, binlog = settings_for(cluster, table, TABLES), Binlog()
    first = binlog.transaction(insert("d.t", row(1, 1)))
    run(settings, first + binlog.transaction(delete("d.t", row(1, 1))))
    cluster.ask("PUT", "/t/_settings", {"index.gc_deletes": "0s"})
    cluster.ask("POST", "/t/_close")
    cluster.ask("POST", "/t/_open")
    parts_of(settings).writer.write(placed(first))
    assert cluster.search("t") == {}


def test_a_worker_that_was_replaced_changes_nothing_any_more(cluster: Cluster, table: Endpoint) -> None:
    settings = settings_for(cluster, table, TABLES, run_lock_timeout_s=1)
    changes = history(random.Random(1))
    one, other = parts_of(settings), parts_of(settings)
    assert one.keep.lock()
    state = one.keep.take_over()
    assert not other.keep.lock()
    assert one.keep.holder() == other.keep.holder() != "another worker"
    wait_for(other.keep.lock, what="the end of a lock whose owner stands still")
    other.keep.take_over()
    other.writer.write(changes)
    other.keep.commit(StreamState(Checkpoint(), commits=1), [])
    wanted = cluster.search("t")
    one.writer.write(changes[:30])
    state.commits = 1
    with pytest.raises(CheckpointConflict):
        one.keep.commit(state, [])
    assert cluster.search("t") == wanted
    one.keep.close()
    assert other.keep.is_ours()
    other.keep.close()
    third = parts_of(settings)
    assert third.keep.lock()  # at once, since it was given back


def test_the_page_shows_and_does_the_same_as_for_a_mysql(cluster: Cluster, table: Endpoint) -> None:
    options = {f"run_{name}": value for name, value in OPTIONS.items()}
    operate(settings_for(cluster, table, TABLES, **options), Binlog())
    assert cluster.search("t") == {"1": row(1, 1), "2": row(2, 2), "3": row(3, 3)}


def test_how_many_are_parked_is_counted_and_not_read(
    cluster: Cluster, table: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(cluster, table, TABLES)
    run(settings, [b"junk", b"more junk", b"and more"])
    keep = parts_of(settings).keep
    run(settings, [b"last"])
    first, *_, last = keep.parked()
    with monkeypatch.context() as patched:
        patched.setattr(SearchKeep, "parked", lambda self: pytest.fail("the changes are read"))
        assert keep.parked_count() == 4
        for kept, status, count in (
            (last, "skipped", 3),
            (last, "skipped", 3),
            (first, "applied", 2),
            (last, "parked", 3),
        ):
            keep.amend(msgspec.structs.replace(kept, status=status))
            assert keep.parked_count() == count
    assert [kept.status for kept in keep.parked()] == ["applied", "parked", "parked", "parked"]
    cluster.ask("DELETE", f"/{STATE}/_doc/stream:memory:mended")  # as a former version has left it
    assert keep.parked_count() == 3
    run(settings, [b"one more"])
    with monkeypatch.context() as patched:
        patched.setattr(SearchKeep, "parked", lambda self: pytest.fail("the changes are read"))
        assert keep.parked_count() == 4


# -- what is lost on the way -------------------------------------------------------------------------------------------


def growing(rows: int = 30, rounds: int = 20) -> tuple[list[bytes], dict[str, Any]]:
    """Messages that raise all rows again and again, with one more row each time, which nothing mends where it is lost;
    and what is there in the end."""
    binlog, bodies = Binlog(), []
    wanted = {str(number): row(number, rounds - 1) for number in range(rows)}
    for number in range(rows):
        bodies += binlog.transaction(insert("d.t", row(number, 0)))
    for value in range(1, rounds):
        steps = [update("d.t", row(number, value), {"v": value - 1}) for number in range(rows)]
        bodies += binlog.transaction(insert("d.t", row(1000 + value, value)), *steps)
        wanted[str(1000 + value)] = row(1000 + value, value)
    return bodies, wanted


def test_answers_that_are_lost_and_nodes_that_are_away_change_nothing(
    cluster: Cluster, between: Between, table: Endpoint
) -> None:
    """Each kind of request is cut once before it is done and once behind it, of all of them."""
    cut: set[tuple[str, bool]] = set()

    def decide(method: str, path: str, body: bytes, forward: Any) -> Answer | None:
        what = f"{method} {re.sub('-[0-9]+-[0-9a-f]+', '-N', path.split('?', maxsplit=1)[0])}"
        if (what, False) not in cut:
            cut.add((what, False))
            return None
        answer: Answer = forward(body)
        if (what, True) not in cut:
            cut.add((what, True))
            return None
        return answer

    between.decide = decide
    bodies, wanted = growing()
    settings = settings_for(between, table, TABLES, run_batch_rows=100)
    Running(settings, MemorySource(bodies, block=100), ends_in_s=30).join()
    assert cluster.search("t") == wanted
    assert {("POST /_bulk", True), ("PUT /pydbsync/_doc/stream%3Amemory", True), ("PUT /t-N", True)} <= cut


def test_a_node_that_is_away_is_passed_over(cluster: Cluster, between: Between, table: Endpoint) -> None:
    between.close()
    nodes = [f"{between.host}:{between.port}", f"{cluster.host}:{cluster.port}"]
    run(settings_for(cluster, table, TABLES, nodes=nodes), Binlog().transaction(insert("d.t", row(1, 1))))
    assert cluster.search("t") == {"1": row(1, 1)}


def test_a_cluster_without_room_is_waited_for(cluster: Cluster, between: Between, table: Endpoint) -> None:
    """The server's own 429: a block as it sets itself where a disk is full."""
    bodies, wanted = growing(rounds=5)
    settings = settings_for(between, table, TABLES)
    run(settings, bodies[:1])
    refused = threading.Event()

    def decide(method: str, path: str, body: bytes, forward: Any) -> Answer:
        answer: Answer = forward(body)
        if path.startswith("/_bulk") and b'"status":429' in answer[1]:
            refused.set()
        return answer

    between.decide = decide
    cluster.ask("PUT", "/t/_settings", {"index.blocks.read_only_allow_delete": True})
    running = Running(settings, MemorySource(bodies, block=100), ends_in_s=30)
    assert refused.wait(30)
    assert running.source.acknowledged <= 1
    cluster.ask("PUT", "/t/_settings", {"index.blocks.read_only_allow_delete": None})
    running.join()
    assert cluster.search("t") == wanted


@pytest.mark.parametrize(("status", "is_whole"), [(429, True), (429, False), (413, True)])
def test_what_is_too_much_at_once_is_sent_in_smaller_pieces(
    cluster: Cluster, between: Between, table: Endpoint, status: int, is_whole: bool
) -> None:
    """The whole request is refused, or some of its items are."""
    room, sizes = 20, []

    def decide(method: str, path: str, body: bytes, forward: Any) -> Answer:
        if not path.startswith("/_bulk"):
            return forward(body)  # type: ignore[no-any-return]
        lines = body.splitlines()
        sizes.append(len(lines) // 2)
        if len(lines) <= 2 * room:
            return forward(body)  # type: ignore[no-any-return]
        if is_whole:
            return status, b"<html>no room</html>"
        code, data = forward(b"\n".join([*lines[: 2 * room], b""]))
        answer = json.loads(data)
        error = {"type": "rejected_execution_exception", "reason": "no room"}
        answer["items"] += [{"index": {"status": 429, "error": error}}] * (len(lines) // 2 - room)
        answer["errors"] = True
        return code, json.dumps(answer).encode()

    between.decide = decide
    bodies, wanted = growing(rows=100, rounds=3)
    run(settings_for(between, table, TABLES), bodies)
    assert cluster.search("t") == wanted
    assert max(sizes) > room >= min(sizes)


def test_a_document_that_nobody_takes_is_parked_alone(cluster: Cluster, between: Between, table: Endpoint) -> None:
    def decide(method: str, path: str, body: bytes, forward: Any) -> Answer:
        return (413, b"") if path.startswith("/_bulk") and b'"v":7' in body else forward(body)

    between.decide = decide
    rows = [insert("d.t", row(number, number)) for number in range(20)]
    status = run(settings_for(between, table, TABLES), Binlog().transaction(*rows))
    assert status.parked == 1
    assert set(cluster.search("t")) == {str(number) for number in range(20) if number != 7}


def test_a_commit_whose_answer_was_lost_is_done_once(cluster: Cluster, between: Between, table: Endpoint) -> None:
    parts = parts_of(settings_for(between, table, TABLES, run_lock_timeout_s=1))
    assert parts.keep.lock()
    state = parts.keep.take_over()

    def decide(method: str, path: str, body: bytes, forward: Any) -> Answer | None:
        answer: Answer = forward(body)
        return None if method == "PUT" and path.startswith("/pydbsync/_doc/stream%3Amemory?") else answer

    change = ParkedChange(message=b"junk", reason="not JSON")
    for number in (1, 2):
        state = msgspec.structs.replace(state, commits=number)
        between.decide = decide
        with pytest.raises(TransientError, match="closed connection"):
            parts.keep.commit(state, [change])
        between.decide = lambda method, path, body, forward: forward(body)
        if number == 2:
            assert parts.keep.is_ours()  # as it is asked between two tries
        assert parts.keep.commit(state, [change]) == [number]
    assert [kept.id for kept in parts.keep.parked()] == [1, 2]
    assert parts.keep.take_over().commits == 2


def test_a_state_that_went_back_is_noticed_and_the_stream_goes_on_from_it(cluster: Cluster, table: Endpoint) -> None:
    """As by a snapshot of the cluster that was restored."""
    settings = settings_for(cluster, table, TABLES)
    parts, path = parts_of(settings), "/pydbsync/_doc/stream%3Amemory"
    assert parts.keep.lock()
    state = parts.keep.take_over()
    before = cluster.get(path)["_source"]
    state.commits = 1
    parts.keep.commit(state, [])
    cluster.ask("PUT", path, before)
    state.commits = 2
    with pytest.raises(TransientError, match="lacks what was committed"):
        parts.keep.commit(state, [])
    cluster.ask("DELETE", "/pydbsync")
    parts.keep.open()
    with pytest.raises(TransientError, match="lacks what was committed"):
        parts.keep.commit(state, [])


# -- schema changes ----------------------------------------------------------------------------------------------------

STATEMENTS: list[tuple[str, str, set[str], set[str]]] = [
    # statement on t (# is a number), kind of its message, what is left of t, and of u
    ("TRUNCATE TABLE t#", "table-alter", set(), {"1"}),
    ("DROP TABLE t#", "table-drop", set(), {"1"}),
    ("RENAME TABLE t# TO gone", "table-alter", set(), {"1"}),
    ("RENAME TABLE t# TO old, u# TO t#", "table-alter", {"1", "2"}, set()),
    ("ALTER TABLE t# ADD c INT", "table-alter", {"1", "2"}, {"1"}),
]


def test_a_schema_change_has_a_defined_outcome(
    cluster: Cluster, table: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    binlog, tables, rows, bodies = Binlog(), {}, [], []
    left: dict[str, set[str]] = {}
    for number, (statement, kind, of_t, of_u) in enumerate(STATEMENTS):
        t, u = f"t{number}", f"u{number}"
        names = [f"d.{t}", f"d.{u}"] if "u#" in statement else [f"d.{t}"]
        for name in names:
            table.query(f"CREATE TABLE {name} (id INT PRIMARY KEY, v INT)")
            tables[name] = {"id": "{id}", "index": name[2:]}
        inserts = binlog.transaction(
            insert(f"d.{t}", row(1, 1)), insert(f"d.{t}", row(2, 1)), *[insert(n, row(1, 1)) for n in names[1:]]
        )
        rows += inserts
        bodies += inserts
        bodies += binlog.ddl(statement.replace("#", str(number)), *names, kind=kind, columns=("id", "v"))
        left |= {t: of_t} | ({u: of_u} if len(names) > 1 else {})
    settings = settings_for(cluster, table, tables)

    def found() -> dict[str, set[str]]:
        return {name: set(cluster.search(name)) for name in left}

    run(settings, bodies)
    cluster.ask("DELETE", "/pydbsync/_doc/stream%3Amemory")  # all comes again
    run(settings, bodies)
    assert found() == left
    assert "d.t3 has other rows since a RENAME" in caplog.text
    parts_of(settings).writer.write(placed(rows))  # what comes late does not bring it back
    assert found() == left
    run(settings, binlog.transaction(insert("d.t0", row(1, 3))))
    assert cluster.search("t0") == {"1": row(1, 3)}
    run(settings, binlog.ddl("DROP DATABASE d", "d"))
    assert set().union(*found().values()) == set()


def test_a_truncate_leaves_what_is_newer(cluster: Cluster, table: Endpoint) -> None:
    binlog = Binlog()
    settings = settings_for(cluster, table, TABLES)
    first = binlog.transaction(insert("d.t", row(1, 1)), insert("d.t", row(2, 1)))
    truncate = binlog.ddl("TRUNCATE TABLE t", "d.t", kind="table-alter", columns=("id", "v"))
    later = binlog.transaction(insert("d.t", row(2, 5)))
    parts_of(settings).writer.write(placed(later))  # as a copy that was made behind it
    run(settings, first + truncate)
    assert cluster.search("t") == {"2": row(2, 5)}
    assert cluster.indices("t") == ["000002"]


def test_a_late_write_to_an_index_that_was_replaced_finds_nothing(cluster: Cluster, table: Endpoint) -> None:
    """A worker that stood still between its look at the indices and its bulk request."""
    binlog = Binlog()
    settings = settings_for(cluster, table, TABLES)
    first = binlog.transaction(insert("d.t", row(1, 1)))
    late = parts_of(settings)
    late.writer.write(placed(first))
    former = cluster.indices("t")
    real = late.client.send

    def send(*words: Any, **options: Any) -> Any:
        if words[1] == "/_bulk":
            late.client.send = real  # type: ignore[method-assign]
            truncate = binlog.ddl("TRUNCATE TABLE t", "d.t", kind="table-alter", columns=("id", "v"))
            run(settings, first + truncate)
        return real(*words, **options)

    late.client.send = send  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="has lost an index"):
        late.writer.write(placed(first))
    late.writer.write(placed(first))  # it comes again
    assert cluster.search("t") == {}
    assert cluster.indices("t") == ["000002"] != former


def test_columns_that_come_are_mapped_and_types_that_change_are_told(
    cluster: Cluster, table: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    settings, binlog = settings_for(cluster, table, TABLES), Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1))))
    table.query("ALTER TABLE d.t ADD w DATETIME(3), MODIFY v VARCHAR(9)")
    ddl = binlog.ddl("ALTER TABLE t ADD w DATETIME(3), MODIFY v VARCHAR(9)", "d.t", columns=("id", "v", "w"))
    run(settings, ddl + binlog.transaction(insert("d.t", {"id": 2, "v": "x", "w": "2020-01-01 00:00:00.000"})))
    assert "column wants text: `pydbsync copy`" in caplog.text
    assert "_parsing_exception" in parts_of(settings).keep.parked()[0].change.reason
    run(settings, binlog.transaction(insert("d.t", {"id": 3, "v": "7", "w": "2020-01-01 00:00:00.000"})))
    assert cluster.find("t", {"range": {"w": {"gte": "2020-01-01 00:00:00.000"}}}) == {"3"}


# -- the whole program -------------------------------------------------------------------------------------------------

KILLS = [("mid-batch", 1), ("mid-batch", 4), ("before-commit", 3), ("after-commit", 2)]


def program(cluster: Cluster, table: Endpoint, tables: dict[str, Any] = TABLES) -> dict[str, Any]:
    """The configuration of a run on its own."""
    sink = {"type": "opensearch", "nodes": [f"{cluster.host}:{cluster.port}"], "tables": tables}
    queues = [{"exchange": ["maxwell", "topic"], "queues": {"search": ["d.*"]}}]
    return {
        "sink": sink, "source_db_info": table.db_info, "log_file_prefix": "", "rabbitmq_queue_bind": queues,
        "rabbitmq_conn_info": {"host": "127.0.0.1"}, "lock_timeout_s": 1, "batch_rows": 3,
    }  # fmt: skip


def test_a_death_between_the_documents_and_the_checkpoint_changes_nothing(
    cluster: Cluster, table: Endpoint, tmp_path: Path, run_sync: RunSync
) -> None:
    """The process is killed at one step after the other; each run goes on where the one before has died."""
    binlog, bodies = Binlog(), []
    for number in range(1, 11):
        bodies += binlog.transaction(insert("d.t", row(number, 1)), insert("d.t", row(50 + number, 1)))
        bodies += binlog.transaction(update("d.t", row(100 + number, 2), {"id": number, "v": 1}))
        bodies += binlog.transaction(delete("d.t", row(50 + number, 1)))
    messages = tmp_path / "messages.ndjson"
    messages.write_bytes(b"\n".join([*bodies, b""]))
    config = program(cluster, table)
    for point, count in KILLS:
        environment = {"PYDBSYNC_KILL_POINT": f"{point}:{count}"}
        died = run_sync(config, "--from", str(messages), environment=environment)
        assert died.exit_code not in (0, 2), died
    assert run_sync(config, "--from", str(messages)).exit_code == 0
    assert cluster.search("t") == {str(100 + number): row(100 + number, 2) for number in range(1, 11)}


def test_what_was_parked_is_retried_and_never_over_what_is_newer(
    cluster: Cluster, table: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {"d.t": {"id": "{id}", "index": "t", "mapping": {"v": {"type": "short"}}}}
    config = write_config(program(cluster, table, tables), tmp_path / "config.py")
    settings, _ = load_settings(config, require=("db_info",))
    first, second = Binlog().transaction(insert("d.t", row(1, 70_000)), insert("d.t", row(2, 70_000)))
    assert run(settings, [first, second], stream="search").parked == 2

    def command(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--config", str(config)])
        assert ended.value.code in (0, None, 1)
        return capsys.readouterr().out

    listed = command("parked", "list", "--json").splitlines()
    assert ["field [v] of type [short]" in line for line in listed] == [True, True]
    assert "2 stay parked" in command("parked", "retry")
    cluster.ask("DELETE", f"/{cluster.index('t')}")
    write_config(program(cluster, table), config)  # the mapping is mended
    newer = SinkRow(*placed([first])[0][:2], place="09")
    parts_of(load_settings(config, require=("db_info",))[0]).writer.write([newer])
    assert "2 applied" in command("parked", "retry")
    assert cluster.search("t") == {"1": row(1, 70_000), "2": row(2, 70_000)}
    assert cluster.get("/t/_doc/1")["_source"]["pydbsync"]["place"] == "09"


# -- copy, verify, repair ----------------------------------------------------------------------------------------------


def literal(kind: str, value: Any) -> str:
    """A value of VALUES as SQL."""
    name = kind.split("(", maxsplit=1)[0].split(" ", maxsplit=1)[0]
    if value is None:
        return "NULL"
    if isinstance(value, int | float):
        return str(value)
    if name in ("VARBINARY", "BINARY", "LONGBLOB"):
        return f"X'{base64.b64decode(value).hex()}'"
    if name in ("GEOMETRY", "LINESTRING"):
        return f"ST_GeomFromText('{value}')"
    if name == "JSON":
        return f"'{json.dumps(value)}'"
    return f"'{','.join(value) if isinstance(value, list) else value}'"


def tool_of(settings: Settings, **options: Any) -> SinkTool:
    return SinkTool(settings, stream="memory", wait_s=0.5, stop=threading.Event(), log=LOG, **options)


def counted(settings: Settings, **options: Any) -> dict[str, tuple[int, int, int]]:
    """What verify finds missing, different and too much."""
    return {each.table: (each.missing, each.different, each.extra) for each in tool_of(settings, **options).verify()}


def binlog_behind(source: Endpoint, *, by: int = 100) -> Binlog:
    """A binlog that goes on behind what the source has."""
    place = source.query("SHOW MASTER STATUS" if source.brand == "mariadb" else "SHOW BINARY LOG STATUS")[0]
    base, _, file = str(place[0]).partition(".")
    binlog = Binlog(base=base, server_id=int(source.query("SELECT @@server_id")[0][0]), ts=int(time.time()))
    binlog.file, binlog.offset = int(file), int(place[1]) + by
    return binlog


def test_copy_verify_and_repair_know_every_type(cluster: Cluster, table: Endpoint) -> None:
    table.query(f"CREATE TABLE d.all (id INT PRIMARY KEY, g INT AS (id + 1) STORED, {TYPES})")
    names = ", ".join(f"c{number}" for number in range(len(VALUES)))
    values = ", ".join(literal(kind, value) for kind, value, *_ in VALUES)
    with table.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        cursor.execute(f"INSERT INTO d.all (id, {names}) VALUES (1, {values})")
        cursor.execute("INSERT INTO d.all (id) VALUES (2)")
        cursor.execute("INSERT INTO d.t VALUES (1, 1), (2, 2), (3, 3)")
        connection.commit()
    settings = settings_for(cluster, table, {**TABLES, "d.all": {"id": "{id}", "index": "all"}})
    assert [(each.table, each.rows) for each in tool_of(settings).copy()] == [("d.all", 2), ("d.t", 3)]
    copied = cluster.search("all")["1"]
    assert copied.pop("g") == 2
    assert json.dumps(copied, sort_keys=True) == json.dumps(DOCUMENT, sort_keys=True)
    # As the stream tells it, without what is generated, is the same row.
    data = {"id": 1, **{f"c{number}": value for number, (_, value, *_) in enumerate(VALUES)}}
    run(settings, binlog_behind(table).transaction(update("d.all", data, {"c0": 5})))
    assert "g" not in cluster.search("all")["1"]
    assert counted(settings) == {"d.all": (0, 0, 0), "d.t": (0, 0, 0)}
    # What is lost, wrong or too much is found, and mended.
    wanted = {name: set(cluster.search(name)) for name in ("all", "t")}
    source = cluster.get("/t/_doc/2")["_source"]
    cluster.ask("DELETE", "/t/_doc/1")
    cluster.ask("PUT", "/t/_doc/2", {**source, "v": 2.0})
    cluster.ask("PUT", "/t/_doc/9", {**source, "id": 9})
    cluster.ask("DELETE", "/all/_doc/2")
    assert counted(settings) == {"d.all": (1, 0, 0), "d.t": (1, 1, 1)}
    assert sum(each.mended for each in tool_of(settings).repair()) == 4
    assert counted(settings) == {"d.all": (0, 0, 0), "d.t": (0, 0, 0)}
    assert {name: set(cluster.search(name)) for name in wanted} == wanted


def test_a_stream_goes_on_behind_its_copy_and_a_repair_never_goes_back(cluster: Cluster, table: Endpoint) -> None:
    table.query("INSERT INTO d.t VALUES (1, 1), (2, 2)")
    settings = settings_for(cluster, table, TABLES)
    before = binlog_behind(table, by=-500).transaction(insert("d.t", row(1, -1)), delete("d.t", row(2, -1)))
    tool_of(settings).copy()
    binlog = binlog_behind(table, by=10**6)
    assert run(settings, before + binlog.transaction(update("d.t", row(1, 7), {"v": 1}))).applied == 1
    assert cluster.search("t") == {"1": row(1, 7), "2": row(2, 2)}
    (outcome,) = tool_of(settings).repair()  # the source is older than what was replayed
    assert (outcome.different, outcome.mended) == (1, 0)
    assert cluster.search("t")["1"] == row(1, 7)
    parts = parts_of(settings)
    parts.writer.write(placed(before))  # without a checkpoint the index knows by its floor
    assert cluster.search("t") == {"1": row(1, 7), "2": row(2, 2)}


class Pausing(SinkTool):
    """A tool that lets something happen after each of its steps."""

    def __init__(self, settings: Settings, happens: Any) -> None:
        super().__init__(settings, stream="memory", wait_s=0.5, stop=threading.Event(), log=LOG)
        real = self._target
        for name in ("begin_copy", "write", "end_copy"):
            setattr(real, name, self._with(getattr(real, name), lambda name=name: happens(name)))

    @staticmethod
    def _with(step: Any, happens: Any) -> Any:
        def both(*words: Any) -> Any:
            found = step(*words)
            happens()
            return found

        return both


def test_a_rebuild_has_no_gap_while_changes_come(cluster: Cluster, table: Endpoint) -> None:
    """Rows change, come and go before, while and after the new index is filled; all the time the old one is searched
    whole, and what comes late of before brings nothing back."""
    binlog = binlog_behind(table, by=-10_000)
    settings = settings_for(cluster, table, TABLES)
    table.query("INSERT INTO d.t VALUES (1, 1), (2, 1), (3, 1), (4, 1)")
    steps = {number: binlog.transaction(insert("d.t", row(number, 1))) for number in (1, 2, 3, 4, 5)}
    run(settings, [body for bodies in steps.values() for body in bodies])
    gone = binlog.transaction(delete("d.t", row(5, 1)))  # before the copy: the new index never hears of it
    run(settings, gone)
    seen: list[tuple[str, dict[str, Any]]] = []
    values = iter(range(2, 100))

    def happens(step: str) -> None:
        value = next(values)
        later = binlog_behind(table, by=1000 * value)
        moves = [update("d.t", row(1, value), {"v": value - 1}), insert("d.t", row(100 + value, value))]
        if step == "write":
            moves.append(delete("d.t", row(2, 1)))
        run(settings, later.transaction(*moves))
        parts_of(settings).writer.write(placed(steps[5] + steps[1]))  # somebody who is late
        seen.append((step, cluster.search("t")))

    Pausing(settings, happens).copy()
    assert [step for step, _ in seen] == ["begin_copy", "write", "end_copy"]
    for number, (_, found) in enumerate(seen, start=2):
        assert found["1"] == row(1, number), "what is searched is never behind"
        assert "5" not in found
        assert found.keys() >= {"1", "3", "4", *(str(100 + each) for each in range(2, number + 1))}
        assert ("2" in found) == (number == 2)
    assert cluster.indices("t") == ["000002"]
    index = cluster.index("t")
    assert set(cluster.get("/t/_alias")[index]["aliases"]) == {"t", f"{index}.write"}


def test_a_rebuild_that_ends_is_begun_anew_and_one_that_is_overtaken_says_so(cluster: Cluster, table: Endpoint) -> None:
    table.query("INSERT INTO d.t VALUES (1, 1)")
    settings = settings_for(cluster, table, TABLES)
    tool_of(settings).copy()

    class Ended(BaseException):
        """As a kill: nothing is cleaned up."""

    def ends(step: str) -> None:
        if step == "write":
            raise Ended

    with pytest.raises(Ended):
        Pausing(settings, ends).copy()
    assert cluster.indices("t") == ["000001", "000002"]
    tool_of(settings).copy()
    assert cluster.indices("t") == ["000002"]

    def truncates(step: str) -> None:
        if step == "begin_copy":
            binlog = binlog_behind(table, by=10**6)
            run(settings, binlog.ddl("TRUNCATE TABLE t", "d.t", kind="table-alter", columns=("id", "v")))

    tool = Pausing(settings, truncates)
    with pytest.raises(OperationError, match=r"being filled for d.t is gone, by a TRUNCATE.*: run it again"):
        tool.copy()
    tool.close()
    assert cluster.search("t") == {}


def test_a_rebuild_takes_new_types(cluster: Cluster, table: Endpoint) -> None:
    table.query("INSERT INTO d.t VALUES (1, 1)")
    settings = settings_for(cluster, table, TABLES)
    tool_of(settings).copy()
    table.query("ALTER TABLE d.t MODIFY v VARCHAR(9)")
    table.query("UPDATE d.t SET v = 'x'")
    with pytest.raises(OperationError, match=r"refuses a row of d.t: .*failed to parse field"):
        tool_of(settings).repair()
    tool_of(settings).copy()
    assert cluster.search("t") == {"1": {"id": 1, "v": "x"}}
    assert cluster.find("t", {"term": {"v.keyword": "x"}}) == {"1"}


def test_the_commands_know_the_sink(
    cluster: Cluster, table: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.query("INSERT INTO d.t VALUES (1, 1)")
    sink = {"type": "opensearch", "nodes": [f"{cluster.host}:{cluster.port}"], "tables": TABLES}
    queues = [{"exchange": ["maxwell", "topic"], "queues": {"search": ["d.*"]}}]
    given = {"sink": sink, "source_db_info": table.db_info, "log_file_prefix": "", "rabbitmq_queue_bind": queues}
    config = write_config({**given, "rabbitmq_conn_info": {"host": "127.0.0.1"}}, tmp_path / "config.py")

    def command(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--config", str(config)])
        return int(ended.value.code or 0)

    assert command("copy") == 0
    assert command("verify") == 0
    assert "d.t: 1 rows, equal" in capsys.readouterr().out
    cluster.ask("DELETE", "/t/_doc/1")
    assert command("verify", "--wait-s", "0") in (1, 2)
    assert "missing: 1" in capsys.readouterr().out
    assert command("repair", "--wait-s", "0") == 0
    assert "1 missing, 0 different, 0 extra; 1 mended" in capsys.readouterr().out
    assert command("pause", "search", "--reason", "a look") == 0
    assert command("status") == 2  # no worker is at work
    assert "a look" in capsys.readouterr().out
    assert command("resume", "search") == 0
    assert command("checkpoint", "show") == 0
    assert "nobody" in capsys.readouterr().out
    command("doctor")
    assert "OpenSearch" in capsys.readouterr().out


def test_what_is_kept_beside_the_documents_is_looked_at_and_mended_by_the_commands(
    cluster: Cluster, table: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = {"d.t": {"id": "{id}", "index": "t", "mapping": {"v": {"type": "short"}}}}
    sink = {"type": "opensearch", "nodes": [f"{cluster.host}:{cluster.port}"], "tables": TABLES}
    queues = [{"exchange": ["maxwell", "topic"], "queues": {"search": ["d.*"]}}]
    given = {"sink": sink, "source_db_info": table.db_info, "log_file_prefix": "", "rabbitmq_queue_bind": queues}
    config = write_config(
        {**given, "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1}}, tmp_path / "config.py"
    )  # fmt: skip

    def command(*words: str) -> str:
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            main([*words, "--config", str(config)])
        return "".join(capsys.readouterr())

    assert "no worker has ever followed it" in command("status")
    binlog = Binlog()
    bodies = binlog.transaction(insert("d.t", row(1, 70_000)), insert("d.t", row(2, 80_000)))
    run(settings_for(cluster, table, narrow), bodies, stream="search")
    assert "2 changes parked" in command("status")
    assert command("parked", "list").count("parked  insert") == 2
    assert "2 is skipped" in command("parked", "skip", "2", "--reason", "for the test")
    assert "1 stay parked" in command("parked", "retry")
    cluster.ask("DELETE", f"/{cluster.index('t')}")
    assert "1 applied, 0 stay parked" in command("parked", "retry")
    assert cluster.search("t") == {"1": row(1, 70_000)}
    assert "retry by" in command("parked", "show", "1")
    assert "search: paused" in command("pause", "search", "--reason", "a look")
    assert "a look" in command("pause")
    assert "paused: search since" in command("status")
    assert "search: goes on" in command("resume", "search")
    assert binlog.position in command("checkpoint", "show")
    assert "stands at other.000001:4" in command("checkpoint", "set", "search", "--to", "other.000001:4", "--yes")
    assert "the sink answers" in command("doctor", "--skip", "broker", "--skip", "stream")


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_what_was_not_made_by_pydbsync_is_left_alone(cluster: Cluster, table: Endpoint) -> None:
    bodies = Binlog().transaction(insert("d.t", row(1, 1)))
    cluster.ask("PUT", "/t", {})
    with pytest.raises(ConfigError, match=r"refuses the index t-000001-.* for d.t: .*same name as"):
        run(settings_for(cluster, table, TABLES), bodies)
    cluster.clear()
    cluster.ask("PUT", "/other", {"aliases": {"t": {}}})
    with pytest.raises(ConfigError, match="the index other was not made by pydbsync"):
        run(settings_for(cluster, table, TABLES), bodies)


def test_a_table_that_grows_wider_than_an_index_has_fields_is_mapped(cluster: Cluster, table: Endpoint) -> None:
    settings, binlog = settings_for(cluster, table, TABLES), Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1))))
    wide = [f"c{number}" for number in range(505)]  # of two fields each
    table.query("ALTER TABLE d.t " + ", ".join(f"ADD {name} DECIMAL(2,1)" for name in wide))
    image = {**row(2, 2), **dict.fromkeys(wide, 1.5)}
    ddl = binlog.ddl("ALTER TABLE t ADD c0 DECIMAL(2,1)", "d.t", columns=tuple(image))
    assert run(settings, ddl + binlog.transaction(insert("d.t", image))).parked == 0
    assert cluster.find("t", {"term": {"c504.exact": "1.5"}}) == {"2"}


def test_an_index_whose_documents_are_not_kept_whole_is_refused(cluster: Cluster, table: Endpoint) -> None:
    """Its places could not be read, and older changes would be written over newer ones."""
    bodies = Binlog().transaction(insert("d.t", row(1, 1)))
    for source in ({"enabled": False}, {"excludes": ["pydbsync"]}):
        template = {"index_patterns": ["t-*"], "template": {"mappings": {"_source": source}}}
        cluster.ask("PUT", "/_index_template/tests", template)
        try:
            with pytest.raises(ConfigError, match="does not keep `_source` whole"):
                run(settings_for(cluster, table, TABLES), bodies)
            assert cluster.indices("t") == []
        finally:
            cluster.ask("DELETE", "/_index_template/tests")
    run(settings_for(cluster, table, TABLES), bodies)
    assert cluster.search("t") == {"1": row(1, 1)}


def test_an_alias_of_two_indices_and_an_index_that_is_closed_are_waited_for(cluster: Cluster, table: Endpoint) -> None:
    settings, binlog = settings_for(cluster, table, TABLES), Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1))))
    parts, more = parts_of(settings), placed(binlog.transaction(insert("d.t", row(2, 2))))
    cluster.ask("PUT", "/other", {"aliases": {"t": {}}})
    with pytest.raises(TransientError, match=r"the alias 't' is that of other, t-000001-.*: it must be of one"):
        parts.writer.write(more)
    cluster.ask("DELETE", "/other")
    cluster.ask("POST", f"/{cluster.index('t')}/_close")
    with pytest.raises(TransientError, match="closed"):
        parts.writer.write(more)
    cluster.ask("POST", f"/{cluster.index('t')}/_open?wait_for_active_shards=1")
    parts.writer.write(more)
    assert set(cluster.search("t")) == {"1", "2"}


def test_a_mapping_that_somebody_made_strict_parks_what_it_does_not_know(cluster: Cluster, table: Endpoint) -> None:
    settings, binlog = settings_for(cluster, table, TABLES), Binlog()
    run(settings, binlog.transaction(insert("d.t", row(1, 1))))
    cluster.ask("PUT", "/t/_mapping", {"dynamic": "strict"})
    bodies = binlog.transaction(insert("d.t", {**row(2, 2), "gone": 1}), insert("d.t", row(3, 3)))
    assert run(settings, bodies).parked == 1
    assert "strict_dynamic_mapping_exception" in parts_of(settings).keep.parked()[0].change.reason
    assert set(cluster.search("t")) == {"1", "3"}


def test_a_routing_that_is_empty_finds_its_document_again(cluster: Cluster, table: Endpoint) -> None:
    table.query("CREATE TABLE d.s (a VARCHAR(9), b INT, PRIMARY KEY (a, b))")
    tables = {"d.s": {"id": "{a}-{b}", "index": "s", "routing": "{a}", "settings": {"number_of_shards": 3}}}
    settings, binlog = settings_for(cluster, table, tables), Binlog()
    image = {"a": "", "b": 1}
    run(settings, binlog.transaction(insert("d.s", image)))
    run(settings, binlog.transaction(update("d.s", image, {})))
    assert cluster.search("s") == {"-1": image}
    run(settings, binlog.transaction(delete("d.s", image)))
    assert cluster.search("s") == {}


def test_an_index_template_of_the_cluster_is_honoured(cluster: Cluster, table: Endpoint) -> None:
    template = {"index_patterns": ["t-*"], "template": {"settings": {"number_of_replicas": 0}}}
    cluster.ask("PUT", "/_index_template/tests", template)
    try:
        run(settings_for(cluster, table, TABLES), Binlog().transaction(insert("d.t", row(1, 1))))
        assert cluster.get("/t/_settings")[cluster.index("t")]["settings"]["index"]["number_of_replicas"] == "0"
    finally:
        cluster.ask("DELETE", "/_index_template/tests")


@pytest.mark.parametrize("access", [{"user": "u", "password": "geheim"}, {"api_key": "geheim"}])
def test_a_user_who_is_refused_is_told_without_his_secret(
    cluster: Cluster, between: Between, table: Endpoint, access: dict[str, str]
) -> None:
    error = {"error": {"type": "security_exception", "reason": "unable to authenticate"}, "status": 401}
    between.decide = lambda method, path, body, forward: (401, json.dumps(error).encode())
    with pytest.raises(ConfigError, match="OpenSearch refuses the user: unable to authenticate") as caught:
        run(settings_for(between, table, TABLES, **access), [])
    assert "geheim" not in str(caught.value)


def test_a_crashed_owner_owns_no_longer_than_a_lock_lasts(cluster: Cluster, table: Endpoint) -> None:
    patient = parts_of(settings_for(cluster, table, TABLES, run_lock_timeout_s=3600)).keep
    hasty, owner = (parts_of(settings_for(cluster, table, TABLES, run_lock_timeout_s=1)).keep for _ in range(2))
    assert not patient.is_locked()
    assert owner.lock()
    assert patient.is_locked()
    wait_for(lambda: not hasty.is_locked(), what="a lock that ends, since nobody renews it")
    # An owner whose clock is wrong lives as long as it writes.
    path = f"/{STATE}/_doc/stream:memory"
    record = cluster.get(path)["_source"] | {"owner": "process 1 on elsewhere 1f"}
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            record["beat"] += 1
            cluster.ask("PUT", path, {**record, "at": 1.0})

    thread = threading.Thread(daemon=True, target=live)
    thread.start()
    try:
        assert patient.is_locked()
    finally:
        stop.set()
        thread.join()
    assert not patient.lock()  # it watches for itself before it takes a lock


def test_tls_and_ways_to_be_known(cluster: Cluster, table: Endpoint, certificates: Certificates) -> None:
    server = Between(cluster, certificate=certificates.server)
    bodies = Binlog().transaction(insert("d.t", row(1, 1)))
    ways: list[tuple[dict[str, Any], str | None]] = [
        ({"user": "ü", "password": "geheim"}, "Basic w7w6Z2VoZWlt"),
        ({"api_key": "a2V5"}, "ApiKey a2V5"),
        ({}, None),
    ]
    for access, header in ways:
        server.headers.clear()
        run(settings_for(server, table, TABLES, tls={"ca": str(certificates.ca)}, **access), bodies)
        assert set(server.headers) == {header}
    assert cluster.search("t") == {"1": row(1, 1)}
    run(settings_for(server, table, TABLES, type="elasticsearch", tls={"verify": False}), bodies)
    with pytest.raises(TransientError, match=r"the connection cannot be encrypted: .*certificate"):
        parts_of(settings_for(server, table, TABLES, tls=True))
    with pytest.raises(TransientError):
        parts_of(settings_for(server, table, TABLES))  # it does not speak HTTP
    server.close()
