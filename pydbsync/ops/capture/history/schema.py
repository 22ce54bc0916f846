"""Tables of the source: their columns in order and their keys, and how Maxwell's `def` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pydbsync.model import Column, TableName
from pydbsync.ops.capture.text import quote_raw

INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
WITH_DIGITS: Final = frozenset({"time", "datetime", "timestamp"})
TEXT: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
BINARY: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
LABELLED: Final = frozenset({"enum", "set"})


HIDDEN_KEY: Final = "my_row_id"
"""The name of the key that MySQL makes for tables without one."""
_HIDDEN_TIMES: Final = tuple(Column(name, "timestamp", digits=6) for name in ("row_start", "row_end"))


class TableDef(msgspec.Struct, frozen=True):
    """A table of the source: its columns in order, its primary key in the key's order, its default character set."""

    name: TableName
    charset: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    has_hidden_times: bool = False
    """A system-versioned table of MariaDB without period columns of its own: its rows end with two that no list of
    columns shows."""
    hash_keys: int = 0
    """Unique keys that MariaDB keeps as a hash, since their columns are too long (TEXT, BLOB): for each of them rows
    end, behind those, with a number that no list of columns shows. As the catalogue had it last."""
    has_hidden_key: bool = False
    """Its first column is a key that MySQL has made, or could have (sql_generate_invisible_primary_key): FIRST is
    behind it."""

    @property
    def width(self) -> int:
        """How many columns its rows have in the binlog, but for those of `hash_keys`."""
        return len(self.columns) + (len(_HIDDEN_TIMES) if self.has_hidden_times else 0)

    def as_stored(self, columns: int) -> TableDef:
        """With the hidden columns, where rows have so many; the server adds the second one to the primary key."""
        if not self.has_hidden_times or columns != self.width:
            return self
        key = (*self.primary_key, _HIDDEN_TIMES[1].name) if self.primary_key else ()
        return msgspec.structs.replace(self, columns=(*self.columns, *_HIDDEN_TIMES), primary_key=key)

    def as_shown(self) -> TableDef:
        """`as_stored` taken back."""
        if not self.has_hidden_times or self.columns[-len(_HIDDEN_TIMES) :] != _HIDDEN_TIMES:
            return self
        key = tuple(name for name in self.primary_key if name != _HIDDEN_TIMES[1].name)
        return msgspec.structs.replace(self, columns=self.columns[: -len(_HIDDEN_TIMES)], primary_key=key)

    def lacks_period_end(self, stored: TableDef) -> bool:
        """Whether `stored` is this table with what MariaDB adds to the primary key of a table that declares a period:
        the period's end, behind the columns that the statement names."""
        key = self.primary_key
        return bool(key) and stored.primary_key[:-1] == key and msgspec.structs.replace(stored, primary_key=key) == self

    def renamed(self, name: TableName) -> TableDef:
        """The same table under another name."""
        return msgspec.structs.replace(self, name=name)


def is_hidden_key(key: tuple[str, ...], columns: Sequence[Column]) -> bool:
    """Whether a primary key can be the one that MySQL makes: of that name alone, and in front."""
    return key == (HIDDEN_KEY,) and columns[0].name == HIDDEN_KEY


def write_definition(table: TableDef) -> str:
    """The table as Maxwell's `def` and `old` describe it, as JSON text."""
    key = ",".join(map(quote_raw, table.primary_key))
    columns = ",".join(map(_write_column, table.columns))
    return (
        f'{{"database":{quote_raw(table.name.database)},"charset":{quote_raw(table.charset)},'
        f'"table":{quote_raw(table.name.table)},"primary-key":[{key}],"columns":[{columns}]}}'
    )


def _write_column(column: Column) -> str:
    kind = column.kind
    text = f'{{"type":{quote_raw(kind)},"name":{quote_raw(column.name)}'
    if kind in INTEGERS:
        text += f',"signed":{"false" if column.unsigned else "true"}'
    elif kind in WITH_DIGITS:
        text += f',"column-length":{column.digits}'
    elif kind in LABELLED:
        text += f',"enum-values":[{",".join(map(quote_raw, column.labels))}]'
    elif kind in TEXT or kind in BINARY:
        text += f',"charset":{quote_raw(column.charset or "binary")}'
    return text + "}"


def is_binary(column: Column) -> bool:
    """Whether the column's bytes are printed in base64."""
    return column.kind in BINARY or column.charset in (None, "binary")
