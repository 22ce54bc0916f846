"""`python -m benchmarks`: the comparison, its CSV, its plot and the table in docs/performance.md.

A whole run keeps its results in benchmarks/results/ and writes the page; one that is narrowed down (--quick, --only,
--workloads, --rows) keeps them in the lab's folder and only prints. Exit code 1: a target differed from the source, a
contestant failed, or with --check a ratio fell.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import history, latency
from benchmarks.goals import Goal, goals, regressions
from benchmarks.history import History, Part
from benchmarks.latency import Latency
from benchmarks.machine import machine_facts
from benchmarks.names import MAIN
from benchmarks.plot import draw
from benchmarks.race import Race
from benchmarks.report import insert, render
from benchmarks.results import Result, ResultSet, read_csv, write_csv
from benchmarks.rig import Rig
from benchmarks.transfer import COPY, VERIFY, Transfer
from benchmarks.workload import WORKLOADS, Workload
from lab.state import lab_root

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.png"
QUICK_SHARE = 0.02
LATENCY_RATE = 1_000
WORD_LATENCY, WORD_HISTORY = "latency", "history"


@dataclass(frozen=True)
class Report:
    """Everything one call found out; kept as latest.csv and latest.json."""

    results: ResultSet
    facts: Mapping[str, str]
    latency: Latency | None
    history: History | None

    def goals(self) -> list[Goal]:
        return goals(self.results, self.latency, self.history)

    def text(self) -> str:
        return render(self.results, self.goals(), self.facts, self.latency, self.history)

    def save(self, folder: Path) -> None:
        write_csv(folder / "latest.csv", self.results.results)
        extra = {
            "facts": dict(self.facts),
            "latency": asdict(self.latency) if self.latency else None,
            "history": asdict(self.history) if self.history else None,
        }
        (folder / "latest.json").write_text(json.dumps(extra, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Report:
        extra = json.loads((folder / "latest.json").read_text())
        waits, past = extra["latency"], extra["history"]
        if past:
            past = {**past, "begin": Part(**past["begin"]), "end": Part(**past["end"])}
        return cls(
            ResultSet(read_csv(folder / "latest.csv")),
            extra["facts"],
            Latency(**waits) if waits else None,
            History(**past) if past else None,
        )


def main() -> int:
    options = read_options()
    if options.redis:
        importlib.import_module("benchmarks.redis").run(rows=options.rows, rounds=options.rounds, say=say)
        return 0
    if options.opensearch:
        importlib.import_module("benchmarks.search").run(rows=options.rows, rounds=options.rounds, say=say)
        return 0
    if options.report:
        report = Report.load(options.results)
        publish(report)
        return 0
    before = Report.load(KEPT).goals() if options.check is not None else []
    report = run(options)
    say("\n" + report.text())
    if options.quick:
        say("A quick run shows that everything works; its figures are too small to mean anything.")
    if options.is_whole:
        publish(report)
    wrong = [f"{r.outcome}: {r.contestant} on {r.workload}, {r.setting}, round {r.round}" for r in report.results.bad]
    if report.history and report.history.outcome != "equal":
        wrong.append(f"{report.history.outcome}: pydbsync on the long history")
    fallen = regressions(report.goals(), before, tolerance=options.check or 0.0)
    for sentence in (*wrong, *(f"fell since {KEPT / 'latest.csv'}: {each}" for each in fallen)):
        say(sentence)
    return 1 if wrong or fallen else 0


def run(options: argparse.Namespace) -> Report:
    rig = Rig(lab_root() / "bench")
    race = Race(rig, seed=options.seed, only=options.only, is_quick=options.quick, say=say)
    results: list[Result] = []
    rig.broker.start()
    try:
        for result in race.run(wanted_workloads(options), options.rounds):
            results.append(result)
            write_csv(options.results / "latest.csv", results)
        if options.transfer and (not options.workloads) and (wants(options, COPY) or wants(options, VERIFY)):
            transfer = Transfer(rig, rows=options.transfer, seed=options.seed, only=options.only, say=say)
            for result in transfer.run(options.rounds):
                results.append(result)
                write_csv(options.results / "latest.csv", results)
        waits = measure_latency(rig, options) if wants(options, WORD_LATENCY) else None
        past = measure_history(rig, options) if wants(options, WORD_HISTORY) and options.history else None
        with rig.empty_target() as server:
            facts = machine_facts(rig.broker, server)
    finally:
        rig.broker.stop()
    report = Report(ResultSet(results), facts, waits, past)
    report.save(options.results)
    return report


def wants(options: argparse.Namespace, word: str) -> bool:
    return not options.only or any(each in word or word in each for each in options.only)


def measure_latency(rig: Rig, options: argparse.Namespace) -> Latency:
    say(f"latency at {LATENCY_RATE:,} changes a second")
    return latency.measure(rig, rate=LATENCY_RATE, seconds=5.0 if options.quick else 30.0)


def measure_history(rig: Rig, options: argparse.Namespace) -> History:
    say(f"a history of {options.history:,} changes")
    return history.measure(rig, changes=options.history, seed=options.seed)


def publish(report: Report) -> None:
    """Fill the page and draw the picture."""
    insert(PAGE, report.text())
    facts = report.facts
    caption = f"{facts['date']}, {facts['processor']}, MariaDB {facts['MariaDB']}; median and range of the rounds"
    try:
        draw(report.results, PICTURE, caption=caption)
    except ModuleNotFoundError as missing:
        say(f"no picture: {missing.name} is not installed; pip install '.[bench]' brings it")


def wanted_workloads(options: argparse.Namespace) -> list[Workload]:
    share = options.rows / WORKLOADS[MAIN].changes
    wanted = [w for name, w in WORKLOADS.items() if not options.workloads or name in options.workloads]
    return [w if share == 1 else w.scaled(share) for w in wanted]


def read_options() -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=summary, epilog=details)
    parser.add_argument("--quick", action="store_true", help="a small run of a minute or two that checks the rig")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3)")
    parser.add_argument("--rows", type=int, help="changes of the mixed workload; the others in proportion")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="contestants whose name has such a word")
    parser.add_argument("--workloads", nargs="+", default=[], choices=sorted(WORKLOADS), help="these workloads alone")
    parser.add_argument("--history", type=int, help="changes of the long history (default 1,000,000; 0 leaves it out)")
    parser.add_argument("--transfer", type=int, help="rows to copy and verify (default 1,000,000; 0 leaves it out)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="folder of the CSV")
    parser.add_argument(
        "--check",
        type=float,
        nargs="?",
        const=0.2,
        metavar="SHARE",
        help="fail where a ratio fell by more than this share since the kept results (default 0.2)",
    )
    parser.add_argument(
        "--redis", action="store_true", help="the sink of Redis beside MariaDB and a bare pipeline, alone"
    )
    parser.add_argument(
        "--opensearch", action="store_true", help="the sink of OpenSearch beside MariaDB and bare bulk requests, alone"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing; write the page from the kept results")
    options = parser.parse_args()
    whole = WORKLOADS[MAIN].changes
    options.is_whole = not (options.quick or options.only or options.workloads or options.rows)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.rows = options.rows or (int(whole * QUICK_SHARE) if options.quick else whole)
    if options.history is None:
        options.history = 100_000 if options.quick else 1_000_000
    if options.transfer is None:
        options.transfer = 40_000 if options.quick else 1_000_000
    narrow = lab_root() / "bench" / "results"
    options.results = options.results or (KEPT if options.is_whole or options.report else narrow)
    return options


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
