"""`checkpoint show` and `set`: an operator moves a stream's place, and knows before what is skipped or repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.cli import application
from tests.integration.engine import replay
from tests.maxwell import Binlog, insert
from tests.processes import write_config
from tests.servers import Endpoint

Call = Callable[..., tuple[int, str]]
ROWS = "SELECT id FROM d.t ORDER BY id"


@pytest.fixture
def call(fresh_target: Endpoint, tmp_path: Path) -> Call:
    config = str(write_config({"db_info": fresh_target.db_info, "log_file_prefix": ""}, tmp_path / "config.py"))

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(application("checkpoint"), ["checkpoint", *arguments, "--config", config])
        return done.exit_code, done.output + (str(done.exception) if done.exception else "")

    return run


def place_of(message: bytes) -> str:
    return str(json.loads(message)["position"])


def test_what_is_skipped_is_never_applied_and_what_is_repeated_is_again(
    fresh_target: Endpoint, binlog: Binlog, call: Call
) -> None:
    begin = [
        *binlog.ddl("CREATE DATABASE d", "d"),
        *binlog.ddl("CREATE TABLE d.t (id INT)", "d.t", columns=("id",)),
        *binlog.transaction(insert("d.t", {"id": 1})),
    ]
    replay(fresh_target, begin)
    two, three, four = (binlog.transaction(insert("d.t", {"id": number})) for number in (2, 3, 4))
    code, said = call("show", "memory", "--json")
    [shown] = json.loads(said)
    assert (code, shown["position"], shown["is_owned"], shown["applied"]) == (0, place_of(begin[-1]), False, 1)

    assert call("set", "memory", "--to", place_of(three[0]))[0] != 0, "nobody was there to be asked"
    assert json.loads(call("show", "--json")[1])[0]["position"] == place_of(begin[-1])
    code, said = call("set", "memory", "--to", place_of(three[0]), "--yes")
    assert (code, "SKIPPED: all changes behind" in said, "bytes of binlog" in said) == (0, True, True), said
    replay(fresh_target, [*two, *three, *four])
    assert fresh_target.query(ROWS) == [(1,), (4,)]

    code, said = call("set", "memory", "--to", place_of(two[0]), "--yes")
    assert (code, "REPEATED: what lies behind" in said) == (0, True), said
    replay(fresh_target, [*two, *three, *four])
    assert fresh_target.query(ROWS) == [(1,), (3,), (4,), (4,)]
    audit = fresh_target.query("SELECT action, about, LEFT(detail, 10) FROM pydbsync.operator_audit ORDER BY id")
    assert audit == [("checkpoint", "memory", "binlog.000")] * 2


def test_a_stream_that_is_owned_is_left_alone(fresh_target: Endpoint, binlog: Binlog, call: Call) -> None:
    replay(fresh_target, binlog.ddl("CREATE DATABASE d", "d"))
    row, owner = CheckpointRow(schema="pydbsync", stream="memory"), Connection(fresh_target.db_info)
    assert row.try_lock(owner)
    code, said = call("set", "memory", "--to", "binlog.000009:4", "--yes")
    assert (code != 0, "stop the workers first" in said) == (True, True), said
    assert json.loads(call("show", "--json")[1])[0]["is_owned"]
    owner.close()
    assert call("set", "memory", "--to", "binlog.000009:4", "--yes")[0] == 0


def test_gtids_go_before_the_place_and_so_are_asked_for(fresh_target: Endpoint, call: Call) -> None:
    source = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    fresh_target.query("CREATE DATABASE IF NOT EXISTS pydbsync")
    assert call("show")[1] == "there is no checkpoint yet\n"
    fresh_target.query(
        "INSERT INTO pydbsync.checkpoint (stream, binlog_base, binlog_file, binlog_offset, gtids, ghosts)"
        f" VALUES ('memory', 'binlog', 3, 100, '{source}:1-9', '')"
    )
    code, said = call("set", "memory", "--to", "binlog.000003:200", "--yes")
    assert (code != 0, "--gtids is needed" in said) == (True, True), said
    code, said = call("set", "memory", "--to", "binlog.000003:200", "--gtids", f"{source}:1-12", "--yes")
    assert code == 0, said
    assert json.loads(call("show", "--json")[1])[0]["gtids"] == f"{source}:1-12"
    for wrong in ("binlog.3", "binlog.000003:x", "binlog.000003:4/x"):
        assert "--to: expected a place" in call("set", "memory", "--to", wrong, "--gtids", "", "--yes")[1]
    assert "no checkpoint of 'other'" in call("show", "other")[1]
