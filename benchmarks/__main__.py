"""`python -m benchmarks`: the comparison, its CSV, its plot and the table in docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.race import MAIN_WORKLOAD, Race, results_folder
from benchmarks.results import Result, ResultSet, write_csv
from benchmarks.rig import Rig
from benchmarks.workload import WORKLOADS, Workload
from lab.state import lab_root

QUICK_SHARE = 0.02


def main() -> int:
    options = read_options()
    rig = Rig(lab_root() / "bench")
    race = Race(rig, seed=options.seed, only=options.only, is_quick=options.quick, say=say)
    results: list[Result] = []
    rig.broker.start()
    try:
        for result in race.run(wanted_workloads(options), options.rounds):
            results.append(result)
            write_csv(options.results / "latest.csv", results)
    finally:
        rig.broker.stop()
    found = ResultSet(results)
    for result in found.bad:
        say(f"{result.outcome}: {result.contestant} on {result.workload}, {result.setting}, round {result.round}")
    return 1 if found.bad else 0


def say(text: str) -> None:
    print(text, flush=True)


def wanted_workloads(options: argparse.Namespace) -> list[Workload]:
    share = options.rows / WORKLOADS[MAIN_WORKLOAD].changes
    return [w.scaled(share) for name, w in WORKLOADS.items() if not options.workloads or name in options.workloads]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run of a minute or two that checks the rig")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3)")
    parser.add_argument("--rows", type=int, help="changes of the mixed workload; the others in proportion")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="contestants whose name has such a word")
    parser.add_argument("--workloads", nargs="+", default=[], choices=sorted(WORKLOADS), help="these workloads alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="folder of the CSV (default benchmarks/results)")
    options = parser.parse_args()
    whole = WORKLOADS[MAIN_WORKLOAD].changes
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.rows = options.rows or (int(whole * QUICK_SHARE) if options.quick else whole)
    options.results = options.results or (lab_root() / "bench" / "results" if options.quick else results_folder())
    return options


if __name__ == "__main__":
    sys.exit(main())
