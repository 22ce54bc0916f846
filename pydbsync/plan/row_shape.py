"""How the rows of one table with one set of columns become SQL: compiled once, then run for every row."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from pydbsync.config.conflicts import ConflictPolicy
from pydbsync.errors import LossyValueError, PlanError
from pydbsync.model import BINARY_KINDS, GEOMETRY_KINDS, TEXT_KINDS, Column, TableSchema, read_image
from pydbsync.plan.documents import are_spelled_apart, document_condition, document_likeness
from pydbsync.plan.large import LARGE_BYTES, WritePiece, write_literal
from pydbsync.plan.literals import NULL, float_bits, literal_for
from pydbsync.plan.literals import Literal as ValueLiteral
from pydbsync.plan.lossy import MARKS, RULES, SuspectColumn, Suspicion, suspects_of
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.row_images import Tokens, token_decoder
from pydbsync.plan.target import Dialect


class ColumnOverrides(msgspec.Struct, frozen=True):
    """What the operator's config says of one table's columns, in lower case."""

    binary: frozenset[str] = frozenset()
    timestamp: frozenset[str] = frozenset()
    shift_s: int = 0


LONG_KINDS = TEXT_KINDS | BINARY_KINDS | {"json"}
"""Whose values are shown by their beginning."""
NO_OVERRIDES = ColumnOverrides()


class LossPolicy(msgspec.Struct, frozen=True):
    """What is done with values that Maxwell may not have carried whole."""

    refuse: bool = False
    """Raise LossyValueError, rather than tell once per column."""
    trusted: tuple[str, ...] = ()
    """Globs of database.table.column, source names, that the operator vouches for."""
    tell: Callable[[str], None] | None = None
    """Called with a sentence, once per column; None looks at nothing."""
    rules: Mapping[str, Suspicion] = msgspec.field(default_factory=lambda: RULES)
    """By kind of column: what the tool that published the messages is known not to carry."""


NO_LOSS = LossPolicy()


class ConflictRule(NamedTuple):
    """Whose row stays where the target's is not as the source's was."""

    policy: ConflictPolicy
    prefer: str | None
    """`source` or `target`: what decides where the policy does not."""


class RowShape:
    """Turns `data` objects with exactly these columns into VALUES lists and conditions for one target table.

    Columns that the target generates are left out. Raises PlanError for a column that the target does not have.
    """

    def __init__(
        self,
        schema: TableSchema,
        names: tuple[str, ...],
        *,
        overrides: ColumnOverrides,
        dialect: Dialect,
        loss: LossPolicy = NO_LOSS,
    ) -> None:
        by_name = {column.name.lower(): column for column in schema.columns}
        missing = [name for name in names if name.lower() not in by_name]
        if missing:
            raise PlanError(
                f"{schema.name} has no column {missing[0]!r} at the target: the DDL that adds it is parked or was"
                " filtered out (ghost tables of an online schema change filtered at Maxwell do that too), another"
                " source of the table has taken the column away, or the target was altered by hand"
            )
        columns = [by_name[name.lower()] for name in names]
        self.columns = tuple(columns)
        self.names = names
        self.written = tuple(column for column in columns if not column.generated)
        self._literals: list[ValueLiteral] = []
        self._special: list[tuple[int, ValueLiteral]] = []
        for index, column in enumerate(self.columns):
            is_listed = column.name.lower() in overrides.timestamp
            literal, may_pass = literal_for(
                column,
                is_binary=column.name.lower() in overrides.binary and column.kind in TEXT_KINDS,
                shift_s=overrides.shift_s if is_listed else 0,
                dialect=dialect,
            )
            self._literals.append(literal)
            if not may_pass and not column.generated:
                self._special.append((index, literal))
        self._dropped = [i for i, column in enumerate(columns) if column.generated]
        places = [schema.columns.index(column) for column in self.written]
        self._is_whole = len(places) == sum(not column.generated for column in schema.columns)
        self._in_order = sorted(range(len(places)), key=places.__getitem__)
        self.is_usual = self._is_whole and places == sorted(places)
        """Whether all of the table's columns come, in its own order."""
        self._not_null_enums = [i for i, column in enumerate(columns) if column.kind == "enum" and not column.nullable]
        self.has_error_values = bool(self._not_null_enums)
        """Whether `error_values` has to be asked."""
        self._loss = loss
        self._table = str(schema.name)
        suspects = suspects_of(columns, table=self._table, trusted=loss.trusted, rules=loss.rules) if loss.tell else []
        self._suspects = [suspect for suspect in suspects if suspect.rule not in MARKS]
        self._marked = [suspect for suspect in suspects if suspect.rule in MARKS]
        self._marks = tuple({mark for suspect in self._marked for mark in MARKS[suspect.rule]})
        self._index = {column.name: i for i, column in enumerate(columns)}
        self._decode = token_decoder(names)
        self._conditions = [self._condition_for(column) for column in columns]
        self._key_columns = frozenset(schema.row_key)
        self._documents = {
            index: (document_condition(column, dialect.version), document_likeness(column))
            for index, column in enumerate(columns)
            if column.kind == "json" and not column.generated
        }
        self.column_list = b", ".join(quote_name(column.name).encode() for column in self.written)
        self.replace_head = b"REPLACE INTO %s (%s) VALUES " % (quote_table(schema.name).encode(), self.column_list)
        self.insert_head = b"INSERT INTO %s (%s) VALUES " % (quote_table(schema.name).encode(), self.column_list)

    def values(self, data: msgspec.Raw) -> bytes:
        """`(v1,v2,…)` for one row image. Raises ShapeError if the image has other columns."""
        tokens = self.tokens(data)
        if self._suspects:
            self._look_at(self._suspects, tokens)
        joined = b""
        if not self._special and not self._dropped:
            joined = b",".join(tokens)
        if not joined or b"\\" in joined or b"[" in joined or b"{" in joined or b"E-" in joined:
            joined = b""  # one copy less of a large row
            joined = b",".join(self._written_literals(tokens))
        for mark in self._marks:
            if mark in joined:
                self._look_at(self._marked, tokens)
        return b"(" + joined + b")"

    def statement(self, head: bytes, data: msgspec.Raw, tail: bytes = b"") -> bytes:
        """`head`, the VALUES list of one row and `tail`. Of a large row nothing else is held meanwhile."""
        if len(data) < LARGE_BYTES:
            return head + self.values(data) + tail
        sql = io.BytesIO()
        sql.write(head)
        self._write_values(sql.write, data)
        sql.write(tail)
        return sql.getvalue()  # shares the buffer

    def row_id(self, data: msgspec.Raw) -> bytes:
        """Equal for equal rows: the VALUES list in the table's order, or a digest of a large one."""
        if not self.is_usual:
            # Of sources that are merged, one may have the columns in another order, or more of them.
            literals = self._written_literals(self.tokens(data))
            row = b"(" + b",".join(literals[at] for at in self._in_order) + b")"
            if self._is_whole:
                return row
            return b",".join(quote_name(self.written[at].name).encode() for at in self._in_order) + row
        if len(data) < LARGE_BYTES:
            return self.values(data)
        digest = hashlib.sha256()
        self._write_values(digest.update, data)
        return digest.digest()

    def _write_values(self, write: WritePiece, data: msgspec.Raw) -> None:
        tokens = self.tokens(data)
        self._look_at(self._suspects, tokens)
        self._look_at(self._marked, tokens)
        mark = b"("
        for index, (literal, token) in enumerate(zip(self._literals, tokens, strict=True)):
            if index not in self._dropped:
                write(mark)
                try:
                    write_literal(write, literal, token)
                except PlanError as exc:
                    raise _of_column(self.columns[index].name, exc) from exc
                mark = b","
        write(b")")

    def error_values(self, data: msgspec.Raw) -> int:
        """How many ENUM columns hold their error value '' (index 0), which strict mode refuses to write."""
        if not self._not_null_enums:
            return 0
        tokens = self.tokens(data)
        return sum(bytes(tokens[index]) == NULL for index in self._not_null_enums)

    def _look_at(self, suspects: list[SuspectColumn], tokens: Tokens) -> None:
        for suspect in tuple(suspects):
            why = suspect.rule(suspect.column, bytes(tokens[suspect.place]))
            if why is None:
                continue
            text = f"{self._table}.{suspect.column.name}: {why}"
            if self._loss.refuse:
                raise LossyValueError(f"{text} (lossy_values; if the values are known to be right: trusted_columns)")
            if self._loss.tell is not None:
                self._loss.tell(text)
            suspects.remove(suspect)  # said once, then no longer looked at

    def literals(self, data: msgspec.Raw) -> tuple[bytes, ...]:
        """The literal of each column in `columns`, generated ones too."""
        return tuple(self._all_literals(self.tokens(data)))

    def _all_literals(self, tokens: Tokens) -> list[bytes]:
        try:
            return [literal(bytes(token)) for literal, token in zip(self._literals, tokens, strict=True)]
        except PlanError:
            for column, literal, token in zip(self.columns, self._literals, tokens, strict=True):
                try:
                    literal(bytes(token))
                except PlanError as exc:
                    raise _of_column(column.name, exc) from exc
            raise

    def tokens(self, data: msgspec.Raw) -> tuple[msgspec.Raw, ...]:
        """The JSON token of each column in `columns`. Raises ShapeError if the image has other columns."""
        try:
            return self._decode(data)
        except msgspec.ValidationError as exc:
            raise ShapeError(str(exc)) from exc

    def _written_literals(self, tokens: tuple[msgspec.Raw, ...]) -> list[bytes]:
        values = self._all_literals(tokens)
        for index in reversed(self._dropped):
            del values[index]
        return values

    def where_row(self, data: msgspec.Raw, *, uses_key: bool = False) -> bytes:
        """A condition that is true for rows equal to this image, byte for byte and NULL-safe. With `uses_key` it is for
        one row that is found by its key: nothing else has to be fit for an index, and it is shorter."""
        parts, documents = [], []
        tokens = self.tokens(data)
        for index, (column, condition, literal) in enumerate(
            zip(self.columns, self._conditions, self._literals, strict=True)
        ):
            if column.generated:  # decided by the others
                continue
            raw = bytes(tokens[index])
            name = quote_name(column.name).encode()
            try:
                if raw == NULL and (column.nullable or column.kind not in ("enum", "json")):
                    parts.append(name + b" IS NULL")
                elif index in self._documents:
                    documents.append(self._documents[index][0](name, literal(raw)))
                elif uses_key and column.charset in _AS_SENT and column.name not in self._key_columns:
                    parts.append(b"CAST(%s AS BINARY) = %s" % (name, literal(raw)))
                else:
                    parts.append(condition(name, literal(raw), raw))
            except PlanError as exc:
                raise _of_column(column.name, exc) from exc
        return b" AND ".join((*parts, *documents))  # documents are read last, they cost most

    @functools.cached_property
    def compared(self) -> bytes:
        """`(a,CAST(b AS BINARY),…)`, which is `<=>` the `values` of exactly those rows that `where_row` finds; empty
        where a column needs another comparison."""
        names = []
        for index, column in enumerate(self.columns):
            if column.generated:
                continue
            if index in self._documents or column.kind in _COMPARED_APART or index in self._not_null_enums:
                return b""
            name = quote_name(column.name).encode()
            if column.charset in _AS_SENT:
                name = b"CAST(%s AS BINARY)" % name
            elif column.charset not in (None, "binary") and column.kind in TEXT_KINDS | {"enum", "set"}:
                return b""
            names.append(name)
        return b"(%s)" % b",".join(names)

    def nearest_first(self, data: msgspec.Raw) -> bytes:
        """` ORDER BY …` for a deletion of some of the rows that `where_row` finds; empty if these are all alike."""
        if not self._documents or len(data) >= LARGE_BYTES:  # the statement is long enough
            return b""
        tokens = self.tokens(data)
        found = []
        for index, (_, likeness) in self._documents.items():
            column, raw = self.columns[index], bytes(tokens[index])
            if raw != NULL or not column.nullable:
                found.append(b"(%s)" % likeness(quote_name(column.name).encode(), self._literals[index](raw)))
        return b" ORDER BY " + b" + ".join(found) + b" DESC" if found else b""

    def respelled(self, data: msgspec.Raw, former: msgspec.Raw) -> list[tuple[str, bytes]]:
        """Columns with documents that MySQL would keep as they were in `former`, since it holds both for one, each with
        the condition that its row still has it so."""
        before = {name.lower(): bytes(token) for name, token in read_image(former).items()}
        found = []
        tokens = self.tokens(data)
        for index, (condition, likeness) in self._documents.items():
            column, token = self.columns[index], bytes(tokens[index])
            was = before.get(column.name.lower(), NULL)
            if column.native_json and NULL not in (was, token) and are_spelled_apart(was, token):
                name, literal = quote_name(column.name).encode(), self._literals[index](token)
                is_so = b"(%s AND NOT (%s))" % (condition(name, literal), likeness(name, literal))
                found.append((column.name, is_so))
        return found

    def key_literals(self, data: msgspec.Raw, columns: tuple[str, ...]) -> tuple[bytes, ...]:
        """What these key columns (names as the target spells them) are compared with to find the row."""
        tokens = self.tokens(data)
        found = []
        for name in columns:
            index = self._index[name]
            token = bytes(tokens[index])
            is_float = self.columns[index].kind == "float" and token != NULL
            try:
                found.append(_as_double(token) if is_float else self._literals[index](token))
            except PlanError as exc:
                raise _of_column(name, exc) from exc
        return tuple(found)

    def has_columns(self, columns: tuple[str, ...]) -> bool:
        """Whether all of these are in the image."""
        return all(name in self._index for name in columns)

    def assignments(self, data: msgspec.Raw) -> bytes:
        """`a = 1, b = 2` of all written columns, for UPDATE."""
        literals = self.literals(data)
        return b", ".join(
            quote_name(column.name).encode() + b" = " + literals[self._index[column.name]] for column in self.written
        )

    def _condition_for(self, column: Column) -> Callable[[bytes, bytes, bytes], bytes]:
        kind = column.kind
        if kind == "float":
            return _float_condition
        if kind in TEXT_KINDS | {"enum", "set"} and column.charset not in (None, "binary"):
            return functools.partial(_exact_text_condition, charset=str(column.charset).encode())
        if kind in GEOMETRY_KINDS or kind == "vector":  # MySQL refuses VECTOR = a string (1210)
            return _in_bytes_condition
        return _plain_condition


