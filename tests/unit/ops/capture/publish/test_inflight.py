"""Which messages on their way are confirmed, in whatever order the broker answers."""

from __future__ import annotations

import random

from pydbsync.ops.capture.publish.inflight import InFlight, Sent


def flight(count: int, *, texts: int = 1) -> InFlight:
    made = InFlight()
    for number in range(count):
        made.add(Sent(number + 1, texts, f"k{number + 1}", b""))
    return made


def test_confirms_count_from_the_first_on_without_a_gap() -> None:
    made = flight(5, texts=10)
    made.answer(3, multiple=False, is_refused=False)
    assert (made.confirmed, made.count, made.size_bytes) == (0, 4, 12)
    made.answer(1, multiple=False, is_refused=False)
    assert made.confirmed == 10
    made.answer(2, multiple=False, is_refused=False)
    assert (made.confirmed, made.count) == (30, 2)
    made.answer(5, multiple=True, is_refused=False)
    assert (made.confirmed, made.count, made.size_bytes) == (50, 0, 0)


def test_nothing_behind_a_refused_message_counts() -> None:
    made = flight(4)
    made.answer(2, multiple=False, is_refused=True)
    assert made.refused is None  # it is not the first yet: 1 has no answer
    made.answer(1, multiple=False, is_refused=False)
    assert made.refused is not None
    assert (made.refused.key, made.confirmed, made.is_out_of_order) == ("k2", 1, False)
    made.answer(4, multiple=True, is_refused=True)
    assert (made.confirmed, made.count, made.is_out_of_order) == (1, 0, False)


def test_what_was_taken_behind_a_refused_message_is_out_of_order() -> None:
    made = flight(3)
    made.answer(3, multiple=False, is_refused=False)
    made.answer(2, multiple=True, is_refused=True)
    assert (made.confirmed, made.count, made.is_out_of_order) == (0, 0, True)


def test_a_returned_message_and_what_comes_behind_it_do_not_count() -> None:
    made = flight(3)
    made.answer(1, multiple=False, is_refused=False)
    made.is_frozen = True
    made.answer(3, multiple=True, is_refused=False)
    assert (made.confirmed, made.count) == (1, 0)


def test_any_order_of_answers_comes_to_the_same() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        made = flight(30)
        refused = {tag for tag in range(1, 31) if chance.random() < chance.choice([0, 0.1])}
        tags = list(range(1, 31))
        chance.shuffle(tags)
        answered: set[int] = set()
        for tag in tags:
            if tag in answered:
                continue
            open_before = set(range(1, tag + 1)) - answered
            multiple = chance.random() < 0.3 and len({each in refused for each in open_before}) == 1
            made.answer(tag, multiple=multiple, is_refused=tag in refused)
            answered |= open_before if multiple else {tag}
            assert made.count == 30 - len(answered)
        assert (made.count, made.size_bytes) == (0, 0)
        assert made.confirmed == min(refused, default=31) - 1
        assert (made.refused is None) == (not refused)
        assert made.is_out_of_order == bool(set(range(min(refused, default=31), 31)) - refused)
