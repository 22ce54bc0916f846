"""Cutover and rollback on real servers, while a small application writes: no committed write is missing or doubled."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.ops.cutover.run import steps
from pydbsync.ops.servers import Server
from tests.commands import call
from tests.matrices import LONG
from tests.processes import wait_for
from tests.servers import Endpoint, Vhost
from tests.switching import Application, Stage

CLOSE = """
import os, sys
import pymysql

connection = pymysql.connect(host=os.environ["PYDBSYNC_FROM_HOST"], port=int(os.environ["PYDBSYNC_FROM_PORT"]),
                             user=sys.argv[2], password=sys.argv[3])
connection.cursor().execute(f"SET GLOBAL read_only = {int(sys.argv[1])}")
"""
STOP = (
    "for each in /proc/[0-9]*; do"
    """ if tr '\\0' ' ' < $each/cmdline | grep -q -- "pydbsync .*--config $PYDBSYNC_CONFIG";"""
    " then kill ${each#/proc/}; fi; done 2> /dev/null; true"
)


@pytest.fixture
def stage(fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(fresh_source, fresh_target, vhost, tmp_path)
    yield stage
    stage.close()


def hooks_of(stage: Stage) -> dict[str, str]:
    """One of each kind, but `switch`: service managers, and a fence, of one's own."""
    (stage.folder / "close.py").write_text(CLOSE, encoding="utf-8")
    close = f"{sys.executable} {stage.folder / 'close.py'}"
    login = f"{stage.source.user} {stage.source.password}"
    start = f'{sys.executable} -m pydbsync %s --config "$PYDBSYNC_CONFIG" %s &'
    return {
        "fence": f"{close} 1 {login}",
        "unfence": f"{close} 0 {login}",
        "open": f'echo "$PYDBSYNC_TO" >> {stage.folder / "opened"}',
        "start": start % ("run", "")
        + start % ("capture", '--state target --name "$PYDBSYNC_CAPTURE_NAME" --start "$PYDBSYNC_START"'),
        "stop": STOP,
    }


def lose_the_first_question_of_each_step(
    stage: Stage, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> set[tuple[str, int]]:
    """Steps with the servers whose connection was lost under a question of theirs."""
    lost: set[tuple[str, int]] = set()
    call = Server.call

    def lossy(self: Server, question: Callable[[Connection], Any]) -> Any:
        def ask(connection: Connection) -> Any:
            port = int(self._keywords["port"])
            if begun and (begun[-1], port) not in lost:
                lost.add((begun[-1], port))
                server = next(each for each in (stage.source, stage.target) if each.port == port)
                server.query(f"KILL {connection.connection_id}")
            return question(connection)

        return call(self, ask)

    monkeypatch.setattr(Server, "call", lossy)
    return lost


@pytest.mark.parametrize(
    ("killed_undoing", "killed"),
    [("", ()), pytest.param("undo-carry", ("carry-done", "hook-switch"), marks=LONG)],
)
def test_there_and_back_under_load_no_write_is_lost_or_doubled(
    stage: Stage, killed_undoing: str, killed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way: what fails is undone, what is killed is gone on with, hooks of all kinds, and what is asked; all
    connections are lost at each step."""
    source, target = stage.source, stage.target
    hooks = hooks_of(stage)
    stage.write_plan()
    application = Application(stage).start()
    stage.begin_capture()
    application.write_more(20)

    done = stage.run("rehearse", str(stage.plan), "--copy", "--drains", "2", "--verifies", "1", "--json")
    assert done.exit_code == 0, done
    found = json.loads(done.stdout)
    assert (found["stops"], [len(part["seconds"]) for part in found["parts"][:2]]) == ([], [2, 1])
    assert (stage.folder / "shop-rehearsal.html").read_text().count("<polyline points='") == 2
    stage.write_plan(hooks={**hooks, "switch": "echo no such proxy; exit 7"})

    asked = call("cutover", str(stage.plan))
    assert (asked.returncode, "--yes is needed where nobody can be asked" in asked.stderr) == (2, True), asked
    if killed_undoing:
        assert stage.call("cutover", kill_at=f"cutover-{killed_undoing}").exit_code < 0
        refused = application.refused
        wait_for(lambda: application.refused > refused, what="a write that is refused while the undoing is not over")
    done = stage.call("cutover")
    assert (done.exit_code, "exit code 7: no such proxy" in done.stderr) == (3, True), done
    application.write_more(20)
    assert source.query("SELECT event_name, status FROM information_schema.events") == [("nightly", "ENABLED")]
    fires = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop'"
    assert (source.query(fires), target.query(fires)) == ([("count_orders",)], [])
    assert target.query("SELECT event_name FROM information_schema.events") == []

    stage.write_plan(hooks={**hooks, "switch": stage.switch})
    for point in killed:
        done = stage.call("cutover", kill_at=f"cutover-{point}")
        assert done.exit_code < 0, f"{point}: {done}"
    done = stage.answered("cutover", "y\n" if killed else "y\ny\n")  # what is gone on with has been begun by a yes
    assert (done.exit_code, done.stdout.count(" now? [y/N]")) == (0, 1), done
    assert "Applications could not write for" in done.stdout
    application.write_more(20)
    assert (stage.folder / "opened").read_text() == f"{target.host}:{target.port}\n"
    runs = "SELECT status FROM information_schema.events"
    assert (source.query(runs), target.query(runs)) == ([("DISABLED",)], [("ENABLED",)])
    assert call("cutover", str(stage.plan), "--yes").returncode == 2  # it is cut over already
    status = json.loads(call("status", "--config", str(stage.folder / "forth.py"), "--json").stdout)
    (told,) = status["cutovers"]
    assert (told["state"], told["ended_streams"], told["write_stop_s"] > 0) == ("done", ["sync"], True)
    assert "a rollback now would stop writing for about" in told["way_back"]

    stage.write_plan()
    begun: list[str] = []
    lost = lose_the_first_question_of_each_step(stage, begun, monkeypatch)

    def tell(text: str) -> None:
        if (found := re.fullmatch(r" ?\d+  (\w+): .*", text)) is not None:
            begun.append(found[1])
            stage.end_sessions()

    assert stage.go("rollback", tell).target.endswith(f":{source.port}")
    assert begun == [step.name for step in steps()]
    assert {name for name, _ in lost} == {*begun}
    application.write_more(20)
    application.stop()
    assert application.faults(source) == []
    wait_for(lambda: application.faults(target) == [], what="the last orders at the other server")
