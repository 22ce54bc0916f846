"""Which queue carries a table."""

from __future__ import annotations

import pytest

from pydbsync.config.settings import QueueSettings
from pydbsync.ops.verify.place import carries, topic_matches


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("#", "d.t", True),
        ("d.t", "d.t", True),
        ("d.*", "d.t", True),
        ("*.t", "d.t", True),
        ("d.#", "d.t", True),
        ("d.#", "d", True),
        ("#.t", "d.t", True),
        ("d.t.#", "d.t", True),
        ("d", "d.t", False),
        ("d.*", "d.t.u", False),
        ("d.u", "d.t", False),
        ("*", "d.t", False),
    ],
)
def test_a_topic_is_matched_word_by_word(pattern: str, key: str, matches: bool) -> None:
    assert topic_matches(pattern, key) is matches


@pytest.mark.parametrize(
    ("kind", "keys", "carried"),
    [
        ("topic", ("d.*",), True),
        ("topic", ("e.*", "d.t"), True),
        ("topic", ("e.*",), False),
        ("direct", ("d.t",), True),
        ("direct", ("d.*",), False),
        ("fanout", ("e.*",), True),
        ("headers", (), True),
        ("topic", (), True),
    ],
)
def test_a_queue_carries_what_its_exchange_sends_there(kind: str, keys: tuple[str, ...], carried: bool) -> None:
    queue = QueueSettings(queue="q", exchange="maxwell", exchange_type=kind, routing_keys=keys)
    assert carries(queue, "d.t") is carried
