"""When a difference counts: seen twice, with the stream past the first sight in between; and when it is over."""

from __future__ import annotations

from typing import NamedTuple

from pydbsync.model import TableName
from pydbsync.ops.ddl_watch.ledger import Difference, WatchLedger

T, U = TableName("d", "t"), TableName("d", "u")


class Mark(NamedTuple):
    number: int
    server: int = 1

    def is_void(self, newer: object) -> bool:
        return isinstance(newer, Mark) and newer.server != self.server


NOW = Mark(0)


def difference(table: TableName = T, text: str = "x", detail: str = "") -> Difference:
    return Difference(table, "index", text, detail=detail)


def take(
    ledger: WatchLedger[Mark],
    *found: Difference,
    mark: Mark = NOW,
    upto: int = -1,
    seen: tuple[TableName, ...] = (T, U),
) -> tuple[list[str], list[str]]:
    """The texts that begin and end, where the stream was past all marks up to a number before the look."""
    passed = {each.key for each, since in ledger.suspected if since.number <= upto}
    told = ledger.take(found, mark, passed=passed, is_looked_at=lambda table: table in seen)
    return [each.text for each in told.begun], [each.text for each in told.ended]


def test_it_begins_at_the_second_sight_behind_the_first_ones_mark_and_is_said_once() -> None:
    ledger: WatchLedger[Mark] = WatchLedger()
    assert take(ledger, difference(), mark=Mark(1)) == ([], [])
    assert take(ledger, difference(), mark=Mark(2), upto=0) == ([], []), "the stream is not there yet"
    assert [since for _, since in ledger.suspected] == [Mark(1)], "the first sight counts, however often it is seen"
    assert take(ledger, difference(), mark=Mark(3), upto=1) == (["x"], [])
    assert take(ledger, difference(), mark=Mark(4), upto=4) == ([], [])
    assert ledger.suspected == []


def test_what_has_gone_at_the_second_sight_was_lag() -> None:
    ledger: WatchLedger[Mark] = WatchLedger()
    take(ledger, difference(), mark=Mark(1))
    assert take(ledger, upto=1) == ([], [])
    assert take(ledger, difference(), mark=Mark(5), upto=1) == ([], []), "and it begins anew"


def test_it_ends_when_it_is_looked_at_and_not_there() -> None:
    ledger: WatchLedger[Mark] = WatchLedger()
    take(ledger, difference(), difference(U, "y"), mark=Mark(1))
    assert take(ledger, difference(), difference(U, "y"), upto=1) == (["x", "y"], [])
    assert take(ledger, seen=(U,)) == ([], ["y"]), "the other one was not looked at"
    assert [each.text for each in ledger.proven] == ["x"]
    assert take(ledger) == ([], ["x"])


def test_a_mark_of_another_server_is_replaced_and_details_may_change() -> None:
    ledger: WatchLedger[Mark] = WatchLedger()
    take(ledger, difference(detail="(1)"), mark=Mark(9, server=1))
    take(ledger, difference(detail="(2)"), mark=Mark(2, server=2))
    assert [since for _, since in ledger.suspected] == [Mark(2, server=2)]
    assert take(ledger, difference(detail="(3)"), upto=2) == (["x"], [])
    assert str(ledger.proven[0]) == "d.t: x ((3))"
