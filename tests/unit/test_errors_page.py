"""docs/errors.md has an entry for every error and warning of the source, by kind, and none for what is no more."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property

from pydbsync import errors
from tests.processes import REPOSITORY
from tests.spoken import HOLE, PARKED, WARNING, Module, Spoken, all_spoken, said_in

PAGE = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
KINDS = {name for name, value in vars(errors).items() if isinstance(value, type)} | {WARNING, PARKED}
COVERED_AT_MOST = 14
"""An entry for more texts than that says too little about each. The families of settings are told by their key."""
FAMILIES = {"is missing: …", "stopped while …", "expected …, got …"}


@dataclass(frozen=True)
class Entry:
    """A text of the page, with the kinds of its section, and what the page says to it."""

    text: str
    kinds: frozenset[str]
    cause: str
    remedy: str

    def covers(self, spoken: Spoken) -> bool:
        return (
            (not spoken.kind or spoken.kind in self.kinds)
            and spoken.text.startswith(self.beginning)
            and bool(self.pattern.fullmatch(spoken.text))
        )

    @cached_property
    def beginning(self) -> str:
        return self.text.partition(HOLE)[0]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(".*".join(map(re.escape, self.text.split(HOLE))))


@cache
def spoken() -> list[Spoken]:
    return all_spoken()


@cache
def entries() -> list[Entry]:
    found = []
    for section in PAGE.split("\n## ")[1:]:
        _, introduction, rest = section.split("\n\n", 2)
        kinds = frozenset(re.findall(r"`(\w+)`", introduction)) & KINDS
        assert kinds, section.splitlines()[0]
        for row in re.findall(r"^\| (`.*`) \| (.*) \| (.*) \|$", rest, re.MULTILINE):
            found += [Entry(text.strip("`").strip(), kinds, *row[1:]) for text in row[0].split("<br>")]
    return found


@cache
def covered() -> list[list[Spoken]]:
    """What each entry covers."""
    return [list(filter(entry.covers, spoken())) for entry in entries()]


def test_every_error_has_an_entry_of_its_kind() -> None:
    told = {(each.kind, each.text) for texts in covered() for each in texts}
    missing = [f"{each.kind} {each.where}: {each.text}" for each in spoken() if (each.kind, each.text) not in told]
    assert missing == []


def test_no_entry_is_of_what_is_said_no_more() -> None:
    dead = [entry.text for entry, texts in zip(entries(), covered(), strict=True) if not texts]
    assert dead == []


def test_no_entry_is_for_anything() -> None:
    for entry, texts in zip(entries(), covered(), strict=True):
        assert len(re.findall(r"[^\W\d_]", entry.text)) >= 4, entry.text
        assert len(texts) <= COVERED_AT_MOST or entry.text in FAMILIES, (entry.text, len(texts))


def test_each_entry_has_a_cause_and_a_remedy() -> None:
    assert [entry.text for entry in entries() if not entry.cause.strip() or not entry.remedy.strip()] == []
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| --- ", "| it says "))
    ]
    assert [row for row in rows if len(re.findall(r" \| ", row)) != 2] == []


def test_the_sections_go_by_exit_code() -> None:
    codes = [int(code) for code in re.findall(r"^Exit code (\d+): ", PAGE, re.MULTILINE)]
    assert codes == sorted(codes)
    assert {0, 2, 3, 4, 5, 70} <= set(codes)


SAID = """
_DEEP = "too deep"
_REASONS = ((("a",), "no {place} here"),)

class Own(OperationError): ...

def f(self, exc, log, kind):
    raise ConfigError(f"the file {exc} cannot be " "read", key="k")
    raise Own(_DEEP)
    text = f"{exc} is gone" if exc else "nobody is there"
    raise StopError(text) from exc
    raise SourceError(str(exc))
    log.warning("%s of %d rows", 1, 2)
    for words, reason in _REASONS:
        raise PlanError(reason.format(place=1))
    self.refuse("x", why="it is behind")
    park_row(entry, _DEEP)

def refuse(self, what, why):
    raise DecodeError(why)
    raise DecodeError("no: " + _more(what))

def _more(what):
    return f"{what} too many"
"""


def test_texts_are_followed_to_where_they_are_written() -> None:
    assert sorted((each.kind, each.text) for each in said_in({"m.py": Module(ast.parse(SAID))})) == [
        ("ConfigError", "the file … cannot be read"),
        ("DecodeError", "it is behind"),
        ("DecodeError", "no: … too many"),
        ("OperationError", "too deep"),
        ("PlanError", "no … here"),
        ("StopError", "nobody is there"),
        ("StopError", "… is gone"),
        ("parked", "too deep"),
        ("warning", "… of … rows"),
    ]
