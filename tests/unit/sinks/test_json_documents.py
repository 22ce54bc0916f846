"""JSON values as one text, number by number."""

from __future__ import annotations

import pytest

from pydbsync.sinks.values import canonical_json, read_json, show_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"b": 1, "a": [1.50, 1e2]}', '{"a":[1.5,100.0],"b":1}'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('{"b": [1.2345678901234567890], "a": {"é": 0.1}}', '{"a":{"é":0.1},"b":[1.234567890123456789]}'),
        ('[-0.10000000000000000001, null, true, "x"]', '[-0.10000000000000000001,null,true,"x"]'),
        ("1e400", "1E+400"),
    ],
)
def test_equal_documents_have_one_text_and_no_digit_is_lost(text: str, shown: str) -> None:
    assert canonical_json(text) == shown
    assert canonical_json(shown) == shown
    assert canonical_json(show_json(read_json(text))) == shown
