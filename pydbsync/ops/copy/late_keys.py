"""Keys of large tables that are added when the rows are there: sorted at once, instead of a search for every row."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.shown import show_create
from pydbsync.errors import PermanentError
from pydbsync.model import TableName
from pydbsync.plan.quoting import quote_name, quote_table

_KEY = re.compile(r"^  (KEY `((?:[^`]|``)+)` .*?),?$", re.MULTILINE)
_DUPLICATE_NAME = 1061


def keys_to_be_late(connection: Connection, name: TableName) -> dict[str, str]:
    """Name -> definition of the keys that are neither unique nor needed by foreign keys. Raises TransientError."""
    shown = show_create(connection, f"SHOW CREATE TABLE {quote_table(name)}")
    return _keys(shown) if "ENGINE=InnoDB" in shown and " FOREIGN KEY (" not in shown else {}


def drop_keys(connection: Connection, name: TableName, keys: Iterable[str]) -> bool:
    """Drop them all; False if one is needed, and all have stayed. Raises TransientError."""
    drops = ", ".join(f"DROP INDEX {quote_name(key)}" for key in keys)
    try:
        connection.execute(f"ALTER TABLE {quote_table(name)} {drops}".encode())
    except PermanentError:  # the key of the counter (1075), or one that a foreign key refers to (1553)
        return False
    return True


def add_keys(connection: Connection, name: TableName, keys: tuple[str, ...]) -> None:
    """Add those that are not there. Raises PermanentError, TransientError."""
    missing = _missing(connection, name, keys)
    if not missing:
        return
    adds = ", ".join(f"ADD {definition}" for definition in missing)
    try:
        connection.execute(f"ALTER TABLE {quote_table(name)} {adds}".encode())
    except PermanentError as exc:
        # The same statement of a connection that was lost may have ended only now.
        if exc.code != _DUPLICATE_NAME or _missing(connection, name, keys):
            raise


def _missing(connection: Connection, name: TableName, keys: tuple[str, ...]) -> list[str]:
    there = set(_keys(show_create(connection, f"SHOW CREATE TABLE {quote_table(name)}")).values())
    return [definition for definition in keys if definition not in there]


def _keys(shown: str) -> dict[str, str]:
    """Name -> definition of the keys that are neither unique nor full-text nor spatial."""
    return {match[2].replace("``", "`"): match[1] for match in _KEY.finditer(shown)}
