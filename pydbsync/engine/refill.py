"""The rows of a copy that was left out, and turned out to be an ordinary table: applied from where they were kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydbsync.engine.commits import Commits
from pydbsync.engine.open_batch import OpenBatch
from pydbsync.engine.stages import Stages
from pydbsync.errors import PlanError
from pydbsync.model import Delivery, RowChange
from pydbsync.protocols import Plans
from pydbsync.work import CopyRows


def refill(copy: CopyRows, *, commits: Commits, stages: Stages, new_batch: Callable[[], OpenBatch]) -> None:
    """Apply what was kept of the copy, piece by piece. The place stays; a piece goes with the transaction that applies
    it, so that each row is applied once whenever the worker dies. Raises StopError by policy."""
    plans = stages.plans
    plans.forget()
    while True:
        ids, messages = stages.store.kept_rows(copy)
        if not ids:
            return
        batch = new_batch()
        batch.taken_up.extend(ids)
        for message in messages:
            delivery = Delivery(message, 0, False)
            for change in stages.decode(message):
                if isinstance(change, RowChange) and (change.database, change.table) == copy.copy:
                    _take(batch, plans, delivery, change)
        commits.begin(batch, commits.state)
        commits.settle()


def _take(batch: OpenBatch, plans: Plans[Any], delivery: Delivery, change: RowChange) -> None:
    try:
        routed = plans.route(change)
    except PlanError as exc:
        batch.park_unplanned(delivery, change, str(exc))
        return
    if not routed:
        batch.park_unplanned(delivery, change, "the table that it belongs to could not be made")
    for plan, sent in routed:
        batch.add((delivery, sent, plan))
