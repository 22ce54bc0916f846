"""The journal of a cut-over: one at a time, steps that are found again from anywhere, and what undoing must know."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pydbsync.apply import connection as connections
from pydbsync.commands.cutover import asking
from pydbsync.config.cutover_plan import CutoverPlan
from pydbsync.errors import OperationError
from pydbsync.ops.cutover import journal as journals
from pydbsync.ops.cutover.engine import Engine
from pydbsync.ops.cutover.journal import Command, CutoverJournal, read_runs
from pydbsync.ops.cutover.run import CutoverCall
from pydbsync.ops.cutover.ways import Ways
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction, StepFailed, Undone
from tests.integration.cutting import opened, settings_of, work_of
from tests.processes import wait_for
from tests.proxy import Proxy
from tests.servers import Endpoint


@pytest.fixture(scope="module")
def emptied(source: Endpoint, target: Endpoint) -> None:
    """The state schemas that are made by the first test serve the others too."""
    for server in (source, target):
        server.drop_databases()


@pytest.fixture
def journal(emptied: None, source: Endpoint, target: Endpoint) -> Iterator[CutoverJournal]:
    journal = opened(target)
    yield journal
    journal.close()
    for server in (source, target):
        if "pydbsync" in server.databases():
            for table in ("cutover_run", "cutover_step"):
                server.query(f"DELETE FROM pydbsync.{table}")


class Note(CutoverStep):
    """Writes down what was done and undone."""

    limit = "hook_s"

    def __init__(self, name: str, notes: list[str], fails: str = "", *, is_first: bool = False) -> None:
        """`is_first`: while it is not undone, the server that is left must not be opened."""
        self.name, self._notes, self._fails, self._is_first = name, notes, fails, is_first

    def do(self, work: CutoverWork) -> str:
        self._notes.append(f"do {self.name}")
        if self._fails == "do":
            raise StepFailed("it fails")
        if self._fails == "wait":
            work.waits_for = "a bus"
            while True:
                work.wait(0.05)
        return "done"

    def undo(self, work: CutoverWork) -> str:
        self._notes.append(f"undo {self.name}")
        if self._fails == "undo":
            raise StepFailed("it stays")
        return ""

    def keeps_closed(self, work: CutoverWork) -> bool:
        return self._is_first

    def still(self, work: CutoverWork) -> None:
        if self._fails == "still":
            raise StepFailed("it does not hold any more")


class Fencing(Note):
    """Its undo lets applications write again."""

    opens = True


class Stopping(Note):
    """Its undo has the direction go on."""

    needs_others = True


class Away(Note):
    """Behind it the server with the journal is away."""

    def __init__(self, name: str, notes: list[str], proxy: Proxy, *, is_silent: bool) -> None:
        """`is_silent`: nothing comes from there any more, as from a machine that has lost its power."""
        super().__init__(name, notes)
        self._proxy, self._is_silent = proxy, is_silent

    def do(self, work: CutoverWork) -> str:
        super().do(work)
        if self._is_silent:
            self._proxy.swallow()
        else:
            self._proxy.refuse()
            self._proxy.cut()
        raise StepFailed("it fails")


def test_a_second_one_is_refused_whatever_its_plan_until_the_first_is_gone(
    journal: CutoverJournal, target: Endpoint
) -> None:
    journal.lock()
    journal.lock()
    elsewhere = CutoverJournal(settings_of(target, state_schema="elsewhere"), "another")
    other = opened(target, "another")
    for each in (other, elsewhere):
        with pytest.raises(OperationError, match="another cut-over is at work"):
            each.lock()
    journal.close()
    free = f"SELECT IS_FREE_LOCK('{journals._LOCK}')"
    wait_for(lambda: target.query(free) == [(1,)], what="the server to notice that the first is gone")
    other.lock()
    other.close()
    elsewhere.close()
    target.query("DROP DATABASE elsewhere")


def test_what_fails_is_undone_backwards_with_the_step_that_failed(journal: CutoverJournal) -> None:
    notes: list[str] = []
    engine = Engine(work_of(journal), [Note("one", notes), Note("two", notes), Note("three", notes, "do")])
    with pytest.raises(Undone, match="three: it fails; nothing has changed"):
        engine.go()
    assert notes == ["do one", "do two", "do three", "undo three", "undo two", "undo one"]
    row = journal.newest()
    assert row is not None
    assert (row.state, journal.turn()) == ("undone", 0)


def test_what_takes_too_long_says_what_it_waited_for(journal: CutoverJournal) -> None:
    engine = Engine(work_of(journal, hook_s=0.2), [Note("slow", [], "wait")])
    with pytest.raises(Undone, match=r"slow: it took longer than 0.2 s \(limits.hook_s of the plan\): a bus"):
        engine.go()


def test_an_undoing_that_fails_is_gone_on_with_where_it_failed(journal: CutoverJournal) -> None:
    notes: list[str] = []
    with pytest.raises(StepFailed, match=r"not all could be undone: two \(it stays\)"):
        Engine(work_of(journal), [Note("one", notes), Note("two", notes, "undo"), Note("three", notes, "do")]).go()
    assert notes[3:] == ["undo three", "undo two", "undo one"]
    del notes[:]
    with pytest.raises(Undone):
        Engine(work_of(journal), [Note("one", notes), Note("two", notes), Note("three", notes)]).go()
    assert notes == ["undo two"]


@pytest.mark.parametrize("is_first", [False, True])
def test_applications_do_not_wait_for_what_is_left_elsewhere(journal: CutoverJournal, is_first: bool) -> None:
    def steps(fails: str) -> list[CutoverStep]:
        return [
            Fencing("fence", notes), Stopping("stop", notes), Note("arm", notes, fails, is_first=is_first),
            Note("switch", notes, "do"),
        ]  # fmt: skip

    notes: list[str] = []
    with pytest.raises(StepFailed, match=r"undone: arm \(it stays\); stop waits for that") as failed:
        Engine(work_of(journal), steps("undo")).go()
    assert notes[4:] == ["undo switch", "undo arm", *([] if is_first else ["undo fence"])]
    assert ("Applications go on at" in str(failed.value)) is not is_first
    del notes[:]
    with pytest.raises(Undone):
        Engine(work_of(journal), steps("")).go()
    assert notes == ["undo arm", "undo stop", *(["undo fence"] if is_first else [])]


def test_what_refused_to_be_opened_is_undone(journal: CutoverJournal) -> None:
    notes: list[str] = []
    work = work_of(journal)
    work.keep("opening", False)
    with pytest.raises(Undone):
        Engine(work, [Note("one", notes), Note("open", notes, "do")]).go()
    assert notes == ["do one", "do open", "undo open", "undo one"]


def test_steps_of_another_version_are_left_to_it(journal: CutoverJournal) -> None:
    notes: list[str] = []
    work = work_of(journal)
    journal.begin_step(work.row.id, 2, "since then called otherwise")
    engine = Engine(work, [Note("one", notes), Note("two", notes)])
    for call in (engine.go, lambda: engine.undo("as was asked for")):
        with pytest.raises(StepFailed, match="another version of pydbsync has begun it, with since then called"):
            call()
    assert notes == []


def test_another_process_goes_on_behind_what_is_done_unless_it_does_not_hold_any_more(
    journal: CutoverJournal, target: Endpoint
) -> None:
    work = work_of(journal)
    journal.begin_step(work.row.id, 1, "one")
    journal.end_step(work.row.id, 1, "done", "was done")
    journal.begin_step(work.row.id, 2, "two")  # and killed
    journal.close()
    notes: list[str] = []
    again = opened(target)
    Engine(work_of(again), [Note("one", notes), Note("two", notes), Note("three", notes)]).go()
    assert notes == ["do two", "do three"]
    assert again.turn() == 1

    work = work_of(again)
    again.begin_step(work.row.id, 1, "one")
    again.end_step(work.row.id, 1, "done", "was done")
    with pytest.raises(Undone, match="does not hold any more"):
        Engine(work, [Note("one", notes, "still"), Note("two", notes)]).go()
    again.close()


def test_behind_the_opening_nothing_is_undone(journal: CutoverJournal) -> None:
    notes: list[str] = []
    with pytest.raises(StepFailed, match="has been opened, so nothing is undone"):
        Engine(work_of(journal), [Note("one", notes), Note("open", notes), Note("watch", notes, "do")]).go()
    assert notes == ["do one", "do open", "do watch"]
    (row,) = read_runs(journal.connection, "pydbsync")
    assert row.state == "running"


def test_the_write_stop_is_told_whatever_is_done_to_the_clock(journal: CutoverJournal) -> None:
    class SetBack(Note):
        def do(self, work: CutoverWork) -> str:
            work.journal.connection.run("SET timestamp = 1000000000")
            return super().do(work)

    notes: list[str] = []
    engine = Engine(work_of(journal), [Note("fence", notes), SetBack("set", notes), Note("open", notes)])
    engine.go()
    stop_s = engine.seconds_between("fence", "open")
    assert stop_s is not None
    assert 0 < stop_s < 1000
    assert engine.seconds_between("set", "nothing") is None
    again = Engine(work_of(journal), [Note("fence", notes)])
    assert again.seconds_between("fence", "open") is None


def test_facts_are_there_for_whoever_goes_on(journal: CutoverJournal) -> None:
    work = work_of(journal)
    work.keep("fence", {"read_only": False, "events": [["shop", "nightly"]]})
    row = journal.newest()
    assert row is not None
    assert row.facts == {"fence": {"read_only": False, "events": [["shop", "nightly"]]}}


def test_a_session_that_the_server_ends_is_followed_by_another_with_the_lock(
    journal: CutoverJournal, target: Endpoint
) -> None:
    journal.lock()
    work = work_of(journal)
    target.query(f"KILL {journal.connection.connection_id}")
    work.keep("noted", 1)
    with pytest.raises(OperationError, match="another cut-over is at work"):
        opened(target, "another").lock()

    target.query(f"KILL {journal.connection.connection_id}")
    other = opened(target, "another")
    other.lock()
    notes: list[str] = []
    with pytest.raises(OperationError, match="another cut-over is at work"):
        Engine(work, [Note("one", notes)]).go()
    assert notes == []  # neither done nor undone: the other one may be at it
    other.close()


def test_a_journal_that_cannot_be_written_keeps_nothing_closed(journal: CutoverJournal, target: Endpoint) -> None:
    """Its disk is full, or somebody has altered its tables."""

    class Breaking(Note):
        def do(self, work: CutoverWork) -> str:
            target.query("ALTER TABLE pydbsync.cutover_run DROP COLUMN result")
            return super().do(work)

    notes: list[str] = []
    steps = [Fencing("one", notes), Breaking("two", notes), Note("three", notes, "do")]
    with pytest.raises(StepFailed, match="Could not be undone: nothing; the rest is as before"):
        Engine(work_of(journal), steps).go()
    assert notes[3:] == ["undo three", "undo two", "undo one"]
    target.query("DROP DATABASE pydbsync")


@pytest.mark.parametrize("code", [1021, 1114, 1290])
def test_a_journal_whose_server_is_full_or_was_closed_by_somebody_keeps_nothing_closed(
    journal: CutoverJournal, target: Endpoint, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Its disk is full, or somebody has set super_read_only; when that is over, the next call undoes what is left."""
    monkeypatch.setattr(journals, "_PATIENCE_S", 0.3)

    class Filling(Note):
        def do(self, work: CutoverWork) -> str:
            for table in ("run", "step"):
                target.query(f"CREATE TRIGGER pydbsync.full_{table} BEFORE UPDATE ON pydbsync.cutover_{table} FOR EACH"
                             f" ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'no'")  # fmt: skip
            return super().do(work)

    notes: list[str] = []
    steps: list[CutoverStep] = [Fencing("one", notes), Filling("two", notes)]
    with pytest.raises(StepFailed, match="Could not be undone: nothing; the rest is as before"):
        Engine(work_of(journal), steps).go()
    assert notes == ["do one", "do two", "undo two", "undo one"]
    for table in ("run", "step"):
        target.query(f"DROP TRIGGER pydbsync.full_{table}")
    again: list[str] = []
    with pytest.raises(Undone, match="does not hold any more"):
        Engine(work_of(journal), [Fencing("one", again, "still"), Note("two", again)]).go()
    assert again == ["undo two", "undo one"]


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.usefixtures("journal")
def test_what_is_elsewhere_is_undone_while_the_server_with_the_journal_is_away(
    target: Endpoint, make_proxy: Callable[[int], Proxy], monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    """Applications do not wait for a dead server to come back."""
    monkeypatch.setattr(journals, "_PATIENCE_S", 0.3)
    proxy = make_proxy(target.port)
    through = Endpoint(target.brand, "127.0.0.1", proxy.port, target.user, target.password)
    for name in ("_ANSWER_S", "_LOOK_S"):
        monkeypatch.setattr(journals if name == "_ANSWER_S" else connections, name, 0.5)
    journal = CutoverJournal(settings_of(through), "shop")
    notes: list[str] = []
    told: list[str] = []
    steps = [Note("one", notes), Away("two", notes, proxy, is_silent=is_silent)]
    with pytest.raises(StepFailed, match="Could not be undone: nothing; the rest is as before"):
        Engine(work_of(journal, told=told), steps).go()
    assert notes == ["do one", "do two", "undo two", "undo one"]
    proxy.cut()
    proxy.resume()
    again = CutoverJournal(settings_of(through), "shop")
    del notes[:]
    with pytest.raises(Undone, match="does not hold any more"):
        Engine(work_of(again), [Note("one", notes, "still"), Note("two", notes)]).go()
    assert notes == ["undo two", "undo one"]
    again.close()


def call_of(source: Endpoint, target: Endpoint, command: Command, name: str = "shop", **more: Any) -> CutoverCall:
    """One that asks nobody, and so begins nothing."""
    bind = [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}]
    ways = [
        Direction(way, settings_of(there, here, rabbitmq_conn_info={"host": "nowhere"}, rabbitmq_queue_bind=bind,
            **given), Path(f"{way}.py"))
        for way, there, here, given in (("forth", target, source, {}), ("back", source, target, more))
    ]  # fmt: skip
    log = logging.getLogger("test")

    def ask(question: str) -> None:
        raise OperationError("nobody was asked")

    return CutoverCall(Ways(CutoverPlan(name=name, forth=""), *ways), command, tell=log.info, ask=ask, log=log,
                stop=threading.Event())  # fmt: skip


