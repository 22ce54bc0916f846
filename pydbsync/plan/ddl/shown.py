"""What SHOW CREATE TABLE answers, as text: its strings of bytes become hexadecimal, which every server reads alike."""

from __future__ import annotations

import re

_PARTS = re.compile(rb"`(?:[^`]|``)*`|'(?:[^'\\]|''|\\.)*'", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)|''", re.DOTALL)
_BYTES = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}


def shown_text(raw: bytes) -> str:
    """The statement in UTF-8. A string in it that is no UTF-8 is bytes: MariaDB writes the default of a binary column
    so, MySQL a `_binary` string in an expression."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _PARTS.sub(_in_hexadecimal, raw).decode("utf-8", "replace")


def _in_hexadecimal(part: re.Match[bytes]) -> bytes:
    try:
        part[0].decode("utf-8")
    except UnicodeDecodeError:
        if part[0][:1] == b"'":
            value = _ESCAPED.sub(lambda m: _BYTES.get(m[1], m[1]) if m[1] is not None else b"'", part[0][1:-1])
            return b" x'" + value.hex().upper().encode() + b"'"
    return part[0]
