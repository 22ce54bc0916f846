"""How far a zone is from UTC."""

from __future__ import annotations

import pytest

from pydbsync.plan.ddl.zones import is_offset, offset_at

SUMMER = 1_720_000_000


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("Europe/London", "+01:00"),
        ("America/St_Johns", "-02:30"),
        ("UTC", "+00:00"),
        ("Nowhere/Else", None),
        ("../etc/passwd", None),
    ],
)
def test_the_offset_of_a_zone_is_spelled_as_mysql_spells_it(name: str, offset: str | None) -> None:
    assert offset_at(name, SUMMER) == offset
    assert offset is None or is_offset(offset)


def test_an_offset_that_has_seconds_cannot_be_spelled() -> None:
    assert offset_at("Africa/Monrovia", 0) is None
