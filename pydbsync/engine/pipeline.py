"""The flow of one queue: source → decode → judge → plan → open batch ══ COMMIT ══► acknowledgement."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from pydbsync.config.settings import Settings
from pydbsync.engine.commits import Commits
from pydbsync.engine.control import Control
from pydbsync.engine.echoes import Echoes
from pydbsync.engine.judge import PLAINLY_NEW, Judgement, Verdict
from pydbsync.engine.late import LateMessages
from pydbsync.engine.notices import Notices
from pydbsync.engine.observe import Observer
from pydbsync.engine.open_batch import OpenBatch
from pydbsync.engine.refill import refill
from pydbsync.engine.repeats import Repeats
from pydbsync.engine.two_way import judge_for
from pydbsync.errors import DecodeError, PlanError, SourceError, StopError, Stopped
from pydbsync.killpoints import kill_point
from pydbsync.model import Delivery, Marker, RowChange, SchemaChange
from pydbsync.protocols import Decode, Plans, SchemaPlanner, Sink, Source, StateStore
from pydbsync.work import StreamState

_IDLE_WAIT_S = 0.5
PAUSE_LOOK_S = 0.1
"""How often a stream that is paused looks whether it was told to stop; at the target once a second, as ever."""
_LAST_WAIT_S = 0.02
_STOP_S = 2.5
"""How long what was taken in is still applied after being told to stop, where it should not be given back."""
_LOOK_EACH_ROWS = 32
"""How often, while rows are taken in, the target is given the next statement if it has done the last."""


class Stages(NamedTuple):
    """The parts that one queue is followed with."""

    source: Source
    decode: Decode
    plans: Plans[Any]
    schema: SchemaPlanner[Any]
    store: StateStore
    sink: Sink[Any, Any]
    use: Callable[[Settings], object] = lambda settings: None
    """Hands them other settings, between two batches."""
    echoes: Callable[[str | None], Echoes] = lambda state: Echoes("", state)
    """Makes, from what the state keeps of it, what tells the echoes where replay runs in both directions."""


class Pipeline:
    """What one subscription flows through: the loop, and the way of a change through the judge into the batch."""

    def __init__(
        self,
        control: Control,
        stages: Stages,
        *,
        observer: Observer,
        log: logging.Logger,
        until_drained: bool,
        carries_everything: bool,
        splits_statements: bool,
    ) -> None:
        self._control = control
        settings = self._settings = control.settings
        self._stop = threading.Event()
        self._source, self._decode, self._plans, self._schema, self._store, sink, *_ = stages
        self._observer = observer
        self._log = log
        self._until_drained = until_drained
        self._commits = Commits(
            settings, store=self._store, sink=sink, source=self._source, observer=observer, log=log
        )  # fmt: skip
        self._batch = OpenBatch(store=self._store, plans=self._plans)
        state = self._commits.state
        self._schema.start(state.ghosts)
        self._judge = judge_for(
            settings,
            state,
            copy=self._store.copy_start(state.checkpoint),
            carries_everything=carries_everything,
            splits_statements=splits_statements,
            echoes=stages.echoes,
        )
        self._heed(settings)
        self._xid: int | None = None
        self._is_inside_transaction = False
        self._repeats = Repeats(plans=self._plans, store=self._store, log=log)
        self._notices = Notices(settings, judge=self._judge, observer=observer, log=log)
        self._is_late_told = False
        self._leaves_at: float | None = None
        """When the subscription ends, by the monotonic clock, once told to stop."""

    # -- the loop ----------------------------------------------------------------------------------------------------

    def follow(self, stop: threading.Event) -> None:
        """Take in what comes until told to stop, or drained. Raises what ends the subscription."""
        self._stop = stop
        try:
            while (deliveries := self._next(stop)) is not None:
                # What was handed out before comes first: a look at the first one tells, and no row pays for it.
                again = sum(each.redelivered for each in deliveries) if deliveries[0].redelivered else 0
                self._observer.began(redelivered=again)
                self._observer.depth(self._source.depth)
                self._take_in(deliveries, stop)
                if self._must_leave(stop):
                    self._close()
                    return
        finally:
            with contextlib.suppress(SourceError):  # then it comes again, and is left out
                self._settle()

    def _next(self, stop: threading.Event) -> Sequence[Delivery] | None:
        """The next deliveries; meanwhile what is open is committed. None where the subscription is to end."""
        take = self._source.take
        while True:
            batch = self._batch
            if batch.is_open or self._commits.is_under_way:
                deliveries = take(timeout_s=0.0)
                if not deliveries and self._commits.is_under_way:
                    self._settle()  # what is acknowledged with it may be what the broker waits for
                    continue
                if not deliveries and batch.is_open:
                    if self._is_inside_transaction or self._schema.is_open:  # a statement may have more messages
                        deliveries = take(timeout_s=self._settings.transaction_wait_s)
                    if not deliveries:
                        self._close()
                if deliveries:
                    return deliveries
            if stop.is_set() and not self._must_leave(stop):
                if deliveries := take(timeout_s=_LAST_WAIT_S):
                    return deliveries
                continue
            if stop.is_set() or (self._until_drained and self._source.is_drained()):
                return None
            self._take_over()
            self._store.keep_alive()
            deliveries = take(timeout_s=_IDLE_WAIT_S)
            self._look_around()
            if not deliveries:
                self._wait_while_paused()
            if deliveries:
                return deliveries
            self._observer.parked_now(self._store.parked.count)
            self._observer.idle(self._source.depth())
            self._notices.look_for_silence()

    def _take_in(self, deliveries: Sequence[Delivery], stop: threading.Event) -> None:
        """Take deliveries in, in order; commit whenever a limit is reached at the end of a source transaction."""
        commits, decode = self._commits, self._decode
        take_row = self._take_row
        batch = self._batch
        for place, delivery in enumerate(deliveries):
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
            kill_point("after-decode")
            for change in changes:
                if isinstance(change, RowChange):
                    verdict = take_row(delivery, change)
                elif isinstance(change, SchemaChange):
                    if stop.is_set() and not self._schema.belongs(change):
                        return
                    verdict = self._take_schema_change(delivery, change)
                else:
                    self._take_marker(change)
                    continue
                if verdict is Verdict.LATE:
                    self._end_of_order(deliveries[place:])
            batch = self._batch
            batch.tag = delivery.tag
            if (
                batch.rows >= self._most_rows
                or batch.bytes >= self._most_bytes
                or (not self._is_inside_transaction and self._is_full())
            ):
                self._close(go_on=True)
                if self._must_leave(stop):
                    return
                batch = self._batch

    def _must_leave(self, stop: threading.Event) -> bool:
        """Whether what is at hand is given back: at once when told to stop, but for a queue that counts it."""
        if not stop.is_set():
            return False
        if self._leaves_at is None:
            self._leaves_at = time.monotonic() + _STOP_S
        if not self._source.finish():
            return True
        is_late = time.monotonic() >= self._leaves_at
        if is_late and not self._is_late_told:
            self._is_late_told = True
            self._log.warning(
                "what was held of the queue was not applied and acknowledged within %g s: it is given back, which the"
                " queue counts", _STOP_S,
            )  # fmt: skip
        return is_late

    def _is_full(self) -> bool:
        batch = self._batch
        return batch.is_open and (
            len(batch.entries) + len(batch.parked) >= self._pace.rows
            or batch.bytes >= self._full_bytes
            or time.monotonic() - batch.opened_at >= self._full_s
        )

    # -- one change --------------------------------------------------------------------------------------------------

    def _take_row(self, delivery: Delivery, change: RowChange) -> Verdict:
        if self._schema.is_open:
            self._close(reopen=True)
        if change.xid != self._xid or change.xid is None:
            # The former transaction is over even where its commit row went to another queue.
            self._xid = change.xid
            if self._is_full():
                self._close(reopen=True, go_on=True)
        batch = self._batch
        batch.bytes += len(delivery.body)
        batch.rows += 1
        judgement = self._judge.judge_row(delivery, change)
        if judgement is not PLAINLY_NEW:
            self._notices.tell(judgement, change)
            if judgement.is_new_stream:
                batch.new_streams.append(delivery.tag)
        if judgement.verdict is Verdict.NEW:
            batch.ts = change.ts
            plan = self._plans.plan_of(change)
            if plan is not None:
                batch.add((delivery, change, plan))
            else:
                self._route(delivery, change)
        else:
            self._leave_out(delivery, change, judgement)
        self._is_inside_transaction = not change.commit and change.xid is not None
        if not self._is_inside_transaction:
            self._xid = None
        return judgement.verdict

    def _route(self, delivery: Delivery, change: RowChange) -> None:
        try:
            routed = self._plans.route(change)
        except PlanError as exc:
            self._batch.park_unplanned(delivery, change, str(exc))
            return
        for plan, sent in routed:
            self._batch.add((delivery, sent, plan))
        if not routed and (copy := self._schema.keeps(change)) is not None:
            self._batch.keep(copy, delivery.body)

    def _park(self, delivery: Delivery, change: RowChange, reason: str) -> None:
        plan = self._plans.plan_of(change)
        try:
            routed = self._plans.route(change) if plan is None else [(plan, change)]
        except PlanError as exc:
            self._batch.park_unplanned(delivery, change, f"{reason}; {exc}")
            return
        for found, sent in routed:
            self._batch.park_entry((delivery, sent, found), reason)

    def _leave_out(self, delivery: Delivery, change: RowChange | SchemaChange, judgement: Judgement) -> None:
        """What is not applied, by its verdict; a repeat is applied where that is harmless."""
        verdict = judgement.verdict
        if verdict is Verdict.UNREADABLE:
            self._batch.park_delivery(delivery, judgement.reason, change)
        elif verdict is Verdict.UNTOLD and isinstance(change, RowChange):
            self._batch.ts = change.ts
            self._park(delivery, change, judgement.reason)
        elif verdict is Verdict.HEARTBEAT:
            self._batch.ts = change.ts
            self._notices.heartbeat()
        elif verdict is Verdict.REPEAT and isinstance(change, RowChange):
            entries = self._repeats.entries(delivery, change)
            if entries is None:
                self._judge.leave_out()
                self._observer.duplicate()
            for entry in entries or ():
                self._batch.add(entry)
        elif verdict is Verdict.ECHO:
            self._batch.ts = change.ts
            self._observer.echo()
        elif verdict is Verdict.STATE:
            self._batch.state_rows += 1
        elif verdict is not Verdict.LATE:
            self._observer.duplicate()

    def _take_schema_change(self, delivery: Delivery, change: SchemaChange) -> Verdict:
        belongs = self._schema.belongs(change)
        if not belongs:
            self._close(reopen=True)
        judgement = self._judge.judge_schema_change(delivery, change, is_open=belongs)
        self._notices.tell(judgement, change)
        if judgement.verdict is Verdict.NEW:
            self._batch.ts = change.ts
            self._schema.add(delivery, change)
        else:
            self._leave_out(delivery, change, judgement)
        self._batch.schema_changes += 1
        self._is_inside_transaction = False
        self._xid = None
        return judgement.verdict

    def _take_marker(self, marker: Marker) -> None:
        self._log.info("%s of %s.%s", marker.kind, marker.database, marker.table)

    # -- commits -----------------------------------------------------------------------------------------------------

    def _close(self, *, reopen: bool = False, go_on: bool = False) -> None:
        """Commit what is open, then acknowledge it; with `go_on` the next batch is taken in meanwhile."""
        self._settle()
        self._look_around()
        if self._batch.is_open:
            self._wait_for_turn()
        batch, commits = self._batch, self._commits
        if self._schema.is_open:
            fill = partial(refill, commits=commits, store=self._store, plans=self._plans, decode=self._decode)
            commits.run_schema_change(self._schema.take(), batch, generation=self._judge.generation, fill=fill)
            self._plans.forget()
        if batch.is_open:
            former = commits.state
            state = self._judge.state(former)
            state.ghosts = self._schema.ghosts()
            if batch.entries or batch.parked or _has_moved(former, state, is_new=not batch.has_only_state):
                # What is parked has no number yet that later changes could wait behind; what is large is held alone.
                go_on = go_on and not batch.parked and batch.bytes <= 2 * self._settings.batch_bytes
                commits.begin(batch, state)
                self._batch = OpenBatch(store=self._store, plans=self._plans)
                if not go_on:
                    self._settle()
            else:
                commits.acknowledge(batch.tag)
                self._batch = OpenBatch(store=self._store, plans=self._plans)
        self._take_over()
        if reopen:
            self._batch.open()

    def _wait_for_turn(self) -> None:
        """Wait while the stream is paused; then give the target no more rows a second than it is allowed. What is open
        is not committed where the stop comes meanwhile: raises Stopped for a stream that is paused."""
        self._wait_while_paused()
        pace = self._commits.pace
        while (wait_s := pace.wait_s(time.monotonic())) and not self._stop.wait(min(wait_s, _IDLE_WAIT_S)):
            self._store.keep_alive()
            if self._control.is_waiting:
                return

    def _wait_while_paused(self) -> None:
        """Hold what was taken in, and the subscription with it, until an operator resumes. Raises Stopped."""
        if not self._store.pauses.whole:
            return
        self._log.warning("paused: %s", self._store.pauses.whole)
        while self._store.pauses.whole:
            self._observer.now("paused")
            if self._stop.wait(PAUSE_LOOK_S):
                raise Stopped("stopped while it was paused")
            self._store.keep_alive()
            self._look_around()
        self._log.info("resumed")
        self._observer.now("following")

    def _take_over(self) -> None:
        """Go on with other settings, where some were given: nothing that was taken in before is without its commit."""
        if not self._control.is_waiting:
            return
        self._settle()
        self._control.take_over()
        settings = self._settings = self._control.settings
        self._commits.use(settings)
        self._heed(settings)
        self._notices.use(settings)
        self._log.info("the configuration that was given holds from here on")

    def _heed(self, settings: Settings) -> None:
        """The limits of a batch, which are asked for after each row."""
        self._full_bytes, self._full_s, self._pace = settings.batch_bytes, settings.batch_time_s, self._commits.pace
        self._most_bytes = 4 * settings.batch_bytes
        # The broker hands out no more than `prefetch` before an acknowledgement: a longer transaction is cut there at
        # once, rather than waited for.
        self._most_rows = min(settings.transaction_rows, settings.prefetch)

    def _settle(self) -> None:
        if self._commits.settle():
            self._batch.plan_again()

    def _end_of_order(self, deliveries: Sequence[Delivery]) -> NoReturn:
        """Store all that came back behind newer messages, whatever else has to stop, and say what happened."""
        stopped: StopError | None = None
        try:
            self._settle()
        except StopError as exc:
            stopped = exc
        late = LateMessages(self._source, decode=self._decode, judge=self._judge, plans=self._plans)
        late.collect(deliveries, log=self._log)
        self._commits.store(late.parked)
        error = late.error()
        if stopped is not None:
            raise stopped from error
        with contextlib.suppress(SourceError):
            self._batch.tag = max(self._batch.tag, late.tag)
            self._close()
        raise error

    def _look_around(self) -> None:
        """Notice what others have done at the target. Only between transactions."""
        if self._store.look_around():
            self._batch.plan_again(look_again=True)


def _has_moved(former: StreamState, state: StreamState, *, is_new: bool) -> bool:
    """Whether the state is to be committed; `is_new` is False where a new place alone is not worth it."""
    return (is_new and former.checkpoint != state.checkpoint) or (
        (former.ghosts, former.bootstrapped, former.echoes) != (state.ghosts, state.bootstrapped, state.echoes)
    )
