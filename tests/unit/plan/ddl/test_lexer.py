from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.errors import PlanError
from pydbsync.plan.ddl.lexer import VersionComment, read_tokens, unquote_string
from tests.unit.plan.corpus import recorded_schema_changes


def texts(sql: str, **options: Any) -> list[str]:
    return [sql[token.start : token.end] for token in read_tokens(sql, **options).tokens]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("a . `b`", ["a", ".", "`b`"]),
        ("`a``b`.`c.d`", ["`a``b`", ".", "`c.d`"]),
        # names that begin with digits, beside numbers
        ("CREATE TABLE 123abc (9lives INT)", ["CREATE", "TABLE", "123abc", "(", "9lives", "INT", ")"]),
        ("1a.2b.3c", ["1a", ".", "2b", ".", "3c"]),
        ("1e5a 1e5 1.5e-3 .5", ["1e5a", "1e5", "1.5e-3", ".", "5"]),
        ("d.1e3 (x", ["d", ".", "1e3", "(", "x"]),
        ("d.12.c", ["d", ".", "12", ".", "c"]),
        ("0x41 0b1 0xg", ["0x41", "0b1", "0xg"]),
        # names beyond ASCII; a no-break space is a letter to the servers
        ("表.täble `列`", ["表", ".", "täble", "`列`"]),
        ("a\u00a0b\u3000 c", ["a\u00a0b\u3000", "c"]),
        ("😀x `😀` y", ["😀x", "`😀`", "y"]),
        ("$d.a$b _x", ["$d", ".", "a$b", "_x"]),
        # strings
        (r"'it''s \'q\' \\' x", [r"'it''s \'q\' \\'", "x"]),
        ('"a""b" "c\\"d"', ['"a""b"', '"c\\"d"']),
        ("N'a' x'41' B'1' _utf8mb4'c' _latin1 'd'", ["N'a'", "x'41'", "B'1'", "_utf8mb4", "'c'", "_latin1", "'d'"]),
        ("'-- a # b /* c */ /*!50001 d */'", ["'-- a # b /* c */ /*!50001 d */'"]),
        # comments
        ("a/* b */c -- d\n e # f\n--\tg\nh --", ["a", "c", "e", "h"]),
        ("a--1 --x", ["a", "-", "-", "1", "-", "-", "x"]),
        ("d./* c */t", ["d", ".", "t"]),
        ("/* a /* b */ c", ["c"]),
        # keywords of several words are words
        ("primary\tkey primary /* x */ key", ["primary", "key", "primary", "key"]),
        ("RENAME TABLE a TO b", ["RENAME", "TABLE", "a", "TO", "b"]),
        ("@x @@global.y", ["@", "x", "@@", "global", ".", "y"]),
    ],
)
def test_a_text_is_read_as_the_servers_read_it(sql: str, expected: list[str]) -> None:
    assert texts(sql) == expected


def test_names_and_strings_lose_their_quotes() -> None:
    tokens = read_tokens("`a``b` \"c\"\"d\" 'e''f' N'g'").tokens
    assert [(token.kind, token.text) for token in tokens] == [
        ("quoted", "a`b"), ("string", 'c"d'), ("string", "e'f"), ("string", "g"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r"'it''s'", "it's"),
        ("\"it''s\"", "it''s"),
        (r"'\'\"\\'", "'\"\\"),
        (r"'\0\b\n\r\t\Z'", "\0\b\n\r\t\x1a"),
        (r"'\%\_\q'", r"\%\_q"),
        ("'a\\\nb'", "a\nb"),
        ("''", ""),
        ("''''", "'"),
    ],
)
def test_string_literals_are_unescaped_as_in_the_default_sql_mode(literal: str, value: str) -> None:
    assert unquote_string(literal) == value


def test_executed_version_comments_are_part_of_the_text() -> None:
    sql = "a /*!80023 INVISIBLE */ /*!50100 COMMENT 'x */ y' /* z */ */ b"
    lexed = read_tokens(sql)
    assert [sql[token.start : token.end] for token in lexed.tokens] == ["a", "INVISIBLE", "COMMENT", "'x */ y'", "b"]
    assert [sql[comment.start : comment.end] for comment in lexed.version_comments] == [
        "/*!80023 INVISIBLE */", "/*!50100 COMMENT 'x */ y' /* z */ */",
    ]  # fmt: skip
    assert [comment.version for comment in lexed.version_comments] == [80023, 50100]


@pytest.mark.parametrize(
    ("comment", "mysql", "mariadb"),
    [
        ("/*! x */", True, True),
        ("/*!40101 x */", True, True),
        ("/*!50001 x */", True, True),
        ("/*!50700 x */", True, False),
        ("/*!80023 x */", True, False),
        ("/*!99999 x */", True, False),
        ("/*!100100 x */", False, True),
        ("/*M! x */", False, True),
        ("/*M!100100 x */", False, True),
    ],
)
def test_each_brand_executes_its_own_version_comments(comment: str, mysql: bool, mariadb: bool) -> None:
    assert bool(read_tokens(comment, brand="mysql").tokens) is mysql
    assert bool(read_tokens(comment, brand="mariadb").tokens) is mariadb


def test_the_ends_of_a_version_comment_are_known() -> None:
    assert read_tokens("/*M!100100 x */").version_comments == (VersionComment(0, 10, 13, 15, 100100, True),)


def test_with_ansi_quotes_a_double_quote_makes_a_name() -> None:
    sql = '"a""b\\" \'c\\\'"d\' `e`'
    assert [(token.kind, token.text) for token in read_tokens(sql, ansi_quotes=True).tokens] == [
        ("quoted", 'a"b\\'), ("string", "c'\"d"), ("quoted", "e"),
    ]  # fmt: skip


@pytest.mark.parametrize("sql", ["a 'b", "a `b", "a /* b", "a /*!50001 b", 'a "b\\"'])
def test_what_does_not_end_is_refused(sql: str) -> None:
    with pytest.raises(PlanError, match="does not end"):
        read_tokens(sql)


def test_tokens_of_the_corpus_cover_everything_but_spaces_and_comments() -> None:
    for recorded in recorded_schema_changes():
        change, end = recorded.change, 0
        for token in read_tokens(change.sql).tokens:
            gap = change.sql[end : token.start].strip()
            assert not gap or gap.startswith(("/*", "--", "#", "*/")), (change.sql, gap)
            end = token.end


name = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(name, min_size=1, max_size=4), st.sampled_from([" ", "/* ` ' \" */", "\n-- '\n", " # `\n"]))
def test_any_quoted_name_and_any_string_comes_back_as_it_was(names: list[str], gap: str) -> None:
    quoted = ["`" + name.replace("`", "``") + "`" for name in names]
    strings = ["'" + name.replace("\\", "\\\\").replace("'", "''") + "'" for name in names]
    sql = gap.join([*quoted, *strings])
    assert [token.text for token in read_tokens(sql).tokens] == [*names, *names]
