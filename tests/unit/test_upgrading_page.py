"""docs/upgrading.md names every version of the state schema."""

from __future__ import annotations

import re
from pathlib import Path

from pydbsync.apply.tables.migrations import MIGRATIONS

PAGE = Path(__file__).parents[2] / "docs" / "upgrading.md"


def test_the_page_has_a_line_for_each_version_and_versions_count_up() -> None:
    listed = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number in listed] == [each.version for each in MIGRATIONS]
    assert [each.version for each in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
