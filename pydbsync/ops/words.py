"""Numbers, and lists of names, as people say them."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 5
"""Names that a sentence lists before it says how many more there are."""


def seconds(value: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 days 4 h`."""
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    for unit, size, name, less in ((86400, 86400, "days", "h"), (3600, 3600, "h", "min"), (60, 60, "min", "s")):
        if whole >= unit:
            rest = (whole % size) // {"h": 3600, "min": 60, "s": 1}[less]
            first = f"{whole // size} {'day' if name == 'days' and whole // size == 1 else name}"
            return f"{first} {rest} {less}" if rest else first
    return f"{whole} s"


def age(value: float) -> str:
    """`12 s ago`."""
    return f"{seconds(value)} ago"


def counted(number: int, noun: str) -> str:
    """`1 change`, `1,200 changes`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rate(value: float | None, noun: str) -> str:
    """`2,400 rows/s`; nothing where it is not known."""
    return "" if value is None else f"{value:,.0f} {noun}/s"


def listed(names: Iterable[object], *, most: int = _SHOWN) -> str:
    """`a, b, c and 7 more`."""
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
