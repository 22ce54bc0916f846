"""What a queue must still hold follows from what it held and what was acknowledged."""

from __future__ import annotations

import random

from pydbsync.source.arrivals import Arrivals

PREFETCH = 10


def test_what_has_gone_is_seen_at_the_second_look() -> None:
    standing = Arrivals(PREFETCH)
    standing.begin(100)
    assert standing.look(80, delivered=10, acknowledged=10) == 0
    assert standing.look(0, delivered=20, acknowledged=20) == 0
    assert standing.look(0, delivered=20, acknowledged=20) == 70
    assert standing.look(0, delivered=20, acknowledged=20) == 0


def test_what_is_only_away_for_a_moment_has_not_gone() -> None:
    standing = Arrivals(PREFETCH)
    standing.begin(100)
    assert standing.look(0, delivered=10, acknowledged=0) == 0
    assert standing.look(90, delivered=10, acknowledged=0) == 0
    assert standing.look(0, delivered=10, acknowledged=0) == 0


def test_what_was_given_back_must_be_there_again() -> None:
    standing = Arrivals(PREFETCH)
    standing.begin(100)
    standing.end(acknowledged=30)
    assert (standing.lacks(70), standing.lacks(200), standing.lacks(64)) == (0, 0, 6)
    standing.forget()
    assert standing.lacks(0) == 0


def test_a_queue_that_keeps_all_is_never_suspected() -> None:
    """Whatever is published, delivered and acknowledged, and however late each answer comes."""
    chance = random.Random(12)
    for _ in range(300):
        standing = Arrivals(PREFETCH)
        came = chance.randrange(50)
        standing.begin(came)
        delivered = seen = acknowledged = 0
        for _ in range(40):
            known = seen
            came += chance.choice((0, 0, 3, 40))
            delivered = min(came, acknowledged + PREFETCH, delivered + chance.randrange(PREFETCH + 1))
            ready = came - delivered
            seen = chance.randint(seen, delivered)
            acknowledged = chance.randint(acknowledged, seen)
            assert standing.look(ready, delivered=known, acknowledged=acknowledged) == 0
        standing.end(acknowledged)
        assert standing.lacks(came - acknowledged) == 0
