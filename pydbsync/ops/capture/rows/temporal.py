"""DATE, TIME, DATETIME, TIMESTAMP and YEAR of a row image as JSON tokens, exact for every value that MySQL can store.

Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html (MYSQL_TYPE_*2) and my_time.cc.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

ReadColumn = Callable[[bytes, int, list[object]], int]
"""Reads one value of a row image at an offset, appends its JSON token to the list and returns the offset behind it."""

_CACHE_LIMIT = 100_000
_EPOCH = dt.date(1970, 1, 1).toordinal()


class _Spelled(dict[int, str]):
    """Packed values spelled once each; a table sees few different days and seconds."""

    def __init__(self, spell: Callable[[int], str]) -> None:
        self._spell = spell

    def __missing__(self, packed: int) -> str:
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        text = self[packed] = self._spell(packed)
        return text


def _date(packed: int) -> str:
    months, day = packed >> 5, packed & 0x1F
    return f"{months // 13:04d}-{months % 13:02d}-{day:02d}"


_dates = _Spelled(_date)
"""Thirteen months a year and 32 days a month, as DATETIME packs them."""
_clocks = _Spelled(lambda packed: f"{packed >> 12:02d}:{packed >> 6 & 0x3F:02d}:{packed & 0x3F:02d}")
"""Hours, six bits of minutes, six bits of seconds."""
_days = _Spelled(lambda day: dt.date.fromordinal(_EPOCH + day).isoformat())
"""Days since 1970."""
_seconds = _Spelled(lambda second: f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}")
"""Seconds since midnight."""


def _fraction(raw: bytes, digits: int) -> str:
    """`.123` from the stored fraction: an even number of digits, two a byte, of which `digits` are meant."""
    return f".{int.from_bytes(raw, 'big'):0{len(raw) * 2}d}"[: digits + 1]


def datetime_reader(digits: int) -> ReadColumn:
    """DATETIME(digits): five bytes big-endian, then the fraction."""
    extra = (digits + 1) // 2
    size = 5 + extra

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        packed = int.from_bytes(row[at : at + 5], "big") - 0x8000000000
        end = at + size
        fraction = _fraction(row[at + 5 : end], digits) if extra else ""
        tokens.append(f'"{_dates[packed >> 17]} {_clocks[packed & 0x1FFFF]}{fraction}"')
        return end

    return read


def timestamp_reader(digits: int) -> ReadColumn:
    """TIMESTAMP(digits): seconds since 1970 big-endian, then the fraction; 0 is the zero date. Printed in UTC."""
    extra = (digits + 1) // 2
    size = 4 + extra

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        day, second = divmod(int.from_bytes(row[at : at + 4], "big"), 86400)
        end = at + size
        fraction = _fraction(row[at + 4 : end], digits) if extra else ""
        if day or second or fraction.strip(".0"):
            tokens.append(f'"{_days[day]} {_seconds[second]}{fraction}"')
        else:
            tokens.append(f'"0000-00-00 00:00:00{fraction}"')
        return end

    return read


def time_reader(digits: int) -> ReadColumn:
    """TIME(digits), from -838:59:59 to 838:59:59: an offset number of three bytes and the fraction."""
    size = 3 + (digits + 1) // 2
    shift = (size - 3) * 8
    zero = 0x800000 << shift
    mask = (1 << shift) - 1
    places = (size - 3) * 2

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        end = at + size
        packed = int.from_bytes(row[at:end], "big") - zero
        sign = ""
        if packed < 0:
            packed = -packed
            sign = "-"
        fraction = f".{packed & mask:0{places}d}"[: digits + 1] if digits else ""
        tokens.append(f'"{sign}{_clocks[packed >> shift]}{fraction}"')
        return end

    return read


def read_date(row: bytes, at: int, tokens: list[object]) -> int:
    """DATE: three bytes, day in five bits, month in four."""
    packed = int.from_bytes(row[at : at + 3], "little")
    months = (packed >> 9) * 13 + (packed >> 5 & 0xF)
    tokens.append(f'"{_dates[months << 5 | packed & 0x1F]}"')
    return at + 3


def read_year(row: bytes, at: int, tokens: list[object]) -> int:
    """YEAR: one byte since 1900; 0 is the year 0."""
    tokens.append(row[at] + 1900 if row[at] else 0)
    return at + 1


def read_old_datetime(row: bytes, at: int, tokens: list[object]) -> int:
    """DATETIME of tables made before MySQL 5.6: YYYYMMDDhhmmss as a number."""
    date, clock = divmod(int.from_bytes(row[at : at + 8], "little"), 1000000)
    tokens.append(
        f'"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}'
        f' {clock // 10000:02d}:{clock // 100 % 100:02d}:{clock % 100:02d}"'
    )
    return at + 8


def read_old_timestamp(row: bytes, at: int, tokens: list[object]) -> int:
    """TIMESTAMP of tables made before MySQL 5.6: seconds since 1970, little-endian."""
    day, second = divmod(int.from_bytes(row[at : at + 4], "little"), 86400)
    tokens.append(f'"{_days[day]} {_seconds[second]}"' if day or second else '"0000-00-00 00:00:00"')
    return at + 4


def read_old_time(row: bytes, at: int, tokens: list[object]) -> int:
    """TIME of tables made before MySQL 5.6: hhmmss as a signed number of three bytes."""
    number = int.from_bytes(row[at : at + 3], "little", signed=True)
    sign, number = ("-", -number) if number < 0 else ("", number)
    tokens.append(f'"{sign}{number // 10000:02d}:{number // 100 % 100:02d}:{number % 100:02d}"')
    return at + 3
