"""Tables as the DDL messages of a stream define them, for runs that have no server to ask.

Maxwell describes the columns, but no lengths, no generated columns and no keys other than the primary key: these are
read in the text of the statements.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import Column, SchemaChange, TableName, TableSchema
from pydbsync.plan.ddl.clauses import Clause, is_generated, key_kind, outer, read_clauses, split_list
from pydbsync.plan.ddl.definition import DescribedColumn, Description, read_description
from pydbsync.plan.ddl.lexer import Brand, Token
from pydbsync.plan.ddl.statement import Statement, parse_statement


class IndexDefinition(msgspec.Struct, frozen=True):
    """An index other than the primary key."""

    name: str
    columns: tuple[str, ...]
    is_unique: bool
    is_plain: bool
    """Without prefixes and expressions."""


class TableDefinition(msgspec.Struct, frozen=True):
    """What is known of a table after its CREATE TABLE and the ALTER TABLEs that followed."""

    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    keys: tuple[IndexDefinition, ...] = ()
    is_transactional: bool = True

    def schema(self, name: TableName) -> TableSchema:
        """As the target's catalogue would describe it, without what refers to it."""
        by_name = {column.name: column for column in self.columns}
        unique = sorted((key for key in self.keys if key.is_unique), key=lambda key: key.name)
        row_key = self.primary_key
        for key in unique:
            parts = [by_name[column] for column in key.columns]
            if not row_key and key.is_plain and not any(part.nullable or part.generated for part in parts):
                row_key = key.columns
        return TableSchema(
            name=name,
            columns=self.columns,
            primary_key=self.primary_key,
            unique_keys=tuple(key.columns for key in unique),
            row_key=row_key,
            transactional=self.is_transactional,
        )


def define_table(
    change: SchemaChange, *, target: Brand = "mysql", like: TableDefinition | None = None
) -> TableDefinition:
    """The table that a table-create message makes; `like` is the one that CREATE TABLE … LIKE names, if it is known.

    Raises PlanError where the message has no description of it.
    """
    described = _described(change)
    statement = parse_statement(change.sql)
    if any(ref.role == "like" for ref in statement.names):
        known = like.columns if like else ()
        return TableDefinition(
            _columns(described, {}, known, {}, target), described.primary_key, like.keys if like else ()
        )
    return _Clauses(TableDefinition(()), target).after(statement, described)


def alter_table(definition: TableDefinition, change: SchemaChange, *, target: Brand = "mysql") -> TableDefinition:
    """The table after a table-alter message: its columns by Maxwell's description, the rest by the text.

    Raises PlanError where the message has no description of it.
    """
    statement = parse_statement(change.sql)
    if statement.action != "alter-table":
        return definition
    return _Clauses(definition, target).after(statement, _described(change))


def _described(change: SchemaChange) -> Description:
    described = read_description(change.def_)
    if described is None:
        raise PlanError(f"the message does not describe the columns of {change.database}.{change.table}")
    return described


class _Clauses:
    """One statement's clauses, taken in one after the other."""

    def __init__(self, before: TableDefinition, target: Brand) -> None:
        self.before = before
        self.target = target
        self.keys = {key.name.lower(): key for key in before.keys}
        self.bodies: dict[str, Clause] = {}
        self.renamed: dict[str, str] = {}
        self.is_transactional = before.is_transactional

    def after(self, statement: Statement, described: Description) -> TableDefinition:
        for clause in read_clauses(statement):
            self.take(clause)
        columns = _columns(described, self.bodies, self.before.columns, self.renamed, self.target)
        present = {column.name.lower(): column.name for column in columns}
        keys = []
        for key in self.keys.values():
            parts = tuple(present[part.lower()] for part in key.columns if part.lower() in present)
            if parts:
                keys.append(msgspec.structs.replace(key, columns=parts))
        return TableDefinition(columns, described.primary_key, tuple(keys), self.is_transactional)

    def take(self, clause: Clause) -> None:
        if clause.kind == "column" and clause.name is not None:
            self.column(clause, clause.name)
        elif clause.kind == "key" and key_kind(clause) != "primary":
            parts = split_list(clause.body)
            columns = tuple(part[0].text for part in parts if part and part[0].is_name)
            is_plain = all(_is_plain(part) for part in parts)
            self.add(clause.name, columns, is_unique=key_kind(clause) == "unique", is_plain=is_plain)
        elif clause.kind == "option":
            self.option(clause)
        elif clause.verb == "RENAME COLUMN" and clause.replaces and clause.name:
            self.rename(clause.replaces, clause.name)
        elif clause.verb in ("DROP INDEX", "DROP KEY", "DROP CONSTRAINT") and clause.name:
            self.keys.pop(clause.name.lower(), None)
        elif clause.verb == "RENAME" and len(clause.tokens) == 5 and clause.tokens[1].upper in ("INDEX", "KEY"):
            old, new = clause.tokens[2].text, clause.tokens[4].text
            if key := self.keys.pop(old.lower(), None):
                self.keys[new.lower()] = msgspec.structs.replace(key, name=new)

    def column(self, clause: Clause, name: str) -> None:
        self.bodies[name.lower()] = clause
        if clause.replaces is not None and clause.replaces.lower() != name.lower():
            self.rename(clause.replaces, name)
        words = [token.upper for token in outer(clause.body)]
        is_serial = words[:1] == ["SERIAL"] or "SERIAL DEFAULT VALUE" in " ".join(words)
        if "UNIQUE" in words or is_serial:
            self.add(None, (name,), is_unique=True, is_plain=True)

    def rename(self, old: str, new: str) -> None:
        self.renamed[new.lower()] = old.lower()
        for name, key in self.keys.items():
            columns = tuple(new if part.lower() == old.lower() else part for part in key.columns)
            self.keys[name] = msgspec.structs.replace(key, columns=columns)

    def add(self, name: str | None, columns: tuple[str, ...], *, is_unique: bool, is_plain: bool) -> None:
        """A key without a name is called after its first column, with a number where that is taken."""
        found, number = name or (columns[0] if columns else "functional_index"), 2
        while name is None and found.lower() in self.keys:
            found, number = f"{columns[0] if columns else 'functional_index'}_{number}", number + 1
        self.keys[found.lower()] = IndexDefinition(found, columns, is_unique, is_plain)

    def option(self, clause: Clause) -> None:
        for engine in clause.values_of("ENGINE", "TYPE"):
            self.is_transactional = engine.text.upper() not in ("MYISAM", "MEMORY", "HEAP", "ARIA", "CSV", "ARCHIVE")


