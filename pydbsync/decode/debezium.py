"""Debezium's JSON for MySQL and MariaDB: the envelope, with its schema or without, and messages about schema changes.

Source: https://debezium.io/documentation/reference/stable/connectors/mysql.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from pydbsync.decode import spoken
from pydbsync.decode.debezium_values import (
    BINARY_READERS,
    ReadField,
    is_binary,
    null_or,
    reader_of_column,
    reader_of_field,
)
from pydbsync.decode.spoken import DefinitionOf, LeavesOut
from pydbsync.errors import DecodeError
from pydbsync.model import NO_JSON, Column, TableName


class _Outer(msgspec.Struct):
    schema: msgspec.Raw = NO_JSON
    payload: msgspec.Raw = NO_JSON


_decode = msgspec.json.Decoder().decode
_decode_outer = msgspec.json.Decoder(_Outer).decode
_TOMBSTONES: Final = (b"", b"null", b"default")
"""A record without a value; the last is what Debezium Server's RabbitMQ sink sends for one (its null.value)."""
_MOST_READERS: Final = 1000
_LAP: Final = 2**32
_HALF_LAP: Final = 2**31
_KINDS: Final = {"c": "insert", "u": "update", "d": "delete", "r": "bootstrap-insert"}
_DDL_KINDS: Final = {"CREATE": "table-create", "ALTER": "table-alter", "DROP": "table-drop"}


