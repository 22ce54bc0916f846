"""One line of results a run, kept as CSV; medians and ratios of them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

WITH_BINLOG, WITHOUT_BINLOG, NO_TARGET = "binlog", "no binlog", "-"


@dataclass(frozen=True)
class Result:
    """One run of one contestant. `seconds` is the span of consuming or applying; `process_s` the whole process.

    CPU seconds are those of the contestant's own processes, of the target's server and of the broker during the run.
    """

    workload: str
    contestant: str
    setting: str
    round: int
    changes: int
    seconds: float
    process_s: float = 0.0
    cpu_s: float = 0.0
    target_cpu_s: float = 0.0
    broker_cpu_s: float = 0.0
    peak_rss_mb: float = 0.0
    outcome: str = "equal"
    """`equal`, `WRONG` (the target differs from the source), `failed`, or `-` where there is no target."""

    @property
    def rate(self) -> float:
        return self.changes / self.seconds if self.seconds else 0.0

    @property
    def is_bad(self) -> bool:
        return self.outcome in ("WRONG", "failed")


@dataclass(frozen=True)
class Spread:
    """Rates of several rounds, in changes a second."""

    median: float
    low: float
    high: float
    rounds: int
    outcome: str


def write_csv(path: Path, results: Iterable[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*[field.name for field in fields(Result)], "rate"])
        for result in results:
            values = [f"{v:.3f}" if isinstance(v, float) else v for v in asdict(result).values()]
            writer.writerow([*values, f"{result.rate:.1f}"])


def read_csv(path: Path) -> list[Result]:
    with path.open(newline="") as file:
        return [
            Result(
                workload=row["workload"],
                contestant=row["contestant"],
                setting=row["setting"],
                round=int(row["round"]),
                changes=int(row["changes"]),
                seconds=float(row["seconds"]),
                process_s=float(row["process_s"]),
                cpu_s=float(row["cpu_s"]),
                target_cpu_s=float(row["target_cpu_s"]),
                broker_cpu_s=float(row["broker_cpu_s"]),
                peak_rss_mb=float(row["peak_rss_mb"]),
                outcome=row["outcome"],
            )
            for row in csv.DictReader(file)
        ]


def spread(results: Sequence[Result]) -> Spread | None:
    """Median, lowest and highest rate of the runs that gave a right answer; None without any run."""
    if not results:
        return None
    bad = [r.outcome for r in results if r.is_bad]
    rates = [r.rate for r in results if not r.is_bad]
    if not rates:
        return Spread(0.0, 0.0, 0.0, len(results), bad[0])
    outcome = bad[0] if bad else results[0].outcome
    return Spread(statistics.median(rates), min(rates), max(rates), len(rates), outcome)


class ResultSet:
    """All results of one call, asked for by workload, contestant and setting."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = list(results)

    def of(self, workload: str, contestant: str, setting: str | None = None) -> Spread | None:
        return spread(
            [
                r
                for r in self.results
                if r.workload == workload and r.contestant == contestant and setting in (None, r.setting)
            ]
        )

    def contestants(self, workload: str) -> list[str]:
        return list(dict.fromkeys(r.contestant for r in self.results if r.workload == workload))

    def best(self, workload: str, prefix: str, setting: str) -> tuple[str, Spread] | None:
        """The contestant with the highest median among those whose name begins so."""
        found = [
            (name, rates)
            for name in self.contestants(workload)
            if name.startswith(prefix) and (rates := self.of(workload, name, setting)) and rates.median
        ]
        return max(found, key=lambda pair: pair[1].median, default=None)

    def peak_rss_mb(self, contestant: str) -> float:
        return max((r.peak_rss_mb for r in self.results if r.contestant == contestant), default=0.0)

    @property
    def bad(self) -> list[Result]:
        return [r for r in self.results if r.is_bad]
