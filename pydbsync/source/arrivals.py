"""Whether a queue still has all that nobody has acknowledged: what was purged from it shows in how many are left."""

from __future__ import annotations


class Arrivals:
    """A lower bound of how many messages have come to the queue. It only ever grows, and only acknowledgements make
    fewer stand in the queue: where the broker counts less, some have gone another way.

    Counted from the beginning of a subscription, as its delivery tags are.
    """

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self._came = 0
        self._short = 0
        self._kept: int | None = None
        """What must stand in the queue when it is subscribed to again; None where others may have read it."""

    def forget(self) -> None:
        """Others may have read the queue since."""
        self._kept = None

    def lacks(self, ready: int) -> int:
        """How many have gone since the last subscription ended, of a queue that nobody reads now."""
        return max(0, (self._kept or 0) - ready)

    def begin(self, ready: int) -> None:
        """A subscription begins with so many."""
        self._came, self._short, self._kept = ready, 0, None

    def end(self, acknowledged: int) -> None:
        """The subscription is over; what was not acknowledged is given back."""
        self._kept = max(0, self._came - acknowledged)

    def look(self, ready: int, *, delivered: int, acknowledged: int) -> int:
        """How many have gone at least; `delivered` as it was known before the broker was asked, `acknowledged` now.

        Up to `prefetch` more than the acknowledged ones may be on their way to us. Believed when it is seen twice in
        succession: who looks at messages and gives them back has them for a moment.
        """
        short = self._came - ready - acknowledged - self._prefetch
        gone = min(short, self._short)
        self._came, self._short = max(self._came, ready + delivered), max(short, 0)
        if gone <= 0:
            return 0
        self.begin(ready + delivered)
        return gone
