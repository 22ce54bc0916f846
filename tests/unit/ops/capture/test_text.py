"""JSON strings as Maxwell spells them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.ops.capture.text import quote, quote_raw


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain", '"plain"'),
        ('a"b\\c/', '"a\\"b\\\\c/"'),
        ("\b\f\n\r\t", '"\\b\\f\\n\\r\\t"'),
        ("\0\x0b\x1a\x1f", '"\\u0000\\u000B\\u001A\\u001F"'),
        ("\x7f\x85\u2028\u2029", '"\x7f\x85\u2028\u2029"'),
        ("é中", '"é中"'),
        ("\U0001f600", '"\\uD83D\\uDE00"'),
        ("\ud83d", '"\\uD83D"'),
        # the backslash is the text's own, what follows is no escape
        ("\\u000b", '"\\\\u000b"'),
        ("\\\x0b\\u001f\x1f", '"\\\\\\u000B\\\\u001f\\u001F"'),
    ],
)
def test_text_columns_are_spelled_as_maxwell_does(text: str, quoted: str) -> None:
    assert quote(text) == quoted


def test_documents_and_statements_keep_characters_past_the_basic_plane() -> None:
    assert quote_raw("\U0001f600\x0b") == '"\U0001f600\\u000B"'


def test_half_a_surrogate_pair_is_escaped_because_utf8_has_no_place_for_it() -> None:
    assert quote_raw("a\ud83db") == '"a\\uD83Db"'


@given(st.text())
def test_what_is_quoted_reads_back_as_the_same_text(text: str) -> None:
    assert json.loads(quote(text)) == text
    assert json.loads(quote_raw(text)) == text


@given(st.text(alphabet='\\u0b1f\x0b\x1f"a'))
def test_backslashes_and_escapes_do_not_mix(text: str) -> None:
    assert json.loads(quote(text)) == text
