"""`python -m pydbsync doctor`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from pydbsync.commands.shared import (
    CONFIG,
    Format,
    FormatOption,
    JsonOption,
    MaxwellOption,
    is_json,
    print_json,
    text_console,
)
from pydbsync.config.file import load_settings
from pydbsync.config.maxwell_file import read_maxwell_file
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError
from pydbsync.ops.doctor.across import check_together
from pydbsync.ops.doctor.examination import CheckLimits, Examination
from pydbsync.ops.doctor.finding import DoctorReport, Finding, Level
from pydbsync.ops.doctor.run import examine
from pydbsync.ops.doctor.show import show_report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    config: Annotated[list[Path] | None, typer.Option("--config", help="Configuration, .py or .yaml.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help="Only this group of checks, such as broker; repeatable."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="Not this group of checks; repeatable.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Leave out what is well.")] = False,
    strict: Annotated[bool, typer.Option(help="What cannot be looked at counts as a warning.")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Longest time for the checks of a group, seconds.")
    ] = 30,
    maxwell: MaxwellOption = None,
    watch_stream: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Look at what is published for so long, by a queue of its own that goes again; 0 declares nothing.",
        ),
    ] = 0,
    canary: Annotated[
        bool, typer.Option("--canary", help="Write one row of every type at the source, and see how it arrives.")
    ] = False,
    canary_wait: Annotated[float, typer.Option(min=1, help="Longest way of the canary, seconds.")] = 30,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Look at source, broker, target and state, and say what is wrong and how it is mended; nothing is changed.
    Exit
    code 0 well, 1 warnings, 2 errors. Several --config are also held against each other."""
    options = _Options(only or [], skip or [], timeout_s, maxwell, watch_stream, canary_wait if canary else 0)
    report = _all_examined(config or [CONFIG], options)
    if is_json(output, as_json):
        print_json(
            {"exit_code": report.exit_code(strict=strict), "findings": report.findings, "seconds": report.seconds}
        )
    else:
        show_report(report, text_console(), quiet=quiet)
    raise typer.Exit(report.exit_code(strict=strict))


class _Options(NamedTuple):
    only: list[str]
    skip: list[str]
    timeout_s: float
    maxwell: Path | None
    watch_s: float
    canary_s: float


def _all_examined(configs: list[Path], options: _Options) -> DoctorReport:
    if len(configs) == 1:
        return _examined(configs[0], options)
    found: list[Finding] = []
    named: list[tuple[str, Settings]] = []
    seconds = 0.0
    for config in configs:
        report = _examined(config, options)
        seconds += report.seconds
        found += [msgspec.structs.replace(each, group=f"{config}: {each.group}") for each in report.findings]
        with contextlib.suppress(ConfigError):  # it is among the findings already
            named.append((str(config), load_settings(config, require=("db_info",))[0]))
    found += [msgspec.structs.replace(each, group="together") for each in check_together(named)]
    return DoctorReport(findings=tuple(found), seconds=seconds)


def _examined(config: Path, options: _Options) -> DoctorReport:
    try:
        settings, warnings = load_settings(config, require=("db_info",))
        maxwell = read_maxwell_file(options.maxwell) if options.maxwell else None
    except ConfigError as exc:
        return DoctorReport(
            findings=(_configuration("error", str(exc), f"correct {config}; pydbsync init writes a first one"),)
        )
    limits = CheckLimits(answer_s=min(10.0, options.timeout_s), group_s=options.timeout_s)
    exam = Examination(settings, limits=limits, maxwell=maxwell, watch_s=options.watch_s, canary_s=options.canary_s)
    report = examine(exam, only=options.only, skip=options.skip)
    told = tuple(_configuration("warning", text, f"see {config}") for text in warnings)
    return DoctorReport(findings=(*told, *report.findings), seconds=report.seconds)


def _configuration(level: Level, text: str, remedy: str) -> Finding:
    return Finding(level=level, group="configuration", check="configuration", text=text, remedy=remedy)
