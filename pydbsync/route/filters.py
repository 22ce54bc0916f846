"""Which tables take part: globs of `database.table`, and what never takes part."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from pydbsync.model import TableName


class Filters:
    """`include` and `exclude` globs on source names; exclude wins, an empty include means everything.

    A glob without a dot names whole databases. Names compare with their case, as the source's file system does.
    """

    def __init__(
        self, *, include: Iterable[str] = (), exclude: Iterable[str] = (), hidden_databases: Iterable[str] = ()
    ) -> None:
        self._include = [_compile(glob) for glob in include]
        self._exclude = [_compile(glob) for glob in exclude]
        self._hidden = frozenset(hidden_databases)

    def takes(self, name: TableName) -> bool:
        """Whether changes of this source table take part."""
        if name.database in self._hidden:
            return False
        text = f"{name.database}.{name.table}"
        if self._include and not any(glob.match(text) for glob in self._include):
            return False
        return not any(glob.match(text) for glob in self._exclude)

    def takes_database(self, database: str) -> bool:
        """Whether DDL of a database itself takes part: unless it is hidden, excluded whole, or none of it included."""
        if database in self._hidden:
            return False
        # A table name that no glob but a general one can match stands for the database as a whole.
        text = f"{database}.\0"
        if self._include and not any(glob.match(text) or glob.match_database(database) for glob in self._include):
            return False
        return not any(glob.match(text) for glob in self._exclude)


class _Glob:
    def __init__(self, glob: str) -> None:
        database, dot, table = glob.partition(".")
        self._pattern = re.compile(fnmatch.translate(f"{database}.{table if dot else '*'}"))
        self._database = re.compile(fnmatch.translate(database))

    def match(self, text: str) -> bool:
        return self._pattern.match(text) is not None

    def match_database(self, database: str) -> bool:
        return self._database.match(database) is not None


def _compile(glob: str) -> _Glob:
    return _Glob(glob)