def _columns(
    described: Description,
    bodies: dict[str, Clause],
    known: Iterable[Column],
    renamed: dict[str, str],
    target: Brand,
) -> tuple[Column, ...]:
    by_name = {column.name.lower(): column for column in known}
    primary = {name.lower() for name in described.primary_key}
    columns = []
    for column in described.columns:
        name = column.name.lower()
        if body := bodies.get(name):
            found = _defined(column, body.body, target)
        else:
            found = _updated(column, by_name.get(renamed.get(name, name)), target)
        columns.append(msgspec.structs.replace(found, nullable=found.nullable and name not in primary))
    return tuple(columns)


_BINARY_KINDS = {
    "char": "binary", "varchar": "varbinary", "tinytext": "tinyblob", "text": "blob", "mediumtext": "mediumblob",
    "longtext": "longblob",
}  # fmt: skip


def _updated(column: DescribedColumn, known: Column | None, target: Brand) -> Column:
    """A column whose definition does not stand in the text: as it was, with what Maxwell says of it now."""
    fresh = _from_description(column, target)
    if known is None:
        return fresh
    return msgspec.structs.replace(known, name=fresh.name, kind=fresh.kind, charset=fresh.charset, digits=fresh.digits)


def _from_description(column: DescribedColumn, target: Brand) -> Column:
    kind, charset = column.kind, column.charset
    if charset == "binary":
        kind, charset = _BINARY_KINDS.get(kind, kind), None
    return Column(
        name=column.name,
        kind=kind,
        charset="utf8mb4" if kind == "json" else charset,
        size=1 if kind in ("bit", "binary") else None,
        digits=column.digits,
        unsigned=not column.signed,
        labels=column.labels,
        native_json=kind == "json" and target == "mysql",
    )


def unlike(described: DescribedColumn, live: Column) -> str:
    """How a live column is another one than the described; empty where nothing says so."""
    wanted = _from_description(described, "mysql" if live.native_json or live.kind != "json" else "mariadb")
    is_same = (
        wanted.kind == live.kind
        and (wanted.digits == live.digits or live.kind not in ("datetime", "timestamp", "time"))
        and (not wanted.unsigned or live.unsigned)  # Maxwell calls INT ZEROFILL and DECIMAL UNSIGNED signed
        and _charset(wanted.charset) in (None, _charset(live.charset))
    )
    if is_same:
        return ""
    return f"{live.name} {_kind(live)} where the message has {described.name} {_kind(wanted)}"


def _charset(name: str | None) -> str | None:
    return "utf8mb3" if name == "utf8" else name


def _kind(column: Column) -> str:
    digits = f"({column.digits})" if column.digits and column.kind in ("datetime", "timestamp", "time") else ""
    charset = f" CHARACTER SET {column.charset}" if column.charset and column.kind != "json" else ""
    return f"{column.kind}{digits}{' unsigned' if column.unsigned else ''}{charset}"


def _defined(column: DescribedColumn, body: tuple[Token, ...], target: Brand) -> Column:
    """A column by Maxwell's description and its definition: type and attributes."""
    words = outer(body)
    upper = [token.upper for token in words]
    fresh = _from_description(column, target)
    srid = next((i for i, word in enumerate(upper) if word in ("SRID", "REF_SYSTEM_ID")), None)
    srs = next((t.text for t in words[srid + 1 : srid + 3] if t.text.isdigit()), None) if srid is not None else None
    size = _length(body) if fresh.kind in ("bit", "binary", "varbinary") else None
    # The servers drop the spaces at the end of a label.
    labels = tuple(part[0].text.rstrip(" ") for part in split_list(body)) if fresh.kind in ("enum", "set") else ()
    is_not_null = any(pair == ("NOT", "NULL") for pair in pairwise(upper))
    return msgspec.structs.replace(
        fresh,
        size=size if size is not None else fresh.size,
        nullable=not (is_not_null or upper[:1] == ["SERIAL"]),
        # Maxwell calls INT ZEROFILL and DECIMAL UNSIGNED signed.
        unsigned=fresh.unsigned or not {"UNSIGNED", "ZEROFILL"}.isdisjoint(upper) or upper[:1] == ["SERIAL"],
        generated=is_generated(words),
        labels=labels,
        srid=int(srs) if srs is not None else None,
    )


def _length(body: tuple[Token, ...]) -> int | None:
    """The number in brackets behind the type, before any attribute: BINARY(16), CHAR VARYING (5) BYTE."""
    for index, token in enumerate(body[:3]):
        if token.is_mark("(") and len(body) > index + 1 and body[index + 1].text.isdigit():
            return int(body[index + 1].text)
    return None


def _is_plain(part: tuple[Token, ...]) -> bool:
    return bool(part) and part[0].is_name and not any(token.is_mark("(") for token in part)
