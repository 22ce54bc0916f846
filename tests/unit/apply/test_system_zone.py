"""The time zone of a server's system is told by how it reads moments."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections.abc import Callable

import pytest

from pydbsync.apply.system_zone import system_zone


def server(zone: dt.tzinfo) -> Callable[[str], list[tuple[int, int]]]:
    """One whose SYSTEM is this zone."""

    def ask(sql: str) -> list[tuple[int, int]]:
        steps = re.search(r"SELECT (\d+) \* \(.* BETWEEN 1 AND (\d+)", sql)
        moments = [int(number) for number in re.findall(r"SELECT (\d+) AS n", sql)]
        if steps:
            moments = [int(steps[1]) * number for number in range(1, int(steps[2]) + 1)]
        told = [(moment, dt.datetime.fromtimestamp(moment, zone).utcoffset()) for moment in moments]
        found = [(moment, round(offset.total_seconds())) for moment, offset in told if offset is not None]
        if "MIN(" in sql:
            return [(min(offset for _, offset in found), max(offset for _, offset in found))]
        return found

    return ask


@pytest.mark.parametrize(
    ("zone", "told"),
    [("UTC", "+00:00"), ("Asia/Kolkata", "+05:30"), ("America/Phoenix", "-07:00"), ("Pacific/Kiritimati", None)],
)
def test_a_zone_without_summer_is_an_offset(zone: str, told: str | None) -> None:
    found = system_zone(server(zoneinfo.ZoneInfo(zone)), "")
    assert found == told or (told is None and found == zone)  # it has crossed the date line in 1995


@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"])
def test_a_zone_with_summer_is_found_by_all_its_changes(zone: str) -> None:
    """CST, and GMT or EST, which by name have no summer, are what servers call three of these."""
    letters = {"Europe/London": "BST", "Asia/Shanghai": "CST", "America/New_York": "EST"}.get(zone, "")
    name = system_zone(server(zoneinfo.ZoneInfo(zone)), letters)
    assert name
    assert name == zone or not letters
    for moment in range(0, 2**31, 33 * 3600 + 7):
        at = [dt.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(each)).utcoffset() for each in (zone, name)]
        assert at[0] == at[1]


def test_no_zone_is_guessed() -> None:
    class Odd(dt.tzinfo):
        def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(hours=1 if moment is not None and moment.year % 2 else 2)

        def dst(self, moment: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(0)

        def tzname(self, moment: dt.datetime | None) -> str:
            return "ODD"

        def fromutc(self, moment: dt.datetime) -> dt.datetime:
            return moment + self.utcoffset(moment)

    assert [system_zone(server(Odd()), letters) for letters in ("ODD", "")] == ["ODD", ""]
