"""Only consecutive messages with one routing key are put together, and none is kept back at the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydbsync.model import Delivery
from pydbsync.ops.capture.publish.bundle import Bundle
from pydbsync.source.sequence import is_sequence, spread

TEXTS = st.lists(st.integers(1, 40).map(lambda size: b"7" * size), max_size=6)
MOST = 60


@given(st.lists(st.tuples(st.sampled_from("abc"), TEXTS), max_size=8))
def test_messages_stay_in_order_and_with_their_key(given_batches: list[tuple[str, list[bytes]]]) -> None:
    bundle = Bundle(MOST)
    made = [message for key, texts in given_batches for message in bundle.add(key, texts)]
    made += bundle.close()
    assert list(bundle.close()) == []
    found = [
        (key, delivery.body)
        for tag, (key, body) in enumerate(made, start=1)
        for delivery in spread([Delivery(body, tag)])
    ]
    assert found == [(key, text) for key, texts in given_batches for text in texts]


@given(st.lists(TEXTS, max_size=8))
def test_a_bundle_is_full_with_the_message_that_reaches_its_size(batches: list[list[bytes]]) -> None:
    bundle = Bundle(MOST)
    sizes = []
    for texts in batches:
        for _, body in bundle.add("k", texts):
            *others, last = spread([Delivery(body, 1)])
            sizes.append((sum(len(each.body) for each in others), len(last.body)))
    assert all(before < MOST <= before + last for before, last in sizes)


def test_a_single_message_goes_as_it_is() -> None:
    bundle = Bundle(MOST)
    assert list(bundle.add("a", [b"1"])) == []
    assert list(bundle.add("b", [b"2"])) == [("a", b"1")]
    assert list(bundle.close()) == [("b", b"2")]
    large = b"9" * MOST
    assert list(bundle.add("b", [large])) == [("b", large)]
    assert not is_sequence(large)
