"""What is read of each column at the source, so that the target stores the same bytes.

The source itself prints a row as text: one string a row, or all rows of a chunk in one string, so that no value passes
through Python. Both sessions have `SET NAMES binary`: what is printed is bytes, and a quoted text is a string of bytes,
which a column of the same character set takes as it is.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from pydbsync.errors import OperationError
from pydbsync.model import (
    BINARY_KINDS,
    FLOAT_KINDS,
    GEOMETRY_KINDS,
    INTEGER_KINDS,
    TEMPORAL_KINDS,
    TEXT_KINDS,
    Column,
    TableName,
    TableSchema,
)
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.routed.rows import RoutedColumn, RowRoute


class Carriage(enum.Enum):
    """How rows are carried to the target; each is slower than the one before, and takes more."""

    LOAD = "load"
    """LOAD DATA LOCAL INFILE, where the target allows it."""
    INSERT = "insert"
    """INSERT of many rows, strict."""
    SINGLE = "single"
    """Row by row, values quoted here: for rows so large that the source cannot print them as one text."""


class CarriedColumn(NamedTuple):
    """One column on its way."""

    name: str
    """At the target, quoted."""
    text: str
    """SQL of the source: the value as LOAD DATA and VALUES read it; NULL is the word NULL."""
    value: str
    """SQL of the source: the value's bytes as they are, for Way.SINGLE."""
    is_quoted: bool = True
    """Whether `value` is to be quoted as a string of bytes; else it is a number."""
    insert_as: str = "{}"
    """SQL of the target around the literal in VALUES."""
    load_as: str = "{}"
    """SQL of the target around what LOAD DATA has read."""
    is_enum: bool = False


_PRINTED = frozenset({"uuid", "inet4", "inet6"})
_SAME_NAME = {"utf8": "utf8mb3"}
"""Older servers call the three-byte character set utf8."""
_FROM_UTF8 = "CONVERT({} USING utf8mb4)"

# What QUOTE() writes: quotes, backslashes, NUL and Ctrl-Z escaped, and the bare word NULL for NULL.
_LOAD_FORMAT = (
    "CHARACTER SET binary FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\\'' ESCAPED BY '\\\\'"
    " LINES TERMINATED BY '\\n'"
)


def field_for(
    source: Column, target: Column, *, value: str = "", is_masked: bool = False, is_named: bool = False
) -> CarriedColumn:
    """How this column of the source reaches that column of the target. Raises OperationError for an unknown type, and
    where replay would write another value there.

    `value` is what is read instead of the column, of its type; with `is_masked` it is made for the target's.
    `is_named`: the configuration says that it comes in base64 (binary_columns), and so replay stores its bytes.
    """
    column, name, kind = value or quote_name(source.name), quote_name(target.name), source.kind
    takes = _takes_as_replay(source, target) or (is_named and source.kind != "binary" and target.kind in TEXT_KINDS)
    if not is_masked and not takes:
        raise OperationError(
            f"column {source.name} is of type {source.column_type}, and that of the target of type"
            f" {target.column_type}: replay would write something else there than copy, or nothing; make it of the"
            " source's type, or exclude the table"
        )
    if kind in ("enum", "set") and (kind, source.labels) == (target.kind, target.labels):
        # By number: exact for the error value 0, for empty labels and for labels that look like numbers.
        number = f"CAST({column} AS UNSIGNED)"
        text = f"IFNULL({number}, 'NULL')"
        return CarriedColumn(name, text, number, False, load_as="CAST({} AS UNSIGNED)", is_enum=kind == "enum")
    is_number_in_text = kind in INTEGER_KINDS | {"year"} and target.kind in TEXT_KINDS
    if is_number_in_text or (kind == "bit" and target.kind != "bit"):
        return _quoted(name, f"({column} + 0)")  # without the zeros of ZEROFILL, and of YEAR 0
    if kind in INTEGER_KINDS:
        # Not IFNULL(c, 'NULL'), which MariaDB cuts to the display width: 123457 in an INT(4) would become 1234.
        return CarriedColumn(name, f"QUOTE({column})" if source.nullable else column, column, False)
    if kind == "float":
        # MySQL prints a FLOAT with six digits, but as a DOUBLE whole; times 1 keeps the sign of -0, plus 0 would not.
        # A DOUBLE is printed as the column it is: as an expression MySQL cuts it to 22 characters.
        return _quoted(name, f"({column} * 1e0)")
    if kind in TEMPORAL_KINDS or kind in ("double", "decimal", "year"):
        return _quoted(name, column)
    if kind in GEOMETRY_KINDS or kind in BINARY_KINDS:
        return _long(name, column)
    if kind in ("bit", "vector"):
        return _quoted(name, f"CAST({column} AS BINARY)")
    if kind in _PRINTED:
        return _address(name, column, source, target)
    if kind in TEXT_KINDS or kind in ("enum", "set", "json"):
        return _text(name, column, source, target)
    raise OperationError(f"column {source.name} is of type {kind}, which copy does not know; exclude its table")


