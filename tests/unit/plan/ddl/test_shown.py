from __future__ import annotations

import pytest

from pydbsync.plan.ddl.shown import shown_text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            "CREATE TABLE `é` (`a` varbinary(9) DEFAULT 'é☃''\\0')".encode(),
            "CREATE TABLE `é` (`a` varbinary(9) DEFAULT 'é☃''\\0')",
        ),
        (b"(`a` binary(2) DEFAULT '\xff\xfe' COMMENT 'it''s')", "(`a` binary(2) DEFAULT  x'FFFE' COMMENT 'it''s')"),
        (b"(`a` blob DEFAULT '\\0\xff''\\'\\\\\\n\\r\\Z\\t\\x')", "(`a` blob DEFAULT  x'00FF27275C0A0D1A0978')"),
        (b"(`'` int, `b` blob DEFAULT '\xff`')", "(`'` int, `b` blob DEFAULT  x'FF60')"),
        (b"(`b` blob AS (concat(_binary'\xe9\\0',_binary'z')))", "(`b` blob AS (concat(_binary x'E900',_binary'z')))"),
    ],
)
def test_strings_of_bytes_become_hexadecimal(raw: bytes, expected: str) -> None:
    assert shown_text(raw) == expected
