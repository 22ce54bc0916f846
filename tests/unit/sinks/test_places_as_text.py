"""Places as texts compare as the places do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydbsync.model import COMMIT_ROW
from pydbsync.sinks.writer import order

NUMBERS = st.integers(0, 10**19 - 1)
PLACES = st.tuples(st.integers(0, 1000), NUMBERS, NUMBERS, st.one_of(st.integers(0, 10**18), st.just(COMMIT_ROW)))


@given(PLACES, PLACES)
def test_places_compare_as_text_in_the_order_of_the_stream(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    assert (order(*one) < order(*other)) == (one < other)


def test_a_row_without_a_number_stands_before_those_that_have_one() -> None:
    assert order(0, 1, 4, None) < order(0, 1, 4, 0) < order(0, 1, 4, 10) < order(0, 1, 4, COMMIT_ROW)
