"""What a server's time zone SYSTEM is, found by how the server reads moments: an offset, or the name of a zone.

`@@system_time_zone` tells but letters, which stand for several zones (CST), for half of one (CEST, and EST, which by
name has no summer), or for another one than meant (GMT of London).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import zoneinfo
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydbsync.plan.ddl.zones import offset_s, spelled_offset

_WEEK_S = 604800
_WEEKS = 3547
"""Up to the end of 2037, where a TIMESTAMP of MySQL ends."""
_DIGITS = "(SELECT 0 AS d" + "".join(f" UNION ALL SELECT {digit}" for digit in range(1, 10)) + ")"
_UTC = "TIMESTAMP'1970-01-01 00:00:00' + INTERVAL n SECOND"
_FROM_UTC = f"TIMESTAMPDIFF(SECOND, {_UTC}, CONVERT_TZ({_UTC}, '+00:00', 'SYSTEM'))"
"""How far the server's clock on the wall is from UTC at the moment `n`."""


def system_zone(ask: Callable[[str], Iterable[Sequence[Any]]], letters: str) -> str:
    """The zone SYSTEM of the server that `ask` sends a query to; its `@@system_time_zone`, the `letters`, where no zone
    that Python knows is like it. Of zones that are alike one with these letters is taken, for people."""
    # Most keep one distance all the time, and say so in one row. No zone has left its own for less than a month.
    ((least, most),) = ask(f"SELECT MIN({_FROM_UTC}), MAX({_FROM_UTC}) FROM ({_moments(4 * _WEEK_S)}) AS moments")
    if least == most:
        return spelled_offset(int(least)) or letters
    found = _offsets(ask, _moments(_WEEK_S))
    for name in _names(letters):
        zone = zoneinfo.ZoneInfo(name)
        if all(offset_s(zone, moment) == offset for moment, offset in found.items()):
            wanted = {moment: offset_s(zone, moment) for change in _changes(zone) for moment in (change - 1, change)}
            rows = " UNION ALL ".join(f"SELECT {moment} AS n" for moment in wanted)
            if _offsets(ask, rows) == wanted:
                return name
    return letters


def _moments(step_s: int) -> str:
    """The query for moments `n` at this distance, up to the end of 2037."""
    count = _WEEKS * _WEEK_S // step_s
    letters = "abcd"[: len(str(count))]
    number = " + ".join(f"{10**place} * {letter}.d" for place, letter in enumerate(letters))
    digits = ", ".join(f"{_DIGITS} {letter}" for letter in letters)
    return f"SELECT {step_s} * ({number}) AS n FROM {digits} WHERE {number} BETWEEN 1 AND {count}"


def _offsets(ask: Callable[[str], Iterable[Sequence[Any]]], moments: str) -> dict[int, int]:
    """By moments that the query gives as `n`."""
    return {int(moment): int(offset) for moment, offset in ask(f"SELECT n, {_FROM_UTC} FROM ({moments}) AS moments")}


def _names(letters: str) -> list[str]:
    """Those that stand for all zones like them since 1970 are first: every server with tables of zones has them."""
    listed: set[str] = set()
    for folder in zoneinfo.TZPATH:
        with contextlib.suppress(OSError):
            lines = Path(folder, "zone1970.tab").read_text(encoding="utf-8").splitlines()
            listed |= {line.split("\t")[2] for line in lines if not line.startswith("#")}
    known = (name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith("Etc/"))
    return sorted(known, key=lambda name: (letters not in _letters(name), name not in listed, name))


def _letters(name: str) -> tuple[str | None, ...]:
    """In winter and in summer."""
    zone = zoneinfo.ZoneInfo(name)
    return tuple(dt.datetime(2025, month, 1, tzinfo=zone).tzname() for month in (1, 7))


def _changes(zone: dt.tzinfo) -> Iterator[int]:
    """The moments at which the zone's clocks are changed."""
    for week in range(1, _WEEKS):
        low, high = week * _WEEK_S, (week + 1) * _WEEK_S
        if offset_s(zone, low) == offset_s(zone, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset_s(zone, middle) == offset_s(zone, low) else (low, middle)
        yield high
