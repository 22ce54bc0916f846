"""Looks at what a sink keeps beside its rows, and mends it: checkpoint, pauses and parked changes of each stream.

A sink has no transactions: a retry writes the row, with its place, and then says that it is applied. So it is for the
owner of the stream alone, and taken while no worker is; all else can be asked for while one follows.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Collection, Iterator, Sequence

import msgspec

from pydbsync.apply.tables.operator_audit import actor_here
from pydbsync.config.settings import Settings
from pydbsync.config.sinks import NdjsonSettings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.routing import router_from
from pydbsync.errors import DecodeError, OperationError, PlanError
from pydbsync.model import Change, Delivery, Marker, RowChange, SchemaChange, TableName, TableSchema
from pydbsync.ops.parked.counts import Count, counts_by, shape_of
from pydbsync.ops.parked.foreign import Foreign
from pydbsync.ops.parked.retry import RetryOutcome
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.parked.view import ALL, UNREADABLE, Brief, Parked
from pydbsync.ops.parked.waiting import Waiting
from pydbsync.route.filters import Filters
from pydbsync.sinks.keep import Keep, KeptChange, KeptDeed
from pydbsync.sinks.make import Parts, parts_of
from pydbsync.sinks.plans import SinkPlans
from pydbsync.sinks.schema import SinkSchemaFlow
from pydbsync.sinks.source_tables import SourceColumns
from pydbsync.sinks.writer import SinkRow, place_of

_LOCK_MARGIN_S = 2.0
_POLL_S = 0.2


def open_keeps(settings: Settings, log: logging.Logger) -> dict[str, Parts]:
    """Sink and keep of each stream of the configuration; nothing is written. Raises ConfigError, TransientError."""
    router = router_from(settings)
    streams = [queue.stream for queue in settings.queues] or [settings.stream]
    found = {stream: parts_of(settings, router, stream, log=log) for stream in streams}
    for parts in found.values():
        parts.keep.open_to_look()
    return found


def own(stream: str, keep: Keep, log: logging.Logger, *, to: str) -> None:
    """Be the owner of the stream. Waits for as long as the lock of one that was killed lasts; raises OperationError
    where somebody owns it then."""
    ends_at = time.monotonic() + (keep.lock_lasts_s + _LOCK_MARGIN_S if keep.lock_lasts_s else 0)
    is_told = False
    while not keep.lock():
        if time.monotonic() >= ends_at:
            raise _owned(stream, keep, to)
        if not is_told:
            log.info("%s is owned by %s; if that was killed, its lock ends within %g s", stream, keep.holder(),
                     keep.lock_lasts_s)  # fmt: skip
        is_told = True
        time.sleep(_POLL_S)


def _owned(stream: str, keep: Keep, to: str) -> OperationError:
    return OperationError(
        f"{stream} is owned by {keep.holder()}: to {to}, stop that worker first; its messages wait in the queue"
        " meanwhile"
    )


class SinkDesk:
    """The operator's view of what is parked of a sink's streams."""

    def __init__(self, settings: Settings, log: logging.Logger, *, actor: str | None = None) -> None:
        """`actor` is who is written down beside each step; without it the user of this process. Raises ConfigError,
        TransientError."""
        self._settings = settings
        self._log = log
        self._actor = actor or actor_here()
        self._router = router_from(settings)
        self._parts = open_keeps(settings, log)
        self._foreign = Foreign(settings, SourceColumns(settings, self._router))
        self._takes_unread = False

    def close(self) -> None:
        """Close all connections."""
        for parts in self._parts.values():
            parts.keep.close()
            parts.writer.close()

    def find(self, selection: Selection = ALL) -> Iterator[Parked]:
        """Parked changes in order. Raises OperationError where one that is named is not there, or there several
        times."""
        for stream, kept in self._found(selection):
            yield _parked(stream, kept)

    def named(self, parked_id: int, *, stream: str | None = None) -> Parked:
        """The one with this id. Raises OperationError."""
        return next(self.find(Selection(ids=(parked_id,), stream=stream)))

    def briefs(self, selection: Selection, *, above: int = 0, limit: int) -> list[Brief]:
        """The next of them in order, those with an id above this one."""
        now = time.time()
        found = [(stream, kept) for stream, kept in self._found(selection) if kept.id > above]
        return [_brief(stream, kept, now) for stream, kept in found[:limit]]

    def groups(self, selection: Selection, *, limit: int) -> list[Count]:
        """How many are meant, by table and error number, each with the reason of its first."""
        found = self._found(selection)
        first: dict[tuple[str, int], str] = {}
        for _, kept in found:
            first.setdefault((str(kept.change.source), kept.change.code), kept.change.reason)
        groups = self.counts(selection, by=("table", "code"))[:limit]
        for each in groups:
            each.reason = shape_of(first.get((each.table, each.code or 0), ""))
        return groups

    def target_table(self, name: TableName) -> TableSchema | None:
        """A sink has no tables."""
        return None

    def history(self, parked_id: int, *, stream: str | None = None) -> list[tuple[str, str, str, dt.datetime]]:
        """(action, actor, detail, when) of one parked change."""
        ((_, kept),) = self._found(Selection(ids=(parked_id,), stream=stream))
        return [(step.action, step.actor, step.detail, utc(step.at)) for step in kept.history]

    def count(self, selection: Selection) -> int:
        """How many are meant. Raises OperationError as `find`."""
        return len(self._found(selection))

    def counts(self, selection: Selection, *, by: Collection[str]) -> list[Count]:
        """How many are meant, by what is alike in `by`; the most first."""
        return counts_by(
            (
                (each.stream, *each.source, each.kind, each.code, each.reason, each.behind is not None, 1, each.id,
                 each.parked_at)
                for each in self.find(selection)
            ),
            by,
        )  # fmt: skip

    def skip(self, selection: Selection, *, reason: str) -> int:
        """Give these up for good; how many. Raises OperationError."""
        if not reason.strip():
            raise OperationError("a skip needs a reason: it is kept beside the change")
        found = self._found(selection)
        for _, kept in found:
            _refuse_mended(kept)
        for stream, kept in found:
            self._amend(stream, kept, "skip", reason, status="skipped")
        return len(found)

    def edit(self, parked_id: int, text: bytes, *, stream: str | None = None) -> None:
        """Have a retry use this message (or, for a schema change, this SQL) instead. Raises OperationError."""
        ((name, kept),) = self._found(Selection(ids=(parked_id,), stream=stream))
        _refuse_mended(kept)
        if (kept.edited or kept.change.message) == text:
            raise OperationError(f"nothing was changed in {parked_id}")
        if not _parked(name, kept).is_schema_change:
            try:
                decode_message(text)
            except DecodeError as exc:
                raise OperationError(f"the edited text cannot be used: {exc}") from exc
        self._amend(name, kept, "edit", text.decode("utf-8", "backslashreplace"), edited=text)

    def retry(self, selection: Selection = ALL, *, takes_unread: bool = False) -> Iterator[RetryOutcome]:
        """Write these in order; one that another parked change blocks, or that is refused again, stays. `takes_unread`
        is that of ParkedDesk. Raises OperationError while a worker owns the stream."""
        self._takes_unread = takes_unread
        wanted = self._found(selection)
        for stream in dict.fromkeys(stream for stream, _ in wanted):
            ids = {kept.id for name, kept in wanted if name == stream}
            yield from self._retry(stream, ids)

    def _retry(self, stream: str, ids: Collection[int]) -> Iterator[RetryOutcome]:
        parts = self._parts[stream]
        keep = parts.keep
        own(stream, keep, self._log, to="retry")
        try:
            keep.take_over()
            parts.writer.open()
            plans = SinkPlans(self._router, parts.writer, parts.routes)
            plans.attach()
            waiting, done = Waiting(), set[int]()
            every = [kept for kept in keep.parked() if kept.status == "parked"]
            for kept in every:
                if kept.id in done:
                    continue
                keep.keep_alive()
                change, found = kept.change, self._read(kept)
                others = _same_statement(kept, found, every) if kept.id in ids else []
                together = frozenset(other.id for other in others)
                blocker = waiting.blocker(
                    change.target, change.row_keys, is_whole_table=change.is_whole_table, behind=change.behind,
                    together=together,
                )  # fmt: skip
                reason = f"waits behind {blocker}, which is still parked" if blocker is not None else ""
                if kept.id in ids and not reason:
                    reason = self._apply(parts, plans, kept, found, others)
                if kept.id not in ids or reason:
                    waiting.add(kept.id, change.target, change.row_keys, is_whole_table=change.is_whole_table)
                    if kept.id in ids:
                        if blocker is None:
                            self._amend(stream, kept, "retry", f"refused: {reason}")
                        yield RetryOutcome(kept.id, False, reason)
                    continue
                for each in (kept, *others):
                    self._amend(stream, each, "retry", "applied", status="applied")
                    waiting.remove(each.id)
                    done.add(each.id)
                    yield RetryOutcome(each.id, True, "written")
        finally:
            keep.close()

    def _apply(
        self,
        parts: Parts,
        plans: SinkPlans,
        kept: KeptChange,
        changes: Sequence[Change] | DecodeError,
        others: list[KeptChange],
    ) -> str:
        """Why it stays; empty where it is written."""
        try:
            if isinstance(changes, DecodeError):
                return str(changes)
            for change in changes:
                if isinstance(change, Marker):
                    return f"a {change.kind} changes nothing; skip it"
                if isinstance(change, SchemaChange):
                    return self._change_schema(parts, kept, change, others)
                for plan, sent in plans.route(change):
                    if kept.change.target_database and plan.name.database != kept.change.target_database:
                        continue  # parked once for each shard
                    row = SinkRow(plan.name, sent, self._place(sent, kept), is_late=True)
                    parts.writer.check(row)
                    for refused in parts.writer.write([row]):
                        return refused.reason
        except PlanError as exc:
            return str(exc)
        return ""

    def _read(self, kept: KeptChange) -> Sequence[Change] | DecodeError:
        change = kept.change
        if kept.edited is None and change.kind == UNREADABLE:
            try:
                return self._foreign.changes(change.input_format, change.message, takes_unread=self._takes_unread)
            except DecodeError as exc:
                return exc
        found = _decoded(kept)
        return found if isinstance(found, DecodeError) else [found]

    def _change_schema(self, parts: Parts, kept: KeptChange, change: SchemaChange, others: list[KeptChange]) -> str:
        flow = SinkSchemaFlow(self._settings, router=self._router, writer=parts.writer, routes=parts.routes)
        flow.start("")
        for each in (change, *(found for other in others if isinstance(found := _decoded(other), SchemaChange))):
            flow.add(Delivery(b"", 0, False), each)
        work = flow.take()
        for parked in work.parked:
            return parked.reason
        for step in work.steps:
            if kept.change.target_database in ("", step.database):
                place = self._place(change, kept)
                parts.writer.change_schema(msgspec.structs.replace(step.planned, place=place))
        return ""

    def _place(self, change: RowChange | SchemaChange, kept: KeptChange) -> str:
        """Where the change stands: what is newer is not overwritten. Lines of a file stand where they are written."""
        return "" if isinstance(self._settings.sink, NdjsonSettings) else place_of(change, kept.generation)

    def _found(self, selection: Selection) -> list[tuple[str, KeptChange]]:
        """Those that are meant, in order."""
        if selection.stream is not None and selection.stream not in self._streams():
            raise OperationError(f"there is no stream {selection.stream!r}; there are {', '.join(self._parts)}")
        takes = _Matcher(selection)
        found = [
            (stream, kept)
            for stream, parts in self._parts.items()
            if selection.stream is None or stream in (selection.stream, self._streams()[selection.stream])
            for kept in parts.keep.parked()
            if takes(kept)
        ]
        for each in selection.ids:
            streams = [stream for stream, kept in found if kept.id == each]
            if not streams:
                raise OperationError(f"there is no parked change {each}")
            if len(streams) > 1:
                raise OperationError(f"there is a parked change {each} of {' and of '.join(streams)}: give --stream")
        return found

    def _streams(self) -> dict[str, str]:
        """The streams by their names, and by those of their queues."""
        return {name: name for name in self._parts} | {queue.queue: queue.stream for queue in self._settings.queues}

    def _amend(
        self, stream: str, kept: KeptChange, action: str, detail: str, *, status: str = "", edited: bytes | None = None
    ) -> None:
        step = KeptDeed(action, self._actor, detail, time.time())
        self._parts[stream].keep.amend(
            msgspec.structs.replace(
                kept, status=status or kept.status, edited=edited if edited is not None else kept.edited,
                history=(*kept.history, step),
            )
        )  # fmt: skip


class _Matcher:
    """Selection.condition, for changes that no server selects."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        for glob in selection.tables:
            if "." not in glob:
                raise OperationError(f"--table: expected database.table, got {glob!r}; for a whole database '{glob}.*'")
        self._tables = Filters(include=selection.tables) if selection.tables else None
        # A kind has no dot: the part in front is the same for all.
        self._kinds = Filters(include=[f"x.{glob}" for glob in selection.kinds]) if selection.kinds else None

    def __call__(self, kept: KeptChange) -> bool:
        selection, change = self._selection, kept.change
        age_s = time.time() - kept.parked_at
        return (
            (selection.every_status or bool(selection.ids) or kept.status == "parked")
            and (not selection.ids or kept.id in selection.ids)
            and selection.because.lower() in change.reason.lower()
            and selection.code in (None, change.code)
            and (selection.older_than_s is None or age_s >= selection.older_than_s)
            and (selection.newer_than_s is None or age_s <= selection.newer_than_s)
            and (self._kinds is None or self._kinds.takes(TableName("x", change.kind)))
            and (self._tables is None or any(self._tables.takes(name) for name in (change.source, change.target)))
        )


