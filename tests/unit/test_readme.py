"""README.md and README.zh-CN.md say the same: commands, keys, figures and pages."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = (
    (REPOSITORY / name).read_text(encoding="utf-8").replace("README.md", "README.zh-CN.md")
    for name in ("README.md", "README.zh-CN.md")
)

SAME = {
    "commands and pictures": r"```.*?```",
    "names in code": r"`[^`\n]+`",
    "figures": r"\d[\d,.]*\d|\d",
    "pages": r"\]\(([^)]+)\)",
    "words in bold for pydbsync": r"\*\*pydbsync\*\*",
}


@pytest.mark.parametrize("pattern", SAME.values(), ids=SAME)
def test_both_have_the_same(pattern: str) -> None:
    found = [Counter(re.findall(pattern, text, re.DOTALL)) for text in (ENGLISH, CHINESE)]
    assert found[0]
    assert found[0] - found[1] == Counter()
    assert found[1] - found[0] == Counter()


def test_both_have_the_same_tables() -> None:
    rows = [[line.count("|") for line in text.splitlines() if line.startswith("|")] for text in (ENGLISH, CHINESE)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_each_page_that_is_named_is_there(text: str) -> None:
    pages = [page for page in re.findall(r"\]\(([^)#]+)", text) if "://" not in page]
    assert pages
    assert [page for page in pages if not (REPOSITORY / page).exists()] == []
