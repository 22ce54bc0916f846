"""Which row a change is about, so that a later change of the same row can be recognised."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, Column, RowChange, read_image

Readings: TypeAlias = Mapping[str, Mapping[int, str]]
"""How letters of a key column are read beyond `skeleton`, by the column's name in lower case; as they are where it is
not named."""

_SPACES_AT_END = re.compile(' +"')


class KeyedTable(Protocol):
    """What has to be known of a table to tell its rows apart."""

    @property
    def row_key(self) -> tuple[str, ...]: ...

    @property
    def key_readings(self) -> Readings | None: ...

    def old_image(self, change: RowChange) -> msgspec.Raw: ...


def row_identity(change: RowChange, table: KeyedTable) -> list[bytes]:
    """Digests of the row's key, before and after the change; without a key, of the whole images. Nothing where the
    change may be about any row: a key column has no value, or nobody knows what its collation takes for equal to it. An
    image that nobody can read is known by its bytes.

    What else the image holds does not matter: a row with a column that the target lacks is the same row. Coarser than
    the key where a collation might be: keys that differ only in case, in accents, in width or in spaces at the end
    count as one row, which at worst makes a change wait that need not.
    """
    return _identity(change, table, table.key_readings, is_any_read=False)


def nearest_identity(change: RowChange, table: KeyedTable) -> list[bytes]:
    """The same of what has to have a name: as near as is known where it may be any row."""
    return _identity(change, table, table.key_readings or {}, is_any_read=True)


def _identity(change: RowChange, table: KeyedTable, readings: Readings | None, *, is_any_read: bool) -> list[bytes]:
    images = [change.data]
    if change.kind == "update" and change.old is not NO_JSON:
        with contextlib.suppress(PlanError):
            images.append(table.old_image(change))
    digests = [_digests(image, table.row_key, readings, is_any_read=is_any_read) for image in images]
    return list(dict.fromkeys(each for found in digests for each in found)) if all(digests) else []


def _digests(
    image: msgspec.Raw, row_key: tuple[str, ...], readings: Readings | None, *, is_any_read: bool
) -> list[bytes]:
    """Of the key as it is spelled, and as its collation reads it; nothing where a column of it is missing, or where
    that is not known."""
    key, texts = bytes(image), ""
    with contextlib.suppress(PlanError):
        values = {name.casefold(): bytes(token) for name, token in read_image(image).items()}
        if not all(name.casefold() in values for name in row_key):
            return []
        tokens = [values[name.casefold()] for name in row_key]
        key = b",".join(tokens) or key
        if any(token.startswith(b'"') for token in tokens):
            named = zip(map(str.casefold, row_key), tokens, strict=True)
            read = [_read(token, name, readings, is_any_read=is_any_read) for name, token in named]
            if None in read:
                return []
            texts = ",".join(filter(None, read))
    folded = _SPACES_AT_END.sub('"', key.decode("utf-8", "surrogateescape").casefold())
    return [
        hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16]
        for text in dict.fromkeys((folded, texts or folded))
    ]


def _read(token: bytes, name: str, readings: Readings | None, *, is_any_read: bool) -> str | None:
    """The value of a key column as its collation reads it; None where that is not known."""
    if token.startswith(b'"'):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeEncodeError):
            text = msgspec.json.decode(token, type=str)
            if readings is None or not (is_any_read or is_known(text)):
                return None
            return f'"{skeleton(text, readings.get(name))}"'
    return token.decode("utf-8", "surrogateescape").casefold()


_OWN_LETTERS = {
    "æ": "a",
    "œ": "o",
    "ø": "o",
    "đ": "d",
    "ð": "d",
    "ł": "l",
    "ħ": "h",
    "þ": "th",
    "ŧ": "t",
    "ı": "i",
    "ґ": "г",
    "·": "",
    "ـ": "",
    "ך": "כ",
    "ם": "מ",
    "ן": "נ",
    "ף": "פ",
    "ץ": "צ",
}
"""That Unicode does not take apart, and some collations take for others."""
_E_BEHIND = re.compile("(?<=[aou])e+")
_TWICE = re.compile(r"([a-z])\1+")
"""As which German, Danish and Unicode read ä, å, æ and ß."""

is_known = re.compile(
    "[\\t\\n\\r -~\\u00a0-\\u018c\\u018e-\\u01bd\\u01bf-\\u0237\\u023a-\\u024f"  # Latin
    "\\u0300-\\u0344\\u0346-\\u0362"  # accents
    "\\u0370-\\u0373\\u0376-\\u0379\\u037b-\\u03ff\\u1f00-\\u1fff\\u0400-\\u0481\\u048a-\\u052f"  # Greek, Cyrillic
    "\\u0531-\\u0556\\u0561-\\u0586\\u05d0-\\u05ea\\u0621-\\u064a\\u0660-\\u0669"  # Armenian, Hebrew, Arabic
    "\\u1e00-\\u1ef9\\u2000-\\u206f\\u20a0-\\u20bf\\u2102-\\u214c\\u2190-\\u23ff\\u2460-\\u2473\\u24b6-\\u24e9\\u2500-\\u27bf"
    "\\u3000-\\u3030\\u3041-\\u3096\\u3099-\\u309c\\u30a1-\\u30fc\\u31f0-\\u31ff\\u3400-\\u9fff\\uac00-\\ud7a3"  # CJK
    "\\ufb00-\\ufb06\\ufe00-\\ufe0f\\uff01-\\uffee\\U0001f300-\\U0001faff\\U00020000-\\U0002ffff]*"
).fullmatch
"""Matches a text of which `skeleton` is known to be equal for all that a collation holds for equal to it; not so for
letters that take each other's place (Thai), that stand above others, of phonetics and of history."""