def _takes_as_replay(source: Column, target: Column) -> bool:
    """Whether replay writes the same into the target's column: its messages have bytes in base64 (those of BINARY
    without the zeros at the end), FLOAT by its shortest digits, documents and SETs as JSON, shapes as text."""
    kind, is_bytes = source.kind, _is_bytes(target)
    if kind == "binary":
        return target.kind == "binary"
    if _is_bytes(source):
        return is_bytes
    for kinds in ({"json"}, {"set"}, GEOMETRY_KINDS):
        if kind in kinds:
            return target.kind in kinds
    if kind == "float":
        return target.kind in FLOAT_KINDS
    if kind in TEXT_KINDS or kind in ("enum", "bit"):
        return not is_bytes and target.kind != "json"
    return True


def _refuse_as_condition(source: Column, target: Column, table: TableSchema) -> None:
    """Raises OperationError for a column by which replay finds rows and of which it writes another value than copy: of
    a FLOAT 0.1 its shortest digits come, and as a DOUBLE it is 0.10000000149011612."""
    finds_rows = not table.row_key or target.name in table.row_key
    if source.kind == "float" and target.kind == "double" and finds_rows:
        raise OperationError(
            f"column {source.name} is of type {source.column_type}, and that of the target of type"
            f" {target.column_type}: replay would not find copied rows of {table.name} by it, since the digits of a"
            " FLOAT are another DOUBLE; make it of the source's type, give the table a key without it, or exclude it"
        )


def _is_bytes(column: Column) -> bool:
    return column.kind in BINARY_KINDS or (column.kind in TEXT_KINDS and column.charset in (None, "binary"))


def _quoted(name: str, value: str, taken_as: str = "{}") -> CarriedColumn:
    return CarriedColumn(name, f"QUOTE({value})", f"CAST({value} AS BINARY)", True, taken_as, taken_as)


def _address(name: str, column: str, source: Column, target: Column) -> CarriedColumn:
    if source.kind == target.kind:
        # In these sessions the bytes that are stored, and so they are taken.
        return _quoted(name, f"CAST({column} AS CHAR)")
    if target.kind in _PRINTED or (target.kind in TEXT_KINDS and target.charset not in (None, "binary")):
        return _quoted(name, f"CAST(CAST({column} AS CHAR CHARACTER SET ascii) AS BINARY)", _FROM_UTF8)
    raise OperationError(
        f"column {source.name} is of type {source.kind}, and that of the target of type {target.column_type}: make it a"
        " text there, for one of bytes would take other bytes than replay writes"
    )


def _long(name: str, value: str, taken_as: str = "{}") -> CarriedColumn:
    """Without a CAST by itself, which gives NULL beyond max_allowed_packet: in these sessions a column is bytes."""
    return CarriedColumn(name, f"QUOTE(CAST({value} AS BINARY))", value, True, taken_as, taken_as)


def _text(name: str, column: str, source: Column, target: Column) -> CarriedColumn:
    charset = _SAME_NAME.get(str(source.charset), source.charset)
    is_bytes = target.kind in BINARY_KINDS or charset in (None, "binary")
    is_same = charset == _SAME_NAME.get(str(target.charset), target.charset) and source.kind in TEXT_KINDS | {"json"}
    if target.native_json or target.kind in _PRINTED or not (is_bytes or is_same):
        return _long(name, f"CONVERT({column} USING utf8mb4)", _FROM_UTF8)
    if source.native_json:  # which the driver would give as text
        return _quoted(name, f"CAST({column} AS BINARY)")
    return _long(name, column)


def _quote(value: bytes) -> bytes:
    # Not in hexadecimal: MySQL reads that as an integer where the column is a number.
    return b"'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\0", b"\\0") + b"'"


