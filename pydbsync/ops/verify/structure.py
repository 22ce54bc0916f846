"""Differences between two tables' definitions, one sentence each."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.shown import show_create
from pydbsync.errors import PlanError
from pydbsync.model import BYTES_KINDS, TableName, TableSchema
from pydbsync.ops.verify.rules import read_checks, read_partitions, read_versioning
from pydbsync.plan.ddl.clauses import outer, read_clauses
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.quoting import quote_table, quote_text

_WIDTH = re.compile(r"^((?:tiny|small|medium|big)?int|year)\(\d+\)")
_STORED_SMALLER = re.compile(r" /\*m!\d+ compressed\*/", re.IGNORECASE)
"""MariaDB's COMPRESSED in `column_type`: how a value is kept, not what it is; MySQL has no word for it."""
_MARKS = ("auto_increment", "invisible", "virtual", "stored", "on update")


class ColumnDefinition(NamedTuple):
    """One column, spelled alike by both brands."""

    type: str
    charset: str
    collation: str
    default: str
    marks: tuple[str, ...]
    expression: str = ""
    """By which a generated column is computed, as the brand prints it."""
    srid: str = ""
    """The spatial reference system of all its values, where it has one."""

    def __str__(self) -> str:
        charset = f" {self.charset}" if self.charset else ""
        return " ".join([self.type + charset, *self.marks])


class TableStructure(msgspec.Struct, frozen=True):
    """Columns in order, indexes by name, foreign keys by name."""

    columns: Mapping[str, ColumnDefinition]
    indexes: Mapping[str, str]
    foreign_keys: Mapping[str, str]
    index_details: Mapping[str, str] = {}
    """What only one brand has, or has in a way of its own: expressions, falling order, whether it is used."""
    checks: Mapping[str, str] = {}
    partitions: str = ""
    versioning: str = ""
    """How MariaDB keeps former rows."""

    def without(self, columns: Collection[str]) -> TableStructure:
        """The same, but for these columns (in lower case)."""
        kept = {name: each for name, each in self.columns.items() if name.lower() not in columns}
        return msgspec.structs.replace(self, columns=kept)


def read_definition(
    connection: Connection, schema: TableSchema, *, rename: Callable[[TableName], TableName] = lambda name: name
) -> TableStructure:
    """The table as the server's catalogue has it; `rename` gives the tables' names at the target."""
    return TableStructure(
        columns=_read_columns(connection, schema),
        indexes=_read_indexes(connection, schema.name),
        index_details=_read_index_details(connection, schema.name),
        foreign_keys=_read_foreign_keys(connection, schema.name, rename),
        checks=read_checks(connection, schema),
        partitions=read_partitions(connection, schema.name),
        versioning=read_versioning(connection, schema.name),
    )


def structure_differences(
    source: TableStructure, target: TableStructure, *, across_brands: bool, allows_own_columns: bool
) -> Iterator[str]:
    """What is not the same. Defaults and collations are compared within one brand only: each has its own."""
    for name, wanted in source.columns.items():
        found = _find(target.columns, name)
        if found is None:
            yield f"column {name} is missing at the target"
            continue
        if across_brands:
            wanted, found = map(_across_brands, (wanted, found))
        if wanted != found:
            yield f"column {name} is {_differing(wanted, found)}"
    own = [name for name in target.columns if _find(source.columns, name) is None]
    if not allows_own_columns:
        yield from (f"column {name} is at the target only" for name in own)
    common = [name.lower() for name in source.columns if _find(target.columns, name)]
    order = [name.lower() for name in target.columns if name not in own]
    if common != order:
        yield f"the target's columns stand in another order: {', '.join(order)}"
    yield from _named_differences("index", source.indexes, target.indexes)
    if not across_brands:
        alike = {name for name, text in source.indexes.items() if target.indexes.get(name) == text}
        kept = ({name: text for name, text in each.index_details.items() if name in alike} for each in (source, target))
        yield from _named_differences("index", *kept)
    blind = " (a user without REFERENCES is shown none)" if not (source.foreign_keys and target.foreign_keys) else ""
    yield from (
        f"{each}{blind}" for each in _named_differences("foreign key", source.foreign_keys, target.foreign_keys)
    )
    if across_brands:
        return
    yield from _named_differences("CHECK constraint", source.checks, target.checks)
    if source.partitions != target.partitions:
        ways = (source.partitions, target.partitions)
        yield "the table is {} at the source, {} at the target".format(
            *(f"partitioned {way}" if way else "not partitioned" for way in ways)
        )
    if source.versioning != target.versioning:
        ways = (source.versioning, target.versioning)
        yield "the table is {} at the source, {} at the target".format(*(way or "not system-versioned" for way in ways))


