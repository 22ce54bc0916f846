"""A table's definition as a server has it, in words that do not depend on brand, version and session."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from pydbsync.apply.answered import exact_text
from pydbsync.apply.connection import Connection
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.verify.rules import read_partitions, read_versioning
from pydbsync.ops.verify.shown import NO_DEFAULT, Shown, read_shown
from pydbsync.plan.expressions import SpelledExpression
from pydbsync.plan.quoting import quote_text

_WIDTH = re.compile(r"^((?:tiny|small|medium|big)?int|year)\(\d+\)")
_STORED_SMALLER = re.compile(r" /\*m!\d+ compressed\*/", re.IGNORECASE)
"""MariaDB's COMPRESSED in `column_type`: how a value is kept, not what it is; MySQL has no word for it."""
_MARKS = ("auto_increment", "invisible", "virtual", "stored", "on update")
_TOLD_OTHERWISE = re.compile(r"\b(?:partitioned|row_format=\w+)\b", re.IGNORECASE)
_NOTHING = SpelledExpression("")


class ColumnDefinition(NamedTuple):
    """One column, spelled alike by both brands."""

    type: str
    charset: str
    collation: str
    default: SpelledExpression
    marks: tuple[str, ...]
    expression: SpelledExpression = _NOTHING
    """By which a generated column is computed."""
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
    """What only one brand has, or has in a way of its own: expressions, falling order, whether it is used, parsers."""
    checks: Mapping[str, SpelledExpression] = {}
    partitions: SpelledExpression = _NOTHING
    versioning: str = ""
    """How MariaDB keeps former rows."""
    asides: Mapping[str, str] = {}
    """What makes no row another one: comments, the engine, how rows are kept, what later columns will be."""

    def without(self, columns: Collection[str]) -> TableStructure:
        """The same, but for these columns (in lower case)."""
        kept = {name: each for name, each in self.columns.items() if name.lower() not in columns}
        return msgspec.structs.replace(self, columns=kept)


def read_definition(
    connection: Connection, schema: TableSchema, *, rename: Callable[[TableName], TableName] = lambda name: name
) -> TableStructure:
    """The table as the server has it; `rename` gives the tables' names at the target.

    Raises OperationError, PermanentError, TransientError.
    """
    shown = read_shown(connection, schema)
    asides = _read_asides(connection, schema.name)
    indexes, details = _read_indexes(connection, schema.name, shown, asides)
    return TableStructure(
        columns=_read_columns(connection, schema, shown, asides),
        indexes=indexes,
        index_details=details,
        foreign_keys=_read_foreign_keys(connection, schema.name, rename),
        checks=shown.checks,
        partitions=read_partitions(connection, schema.name),
        versioning=read_versioning(connection, schema.name),
        asides=asides,
    )


def _read_columns(
    connection: Connection, schema: TableSchema, shown: Shown, asides: dict[str, str]
) -> dict[str, ColumnDefinition]:
    kinds = {column.name: column.kind for column in schema.columns}
    systems = {column.name: str(column.srid) for column in schema.columns if column.srid is not None}
    found = {}
    for name, column_type, nullable, charset, collation, extra, comment in connection.rows(
        "SELECT column_name, column_type, is_nullable, character_set_name, collation_name, extra, column_comment"
        " FROM information_schema.columns WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        schema.name,
    ):
        is_json = kinds.get(name) == "json"
        spelled = "json" if is_json else _canonical_type(exact_text(column_type))
        found[str(name)] = ColumnDefinition(
            type=spelled + ("" if nullable == "YES" else " not null"),
            charset="" if is_json or charset is None else _utf8mb3(str(charset)),
            collation="" if is_json or collation is None else _utf8mb3(str(collation)),
            default=shown.defaults.get(str(name).lower(), NO_DEFAULT),
            marks=tuple(mark for mark in _MARKS if mark in str(extra).lower()),
            expression=shown.generated.get(str(name).lower(), _NOTHING),
            srid=systems.get(str(name), ""),
        )
        if comment:
            asides[f"the comment of column {name}"] = exact_text(comment)
    return found


