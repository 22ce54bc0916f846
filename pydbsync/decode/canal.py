"""canal's flat messages: all values as text, with the type of each column as MySQL spells it.

Source: FlatMessage.java, LogEventConvert.java of https://github.com/alibaba/canal
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import zoneinfo
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from pydbsync.decode import spoken
from pydbsync.decode.spoken import DefinitionOf, LeavesOut
from pydbsync.errors import DecodeError
from pydbsync.model import BYTES_KINDS, FLOAT_KINDS, GEOMETRY_KINDS, INTEGER_KINDS, TEXT_KINDS, TableName

_ReadText: TypeAlias = Callable[[str], object]


class _CanalMessage(msgspec.Struct):
    database: str
    type: str
    table: str | None = None
    is_ddl: bool = msgspec.field(name="isDdl", default=False)
    es: int = 0
    """When the source executed it, in milliseconds."""
    sql: str | None = None
    types: dict[str, str] | None = msgspec.field(name="mysqlType", default=None)
    data: list[dict[str, str | None]] | None = None
    old: list[dict[str, str | None]] | None = None


_decode = msgspec.json.Decoder(_CanalMessage).decode
_ROWS: Final = {"INSERT": "insert", "UPDATE": "update", "DELETE": "delete"}
_match_type = re.compile(r"\s*([a-z]+)\s*(?:\((.*)\))?(.*)", re.IGNORECASE | re.DOTALL).fullmatch
_find_labels = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL).findall


class CanalTranslator:
    """Translates flat messages. They carry no place in the binlog, so that all that comes again is applied again."""

    def __init__(self, time_zone: str = "UTC", *, columns_of: DefinitionOf, leaves_out: LeavesOut) -> None:
        """`time_zone` is that of canal's Java, in which it writes TIMESTAMP."""
        self._columns_of = columns_of
        self._leaves_out = leaves_out
        self._zone = None if time_zone == "UTC" else zoneinfo.ZoneInfo(time_zone)

    def __call__(self, body: bytes) -> list[bytes]:
        """See spoken.Translate."""
        try:
            message = _decode(body)
        except msgspec.ValidationError as exc:
            raise DecodeError(f"the message is no flat message of canal: {exc}") from exc
        except (msgspec.DecodeError, RecursionError) as exc:
            raise DecodeError(f"the message is not JSON: {exc}") from exc
        ts = message.es // 1000
        table = TableName(message.database, message.table or "")
        if message.is_ddl:
            return self._statement(message, table, ts)
        kind = _ROWS.get(message.type)
        if kind is None:
            if message.type in ("QUERY", "GTID", "XACOMMIT", "XAROLLBACK") or not message.data:
                return []
            raise DecodeError(f"the message has the unknown type {message.type!r}")
        rows, types = message.data or [], message.types or {}
        olds: list[dict[str, str | None]] = message.old or [] if kind == "update" else []
        if olds and len(olds) != len(rows):
            raise DecodeError(
                f"the message has {len(rows)} rows and the former values of {len(olds)}: canal leaves them out where a"
                " row did not change, and then nothing tells whose they are"
            )
        try:
            columns = self._columns_of(table)
            readers = {
                name: spoken.document if spoken.is_document(spoken.column_in(columns, name)) else self._reader(spelled)
                for name, spelled in types.items()
            }
            return [
                spoken.row_message(kind, table, _image(row, readers), _image(old, readers) if old else None, ts=ts)
                for row, old in zip(rows, olds or [{}] * len(rows), strict=True)
            ]
        except KeyError as exc:
            raise DecodeError(f"the message does not tell the type of the column {exc.args[0]!r} (mysqlType)") from exc
        except (ValueError, OverflowError) as exc:
            raise DecodeError(f"a value of the message cannot be read: {exc}") from exc

    def _statement(self, message: _CanalMessage, table: TableName, ts: int) -> list[bytes]:
        sql = message.sql or ""
        if not sql.strip():
            raise DecodeError("the message is about a schema change but has no statement (sql)")
        if (kind := spoken.database_kind(sql)) is not None:
            return [spoken.schema_message(kind, TableName(_unquoted(table.database), ""), sql, ts=ts)]
        if self._leaves_out(sql):
            return []
        if not table.database:  # 1.1.7 sends so what its parser of SQL cannot read: INVISIBLE columns, SERIAL
            raise DecodeError(
                f"canal could not read the statement, and does not tell its database: {sql.strip()[:200]}"
            )
        return [spoken.schema_message("table-create" if message.type == "CREATE" else "table-alter", table, sql, ts=ts)]

    def _reader(self, spelled: str) -> _ReadText:
        match = _match_type(spelled)
        if match is None:
            raise ValueError(f"{spelled!r} is no type")
        kind, arguments, rest = match[1].lower(), match[2] or "", match[3].strip().lower()
        if kind in _NUMBERS:
            return _number
        if kind in BYTES_KINDS or (kind == "long" and rest.startswith("varbinary")):
            return lambda text: base64.b64encode(text.encode("latin-1")).decode()
        if kind == "timestamp":
            return self._timestamp
        if kind == "bit":
            return int
        if kind == "json":
            return spoken.document
        if kind in ("enum", "set"):
            known = [_label(each) for each in _find_labels(arguments)]
            return _enum_of(known) if kind == "enum" else _set_of(known)
        if kind in GEOMETRY_KINDS:
            return lambda text: spoken.shape((raw := text.encode("latin-1"))[4:], int.from_bytes(raw[:4], "little"))
        if kind == "long" or (kind in _LONG_TEXTS and arguments):
            return lambda text: text.encode("latin-1").decode("utf-8")  # 1.1.7 takes it for a BLOB: TEXT(300)
        if kind not in _TEXTS:
            raise ValueError(f"nothing is known of how canal writes the type {spelled!r}")
        return str

    def _timestamp(self, text: str) -> str:
        if self._zone is None or text.startswith("0000-00-00"):
            return text
        local = dt.datetime.fromisoformat(text.partition(".")[0]).replace(tzinfo=self._zone)
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise ValueError(f"the TIMESTAMP {text} comes twice in {self._zone.key}, at the change of the clocks")
        moment = local.astimezone(dt.timezone.utc).replace(tzinfo=None)
        fraction = text.partition(".")[2]
        return moment.isoformat(sep=" ") + (f".{fraction}" if fraction else "")


