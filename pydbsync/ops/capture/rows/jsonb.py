"""MySQL's binary JSON as text, the way Maxwell prints it: compact, keys in stored order.

Where Maxwell's text is another document than the source's it is not followed (docs/capture.md lists it): a DOUBLE stays
the same DOUBLE, and DATETIME, TIME and binary values inside JSON have the server's spelling.
Source: https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html
"""

from __future__ import annotations

import base64
import struct
from decimal import Decimal

from pydbsync.ops.capture.rows.numbers import decimal_reader
from pydbsync.ops.capture.text import quote_raw

_LITERALS = ("null", "true", "false")
_INLINE = {5: "<h", 6: "<H", 7: "<i", 8: "<I"}
_NUMBERS = {5: "<h", 6: "<H", 7: "<i", 8: "<I", 9: "<q", 10: "<Q"}
_DECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP = 246, 10, 11, 12, 7


def read_json(value: bytes) -> str:
    """The text of a JSON column's value (type byte, then the value).

    >>> read_json(b"\\x05\\x7b\\x00"), read_json(b"")
    ('123', 'null')
    """
    return _value(value[0], value, 1) if value else "null"


def _value(kind: int, data: bytes, at: int) -> str:
    """The value of one kind that starts at `at`; the offsets inside a container count from there."""
    if kind == 12:
        size, at = _size(data, at)
        return quote_raw(data[at : at + size].decode("utf-8"))
    if kind <= 3:
        return _container(data, at, is_object=kind < 2, width=4 if kind & 1 else 2)
    if kind == 4:
        return _LITERALS[data[at]]
    if kind == 11:
        return repr(struct.unpack_from("<d", data, at)[0])  # the shortest digits that are the same DOUBLE
    if kind == 15:
        return _opaque(data, at)
    return str(struct.unpack_from(_NUMBERS[kind], data, at)[0])


def _container(data: bytes, start: int, *, is_object: bool, width: int) -> str:
    number = "<I" if width == 4 else "<H"
    (count,) = struct.unpack_from(number, data, start)
    at = start + 2 * width
    keys = []
    if is_object:
        for _ in range(count):
            (offset,) = struct.unpack_from(number, data, at)
            (size,) = struct.unpack_from("<H", data, at + width)
            keys.append(quote_raw(data[start + offset : start + offset + size].decode("utf-8")))
            at += width + 2
    values = []
    for _ in range(count):
        kind = data[at]
        if kind == 4 or kind in (5, 6) or (kind in (7, 8) and width == 4):
            values.append(_value(kind, data, at + 1))
        else:
            (offset,) = struct.unpack_from(number, data, at + 1)
            values.append(_value(kind, data, start + offset))
        at += 1 + width
    if is_object:
        return f"{{{','.join(f'{key}:{value}' for key, value in zip(keys, values, strict=True))}}}"
    return f"[{','.join(values)}]"


def _size(data: bytes, at: int) -> tuple[int, int]:
    """A length in groups of seven bits, and where its text starts."""
    size = shift = 0
    while True:
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size, at
        shift += 7


def _opaque(data: bytes, at: int) -> str:
    kind = data[at]
    size, at = _size(data, at + 1)
    raw = data[at : at + size]
    if kind == _DECIMAL:
        return format(Decimal(decimal_reader(raw[0], raw[1])(raw[2:])), "f")
    if kind in (_DATE, _TIME, _DATETIME, _TIMESTAMP):
        return f'"{_temporal(kind, int.from_bytes(raw, "little", signed=True))}"'
    return f'"base64:type{kind}:{base64.b64encode(raw).decode("ascii")}"'


def _temporal(kind: int, packed: int) -> str:
    sign = "-" if packed < 0 else ""
    packed = abs(packed)
    micros, packed = packed & 0xFFFFFF, packed >> 24
    time = f"{packed >> 12 & 0x1F:02d}:{packed >> 6 & 0x3F:02d}:{packed & 0x3F:02d}.{micros:06d}"
    if kind == _TIME:
        return f"{sign}{packed >> 12 & 0x3FF:02d}{time[2:]}"
    days = packed >> 17
    months, day = days >> 5, days & 0x1F
    date = f"{months // 13:04d}-{months % 13:02d}-{day:02d}"
    return date if kind == _DATE else f"{date} {time}"
