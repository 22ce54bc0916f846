"""The flow of one queue: source → decode → route → plan → apply ══ COMMIT ══► ack."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pydbsync.apply.applier import Entry, Work, park_row
from pydbsync.apply.checkpoint import StreamState
from pydbsync.apply.parked import PENDING, ParkedChange, ParkedRows, describe_change
from pydbsync.backoff import Backoff
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.gaps import HeartbeatWatch, TransactionWatch
from pydbsync.engine.observe import Observer
from pydbsync.engine.pace import BatchPace
from pydbsync.engine.schema_flow import SchemaFlow
from pydbsync.engine.table_plans import TablePlans
from pydbsync.engine.target import Target
from pydbsync.errors import BrokenOrderError, DecodeError, PlanError, SourceError, StopError, TransientError
from pydbsync.killpoints import kill_point
from pydbsync.model import Delivery, Marker, Place, RowChange, SchemaChange, TableName
from pydbsync.places import Progress, Verdict
from pydbsync.plan.batch import Batch
from pydbsync.plan.identity import row_identity
from pydbsync.protocols import Source

_IDLE_WAIT_S = 0.5
_LATE_WAIT_S = 1.0
_LOOK_EACH_ROWS = 32
"""How often, while rows are taken in, the target is given the next statement if it has done the last."""


class Pipeline:
    """Follows one source until it is told to stop, or, with `until_drained`, until nothing is left."""

    def __init__(
        self,
        settings: Settings,
        *,
        source: Source,
        applier: Target,
        plans: TablePlans,
        observer: Observer,
        log: logging.Logger,
        until_drained: bool = False,
        carries_everything: bool = True,
    ) -> None:
        """`carries_everything`: every row of a source transaction comes this way, so that a hole is a loss."""
        self._settings = settings
        self._carries_everything = carries_everything
        self._source = source
        self._applier = applier
        self._plans = plans
        self._schema = SchemaFlow(settings, applier=applier, plans=plans, log=log)
        self._observer = observer
        self._log = log
        self._until_drained = until_drained

    def run(self, stop: threading.Event) -> None:
        """Take ownership, subscribe, follow; after any loss of the source do the same again.

        Raises ConfigError, StopError, CheckpointConflict, BrokenOrderError.
        """
        backoff = Backoff(self._settings.retry.first_s, self._settings.retry.max_s)
        is_away = is_target_lost = False
        try:
            while not stop.is_set():
                # First the lock, then the subscription: a stand-by must never be a waiting consumer, since RabbitMQ
                # would hand it newer messages before the ones that come back.
                self._observer.now("waiting for the target")
                state = self._applier.acquire(stop, is_away=is_target_lost)
                if state is None:
                    return
                is_target_lost = False
                try:
                    self._plans.attach(self._applier.catalog, self._applier.dialect)
                    self._observer.now("waiting for the queue")
                    self._source.open(stop, self._applier.keep_alive)
                    if stop.is_set():
                        return
                    if is_away:
                        self._log.info("the source is back")
                    is_away = False
                    backoff.reset()
                    self._observer.now("following")
                    self._follow(state, stop)
                    return
                except BrokenOrderError:
                    raise
                except SourceError as exc:
                    if not is_away:
                        self._log.warning("the source is away, waiting: %s", exc)
                    is_away = True
                    self._source.close()
                    backoff.wait(stop)
                except TransientError as exc:
                    # Lost while something was looked up: what was taken in comes again.
                    self._log.warning("the target was lost, beginning anew at the checkpoint: %s", exc)
                    is_target_lost = True
                    self._source.close()
                    self._applier.release()
                    backoff.wait(stop)
        finally:
            self._source.close()
            self._applier.release()

    def _follow(self, state: StreamState, stop: threading.Event) -> None:
        run = _Run(self, self._applier.state or state)
        try:
            self._take_in(run, stop)
        finally:
            with contextlib.suppress(SourceError):  # then it comes again, and is left out
                run.settle()

    def _take_in(self, run: _Run, stop: threading.Event) -> None:
        take, wait_s = self._source.take, self._settings.transaction_wait_s
        while True:
            deliveries = take(timeout_s=0.0) if run.has_open_work or run.is_committing else ()
            if not deliveries and run.is_committing:
                run.settle()  # what is acknowledged with it may be what the broker waits for
                continue
            if not deliveries and run.has_open_work:
                if run.is_inside_transaction or self._schema.is_open:  # a statement may have more messages
                    deliveries = take(timeout_s=wait_s)
                if not deliveries:
                    run.close_batch()
            if not deliveries:
                if stop.is_set():
                    return
                if self._until_drained and self._source.is_drained():
                    return
                self._applier.keep_alive()
                deliveries = take(timeout_s=_IDLE_WAIT_S)
                if not deliveries:
                    self._observer.idle(self._source.depth())
                    run.look_for_silence()
                    continue
            if not run.has_open_work and not run.is_committing:
                self._applier.refresh_parked()
            self._observer.began()
            self._observer.depth(self._source.depth)
            run.handle(deliveries, stop)
            if run.broken_order is not None:
                raise run.end_of_order(stop)
            if stop.is_set():
                run.close_batch()
                return


class _Begun(NamedTuple):
    """A batch that the target works on."""

    work: Work
    tag: int
    ts: int
    at: float


class _Run:
    """What belongs to one subscription: progress, the open batch, and what is still to be acknowledged."""

    def __init__(self, pipeline: Pipeline, state: StreamState) -> None:
        self._source = pipeline._source
        self._applier = pipeline._applier
        self._plans = pipeline._plans
        self._schema = pipeline._schema
        self._settings = pipeline._settings
        self._observer = pipeline._observer
        self._log = pipeline._log
        self._progress = Progress(state.checkpoint)
        self._state = state
        self._schema.start(state.ghosts)
        self._copy = self._applier.copy_start(state.checkpoint)
        self._since = self._progress.place()
        self._has_fresh = False
        self.broken_order: BrokenOrderError | None = None
        self._bootstrapped = set(state.bootstrapped)
        """Source tables of which rows without a place came, and no newer change since."""
        self._named_keyless: set[TableName] = set()
        self._xid: int | None = None
        # The broker hands out no more than `prefetch` before an acknowledgement: a longer transaction is cut there at
        # once, rather than waited for.
        self._most_rows = min(self._settings.transaction_rows, self._settings.prefetch)
        self._pace = BatchPace(most_rows=self._settings.batch_rows, time_s=self._settings.batch_time_s)
        self.is_inside_transaction = False
        self._heartbeat_table = tuple(self._settings.heartbeat_table.split(".", 1))
        self._heartbeats = HeartbeatWatch(state.heartbeat, state.heartbeat_ts)
        self._holes = TransactionWatch(state.checkpoint.place) if pipeline._carries_everything else None
        self._duplicates = 0
        """Left out since the state was stored last."""
        self._begun: _Begun | None = None
        self._new_batch()

    # -- the open batch ----------------------------------------------------------------------------------------------

    def _new_batch(self) -> None:
        self._batch = Batch()
        self._entries: list[Entry] = []
        self._parked: list[ParkedChange] = []
        self._parked_after: list[int] = []
        """How many of `_entries` came before each of `_parked`."""
        self._pending: ParkedRows | None = None
        """What later changes must wait for, of those in `_parked`."""
        self._bytes = 0
        self._rows = 0
        self._opened_at = 0.0
        self._tag = 0
        self._ts = 0
        self.has_open_work = False

    def handle(self, deliveries: Sequence[Delivery], stop: threading.Event) -> None:
        """Take in deliveries in order; commit whenever a limit is reached at the end of a source transaction."""
        settings = self._settings
        for delivery in deliveries:
            if self.broken_order is not None and not delivery.redelivered:
                return
            if self._begun is not None and self._rows % _LOOK_EACH_ROWS == 0 and self._applier.advance():
                self.settle()
            if not self.has_open_work:
                self._opened_at = time.monotonic()
                self.has_open_work = True
            try:
                change = decode_message(delivery.body)
            except DecodeError as exc:
                self._park_delivery(delivery, str(exc))
                self._tag = delivery.tag
                continue
            kill_point("after-decode")
            if isinstance(change, RowChange):
                if self._schema.is_open:
                    self.close_batch(reopen=True)
                if change.xid != self._xid or change.xid is None:
                    # The former transaction is over even where its commit row went to another queue.
                    self._xid = change.xid
                    if self._is_full():
                        self.close_batch(reopen=True, go_on=True)
                self._bytes += len(delivery.body)
                self._take_row(delivery, change)
                self._tag = delivery.tag
                self.is_inside_transaction = not change.commit and change.xid is not None
                if not self.is_inside_transaction:
                    self._xid = None
                self._rows += 1
                if (
                    self._rows >= self._most_rows
                    or (not self.is_inside_transaction and self._is_full())
                    or self._bytes >= settings.batch_bytes * 4
                ):
                    self.close_batch(go_on=True)
                    if stop.is_set():
                        return
            elif isinstance(change, SchemaChange):
                if stop.is_set() and not self._schema.belongs(change):
                    self.close_batch()
                    return
                self._take_schema_change(delivery, change)
            else:
                self._take_marker(change)
                self._tag = delivery.tag

    def _is_full(self) -> bool:
        settings = self._settings
        return self.has_open_work and (
            len(self._entries) >= self._pace.rows
            or self._bytes >= settings.batch_bytes
            or time.monotonic() - self._opened_at >= settings.batch_time_s
        )

    @property
    def is_committing(self) -> bool:
        """Whether the target works on a batch."""
        return self._begun is not None

    def close_batch(self, *, reopen: bool = False, go_on: bool = False) -> None:
        """Commit what is open, then acknowledge it; with `go_on` the next batch is taken in meanwhile."""
        self.settle()
        self._schema.close(self)
        if not self.has_open_work:
            return
        entries, parked = self._entries, self._parked
        checkpoint = self._progress.checkpoint()
        state = msgspec.structs.replace(
            self._state,
            checkpoint=checkpoint,
            commits=self._state.commits + 1,
            applied=self._state.applied + len(entries),
            duplicates=self._state.duplicates + self._duplicates,
            ghosts=self._schema.ghosts(),
            bootstrapped=frozenset(self._bootstrapped),
        )
        state.heartbeat, state.heartbeat_ts = self._heartbeats.number, self._heartbeats.ts
        has_moved = checkpoint != self._state.checkpoint or state.ghosts != self._state.ghosts
        if entries or parked or has_moved or state.bootstrapped != self._state.bootstrapped:
            work = Work(batch=self._batch, entries=entries, parked=parked, state=state)
            self._begun = _Begun(work, self._tag, self._ts, time.monotonic())
            self._applier.begin(work)
            # What is parked has no number yet that later changes could wait behind; what is large is held alone.
            go_on = go_on and not parked and self._bytes <= 2 * self._settings.batch_bytes
            self._state = state
            self._duplicates = 0
            self._new_batch()
            if not go_on:
                self.settle()
        else:
            tag = self._tag
            self._new_batch()
            self._acknowledge(tag)
        if reopen:
            self._opened_at = time.monotonic()
            self.has_open_work = True

    def settle(self) -> None:
        """Wait for the end of the batch that the target works on, if there is one, and acknowledge it."""
        if self._begun is None:
            return
        begun, self._begun = self._begun, None
        entries, parked = begun.work.entries, begun.work.parked
        refused = self._applier.finish(begun.work)
        self._pace.took(len(entries), time.monotonic() - begun.at)
        kill_point("after-commit")
        for each in (*refused, *parked):
            self._tell_parked(each)
        self._observer.committed(rows=len(entries) - len(refused), parked=len(refused) + len(parked), ts=begun.ts)
        if refused:
            self._plan_again()
        self._acknowledge(begun.tag)

    def _acknowledge(self, tag: int) -> None:
        if tag:
            self._source.acknowledge(tag)
            kill_point("after-ack")

    def _plan_again(self) -> None:
        """Something of the batch before is parked now: what of the open one is of the same rows waits behind it."""
        entries, parked = self._entries, list(zip(self._parked_after, self._parked, strict=True))
        self._batch, self._entries, self._parked, self._parked_after, self._pending = Batch(), [], [], [], None
        for place, entry in enumerate(entries):
            while parked and parked[0][0] <= place:
                self._park_again(parked.pop(0)[1])
            self._add(entry)
        for _, each in parked:
            self._park_again(each)

    def _park_again(self, parked: ParkedChange) -> None:
        self._remember(msgspec.structs.replace(parked, behind=self.blocker(parked.target, parked.row_keys)))

    # -- one change --------------------------------------------------------------------------------------------------

    def _take_row(self, delivery: Delivery, change: RowChange) -> None:
        if self._copy is not None and self._is_copied(change):
            return
        if self._progress.follows(change):
            if not delivery.redelivered:
                self._has_fresh = True
        elif not self._is_new(delivery, change):
            return
        self._ts = change.ts
        if change.kind == "bootstrap-insert":
            self._bootstrapped.add(TableName(change.database, change.table))
        elif self._bootstrapped:
            # Maxwell prints what it held back of a table in order, and before all that is newer of it.
            self._bootstrapped.discard(TableName(change.database, change.table))
        if self._holes is not None:
            missing = self._holes.look_at(change)
            if missing is not None:
                self._missing(missing)
        if change.table == self._heartbeat_table[1] and change.database == self._heartbeat_table[0]:
            self._take_heartbeat(delivery, change)
            return
        plan = self._plans.plan_of(change)
        if plan is not None:
            self._add((delivery, change, plan))
            return
        try:
            routed = self._plans.route(change)
        except PlanError as exc:
            self._park_row_unplanned(delivery, change, str(exc))
            return
        for plan, sent in routed:
            self._add((delivery, sent, plan))

    def _add(self, entry: Entry) -> None:
        _, change, plan = entry
        if self._pending is not None or self._applier.parked:
            behind = self.blocker(plan.name, row_identity(change, plan))
            if behind is not None:
                self.park(park_row(entry, "waits behind a parked change of the same row or table", behind=behind))
                return
        try:
            self._batch.add(change, plan)
        except PlanError as exc:
            self.park(park_row(entry, str(exc)))
            return
        self._entries.append(entry)

    def _is_copied(self, change: RowChange | SchemaChange) -> bool:
        """Whether the rows that `pydbsync copy` wrote hold the change already. Raises StopError."""
        if self._copy is None:
            return False
        try:
            is_copied = self._copy.skips(change)
        except ValueError:
            return False  # its position is none: that is judged, and parked, where all positions are
        if self._copy.is_done:
            self._copy = None
        if is_copied:
            self._duplicates += 1
            self._observer.duplicate()
            if self._holes is not None and isinstance(change, RowChange):
                self._holes.look_at(change)
        return is_copied

    def _take_heartbeat(self, delivery: Delivery, change: RowChange) -> None:
        try:
            missing = self._heartbeats.take(change)
        except msgspec.MsgspecError as exc:
            self._park_delivery(delivery, f"the heartbeat table is not as `pydbsync heartbeat` makes it: {exc}")
            return
        if missing is not None:
            self._missing(missing)
        if self._heartbeats.number is not None and self._heartbeats.ts is not None:
            self._observer.heartbeat(self._heartbeats.number, self._heartbeats.ts)
            self._observer.now("following")

    def look_for_silence(self) -> None:
        """Say it if the source's heartbeat has not come for too long. Raises StopError by policy."""
        silence = self._heartbeats.is_silent(time.time(), stall_s=self._settings.heartbeat_stall_s)
        if silence is not None:
            self._observer.gap(silence)
            self._observer.now("stalled")
            self._log.warning("%s", silence)

    def _missing(self, text: str) -> None:
        self._observer.gap(text)
        self._log.error("a hole in the stream: %s; compare the tables with the source", text)
        if self._settings.on_gap == "stop":
            raise StopError(f"a hole in the stream: {text}; nothing after it was applied (on_gap is stop)")

    def _is_new(self, delivery: Delivery, change: RowChange | SchemaChange) -> bool:
        try:
            verdict = self._progress.judge(change)
        except ValueError as exc:
            self._park_delivery(delivery, str(exc))
            return False
        if not delivery.redelivered:
            self._has_fresh = True
        if verdict is Verdict.NEW:
            return True
        if verdict is Verdict.DUPLICATE:
            if delivery.redelivered and self._has_fresh:
                place = self._progress.place_of(change)
                if place is not None and self._since < place <= self._progress.place():
                    self._park_late(delivery, change)
                    return False
            if isinstance(change, RowChange) and self._repeat(delivery, change):
                return False
            self._duplicates += 1
            self._observer.duplicate()
            return False
        if verdict is Verdict.NEW_STREAM:
            self._log.warning(
                "a new stream begins at %s: places go back while time goes on (failover, RESET MASTER or a rebuilt"
                " source); it is applied from here on", change.position,
            )  # fmt: skip
            self._observer.new_stream(change.position or "")
            self._since = Place(0, 0, -1)
            return True
        # SAME_PLACE: one more message of the open statement, or of one that is over, since the checkpoint comes to its
        # place only with its end. The journal knows nothing of statements that only waited, nor of those that an online
        # schema change has replaced by others.
        is_over = not self._schema.is_open and change.ts <= self._progress.checkpoint().newest_ts
        if is_over or self._applier.was_parked(change.position or "", delivery.body):
            self._duplicates += 1
            self._observer.duplicate()
            return False
        return True

    def _repeat(self, delivery: Delivery, change: RowChange) -> bool:
        """Make a change again if its table has had rows of a bootstrap; whether that was done.

        Those rows have no place, so that they are written whenever they come, and they may be older than what was
        applied before: all that follows them is made again, which leads to the same end where the table has a key.
        Maxwell also holds changes back while it reads a table, and prints them behind newer ones of other tables.
        """
        name = TableName(change.database, change.table)
        if name not in self._bootstrapped:
            return False
        try:
            routed = self._plans.route(change)
        except PlanError:
            return False
        if not all(plan.row_key for plan, _ in routed):
            if name not in self._named_keyless:
                self._log.warning(
                    "%s has no key: what Maxwell held back of it during its bootstrap cannot be told from what comes"
                    " again, and is left out (first at %s); compare the table with the source", name, change.position,
                )  # fmt: skip
            self._named_keyless.add(name)
            return False
        if self._applier.parked and self._applier.was_parked(describe_change(change)[1], delivery.body):
            return False
        for plan, sent in routed:
            self._add((delivery, sent, plan))
        return True

    def _take_schema_change(self, delivery: Delivery, change: SchemaChange) -> None:
        if not self._schema.belongs(change):
            self.close_batch(reopen=True)
        if not self._is_copied(change) and self._is_new(delivery, change):
            self._ts = change.ts
            self._schema.add(delivery, change)
        self._tag = delivery.tag
        self.is_inside_transaction = False
        self._xid = None

    def _take_marker(self, marker: Marker) -> None:
        self._log.info("%s of %s.%s", marker.kind, marker.database, marker.table)

    # -- parking -----------------------------------------------------------------------------------------------------

    def park(self, parked: ParkedChange) -> None:
        """Store it with the next commit; later changes of its row, or table, wait behind it from now on."""
        self._applier.refuse_if_stopping(parked)
        self._remember(parked)

    def _remember(self, parked: ParkedChange) -> None:
        if self._pending is None:
            self._pending = ParkedRows()
        self._pending.remember(PENDING + len(self._parked), parked)
        self._parked.append(parked)
        self._parked_after.append(len(self._entries))

    def blocker(self, target: TableName, keys: Sequence[bytes] = ()) -> int | None:
        """What a change of these rows of the table, or of all of it, must wait for."""
        pending = None if self._pending is None else self._pending.blocker(target, keys)
        return self._applier.parked.blocker(target, keys) if pending is None else pending

    def _tell_parked(self, parked: ParkedChange) -> None:
        self._observer.parked(parked)
        self._log.warning("parked %s of %s at %s: %s", parked.kind, parked.source, parked.position, parked.reason)

    def _park_delivery(self, delivery: Delivery, reason: str) -> None:
        self.park(ParkedChange(message=delivery.body, reason=reason, kind="unreadable"))

    def _park_late(self, delivery: Delivery, change: RowChange | SchemaChange) -> None:
        """Store a change that came back behind newer ones, by whatever policy: after the next start it would look like
        a duplicate."""
        kind, position, source = describe_change(change)
        self.broken_order = self.broken_order or BrokenOrderError(
            f"{self._source.stream}: messages came back behind newer ones (first {kind} of {source} at {position});"
            " they are parked. Another consumer was on the queue: see that it has gone, compare these tables with the"
            " source, mend what is parked, then start again"
        )
        reason = "came back behind newer changes (broken order): compare the row with the source, then skip or retry it"
        late: list[ParkedChange] = []
        try:
            if not isinstance(change, RowChange):
                raise PlanError("a schema change concerns the whole table")
            late += [park_row((delivery, sent, plan), reason) for plan, sent in self._plans.route(change)]
        except PlanError:
            for database in self._plans.router.databases(change.database):
                parked = ParkedChange(
                    message=delivery.body, reason=reason, kind=kind, position=position, source=source,
                    target_database=database, is_whole_table=True,
                )  # fmt: skip
                late.append(parked)
        for parked in late:
            self._remember(parked)

    def end_of_order(self, stop: threading.Event) -> BrokenOrderError:
        """Take in what else comes back right behind the first late message, store all of it, and say what happened."""
        try:
            while (late := self._source.take(timeout_s=_LATE_WAIT_S)) and late[0].redelivered:
                self.handle(late, stop)
        except SourceError as exc:
            self._log.warning("%s", exc)
        with contextlib.suppress(SourceError):
            self.close_batch()
        assert self.broken_order is not None  # noqa: S101
        return self.broken_order

    def _park_row_unplanned(self, delivery: Delivery, change: RowChange, reason: str) -> None:
        kind, position, source = describe_change(change)
        for database in self._plans.router.databases(change.database):
            parked = ParkedChange(
                message=delivery.body, reason=reason, kind=kind, position=position, source=source,
                target_database=database, is_whole_table=True,
                behind=self.blocker(TableName(database, change.table)),
            )  # fmt: skip
            self.park(parked)

    # -- for the schema flow -----------------------------------------------------------------------------------------

    def schema_state(self, *, is_last: bool) -> StreamState:
        """The checkpoint row as it is to be after the schema change that is now run: at its place if it is the last
        statement that the message stands for, else where it was."""
        commits = self._state.commits + 1
        if not is_last:
            return msgspec.structs.replace(self._state, commits=commits)
        return msgspec.structs.replace(
            self._state,
            checkpoint=self._progress.checkpoint(),
            commits=commits,
            duplicates=self._state.duplicates + self._duplicates,
            ghosts=self._schema.ghosts(),
        )

    def schema_changed(self, change: SchemaChange, state: StreamState, *, status: str) -> None:
        """The schema change is behind us: done, skipped, parked, or "again" where it had run before."""
        if state.checkpoint != self._state.checkpoint:
            self._duplicates = 0
        self._state = state
        self._observer.schema_changed(ran=status == "done")
        if status == "parked":
            kind, position, source = describe_change(change)
            self._observer.parked(ParkedChange(message=b"", reason="", kind=kind, position=position, source=source))
