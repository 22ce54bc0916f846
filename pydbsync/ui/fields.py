"""A parked message as fields that a person can change, each exactly as it came unless it was changed. Pure.

Numbers are kept as their digits and never become floating point; text is text without JSON's escapes; what holds
characters that a browser's form does not carry back is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

FieldKind: TypeAlias = Literal["text", "number", "json", "true", "false", "null"]
KINDS: Final[tuple[FieldKind, ...]] = ("text", "number", "json", "true", "false", "null")
SECTIONS: Final = ("data", "old")
MOST_CHARACTERS: Final = 65_536
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NOT_CARRIED: Final = re.compile("[\x00\r\ud800-\udfff\ufffe\uffff]")
_RAW = dict[str, msgspec.Raw]


class FieldError(ValueError):
    """What was typed cannot stand in the message, in words."""


class RowField(msgspec.Struct, frozen=True):
    """One value of the row."""

    section: str
    """`data`, or `old` for the row before the change."""
    name: str
    kind: FieldKind
    text: str
    """As a person reads and types it."""
    raw: bytes
    """As it stands in the message."""
    locked: str = ""
    """Why it is not changed here; empty where it can be."""


def fields_of(message: bytes) -> list[RowField] | None:
    """The values of a row's message in their order; None where it is not one."""
    parts = _sections(message)
    if parts is None:
        return None
    return [_field(section, name, bytes(raw)) for section, values in parts.items() for name, raw in values.items()]


def with_fields(message: bytes, typed: Mapping[int, tuple[str, str]]) -> bytes:
    """The message with what was typed, (kind, text) by the number of the field. Unchanged values stay byte for byte,
    and a message in which nothing has changed is the same. Raises FieldError."""
    found = fields_of(message)
    if found is None:
        raise FieldError("this message has no fields")
    changed: dict[tuple[str, str], bytes] = {}
    for number, (kind, text) in typed.items():
        if not 0 <= number < len(found):
            raise FieldError("the message has other fields now; load the page again")
        field = found[number]
        is_same = kind == field.kind and (kind in ("true", "false", "null") or text == field.text)
        if not field.locked and not is_same:
            changed[field.section, field.name] = _literal(field.name, kind, text)
    if not changed:
        return message
    top = msgspec.json.decode(message, type=_RAW)
    parts = _sections(message) or {}
    for section, values in parts.items():
        top[section] = msgspec.Raw(
            _object({name: changed.get((section, name), bytes(raw)) for name, raw in values.items()})
        )
    return _object({name: bytes(raw) for name, raw in top.items()})


def _sections(message: bytes) -> dict[str, _RAW] | None:
    try:
        top = msgspec.json.decode(message, type=_RAW)
        found: dict[str, _RAW] = {name: msgspec.json.decode(top[name], type=_RAW) for name in SECTIONS if name in top}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if "data" in found else None


def _field(section: str, name: str, raw: bytes) -> RowField:
    text = raw.decode("utf-8", "surrogateescape").strip()
    kind: FieldKind = "json"
    if text.startswith('"'):
        try:
            kind, text = "text", str(json.loads(text))
        except ValueError:
            return RowField(section, name, "json", text, raw, locked="cannot be read")
    elif text in ("true", "false", "null"):
        kind = {"true": "true", "false": "false", "null": "null"}[text]  # type: ignore[assignment]
        text = ""
    elif _NUMBER.fullmatch(text):
        kind = "number"
    locked = ""
    if len(text) > MOST_CHARACTERS:
        locked = f"{len(text):,} characters"
    elif _NOT_CARRIED.search(text):
        locked = "holds characters that a browser does not carry back"
    return RowField(section, name, kind, text, raw, locked)


def _literal(name: str, kind: str, text: str) -> bytes:
    if kind in ("true", "false", "null"):
        return kind.encode()
    if kind == "text":
        return json.dumps(text, ensure_ascii=False).encode()
    text = text.strip()
    if kind == "number":
        if not _NUMBER.fullmatch(text):
            raise FieldError(f"{name}: {text[:60]!r} is no number")
        return text.encode()
    if kind != "json":
        raise FieldError(f"{name}: there is no such kind of value")
    try:
        msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, UnicodeEncodeError) as exc:
        raise FieldError(f"{name}: this is not JSON: {exc}") from exc
    return text.encode()


def _object(values: Mapping[str, bytes]) -> bytes:
    parts: Sequence[bytes] = [
        json.dumps(name, ensure_ascii=False).encode("utf-8", "surrogatepass") + b":" + raw
        for name, raw in values.items()
    ]
    return b"{" + b",".join(parts) + b"}"


def editable(text: bytes) -> str | None:
    """The whole text for a form; None where a form would not carry it back as it is."""
    try:
        found = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if len(found) > MOST_CHARACTERS or _NOT_CARRIED.search(found) else found


def from_form(text: str) -> str:
    """A browser sends each line end of a text field as CR LF."""
    return text.replace("\r\n", "\n")