def _refuse_mended(kept: KeptChange) -> None:
    if kept.status != "parked":
        raise OperationError(f"{kept.id} is {kept.status} already")


def _decoded(kept: KeptChange) -> Change | DecodeError:
    is_schema_change = kept.change.kind.startswith(("table-", "database-"))
    try:
        change = decode_message(
            kept.edited if kept.edited is not None and not is_schema_change else kept.change.message
        )
    except DecodeError as exc:
        return exc
    if kept.edited is not None and isinstance(change, SchemaChange):
        return msgspec.structs.replace(change, sql=kept.edited.decode("utf-8", "replace"))
    return change


def _same_statement(
    kept: KeptChange, changes: Sequence[Change] | DecodeError, every: Sequence[KeptChange]
) -> list[KeptChange]:
    """The other messages of the same statement that are parked for the same database."""
    change = changes[0] if isinstance(changes, Sequence) and changes else None
    if not isinstance(change, SchemaChange) or kept.edited is not None or not change.position:
        return []
    own = kept.change
    return [
        other
        for other in every
        if other.id != kept.id
        and (other.change.position, other.change.target_database) == (own.position, own.target_database)
        and isinstance(found := _decoded(other), SchemaChange)
        and found.sql == change.sql
    ]


def _brief(stream: str, kept: KeptChange, now: float) -> Brief:
    change = kept.change
    return Brief(
        id=kept.id, stream=stream, status=kept.status, kind=change.kind, source_database=change.source.database,
        source_table=change.source.table, target_database=change.target_database, behind=change.behind,
        reason=change.reason[:1000], code=change.code, age_s=max(0.0, now - kept.parked_at),
        size_bytes=len(change.message), is_edited=kept.edited is not None,
    )  # fmt: skip


def _parked(stream: str, kept: KeptChange) -> Parked:
    change = kept.change
    return Parked(
        id=kept.id, stream=stream, status=kept.status, position=change.position, kind=change.kind,
        source_database=change.source.database, source_table=change.source.table,
        target_database=change.target_database, target_table=change.target_table,
        behind=change.behind, reason=change.reason, code=change.code,
        parked_at=utc(kept.parked_at), is_whole_table=change.is_whole_table, row_keys=change.row_keys,
        message=change.message, edited=kept.edited, input_format=change.input_format,
    )  # fmt: skip


def utc(at: float) -> dt.datetime:
    """A moment, in seconds since 1970, as the state schema has it."""
    return dt.datetime.fromtimestamp(round(at), dt.timezone.utc).replace(tzinfo=None)
