"""Which queues a routing key reaches, as RabbitMQ routes it: bindings of queues and of exchanges, followed to their
ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

_EVERYTHING = ("fanout", "x-consistent-hash", "x-modulus-hash", "x-random", "x-recent-history")
"""Exchanges that look at no pattern: a hash sends each key to one of those that are bound."""


class Binding(NamedTuple):
    """From an exchange to a queue or to another exchange."""

    source: str
    destination: str
    is_queue: bool
    key: str


class Routes:
    """The bindings of a virtual host, asked by routing key."""

    def __init__(
        self, exchanges: Mapping[str, str], bindings: Iterable[Binding], alternates: Mapping[str, str] | None = None
    ) -> None:
        """`exchanges` has the type of each by its name, `alternates` the one that gets what none of its bindings
        takes."""
        self._types = dict(exchanges)
        self._alternates = dict(alternates or {})
        self._bindings: dict[str, list[Binding]] = {}
        for binding in bindings:
            self._bindings.setdefault(binding.source, []).append(binding)

    def queues(self, exchange: str, key: str) -> frozenset[str]:
        """All queues that a message to this exchange reaches."""
        found: set[str] = set()
        seen: set[str] = set()
        left = [exchange]
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            kind = self._types.get(name, "topic")
            taken = [each for each in self._bindings.get(name, ()) if matches(kind, each.key, key)]
            found |= {each.destination for each in taken if each.is_queue}
            left += [each.destination for each in taken if not each.is_queue]
            if not taken and name in self._alternates:
                left.append(self._alternates[name])
        return frozenset(found)

    def hashes(self, exchange: str) -> bool:
        """Whether it gives each key to one of its queues alone."""
        return self._types.get(exchange, "").endswith("hash")

    def may_tell(self, exchange: str) -> bool:
        """Whether routing keys decide there: headers and plugins have rules of their own."""
        kind = self._types.get(exchange, "topic")
        return kind in ("topic", "direct", *_EVERYTHING)


def matches(kind: str, pattern: str, key: str) -> bool:
    """Whether a binding of an exchange of this type takes the key. `*` is one word, `#` any number of them."""
    if kind in _EVERYTHING:
        return True
    if kind != "topic":
        return pattern == key
    return _matches(pattern.split("."), key.split("."))


def _matches(pattern: list[str], words: list[str]) -> bool:
    reached = _past_any(pattern, {0})  # places in the pattern that the words so far lead to
    for word in words:
        following = set()
        for place in reached:
            if place < len(pattern):
                if pattern[place] == "#":
                    following.add(place)
                elif pattern[place] in ("*", word):
                    following.add(place + 1)
        reached = _past_any(pattern, following)
    return len(pattern) in reached


def _past_any(pattern: list[str], places: set[int]) -> set[int]:
    """`#` may also stand for no word."""
    left = list(places)
    found = set(places)
    while left:
        place = left.pop()
        if place < len(pattern) and pattern[place] == "#" and place + 1 not in found:
            found.add(place + 1)
            left.append(place + 1)
    return found