def test_who_is_in_charge_says_which_way_may_be_gone_and_nobody_is_asked_where_nobody_can_be(
    journal: CutoverJournal, source: Endpoint, target: Endpoint
) -> None:
    for command, said in (
        ("rollback", "not cut over"), ("cutover", "nobody was asked"), ("cutover", "cut over already"),
        ("failover", "in charge already"), ("rollback", "nobody was asked"),
    ):  # fmt: skip
        call = call_of(source, target, command)  # type: ignore[arg-type]
        with pytest.raises(OperationError, match=said):
            call.failover() if command == "failover" else call.run()
        if command == "cutover":
            row = journal.begin("cutover", turn=1, source="old", target="new")
            journal.set_state(row.id, "done")
    with pytest.raises(OperationError, match="--yes is needed where nobody can be asked"):
        asking("cutover", yes=False)("Begin?")


def test_a_plan_that_is_another_one_by_now_is_refused(
    journal: CutoverJournal, source: Endpoint, target: Endpoint
) -> None:
    """It was begun, and killed: the servers are closed, and the plan was edited before the next call."""
    with pytest.raises(OperationError, match="nobody was asked"):
        call_of(source, target, "cutover").run()
    forth = settings_of(target, source)
    assert forth.source is not None
    row = journal.begin("cutover", turn=1, source=forth.source.address, target=forth.target.address)
    every: dict[str, object] = {"include": [], "exclude": [], "dbname_rewrite": {}}
    facts = {"back": {"schema": "pydbsync", "streams": ["sync"]}, "streams": ["sync"]}
    for name, command, more, noted, said in (
        ("renamed", "cutover", {}, facts, "cutover of the plan shop began .* Give it its name back"),
        ("renamed", "rollback", {}, facts, "cutover of the plan shop began"),
        ("renamed", "failover", {}, facts, "cutover of the plan shop began"),
        ("shop", "rollback", {}, facts, "call `pydbsync cutover` again"),
        ("shop", "cutover", {"state_schema": "elsewhere"}, facts, "back.py has other queues, another state_schema"),
        ("shop", "cutover", {}, {**facts, "streams": ["sync", "rest"]}, "forth.py has other queues"),
        ("shop", "cutover", {}, {**facts, "streams": []}, "another two_way"),
        ("shop", "cutover", {"include": ["shop.*"]}, {**facts, "back_tables": every}, "back.py has .* or other tables"),
        ("shop", "cutover", {}, {**facts, "tables": {**every, "exclude": ["shop.*"]}}, "forth.py has .* other tables"),
    ):
        journal.keep(row.id, noted)
        call = call_of(source, target, command, name, **more)  # type: ignore[arg-type]
        with pytest.raises(OperationError, match=said):
            call.failover() if command == "failover" else call.run()
    assert (found := journal.newest()) is not None
    assert (found.id, found.state) == (row.id, "running")
