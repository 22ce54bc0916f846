"""Commands that the pages show are such as pydbsync takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.processes import REPOSITORY
from tests.unit.test_cli import COMMANDS

PAGES = [*sorted(REPOSITORY.glob("README*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:python -m )?pydbsync [^`…]*)`")
_COMMAND = re.compile(r"^\s*(?:python -m )?pydbsync (?P<words>[^#|&;<>]*)")


def shown() -> Iterator[tuple[str, str, bool]]:
    """Page, command without what stands in brackets, and whether it is a whole one, as a line of its own."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        whole = [line for block in _BLOCK.findall(text) for line in block.splitlines()]
        for line, is_whole in (*((line, True) for line in whole), *((line, False) for line in _INLINE.findall(text))):
            found = _COMMAND.match(re.sub(r"\[.*?\]", "", line))
            if found and "…" not in line:
                yield page.name, found["words"].strip(), is_whole


def test_the_pages_show_commands() -> None:
    assert len(list(shown())) > 50


@pytest.mark.parametrize(("page", "words", "is_whole"), sorted(set(shown())))
def test_a_command_is_taken(page: str, words: str, is_whole: bool) -> None:
    given = shlex.split(words)
    if given and given[0].startswith("-"):
        return  # of the program itself
    name = next((" ".join(given[:count]) for count in (2, 1) if " ".join(given[:count]) in COMMANDS), "")
    if not name:  # a group of commands
        assert {each.split()[0] for each in COMMANDS} >= set(given[:1]), f"{page}: there is no command {words}"
        return
    try:
        COMMANDS[name].make_context(name, given[len(name.split()) :])
    except Exception as exc:
        if is_whole or type(exc).__name__ == "NoSuchOption":
            raise AssertionError(f"{page}: pydbsync {words}: {exc}") from exc
