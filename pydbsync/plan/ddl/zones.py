"""Time zones by name, and how far they are from UTC."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo

_OFFSET = re.compile(r"[+-]\d\d?:\d\d")


def is_offset(zone: str) -> bool:
    """Whether a zone is spelled as MySQL spells a distance from UTC."""
    return _OFFSET.fullmatch(zone) is not None


def offset_at(name: str, moment: float) -> str | None:
    """How far the zone of this name is from UTC at a moment, in seconds since 1970; None where it is not known."""
    try:
        return spelled_offset(offset_s(zoneinfo.ZoneInfo(name), int(moment)))
    except (OSError, ValueError, KeyError):
        return None


def offset_s(zone: dt.tzinfo, moment: int) -> int:
    """Seconds from UTC."""
    offset = dt.datetime.fromtimestamp(moment, zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def spelled_offset(seconds: int) -> str | None:
    """As MySQL spells it, which has no seconds."""
    minutes, rest = divmod(abs(seconds), 60)
    return None if rest else f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
