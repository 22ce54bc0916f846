"""The rows of a copy that was left out, and turned out to be an ordinary table: applied from where they were kept."""

from __future__ import annotations

from collections.abc import Callable

from pydbsync.engine.commits import Commits
from pydbsync.engine.open_batch import OpenBatch
from pydbsync.engine.stages import Stages
from pydbsync.model import Delivery
from pydbsync.work import CopyRows


def refill(copy: CopyRows, *, commits: Commits, stages: Stages, new_batch: Callable[[], OpenBatch]) -> None:
    """Apply what was kept of the copy, piece by piece. The place stays; a piece goes with the transaction that applies
    it, so that each row is applied once whenever the worker dies. Raises StopError by policy."""
    stages.plans.forget()
    while True:
        ids, messages = stages.store.kept_rows(copy)
        if not ids:
            return
        batch = new_batch()
        batch.taken_up.extend(ids)
        for message in messages:
            delivery = Delivery(message, 0, False)
            for change in copy.rows_in(stages.decode(message)):
                if not batch.add_routed(delivery, change):
                    batch.park_unplanned(delivery, change, "the table that it belongs to could not be made")
        commits.begin(batch, commits.state)
        commits.settle()
