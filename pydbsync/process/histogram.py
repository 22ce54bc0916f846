"""How often a figure was how large: the buckets of Prometheus, counted in the worker once a batch."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec

LAG_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
"""Upper limits; 5 and 15 seconds are those of the alerts."""
BATCH_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_ROWS: Final = (1.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 50_000.0, 100_000.0)


class Histogram(msgspec.Struct):
    """Counts by bucket; the last one has no upper limit."""

    limits: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    @classmethod
    def of(cls, limits: tuple[float, ...]) -> Histogram:
        """An empty one."""
        return cls(limits, [0] * (len(limits) + 1))

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.limits, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """As it is now."""
        return Histogram(self.limits, list(self.counts), self.sum)

    def __add__(self, other: Histogram) -> Histogram:
        counts = [one + another for one, another in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.limits, counts, self.sum + other.sum)

    def to_json(self) -> str:
        """As it is kept for others to read."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: object, limits: tuple[float, ...]) -> Histogram:
        """What was kept; empty where nothing was, or what counts by other limits."""
        try:
            found = msgspec.json.decode(str(text), type=cls)
        except msgspec.MsgspecError:
            return cls.of(limits)
        return found if found.limits == limits and len(found.counts) == len(limits) + 1 else cls.of(limits)

    def since(self, before: Histogram) -> Histogram:
        """What came after that: all of it where the counting has begun anew meanwhile."""
        counts = [one - other for one, other in zip(self.counts, before.counts, strict=False)]
        if self.limits != before.limits or min(counts) < 0:
            return self
        return Histogram(self.limits, counts, self.sum - before.sum)

    def buckets(self) -> list[tuple[str, float]]:
        """Each limit with how many were at most so large, as Prometheus writes them."""
        total, found = 0, []
        for limit, count in zip((*self.limits, float("inf")), self.counts, strict=True):
            total += count
            found.append(("+Inf" if limit == float("inf") else repr(limit), float(total)))
        return found
