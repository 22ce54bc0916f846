"""Which function reads which column of a row image: the binlog's type and the column's definition decide.

mysql-replication decodes rows as well, into Python objects. It is not used for that here because it loses what a
copy needs: zero and partial dates become None, character sets go through Python's codecs, a geometry stays bytes.
"""

from __future__ import annotations

import binascii
import struct
import uuid
import zlib
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from pydbsync.decode.geometry import read_geometry
from pydbsync.errors import OperationError
from pydbsync.model import Column
from pydbsync.ops.capture.binlog.wires import (
    BIT,
    BLOB,
    BLOB_COMPRESSED,
    DATE,
    DATETIME,
    DATETIME2,
    DOUBLE,
    ENUM,
    FLOAT,
    GEOMETRY,
    INT24,
    JSON,
    LONG,
    LONGLONG,
    NEWDATE,
    NEWDECIMAL,
    SET,
    SHORT,
    STRING,
    TIME,
    TIME2,
    TIMESTAMP,
    TIMESTAMP2,
    TINY,
    VAR_STRING,
    VARCHAR,
    VARCHAR_COMPRESSED,
    VECTOR,
    YEAR,
    Wire,
)
from pydbsync.ops.capture.charsets import DecodeText
from pydbsync.ops.capture.rows import temporal
from pydbsync.ops.capture.rows.jsonb import read_json
from pydbsync.ops.capture.rows.numbers import decimal_reader, decimal_size, java_double, java_float
from pydbsync.ops.capture.rows.temporal import ReadColumn
from pydbsync.ops.capture.text import quote, quote_ascii


