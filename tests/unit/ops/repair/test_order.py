"""The order of a repair's changes: a unique value is given away before it is taken."""

from __future__ import annotations

import itertools
import random

import pytest

from pydbsync.ops.repair.order import Moves, fold, grouped


def groups(
    changes: list[tuple[str, str]], *, rows: int = 100, size_bytes: int = 1 << 20, weight: int = 1
) -> list[list[tuple[str, str]]]:
    """Changes as (value given away, value taken); '' is none."""

    def moves(change: tuple[str, str]) -> Moves:
        gives, takes = (frozenset({(value,)} if value else ()) for value in change)
        return Moves(gives, takes)

    return list(grouped(changes, moves, lambda _: weight, rows=rows, size_bytes=size_bytes))


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ([], 2, []),
        ([("a", "b"), ("c", "d"), ("e", "f")], 2, [[("a", "b"), ("c", "d")], [("e", "f")]]),
        ([("a", "b"), ("b", "c"), ("c", "d")], 1, [[("c", "d")], [("b", "c")], [("a", "b")]]),
        ([("", "a"), ("a", "")], 1, [[("a", "")], [("", "a")]]),
        ([("a", "b"), ("x", "y"), ("b", "a")], 2, [[("a", "b"), ("b", "a")], [("x", "y")]]),
        ([("a", "b"), ("b", "c"), ("c", "a")], 1, [[("a", "b"), ("b", "c"), ("c", "a")]]),
        ([("a", "a"), ("b", "b")], 1, [[("a", "a")], [("b", "b")]]),
    ],
)
def test_a_value_is_free_before_it_is_taken(
    changes: list[tuple[str, str]], rows: int, expected: list[list[tuple[str, str]]]
) -> None:
    assert groups(changes, rows=rows) == expected


def test_a_chain_as_long_as_the_plan_is_ordered() -> None:
    chain = [(str(number), str(number + 1)) for number in range(20_000)]
    assert list(itertools.chain(*groups(chain))) == chain[::-1]


def test_a_group_ends_at_so_many_bytes() -> None:
    changes = [(str(number), "") for number in range(5)]
    assert [len(group) for group in groups(changes, size_bytes=20, weight=10)] == [2, 2, 1]


@pytest.mark.parametrize("seed", range(30))
def test_random_moves_never_meet_a_value_that_is_still_held(seed: int) -> None:
    chance = random.Random(seed)
    values = [str(number) for number in range(40)]
    held, wanted = chance.sample(values, 25), chance.sample(values, 25)
    changes = list(zip(held, wanted, strict=True))
    taken = set(held)
    for group in groups(changes, rows=3):
        taken -= {gives for gives, _ in group}
        for _, takes in group:
            assert takes not in taken
            taken.add(takes)
    assert taken == set(wanted)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (b'"Gro\xc3\x9f"', b'"GROSS "', True),
        (b'"e"', b'"\xc3\xa9"', True),
        (b"1", b'"1.00"', True),
        (b"1e2", b"100", True),
        (b'"a"', b'"b"', False),
        (b"X'00ff'", b"X'00fe'", False),
        (b'"\xff"', b'"\xfe"', False),
    ],
)
def test_values_that_any_collation_holds_for_one_are_folded_together(one: bytes, other: bytes, is_same: bool) -> None:
    assert (fold(one) == fold(other)) is is_same
