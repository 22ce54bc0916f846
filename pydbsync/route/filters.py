"""Which tables take part: globs of `database.table`, and what never takes part."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator

from pydbsync.model import TableName


class Filters:
    """`include` and `exclude` globs on source names; exclude wins, an empty include means everything.

    A glob without a dot names whole databases. Names compare with their case, as the source's file system does.
    """

    def __init__(
        self,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        hidden_databases: Iterable[str] = (),
        always: Iterable[TableName] = (),
    ) -> None:
        """`always` are tables that take part whatever the globs say, of hidden databases too."""
        self._include = [_compile(glob) for glob in include]
        self._exclude = [_compile(glob) for glob in exclude]
        self._hidden = frozenset(hidden_databases)
        self._always = frozenset(always)

    def takes(self, name: TableName) -> bool:
        """Whether changes of this source table take part."""
        if name in self._always:
            return True
        if name.database in self._hidden:
            return False
        if self._include and not any(glob.match(name) for glob in self._include):
            return False
        return not any(glob.match(name) for glob in self._exclude)

    def names(self, name: TableName) -> bool:
        """Whether `include` names this very table, beside whatever else it takes."""
        return self.takes(name) and any(glob.match(name) for glob in self._include)

    def takes_database(self, database: str) -> bool:
        """Whether DDL of a database itself takes part: unless it is hidden, excluded whole, or none of it included."""
        if database in self._hidden:
            return False
        # A table name that no glob but a general one can match stands for the database as a whole.
        whole = TableName(database, "\0")
        if self._include and not any(glob.match_database(database) for glob in self._include):
            return False
        return not any(glob.match(whole) for glob in self._exclude)


class _Glob:
    """Matches database and table each by themselves: either may have a dot in its name."""

    def __init__(self, glob: str) -> None:
        database, dot, table = glob.partition(".")
        self._database = re.compile(fnmatch.translate(database))
        self._table = re.compile(fnmatch.translate(table if dot else "*"))

    def match(self, name: TableName) -> bool:
        return self.match_database(name.database) and self._table.match(name.table) is not None

    def match_database(self, database: str) -> bool:
        return self._database.match(database) is not None


def other_case(globs: Iterable[tuple[str, str]], names: Collection[TableName]) -> Iterator[str]:
    """A sentence for each glob that takes none of the source's tables, and would take one if capitals were not told
    from small letters. `globs` are behind the key under which they stand; a table that another one of the key takes
    is not missed. A source that folds names (lower_case_table_names) has them all in small letters."""
    by_key: dict[str, dict[str, _Glob]] = {}
    for key, text in globs:
        by_key.setdefault(key, {})[text] = _compile(text)
    for key, given in by_key.items():
        missed = {
            TableName(name.database.lower(), name.table.lower()): name
            for name in names
            if not any(glob.match(name) for glob in given.values())
        }
        for text, glob in given.items():
            small = _compile(text.lower())
            meant = next((name for folded, name in missed.items() if small.match(folded)), None)
            if meant is not None and not any(map(glob.match, names)):
                shown = meant if "." in text else meant.database
                yield f"{key} names {text!r}, and the source calls it {shown}: names compare with their case"


def _compile(glob: str) -> _Glob:
    return _Glob(glob)
