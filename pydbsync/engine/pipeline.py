"""The flow of one queue: source → decode → judge → plan → open batch ══ COMMIT ══► acknowledgement."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from pydbsync.engine.commits import Commits
from pydbsync.engine.control import Control
from pydbsync.engine.intake import Intake
from pydbsync.engine.judge import Verdict
from pydbsync.engine.late import LateMessages
from pydbsync.engine.observe import Observer
from pydbsync.engine.open_batch import BatchLimits
from pydbsync.engine.refill import refill
from pydbsync.engine.stages import Stages
from pydbsync.engine.turn import Turn
from pydbsync.errors import DecodeError, SourceError, StopError, Stopped
from pydbsync.killpoints import IS_ARMED, kill_point
from pydbsync.model import Delivery, RowChange, SchemaChange
from pydbsync.work import StreamState

_IDLE_WAIT_S = 0.5
_LAST_WAIT_S = 0.02
_LOOK_EACH_ROWS = 32
"""How often, while rows are taken in, the target is given the next statement if it has done the last."""


class Pipeline:
    """The loop: what comes is taken in, what is open is committed, what is committed is acknowledged."""

    def __init__(
        self,
        control: Control,
        stages: Stages,
        *,
        turn: Turn,
        observer: Observer,
        log: logging.Logger,
        until_drained: bool,
        carries_everything: bool,
        splits_statements: bool,
    ) -> None:
        settings = control.settings
        self._control = control
        self._stages = stages
        self._source, self._schema, self._store = stages.source, stages.schema, stages.store
        self._turn = turn
        self._observer = observer
        self._log = log
        self._until_drained = until_drained
        self._transaction_wait_s = settings.transaction_wait_s
        self._commits = Commits(
            settings, store=self._store, sink=stages.sink, source=self._source, observer=observer, log=log
        )  # fmt: skip
        self._limits = BatchLimits(settings, self._commits.pace)
        self._intake = Intake(
            settings,
            stages,
            state=self._commits.state,
            limits=self._limits,
            close=lambda go_on: self._close(reopen=True, go_on=go_on),
            observer=observer,
            log=log,
            carries_everything=carries_everything,
            splits_statements=splits_statements,
        )

    def follow(self, stop: threading.Event) -> None:
        """Take in what comes until told to stop, or drained. Raises what ends the subscription."""
        try:
            while (deliveries := self._next(stop)) is not None:
                # What was handed out before comes first: a look at the first one tells, and no row pays for it.
                again = sum(each.redelivered for each in deliveries) if deliveries[0].redelivered else 0
                self._observer.began(redelivered=again)
                self._observer.depth(self._source.depth)
                self._take_in(deliveries, stop)
                if self._turn.must_leave():
                    self._close()
                    return
        finally:
            with contextlib.suppress(SourceError):  # then it comes again, and is left out
                self._settle()

    def _next(self, stop: threading.Event) -> Sequence[Delivery] | None:
        """The next deliveries; meanwhile what is open is committed. None where the subscription is to end."""
        take, intake, commits = self._source.take, self._intake, self._commits
        while True:
            if intake.batch.is_open or commits.is_under_way:
                deliveries = take(timeout_s=0.0)
                if not deliveries and commits.is_under_way:
                    self._settle()  # what is acknowledged with it may be what the broker waits for
                    continue
                if not deliveries and intake.batch.is_open:
                    if intake.is_inside_transaction or self._schema.is_open:  # a statement may have more messages
                        deliveries = take(timeout_s=self._transaction_wait_s)
                    if not deliveries:
                        self._close()
                if deliveries:
                    return deliveries
            if stop.is_set() and not self._turn.must_leave():
                if deliveries := take(timeout_s=_LAST_WAIT_S):
                    return deliveries
                continue
            if stop.is_set() or (self._until_drained and self._source.is_drained()):
                return None
            self._take_over()
            self._store.keep_alive()
            deliveries = take(timeout_s=_IDLE_WAIT_S)
            self._look_around()
            if deliveries:
                return deliveries
            self._wait_while_paused()
            self._observer.parked_now(self._store.parked.count)
            self._observer.idle(self._source.depth())
            intake.notices.look_for_silence()

    def _take_in(self, deliveries: Sequence[Delivery], stop: threading.Event) -> None:
        """Take deliveries in, in order; commit whenever a limit is reached at the end of a source transaction."""
        commits, intake, limits = self._commits, self._intake, self._limits
        decode, take_row = self._stages.decode, intake.take_row
        batch = intake.batch
        for delivery in deliveries:
            if commits.is_under_way and batch.rows % _LOOK_EACH_ROWS == 0 and commits.has_answer():
                self._settle()
            if not batch.is_open:
                batch.open()
            try:
                changes = decode(delivery.body)
            except DecodeError as exc:
                batch.park_delivery(delivery, str(exc), input_format=exc.input_format)
                batch.tag = delivery.tag
                continue
            if IS_ARMED:
                kill_point("after-decode")
            for change in changes:
                if isinstance(change, RowChange):
                    verdict = take_row(delivery, change)
                elif isinstance(change, SchemaChange):
                    if stop.is_set() and not self._schema.belongs(change):
                        return
                    verdict = intake.take_schema_change(delivery, change)
                else:
                    self._log.info("%s of %s.%s", change.kind, change.database, change.table)
                    continue
                if verdict is Verdict.LATE:
                    self._end_of_order([each for each in deliveries if each.tag >= delivery.tag])
            batch = intake.batch
            batch.tag = delivery.tag
            if (
                batch.rows >= limits.most_rows
                or batch.bytes >= limits.most_bytes
                or (not intake.is_inside_transaction and batch.is_full())
            ):
                self._close(go_on=True)
                if self._turn.must_leave():
                    return
                batch = intake.batch

    def _close(self, *, reopen: bool = False, go_on: bool = False) -> None:
        """Commit what is open, then acknowledge it; with `go_on` the next batch is taken in meanwhile. Raises Stopped
        where told to stop while the stream is paused: then it is not committed."""
        self._settle()
        self._look_around()
        commits, intake = self._commits, self._intake
        if intake.batch.is_open:
            self._wait_while_paused()
            self._turn.wait_for_pace(commits.pace)
        batch = intake.batch
        if self._schema.is_open:
            fill = partial(refill, commits=commits, stages=self._stages, new_batch=intake.new_batch)
            commits.run_schema_change(self._schema.take(), batch, generation=intake.judge.generation, fill=fill)
            self._stages.plans.forget()
        if batch.is_open:
            former = commits.state
            state = intake.judge.state(former)
            state.ghosts = self._schema.ghosts()
            if batch.entries or batch.parked or _has_moved(former, state, is_new=not batch.has_only_state):
                # What is parked has no number yet that later changes could wait behind; what is large is held alone.
                go_on = go_on and not batch.parked and batch.bytes <= 2 * self._limits.bytes
                commits.begin(batch, state)
                intake.begin_batch()
                if not go_on:
                    self._settle()
            else:
                commits.acknowledge(batch.tag)
                intake.begin_batch()
        self._take_over()
        if reopen:
            intake.batch.open()

    def _settle(self) -> None:
        if self._commits.settle():
            self._intake.batch.plan_again()

    def _look_around(self) -> None:
        """Notice what others have done at the target. Only between transactions."""
        if self._store.look_around():
            self._intake.batch.plan_again(look_again=True)

    def _wait_while_paused(self) -> None:
        """Hold what was taken in, and the subscription with it, until an operator resumes. Raises Stopped."""
        if not self._turn.wait_while_paused(self._look_around):
            raise Stopped("stopped while it was paused")

    def _take_over(self) -> None:
        """Go on with other settings, where some were given: nothing that was taken in before is without its commit."""
        if not self._control.is_waiting:
            return
        self._settle()
        self._control.take_over()
        settings = self._control.settings
        self._transaction_wait_s = settings.transaction_wait_s
        self._commits.use(settings)
        self._limits.use(settings, self._commits.pace)
        self._intake.notices.use(settings)
        self._log.info("the configuration that was given holds from here on")

    def _end_of_order(self, deliveries: Sequence[Delivery]) -> NoReturn:
        """Store all that came back behind newer messages, whatever else has to stop, and say what happened."""
        stopped: StopError | None = None
        try:
            self._settle()
        except StopError as exc:
            stopped = exc
        late = LateMessages(
            self._source, decode=self._stages.decode, judge=self._intake.judge, plans=self._stages.plans
        )  # fmt: skip
        late.collect(deliveries, log=self._log)
        self._commits.store(late.parked)
        error = late.error()
        if stopped is not None:
            raise stopped from error
        with contextlib.suppress(SourceError):
            self._intake.batch.tag = max(self._intake.batch.tag, late.tag)
            self._close()
        raise error


def _has_moved(former: StreamState, state: StreamState, *, is_new: bool) -> bool:
    """Whether the state is to be committed; `is_new` is False where a new place alone is not worth it."""
    return (is_new and former.checkpoint != state.checkpoint) or (
        (former.ghosts, former.bootstrapped, former.echoes) != (state.ghosts, state.bootstrapped, state.echoes)
    )
