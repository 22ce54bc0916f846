"""Applies what was parked while the schema changes of a table were paused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pydbsync.ops.parked.retry import RetryOutcome
from pydbsync.ops.parked.select import Selection

_ROUNDS_S = 60.0
_SEEN_S = 1.5
"""Workers look once a second what is paused, and what is parked."""


class Released(NamedTuple):
    """How many were applied, and those that stay because the target refuses one of them."""

    applied: int
    refused: list[RetryOutcome]


class Retries(Protocol):
    """What holds parked changes."""

    def retry(self, selection: Selection) -> Iterator[RetryOutcome]: ...


def apply_what_waits(desk: Retries, selection: Selection) -> Released:
    """Retry until nothing is left, since workers park what comes behind until they see that nothing waits any more."""
    ends_at = time.monotonic() + _ROUNDS_S
    applied, quiet_since = 0, time.monotonic()
    while True:
        outcomes = list(desk.retry(selection))
        applied += sum(each.applied for each in outcomes)
        refused = [each for each in outcomes if not each.applied]
        if any(each.applied for each in outcomes):
            quiet_since = time.monotonic()
        elif refused or time.monotonic() - quiet_since > _SEEN_S or time.monotonic() > ends_at:
            return Released(applied, refused)
        time.sleep(0.2)