_UNICODE = r"(?:utf8mb4|utf8mb3|utf8|ucs2|utf16|utf16le|utf32)"
_READ_SO = re.compile(
    rf"binary|\w+_bin|{_UNICODE}_(?:general|unicode(?:_520)?|icelandic|latvian|romanian|slovenian|polish|estonian|spanish2?"
    r"|turkish|czech|slovak|esperanto|hungarian|german2|croatian|vietnamese|general_mysql500|tolower)(?:_nopad)?_ci"
    rf"|{_UNICODE}_croatian_mysql561_ci"
    r"|utf8mb4_(?:(?:de_pb|is|ro|sl|pl|et|es|tr|cs|sk|es_trad|eo|hr|vi|ja|ru|zh|sr_latn|bs|bg|gl|mn_cyrl)_)?0900_a[is]_c[is](?:_ks)?"
    r"|\w+_uca1400_(?:(?:icelandic|latvian|romanian|slovenian|polish|estonian|spanish2?|turkish|czech|slovak|esperanto"
    r"|hungarian|german2|croatian|vietnamese)_)?(?:nopad_)?a[is]_c[is]"
    r"|(?:armscii8_general|ascii_general|cp1250_(?:czech|croatian|polish)|cp1251_general|cp1257_general|cp85[02]_general|cp866_general"
    r"|cp932_japanese|eucjpms_japanese|euckr_korean|gb18030_chinese|greek_general|hebrew_general|hp8_english|keybcs2_general"
    r"|koi8r_general|latin1_german1|latin1_general|latin1_spanish|latin2_(?:czech|croatian)|latin5_turkish|latin7_estonian"
    r"|sjis_japanese|tis620_thai|ujis_japanese)(?:_nopad)?_c[is]"
)
"""Collations that take no more for equal than `skeleton` does."""
_READ_OTHERWISE = (
    (r"latin1_swedish(?:_nopad)?_ci|dec8_swedish(?:_nopad)?_ci", {"y": "u", "[": "a", "\\": "a", "]": "o"}),
    (r"latin1_danish(?:_nopad)?_ci", {"y": "u", "[": "a", "\\": "o", "]": "a"}),
    (r"latin1_german2(?:_nopad)?_ci", {"\\": "a"}),
    (
        rf"{_UNICODE}_(?:swedish|danish)(?:_nopad)?_ci|utf8mb4_(?:da|nb|nn)_0900_\w+|\w+_uca1400_(?:danish|swedish)_\w+",
        {"y": "u"},
    ),
    (r"latin7_general(?:_nopad)?_c[is]", {"\u00ad": "o"}),
    (r"utf8mb4_lv_0900_\w+", {"y": "i"}),
    (rf"{_UNICODE}_roman(?:_nopad)?_ci|utf8mb4_la_0900_\w+|\w+_uca1400_roman_\w+", {"j": "i", "v": "u"}),
    (r"(?:gbk|gb2312)_chinese(?:_nopad)?_ci", {"~": "y"}),
)
"""What others take for equal besides, some by a slip of their tables (MySQL 9.7, MariaDB 10.11 and 11.8). Not among
them are utf8mb4_sv_0900_* and utf8mb4_lt_0900_*: MariaDB (11.4.5) has some of these names that compare otherwise."""


def readings_of(columns: Iterable[Column]) -> Readings | None:
    """How the texts of key columns are read; None where a collation is not known."""
    found: dict[str, Mapping[int, str]] = {}
    for column in columns:
        collation = (column.collation or "binary").lower()
        if _READ_SO.fullmatch(collation):
            continue
        letters = next((letters for name, letters in _READ_OTHERWISE if re.fullmatch(name, collation)), None)
        if letters is None:
            return None
        found[column.name.casefold()] = str.maketrans({**letters, **{each.upper(): to for each, to in letters.items()}})
    return found


def skeleton(text: str, reading: Mapping[int, str] | None = None) -> str:
    """What is left of a text where letters are told apart as little as the servers' collations do."""
    if reading is None:
        plain = "".join(map(_base, text))
    else:
        plain = "".join(map(_base, text.translate(reading))).translate(reading)
    return _TWICE.sub(r"\1", _E_BEHIND.sub("", plain)).strip()


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
