"""Messages put together into one come out as they went in, and only the last one's tag acknowledges it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.model import Delivery
from pydbsync.source.sequence import is_sequence, join_texts, spread

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
TEXTS = st.builds(
    lambda value, is_ascii, indent: json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode(),
    VALUES,
    st.booleans(),
    st.sampled_from([None, 1]),
)


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=5), max_size=5), st.booleans())
def test_what_is_joined_comes_out_with_tags_that_acknowledge_nothing_too_soon(
    messages: list[list[bytes]], redelivered: bool
) -> None:
    bodies = [join_texts(texts) if len(texts) > 1 else texts[0] for texts in messages]
    found = spread([Delivery(body, tag, redelivered) for tag, body in enumerate(bodies, start=5)])
    assert [delivery.body for delivery in found] == [text for texts in messages for text in texts]
    assert all(delivery.redelivered is redelivered for delivery in found)
    tags = [[tag - 1] * (len(texts) - 1) + [tag] for tag, texts in enumerate(messages, start=5)]
    assert [delivery.tag for delivery in found] == [tag for each in tags for tag in each]


def test_a_list_without_a_sequence_is_handed_on() -> None:
    deliveries = [Delivery(b"", 1), Delivery(b"{}", 2), Delivery(b'"\\u001e"', 3)]
    assert spread(deliveries) is deliveries


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (b"\x1e", [b""]),
        (b"\x1e\n", [b""]),
        (b"\x1e{}", [b"{}"]),
        (b"\x1e{}\n\x1e{", [b"{}", b"{"]),
        (b"\x1e{}\x1e{}\n", [b"{}\x1e{}"]),
    ],
)
def test_nothing_of_a_broken_sequence_is_left_out(body: bytes, texts: list[bytes]) -> None:
    """What is no JSON is refused where messages are decoded, as any other."""
    assert is_sequence(body)
    assert [delivery.body for delivery in spread([Delivery(body, 1)])] == texts
