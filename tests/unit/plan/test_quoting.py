"""Quoting: names and values as the text that MySQL reads as exactly them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pydbsync.model import TableName
from pydbsync.plan.quoting import is_sql_string, quote_bytes, quote_name, quote_table, quote_text

UNESCAPED = {b"0": b"\0", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"Z": b"\x1a"}


def read_sql_string(literal: bytes) -> bytes:
    """What MySQL reads: https://dev.mysql.com/doc/refman/8.4/en/string-literals.html, table of escapes."""
    assert literal[:1] == literal[-1:] == b'"'
    inner = literal[1:-1]
    assert re.fullmatch(rb'(?:[^"\\]|\\.)*', inner, re.DOTALL), "the quote ends inside"
    return re.sub(rb"\\(.)", lambda match: UNESCAPED.get(match[1], match[1]), inner, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("t", "`t`"), ("order", "`order`"), ("a b", "`a b`"), ("a.b", "`a.b`"), ("a`b", "`a``b`"), ("`", "````"),
        ("a\\b", "`a\\b`"), ("a'b\"c", "`a'b\"c`"), ("таблица", "`таблица`"), ("%s", "`%s`"), ("a\nb", "`a\nb`"),
    ],
)  # fmt: skip
def test_a_name_stands_in_backticks(name: str, quoted: str) -> None:
    assert quote_name(name) == quoted


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_no_identifier_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no identifier"):
        quote_name(name)


def test_a_table_is_quoted_with_its_database() -> None:
    assert quote_table(TableName("a.b", "c`d")) == "`a.b`.`c``d`"


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", b'""'), ("plain", b'"plain"'), ('say "hi"', b'"say \\"hi\\""'), ("it's", b'"it\'s"'),
        ("back\\slash", b'"back\\\\slash"'), ("a\0b", b'"a\\0b"'), ("a\nb\rc\td", b'"a\\nb\\rc\td"'),
        ("\x1a", b'"\\Z"'), ("100%_", b'"100%_"'), ("\u2028\x7f\x85", "\"\u2028\x7f\x85\"".encode()),
        ("😀", '"😀"'.encode()), ("\\'; DROP TABLE t; -- ", b'"\\\\\'; DROP TABLE t; -- "'),
    ],
)  # fmt: skip
def test_text_is_escaped_where_mysql_needs_it(text: str, literal: bytes) -> None:
    assert quote_text(text) == literal


@given(st.text())
@example("".join(map(chr, range(256))))
def test_mysql_reads_quoted_text_as_what_it_was(text: str) -> None:
    assert read_sql_string(quote_text(text)) == text.encode()


def test_half_a_surrogate_pair_cannot_be_quoted() -> None:
    with pytest.raises(UnicodeEncodeError):
        quote_text("a\ud83d")


@pytest.mark.parametrize(
    ("value", "literal"), [(b"", b"X''"), (b"\0\xff'\\", b"X'00ff275c'"), (b"a" * 65535, b"X'" + b"61" * 65535 + b"'")]
)
def test_bytes_are_written_in_hexadecimal(value: bytes, literal: bytes) -> None:
    assert quote_bytes(value) == literal


def test_long_bytes_are_escaped_instead_since_the_packet_is_limited() -> None:
    value = bytes(range(256)) * 257
    literal = quote_bytes(value)
    assert literal.startswith(b"_binary'")
    assert len(literal) < len(value) * 1.02
    inner = literal[len(b"_binary'") : -1]
    assert re.fullmatch(rb"(?:[^'\\]|\\.)*", inner, re.DOTALL)
    assert re.sub(rb"\\(.)", lambda match: UNESCAPED.get(match[1], match[1]), inner, flags=re.DOTALL) == value


@pytest.mark.parametrize(
    ("token", "same"),
    [
        (b'"plain"', True), (b'"\xf0\x9f\x98\x80\xe2\x80\xa8"', True), (rb'"a\"b\\c\/d\ne\rf\tg\bh"', True),
        (rb'"\f"', False), (rb'"\u0000"', False), (rb'"\uD83D\uDE00"', False), (rb'"\\u0041"', True),
        (rb'"\\\u0041"', False), (b'"' + rb"\n" * 50_000 + b'"', True), (b'"' + rb"\n" * 50_000 + rb'\f"', False),
    ],
)  # fmt: skip
def test_a_json_string_is_a_literal_but_for_two_escapes(token: bytes, same: bool) -> None:
    assert is_sql_string(token) is same


@given(st.text(), st.booleans())
@example('\x08\x0c\n\r\t"\\/', True)
def test_a_json_string_that_passes_for_a_literal_is_read_as_the_same(text: str, ascii_only: bool) -> None:
    token = json.dumps(text, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if is_sql_string(token):
        assert read_sql_string(token) == text.encode()