def _across_brands(column: ColumnDefinition) -> ColumnDefinition:
    """Without what each brand has, or spells, in its own way."""
    return column._replace(collation="", default="", expression="", srid="")


def left_uncompared(source: TableStructure, target: TableStructure, *, across_brands: bool) -> Iterator[str]:
    """What has no counterpart on the other side, or is spelled by each brand in its own way."""
    if source.versioning:
        yield "system-versioned: its current rows are compared, and not its history, which each server keeps itself"
    if not across_brands:
        return
    names = sorted({*source.checks, *target.checks})
    if names:
        yield f"not compared between MySQL and MariaDB: CHECK constraint {', '.join(names)}"
    if source.partitions or target.partitions:
        yield "not compared between MySQL and MariaDB: partitions"


def _differing(wanted: ColumnDefinition, found: ColumnDefinition) -> str:
    if str(wanted) != str(found):
        return f"{wanted} at the source, {found} at the target"
    if wanted.collation != found.collation:
        return f"of collation {wanted.collation} at the source, {found.collation} at the target"
    if wanted.srid != found.srid:
        return f"of SRID {wanted.srid or 'any'} at the source, {found.srid or 'any'} at the target"
    if wanted.expression != found.expression:
        return f"generated as {wanted.expression} at the source, {found.expression} at the target"
    return f"by default {wanted.default} at the source, {found.default} at the target"


def _named_differences(what: str, source: Mapping[str, str], target: Mapping[str, str]) -> Iterator[str]:
    for name, wanted in source.items():
        found = target.get(name)
        if found is None:
            yield f"{what} {name} {wanted} is missing at the target"
        elif found != wanted:
            yield f"{what} {name} is {wanted} at the source, {found} at the target"
    yield from (f"{what} {name} {found} is at the target only" for name, found in target.items() if name not in source)


def _find(columns: Mapping[str, ColumnDefinition], name: str) -> ColumnDefinition | None:
    found = columns.get(name)
    if found is None:
        found = next((each for key, each in columns.items() if key.lower() == name.lower()), None)
    return found


def _read_columns(connection: Connection, schema: TableSchema) -> dict[str, ColumnDefinition]:
    kinds = {column.name: column.kind for column in schema.columns}
    shown = _shown_defaults(connection, schema)
    systems = {column.name: str(column.srid) for column in schema.columns if column.srid is not None}
    found = {}
    for name, column_type, nullable, charset, collation, default, extra, expression in connection.rows(
        "SELECT column_name, column_type, is_nullable, character_set_name, collation_name, column_default, extra,"
        " generation_expression FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " ORDER BY ordinal_position",
        schema.name,
    ):
        is_json = kinds.get(name) == "json"
        spelled = "json" if is_json else _canonical_type(_text(column_type))
        found[str(name)] = ColumnDefinition(
            type=spelled + ("" if nullable == "YES" else " not null"),
            charset="" if is_json or charset is None else _utf8mb3(str(charset)),
            collation="" if is_json or collation is None else _utf8mb3(str(collation)),
            default=shown.get(str(name)) or _default(default, str(extra), is_mariadb=connection.dialect.is_mariadb),
            marks=tuple(mark for mark in _MARKS if mark in str(extra).lower()),
            expression=_text(expression or ""),
            srid=systems.get(str(name), ""),
        )
    return found


def _default(default: object, extra: str, *, is_mariadb: bool) -> str:
    """MariaDB's catalogue has a text in quotes; MySQL's has it bare, as it has an expression and the word none."""
    if default is None:
        return "none"
    text = _text(default)
    is_bare = is_mariadb or "DEFAULT_GENERATED" in extra.upper() or text.upper().startswith("CURRENT_TIMESTAMP")
    return text if is_bare else f"'{text}'"


def _shown_defaults(connection: Connection, schema: TableSchema) -> dict[str, str]:
    """Literal defaults that the catalogue has otherwise than SHOW CREATE TABLE: MySQL's has those of TIMESTAMP columns
    in the zone of the session that made the table, not in UTC, and of bytes only those before the first zero; MariaDB's
    has `?` for a byte that is no text."""
    kinds = BYTES_KINDS if connection.dialect.is_mariadb else BYTES_KINDS | {"timestamp"}
    names = {column.name for column in schema.columns if column.kind in kinds}
    if not names:
        return {}
    sql = show_create(connection, f"SHOW CREATE TABLE {quote_table(schema.name)}")
    try:
        clauses = read_clauses(parse_statement(sql))
    except PlanError:
        return {}
    found = {}
    for clause in clauses:
        words = outer(clause.body) if clause.kind == "column" and clause.name in names else []
        for word, value in pairwise(words):
            if word.upper == "DEFAULT" and value.kind == "string":
                found[str(clause.name)] = f"'{value.text}'"
            elif word.upper == "DEFAULT" and value.text.lower().startswith(("x'", "0x")):
                digits = value.text.lower().removeprefix("0x").removeprefix("x").strip("'")
                found[str(clause.name)] = f"0x{digits.upper()}"  # MariaDB 11.8 has them in lower case
    return found


