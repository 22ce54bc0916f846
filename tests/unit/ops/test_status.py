"""What status makes of the facts: a table of situations, and what people read of each."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pydbsync.ops.status.facts import (
    BrokerQueue,
    Cutover,
    Gap,
    Health,
    ParkedGroup,
    Process,
    Queue,
    Reached,
    Status,
    TaskRun,
)
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.show import shown
from pydbsync.ops.words import counted, seconds


def worker(state: str = "following", *, state_s: float = 600, written_s: float = 0.5, **given: Any) -> Process:
    figures = {
        "epoch": 1, "lag_s": 0.4, "depth": 0, "held": 0, "messages_per_s": 100.0, "rows_per_s": 100.0,
        "arriving_per_s": 100.0, "level_s": 0.0, "busy_s": None, **given,
    }  # fmt: skip
    return Process(
        host="db1", pid=7, pydbsync_version="1", state=state, state_s=state_s, written_s=written_s, every_s=1,
        figures=figures,
    )  # fmt: skip


def ended(error: str | None, remedy: str | None) -> Process:
    process = worker("stopped", state_s=60, written_s=60)
    process.last_error, process.remedy = error, remedy
    return process


def place(changed_s: float = 1) -> Reached:
    return Reached("binlog.000007:4", "", 2.0, 10, 0, "pid 7 on db1", 1, changed_s)


def queue(process: Process | None = None, **given: Any) -> Queue:
    facts: dict[str, Any] = {"stream": "q", "queue": "q", "is_configured": True, "is_owned": True, "place": place()}
    return Queue(worker=process, **facts | given)


def task(kind: str, **given: Any) -> TaskRun:
    facts: dict[str, Any] = {
        "id": 1, "kind": kind, "name": "", "host": "h", "pid": 1, "state": "running", "state_s": 5, "started_s": 5,
        "written_s": 0.5, "every_s": 1, "done": 10, "total": 100, "unit": "rows", "per_s": 2.0, "detail": None,
        "result": None, "last_error": None, "exit_code": None, "is_over": False,
    }  # fmt: skip
    return TaskRun(**facts | given)


LATE: dict[str, Any] = {"lag_s": 40.0, "depth": 500, "held": 100}
GAP = Gap("gap", "rows 2 to 3 did not come", "run `pydbsync verify`", 100)
DUPLICATE = ParkedGroup(2, "d.t", 1062, "Duplicate entry 'x'", 17, 60, waits=False)

SITUATIONS: dict[str, tuple[Queue, list[TaskRun], Health, list[str]]] = {
    "level": (queue(worker()), [], "healthy", ["HEALTHY: 1 of 1 queue at work, level", "behind   level"]),
    "never started": (
        queue(place=None, is_owned=False), [], "down", ["no worker has ever followed it", "start `pydbsync run`"],
    ),
    "killed": (
        queue(worker(written_s=90), is_owned=False), [], "down",
        ["gone without a word 1 min 30 s ago (pid 7 on db1)", "nothing is lost"],
    ),
    "killed, and another stands by": (
        queue(worker(written_s=90), is_owned=False, stand_by=[worker("standing by")]), [], "degraded",
        ["1 worker stands by"],
    ),
    "frozen": (
        queue(worker(written_s=60), place=place(60)), [], "down",
        ["holds the queue and was heard of last 1 min ago", "SIGSTOP"],
    ),
    "cannot write its state": (
        queue(worker(written_s=60)), [], "degraded", ["holds the queue", "cannot write its state"],
    ),
    "stopped by a policy": (
        queue(ended("on_error says stop: d.t", "mend the cause"), is_owned=False), [], "down",
        ["stopped 1 min ago (pid 7 on db1): on_error says stop: d.t", "q: mend the cause"],
    ),
    "stopped by somebody": (
        queue(ended(None, None), is_owned=False), [], "down", ["was stopped 1 min ago", "start `pydbsync run`"],
    ),
    "behind, and catching up": (
        queue(worker(level_s=12.0, **LATE)), [], "degraded", ["40 s; level in about 12 s", "40 s behind"],
    ),
    "behind, and not catching up": (
        queue(worker(level_s=None, **LATE)), [], "degraded", ["not catching up", "docs/scaling.md"],
    ),
    "stalled": (
        queue(worker(level_s=None, messages_per_s=0.0, busy_s=35.0, **LATE)), [], "degraded",
        ["stands still: 600 messages wait", "one statement for 35 s", "SHOW PROCESSLIST"],
    ),
    "nothing comes": (
        queue(worker(lag_s=90.0)), [], "degraded", ["nothing comes", "pydbsync heartbeat"],
    ),
    "the broker is away": (
        queue(worker("waiting for the queue", state_s=30)), [], "down", ["waits for RabbitMQ for 30 s"],
    ),
    "another consumer": (
        queue(worker("waiting for the queue", state_s=30), broker=BrokerQueue(5, 1)), [], "down",
        ["waits for its turn", "1 consumer on the queue"],
    ),
    "two consumers": (
        queue(worker(), broker=BrokerQueue(0, 2)), [], "degraded", ["2 consumers are on the queue"],
    ),
    "read-only": (
        queue(worker("the target is read-only", state_s=30)), [], "down", ["end read_only there"],
    ),
    "just starting": (queue(worker("waiting for the queue", state_s=2)), [], "healthy", ["waiting for the queue for"]),
    "paused": (queue(worker("paused", state_s=30)), [], "degraded", ["paused for 30 s", "`pydbsync resume`"]),
    "paused, and nobody is there": (
        queue(place=None, is_owned=False, paused="q since May by ann: index"), [], "down",
        ["paused: q since May by ann: index", "`pydbsync resume q`"],
    ),
    "schema changes are paused": (
        queue(worker(), paused_ddl=["the schema changes of d.t since May by ann: load"]), [], "degraded",
        ["paused: the schema changes of d.t since May", "resume --ddl"],
    ),
    "parked": (
        queue(worker(), parked=[DUPLICATE]), [], "degraded",
        ["2 changes parked", "2 of d.t, the oldest 1 min ago, first id 17: Duplicate", "parked list --stream q"],
    ),
    "a gap": (queue(worker(), incidents=[GAP]), [], "degraded", ["something may be missing: rows 2 to 3", "verify"]),
    "a gap that a comparison has answered": (
        queue(worker(), incidents=[GAP]),
        [task("verify", is_over=True, exit_code=0, started_s=50, state="done")], "healthy", ["1 gap in the stream"],
    ),
    "a gap behind the comparison": (
        queue(worker(), incidents=[GAP]),
        [task("verify", is_over=True, exit_code=0, started_s=500, state="done")], "degraded", ["may be missing"],
    ),
    "a copy at work": (
        queue(worker()), [task("copy")], "healthy", ["copy at work", "10 of about 100 rows", "45 s left"],
    ),
    "a copy that was killed": (
        queue(worker()), [task("copy", written_s=50)], "degraded",
        ["copy has gone without a word", "goes on where it was"],
    ),
    "capture that was killed": (queue(worker()), [task("capture", written_s=50)], "down", ["capture has gone"]),
    "differences": (
        queue(worker()), [task("verify", is_over=True, exit_code=1, state="done", result="1 table different")],
        "degraded", ["verify found differences", "1 table different"],
    ),
}  # fmt: skip


def test_what_was_removed_from_the_state_schema_is_no_good_news() -> None:
    """An empty answer is none where the table itself has gone."""
    status = Status(at="", target="t", state_schema="s", state_lost=["parked"], queues=[queue(worker())])
    judge(status)
    assert status.health == "down"
    assert "the state schema s lacks parked" in status.todo[0]


def test_parked_changes_of_a_queue_that_nobody_has_are_told() -> None:
    left = queue(stream="old", queue="old", is_configured=False, is_owned=False, place=None, parked=[DUPLICATE])
    status = Status(at="", target="t", queues=[queue(worker()), left])
    judge(status)
    assert status.health == "degraded"
    assert "parked list --stream old" in status.todo[0]


BY_ITSELF = {"behind, and catching up", "killed, and another stands by"}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_is_named_with_what_to_do(name: str) -> None:
    found, tasks, health, words = SITUATIONS[name]
    status = Status(at="2030-01-01 00:00:00", target="t", queues=[found], tasks=tasks)
    judge(status)
    text = str(shown(status))
    assert (status.health, status.exit_code()) == (health, ["healthy", "degraded", "down"].index(health)), text
    for each in words:
        assert each in text, text
    assert bool(status.todo) == (health != "healthy" and name not in BY_ITSELF), text


def cutover(**given: Any) -> Cutover:
    facts: dict[str, Any] = {
        "plan": "shop", "command": "cutover", "state": "done", "source": "a@old", "target": "a@new",
        "started": "2030-01-01 00:00:00", "ended_streams": ["q"], "is_level": True,
        "way_back": "level; a rollback now would stop writing for about 2 s and lose nothing",
    }  # fmt: skip
    return Cutover(**facts | given)


CUTOVERS: dict[str, tuple[Cutover, Health, list[str]]] = {
    "done, and the way back is level": (
        cutover(), "healthy",
        ["HEALTHY: a@new has taken over",
         "this direction is over, by the cutover of shop", "a@new has been in charge since", "and lose nothing"],
    ),
    "done, and nothing follows": (
        cutover(is_level=False, way_back="no worker follows back.q"), "degraded",
        ["the way back of shop: no worker follows back.q"],
    ),
    "killed": (
        cutover(state="running", ended_streams=[], is_level=None, way_back=""), "down",
        ["began at 2030-01-01 00:00:00 has not ended", "goes on with it"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CUTOVERS)
def test_a_cutover_says_who_is_in_charge_and_what_the_way_back_would_take(name: str) -> None:
    """The worker of the direction was stopped: where it is over, nobody is to start it again."""
    found, health, words = CUTOVERS[name]
    status = Status(at="x", target="t", queues=[queue(ended(None, None), is_owned=False)], cutovers=[found])
    judge(status)
    text = str(shown(status))
    assert status.health == health, text
    for each in words:
        assert each in text, text


def test_a_target_that_is_away_says_so_and_that_nothing_is_lost() -> None:
    status = Status(at="x", target="t:3306", target_note="cannot be reached", queues=[queue(None, place=None)])
    judge(status)
    assert status.exit_code() == 2
    assert "the target does not answer (cannot be reached)" in str(shown(status))
    assert "messages wait in RabbitMQ" in status.todo[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.44, "0.4 s"), (12.4, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (3600, "1 h"), (273_600, "3 days 4 h")],
)
def test_seconds_are_said_as_people_say_them(value: float, text: str) -> None:
    assert seconds(value) == text
    assert counted(1, "row") == "1 row"


def test_on_a_screen_that_is_too_short_stands_what_to_do_and_not_the_rest() -> None:
    queues = [queue(stream=f"q{number}", queue=f"q{number}", is_owned=False) for number in range(20)]
    status = Status(at="2026-01-01 00:00:00", target="db", queues=queues)
    judge(status)
    console = Console(width=60, height=10, force_terminal=True, record=True, file=io.StringIO())
    console.print(shown(status, todo_first=True))
    seen = console.export_text().splitlines()[:10]
    assert "DOWN" in seen[0]
    assert any("start `pydbsync run`" in line for line in seen)
    assert str(shown(status)).splitlines()[-20].lstrip().startswith("1. ")


def test_figures_that_are_not_known_leave_no_hole() -> None:
    one = queue(worker(messages_per_s=None, rows_per_s=None, arriving_per_s=None, depth=9))
    status = Status(at="2026-01-01 00:00:00", target="db", queues=[one])
    judge(status)
    assert "9 wait, 0 taken in\n" in str(shown(status))


def test_the_last_warning_of_a_worker_stays_in_sight_and_is_said_once() -> None:
    process = worker()
    process.last_error, process.last_error_s, process.remedy = "the supervisor\nis stopped" + 50 * ", so", 90, "end it"
    status = Status(at="now", target="t", state_schema="pydbsync", queues=[queue(process)])
    judge(status)
    text = str(shown(status))
    assert f"  warning  the supervisor is stopped{50 * ', so'} (1 min 30 s ago)\n" in text
    assert "           end it\n" in text
    status = Status(at="now", target="t", state_schema="pydbsync", queues=[queue(ended("no such key", "correct it"))])
    judge(status)
    assert str(shown(status)).count("no such key") == 1
