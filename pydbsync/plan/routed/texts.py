"""How texts compare by a collation, as far as that is known exactly.

Of *_bin collations everything is. Of those that hold letters for equal, whether a text is equal to one of printable
ASCII: folds.txt has every character that WEIGHT_STRING of MySQL 9.7 and MariaDB 10.11 gives the weights of ASCII
characters, or none at all; any other character has a weight of its own, so that the texts differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import resources
from typing import Any, NamedTuple

from pydbsync.errors import PlanError
from pydbsync.model import Column

_UTF8 = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})
_CHARSETS = _UTF8 | {"latin1"}
_PRINTABLE = re.compile(r"[ -~]*")


class Comparison(NamedTuple):
    """A column's collation."""

    collation: str
    is_ordered: bool
    """Whether < and > are known too."""
    pads: bool
    """Whether blanks at the end do not count."""
    fold: Callable[[str], str]
    """One spelling of all texts that are equal to one of printable ASCII."""
    takes_all: bool
    """Whether literals may have characters other than printable ASCII."""

    def order(self, a: Any, b: Any) -> int:
        """-1, 0 or 1; where the collation is not ordered, only whether it is 0 means anything."""
        x, y = self.fold(a), self.fold(b)
        if self.pads:
            size = max(len(x), len(y))
            x, y = x.ljust(size), y.ljust(size)
        return (x > y) - (x < y)

    def like(self, value: Any) -> str:
        """The text as LIKE looks at it, one character for one. Raises PlanError where that is not known."""
        found = [self.fold(each) for each in value]
        if any(len(each) != 1 for each in found):
            raise PlanError(
                f"LIKE on {value[:40]!r}, which has a character that {self.collation} holds for none or several: what"
                " the source's server would say is not known here"
            )
        return "".join(found)

    def check_literal(self, literal: str) -> None:
        """Raises PlanError for a literal of which it is not known what is equal to it."""
        if not self.takes_all and not _PRINTABLE.fullmatch(literal):
            raise PlanError(
                f"{literal!r} is compared by {self.collation}, of which only printable ASCII is known here; give the"
                " column a *_bin collation"
            )


def comparison_of(column: Column) -> Comparison:
    """Raises PlanError for a column whose collation is not known here."""
    charset, collation = str(column.charset), (column.collation or "").lower()
    if charset not in _CHARSETS:
        raise PlanError(f"{column.name} has the character set {charset}, whose comparison is not known here")
    name = collation.partition("_")[2]
    if name == "bin" or collation in ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb3_nopad_bin", "latin1_nopad_bin"):
        return Comparison(
            collation, is_ordered=charset in _UTF8, pads=name == "bin", fold=str, takes_all=charset in _UTF8
        )
    family = _family(collation)
    if family is None:
        raise PlanError(
            f"{column.name} has the collation {collation or '(not known)'}, whose comparison is not known here; known"
            " are *_bin, *_general_ci, *_unicode_ci, utf8mb4_0900_ai_ci, *_uca1400_ai_ci and latin1_swedish_ci"
        )
    pads = "nopad" not in collation and "_0900_" not in collation
    return Comparison(
        collation, is_ordered=False, pads=pads, fold=functools.partial(_fold, folds(family)), takes_all=False
    )


def _family(collation: str) -> str | None:
    charset, _, rest = collation.partition("_")
    name = rest.replace("nopad_", "")
    if charset in ("uca1400", "ascii"):  # in MariaDB uca1400_ai_ci belongs to no character set alone
        name = collation.replace("nopad_", "") if charset == "uca1400" else "general_ci"
    if charset == "latin1":
        return name if name == "swedish_ci" else None
    return name if name in ("general_ci", "unicode_ci", "0900_ai_ci", "uca1400_ai_ci") else None


def _fold(table: dict[str, str], text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.lower()
    return "".join(table.get(each, each.lower() if each.isascii() else each) for each in text)


@functools.cache
def folds(family: str) -> dict[str, str]:
    """Character → the ASCII characters that have its weights; empty for one that has none."""
    found: dict[str, str] = {}
    text = resources.files(__package__).joinpath("folds.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        name, fold, codes = line.split("\t") if not line.startswith("#") else ("", "", "")
        if name == family:
            spelled = fold.encode("ascii").decode("unicode_escape")
            for code in codes.split():
                first, _, last = code.partition("-")
                for number in range(int(first, 16), int(last or first, 16) + 1):
                    found[chr(number)] = spelled
    return found
