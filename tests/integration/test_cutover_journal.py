"""The journal of a cut-over: one at a time, steps that are found again from anywhere, and what undoing must know."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pydbsync.errors import OperationError
from pydbsync.ops.cutover import journal as journals
from pydbsync.ops.cutover.engine import Engine, Step, StepFailed, Undone, Work
from pydbsync.ops.cutover.journal import Journal, read_runs
from tests.integration.cutting import opened, settings_of, work_of
from tests.proxy import Proxy
from tests.servers import Endpoint


@pytest.fixture
def journal(fresh_target: Endpoint) -> Iterator[Journal]:
    journal = opened(fresh_target)
    yield journal
    journal.close()


class Note(Step):
    """Writes down what was done and undone."""

    limit = "hook_s"

    def __init__(self, name: str, notes: list[str], fails: str = "") -> None:
        self.name, self._notes, self._fails = name, notes, fails

    def do(self, work: Work) -> str:
        self._notes.append(f"do {self.name}")
        if self._fails == "do":
            raise StepFailed("it fails")
        if self._fails == "wait":
            work.waits_for = "a bus"
            while True:
                work.wait(0.05)
        return "done"

    def undo(self, work: Work) -> str:
        self._notes.append(f"undo {self.name}")
        if self._fails == "undo":
            raise StepFailed("it stays")
        return ""

    def still(self, work: Work) -> None:
        if self._fails == "still":
            raise StepFailed("it does not hold any more")


class Away(Note):
    """Behind it the server with the journal is away."""

    def __init__(self, name: str, notes: list[str], proxy: Proxy) -> None:
        super().__init__(name, notes)
        self._proxy = proxy

    def do(self, work: Work) -> str:
        super().do(work)
        self._proxy.refuse()
        self._proxy.cut()
        raise StepFailed("it fails")


def test_a_second_one_is_refused_whatever_its_plan_until_the_first_is_gone(
    journal: Journal, fresh_target: Endpoint
) -> None:
    journal.lock()
    journal.lock()
    other = opened(fresh_target, "another")
    with pytest.raises(OperationError, match="another cut-over is at work"):
        other.lock()
    journal.close()
    other.lock()
    other.close()


def test_what_fails_is_undone_backwards_with_the_step_that_failed(journal: Journal) -> None:
    notes: list[str] = []
    engine = Engine(work_of(journal), [Note("one", notes), Note("two", notes), Note("three", notes, "do")])
    with pytest.raises(Undone, match="three: it fails; nothing has changed"):
        engine.go()
    assert notes == ["do one", "do two", "do three", "undo three", "undo two", "undo one"]
    row = journal.newest()
    assert row is not None
    assert (row.state, journal.turn()) == ("undone", 0)


def test_what_takes_too_long_says_what_it_waited_for(journal: Journal) -> None:
    engine = Engine(work_of(journal, hook_s=0.2), [Note("slow", [], "wait")])
    with pytest.raises(Undone, match=r"slow: it took longer than 0.2 s \(limits.hook_s of the plan\): a bus"):
        engine.go()


def test_an_undoing_that_fails_is_gone_on_with_where_it_failed(journal: Journal) -> None:
    notes: list[str] = []
    with pytest.raises(StepFailed, match="two could not be undone: it stays"):
        Engine(work_of(journal), [Note("one", notes), Note("two", notes, "undo"), Note("three", notes, "do")]).go()
    del notes[:]
    with pytest.raises(Undone):
        Engine(work_of(journal), [Note("one", notes), Note("two", notes), Note("three", notes)]).go()
    assert notes == ["undo two", "undo one"]


def test_another_process_goes_on_behind_what_is_done_unless_it_does_not_hold_any_more(
    journal: Journal, fresh_target: Endpoint
) -> None:
    work = work_of(journal)
    journal.begin_step(work.row.id, 1, "one")
    journal.end_step(work.row.id, 1, "done", "was done")
    journal.begin_step(work.row.id, 2, "two")  # and killed
    journal.close()
    notes: list[str] = []
    again = opened(fresh_target)
    Engine(work_of(again), [Note("one", notes), Note("two", notes), Note("three", notes)]).go()
    assert notes == ["do two", "do three"]
    assert again.turn() == 1

    work = work_of(again)
    again.begin_step(work.row.id, 1, "one")
    again.end_step(work.row.id, 1, "done", "was done")
    with pytest.raises(Undone, match="does not hold any more"):
        Engine(work, [Note("one", notes, "still"), Note("two", notes)]).go()
    again.close()


def test_behind_the_opening_nothing_is_undone(journal: Journal) -> None:
    notes: list[str] = []
    with pytest.raises(StepFailed, match="has been opened, so nothing is undone"):
        Engine(work_of(journal), [Note("one", notes), Note("open", notes), Note("watch", notes, "do")]).go()
    assert notes == ["do one", "do open", "do watch"]
    (row,) = read_runs(journal.connection, "pydbsync")
    assert row.state == "running"


def test_facts_are_there_for_whoever_goes_on(journal: Journal) -> None:
    work = work_of(journal)
    work.keep("fence", {"read_only": False, "events": [["shop", "nightly"]]})
    row = journal.newest()
    assert row is not None
    assert row.facts == {"fence": {"read_only": False, "events": [["shop", "nightly"]]}}


def test_a_session_that_the_server_ends_is_followed_by_another_with_the_lock(
    journal: Journal, fresh_target: Endpoint
) -> None:
    journal.lock()
    work = work_of(journal)
    fresh_target.query(f"KILL {journal.connection.connection_id}")
    work.keep("noted", 1)
    with pytest.raises(OperationError, match="another cut-over is at work"):
        opened(fresh_target, "another").lock()

    fresh_target.query(f"KILL {journal.connection.connection_id}")
    other = opened(fresh_target, "another")
    other.lock()
    notes: list[str] = []
    with pytest.raises(OperationError, match="another cut-over is at work"):
        Engine(work, [Note("one", notes)]).go()
    assert notes == []  # neither done nor undone: the other one may be at it
    other.close()


def test_what_is_elsewhere_is_undone_while_the_server_with_the_journal_is_away(
    fresh_target: Endpoint, make_proxy: Callable[[int], Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applications do not wait for a dead server to come back."""
    monkeypatch.setattr(journals, "_PATIENCE_S", 0.3)
    proxy = make_proxy(fresh_target.port)
    through = Endpoint(fresh_target.brand, "127.0.0.1", proxy.port, fresh_target.user, fresh_target.password)
    journal = Journal(settings_of(through), "shop")
    notes: list[str] = []
    told: list[str] = []
    steps = [Note("one", notes), Away("two", notes, proxy)]
    with pytest.raises(StepFailed, match="Could not be undone: nothing; the rest is as before"):
        Engine(work_of(journal, told=told), steps).go()
    assert notes == ["do one", "do two", "undo two", "undo one"]
    proxy.resume()
    again = Journal(settings_of(through), "shop")
    del notes[:]
    with pytest.raises(Undone, match="does not hold any more"):
        Engine(work_of(again), [Note("one", notes, "still"), Note("two", notes)]).go()
    assert notes == ["undo two", "undo one"]
    again.close()
