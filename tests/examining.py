"""The doctor in this process, and set-ups that are broken on purpose for one examination."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.ops.doctor.examination import CheckLimits, Examination
from pydbsync.ops.doctor.finding import DoctorReport, Finding, Level
from pydbsync.ops.doctor.run import examine
from tests.servers import Endpoint

LIMITS = CheckLimits(answer_s=10, group_s=60)


class Fault(NamedTuple):
    """What is done to the servers, and what the doctor must say: of which level, and words of sentence and remedy."""

    group: str
    check: str
    level: Level
    says: str
    remedy: str
    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    """More keys of the configuration."""


def settings_of(source: Endpoint | None, target: Endpoint, **options: Any) -> Settings:
    """A configuration of these ends; `options` are further keys of config.py."""
    given: dict[str, Any] = {"db_info": target.db_info, "log_file_prefix": "", **options}
    if source is not None:
        given.setdefault("source_db_info", source.db_info)
    return settings_from_mapping(given, require=())[0]


def examined(settings: Settings, *groups: str, **options: Any) -> DoctorReport:
    """The report of these groups, or of all."""
    return examine(Examination(settings, limits=LIMITS, **options), only=groups)


def named(report: DoctorReport, check: str) -> list[Finding]:
    """What the report says under this name."""
    return [finding for finding in report.findings if finding.check == check]


def shown(report: DoctorReport) -> str:
    """For the message of an assertion."""
    return "\n".join(f"{each.group} {each.check} {each.level}: {each.text} → {each.remedy}" for each in report.findings)


def must_say(report: DoctorReport, fault: Fault) -> None:
    """The fault is named, with its remedy."""
    for finding in named(report, fault.check):
        if finding.level == fault.level and fault.says in finding.text and fault.remedy in finding.remedy:
            return
    raise AssertionError(f"nothing says {fault.says!r} → {fault.remedy!r}:\n{shown(report)}")


@contextmanager
def global_variables(endpoint: Endpoint, statements: Iterable[str]) -> Iterator[None]:
    """Run statements; of those that are SET GLOBAL the values from before are put back."""
    before: list[tuple[str, Any]] = []
    with endpoint.connect() as connection, connection.cursor() as cursor:
        try:
            for sql in statements:
                if sql.startswith("SET GLOBAL "):
                    name = sql.split()[2]
                    cursor.execute(f"SELECT @@global.{name}")
                    before.append((name, cursor.fetchone()[0]))
                cursor.execute(sql)
            yield
        finally:
            for name, value in reversed(before):
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))
