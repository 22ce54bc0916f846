"""Templates of keys: `user:{id}`. Two different rows never have one key, and a key tells whose it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from pydbsync.errors import ConfigError
from pydbsync.model import TableName

_PART = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")
_WILD = re.compile(r"[*?\[]")
_NULL = "%N"
"""Stands for NULL: no escaped text has it."""
_EMPTY_TAG = "{%E}"
"""Stands for a hash tag without any character, which a cluster takes for none."""
DATABASE, TABLE = "@database", "@table"


class KeyTemplate:
    """Texts and columns in turns. What stands between two columns is escaped in their values, so that a key can be read
    in one way only: (1, 11) and (11, 1) never meet."""

    def __init__(self, text: str, *, where: str) -> None:
        """`where` is the path of the setting. Raises ConfigError."""
        self.text = text
        self._where = where
        self.literals, self.names = self._read(text)
        self.columns = tuple(name for name in self.names if not name.startswith("@"))
        if not self.columns:
            raise ConfigError(f"has no column, such as {{id}}: all rows would have one key; got {text!r}", key=where)
        for name in self.names:
            if name.startswith("@") and name not in (DATABASE, TABLE):
                raise ConfigError(f"knows {{@database}} and {{@table}}, not {{{name}}}", key=where)
        between = self.literals[1:-1]
        if not all(between):
            first = between.index("")
            raise ConfigError(
                f"needs a text between {{{self.names[first]}}} and {{{self.names[first + 1]}}}, or different rows have"
                " one key",
                key=where,
            )
        self._escaped = frozenset("".join(between)) | frozenset("%{}")
        self._check_hash_tag()
        self.has_hash_tag = "{" in "".join(self.literals)
        """Whether the key itself says which part of it picks the slot of a cluster."""

    def _read(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        literals, names, end = [""], [], 0
        for match in _PART.finditer(text):
            literals[-1] += text[end : match.start()]
            end = match.end()
            if match[1]:
                names.append(match[1].strip())
                literals.append("")
            elif match[0] in ("{{", "}}"):
                literals[-1] += match[0][0]
            else:
                raise ConfigError(f"has a single {match[0]}; write it twice if it is meant: {text!r}", key=self._where)
        literals[-1] += text[end:]
        return tuple(literals), tuple(names)

    def _check_hash_tag(self) -> None:
        braces = "".join(each for each in "".join(self.literals) if each in "{}")
        if braces not in ("", "{}") or any("{}" in each for each in self.literals):
            raise ConfigError("has room for one hash tag, as in {{{id}}}:orders", key=self._where)

    def key(self, table: TableName, values: Mapping[str, str | None]) -> str:
        """The key of a row, by the text of each of its columns."""
        parts = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            parts += (self._value(table, name, values), literal)
        key = "".join(parts)
        return key.replace("{}", _EMPTY_TAG) if self.has_hash_tag else key

    def _value(self, table: TableName, name: str, values: Mapping[str, str | None]) -> str:
        if name == DATABASE:
            return self.escape(table.database)
        if name == TABLE:
            return self.escape(table.table)
        value = values[name]
        return _NULL if value is None else self.escape(value)

    def escape(self, value: str) -> str:
        """The value without what stands between columns; the rest as it is."""
        if not any(char in self._escaped or char < " " for char in value):
            return value
        return "".join(
            quote_from_bytes(char.encode("utf-8"), safe="") if char in "%{}" or char < " "
            else "".join(f"%{byte:02X}" for byte in char.encode("utf-8")) if char in self._escaped
            else char
            for char in value
        )  # fmt: skip

    def head(self, table: TableName | None) -> str:
        """What all keys of the table begin with."""
        parts = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            if not name.startswith("@") or table is None:
                break
            parts += (self._value(table, name, {}), literal)
        return "".join(parts)

    def reader(self, table: TableName) -> re.Pattern[str]:
        """Matches the keys of the table's rows, and no others of this template."""
        one = f"(?:%(?:[0-9A-F]{{2}}|N|E)|[^{re.escape(''.join(sorted(self._escaped)))}])*"
        parts = [re.escape(self.literals[0])]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            value = re.escape(self._value(table, name, {})) if name.startswith("@") else one
            parts += (value, re.escape(literal))
        return re.compile("".join(parts), re.DOTALL)


def is_glob(name: str) -> bool:
    """Whether it is for several tables."""
    return _WILD.search(name) is not None


class Placed(NamedTuple):
    """A template, the path of its setting, and the tables (a glob) that it is for."""

    where: str
    template: KeyTemplate
    glob: str

    @property
    def table(self) -> TableName | None:
        """None where it is for several."""
        if is_glob(self.glob):
            return None
        return TableName(*self.glob.split(".", 1))


def refuse_overlap(templates: Sequence[Placed], prefix: str) -> None:
    """Raises ConfigError where rows of two tables, or what pydbsync itself keeps, could have one key."""
    for where, template, glob in templates:
        for part, name in zip(glob.split(".", 1), (DATABASE, TABLE), strict=True):
            if _WILD.search(part) and name not in template.names:
                raise ConfigError(f"is for several tables: it needs {{{name}}}, or their rows meet", key=where)
        if template.literals[0].startswith(prefix):
            raise ConfigError(f"{prefix!r} is what the keys of pydbsync itself begin with", key=where)
    for index, one in enumerate(templates):
        for other in templates[:index]:
            first, second = one.template.head(one.table), other.template.head(other.table)
            if _have_table_in_same_place(one.template, other.template):
                continue
            if first.startswith(second) or second.startswith(first):
                raise ConfigError(
                    f"{one.template.text!r} and {other.template.text!r} of {other.where} could meet: begin them with"
                    " different texts, none of which begins with the other",
                    key=one.where,
                )


def _have_table_in_same_place(one: KeyTemplate, other: KeyTemplate) -> bool:
    names = {DATABASE, TABLE}
    return (
        set(one.names[:2]) == names
        and one.names[:2] == other.names[:2]
        and one.literals[:3] == other.literals[:3]
        and one.literals[1] != ""
    )
