"""Which row a change is about, so that a later change of the same row can be recognised."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import re
import unicodedata
from typing import Protocol

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, RowChange, read_image

_SPACES_AT_END = re.compile(' +"')


class KeyedTable(Protocol):
    """What has to be known of a table to tell its rows apart."""

    @property
    def row_key(self) -> tuple[str, ...]: ...

    def old_image(self, change: RowChange) -> msgspec.Raw: ...


def row_identity(change: RowChange, table: KeyedTable) -> list[bytes]:
    """Digests of the row's key, before and after the change; without a key, of the whole images. Nothing where a key
    column has no value: then the change may be about any row. An image that nobody can read is known by its bytes.

    What else the image holds does not matter: a row with a column that the target lacks is the same row. Coarser than
    the key where a collation might be: keys that differ only in case, in accents, in width or in spaces at the end
    count as one row, which at worst makes a change wait that need not.
    """
    images = [change.data]
    if change.kind == "update" and change.old is not NO_JSON:
        with contextlib.suppress(PlanError):
            images.append(table.old_image(change))
    digests = [_digests(image, table.row_key) for image in images]
    return list(dict.fromkeys(each for found in digests for each in found)) if all(digests) else []


def _digests(image: msgspec.Raw, row_key: tuple[str, ...]) -> list[bytes]:
    """Of the key as it is spelled, and as the coarsest collation reads it; nothing where a column of it is missing."""
    key, texts = bytes(image), ""
    with contextlib.suppress(PlanError):
        values = {name.casefold(): bytes(token) for name, token in read_image(image).items()}
        if not all(name.casefold() in values for name in row_key):
            return []
        tokens = [values[name.casefold()] for name in row_key]
        key = b",".join(tokens) or key
        if any(token.startswith(b'"') for token in tokens):
            texts = ",".join(map(_skeleton_of, tokens))
    folded = _SPACES_AT_END.sub('"', key.decode("utf-8", "surrogateescape").casefold())
    return [
        hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16]
        for text in dict.fromkeys((folded, texts or folded))
    ]


def _skeleton_of(token: bytes) -> str:
    text = token.decode("utf-8", "surrogateescape")
    if token.startswith(b'"'):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeEncodeError):
            return f'"{skeleton(msgspec.json.decode(token, type=str))}"'
    return text.casefold()


_OWN_LETTERS = {
    "æ": "a",
    "œ": "o",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "ł": "l",
    "ħ": "h",
    "ŧ": "t",
    "ı": "i",
    "ґ": "г",
    "·": "",
}
"""That Unicode does not take apart, and some collations take for others."""
_TWO_FOR_ONE = re.compile(r"([aou])e+|([a-z])\2+")
"""As which German, Danish and Unicode read ä, å, æ and ß."""


def skeleton(text: str) -> str:
    """What is left of a text where letters are told apart as little as the servers' collations do.

    Equal for texts that any of them holds for equal, but for what some languages (Danish ű and y), historic and
    phonetic letters and radicals of ideographs have of their own.
    """
    plain = "".join(map(_base, text))
    return _TWO_FOR_ONE.sub(lambda found: found[1] or found[2], plain).strip()


@functools.lru_cache(maxsize=2**16)
def _base(character: str) -> str:
    found = ""
    plain = [part for part in unicodedata.normalize("NFKD", character) if unicodedata.category(part)[0] != "M"]
    for part in unicodedata.normalize("NFKD", "".join(plain).casefold()):
        if ord(part) > 0xFFFF:
            part = "\ufffd"  # utf8mb4_general_ci and utf8mb4_unicode_ci hold all of these for one character
        category = unicodedata.category(part)
        if category[0] in "MC":
            continue
        if category[0] == "N":
            part = str(math.ceil(unicodedata.numeric(part)))
        elif "\u3041" <= part <= "\u3096":
            part = chr(ord(part) + 0x60)
        if "\u30a1" <= part <= "\u31ff":  # a small kana is the kana
            with contextlib.suppress(KeyError, ValueError):
                part = unicodedata.lookup(unicodedata.name(part).replace("SMALL ", ""))
        found += _OWN_LETTERS.get(part, part)
    return found
