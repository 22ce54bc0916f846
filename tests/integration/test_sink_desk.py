"""What an operator does with the streams of a sink: look, pause, mend what is parked, move the place."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import lab
from pydbsync.cli import main
from pydbsync.config.file import load_settings
from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.process.worker import follow
from pydbsync.sinks.folder import FolderKeep
from pydbsync.sinks.keep import Keep, KeptChange
from pydbsync.source.memory import MemorySource
from tests.integration.redis_sink import connect, parts_of, rows_in
from tests.integration.sink_page import OPTIONS, operate
from tests.integration.test_sinks import LOG, lines, run
from tests.maxwell import Binlog, insert, update
from tests.processes import wait_for, write_config
from tests.servers import Endpoint

QUEUE = "cache"
RABBITMQ = {
    "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1},
    "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {QUEUE: ["d.*"]}}],
}
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """command(config, *words): exit code, output, errors."""

    def run_command(config: Path, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            main([*words, "--config", str(config)])
            code: Any = 0
        except SystemExit as ended:
            code = ended.code
        found = capsys.readouterr()
        return int(code or 0), found.out, found.err

    return run_command


class Lines:
    """A stream to a file, its configuration and what it keeps."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "out.ndjson"
        sink = {"type": "ndjson", "path": str(self.path)}
        given = {"sink": sink, "log_file_prefix": "", "retry": {"first_s": 0.01, "max_s": 0.1}, **RABBITMQ, **options}
        self.config = write_config(given, folder / "config.py")
        self.settings: Settings = load_settings(self.config, require=("db_info",))[0]
        self.keep = FolderKeep(Path(f"{self.path}.state"))
        self.binlog = Binlog()

    def run(self, *bodies: bytes) -> None:
        run(self.settings, bodies, stream=QUEUE)

    def written(self) -> list[Any]:
        return [line.get("data", line.get("sql")) for line in lines(self.path)]


@pytest.fixture
def stream(tmp_path: Path) -> Lines:
    return Lines(tmp_path)


def test_what_is_parked_is_listed_shown_edited_retried_and_skipped(
    stream: Lines, command: Command, tmp_path: Path
) -> None:
    (good,) = stream.binlog.transaction(insert("d.t", {"a": 2}))
    stream.run(good, b"junk", b"more junk", b"and more")
    code, out, _ = command(stream.config, "parked", "list")
    assert (code, out.count("not JSON")) == (0, 3)
    listed = command(stream.config, "parked", "list", "--json")[1].splitlines()
    assert [json.loads(line)["message"] for line in listed] == ["junk", "more junk", "and more"]
    assert "3 parked" in command(stream.config, "parked", "counts")[1]
    code, out, _ = command(stream.config, "parked", "retry", "1")
    assert (code, "1: stays parked" in out) == (1, True)
    mended = tmp_path / "mended.json"
    mended.write_bytes(stream.binlog.transaction(insert("d.t", {"a": 1}))[0])
    assert command(stream.config, "parked", "edit", "1", "--message-file", str(mended))[0] == 0
    code, out, _ = command(stream.config, "parked", "retry", "1")
    assert (code, "1 applied, 0 stay parked" in out) == (0, True)
    assert stream.written() == [{"a": 2}, {"a": 1}]
    out = command(stream.config, "parked", "show", "1")[1]
    assert "applied" in out
    assert out.index("retry by") < out.index("edit by")
    assert command(stream.config, "parked", "skip", "2", "--reason", "no change")[0] == 0
    assert command(stream.config, "parked", "skip", "2", "--reason", "again")[0] == 2
    assert command(stream.config, "parked", "show", "9")[2].strip().endswith("there is no parked change 9")
    assert [kept.status for kept in stream.keep.parked()] == ["applied", "skipped", "parked"]
    stream.run(*stream.binlog.transaction(insert("d.t", {"a": 3})))
    assert stream.written() == [{"a": 2}, {"a": 1}, {"a": 3}]


