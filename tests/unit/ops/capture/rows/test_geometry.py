"""Geometry in the spelling of JTS."""

from __future__ import annotations

import struct

import pytest

from pydbsync.decode.geometry import read_geometry


def wkb(kind: int, *parts: bytes, order: str = "<") -> bytes:
    return (b"\1" if order == "<" else b"\0") + struct.pack(order + "I", kind) + b"".join(parts)


def count(number: int, order: str = "<") -> bytes:
    return struct.pack(order + "I", number)


def xy(*numbers: float, order: str = "<") -> bytes:
    return struct.pack(f"{order}{len(numbers)}d", *numbers)


RING = count(4) + xy(0, 0, 1, 0, 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (wkb(1, xy(1, 2)), "POINT (1 2)"),
        (wkb(1, xy(-1.5, 0.001)), "POINT (-1.5 0.001)"),
        (wkb(1, xy(1e20, 1e-7)), "POINT (100000000000000000000 0.0000001)"),
        (wkb(1, xy(1, 2, order=">"), order=">"), "POINT (1 2)"),
        (wkb(2, count(2), xy(0, 0, 2.5, -3)), "LINESTRING (0 0, 2.5 -3)"),
        (wkb(3, count(2), RING, RING), "POLYGON ((0 0, 1 0, 1 1, 0 0), (0 0, 1 0, 1 1, 0 0))"),
        (wkb(4, count(2), wkb(1, xy(1, 1)), wkb(1, xy(2, 2))), "MULTIPOINT ((1 1), (2 2))"),
        (wkb(5, count(1), wkb(2, count(2), xy(0, 0, 1, 1))), "MULTILINESTRING ((0 0, 1 1))"),
        (wkb(6, count(1), wkb(3, count(1), RING)), "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))"),
        (
            wkb(7, count(2), wkb(1, xy(1, 1)), wkb(7, count(1), wkb(2, count(2), xy(0, 0, 1, 1)))),
            "GEOMETRYCOLLECTION (POINT (1 1), GEOMETRYCOLLECTION (LINESTRING (0 0, 1 1)))",
        ),
        (wkb(7, count(0)), "GEOMETRYCOLLECTION EMPTY"),
    ],
)
def test_a_value_is_written_as_jts_does(value: bytes, text: str) -> None:
    assert read_geometry(b"\0\0\0\0" + value) == text


def test_the_srid_is_written_where_it_is_asked_for_and_not_zero() -> None:
    point = wkb(1, xy(20, 10))
    assert read_geometry(count(4326) + point) == "POINT (20 10)"
    assert read_geometry(count(4326) + point, with_srid=True) == "SRID=4326;POINT (20 10)"
    assert read_geometry(count(0) + point, with_srid=True) == "POINT (20 10)"
