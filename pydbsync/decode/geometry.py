"""Geometry values as WKT in the spelling of JTS, which Maxwell prints: POINT (1 2), MULTIPOINT ((1 1), (2 2))."""

from __future__ import annotations

import struct
from decimal import Decimal

_NAMES = (
    "GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION",
)  # fmt: skip


def read_geometry(value: bytes, *, with_srid: bool = False) -> str:
    """The server's internal form (four bytes SRID, then WKB) as text, axes in stored order (longitude first).

    `with_srid` puts `SRID=4326;` in front where the SRID is not 0, which Maxwell does not.
    Source: https://dev.mysql.com/doc/refman/8.4/en/gis-data-formats.html

    >>> read_geometry(bytes.fromhex("00000000" "01" "01000000" "000000000000f03f" "0000000000000040"))
    'POINT (1 2)'
    """
    kind, body, _ = _read(value, 4)
    srid = int.from_bytes(value[:4], "little")
    return f"{f'SRID={srid};' if with_srid and srid else ''}{_NAMES[kind]} {body}"


def _read(wkb: bytes, at: int) -> tuple[int, str, int]:
    """Kind, the text behind its name, and where the next value starts."""
    order = "<" if wkb[at] else ">"
    (kind,) = struct.unpack_from(order + "I", wkb, at + 1)
    at += 5
    if kind == 1:
        return kind, f"({_points(wkb, at, 1, order)})", at + 16
    (count,) = struct.unpack_from(order + "I", wkb, at)
    at += 4
    if not count:
        return kind, "EMPTY", at
    if kind == 2:
        return kind, f"({_points(wkb, at, count, order)})", at + 16 * count
    parts = []
    for _ in range(count):
        if kind == 3:
            (points,) = struct.unpack_from(order + "I", wkb, at)
            parts.append(f"({_points(wkb, at + 4, points, order)})")
            at += 4 + 16 * points
        else:
            inner, body, at = _read(wkb, at)
            parts.append(f"{_NAMES[inner]} {body}" if kind == 7 else body)
    return kind, f"({', '.join(parts)})", at


def _points(wkb: bytes, at: int, count: int, order: str) -> str:
    numbers = struct.unpack_from(f"{order}{2 * count}d", wkb, at)
    return ", ".join(f"{_plain(x)} {_plain(y)}" for x, y in zip(numbers[::2], numbers[1::2], strict=True))


def _plain(number: float) -> str:
    """The shortest digits that read back as the same value, without exponent and without `.0`."""
    text = repr(number)
    if text.endswith(".0"):
        text = text[:-2]
    return format(Decimal(text), "f") if "e" in text else text