def test_a_retry_is_for_the_owner_and_all_else_for_everybody(stream: Lines, command: Command) -> None:
    stream.run(b"junk")
    assert stream.keep.lock()
    for words in (("parked", "retry"), ("checkpoint", "set", QUEUE, "--to", "binlog.000009:4", "--yes")):
        code, _, err = command(stream.config, *words)
        assert (code, "stop that worker first" in err) == (2, True)
    assert "owner    process" in command(stream.config, "checkpoint", "show")[1]
    assert command(stream.config, "parked", "skip", "1", "--reason", "no change")[0] == 0
    stream.keep.close()
    assert "nobody" in command(stream.config, "checkpoint", "show")[1]


def test_what_waits_behind_another_is_written_after_it(stream: Lines, command: Command) -> None:
    first = stream.binlog.ddl("ALTER TABLE t ADD b INT", "d.t", columns=("a", "b"))
    parking = Lines(stream.path.parent, schema_changes={"alter-table": "park"})
    parking.run(*first, *stream.binlog.transaction(insert("d.t", {"a": 1, "b": 2})))
    assert [kept.change.behind for kept in stream.keep.parked()] == [None, 1]
    code, out, _ = command(stream.config, "parked", "retry", "2")
    assert (code, "waits behind 1" in out) == (1, True)
    assert command(stream.config, "parked", "retry")[0] == 0
    assert stream.written() == ["ALTER TABLE t ADD b INT", {"a": 1, "b": 2}]


def test_a_stream_is_paused_and_goes_on(stream: Lines, command: Command) -> None:
    assert command(stream.config, "pause", QUEUE, "--reason", "a look")[1].strip() == f"{QUEUE}: paused"
    assert "a look" in command(stream.config, "pause")[1]
    states: list[str] = []
    source = MemorySource(stream.binlog.transaction(insert("d.t", {"a": 1})), stream=QUEUE)
    worker = threading.Thread(
        target=lambda: follow(
            stream.settings, source, stop=threading.Event(), send=lambda status: states.append(status.state), log=LOG,
            until_drained=True,
        ),
        daemon=True,
    )  # fmt: skip
    worker.start()
    wait_for(lambda: "paused" in states, what="a worker that is paused")
    _, out, _ = command(stream.config, "status")
    assert f"paused: {QUEUE} since" in out
    assert stream.written() == []
    assert command(stream.config, "resume", QUEUE)[1].strip() == f"{QUEUE}: goes on"
    worker.join(30)
    assert stream.written() == [{"a": 1}]


def test_schema_changes_of_a_table_are_paused_and_run_when_they_are_resumed(stream: Lines, command: Command) -> None:
    assert command(stream.config, "pause", "--ddl", "d.t")[0] == 0
    stream.run(
        *stream.binlog.ddl("ALTER TABLE t ADD b INT", "d.t", columns=("a", "b")),
        *stream.binlog.ddl("ALTER TABLE u ADD b INT", "d.u", columns=("a", "b")),
    )
    assert stream.written() == ["ALTER TABLE u ADD b INT"]
    assert "are paused" in command(stream.config, "parked", "list")[1]
    code, out, _ = command(stream.config, "resume", "--ddl", "d.t")
    assert (code, "1 that waited were applied" in out) == (0, True)
    assert stream.written() == ["ALTER TABLE u ADD b INT", "ALTER TABLE t ADD b INT"]


