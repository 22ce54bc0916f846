"""Which rows that looked different are: by what each side answers, pass by pass, and whether places can be known."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pydbsync.errors import Stopped
from pydbsync.model import TableName
from pydbsync.ops.verify.place import Passed
from pydbsync.ops.verify.settle import Settled, SettleOptions, Settler
from pydbsync.ops.verify.sides import FoundRow, Request

ROW: Request = ("1",)
QUICK = SettleOptions(passes=6, blind_passes=3, pause_s=0.0, blind_pause_s=0.0)


class Answers:
    """A side that holds one state after the other, one for each time it is asked; the last one stays."""

    def __init__(self, *states: object) -> None:
        self._states = list(states)
        self.asked: list[list[Request]] = []

    def fetch(self, requests: Collection[Request]) -> dict[object, FoundRow]:
        self.asked.append(list(requests))
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        held = state if isinstance(state, Mapping) else dict.fromkeys(requests, state)
        return {
            identity: FoundRow(each, 1, (), frozenset({identity}), doubt="warning 1301" if each == "unreadable" else "")
            for identity, each in held.items()
            if identity in requests and each is not None
        }


class Places:
    """Says the same of each place, and remembers how long it was to wait."""

    def __init__(self, answer: Passed) -> None:
        self.answer = answer
        self.limits: list[float] = []
        self.place = 1

    def source_place(self) -> None:
        return None

    def names(self, tables: list[TableName]) -> list[str]:
        return ["sync"]

    def checkpoint(self, name: str) -> int:
        return self.place

    def wait_until_passed(self, place: object, tables: object, *, limit_s: float, **_: object) -> Passed:
        self.limits.append(limit_s)
        return self.answer


def settled(
    source: Answers,
    target: Answers,
    *,
    passed: Passed = Passed.YES,
    has_key: bool = True,
    requests: Collection[Request] = (ROW,),
    options: SettleOptions = QUICK,
    stop: threading.Event | None = None,
) -> Settled:
    pair = SimpleNamespace(sources=[SimpleNamespace(name=TableName("d", "t"))])
    sides: Any = SimpleNamespace(pair=pair, source=source, target=target, has_key=has_key)
    places: Any = Places(passed)
    return Settler(places, options, stop or threading.Event()).settle(sides, requests)


def told(found: Settled) -> list[tuple[Any, Any, Any, bool]]:
    return sorted(
        (each.identity, each.source and each.source.state, each.target and each.target.state, each.is_proven)
        for each in found.different
    )


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (["a"], ["a"]),
        (["a", "b"], ["a"]),  # changed at the source after the target was read
        (["a", "b"], ["b"]),  # and came through at once
        ([None], [None]),
        (["a", None], ["a"]),  # deleted meanwhile
        (["a"], ["x", "a"]),  # late, and there at the second look
        (["a"], [None, "a"]),
    ],
)
def test_what_the_source_held_before_or_after_is_equal(source: list[object], target: list[object]) -> None:
    found = settled(Answers(*source), Answers(*target))
    assert (told(found), found.in_flux, found.unreadable) == ([], 0, {})


@pytest.mark.parametrize(("held", "there"), [("a", "x"), ("a", None), (None, "x")])
def test_a_difference_counts_when_a_second_pass_finds_the_same(held: object, there: object) -> None:
    source, target = Answers(held), Answers(there)
    assert told(settled(source, target)) == [(ROW, held, there, True)]
    assert len(target.asked) == 2


def test_where_places_cannot_be_known_a_difference_must_last_longer() -> None:
    target = Answers("x")
    assert told(settled(Answers("a"), target, passed=Passed.UNKNOWN)) == [(ROW, "a", "x", False)]
    assert len(target.asked) == 3
    late = settled(Answers("a"), Answers("x", "x", "a"), passed=Passed.UNKNOWN)
    assert (told(late), late.in_flux) == ([], 0)


def test_another_wrong_value_begins_to_count_anew() -> None:
    target = Answers("x", "y", "z", "z")
    assert told(settled(Answers("a"), target)) == [(ROW, "a", "z", True)]
    assert len(target.asked) == 4


def test_a_row_that_changes_at_every_look_is_in_flux_and_no_difference() -> None:
    source = Answers(*range(100))
    found = settled(source, Answers("x"))
    assert (told(found), found.in_flux) == ([], 1)
    assert len(source.asked) == 2 * QUICK.passes


def test_only_rows_that_are_not_sure_yet_are_asked_again() -> None:
    one, two, three = ("1",), ("2",), ("3",)
    source = Answers({one: "a", two: "b", three: "c"})
    target = Answers({one: "a", two: "x", three: "y"}, {one: "a", two: "x", three: "z"}, {three: "c"})
    found = settled(source, target, requests=[one, two, three])
    assert told(found) == [(two, "b", "x", True)]
    assert [sorted(each) for each in target.asked] == [[one, two, three], [two, three], [three]]


def test_rows_without_a_key_are_judged_together() -> None:
    one, two = ("1",), ("2",)
    source = Answers({one: 2, two: 1})
    target = Answers({one: 1, two: 3}, {one: 1, two: 4}, {one: 1, two: 4})
    found = settled(source, target, has_key=False, requests=[one, two])
    assert told(found) == [(one, 2, 1, True), (two, 1, 4, True)]
    assert target.asked == [[one, two]] * 3


@pytest.mark.parametrize("doubtful", ["source", "target"])
def test_a_row_that_a_server_could_not_give_is_no_difference_and_named(doubtful: str) -> None:
    source, target = Answers("a"), Answers("x")
    found = settled(
        Answers("unreadable") if doubtful == "source" else source,
        Answers("unreadable") if doubtful == "target" else target,
    )
    assert (told(found), found.unreadable) == ([], {ROW: "warning 1301"})


def test_a_stream_that_stands_is_not_waited_for_twice_unless_it_has_moved_since() -> None:
    places: Any = Places(Passed.NO)
    settler = Settler(places, QUICK, threading.Event())
    for _ in range(2):
        settler.catch_up([TableName("d", "t")])
    assert places.limits == [QUICK.wait_s, 0.0]
    places.place = 2  # its replay was started again, and is behind a source that goes on writing
    settler.catch_up([TableName("d", "t")])
    assert places.limits[2:] == [QUICK.wait_s]
    places.answer = Passed.YES
    for _ in range(2):
        settler.catch_up([TableName("d", "t")])
    assert places.limits[3:] == [0.0, QUICK.wait_s]


def test_it_stops_when_told_to() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="looked at again"):
        settled(Answers("a"), Answers("x"), stop=stop)
