"""What ALTER TABLE makes of a table's columns and its primary key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pydbsync.model import Column
from pydbsync.ops.capture.history.columns import (
    Definition,
    begins_period,
    charset_option,
    checked_documents,
    key_columns,
    read_column,
)
from pydbsync.ops.capture.history.schema import HIDDEN_KEY, LABELLED, TEXT, TableDef, is_hidden_key
from pydbsync.plan.ddl.clauses import Clause, key_kind, outer
from pydbsync.plan.ddl.lexer import Token


def alter_table(
    table: TableDef, clauses: Iterable[Clause], *, real_as_float: bool = False, is_oracle: bool = False,
    json_checks: bool = False,
) -> TableDef:  # fmt: skip
    """The table behind the clauses, under its old name. Raises IndexError or ValueError for what cannot be read."""
    alteration = _Alteration(table, real_as_float=real_as_float, is_oracle=is_oracle, json_checks=json_checks)
    for clause in clauses:
        alteration.take(clause)
    return alteration.result()


def spelled(key: Iterable[str], columns: Sequence[Column]) -> tuple[str, ...]:
    """The key's columns as their definitions spell them; names of columns have no case."""
    by_name = {column.name.lower(): column.name for column in columns}
    return tuple(by_name[name.lower()] for name in key if name.lower() in by_name)


def with_documents(columns: Iterable[Column], checks: Iterable[Sequence[Token]]) -> list[Column]:
    """The columns, of which those are JSON that these CHECKs of the table say are."""
    names = {name for check in checks for name in checked_documents(check)}
    return [
        msgspec.structs.replace(each, kind="json") if each.kind in TEXT and each.name.lower() in names else each
        for each in columns
    ]


class _Alteration:
    """The clauses gathered, then made in the server's order.

    All names refer to the table before: `CHANGE a b …, CHANGE b a …` swaps. Columns with a place are put there after
    the others. Source: mysql_prepare_alter_table in sql/sql_table.cc of MySQL.
    """

    def __init__(self, table: TableDef, *, real_as_float: bool, is_oracle: bool, json_checks: bool) -> None:
        self._table = table
        self._is_oracle = is_oracle
        self._json_checks = json_checks
        self._checks: list[tuple[Token, ...]] = []
        self._real_as_float = real_as_float
        self._charset = table.charset
        self._converted: str | None = None
        self._dropped: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._changed: dict[str, Definition] = {}
        self._defined_in_order: list[tuple[str | None, Definition]] = []
        """Columns that are added (None) or replace another one, as the statement has them."""
        self._key: tuple[str, ...] = table.primary_key
        self._is_old_key = True
        self._is_versioned = table.has_hidden_times
        self._has_hidden_key = table.has_hidden_key
        self._declares_period = False
        self._present = {column.name.lower() for column in table.columns}

    def take(self, clause: Clause) -> None:
        verb = clause.verb
        words = [token.upper for token in clause.tokens[:3]]
        if words in (["ADD", "SYSTEM", "VERSIONING"], ["DROP", "SYSTEM", "VERSIONING"]):
            self._is_versioned = words[0] == "ADD"
        elif clause.kind == "column":
            self._define(clause)
        elif clause.kind == "check" and self._json_checks:
            self._checks.append(clause.tokens)
        elif clause.kind == "key":
            if key_kind(clause) == "primary":
                self._set_key(key_columns(clause))
        elif verb == "DROP PRIMARY":
            self._set_key(())
        elif verb == "DROP COLUMN" and clause.name:
            self._dropped.add(clause.name.lower())
        elif verb.startswith("ALTER") and [token.upper for token in clause.tokens[-2:-1]] == ["SET"]:
            if HIDDEN_KEY in [token.text.lower() for token in clause.tokens[:-2]]:
                self._has_hidden_key = clause.tokens[-1].upper == "INVISIBLE"
        elif verb == "RENAME COLUMN" and clause.name and clause.replaces:
            self._renamed[clause.replaces.lower()] = clause.name
        elif verb == "RENAME" and clause.tokens[1].upper == "COLUMN":  # RENAME COLUMN IF EXISTS a TO b
            self._renamed[clause.tokens[-3].text.lower()] = clause.tokens[-1].text
        elif verb == "CONVERT":
            charset = charset_option(outer(clause.tokens), self._charset)
            if charset is not None:
                self._converted = self._charset = charset
        elif clause.kind == "option":
            self._charset = charset_option(outer(clause.tokens), self._charset) or self._charset

    def _define(self, clause: Clause) -> None:
        definition = read_column(
            clause, self._charset, real_as_float=self._real_as_float, is_oracle=self._is_oracle,
            json_checks=self._json_checks,
        )  # fmt: skip
        self._declares_period = self._declares_period or begins_period(clause.tokens)
        if clause.replaces is not None:
            if clause.guard and clause.replaces.lower() not in self._present:
                return
            self._changed[clause.replaces.lower()] = definition
        elif clause.guard and definition.column.name.lower() in self._present - self._dropped:
            return
        self._defined_in_order.append((clause.replaces, definition))
        if definition.is_key:
            self._set_key((definition.column.name,))

    def _set_key(self, columns: tuple[str, ...]) -> None:
        self._key = columns
        self._is_old_key = False

    def result(self) -> TableDef:
        columns: list[Column] = []
        for column in self._table.columns:
            name = column.name.lower()
            definition = self._changed.get(name)
            if name in self._dropped:
                continue
            if definition is None:
                columns.append(self._kept(column))
            elif definition.after is None:
                columns.append(self._defined(definition))
        hidden = int(self._table.has_hidden_key and columns[:1] != [] and columns[0].name == HIDDEN_KEY)
        for replaced, definition in self._defined_in_order:
            if replaced is None or definition.after is not None:
                _put(columns, self._defined(definition), definition.after, hidden=hidden)
        if self._checks:
            columns = with_documents(columns, self._checks)
        versioned = self._is_versioned and not self._declares_period
        key = spelled(self._final_key(), columns)
        return TableDef(
            self._table.name, self._charset, tuple(columns), key, versioned, self._table.hash_keys,
            self._has_hidden_key and is_hidden_key(key, columns),
        )  # fmt: skip

    def _final_key(self) -> list[str]:
        if not self._is_old_key:
            return list(self._key)
        names = {old: definition.column.name for old, definition in self._changed.items()} | self._renamed
        return [names.get(name.lower(), name) for name in self._key if name.lower() not in self._dropped]

    def _kept(self, column: Column) -> Column:
        name = self._renamed.get(column.name.lower(), column.name)
        return self._convert(msgspec.structs.replace(column, name=name))

    def _defined(self, definition: Definition) -> Column:
        return definition.column if definition.explicit_charset else self._convert(definition.column)

    def _convert(self, column: Column) -> Column:
        """CONVERT TO CHARACTER SET changes all text but what is binary."""
        if self._converted is None or column.charset in (None, "binary", self._converted):
            return column
        if column.kind in TEXT or column.kind in LABELLED or (self._json_checks and column.kind == "json"):
            return msgspec.structs.replace(column, charset=self._converted)
        return column


def _put(columns: list[Column], column: Column, after: str | None, *, hidden: int) -> None:
    """`hidden` is how many columns FIRST stands behind."""
    if after is None:
        columns.append(column)
    elif after == "":
        columns.insert(hidden, column)
    else:
        columns.insert([other.name.lower() for other in columns].index(after.lower()) + 1, column)
