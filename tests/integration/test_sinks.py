"""Sinks: what a stream leaves in them, whatever comes again."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.errors import ConfigError, StopError
from pydbsync.process.status import WorkerStatus
from pydbsync.process.worker import follow
from pydbsync.sinks.folder import FolderKeep
from pydbsync.source.memory import MemorySource
from tests.maxwell import Binlog, delete, insert, update

PAGE = Path(__file__).parents[2] / "docs" / "sinks.md"
LOG = logging.getLogger("tests.sinks")


def settings_for(sink: dict[str, Any], **options: Any) -> Settings:
    given = {"sink": sink, "retry": {"first_s": 0.01, "max_s": 0.1}, "log_file_prefix": "", **options}
    return settings_from_mapping(given, require=("db_info",))[0]


def run(settings: Settings, bodies: Iterable[bytes], *, stream: str = "memory", block: int = 1000) -> WorkerStatus:
    source = MemorySource(bodies, stream=stream, block=block)
    status = follow(
        settings, source, stop=threading.Event(), send=lambda status: None, log=LOG, until_drained=True
    )  # fmt: skip
    assert source.depth() == 0
    assert source.acknowledged or not bodies
    return status


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shown(path: Path) -> list[tuple[str, str, Any]]:
    return [(line["type"], line["table"], line.get("data", line.get("sql"))) for line in lines(path)]


def test_the_sink_of_the_page_is_written_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    configs = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "SqliteSink" in text]
    assert (len(code), len(configs)) == (1, 1)
    (tmp_path / "shop_sinks.py").write_text(code[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    settings = settings_for(yaml.safe_load(configs[0])["sink"])
    binlog = Binlog()
    first = binlog.transaction(insert("shop.users", {"id": 1, "name": "ann"}), insert("shop.other", {"id": 1}))
    second = binlog.transaction(
        update("shop.users", {"id": 2, "name": "ann"}, {"id": 1}), insert("shop.users", {"id": 3, "name": "bob"})
    )
    third = binlog.transaction(delete("shop.users", {"id": 3, "name": "bob"}))

    def found() -> dict[str, Any]:
        with sqlite3.connect("shop.sqlite") as database:
            rows = dict(database.execute("SELECT id, row FROM users").fetchall())
        return {key: json.loads(row) for key, row in rows.items() if row is not None}

    assert run(settings, [*first, *second]).applied == 3
    assert found() == {"2": {"id": 2, "name": "ann"}, "3": {"id": 3, "name": "bob"}}
    assert run(settings, [*first, *second, *third]).applied == 1
    assert found() == {"2": {"id": 2, "name": "ann"}}
    (tmp_path / "shop.state" / "state.json").unlink()  # all comes again, behind what is newer
    assert run(settings, [*first, *second]).applied == 3
    assert found() == {"2": {"id": 2, "name": "ann"}}
    run(settings, binlog.ddl("TRUNCATE TABLE users", "shop.users", kind="table-alter"))
    assert found() == {}


def test_a_class_that_cannot_be_used_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_sinks.py").write_text("class Half:\n    def open(self): ...\n    write = close = open\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, sentence in (
        (
            "nowhere_sinks:Half",
            "No module named 'nowhere_sinks'; Python looks in what is installed, and in the folders",
        ),
        ("half_sinks:Whole", "has no attribute 'Whole'"),
        ("half_sinks:Half", "has no method key_columns, check, change_schema"),
    ):
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            run(settings_for({"type": name, "state": str(tmp_path / "state")}), [])


@pytest.mark.parametrize("lost", ["nothing", "the checkpoint", "half a line", "the checkpoint and half a line"])
def test_lines_are_written_once_each_whatever_comes_again(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "out.ndjson"
    settings = settings_for({"type": "ndjson", "path": str(path)})
    binlog = Binlog()
    first = binlog.transaction(insert("d.t", {"a": 1}), update("d.t", {"a": 2}, {"a": 1}))
    first += binlog.ddl("ALTER TABLE t ADD b INT", "d.t", columns=("a", "b"))
    second = binlog.transaction(delete("d.t", {"a": 2, "b": None}))
    run(settings, first)
    if "checkpoint" in lost:
        (tmp_path / "out.ndjson.state" / "state.json").unlink()
    if "half a line" in lost:
        with path.open("ab") as file:
            file.write(b'{"place":"z","database"')
    run(settings, first + second)
    assert shown(path) == [
        ("insert", "t", {"a": 1}),
        ("update", "t", {"a": 2}),
        ("alter-table", "t", "ALTER TABLE t ADD b INT"),
        ("delete", "t", {"a": 2, "b": None}),
    ]
    assert lines(path)[1]["old"] == {"a": 1}
    places = [line["place"] for line in lines(path)]
    assert places == sorted(places)


def test_a_file_of_one_long_line_is_gone_on_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    settings = settings_for({"type": "ndjson", "path": str(path)})
    binlog = Binlog()
    first = binlog.transaction(insert("d.t", {"a": "x" * 300_000}))
    run(settings, first)
    (tmp_path / "out.ndjson.state" / "state.json").unlink()
    run(settings, first + binlog.transaction(insert("d.t", {"a": "y"})))
    assert [line["data"]["a"][0] for line in lines(path)] == ["x", "y"]


def test_a_stream_that_begins_anew_is_written_behind_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    settings = settings_for({"type": "ndjson", "path": str(path)})
    binlog = Binlog()
    binlog.offset = 10_000
    old = binlog.transaction(insert("d.t", {"a": 1}))
    binlog.reset()
    binlog.ts += 60
    new = binlog.transaction(insert("d.t", {"a": 2})) + binlog.ddl("DROP TABLE t", "d.t")
    status = run(settings, old + new)  # in one batch
    assert status.new_streams == 1
    run(settings, new)
    assert [kind for kind, *_ in shown(path)] == ["insert", "insert", "drop-table"]
    places = [line["place"] for line in lines(path)]
    assert places == sorted(places)
    binlog.reset()
    binlog.ts += 60
    run(settings, binlog.ddl("CREATE TABLE t (a INT)", "d.t", columns=("a",)))
    assert [kind for kind, *_ in shown(path)][-1] == "create-table"
    assert lines(path)[-1]["place"] > max(places)


def test_what_cannot_be_read_is_parked_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    settings = settings_for({"type": "ndjson", "path": str(path)})
    binlog = Binlog()
    good = binlog.transaction(insert("d.t", {"a": 1}))
    status = run(settings, [b"junk", *good])
    assert (status.applied, status.parked) == (1, 1)
    keep = FolderKeep(tmp_path / "out.ndjson.state")
    keep.lock()
    keep.take_over()
    assert [kept.change.message for kept in keep.parked()] == [b"junk"]
    keep.close()
    with pytest.raises(StopError, match="not JSON"):
        run(settings_for({"type": "ndjson", "path": str(path)}, on_error="stop"), [b"more junk"])


@pytest.mark.parametrize("policy", ["skip", "park", "stop"])
def test_schema_changes_go_by_policy(tmp_path: Path, policy: str) -> None:
    path = tmp_path / "out.ndjson"
    settings = settings_for({"type": "ndjson", "path": str(path)}, schema_changes=policy)
    binlog = Binlog()
    bodies = binlog.ddl("DROP TABLE t, u", "d.t", "d.u") + binlog.transaction(insert("d.t", {"a": 1}))
    if policy == "stop":
        with pytest.raises(StopError, match="schema_changes says stop"):
            run(settings, bodies)
        return
    status = run(settings, bodies)
    assert status.parked == {"skip": 0, "park": 3}[policy]  # both messages, and the row behind them
    assert len(lines(path)) == {"skip": 1, "park": 0}[policy]


def test_rewritten_names_and_filters_hold_for_sinks_too(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    settings = settings_for({"type": "ndjson", "path": str(path)}, dbname_rewrite={"d": "e"}, exclude=["d.secret"])
    binlog = Binlog()
    run(settings, binlog.transaction(insert("d.t", {"a": 1}), insert("d.secret", {"a": 1})))
    assert [(line["database"], line["table"]) for line in lines(path)] == [("e", "t")]


def test_two_workers_never_own_one_stream(tmp_path: Path) -> None:
    one, other = FolderKeep(tmp_path), FolderKeep(tmp_path)
    assert one.lock()
    assert not other.lock()
    assert "process" in other.holder()
    one.close()
    assert other.lock()
    other.close()
