"""The Markdown between the markers of docs/performance.md, made from the CSV alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.goals import Goal
from benchmarks.history import History
from benchmarks.latency import Latency
from benchmarks.names import (
    CAPTURE,
    CAPTURE_BUNDLES,
    CAPTURE_RABBITMQ,
    DRAIN,
    DRAIN_QUORUM,
    ENGINE,
    ENGINE_BUNDLES,
    ENGINE_QUORUM,
    FOUR_QUEUES,
    LIMIT,
    MAIN,
    NATIVE,
    ORIGINAL,
    PUBLISH,
    STATE_NOT_WRITTEN,
    STATE_WRITTEN,
)
from benchmarks.results import NO_TARGET, WITH_BINLOG, WITHOUT_BINLOG, Result, ResultSet, Spread
from benchmarks.transfer import COPY, VERIFY
from benchmarks.workload import WORKLOADS

ORDER = (
    ENGINE,
    ENGINE_QUORUM,
    ENGINE_BUNDLES,
    FOUR_QUEUES,
    NATIVE,
    ORIGINAL,
    DRAIN,
    DRAIN_QUORUM,
    CAPTURE,
    CAPTURE_RABBITMQ,
    CAPTURE_BUNDLES,
    PUBLISH,
    LIMIT,
    STATE_WRITTEN,
    STATE_NOT_WRITTEN,
)
"""Of the lines in a table."""
BEGIN, END = "<!-- bench: begin, written by `make bench` -->", "<!-- bench: end -->"


def render(
    found: ResultSet,
    aims: Sequence[Goal],
    facts: Mapping[str, str],
    latency: Latency | None,
    history: History | None,
) -> str:
    lines = [
        *facts_lines(facts),
        *goal_lines(aims),
        *rate_lines(found, MAIN),
        *rate_lines(found, "hot"),
        *shape_lines(found),
        *cpu_lines(found),
        *transfer_lines(found),
        *latency_lines(latency),
        *history_lines(history),
    ]
    return "\n".join(lines) + "\n"


def insert(page: Path, text: str) -> None:
    """Put the text between the page's markers."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r} between which the table goes")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def facts_lines(facts: Mapping[str, str]) -> Iterator[str]:
    yield "; ".join(f"{name} {value}" for name, value in facts.items()) + "."
    yield ""


def goal_lines(aims: Sequence[Goal]) -> Iterator[str]:
    if not aims:
        return
    yield "### Goals"
    yield ""
    yield "| pydbsync against | measured | wanted | |"
    yield "| --- | ---: | ---: | --- |"
    for goal in aims:
        against = f", {goal.against} rows/s" if goal.against else ""
        sign = "≤" if goal.at_most else "≥"
        wanted = f"{sign} {goal.wanted:g}{goal.unit}" if goal.wanted else ""
        verdict = ("met" if goal.is_met else "**missed**") if goal.wanted else ""
        yield f"| {goal.title}{against} | {number(goal.value)}{goal.unit} | {wanted} | {verdict} |"
    yield ""


def number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def rate_lines(found: ResultSet, workload: str) -> Iterator[str]:
    names = found.contestants(workload)
    if not names:
        return
    names.sort(key=lambda name: (next(i for i, start in enumerate(ORDER) if matches(name, start)), natural(name)))
    yield f"### Workload: {WORKLOADS[workload].title}"
    yield ""
    yield "Rows a second, median (lowest–highest) of the rounds."
    yield ""
    yield "| | target writes a binlog | target writes none |"
    yield "| --- | ---: | ---: |"
    for name in names:
        plain = found.of(workload, name, NO_TARGET)
        if plain:
            yield f"| {name} (no target) | {cell(plain)} | |"
        else:
            binlog, none = (found.of(workload, name, setting) for setting in (WITH_BINLOG, WITHOUT_BINLOG))
            yield f"| {name} | {cell(binlog)} | {cell(none)} |"
    yield ""


def matches(name: str, start: str) -> bool:
    return name.startswith(start) if start == NATIVE else name == start


