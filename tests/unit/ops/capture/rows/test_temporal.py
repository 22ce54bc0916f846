"""Dates and times from row images."""

from __future__ import annotations

import pytest

from pydbsync.ops.capture.rows import temporal
from pydbsync.ops.capture.rows.temporal import ReadColumn


def read(reader: ReadColumn, raw: str) -> object:
    """The token of one value, which must take all of the bytes."""
    row = bytes.fromhex(raw)
    tokens: list[object] = []
    assert reader(b"\xff" + row + b"\xff", 1, tokens) == 1 + len(row)
    (token,) = tokens
    return token


def packed_datetime(text: str, fraction: str = "") -> str:
    year, month, day, hour, minute, second = map(int, text.replace(":", "-").replace(" ", "-").split("-"))
    packed = ((year * 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second
    return (packed + 0x8000000000).to_bytes(5, "big").hex() + fraction


@pytest.mark.parametrize(
    ("digits", "raw", "token"),
    [
        (0, packed_datetime("2024-02-29 12:34:56"), '"2024-02-29 12:34:56"'),
        (0, packed_datetime("0000-00-00 00:00:00"), '"0000-00-00 00:00:00"'),
        (0, packed_datetime("2024-05-00 12:00:00"), '"2024-05-00 12:00:00"'),
        (0, packed_datetime("2024-02-31 00:00:00"), '"2024-02-31 00:00:00"'),
        (0, packed_datetime("1582-10-10 01:02:03"), '"1582-10-10 01:02:03"'),
        (1, packed_datetime("9999-12-31 23:59:59", "5a"), '"9999-12-31 23:59:59.9"'),
        (3, packed_datetime("1000-01-01 00:00:00", "000a"), '"1000-01-01 00:00:00.001"'),
        (6, packed_datetime("1969-12-31 23:59:59", "000001"), '"1969-12-31 23:59:59.000001"'),
        (6, packed_datetime("2024-01-01 00:00:00", "000000"), '"2024-01-01 00:00:00.000000"'),
    ],
)
def test_datetime_is_exact_and_has_its_digits(digits: int, raw: str, token: str) -> None:
    assert read(temporal.datetime_reader(digits), raw) == token


@pytest.mark.parametrize(
    ("digits", "raw", "token"),
    [
        (0, "00000000", '"0000-00-00 00:00:00"'),
        (3, "000000000000", '"0000-00-00 00:00:00.000"'),
        (0, "00000001", '"1970-01-01 00:00:01"'),
        (2, "7fffffff63", '"2038-01-19 03:14:07.99"'),
        (6, "00000000000001", '"1970-01-01 00:00:00.000001"'),
        (0, "ffffffff", '"2106-02-07 06:28:15"'),
    ],
)
def test_timestamp_is_in_utc(digits: int, raw: str, token: str) -> None:
    assert read(temporal.timestamp_reader(digits), raw) == token


@pytest.mark.parametrize(
    ("digits", "raw", "token"),
    [
        (0, "800000", '"00:00:00"'),
        (0, f"{0x800000 + (23 << 12 | 59 << 6 | 59):06x}", '"23:59:59"'),
        (0, f"{0x800000 + (838 << 12 | 59 << 6 | 59):06x}", '"838:59:59"'),
        (0, f"{0x800000 - (1 << 12):06x}", '"-01:00:00"'),
        (0, f"{0x800000 - 1:06x}", '"-00:00:01"'),
        (3, f"{0x8000000000 - 5000:010x}", '"-00:00:00.500"'),
        (6, f"{0x800000000000 - 1:012x}", '"-00:00:00.000001"'),
        (6, f"{0x800000000000 - ((25 << 12) << 24 | 500000):012x}", '"-25:00:00.500000"'),
        (2, f"{(0x800000 << 8) + ((1 << 12 | 2 << 6 | 3) << 8 | 4):08x}", '"01:02:03.04"'),
    ],
)
def test_time_goes_from_minus_to_plus_838_hours(digits: int, raw: str, token: str) -> None:
    assert read(temporal.time_reader(digits), raw) == token


@pytest.mark.parametrize(
    ("year", "month", "day"), [(2024, 2, 29), (0, 0, 0), (9999, 12, 31), (2024, 5, 0), (2024, 2, 31), (1, 1, 1)]
)
def test_date_is_printed_as_it_is_stored(year: int, month: int, day: int) -> None:
    raw = (year << 9 | month << 5 | day).to_bytes(3, "little").hex()
    assert read(temporal.read_date, raw) == f'"{year:04d}-{month:02d}-{day:02d}"'


@pytest.mark.parametrize(("raw", "year"), [("00", 0), ("01", 1901), ("ff", 2155)])
def test_year_zero_is_zero(raw: str, year: int) -> None:
    assert read(temporal.read_year, raw) == year


def test_formats_of_tables_older_than_mysql_5_6() -> None:
    assert read(temporal.read_old_datetime, (20240229123456).to_bytes(8, "little").hex()) == '"2024-02-29 12:34:56"'
    assert read(temporal.read_old_timestamp, "01000000") == '"1970-01-01 00:00:01"'
    assert read(temporal.read_old_timestamp, "00000000") == '"0000-00-00 00:00:00"'
    assert read(temporal.read_old_time, (-8385959).to_bytes(3, "little", signed=True).hex()) == '"-838:59:59"'
