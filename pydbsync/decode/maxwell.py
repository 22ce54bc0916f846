"""Maxwell's JSON, decoded once at the border into a frozen change."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal, get_args

import msgspec

from pydbsync.errors import DecodeError
from pydbsync.model import NO_JSON, Change, Marker, RowChange, SchemaChange, SchemaKind, Seconds, SessionSettings


class _SchemaBody(msgspec.Struct):
    kind: SchemaKind = msgspec.field(name="type")
    database: str
    ts: Annotated[int, msgspec.Meta(ge=0, lt=2**32 * 1000)]
    """In milliseconds here, always whole seconds."""
    sql: str
    table: str | None = None
    old: msgspec.Raw = NO_JSON
    def_: msgspec.Raw = msgspec.field(name="def", default=NO_JSON)
    charset: str | None = None
    position: str | None = None
    gtid: str | None = None
    session: SessionSettings | None = None


class _MarkerMessage(msgspec.Struct):
    kind: Literal["bootstrap-start", "bootstrap-complete"] = msgspec.field(name="type")
    database: str
    table: str
    ts: Seconds


class _AnyMessage(msgspec.Struct):
    type: str


_decode_row = msgspec.json.Decoder(RowChange).decode
_decode_schema = msgspec.json.Decoder(_SchemaBody).decode
_decode_marker = msgspec.json.Decoder(_MarkerMessage).decode
_decode_any = msgspec.json.Decoder(_AnyMessage).decode

_PIECE_BYTES = 1 << 20
_SCHEMA_KINDS = frozenset(get_args(SchemaKind))
_TOO_DEEP = "the message nests lists and objects deeper than MySQL's JSON can"
_MARKER_KINDS = frozenset({"bootstrap-start", "bootstrap-complete"})
_ROW_KINDS = frozenset({"insert", "update", "delete", "bootstrap-insert"})


def decode_message(body: bytes) -> Change:
    """The change that one message of Maxwell's data format tells.

    Fields that are unknown here are left alone. Raises DecodeError with the reason for everything else: invalid
    UTF-8 or JSON, an unknown type, a missing field or one of another type.
    """
    (change,) = decode_changes(body)
    return change


def decode_changes(body: bytes) -> tuple[Change, ...]:
    """The same as the engine asks for it: one message of Maxwell tells one change."""
    # msgspec does not look inside the JSON that it hands on as Raw, and a byte that is no UTF-8 would reach the target.
    if not body.isascii():
        _check_utf8(body)
    try:
        return (_decode_row(body),)
    except msgspec.MsgspecError as exc:
        return (_decode_rarer(body, exc),)
    except RecursionError as exc:
        raise DecodeError(_TOO_DEEP) from exc


def _check_utf8(body: bytes) -> None:
    if len(body) <= _PIECE_BYTES:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DecodeError(f"the message is not UTF-8: byte {body[exc.start]:#04x} at {exc.start}") from exc
        return
    # One emoji makes the text of a large message four times as large as the message.
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _PIECE_BYTES):
        end = min(start + _PIECE_BYTES, len(body))
        try:
            decode(body[start:end], end == len(body))
        except UnicodeDecodeError as exc:
            at = end - len(exc.object) + exc.start
            raise DecodeError(f"the message is not UTF-8: byte {body[at]:#04x} at {at}") from exc


def _check_names(database: str, table: str | None) -> None:
    """A name that no identifier can be would end the worker where it is quoted, at each redelivery again."""
    for name in (database, *(() if table is None else (table,))):
        if not name or "\0" in name:
            raise DecodeError(f"the message names a database or table {name!r}, which nothing can be called")


def _decode_rarer(body: bytes, row_error: msgspec.MsgspecError) -> Change:
    try:
        kind = _decode_any(body).type
        if kind in _SCHEMA_KINDS:
            message = _decode_schema(body)
            _check_names(message.database, message.table)
            return SchemaChange(
                kind=message.kind,
                database=message.database,
                table=message.table,
                ts=message.ts // 1000,
                sql=message.sql,
                old=message.old,
                def_=message.def_,
                charset=message.charset,
                position=message.position,
                gtid=message.gtid,
                session=message.session,
            )
        if kind in _MARKER_KINDS:
            marker = _decode_marker(body)
            _check_names(marker.database, marker.table)
            return Marker(kind=marker.kind, database=marker.database, table=marker.table, ts=marker.ts)
    except msgspec.ValidationError as exc:
        raise DecodeError(f"the message is not of Maxwell's data format: {exc}") from exc
    except msgspec.DecodeError as exc:
        raise DecodeError(f"the message is not JSON: {exc}") from exc
    except RecursionError as exc:
        raise DecodeError(_TOO_DEEP) from exc
    if kind in _ROW_KINDS:
        raise DecodeError(f"the message is not of Maxwell's data format: {row_error}") from row_error
    raise DecodeError(f"the message has the unknown type {kind!r}") from row_error
