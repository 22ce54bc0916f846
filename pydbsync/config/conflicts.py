"""Whose row stays where both sides have changed it: the policies of the configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydbsync.config.values import (
    FrozenMapping,
    OptionKind,
    join_key,
    nearest,
    one_of,
    option,
    read_mapping,
    refuse,
    text,
)
from pydbsync.errors import ConfigError

BY_SIDE: Final = ("prefer", "source_wins", "target_wins")
BY_COLUMN: Final = ("newest", "larger", "smaller")
PARK: Final = "park"
_TALKS: Final = 1
"""How the two ends talk of rows that were in conflict; another number is another language."""


class ConflictPolicy(NamedTuple):
    """Whose row stays: a side's, the one with the larger or smaller value of a column, or nobody's until an operator
    says so."""

    name: str = "prefer"
    column: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.column}" if self.column else self.name


def _read_policy(value: object, key: str) -> ConflictPolicy:
    words = text("a policy such as 'newest:updated_at'").read(value, key)
    name, colon, column = words.partition(":")
    known = (*BY_SIDE, PARK, *BY_COLUMN)
    if name not in known:
        raise ConfigError(f"unknown policy {name!r}; {nearest(name, known)}", key=key)
    if (name in BY_COLUMN) != bool(column) or (colon and not column):
        expected = f"'{name}:COLUMN'" if name in BY_COLUMN else f"'{name}' alone"
        refuse(expected, value, key)
    return ConflictPolicy(name, column)


def _read_tables(value: object, key: str) -> FrozenMapping[str, ConflictPolicy]:
    found: dict[str, ConflictPolicy] = {}
    for glob, policy in read_mapping(value, key, of="a mapping {glob: policy}").items():
        here = join_key(key, glob)
        if "." not in glob:
            raise ConfigError(f"expected database.table; for a whole database write '{glob}.*'", key=here)
        found[glob] = _read_policy(policy, here)
    return FrozenMapping(found)


def _show_tables(tables: FrozenMapping[str, ConflictPolicy]) -> str:
    return ", ".join(f"{glob}: {policy}" for glob, policy in tables.items()) or "empty"


POLICY: Final = OptionKind("policy", _read_policy)
POLICIES: Final = OptionKind("mapping `{glob: policy}`", _read_tables, _show_tables)


@dataclass(frozen=True, kw_only=True)
class ConflictSettings:
    """Whose row stays."""

    prefer: str | None = option(
        None, one_of("source", "target"), "whose row stays where nothing else decides: the source's or the target's"
    )
    policy: ConflictPolicy | None = option(
        None, POLICY, "what decides in tables that `tables` does not name; `prefer` where that is set, else `park`"
    )
    tables: FrozenMapping[str, ConflictPolicy] = option(
        FrozenMapping[str, ConflictPolicy](), POLICIES, "what decides in these source tables; the first glob that fits"
    )

    @property
    def other_policy(self) -> ConflictPolicy:
        """What decides in tables that are not named."""
        return self.policy or ConflictPolicy("prefer" if self.prefer else PARK)

    def to_json(self) -> str:
        """As a worker shows it to the other end."""
        tables = {glob: str(policy) for glob, policy in self.tables.items()}
        shown = {"prefer": self.prefer, "policy": str(self.other_policy), "tables": tables, "talks": _TALKS}
        return json.dumps(shown)

    def contradicts(self, other: str, *, has_other_names: bool) -> str:
        """Why this and what the other end shows lead to different rows, as a sentence; empty where they do not. With
        `has_other_names` the tables are called otherwise there."""
        theirs, ours = json.loads(other), json.loads(self.to_json())
        if theirs["policy"] != ours["policy"]:
            return f"conflicts.policy is {ours['policy']!r} here and {theirs['policy']!r} there"
        if not has_other_names and theirs["tables"] != ours["tables"]:
            return f"conflicts.tables is {ours['tables']} here and {theirs['tables']} there"
        if self.prefer is not None and theirs["prefer"] == self.prefer:
            return f"conflicts.prefer is {self.prefer!r} at both ends: each prefers another server"
        if self.prefer is not None and theirs.get("talks") != _TALKS:
            return (
                "the pydbsync there is of another version, which does not hear what this one says of rows that were in"
                " conflict: run the same version at both ends"
            )
        return ""

    def check(self, *, two_way: bool) -> None:
        """Raises ConfigError where a policy needs to know which side is preferred, and nothing says so; or where the
        policies of two directions would take each other's row."""
        of_tables = ((f"conflicts.tables.{glob}", policy) for glob, policy in self.tables.items())
        for key, policy in (("conflicts.policy", self.other_policy), *of_tables):
            if self.prefer is None and (policy.name == "prefer" or policy.name in BY_COLUMN):
                raise ConfigError(
                    f"is missing: {key} is {str(policy)!r}, which needs to know whose row stays where nothing else"
                    " decides: source or target. Of two servers that replicate each other, the same one at both ends"
                    " (docs/conflicts.md)",
                    key="conflicts.prefer",
                )
            if two_way and policy.name in ("source_wins", "target_wins"):
                raise ConfigError(
                    f"with two_way both ends have the same policies, and {policy} at both would leave each with the"
                    " other's row: write 'prefer', and name one server by conflicts.prefer (docs/conflicts.md)",
                    key=key,
                )