_NUMBERS: Final = INTEGER_KINDS | FLOAT_KINDS | {
    "decimal", "numeric", "dec", "fixed", "year", "real", "float4", "float8", "bool", "boolean", "serial", "integer",
    "middleint", "int1", "int2", "int3", "int4", "int8",
}  # fmt: skip
_LONG_TEXTS: Final = frozenset({"tinytext", "text", "mediumtext", "longtext"})
_TEXTS: Final = TEXT_KINDS | {
    "date", "datetime", "time", "character", "varcharacter", "national", "nchar", "nvarchar",
}  # fmt: skip
"""What comes as it is, by all names that a statement can have for it."""
_match_number = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch


def _image(row: dict[str, str | None], readers: dict[str, _ReadText]) -> dict[str, object]:
    return {name: None if value is None else readers[name](value) for name, value in row.items()}


def _number(text: str) -> object:
    if _match_number(text) is None:
        raise ValueError(f"{text[:40]!r} is no number")
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole = digits.lstrip("0")
    return spoken.number(sign + (whole if whole[:1].isdigit() else "0" + whole))


def _unquoted(name: str) -> str:
    """CREATE and DROP DATABASE `name` have it in the statement's backticks (1.1.7); all other messages have not."""
    return name[1:-1].replace("``", "`") if len(name) > 2 and name[0] == name[-1] == "`" else name


def _label(quoted: str) -> str:
    return quoted.replace("''", "'").replace("\\\\", "\\")


def _enum_of(known: list[str]) -> _ReadText:
    def enum(text: str) -> object:
        if not text.isdecimal():
            return text
        index = int(text)
        if index == 0:
            return 0  # the error value, whose text is that of no label
        if index > len(known):
            raise ValueError(f"an ENUM has no label number {index}")
        return known[index - 1]

    return enum


def _set_of(known: list[str]) -> _ReadText:
    def members(text: str) -> object:
        if not text.isdecimal():
            return spoken.labels(text)
        mask = int(text)
        if mask >> len(known):
            raise ValueError(f"a SET has no labels for {mask}")
        return [label for bit, label in enumerate(known) if mask >> bit & 1]

    return members
