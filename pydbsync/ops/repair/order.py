"""Which changes of a table go into one transaction, and in what order: a value that moves is free before it is taken.

A row that takes a unique value which another row of the plan gives away must be written after that one, or in the same
transaction, where all rows are removed first. Values are told apart more coarsely than any collation does: two that
only look alike keep each other company for nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

_WITHOUT_WEIGHT = frozenset({"Mn", "Mc", "Me", "Cc", "Cf", "Zs", "Zl", "Zp"})
"""Accents, control characters and blanks: what some collation passes over."""

KeyValue: TypeAlias = tuple[object, ...]
"""Which unique key, and its folded values."""


class Moves(NamedTuple):
    """The unique values that a change gives away, and those it takes."""

    gives: frozenset[KeyValue]
    takes: frozenset[KeyValue]


def grouped(
    items: Iterable[T], moves: Callable[[T], Moves], size: Callable[[T], int], *, rows: int, size_bytes: int
) -> Iterator[list[T]]:
    """The items in groups of at most so many rows and bytes; those that need each other stay in one, however large."""
    group: list[T] = []
    held = 0
    for together in _components(list(items), moves):
        weight = sum(map(size, together))
        if group and (len(group) + len(together) > rows or held + weight > size_bytes):
            yield group
            group, held = [], 0
        group += together
        held += weight
    if group:
        yield group


def fold(literal: bytes) -> object:
    """What equal values of a unique key have in common, whatever the collation."""
    text = literal.decode("utf-8", "surrogateescape").strip("\"'")
    try:
        return Decimal(text).normalize()
    except InvalidOperation:
        pass
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(each for each in spread if unicodedata.category(each) not in _WITHOUT_WEIGHT)


def _components(items: Sequence[T], moves: Callable[[T], Moves]) -> Iterator[list[T]]:
    """Items that need each other, those first that others wait for; else in the order given (Tarjan's algorithm)."""
    found = [moves(item) for item in items]
    givers: dict[KeyValue, list[int]] = {}
    for index, move in enumerate(found):
        for value in move.gives:
            givers.setdefault(value, []).append(index)
    waits = [
        sorted({giver for value in move.takes for giver in givers.get(value, ()) if giver != index})
        for index, move in enumerate(found)
    ]
    for component in _strongly_connected(waits):
        yield [items[index] for index in sorted(component)]


def _strongly_connected(edges: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The strongly connected components of a graph, each after those that its edges lead to."""
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    open_nodes: list[int] = []
    place: dict[int, int] = {}
    for root in range(len(edges)):
        if root in number:
            continue
        path = [(root, iter(edges[root]))]  # not by recursion: a chain may be as long as the plan
        while path:
            node, following = path[-1]
            if node not in number:
                number[node] = lowest[node] = len(number)
                place[node] = len(open_nodes)
                open_nodes.append(node)
            step = next((each for each in following if each not in number or each in place), None)
            if step is not None and step not in number:
                path.append((step, iter(edges[step])))
                continue
            if step is not None:
                lowest[node] = min(lowest[node], number[step])
                continue
            path.pop()
            if path:
                parent = path[-1][0]
                lowest[parent] = min(lowest[parent], lowest[node])
            if lowest[node] == number[node]:
                component = open_nodes[place[node] :]
                del open_nodes[place[node] :]
                for each in component:
                    del place[each]
                yield component
