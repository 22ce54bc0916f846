"""Tables that have another name at the target: the first route whose glob names a table says which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import NamedTuple

from pydbsync.model import TableName

_GLOB = re.compile(r"[*?\[]")


class MapEntry(NamedTuple):
    """One route's glob, and where its tables go; either part of `to` may be `*`."""

    glob: str
    to: TableName | None


class RouteMap:
    """Finds the route of a table, remembered by its name."""

    def __init__(self, entries: Iterable[MapEntry] = ()) -> None:
        self._entries: Sequence[MapEntry] = tuple(entries)
        self._globs = [_pattern(entry.glob) for entry in self._entries]
        self._found: dict[TableName, int | None] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def index(self, name: TableName) -> int | None:
        """The number of the table's route, from 0; None where it has none."""
        if name not in self._found:
            self._found[name] = next(
                (
                    number
                    for number, (database, table) in enumerate(self._globs)
                    if database.match(name.database) and table.match(name.table)
                ),
                None,
            )
        return self._found[name]

    def target(self, name: TableName) -> TableName | None:
        """Where the routes send a table; None where they do not say."""
        number = self.index(name) if self._entries else None
        return None if number is None else _applied(self._entries[number].to, name)

    def claims(self, target: TableName) -> int:
        """How many source tables the routes may send to a table of the target; 2 stands for any number above 1."""
        count = 0
        for entry, patterns in zip(self._entries, self._globs, strict=True):
            if entry.to is None:
                continue
            several = False
            for to, wanted, glob, pattern in zip(entry.to, target, entry.glob.split(".", 1), patterns, strict=True):
                if to not in ("*", wanted) or (to == "*" and not pattern.match(wanted)):
                    break
                several = several or (to != "*" and _GLOB.search(glob) is not None)
            else:
                count += 2 if several else 1
        return count

    def databases(self, source: str) -> frozenset[str]:
        """The databases of the target to which the routes may send tables of a source database."""
        return frozenset(
            source if entry.to.database == "*" else entry.to.database
            for entry, (database, _) in zip(self._entries, self._globs, strict=True)
            if entry.to is not None and database.match(source)
        )

    def source_databases(self, target: str, among: Iterable[str]) -> frozenset[str]:
        """Of some source databases those of which tables may go to a database of the target."""
        return frozenset(each for each in among if target in self.databases(each))


def _applied(to: TableName | None, name: TableName) -> TableName | None:
    if to is None:
        return None
    return TableName(name.database if to.database == "*" else to.database, name.table if to.table == "*" else to.table)


def _pattern(glob: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    database, _, table = glob.partition(".")
    return _pattern_of(database), _pattern_of(table)


def _pattern_of(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))
