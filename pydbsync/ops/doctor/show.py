"""The report for a terminal: grouped, what is well in a line, what is not with its remedy, and a summary at the end."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from pydbsync.ops.doctor.finding import DoctorReport, Finding, Level
from pydbsync.ops.words import counted

_STYLES: dict[Level, str] = {"ok": "green", "unknown": "cyan", "warning": "yellow", "error": "bold red"}
_ORDER: tuple[Level, ...] = ("ok", "unknown", "warning", "error")


def show_report(report: DoctorReport, console: Console, *, quiet: bool = False) -> None:
    """Within each group the worst comes last, as do the counts of all; `quiet` leaves out what is well."""
    groups = dict.fromkeys(finding.group for finding in report.findings)
    for group in groups:
        found = [each for each in report.findings if each.group == group and not (quiet and each.level == "ok")]
        if not found:
            continue
        console.print(Text(group, style="bold"))
        for level in _ORDER:
            for finding in found:
                if finding.level == level:
                    _show(finding, console)
    console.print(summary(report))


def summary(report: DoctorReport) -> str:
    """`1 error, 2 warnings, 3 unknown, 14 ok`."""
    parts = [
        counted(number, level) if level in ("error", "warning") else f"{number} {level}"
        for level in reversed(_ORDER)
        if (number := report.count(level))
    ]
    parts.sort(key=lambda part: part.endswith(" ok"))
    return ", ".join(parts) or "nothing was looked at"


def _show(finding: Finding, console: Console) -> None:
    line = Text("  ")
    line.append(f"{finding.level:8}", style=_STYLES[finding.level])
    line.append(finding.text)
    console.print(line)
    if finding.remedy:
        console.print(Text(f"          → {finding.remedy}"))