def _canonical_type(column_type: str) -> str:
    """Without the spellings in which brands and versions differ."""
    spelled = _STORED_SMALLER.sub("", column_type.replace("geomcollection", "geometrycollection"))
    return spelled if "zerofill" in spelled else _WIDTH.sub(r"\1", spelled)


def _utf8mb3(name: str) -> str:
    return re.sub(r"^utf8(?=_|$)", "utf8mb3", name)


def _read_indexes(connection: Connection, name: TableName) -> dict[str, str]:
    found: dict[str, tuple[bool, str, list[str]]] = {}
    for index, non_unique, column, part, kind in connection.rows(
        "SELECT index_name, non_unique, column_name, sub_part, index_type FROM information_schema.statistics"
        " WHERE table_schema = %s AND table_name = %s ORDER BY index_name, seq_in_index",
        name,
    ):
        length = f"({part})" if part and kind not in ("SPATIAL", "VECTOR") else ""
        special = str(kind).lower() if kind in ("FULLTEXT", "SPATIAL", "VECTOR") else ""
        entry = found.setdefault(str(index), (not int(non_unique), special, []))
        entry[2].append(f"{column or 'expression'}{length}")
    return {
        index: f"{'unique ' if unique else ''}{special + ' ' if special else ''}({', '.join(columns)})"
        for index, (unique, special, columns) in found.items()
    }


def _read_index_details(connection: Connection, name: TableName) -> dict[str, str]:
    """The parts of each index with their expressions and order, and whether the server leaves it unused."""
    parts: dict[str, list[str]] = {}
    unused: set[str] = set()
    database, table = (quote_text(each).decode("utf-8") for each in name)
    for row in connection.named_rows(  # which columns this has depends on the version
        f"SELECT * FROM information_schema.statistics WHERE table_schema = {database} AND table_name = {table}"
        " ORDER BY index_name, seq_in_index"
    ):
        index = _text(row["INDEX_NAME"])
        falls = " DESC" if row["COLLATION"] == "D" else ""
        parts.setdefault(index, []).append(f"{_text(row['COLUMN_NAME'] or row.get('EXPRESSION') or '')}{falls}")
        if row.get("IGNORED") == "YES" or row.get("IS_VISIBLE") == "NO":
            unused.add(index)
    return {
        index: f"({', '.join(each)}){' and not used by the server' if index in unused else ''}"
        for index, each in parts.items()
    }


def _read_foreign_keys(
    connection: Connection, name: TableName, rename: Callable[[TableName], TableName]
) -> dict[str, str]:
    found: dict[str, tuple[str, str, list[str], list[str]]] = {}
    for constraint, column, database, table, referred, on_delete, on_update in connection.rows(
        "SELECT k.constraint_name, k.column_name, k.referenced_table_schema, k.referenced_table_name,"
        " k.referenced_column_name, r.delete_rule, r.update_rule FROM information_schema.key_column_usage k"
        " JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema"
        "  AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name"
        " WHERE k.table_schema = %s AND k.table_name = %s AND k.referenced_table_name IS NOT NULL"
        # Without its own condition MariaDB reads the constraints of all tables, for each table anew.
        "  AND r.constraint_schema = %s AND r.table_name = %s"
        " ORDER BY k.constraint_name, k.ordinal_position",
        (*name, *name),
    ):
        rules = f"on delete {_rule(on_delete)} on update {_rule(on_update)}"
        target = str(rename(TableName(str(database), str(table))))
        entry = found.setdefault(str(constraint), (target, rules, [], []))
        entry[2].append(str(column))
        entry[3].append(str(referred))
    return {
        constraint: f"({', '.join(columns)}) to {target} ({', '.join(referred)}) {rules}"
        for constraint, (target, rules, columns, referred) in found.items()
    }


def _rule(rule: object) -> str:
    # RESTRICT and NO ACTION are one for InnoDB; the brands print the default differently.
    return "restrict" if str(rule).upper() in ("RESTRICT", "NO ACTION") else str(rule).lower()


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
