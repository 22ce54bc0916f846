"""docs/delivery.md names tests that are there."""

from __future__ import annotations

import re

from tests.processes import REPOSITORY


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", (REPOSITORY / "docs" / "delivery.md").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []
