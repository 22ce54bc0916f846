"""The way of one change: judged, planned, and then in the open batch, parked with it, or left out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pydbsync.config.settings import Settings
from pydbsync.engine.judge import PLAINLY_NEW, Judgement, Verdict
from pydbsync.engine.notices import Notices
from pydbsync.engine.observe import Observer
from pydbsync.engine.open_batch import BatchLimits, OpenBatch
from pydbsync.engine.repeats import Repeats
from pydbsync.engine.stages import Stages
from pydbsync.engine.two_way import judge_for
from pydbsync.errors import PlanError
from pydbsync.model import Delivery, RowChange, SchemaChange
from pydbsync.plan.agreement import SaidOfRow, said
from pydbsync.work import StreamState


class Intake:
    """Takes changes in, one by one; whoever commits takes `batch` from it and has it begin another."""

    def __init__(
        self,
        settings: Settings,
        stages: Stages,
        *,
        state: StreamState,
        limits: BatchLimits,
        close: Callable[[bool], object],
        observer: Observer,
        log: logging.Logger,
        carries_everything: bool,
        splits_statements: bool,
    ) -> None:
        """`close` commits what is open and opens the next batch; with True that is taken in while the target works."""
        _, _, self._plans, self._schema, self._store, *_ = stages
        self._limits = limits
        self._close = close
        self._observer = observer
        self._log = log
        self._schema.start(state.ghosts)
        self.judge = judge_for(
            settings,
            state,
            copy=self._store.copy_start(state.checkpoint),
            carries_everything=carries_everything,
            splits_statements=splits_statements,
            echoes=stages.echoes,
        )
        self.notices = Notices(settings, judge=self.judge, observer=observer, log=log)
        self._repeats = Repeats(plans=self._plans, store=self._store, log=log)
        self._xid: int | None = None
        self.is_inside_transaction = False
        """Whether the last row was not the last one of its source transaction."""
        self.begin_batch()

    def begin_batch(self) -> None:
        """What comes from here on is another batch's."""
        self.batch = self.new_batch()

    def new_batch(self) -> OpenBatch:
        """One with the limits that hold now."""
        return OpenBatch(store=self._store, plans=self._plans, limits=self._limits)

    def take_row(self, delivery: Delivery, change: RowChange) -> Verdict:
        """Take in a changed row. Raises StopError by policy."""
        if self._schema.is_open:
            self._close(False)
        xid = change.xid
        if xid != self._xid or xid is None:
            # The former transaction is over even where its commit row went to another queue.
            self._xid = xid
            if self.batch.is_full():
                self._close(True)
        batch = self.batch
        batch.bytes += len(delivery.body)
        batch.rows += 1
        judgement = self.judge.judge_row(delivery, change)
        if judgement is PLAINLY_NEW or self._is_taken(delivery, change, judgement):
            batch.ts = change.ts
            plan = self._plans.plan_of(change)
            if plan is not None:
                batch.add((delivery, change, plan))
            elif not batch.add_routed(delivery, change) and (copy := self._schema.keeps(change)) is not None:
                batch.keep(copy, delivery.body)
        if xid is None or change.commit:
            self.is_inside_transaction = False
            self._xid = None
        else:
            self.is_inside_transaction = True
        return judgement.verdict

    def _is_taken(self, delivery: Delivery, change: RowChange, judgement: Judgement) -> bool:
        """Say what is to be said of a change that is not plainly new; whether it is new."""
        self.notices.tell(judgement, change)
        if judgement.is_new_stream:
            self.batch.new_streams.append(delivery.tag)
        if judgement.verdict is Verdict.NEW:
            return True
        self._leave_out(delivery, change, judgement)
        return False

    def _park(self, delivery: Delivery, change: RowChange, reason: str) -> None:
        plan = self._plans.plan_of(change)
        try:
            routed = self._plans.route(change) if plan is None else [(plan, change)]
        except PlanError as exc:
            self.batch.park_unplanned(delivery, change, f"{reason}; {exc}")
            return
        for found, sent in routed:
            self.batch.park_entry((delivery, sent, found), reason)

    def take_schema_change(self, delivery: Delivery, change: SchemaChange) -> Verdict:
        """Take in a message of a schema change, which may have several. Raises StopError by policy."""
        belongs = self._schema.belongs(change)
        if not belongs:
            self._close(False)
        judgement = self.judge.judge_schema_change(delivery, change, is_open=belongs)
        self.notices.tell(judgement, change)
        if judgement.verdict is Verdict.NEW:
            self.batch.ts = change.ts
            self._schema.add(delivery, change)
        else:
            self._leave_out(delivery, change, judgement)
        self.batch.schema_changes += 1
        self.is_inside_transaction = False
        self._xid = None
        return judgement.verdict

    def _take_word(self, delivery: Delivery, change: SaidOfRow) -> None:
        """What the other end says of a row stands in the order of the row's changes: it is for the queue that has
        them, though each queue gets it."""
        if not self._plans.is_fed(change):
            return
        try:
            routed = self._plans.route(change)
        except PlanError as exc:
            self._log.warning("a conflict of %s.%s is not settled: %s", change.database, change.table, exc)
            return
        for plan, sent in routed:
            self.batch.add_said((delivery, sent, plan))

    def _leave_out(self, delivery: Delivery, change: RowChange | SchemaChange, judgement: Judgement) -> None:
        """What is not applied, by its verdict; a repeat is applied where that is harmless."""
        verdict = judgement.verdict
        if verdict is Verdict.UNREADABLE:
            self.batch.park_delivery(delivery, judgement.reason, change)
        elif verdict is Verdict.UNTOLD and isinstance(change, RowChange):
            self.batch.ts = change.ts
            self._park(delivery, change, judgement.reason)
        elif verdict is Verdict.HEARTBEAT:
            self.batch.ts = change.ts
            self.notices.heartbeat()
        elif verdict is Verdict.REPEAT and isinstance(change, RowChange):
            entries = self._repeats.entries(delivery, change)
            if entries is None:
                self.judge.leave_out()
                self._observer.duplicate()
            for entry in entries or ():
                self.batch.add(entry)
        elif verdict is Verdict.ECHO:
            self.batch.ts = change.ts
            self._observer.echo()
        elif verdict is Verdict.STATE:
            self.batch.state_rows += 1
            if isinstance(change, RowChange) and (word := self.judge.word) is not None:
                self._take_word(delivery, said(word, change))
        elif verdict is not Verdict.LATE:
            self._observer.duplicate()
