"""The values of a row image, as the JSON texts they came in: picked out by name, in an order, by compiled structs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import astuple

from pydbsync.model import read_image

Tokens: TypeAlias = tuple[msgspec.Raw, ...]
"""The JSON text of each value of a row."""


def column_names(data: msgspec.Raw) -> tuple[str, ...]:
    """The column names of a row image, in order."""
    return tuple(read_image(data))


def token_decoder(names: tuple[str, ...], *, allow_others: bool = False) -> Callable[[msgspec.Raw], Tokens]:
    """Picks the tokens of these columns out of an object, in this order; a compiled struct is by far the fastest way.

    What it returns raises msgspec.ValidationError if one is missing, or if there are others that are not allowed.
    """
    if not all(_is_field_name(name) for name in names):
        return functools.partial(_tokens_by_dict, names=names, allow_others=allow_others)
    decode = _struct_decoder(names, allow_others=allow_others)
    return lambda data: astuple(decode(data))


def key_decoder(names: tuple[str, ...]) -> Callable[[msgspec.Raw], bytes]:
    """Joins the tokens of these columns: runs once a row, so that the usual key of one column has a way of its own."""
    if len(names) == 1 and _is_field_name(names[0]):
        decode = _struct_decoder(names, allow_others=True)
        return lambda data: bytes(decode(data).c0)
    tokens = token_decoder(names, allow_others=True)
    return lambda data: b",".join(tokens(data))


def _struct_decoder(names: tuple[str, ...], *, allow_others: bool) -> Callable[[msgspec.Raw], Any]:
    image = msgspec.defstruct(
        "RowImage",
        [(f"c{index}", msgspec.Raw) for index in range(len(names))],
        rename={f"c{index}": name for index, name in enumerate(names)},
        forbid_unknown_fields=not allow_others,
        gc=False,
    )
    return msgspec.json.Decoder(image).decode


def _is_field_name(name: str) -> bool:
    # msgspec wants no field name that JSON would have to escape
    return '"' not in name and "\\" not in name and name.isprintable()


def _tokens_by_dict(data: msgspec.Raw, *, names: tuple[str, ...], allow_others: bool) -> Tokens:
    found = read_image(data)
    if not all(name in found for name in names) or (not allow_others and len(found) != len(names)):
        raise msgspec.ValidationError(f"expected the columns {', '.join(names)}")
    return tuple(found[name] for name in names)