def natural(name: str) -> list[str]:
    return [part.zfill(4) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def cell(rates: Spread | None) -> str:
    if rates is None:
        return ""
    if rates.outcome in ("WRONG", "failed"):
        return f"**{rates.outcome}**"
    if rates.rounds == 1:
        return f"{rates.median:,.0f}"
    return f"{rates.median:,.0f} ({rates.low:,.0f}–{rates.high:,.0f})"


def shape_lines(found: ResultSet) -> Iterator[str]:
    names = [n for n in WORKLOADS if n not in (MAIN, "hot") and found.contestants(n)]
    if not names:
        return
    yield "### Other shapes"
    yield ""
    yield "Rows a second, durable target with a binlog."
    yield ""
    yield "| workload | pydbsync | best native mode | ratio | target's limit |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name in names:
        ours, limit = (found.of(name, contestant, WITH_BINLOG) for contestant in (ENGINE, LIMIT))
        best = found.best(name, NATIVE, WITH_BINLOG)
        native = f"{cell(best[1])} {best[0].removeprefix(NATIVE)}" if best else ""
        ratio = f"{ours.median / best[1].median:.2f}×" if ours and best else ""
        yield f"| {WORKLOADS[name].title} | {cell(ours)} | {native} | {ratio} | {cell(limit)} |"
    yield ""


def cpu_lines(found: ResultSet) -> Iterator[str]:
    """Who works how long on one change."""
    rows: list[tuple[str, list[Result]]] = []
    for name in ORDER:
        runs = [r for r in found.results if r.workload == MAIN and r.contestant == name and not r.is_bad]
        runs = [r for r in runs if r.setting in (WITH_BINLOG, NO_TARGET)]
        if runs:
            rows.append((name, runs))
    if not rows:
        return
    yield "### CPU time a change"
    yield ""
    yield "Microseconds on the mixed workload, target with a binlog; start and end of processes are in it."
    yield ""
    yield "| | own processes | target | broker | wall clock |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, runs in rows:
        changes = sum(r.changes for r in runs)
        parts = [sum(getattr(r, field) for r in runs) for field in ("cpu_s", "target_cpu_s", "broker_cpu_s", "seconds")]
        yield f"| {name} | " + " | ".join(f"{part / changes * 1e6:.1f}" for part in parts) + " |"
    yield ""


def transfer_lines(found: ResultSet) -> Iterator[str]:
    names = [*found.contestants(COPY), *found.contestants(VERIFY)]
    if not names:
        return
    rows = max(r.changes for r in found.results if r.workload in (COPY, VERIFY))
    yield "### Copy and verify"
    yield ""
    yield f"{rows:,} rows in four tables, durable target with a binlog; rows a second of the whole command."
    yield ""
    yield "| | rows a second |"
    yield "| --- | ---: |"
    for kind in (COPY, VERIFY):
        for name in sorted(found.contestants(kind)):
            yield f"| {name.replace('|', chr(92) + '|')} | {cell(found.of(kind, name))} |"
    yield ""


def latency_lines(latency: Latency | None) -> Iterator[str]:
    if latency:
        yield "### Latency"
        yield ""
        yield (
            f"{latency.changes:,} one-row transactions at {latency.changes_a_second:,.0f} a second, from publish to"
            f" visible in the target: median {latency.median_ms:.1f} ms, 99 % within {latency.p99_ms:.1f} ms, highest"
            f" {latency.highest_ms:.1f} ms; each figure is too high by at most {latency.error_ms:.1f} ms (median)."
        )
        yield ""


def history_lines(history: History | None) -> Iterator[str]:
    if history:
        begin, end = history.begin, history.end
        yield "### A long history"
        yield ""
        yield (
            f"{history.changes:,} changes replayed by one process in {history.seconds:,.0f} s; the target was"
            f" {history.outcome} to what the changes must lead to. Afterwards the state schema held"
            f" {history.state_rows} row(s)."
        )
        yield ""
        yield "| | rows a second | own CPU a change | target's CPU a change | resident memory |"
        yield "| --- | ---: | ---: | ---: | ---: |"
        for name, part in (("first tenth", begin), ("last tenth", end)):
            yield (
                f"| {name} | {part.rate:,.0f} | {part.engine_us:.1f} µs | {part.target_us:.1f} µs |"
                f" {part.resident_mb:.0f} MB |"
            )
        yield ""