def test_a_place_is_shown_and_moved(stream: Lines, command: Command) -> None:
    assert "there is no checkpoint yet" in command(stream.config, "checkpoint", "show")[1]
    stream.run(*stream.binlog.transaction(insert("d.t", {"a": 1})))
    assert "binlog.000001:104" in command(stream.config, "checkpoint", "show")[1]
    skipped = stream.binlog.transaction(insert("d.t", {"a": 2}))
    code, out, _ = command(stream.config, "checkpoint", "set", QUEUE, "--to", "binlog.000001:204", "--yes")
    assert (code, "SKIPPED" in out) == (0, True)
    stream.run(*skipped, *stream.binlog.transaction(insert("d.t", {"a": 3})))
    assert stream.written() == [{"a": 1}, {"a": 3}]
    assert command(stream.config, "checkpoint", "set", QUEUE, "--to", "other.000001:4", "--yes")[0] == 0
    other = Binlog(base="other")
    other.ts = stream.binlog.ts + 1
    stream.run(*other.transaction(insert("d.t", {"a": 4})))
    assert stream.written() == [{"a": 1}, {"a": 3}, {"a": 4}], "places of another binlog are behind those before"


def test_status_and_doctor_say_what_is_so(stream: Lines, command: Command) -> None:
    code, out, _ = command(stream.config, "status")
    assert (code, "no worker has ever followed it" in out, str(stream.path) in out) == (2, True, True)
    stream.run(b"junk", *stream.binlog.transaction(insert("d.t", {"a": 1})))
    code, out, _ = command(stream.config, "status")
    assert code == 2
    assert "was stopped" in out
    assert "1 change parked" in out
    assert "binlog.000001:104" in out
    assert "state schema" not in out
    assert stream.keep.lock()
    code, out, _ = command(stream.config, "status")
    assert (code, "DEGRADED" in out, "its worker does not read" in out) == (1, True, False)
    code, out, _ = command(stream.config, "doctor", "--skip", "broker", "--skip", "stream")
    assert f"the file {stream.path} can be written" in out
    assert f"{QUEUE} stands at binlog.000001:104, owned by process" in out
    assert f"1 change of {QUEUE} parked" in out
    assert "db_info" not in out.replace("source_db_info", "")
    stream.keep.close()


@pytest.fixture(scope="module")
def redis_server() -> lab.Redis:
    return lab.start_redis("desk")


@pytest.fixture
def cache(redis_server: lab.Redis, fresh_source: Endpoint) -> Callable[..., dict[str, Any]]:
    """cache(**options of d.t): a configuration."""
    redis_server.start()
    connect(redis_server).flushall()
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")

    def config(**options: Any) -> dict[str, Any]:
        sink = {"type": "redis", "port": redis_server.port, "tables": {"d.t": {"key": "t:{id}", **options}}}
        return {"sink": sink, "source_db_info": fresh_source.db_info, "log_file_prefix": "", **RABBITMQ}

    return config


def test_redis_is_looked_at_and_mended_alike_and_older_never_overwrites_newer(
    redis_server: lab.Redis, cache: Callable[..., dict[str, Any]], tmp_path: Path, command: Command
) -> None:
    refusing = write_config(cache(fields={"w": "1 / v"}), tmp_path / "refusing.py")
    config = write_config(cache(), tmp_path / "config.py")
    settings = load_settings(refusing, require=("db_info",))[0]
    binlog = Binlog()
    run(settings, binlog.transaction(insert("d.t", {"id": 1, "v": 0}), insert("d.t", {"id": 2, "v": 0})), stream=QUEUE)
    assert "has no value for this row: division by zero" in command(config, "parked", "list", "--json")[1]
    code, out, _ = command(config, "status")
    assert (code, "2 changes parked" in out) == (2, True)

    def keep() -> Keep:
        return parts_of(settings, stream=QUEUE).keep

    def with_id(number: int) -> KeptChange:
        return next(kept for kept in keep().parked() if kept.id == number)

    assert command(config, "parked", "skip", "2", "--reason", "for the test")[0] == 0
    run(settings, binlog.transaction(update("d.t", {"id": 2, "v": 5}, {"v": 0})), stream=QUEUE)
    keep().amend(msgspec.structs.replace(with_id(2), status="parked"))
    code, out, _ = command(config, "parked", "retry")
    assert (code, "2 applied" in out) == (0, True)
    rows = rows_in(connect(redis_server))
    assert (rows["t:1"]["v"], rows["t:2"]["v"]) == ("0", "5")
    assert with_id(1).history[-1].detail == "applied"
    assert command(config, "pause", QUEUE)[0] == 0
    assert f"paused: {QUEUE} since" in command(config, "status")[1]
    assert command(config, "resume", QUEUE)[0] == 0
    assert command(config, "pause")[1].strip() == "nothing is paused"
    assert "binlog.000001:204" in command(config, "checkpoint", "show")[1]
    out = command(config, "doctor", "--skip", "broker", "--skip", "stream")[1]
    assert "the sink answers" in out