class RowForm:
    """How the rows of a source table are printed, and how a target table takes them.

    Raises OperationError if the target's table lacks a column.
    """

    def __init__(
        self,
        source: TableSchema,
        target: TableSchema,
        route: RowRoute | None = None,
        *,
        named_binary: frozenset[str] = frozenset(),
    ) -> None:
        """`named_binary` are columns (in lower case) of which the configuration says that they come in base64."""
        by_name = {column.name.lower(): column for column in target.columns}
        fields = []
        plain = (RoutedColumn(column, "") for column in source.columns)
        for column, value, is_masked in plain if route is None else route.columns(source):
            match = by_name.get(column.name.lower())
            if match is None and not column.generated:
                raise OperationError(
                    f"{target.name} at the target has no column {column.name!r}, which {source.name} at the source has;"
                    " drop the table at the target, then copy makes it"
                )
            if match is not None and not match.generated:
                _refuse_as_condition(column, match, target)
                is_named = column.name.lower() in named_binary
                fields.append(field_for(column, match, value=value, is_masked=is_masked, is_named=is_named))
        self.fields = tuple(fields)
        self._source = quote_table(source.name)
        self.condition = route.condition_sql if route is not None else ""
        """Which rows the target has, as SQL of the source; empty for all of them."""

    def chunk_query(self, way: Carriage, where: str, *, shard: str = "0") -> str:
        """`(shard, rows, text of all its rows)` of a chunk, one row a shard; with Way.INSERT also …

        `enum_errors`, how many ENUM values are the error value 0, which strict mode refuses.
        """
        separator = "'\\n'" if way is Carriage.LOAD else "','"
        rows = f"GROUP_CONCAT({', '.join(self._printed(way))} SEPARATOR {separator})"
        return f"SELECT {shard}, COUNT(*), {self._enum_errors()}, {rows} FROM {self._source} WHERE {where} GROUP BY 1"

    def rows_query(self, way: Carriage, where: str, *, shard: str = "0") -> str:
        """`(shard, enum errors, text)` a row; with Way.SINGLE one value a column instead of the text."""
        if way is Carriage.SINGLE:
            printed = ", ".join(field.value for field in self.fields) or "NULL"
        else:
            printed = f"CONCAT({', '.join(self._printed(way))})"
        errors = " + ".join(f"IFNULL({field.value} = 0, 0)" for field in self.fields if field.is_enum) or "0"
        return f"SELECT {shard}, {errors}, {printed} FROM {self._source} WHERE {where}"

    def _enum_errors(self) -> str:
        parts = [f"IFNULL(SUM({field.value} = 0), 0)" for field in self.fields if field.is_enum]
        return " + ".join(parts) or "0"

    def _printed(self, way: Carriage) -> list[str]:
        """The parts of a row's text, for GROUP_CONCAT or CONCAT."""
        parts = ["''"] if way is Carriage.LOAD else ["'('"]
        for index, field in enumerate(self.fields):
            if index:
                parts.append("','")
            if way is Carriage.INSERT and field.insert_as != "{}":
                before, _, after = field.insert_as.partition("{}")
                parts += [f"'{before}'", field.text, f"'{after}'"]
            else:
                parts.append(field.text)
        return parts if way is Carriage.LOAD else [*parts, "')'"]

    def single_values(self, values: tuple[object, ...]) -> bytes:
        """`(v1,v2,…)` of one row that was read by Way.SINGLE."""
        literals = []
        for field, value in zip(self.fields, values, strict=True):
            if value is None:
                literal = b"NULL"
            elif isinstance(value, bytes) and field.is_quoted:
                literal = _quote(value)
            else:
                literal = str(value).encode()
            before, _, after = field.insert_as.partition("{}")
            literals.append(before.encode() + literal + after.encode())
        return b"(" + b",".join(literals) + b")"

    def write_head(self, target: TableName, *, replace: bool) -> bytes:
        """`INSERT INTO … VALUES `."""
        names = ", ".join(field.name for field in self.fields)
        verb = "REPLACE" if replace else "INSERT"
        return f"{verb} INTO {quote_table(target)} ({names}) VALUES ".encode()

    def load_statement(self, target: TableName, file: str, *, replace: bool) -> bytes:
        """LOAD DATA of a file with a text of Way.LOAD."""
        names, sets = [], []
        for index, field in enumerate(self.fields):
            if field.load_as == "{}":
                names.append(field.name)
            else:
                names.append(f"@v{index}")
                sets.append(f"{field.name} = {field.load_as.format(f'@v{index}')}")
        into = f"LOAD DATA LOCAL INFILE '{file}' {'REPLACE ' if replace else ''}INTO TABLE {quote_table(target)}"
        return f"{into} {_LOAD_FORMAT} ({', '.join(names)}){' SET ' + ', '.join(sets) if sets else ''}".encode()
