"""The tests that docs/types.md names as its proof are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "types.md").read_text(encoding="utf-8")))
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    assert named
    assert {name for name in named if not any(f"def {name}(" in text for text in sources)} == set()