def test_the_page_shows_and_does_the_same_for_lines(tmp_path: Path) -> None:
    stream = Lines(tmp_path, **OPTIONS)
    operate(stream.settings, stream.binlog)
    assert [line["data"] for line in lines(stream.path)] == [{"id": 1, "v": 1}, {"id": 2, "v": 2}, {"id": 3, "v": 3}]


def test_the_page_shows_and_does_the_same_for_redis(
    redis_server: lab.Redis, cache: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = write_config({**cache(), **OPTIONS}, tmp_path / "config.py")
    operate(load_settings(config, require=("db_info",))[0], Binlog())
    assert sorted(rows_in(connect(redis_server))) == ["t:1", "t:2", "t:3"]


def test_how_many_are_parked_is_counted_and_not_read(
    stream: Lines, redis_server: lab.Redis, cache: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_from_mapping(cache(), require=("db_info",))[0]
    stream.run(b"junk", b"more junk", b"and more")
    run(settings, [b"junk", b"more junk", b"and more"], stream=QUEUE)
    keeps: list[Keep] = [stream.keep, parts_of(settings, stream=QUEUE).keep]
    for keep in keeps:
        first, *_, last = keep.parked()
        with monkeypatch.context() as patched:
            patched.setattr(type(keep), "parked", lambda self: pytest.fail("the changes are read"))
            assert keep.parked_count() == 3
            for kept, status, count in (
                (last, "skipped", 2), (last, "skipped", 2), (first, "applied", 1), (last, "parked", 2),
            ):  # fmt: skip
                keep.amend(msgspec.structs.replace(kept, status=status))
                assert keep.parked_count() == count, (keep, status)
        assert [kept.status for kept in keep.parked()] == ["applied", "parked", "parked"]
    # A stream that a former version has kept: its first worker counts them.
    client = connect(redis_server)
    client.hdel(f"pydbsync:{{{QUEUE}}}:state", "parked_now")
    assert keeps[1].parked_count() == 2
    run(settings, [b"last"], stream=QUEUE)
    assert client.hget(f"pydbsync:{{{QUEUE}}}:state", "parked_now") == b"3"
    assert parts_of(settings, stream=QUEUE).keep.parked_count() == 3


def test_a_worker_is_told_from_one_that_is_gone_whatever_the_clocks_say(stream: Lines, command: Command) -> None:
    stream.run(*stream.binlog.transaction(insert("d.t", {"a": 1})))
    code, out, _ = command(stream.config, "status", "--json")
    (queue,) = json.loads(out)["queues"]
    assert (code, queue["worker"]["state"], queue["worker"]["figures"]["applied"]) == (2, "stopped", 1)

    def note(at: float, number: int) -> None:
        (text,) = stream.keep.notes(["worker"])
        found = json.loads(text or b"")
        found["at"] = at
        found["row"] |= {"state": "following", "every_s": 0.2, "applied": number}
        stream.keep.note("worker", json.dumps(found).encode())

    note(time.time() - 7200, 1)
    out = command(stream.config, "status")[1]
    assert "the worker has gone without a word 2 h ago" in out
    stop = threading.Event()

    def beat() -> None:
        number = 1
        while not stop.wait(0.05):
            number += 1
            note(time.time() - 7200, number)  # a clock that is two hours late

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    assert stream.keep.lock()
    try:
        out = command(stream.config, "status")[1]
    finally:
        stop.set()
        beating.join()
        stream.keep.close()
    assert "following for" in out