class DebeziumTranslator:
    """Translates the messages of one connector, in order.

    Values whose meaning the schema in the message names are read by it. Without one the columns are those that the
    connector's own messages about schema changes told last, else those of the target's table.
    """

    def __init__(
        self,
        columns_of: DefinitionOf,
        *,
        leaves_out: LeavesOut,
        decimals: str = "precise",
        times: str = "adaptive_time_microseconds",
        binaries: str = "bytes",
        has_tables: bool = False,
        last_place: Callable[[], tuple[str, int]] = lambda: ("", 0),
    ) -> None:
        """`decimals`, `times` and `binaries` are the connector's decimal.handling.mode, time.precision.mode and
        binary.handling.mode; the first two matter only where messages have no schema. `has_tables`: the target has
        tables, whose columns say what is binary; one that is not there yet says nothing.
        `last_place`: binlog file and offset of what was applied last."""
        self._columns_of = columns_of
        self._leaves_out = leaves_out
        self._has_tables = has_tables
        self._binary = BINARY_READERS[binaries]
        self._is_bytes = binaries == "bytes"
        self._decimals = decimals
        self._times = times
        self._told: dict[TableName, Mapping[str, Column]] = {}
        self._readers: dict[tuple[TableName, bytes], _Readers] = {}
        self._last_place = last_place
        self._last: tuple[str, int] | None = None
        """Binlog file and offset of the last message."""

    def __call__(self, body: bytes) -> list[bytes]:
        """See spoken.Translate."""
        if body.strip() in _TOMBSTONES:
            return []  # the deletion came before it
        try:
            outer = _decode_outer(body)
            payload = _decode(body if outer.payload is NO_JSON else outer.payload)
        except msgspec.ValidationError as exc:
            raise DecodeError("the message is not one of Debezium: it is no object") from exc
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise DecodeError(f"the message is not JSON: {exc}") from exc
        if payload is None:
            return []
        schema = b"" if outer.payload is NO_JSON or bytes(outer.schema) == b"null" else bytes(outer.schema)
        try:
            return self._translate(payload, schema)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
            raise DecodeError(f"the message is not one of Debezium's for MySQL: {exc!r}") from exc

    def _translate(self, payload: dict[str, Any], schema: bytes) -> list[bytes]:
        if "op" in payload and "source" in payload:
            return self._row(payload, schema)
        if "ddl" in payload:
            return self._schema_change(payload)
        if payload.get("status") in ("BEGIN", "END") or (payload and set(payload) <= {"ts_ms", "ts_us", "ts_ns"}):
            return []  # where a transaction begins and ends; the connector's own heartbeat
        raise DecodeError(
            "the message is no envelope of Debezium (op, source, before, after) and none about a schema change:"
            " leave transforms such as ExtractNewRecordState out"
        )

    # -- rows --------------------------------------------------------------------------------------------------------

    def _row(self, payload: dict[str, Any], schema: bytes) -> list[bytes]:
        source, op = payload["source"], payload["op"]
        table = TableName(source["db"], source["table"] or "")
        if op == "m":
            return []
        if op == "t":
            sql = f"TRUNCATE TABLE {_quoted(table.database)}.{_quoted(table.table)}"
            return [spoken.schema_message("table-alter", table, sql, **self._place(source))]
        if op not in _KINDS:
            raise DecodeError(f"the message has the unknown operation {op!r}")
        before, after = payload.get("before"), payload.get("after")
        image = before if op == "d" else after
        if image is None:
            raise DecodeError(f"the row has no image {'before' if op == 'd' else 'after'} its change")
        values = self._values(table, schema)
        old = None
        if op == "u":
            if before is None:
                raise DecodeError(
                    "the update has no image before its change: the connector needs binlog_row_image FULL"
                )
            changed = {name: value for name, value in before.items() if value != image.get(name)}
            old = {name: values(name)(value) for name, value in changed.items()}
        data = {name: values(name)(value) for name, value in image.items()}
        if any("``" in name for name in data):  # the connector takes a name in a DDL as it is quoted there
            data, old = _unquoted(data), _unquoted(old or {})
        is_snapshot = op == "r" or _is_of_snapshot(source)
        return [
            spoken.row_message(
                "bootstrap-insert" if is_snapshot else _KINDS[op], table, data, old,
                ts=int(source["ts_ms"]) // 1000,
                thread_id=source.get("thread"),
                **({} if is_snapshot else {**self._place_of_row(source, op), "server_id": source.get("server_id")}),
            )
        ]  # fmt: skip

    def _values(self, table: TableName, schema: bytes) -> Callable[[str], ReadField]:
        """What reads the values of a row, by column; made once for a table, its schema's text and its columns."""
        key = (table, schema)
        at_target = self._columns_of(table)
        columns = self._told.get(table) or at_target
        readers = self._readers.get(key)
        if readers is None or readers.columns is not columns or readers.at_target is not at_target:
            if len(self._readers) >= _MOST_READERS:
                self._readers.clear()
            readers = self._readers[key] = _Readers(self._maker(table, schema, columns), columns, at_target)
        return readers.__getitem__

    def _maker(
        self, table: TableName, schema: bytes, columns: Mapping[str, Column] | None
    ) -> Callable[[str], ReadField]:
        if schema:
            fields = {
                column["field"]: column
                for part in _decode(schema)["fields"]
                if part["field"] in ("before", "after")
                for column in part["fields"]
            }
            return lambda name: self._by_schema(fields[name], table, columns)
        if columns is None:
            raise DecodeError(
                f"{table} has no table at the target and no message has told its columns: without its schema in the"
                " message (value.converter.schemas.enable) nothing tells what the values mean"
            )
        at_target = self._columns_of(table)
        return lambda name: self._by_column(
            spoken.column_in(columns, name), name, is_document=spoken.is_document(spoken.column_in(at_target, name))
        )

    def _by_column(self, column: Column | None, name: str, *, is_document: bool) -> ReadField:
        """`is_document`: the target's column is JSON, which a MariaDB has as text."""
        if column is None:
            raise DecodeError(
                f"the column {name!r} is none of the target's table, so that nothing tells what its value is"
            )
        return reader_of_column(
            column, decimals=self._decimals, times=self._times, binary=self._binary, is_document=is_document
        )

    def _by_schema(self, field: dict[str, Any], table: TableName, columns: Mapping[str, Column] | None) -> ReadField:
        name, column_name = field.get("name"), field["field"]
        column = spoken.column_in(columns, column_name)
        at_target = spoken.column_in(self._columns_of(table), column_name)
        if field["type"] == "string" and not name and spoken.is_document(at_target):
            return null_or(spoken.document)  # a MariaDB has JSON as text
        if field["type"] == "string" and not name and columns is None and self._has_tables and not self._is_bytes:
            raise DecodeError(
                f"{table} has no table at the target and no message has told its columns: nothing tells whether"
                f" {column_name!r} is text or binary"
            )
        if field["type"] == "string" and not name and (is_binary(column) or is_binary(at_target)):
            if self._is_bytes:
                raise DecodeError(
                    f"{column_name!r} is binary at the target and comes as text: set binary.handling.mode in"
                    " debezium_modes as the connector has it, or give the column a type of text"
                )
            return null_or(self._binary)
        return reader_of_field(field, column)

    # -- schema changes ----------------------------------------------------------------------------------------------

    def _schema_change(self, payload: dict[str, Any]) -> list[bytes]:
        source = payload["source"]
        changes = payload.get("tableChanges") or []
        for change in changes:
            self._learn(change)
        if _is_of_snapshot(source):
            return []  # how the connector found the tables; DROP TABLE IF EXISTS stands among it
        sql, place = payload["ddl"], self._place(source)
        database = payload.get("databaseName") or source.get("db") or ""
        tables = [(_DDL_KINDS.get(each["type"], "table-alter"), _table_of(each["id"])) for each in changes]
        if not tables:
            if self._leaves_out(sql):
                return []
            for name in filter(None, str(source.get("table") or "").split(",")):
                self._told.pop(TableName(database, name), None)
            return [spoken.schema_message(*_statement_about(sql, database, source.get("table") or ""), sql, **place)]
        return [spoken.schema_message(kind, table, sql, **place) for kind, table in tables]

    # -- places ------------------------------------------------------------------------------------------------------

    def _place(self, source: dict[str, Any]) -> dict[str, Any]:
        file = source.get("file")
        position = f"{file}:{self._offset(file, int(source['pos']))}" if file else None
        return {"ts": int(source["ts_ms"]) // 1000, "position": position, "gtid": source.get("gtid") or None}

    def _place_of_row(self, source: dict[str, Any], op: str) -> dict[str, Any]:
        """An update of a key comes as the deletion of the old row and the creation of the new one, both with its
        number."""
        place = self._place(source)
        del place["ts"]
        if place["position"] is None:
            return place
        return {**place, "xoffset": 2 * int(source["row"]) + (op == "c")}

    def _offset(self, file: str, pos: int) -> int:
        """An event's header holds the lower 32 bits of its offset alone. In a file that is longer, by one transaction,
        it is the offset nearest to that of the message before, or to that which was applied last."""
        last = self._last or self._last_place()
        if last[0] == file:
            pos += max(0, (last[1] - pos + _HALF_LAP) // _LAP) * _LAP
        self._last = (file, pos)
        return pos

    def _learn(self, change: dict[str, Any]) -> None:
        name = _table_of(change["id"])
        table = change.get("table")
        if change["type"] == "DROP" or not table:
            self._told.pop(name, None)
            return
        self._told[name] = {column["name"]: _told_column(column) for column in table["columns"]}


class _Readers(dict[str, ReadField]):
    """What reads the values of each column, made when the column first comes."""

    def __init__(
        self,
        make: Callable[[str], ReadField],
        columns: Mapping[str, Column] | None,
        at_target: Mapping[str, Column] | None,
    ) -> None:
        super().__init__()
        self._make = make
        self.columns = columns
        self.at_target = at_target

    def __missing__(self, name: str) -> ReadField:
        reader = self[name] = self._make(name)
        return reader


def _unquoted_label(quoted: str) -> str:
    return quoted[1:-1].replace("''", "'") if quoted[:1] == quoted[-1:] == "'" else quoted


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _is_of_snapshot(source: dict[str, Any]) -> bool:
    return str(source.get("snapshot", "false")) not in ("false", "None", "")


def _table_of(identifier: str) -> TableName:
    r"""`"db"."t"` as a name.

    >>> _table_of('"c_ident db.1"."a+b"')
    TableName(database='c_ident db.1', table='a+b')
    """
    database, _, table = identifier.partition('"."')
    return TableName(database.removeprefix('"').replace('""', '"'), table.removesuffix('"').replace('""', '"'))


def _statement_about(sql: str, database: str, table: str) -> tuple[str, TableName]:
    if (about := spoken.database_kind(sql)) is not None:
        return about, TableName(database, "")
    verb, thing, *_ = [*sql.upper().split(None, 2), "", ""]
    kind = {"CREATE": "table-create", "DROP": "table-drop"}.get(verb if thing == "TABLE" else "", "table-alter")
    return kind, TableName(database, table.partition(",")[0])


def _told_column(column: dict[str, Any]) -> Column:
    words = str(column["typeName"]).lower().split()
    kind = {"integer": "int", "numeric": "decimal", "dec": "decimal", "fixed": "decimal", "bool": "tinyint",
            "boolean": "tinyint", "real": "double"}.get(words[0], words[0])  # fmt: skip
    if column.get("charsetName") == "binary":
        kind = {"char": "binary", "varchar": "varbinary"}.get(kind, kind.replace("text", "blob"))
    length = column.get("length")
    return Column(
        name=column["name"], kind=kind, unsigned="unsigned" in words, size=length,
        labels=tuple(map(_unquoted_label, column.get("enumValues") or ())),
        column_type=f"decimal({length or 10},{column.get('scale') or 0})" if kind == "decimal" else "",
        digits=(length or 0) if kind in ("datetime", "time", "timestamp") else 0,
    )  # fmt: skip


def _unquoted(image: dict[str, object]) -> dict[str, object]:
    return {name.replace("``", "`"): value for name, value in image.items()}


# -- values ----------------------------------------------------------------------------------------------------------
