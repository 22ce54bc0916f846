"""The benchmark's arithmetic: a wrong answer, a fallen ratio and a late change are seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import benchmarks.workload
from benchmarks.goals import Goal, goals, regressions
from benchmarks.latency import Poll, evaluate
from benchmarks.messages import MessageWriter
from benchmarks.report import BEGIN, END, insert, render
from benchmarks.results import WITH_BINLOG, Result, ResultSet, read_csv, write_csv
from benchmarks.tables import json_text, orders
from benchmarks.workload import WORKLOADS, Change


def result(contestant: str, seconds: float, *, round: int = 1, outcome: str = "equal") -> Result:
    return Result("mixed", contestant, WITH_BINLOG, round, 1_000, seconds, outcome=outcome)


def test_results_survive_the_csv(tmp_path: Path) -> None:
    results = [result("pydbsync", 0.125), result("native: one thread", 0.5, round=2, outcome="WRONG")]
    write_csv(tmp_path / "a.csv", results)
    assert read_csv(tmp_path / "a.csv") == results


def test_a_wrong_answer_does_not_count_however_fast() -> None:
    found = ResultSet([result("pydbsync", 0.001, outcome="WRONG"), result("native: one thread", 0.5)])
    assert [r.contestant for r in found.bad] == ["pydbsync"]
    rates = found.of("mixed", "pydbsync", WITH_BINLOG)
    assert rates is not None
    assert (rates.median, rates.outcome) == (0.0, "WRONG")
    assert "**WRONG**" in render(found, goals(found, None, None), {}, None, None)


def test_the_goal_is_the_ratio_of_medians_to_the_best_mode() -> None:
    runs = [result("pydbsync", seconds, round=i) for i, seconds in enumerate((0.1, 0.2, 0.9))]
    runs += [result("native: one thread", 1.0), result("native: optimistic, 4 threads", 0.5)]
    goal = next(g for g in goals(ResultSet(runs), None, None) if g.key == "native-binlog")
    assert goal.value == pytest.approx(2.5)
    assert goal.against == "2,000 (optimistic, 4 threads)"
    assert goal.is_met


def test_a_ratio_that_fell_by_more_than_the_tolerance_is_named() -> None:
    before = [Goal("drain", "drain", 1.0, 0.8), Goal("latency-p99", "latency", 9.0, 25.0, is_ratio=False)]
    now = [Goal("drain", "drain", 0.75, 0.8), Goal("latency-p99", "latency", 1.0, 25.0, is_ratio=False)]
    assert regressions(now, before, tolerance=0.2) == ["drain: 0.75, was 1.00"]
    assert regressions(now, before, tolerance=0.3) == []


def test_a_change_is_visible_when_the_first_answer_that_shows_it_has_come() -> None:
    polls = [Poll(0.0, 0.001, -1), Poll(0.002, 0.003, 0), Poll(0.010, 0.012, 2)]
    found = evaluate([0.000, 0.001, 0.004], polls, skip=0)
    assert found.changes == 3
    assert found.median_ms == pytest.approx(8.0)
    assert found.highest_ms == pytest.approx(11.0)


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    insert(page, "new")
    assert page.read_text() == f"above\n{BEGIN}\n\nnew\n{END}\nbelow\n"
    page.write_text("no markers\n")
    with pytest.raises(ValueError, match="lacks the lines"):
        insert(page, "new")


def test_messages_have_the_fields_and_the_order_of_recorded_ones(corpus_line: dict[str, object]) -> None:
    table = orders()
    row = table.make_row(Random(1), 5)
    writer = MessageWriter("bench")
    first = json.loads(writer.insert(table, row, last=False))
    last = json.loads(writer.delete(table, row, last=True))
    assert list(first) == list(corpus_line)
    assert (first["xoffset"], last["commit"], first["xid"]) == (0, True, last["xid"])
    assert list(first["data"]) == [column.name for column in table.columns]


@pytest.fixture
def corpus_line() -> dict[str, object]:
    """An insert that is not its transaction's last row, as Maxwell prints it with MariaDB behind it."""
    text = (
        '{"database":"c_num","table":"d","type":"insert","ts":1795162043,"xid":257225,"xoffset":0,'
        '"position":"bin.000002:107763922","server_id":1,"primary_key":[3],"primary_key_columns":["id"],'
        '"data":{"id":3,"money":0.00}}'
    )
    line: dict[str, object] = json.loads(text)
    return line


def test_characters_above_the_basic_plane_are_written_as_surrogates_like_maxwell() -> None:
    assert json_text("é 😀") == '"é \\uD83D\\uDE00"'


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_a_workload_is_the_same_for_the_same_seed_and_as_long_as_it_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks.workload, "HUGE_ROWS", 150)
    workload = replace(WORKLOADS[name].scaled(0.001), base=800)
    first = [change for transaction in workload.start(1).transactions() for change in transaction]
    again = [change for transaction in workload.start(1).transactions() for change in transaction]
    assert plain(first) == plain(again)
    assert len(first) == workload.changes >= 400
    assert all(change.old != change.new for change in first)
    assert plain(first) != plain([c for t in workload.start(2).transactions() for c in t])


def plain(changes: list[Change]) -> list[tuple[object, ...]]:
    return [(change.kind, change.table.name, change.old, change.new) for change in changes]
