"""What another round of a copy has to do, and from where on each table is new to replay."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pydbsync.apply.table_start import ALL_TABLES, TableStart
from pydbsync.model import Place, TableName
from pydbsync.ops.copy.journal import TableRecord
from pydbsync.ops.copy.rounds import Round, plan_round
from pydbsync.ops.copy.run import place_text, starts_of


def name(text: str) -> TableName:
    return TableName(*text.split("."))


A, B, C, D = (name(f"shop.{letter}") for letter in "abcd")


def start(offset: int, *, marker: str = "") -> TableStart:
    return TableStart(base="" if marker else "bin", place=Place(3, offset, -1), newest_ts=offset, marker=marker)


def record(table: TableName, status: str = "done", *, print_of: str = "1", at: int = 100) -> TableRecord:
    return TableRecord(table, 1, status, start(at), print_of)


def planned(
    found: dict[TableName, str],
    records: Iterable[TableRecord],
    *,
    keyless: Iterable[TableName] = (),
    tied: Iterable[set[TableName]] = (),
) -> Round:
    exact = set(keyless)
    return plan_round(
        found, {each.name: each for each in records}, converges=lambda table: table not in exact, tied=tied
    )


def test_at_first_all_tables_are_made() -> None:
    assert planned({B: "1", A: "1"}, []) == Round((A, B), (), ())


def test_when_all_is_done_nothing_is_left_even_if_definitions_have_changed_since() -> None:
    assert not planned({A: "2", C: "1"}, [record(A), record(B)])


def test_a_table_that_converges_goes_on_and_another_begins_anew() -> None:
    assert planned({A: "1", B: "1", C: "1"}, [record(A, "begun"), record(B, "begun"), record(C)], keyless=[B]) == Round(
        (B,), (A,), ()
    )


def test_a_table_whose_definition_has_changed_begins_anew_though_it_was_done() -> None:
    assert planned({A: "2", B: "1"}, [record(A), record(B, "begun")]) == Round((A,), (B,), ())


def test_tables_that_are_new_are_made_and_those_that_have_gone_are_dropped() -> None:
    assert planned({A: "1", C: "1"}, [record(A, "begun"), record(B), record(D, "gone")]) == Round((C,), (A,), (B,))


def test_a_table_that_had_gone_and_is_there_again_is_made() -> None:
    assert planned({A: "1", B: "1"}, [record(A, "begun"), record(B, "gone")]).anew == (B,)


def test_tied_tables_begin_anew_together_however_long_the_chain() -> None:
    found = {A: "2", B: "1", C: "1", D: "1"}
    records = [record(A), record(B), record(C, "begun"), record(D, "begun")]
    assert planned(found, records, tied=[{C, B}, {A, B}]) == Round((A, B, C), (D,), ())


def test_what_is_tied_to_a_table_that_has_gone_begins_anew() -> None:
    assert planned({B: "1"}, [record(A), record(B, "begun")], tied=[{A, B}]) == Round((B,), (), (A,))


# -- starts ------------------------------------------------------------------------------------------------------------


def records_of(*records: TableRecord) -> dict[TableName, TableRecord]:
    return {each.name: each for each in records}


def test_one_snapshot_needs_no_starts_but_the_checkpoint() -> None:
    assert starts_of(records_of(record(A), record(B)), start(100), start(100), is_added=False) == {}


def test_a_marker_is_the_start_of_all_tables() -> None:
    first = start(0, marker="m")
    records = {A: TableRecord(A, 1, "done", first, "1")}
    assert starts_of(records, first, first, is_added=False) == {ALL_TABLES: first}


def test_tables_of_a_later_round_have_starts_of_their_own() -> None:
    starts = starts_of(records_of(record(A), record(B, at=200)), start(100), start(150), is_added=False)
    assert starts == {A: start(100), B: start(200), ALL_TABLES: start(150), TableName("shop", ""): start(100)}


def test_a_database_all_of_whose_tables_were_read_anew_starts_with_them() -> None:
    starts = starts_of(records_of(record(A, at=200), record(B, at=200)), start(100), start(150), is_added=False)
    assert starts[TableName("shop", "")] == start(200)


def test_added_tables_leave_all_others_alone() -> None:
    assert starts_of(records_of(record(A, at=200)), start(200), start(200), is_added=True) == {A: start(200)}


@pytest.mark.parametrize(
    ("given", "text"),
    [(start(77), "bin.000003:77"), (start(0, marker="abc"), "marker abc"), (TableStart(), "")],
)
def test_a_place_is_told_as_mysql_writes_it(given: TableStart, text: str) -> None:
    assert place_text(given) == text
