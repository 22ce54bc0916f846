"""Changes that were applied before and are made again, since rows of a bootstrap may have been written over them."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import Delivery, RowChange, TableName
from pydbsync.protocols import Plans, StateStore
from pydbsync.work import Entry


class Repeats:
    """Says how a repeat is to be made, where that is harmless.

    Rows of a bootstrap have no place, so that they are written whenever they come, and they may be older than what was
    applied before: all that follows them is made again, which leads to the same end where the table has a key.
    Maxwell also holds changes back while it reads a table, and prints them behind newer ones of other tables.
    """

    def __init__(self, *, plans: Plans[Any], store: StateStore, log: logging.Logger) -> None:
        self._plans = plans
        self._store = store
        self._log = log
        self._named_keyless: set[TableName] = set()

    def entries(self, delivery: Delivery, change: RowChange) -> list[Entry[Any]] | None:
        """The change as it is to be made again; None where it is left out."""
        try:
            routed = self._plans.route(change)
        except PlanError:
            return None
        if not all(plan.has_key for plan, _ in routed):
            self._name_keyless(change)
            return None
        if self._store.parked and self._store.was_parked(change.position or "", delivery.body):
            return None
        # The row may be there already.
        return [
            (delivery, msgspec.structs.replace(sent, kind="bootstrap-insert") if sent.kind == "insert" else sent, plan)
            for plan, sent in routed
        ]

    def _name_keyless(self, change: RowChange) -> None:
        name = TableName(change.database, change.table)
        if name not in self._named_keyless:
            self._log.warning(
                "%s has no key: what Maxwell held back of it during its bootstrap cannot be told from what comes"
                " again, and is left out (first at %s); compare the table with the source", name, change.position,
            )  # fmt: skip
        self._named_keyless.add(name)
