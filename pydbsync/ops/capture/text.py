"""JSON strings in Maxwell's spelling, and the text behind bytes that are meant to be UTF-8."""

from __future__ import annotations

import re
from json.encoder import encode_basestring as _encode_string

_CONTROL = re.compile(r"\\u00[01][0-9a-f]")
_BEYOND = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _upper_case(found: re.Match[str]) -> str:
    return "\\u" + found.group()[2:].upper()


def _surrogates(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04X}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04X}\\u{0xDC00 | code & 0x3FF:04X}"


def _control_upper_case(quoted: str) -> str:
    # A backslash of the text itself is doubled: only an odd run of backslashes before `u` is an escape of ours.
    if "\\\\" not in quoted:
        return _CONTROL.sub(_upper_case, quoted)
    return "\\\\".join(_CONTROL.sub(_upper_case, part) for part in quoted.split("\\\\"))


def quote(text: str) -> str:
    r"""A JSON string as Maxwell writes text columns: \u000B in upper case, characters past U+FFFF as surrogates.

    >>> quote('a"\x0b\U0001f600')
    '"a\\"\\u000B\\uD83D\\uDE00"'
    """
    quoted = quote_ascii(text)
    if not text.isascii():
        quoted = _BEYOND.sub(_surrogates, quoted)
    return quoted


def quote_ascii(text: str) -> str:
    """As `quote` and `quote_raw`, for text that is all ASCII."""
    quoted = _encode_string(text)
    return _control_upper_case(quoted) if "\\u" in quoted else quoted


def quote_raw(text: str) -> str:
    r"""A JSON string as Maxwell writes `sql` and the strings of JSON columns: characters past U+FFFF stay as they are.

    >>> quote_raw('\U0001f600\n')
    '"😀\\n"'
    """
    quoted = quote_ascii(text)
    if not text.isascii():
        quoted = _SURROGATE.sub(_surrogates, quoted)
    return quoted