def _canonical_type(column_type: str) -> str:
    """Without the spellings in which brands and versions differ."""
    spelled = _STORED_SMALLER.sub("", column_type.replace("geomcollection", "geometrycollection"))
    return spelled if "zerofill" in spelled else _WIDTH.sub(r"\1", spelled)


def _utf8mb3(name: str) -> str:
    return re.sub(r"^utf8(?=_|$)", "utf8mb3", name)


def _read_indexes(
    connection: Connection, name: TableName, shown: Shown, asides: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The indexes by name, and their parts with expressions and order, whether the server leaves them unused, and by
    what a FULLTEXT one cuts texts into words."""
    heads: dict[str, str] = {}
    columns: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {}
    unused: set[str] = set()
    database, table = (quote_text(each).decode("utf-8") for each in name)
    for row in connection.named_rows(  # which columns this has depends on the version
        f"SELECT * FROM information_schema.statistics WHERE table_schema = {database} AND table_name = {table}"
        " ORDER BY index_name, seq_in_index"
    ):
        index, kind, column = exact_text(row["INDEX_NAME"]), str(row["INDEX_TYPE"]), row["COLUMN_NAME"]
        special = f"{kind.lower()} " if kind in ("FULLTEXT", "SPATIAL", "VECTOR") else ""
        heads[index] = f"{'' if int(row['NON_UNIQUE']) else 'unique '}{special}"
        length = f"({row['SUB_PART']})" if row["SUB_PART"] and kind not in ("SPATIAL", "VECTOR") else ""
        place = len(columns.setdefault(index, []))
        columns[index].append(f"{exact_text(column or 'expression')}{length}")
        expressions = shown.key_parts.get(index, ())
        expression = expressions[place] if column is None and place < len(expressions) else None
        part = exact_text(column) if column is not None else expression.text if expression else ""
        parts.setdefault(index, []).append(f"{part}{' DESC' if row['COLLATION'] == 'D' else ''}")
        if row.get("IGNORED") == "YES" or row.get("IS_VISIBLE") == "NO":
            unused.add(index)
        if row.get("INDEX_COMMENT"):
            asides[f"the comment of index {index}"] = exact_text(row["INDEX_COMMENT"])
    indexes = {index: f"{heads[index]}({', '.join(each)})" for index, each in columns.items()}
    details = {
        index: f"({', '.join(each)})"
        f"{f' with parser {shown.parsers[index]}' if index in shown.parsers else ''}"
        f"{' and not used by the server' if index in unused else ''}"
        for index, each in parts.items()
    }
    return indexes, details


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


def _read_asides(connection: Connection, name: TableName) -> dict[str, str]:
    found: dict[str, str] = {}
    for engine, row_format, collation, options, comment in connection.rows(
        "SELECT engine, row_format, table_collation, create_options, table_comment FROM information_schema.tables"
        " WHERE table_schema = %s AND table_name = %s",
        name,
    ):
        others = " ".join(_TOLD_OTHERWISE.sub("", exact_text(options or "")).split())
        for what, value in (
            ("the engine", exact_text(engine or "")),
            ("the row format", exact_text(row_format or "").lower()),
            (TABLE_COLLATION, _utf8mb3(exact_text(collation or ""))),
            (TABLE_OPTIONS, others),
            ("the table's comment", exact_text(comment or "")),
        ):
            if value:
                found[what] = value
    for partition, comment in connection.rows(
        "SELECT partition_name, partition_comment FROM information_schema.partitions WHERE table_schema = %s"
        " AND table_name = %s AND partition_comment <> ''",
        name,
    ):
        found[f"the comment of partition {exact_text(partition)}"] = exact_text(comment)
    return found


TABLE_COLLATION = "the collation that later columns will have"
TABLE_OPTIONS = "the table's options"