class JsonNull(str):
    """The token of JSON's own null: printed like SQL's NULL, yet a change from one to the other is a change."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is self

    def __ne__(self, other: object) -> bool:
        return other is not self

    __hash__ = str.__hash__


_LARGE_BYTES: Final = 2**20
NULL: Final = "null"
JSON_NULL: Final = JsonNull("null")
_check_json = msgspec.json.Decoder(msgspec.Raw).decode

Raw: TypeAlias = "bytes | memoryview"
"""A value as the binlog has it; a view where it is large."""


def fixed_format(wire: Wire, column: Column) -> str | None:
    """The struct format of an integer column, so that neighbours are read in one call; None for all else."""
    formats = {TINY: "b", SHORT: "h", LONG: "i", LONGLONG: "q"}
    found = formats.get(wire.kind)
    return found.upper() if found and column.unsigned else found


def column_reader(
    wire: Wire, column: Column, decode: DecodeText | None, *, has_ascii: bool = False, with_srid: bool = False
) -> ReadColumn:
    """The reader of one column; `decode` turns its bytes into text, None says that they are no text. `has_ascii` says
    that bytes below 128 are ASCII in the column's character set.

    Raises OperationError for a type that is not known, naming the column.
    """
    kind = wire.kind
    if kind in _PLAIN:
        return _PLAIN[kind]
    if (number := fixed_format(wire, column)) is not None:
        return _number(number)
    if kind == INT24:
        return _int24(signed=not column.unsigned)
    if kind == NEWDECIMAL:
        return _spelled(decimal_size(wire.precision, wire.scale), decimal_reader(wire.precision, wire.scale))
    if kind in _WITH_DIGITS:
        return _WITH_DIGITS[kind](wire.precision)
    if kind == BIT:
        return _big_endian(wire.size)
    if kind == ENUM:
        return _enum(wire.size, column.labels)
    if kind == SET:
        return _set(wire.size, column.labels)
    if kind == STRING and column.kind in _FIXED_TEXT:
        return _sized(wire.size, _FIXED_TEXT[column.kind])
    if kind in (VARCHAR, VAR_STRING, STRING, BLOB, VECTOR):
        return _sized(wire.size, _token_of(column, decode, has_ascii))
    if kind in (BLOB_COMPRESSED, VARCHAR_COMPRESSED):
        token = _token_of(column, decode, has_ascii)
        return _sized(wire.size, lambda raw: token(decompress_column(raw)))
    if kind == JSON:
        return _sized(wire.size, _mysql_json)
    if kind == GEOMETRY:
        return _sized(wire.size, lambda raw: f'"{read_geometry(bytes(raw), with_srid=with_srid)}"')
    raise OperationError(f"column {column.name} has the binlog type {kind}, which capture does not know")


def _number(code: str) -> ReadColumn:
    packed = struct.Struct("<" + code)
    unpack, size = packed.unpack_from, packed.size

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        tokens += unpack(row, at)
        return at + size

    return read


def numbers_reader(codes: str) -> ReadColumn:
    """Neighbouring integer columns in one call; `codes` as for struct."""
    return _number(codes)


def _int24(*, signed: bool) -> ReadColumn:
    def read(row: bytes, at: int, tokens: list[object]) -> int:
        tokens.append(int.from_bytes(row[at : at + 3], "little", signed=signed))
        return at + 3

    return read


def _big_endian(size: int) -> ReadColumn:
    def read(row: bytes, at: int, tokens: list[object]) -> int:
        tokens.append(int.from_bytes(row[at : at + size], "big"))
        return at + size

    return read


def _spelled(size: int, spell: Callable[[bytes], str]) -> ReadColumn:
    def read(row: bytes, at: int, tokens: list[object]) -> int:
        end = at + size
        tokens.append(spell(row[at:end]))
        return end

    return read


def _sized(width: int, token: Callable[[Raw], str]) -> ReadColumn:
    """A value behind its length in `width` bytes."""
    if width == 1:

        def read_short(row: bytes, at: int, tokens: list[object]) -> int:
            at += 1
            end = at + row[at - 1]
            tokens.append(token(row[at:end]))
            return end

        return read_short

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        start = at + width
        end = start + int.from_bytes(row[at:start], "little")
        # A large value is not copied before it is turned into text.
        tokens.append(token(row[start:end] if end - start < _LARGE_BYTES else memoryview(row)[start:end]))
        return end

    return read


def _enum(size: int, labels: tuple[str, ...]) -> ReadColumn:
    # Index 0 is the error value '', which Maxwell prints as null.
    tokens_of = ('""', *(quote(label) for label in labels))

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        end = at + size
        tokens.append(tokens_of[int.from_bytes(row[at:end], "little")])
        return end

    return read


def _set(size: int, labels: tuple[str, ...]) -> ReadColumn:
    tokens_of = tuple(quote(label) for label in labels)

    def read(row: bytes, at: int, tokens: list[object]) -> int:
        end = at + size
        bits = int.from_bytes(row[at:end], "little")
        tokens.append(f"[{','.join(token for index, token in enumerate(tokens_of) if bits >> index & 1)}]")
        return end

    return read


def _token_of(column: Column, decode: DecodeText | None, has_ascii: bool) -> Callable[[Raw], str]:
    if decode is None:
        return _base64
    if column.kind == "json":  # MariaDB's JSON is LONGTEXT that was checked when it was stored
        return lambda raw: _mariadb_json(raw, decode(raw))
    if has_ascii:
        return _quoting(decode)
    return lambda raw: quote(decode(raw))


def _quoting(decode: DecodeText) -> Callable[[Raw], str]:
    """The token of text, with a short way for what nearly all text is."""

    def token(raw: Raw) -> str:
        if type(raw) is bytes and raw.isascii():
            return quote_ascii(str(raw, "ascii"))
        return quote(decode(raw))

    return token


def _base64(raw: Raw) -> str:
    text = str(binascii.b2a_base64(raw, newline=False), "ascii")
    return f'"{text}"'


def _mysql_json(raw: Raw) -> str:
    text = read_json(bytes(raw))
    return JSON_NULL if text == NULL else text


def _mariadb_json(raw: Raw, text: str) -> str:
    try:
        _check_json(raw)
    except msgspec.DecodeError:  # stored while check_constraint_checks was off
        return quote(text)
    return JSON_NULL if text.strip() == NULL else text


def decompress_column(raw: Raw) -> bytes:
    """A value of a MariaDB COMPRESSED column. Source: sql/field.cc of MariaDB, Field_longstr::uncompress."""
    if not raw or not raw[0]:
        return bytes(raw[1:])
    start = 1 + (raw[0] & 7)
    return zlib.decompress(raw[start:], -15 if raw[0] & 8 else 15)


def _inet6(raw: Raw) -> str:
    """As MariaDB writes it, which is not Python's way: an end of IPv4, and `::` for a single zero too.

    Source: Inet6::to_string in sql/sql_type_inet.cc of MariaDB.
    """
    padded = bytes(raw).ljust(16, bytes(1))
    words = struct.unpack(">8H", padded)
    start, length = _longest_zeros(words)
    if start == 0 and (length == 6 or (length == 5 and words[5] == 0xFFFF)):
        return f'"::{"" if length == 6 else "ffff:"}{".".join(map(str, padded[12:]))}"'
    parts = [format(word, "x") for word in words]
    if not length:
        return f'"{":".join(parts)}"'
    return f'"{":".join(parts[:start])}::{":".join(parts[start + length :])}"'


def _longest_zeros(words: Sequence[int]) -> tuple[int, int]:
    """Where the first of the longest runs of zeros begins, and its length."""
    best = begun = (0, 0)
    for index, word in enumerate(words):
        begun = (begun[0], begun[1] + 1) if word == 0 else (index + 1, 0)
        if begun[1] > best[1]:
            best = begun
    return best


def _inet4(raw: Raw) -> str:
    return f'"{".".join(map(str, bytes(raw).ljust(4, bytes(1))))}"'


def _uuid(raw: Raw) -> str:
    return f'"{uuid.UUID(bytes=bytes(raw).ljust(16, bytes(1)))}"'


_FIXED_TEXT: dict[str, Callable[[Raw], str]] = {"inet6": _inet6, "inet4": _inet4, "uuid": _uuid}

_WITH_DIGITS: dict[int, Callable[[int], ReadColumn]] = {
    TIMESTAMP2: temporal.timestamp_reader,
    DATETIME2: temporal.datetime_reader,
    TIME2: temporal.time_reader,
}

_PLAIN: dict[int, ReadColumn] = {
    FLOAT: _spelled(4, java_float),
    DOUBLE: _spelled(8, lambda raw: java_double(struct.unpack("<d", raw)[0])),
    DATE: temporal.read_date,
    NEWDATE: temporal.read_date,
    YEAR: temporal.read_year,
    DATETIME: temporal.read_old_datetime,
    TIMESTAMP: temporal.read_old_timestamp,
    TIME: temporal.read_old_time,
}
