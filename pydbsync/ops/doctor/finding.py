"""What an examination finds: each fact is one sentence, and what is wrong has its remedy."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Level: TypeAlias = Literal["ok", "unknown", "warning", "error"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fact. `check` is its lasting name, for programs; `remedy` has the command, the grant or the setting."""

    level: Level
    group: str = ""
    check: str
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(level="ok", check=check, text=text)


def unknown(check: str, text: str, remedy: str = "") -> Finding:
    """Something that could not be looked at; `remedy` says what would let us."""
    return Finding(level="unknown", check=check, text=text, remedy=remedy)


def warning(check: str, text: str, remedy: str) -> Finding:
    return Finding(level="warning", check=check, text=text, remedy=remedy)


def error(check: str, text: str, remedy: str) -> Finding:
    return Finding(level="error", check=check, text=text, remedy=remedy)


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found, in the order of the groups."""

    findings: tuple[Finding, ...]
    seconds: float = 0.0

    def count(self, level: Level) -> int:
        return sum(finding.level == level for finding in self.findings)

    def exit_code(self, *, strict: bool = False) -> int:
        """2 with an error, 1 with a warning, else 0; `strict` takes what is unknown for a warning."""
        if self.count("error"):
            return 2
        return 1 if self.count("warning") or (strict and self.count("unknown")) else 0
