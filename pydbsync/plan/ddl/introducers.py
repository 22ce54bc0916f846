r"""Strings with a character set introducer, in words that MariaDB keeps.

MariaDB stores an expression (of a generated column, a CHECK, a partition) as the text that it prints. Behind an
introducer it prints backslashes without escaping them, and what is not ASCII as `xC3` without a backslash (10.11:
`AS (_utf8mb4'\\.')` is `_utf8mb4'.'` once the table is opened again), and at a quote the statement is an error. MySQL
prints an introducer before every string in an expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydbsync.plan.ddl.lexer import Edit, Span, Token

_UTF8 = ("utf8mb4", "utf8mb3", "utf8")
_CHARSETS = frozenset({
    *_UTF8, "armscii8", "ascii", "big5", "binary", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866",
    "cp932", "dec8", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "geostd8", "greek", "hebrew", "hp8", "keybcs2",
    "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7", "macce", "macroman", "sjis", "swe7", "tis620", "ucs2",
    "ujis", "utf16", "utf16le", "utf32",
})  # fmt: skip
_KEPT = re.compile(r"[ -&(-\[\]-~]*")
"""Printable ASCII without quote and backslash, which stays as it is behind an introducer."""
_NUMBER = re.compile(r"(?:[xX]'([0-9a-fA-F]*)'|0x([0-9a-fA-F]+)|[bB]'([01]*)'|0b([01]+))")


def kept_introducers(tokens: Sequence[Token]) -> Iterator[Edit]:
    """The exchange of each string with an introducer that MariaDB would not keep."""
    for index, token in enumerate(tokens):
        charset = token.text.lower().removeprefix("_")
        if token.kind != "word" or not token.text.startswith("_") or charset not in _CHARSETS or token.behind_dot:
            continue
        last = index + 1
        if last >= len(tokens) or tokens[last].kind not in ("string", "literal"):
            continue
        first = tokens[last]
        if first.kind == "string":
            while last + 1 < len(tokens) and tokens[last + 1].kind == "string":
                last += 1
            strings = tokens[index + 1 : last + 1]
            value = "".join(each.text for each in strings)
            if charset in _UTF8:
                yield Edit(Span(token.start, first.start), "")
                continue
            # The bytes of the statement, which is UTF-8, are taken for bytes of the character set.
            if _KEPT.fullmatch(value) and charset not in ("ucs2", "utf16", "utf16le", "utf32"):
                continue
            data = value.encode("utf-8", "surrogateescape")
        else:
            found = _NUMBER.fullmatch(first.text)
            if found is None:
                continue
            data = _bytes(found)
            if charset in _UTF8 and not data:
                yield Edit(Span(token.start, first.end), "''")
                continue
        taken = (
            f"CAST(x'{data.hex()}' AS BINARY)" if charset == "binary" else f"CONVERT(x'{data.hex()}' USING {charset})"
        )
        if _is_plain_default(tokens, index):
            continue
        yield Edit(Span(token.start, tokens[last].end), taken)


def _bytes(found: re.Match[str]) -> bytes:
    digits, bits = found[1] or found[2], found[3] or found[4]
    if digits:
        return bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))
    return int(bits, 2).to_bytes((len(bits) + 7) // 8, "big") if bits else b""


def _is_plain_default(tokens: Sequence[Token], index: int) -> bool:
    """A default that is one string is stored as its value, not as an expression."""
    return index > 0 and tokens[index - 1].upper == "DEFAULT"