class ShapeError(PlanError):
    """The row image has other columns than the shape was compiled for."""


def _of_column(name: str, error: PlanError) -> PlanError:
    """What is wrong with a value, with its column."""
    return PlanError(f"column {name!r}: {error}")


def _plain_condition(name: bytes, literal: bytes, token: bytes) -> bytes:
    return name + b" = " + literal


def _exact_text_condition(name: bytes, literal: bytes, token: bytes, *, charset: bytes) -> bytes:
    # The first part can use an index; the second tells 'a' from 'A' and 'x' from 'x ', which a collation may not.
    return b"%s = %s AND CAST(%s AS BINARY) = CAST(CONVERT(%s USING %s) AS BINARY)" % (
        name,
        literal,
        name,
        literal,
        charset,
    )


def _float_condition(name: bytes, literal: bytes, token: bytes) -> bytes:
    return name + b" = " + _as_double(token)


def _as_double(token: bytes) -> bytes:
    bits = float_bits(token)
    return bits if b"e" in bits else bits + b"e0"


def _in_bytes_condition(name: bytes, literal: bytes, token: bytes) -> bytes:
    return b"CAST(%s AS BINARY) = CAST(%s AS BINARY)" % (name, literal)


MET = "@pydbsync_met"
_COMPARED_APART = GEOMETRY_KINDS | {"float", "vector", "json"}
_AS_SENT = frozenset({"ascii", "utf8", "utf8mb3", "utf8mb4"})
"""Character sets whose bytes are those of the statement, so that a text is equal to the literal's bytes."""
