"""Large values as SQL, piece by piece: beside the message no more is held than the statement that is being written."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.plan.literals import Literal, binary_literal, document_literal, not_null_document_literal, scalar_literal
from pydbsync.plan.quoting import escape_bytes

LARGE_BYTES = 1 << 20
"""Row images and values from this size on are large."""
_PIECE_BYTES = 1 << 18
"""Divisible by four, as base64 has it."""

WritePiece: TypeAlias = Callable[[bytes], object]


def write_literal(write: WritePiece, literal: Literal, token: msgspec.Raw) -> None:
    """Hand the literal of a value to `write`, in pieces if it is large. Raises PlanError as `literal` does."""
    pieces = _PIECES.get(literal) if len(token) >= LARGE_BYTES else None
    if pieces is None:
        write(literal(bytes(token)))
        return
    for piece in pieces(memoryview(token)):
        write(piece)


def _pieces_of_text(token: memoryview) -> Iterator[bytes]:
    if bytes(token[:1]) != b'"':
        yield scalar_literal(bytes(token))
        return
    yield b'"'
    start, last = 1, len(token) - 1
    while start < last:
        piece = bytes(token[start : min(start + _PIECE_BYTES, last)])
        if start + len(piece) < last:
            piece = piece[: whole_characters(piece) or len(piece)]
        yield scalar_literal(b'"' + piece + b'"')[1:-1]
        start += len(piece)
    yield b'"'


def _pieces_of_document(token: memoryview) -> Iterator[bytes]:
    yield b'"'
    for start in range(0, len(token), _PIECE_BYTES):
        piece = bytes(token[start : start + _PIECE_BYTES])
        yield piece.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    yield b'"'


def _pieces_of_bytes(token: memoryview) -> Iterator[bytes]:
    last = len(token) - 1
    if bytes(token[:1]) != b'"':
        raise PlanError(f"a binary value is not a base64 text: {bytes(token[:40])!r}")
    yield b"_binary'"
    for start in range(1, last, _PIECE_BYTES):
        piece = bytes(token[start : min(start + _PIECE_BYTES, last)])
        try:
            decoded = base64.b64decode(piece, validate=True)
        except ValueError as exc:
            raise PlanError(f"a binary value is not base64: {exc}") from exc
        # Padding ends a value: where it does not, two values would be read as one.
        if piece.endswith(b"=") and start + len(piece) < last:
            raise PlanError("a binary value is not base64: padding stands in the middle")
        yield escape_bytes(decoded)
    yield b"'"


_PIECES: dict[Literal, Callable[[memoryview], Iterator[bytes]]] = {
    scalar_literal: _pieces_of_text,
    document_literal: _pieces_of_document,
    not_null_document_literal: _pieces_of_document,
    binary_literal: _pieces_of_bytes,
}
"""Geometry and what the configuration shifts are made in one piece: their values are not that large."""


def whole_characters(text: bytes) -> int:
    """How many bytes of this beginning of a JSON string's inside end neither within a character of UTF-8, nor within an
    escape or a pair of surrogates."""
    end = len(text)
    while end and text[end - 1] & 0xC0 == 0x80:
        end -= 1
    if end and text[end - 1] >= 0xC0:
        end -= 1
    for at in range(max(0, end - 5), end):
        is_whole = at + (6 if text[at + 1 : at + 2] == b"u" else 2) <= end
        if text[at] == _BACKSLASH and not is_whole and _begins_escape(text, at):
            end = at
            break
    at = end - 6
    if at >= 0 and text[at : at + 3].lower() == b"\\ud" and text[at + 3] in b"89abAB" and _begins_escape(text, at):
        end = at  # the second half of a pair follows
    return end


_BACKSLASH = ord("\\")


def _begins_escape(text: bytes, at: int) -> bool:
    """Whether the backslash there is not itself escaped."""
    before = text[:at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0
