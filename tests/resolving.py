"""An operator who decides all conflicts that are parked at one end for the same side."""

from __future__ import annotations

import logging

from pydbsync.config.settings import Settings
from pydbsync.model import End
from pydbsync.ops.conflict_desk import ConflictDesk, ConflictSelection
from pydbsync.ops.parked.desk import ParkedDesk

LOG = logging.getLogger("tests.resolving")


def decide_all(settings: Settings, take: End) -> int:
    """All that is parked at this end, in order, and again with what waited behind it; how many conflicts it were."""
    conflicts, changes = ConflictDesk(settings, LOG), ParkedDesk(settings, LOG)
    count = 0
    try:
        while next(changes.find(), None) is not None:
            waiting = sorted(each.id for each in conflicts.find(ConflictSelection(decisions=("parked",))))
            for number in waiting:
                if (each := conflicts.named(number)).status == "decided":
                    conflicts.resolve(each, take=take)
                    count += 1
            outcomes = list(changes.retry())
            assert waiting or any(each.applied for each in outcomes), outcomes
    finally:
        conflicts.close()
        changes.close()
    return count
