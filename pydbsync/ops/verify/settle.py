"""Which of the rows that looked different really are, while changes flow.

A row is read at the source; when the target has passed the source's place of that moment, it is read there, and then
once more at the source. If the target holds what the source held before or after, they are equal. If the source held
the same both times and the target another, that is a difference; it counts when a second pass finds just the same. A
row that changes all the time is asked again, with growing pauses.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from pydbsync.errors import Stopped
from pydbsync.model import TableName
from pydbsync.ops.verify.matching import TableSides
from pydbsync.ops.verify.place import Passed, Streams
from pydbsync.ops.verify.sides import FoundRow, Request

_REQUESTS = 200
"""Rows that are asked for in one query."""


class SettleOptions(msgspec.Struct, frozen=True):
    """How long to wait and how often to ask again."""

    passes: int = 12
    """Passes at most; a row that still changes then is in flux."""
    blind_passes: int = 3
    """Passes that a difference must last where the target's place cannot be known."""
    pause_s: float = 0.2
    """Before the second pass; grows by half each time."""
    blind_pause_s: float = 1.0
    """The same where the target's place cannot be known."""
    wait_s: float = 600.0
    """Longest wait for the target to pass a place."""
    stall_s: float = 10.0
    """A stream that has not moved for so long is not waited for: replay that was killed may need it to begin again."""


class RowVerdict(NamedTuple):
    """A row that is not the same on both sides."""

    identity: object
    source: FoundRow | None
    target: FoundRow | None
    is_proven: bool
    """Whether the target is known to have passed the source's place."""


class Settled(NamedTuple):
    """What became of rows that looked different."""

    different: list[RowVerdict]
    in_flux: int
    """Rows that changed in every pass."""
    unreadable: dict[Request, str] = {}  # noqa: RUF012
    """Rows that a server could not give as they are, and what it said."""


class Settler:
    """Asks again until it is known; remembers for all tables whether the target's place can be known at all."""

    def __init__(self, streams: Streams, options: SettleOptions, stop: threading.Event) -> None:
        self._streams = streams
        self._options = options
        self._stop = stop
        self._stalled: dict[str, object] = {}
        """The checkpoint of each stream that was waited for in vain: and is not again while it stands there."""

    def settle(self, sides: TableSides, requests: Collection[Request]) -> Settled:
        """The verdict on each of these rows. Raises ApplyError, Stopped."""
        different: list[RowVerdict] = []
        unreadable: dict[Request, str] = {}
        in_flux = 0
        # One row without a key may be under several digests, where a value can be spelled in several ways.
        parts = _parts(sorted(requests)) if sides.has_key else [sorted(requests)]
        for part in parts:
            settled = self._settle_part(sides, part)
            different += settled.different
            unreadable.update(settled.unreadable)
            in_flux += settled.in_flux
        return Settled(different, in_flux, unreadable)

    @property
    def why_unproven(self) -> str:
        """Why the target's place is not known, in parentheses; empty where nothing is known of that."""
        return f" ({self._streams.why_unknown})" if self._streams.why_unknown else ""

    def catch_up(self, tables: list[TableName]) -> None:
        """Wait for the target to pass what the source has written by now, as far as that can be known."""
        self._wait(tables)

    def _settle_part(self, sides: TableSides, requests: Collection[Request]) -> Settled:
        options = self._options
        tables = [part.name for part in sides.pair.sources]
        different: list[RowVerdict] = []
        unreadable: dict[Request, str] = {}
        seen: dict[object, tuple[RowVerdict, int]] = {}
        pause_s, blind_pause_s = options.pause_s, options.blind_pause_s
        for _ in range(options.passes):
            before = sides.source.fetch(requests)
            passed = self._wait(tables)
            held = sides.target.fetch(requests)
            after = sides.source.fetch(requests)
            is_proven = passed is Passed.YES
            needed = 2 if is_proven else options.blind_passes
            now: dict[object, tuple[RowVerdict, int]] = {}
            for identity in {*before, *held, *after}:
                doubts = [each[identity].doubt for each in (before, held, after) if identity in each]
                if any(doubts):
                    unreadable[identity] = max(doubts)  # type: ignore[index]
                    continue
                verdict = RowVerdict(identity, after.get(identity), held.get(identity), is_proven)
                states = (_state(before.get(identity)), _state(verdict.source))
                if _state(verdict.target) in states:
                    continue
                is_steady = states[0] == states[1]
                former = seen.get(identity)
                times = former[1] + 1 if former is not None and _is_same(former[0], verdict) else 1
                now[identity] = (verdict, times if is_steady else 0)
            sure = {identity: verdict for identity, (verdict, times) in now.items() if times >= needed}
            if len(sure) == len(now):
                return Settled([*different, *sure.values()], 0, unreadable)
            if sides.has_key:
                different += sure.values()
                now = {identity: each for identity, each in now.items() if identity not in sure}
                requests = [identity for identity in now if isinstance(identity, tuple)]
            seen = now
            if self._stop.wait(pause_s if is_proven else blind_pause_s):
                raise Stopped("stopped while rows were looked at again")
            pause_s, blind_pause_s = pause_s * 1.5, blind_pause_s * 1.5
        sure_at_last = [verdict for verdict, times in seen.values() if times >= needed]
        return Settled([*different, *sure_at_last], len(seen) - len(sure_at_last), unreadable)

    def _wait(self, tables: list[TableName]) -> Passed:
        place = self._streams.source_place()
        names = self._streams.names(tables)
        # Replay that was started again goes on, and is waited for as before.
        stalled = any(self._streams.checkpoint(name) == self._stalled[name] for name in names if name in self._stalled)
        answer = self._streams.wait_until_passed(
            place,
            tables,
            stop=self._stop,
            limit_s=0.0 if stalled else self._options.wait_s,
            stall_s=0.0 if stalled else self._options.stall_s,
        )
        if answer is Passed.NO:
            self._stalled.update({name: self._streams.checkpoint(name) for name in names})
        elif answer is Passed.YES:
            for name in names:
                self._stalled.pop(name, None)
        return answer


def _is_same(former: RowVerdict, now: RowVerdict) -> bool:
    return _state(former.source) == _state(now.source) and _state(former.target) == _state(now.target)


def _state(found: FoundRow | None) -> object:
    return None if found is None else found.state


def _parts(requests: Iterable[Request]) -> Iterator[list[Request]]:
    part: list[Request] = []
    for request in requests:
        part.append(request)
        if len(part) == _REQUESTS:
            yield part
            part = []
    if part:
        yield part
