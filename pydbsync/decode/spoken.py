"""What other tools publish, said as Maxwell says it: the words and values that all of them are translated into.

The engine knows one format. A message of another is translated into Maxwell's, one message a changed row, before it is
judged: so what is parked, edited and tried again is of one form, whoever published it.
"""

from __future__ import annotations

import base64
import datetime as dt
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from pydbsync.decode.geometry import read_geometry
from pydbsync.model import Column, SchemaChange, TableName

Translate: TypeAlias = Callable[[bytes], Sequence[bytes]]
"""The body of a delivery → messages of Maxwell's format in order, none where it changes nothing. Raises DecodeError."""

DefinitionOf: TypeAlias = Callable[[TableName], Mapping[str, Column] | None]
"""The columns of the target's table for a table of the source, as they are now; None where there is none."""

SpokenImage: TypeAlias = Mapping[str, object]
"""Column → value, in Maxwell's form."""

LeavesOut: TypeAlias = Callable[[str], bool]
"""Whether a statement changes no table: views, events, users."""

encode = msgspec.json.Encoder().encode
_EPOCH = dt.datetime(1970, 1, 1)


def row_message(
    kind: str,
    table: TableName,
    data: SpokenImage,
    old: SpokenImage | None = None,
    *,
    ts: int,
    position: str | None = None,
    xoffset: int | None = None,
    gtid: str | None = None,
    server_id: int | None = None,
    thread_id: int | None = None,
) -> bytes:
    """A row as Maxwell publishes it; `old` has the former values of what an update has changed."""
    message: dict[str, object] = {"database": table.database, "table": table.table, "type": kind, "ts": ts}
    optional = {
        "xoffset": xoffset, "position": position, "gtid": gtid, "server_id": server_id, "thread_id": thread_id,
        "data": data, "old": old or None,
    }  # fmt: skip
    message.update({name: value for name, value in optional.items() if value is not None})
    return encode(message)


def schema_message(
    kind: str,
    table: TableName,
    sql: str,
    *,
    ts: int,
    position: str | None = None,
    gtid: str | None = None,
    **described: object,
) -> bytes:
    """A statement as Maxwell publishes it; the descriptions of the table before and after where they are given."""
    message: dict[str, object] = {"type": kind, "database": table.database, "sql": sql, "ts": ts * 1000}
    optional = {"table": table.table or None, "position": position, "gtid": gtid, **described}
    message.update({name: value for name, value in optional.items() if value is not None})
    return encode(message)


def message_of(change: SchemaChange) -> bytes:
    """A statement that pydbsync puts in place of another one, as Maxwell would have published it."""
    descriptions = {name: raw for name, raw in (("old", change.old), ("def", change.def_)) if bytes(raw)}
    return schema_message(
        change.kind, TableName(change.database, change.table or ""), change.sql, ts=change.ts,
        position=change.position, gtid=change.gtid, charset=change.charset, **descriptions, session=change.session,
    )  # fmt: skip


def database_kind(sql: str) -> str | None:
    """What Maxwell calls a statement about a whole database; None for any other."""
    verb, thing, *_ = [*sql.upper().split(None, 2), "", ""]
    return (
        f"database-{verb.lower()}" if thing in ("DATABASE", "SCHEMA") and verb in ("CREATE", "ALTER", "DROP") else None
    )


def column_in(columns: Mapping[str, Column] | None, name: str) -> Column | None:
    """The column of this name, however its case is; None where there is none."""
    if columns is None:
        return None
    found = columns.get(name)
    if found is None:
        found = next((column for each, column in columns.items() if each.lower() == name.lower()), None)
    return found


def is_document(column: Column | None) -> bool:
    """Whether what comes as text for the column is a JSON document: a MariaDB has JSON as LONGTEXT, and says so."""
    return column is not None and column.kind == "json"


def document(text: str) -> msgspec.Raw:
    """A JSON document that travelled as text. Raises ValueError if it is none."""
    try:
        msgspec.json.decode(text)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"a JSON document cannot be read: {exc}") from exc
    return msgspec.Raw(text.encode())


def number(digits: str) -> msgspec.Raw:
    """A number as it is spelled, so that no digit is lost on the way."""
    return msgspec.Raw(digits.encode("ascii"))


def unscaled(value: int, scale: int) -> msgspec.Raw:
    """A DECIMAL from its digits and how many of them are behind the point.

    >>> bytes(unscaled(-5, 2))
    b'-0.05'
    """
    sign, digits = ("-" if value < 0 else ""), str(abs(value))
    if scale <= 0:
        return number(sign + digits + "0" * -scale)
    digits = digits.rjust(scale + 1, "0")
    return number(f"{sign}{digits[:-scale]}.{digits[-scale:]}")


def days(value: int) -> str:
    """A DATE from the days since 1970."""
    return (_EPOCH + dt.timedelta(days=value)).date().isoformat()


def moment(microseconds: int) -> str:
    """A DATETIME from the microseconds since 1970."""
    return _spelled(_EPOCH + dt.timedelta(microseconds=microseconds))


def utc(text: str) -> str:
    """A TIMESTAMP in UTC from an ISO 8601 text with its offset. Raises ValueError if it has none."""
    found = dt.datetime.fromisoformat(text.replace("Z", "+00:00") if _is_whole(text) else _padded(text))
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return _spelled(found.astimezone(dt.timezone.utc).replace(tzinfo=None))


def span(microseconds: int) -> str:
    """A TIME, which may be negative or longer than a day.

    >>> span(-3020399000001)
    '-838:59:59.000001'
    """
    sign, rest = ("-" if microseconds < 0 else ""), abs(microseconds)
    seconds, fraction = divmod(rest, 1_000_000)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}" if fraction else text


def bits(raw: bytes) -> int:
    """A BIT from its bytes, the least first."""
    return int.from_bytes(raw, "little")


def labels(text: str) -> list[str]:
    """The labels of a SET; no label has a comma."""
    return text.split(",") if text else []


def shape(wkb: bytes, srid: int) -> str:
    """A geometry from its WKB and the number of its reference system. Raises ValueError if it is none."""
    try:
        return read_geometry(srid.to_bytes(4, "little") + wkb, with_srid=True)
    except (IndexError, OverflowError, struct.error) as exc:
        raise ValueError(f"a geometry cannot be read: {exc}") from exc


def base64_bytes(value: Any) -> bytes:
    """The bytes of a base64 text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no base64 text")
    return base64.b64decode(value, validate=True)


def _spelled(value: dt.datetime) -> str:
    return value.isoformat(sep=" ", timespec="microseconds" if value.microsecond else "seconds")


def _is_whole(text: str) -> bool:
    return "." not in text


def _padded(text: str) -> str:
    """With six digits of fraction, which is all that Python before 3.11 reads."""
    head, _, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    zone = tail[len(digits) :].replace("Z", "+00:00")
    return f"{head}.{digits[:6].ljust(6, '0')}{zone}"
