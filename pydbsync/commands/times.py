"""Times that people write: read in one way, as UTC, and refused where a text has more than one meaning."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import warnings

from dateutil import parser

from pydbsync.errors import OperationError

_EXAMPLE = "2030-01-31 12:00:00"
_YEAR_FIRST = re.compile(r"\d{4}\D|\d{8}(\D|\Z)")
_NAME_AND_OFFSET = re.compile(r"\b(gmt|utc)\s*[+-]\d|:\d\d\s*[a-z]{3,}\s*[+-]\d", re.IGNORECASE)
"""`GMT+3` is three hours before or behind, as one reads it; dateutil takes POSIX's way, which surprises most."""
_DEFAULTS = (dt.datetime(2003, 1, 28), dt.datetime(2004, 2, 29))
"""What is missing in a text is taken from these: it is complete where both give the same."""


def read_time(text: str, *, option: str) -> dt.datetime:
    """`2030-01-31`, `2030-01-31T12:00:00+02:00`, `31 Jan 2030 12:00`, …; without a zone it is UTC, and so is what is
    returned, without saying so. Raises OperationError."""
    try:
        meanings = _meanings(text.strip())
    except (ValueError, OverflowError, parser.UnknownTimezoneWarning) as exc:
        raise _refusal(text, option, "is no time") from exc
    if len(meanings) > 1 or _NAME_AND_OFFSET.search(text):
        raise _refusal(text, option, "can be understood in several ways, or lacks a part of the date")
    return meanings.pop()


def _meanings(text: str) -> set[dt.datetime]:
    """All that the text may mean: what is missing is filled in, and without a year in front the order is a guess."""
    with contextlib.suppress(ValueError):
        if "-" in text:  # elsewhere ISO's short forms look like other numbers
            return {_in_utc(parser.isoparse(text))}
    orders = [(False, True)] if _YEAR_FIRST.match(text) else [(False, False), (True, False), (False, True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", parser.UnknownTimezoneWarning)  # it would be left out without a word
        return {
            _in_utc(parser.parse(text, default=default, dayfirst=day_first, yearfirst=year_first))
            for default in _DEFAULTS
            for day_first, year_first in orders
        }


def _in_utc(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.timezone.utc).replace(tzinfo=None) if time.tzinfo is not None else time


def _refusal(text: str, option: str, why: str) -> OperationError:
    return OperationError(
        f"{option}: {text!r} {why}; write it as in '{_EXAMPLE}', in UTC, or with its offset behind it"
    )


_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def read_span(text: str, *, option: str) -> float:
    """`90s`, `5m`, `2h`, `3d`, `1w`, or seconds, as seconds. Raises OperationError."""
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None:
        raise OperationError(f"{option}: {text!r} is no span of time; write it as in 90s, 5m, 2h, 3d or 1w")
    return float(found[1]) * _UNITS[found[2]]
