"""Copy, verify and repair where the target is no MySQL: what the source has, as the sink would have written it."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from pydbsync.apply.catalog import SYSTEM_DATABASES, read_table
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import OperationError, PlanError, Stopped
from pydbsync.model import Place, TableName, TableSchema
from pydbsync.ops.copy.sessions import SourceReader
from pydbsync.ops.copy.snapshot import Moment, SnapshotTaker
from pydbsync.ops.servers import Server
from pydbsync.ops.sinks.make import target_of
from pydbsync.ops.sinks.rows import ROWS, row_chunks, rows_by_key
from pydbsync.ops.sinks.target import Shape, StoredContent, StoredKey, ToolTarget
from pydbsync.ops.verify.place import Passed, Streams
from pydbsync.places import Checkpoint
from pydbsync.sinks.shapes import RawImage
from pydbsync.sinks.writer import order
from pydbsync.work import StreamState

_SETTLE_S = 0.5
_POLL_S = 0.05


class TableOutcome(msgspec.Struct):
    """What was found or done of one table."""

    table: str
    rows: int = 0
    missing: int = 0
    different: int = 0
    extra: int = 0
    keys: list[str] = msgspec.field(default_factory=list)
    """The first of those that differ."""
    mended: int = 0
    note: str = ""

    @property
    def is_equal(self) -> bool:
        return not (self.missing or self.different or self.extra)


class _SuspectKey(NamedTuple):
    """A key that was not as the source's row says."""

    key: StoredKey
    row_key: tuple[str, ...] | None
    """The source's row; None for a key that no row has."""


class SinkTool:
    """Reads the source, and reads and writes the target by the sink's own means."""

    def __init__(
        self,
        settings: Settings,
        *,
        tables: Sequence[str] = (),
        exclude: Sequence[str] = (),
        stream: str | None = None,
        wait_s: float = 600,
        stop: threading.Event,
        log: logging.Logger,
    ) -> None:
        """`tables` and `exclude` are globs of source tables. Raises ConfigError, OperationError, TransientError."""
        self._wanted, self._unwanted = tables, exclude
        self._wait_s = wait_s
        self._stop = stop
        self._log = log
        self._router = router_from(settings)
        names = [queue.stream for queue in settings.queues] or [settings.stream]
        self._streams = [stream] if stream else names
        self._target = target_of(settings, self._router, self._streams[0], log=log)
        assert settings.source is not None  # noqa: S101 (the target asks for it)
        self._keywords = settings.source.connect_keywords()
        self._control = Connection(self._keywords, key=settings.source.key)
        self._places = _SinkStreams(settings, self._target, self._keywords, stream=stream, stop=stop)

    # -- what the commands do ------------------------------------------------------------------------------------------

    def copy(self) -> list[TableOutcome]:
        """Write all rows as they are at one place, and have streams that are not begun begin there."""
        tables = self._tables()
        generation = self._generation()
        shapes = [self._shape(source, name) for source, name in tables]
        made_at = ""
        if self._target.is_filled_aside:
            floor = self._end(generation)
            for shape, _ in shapes:
                self._target.begin_copy(shape, floor)
            made_at = self._end(generation)
        reader, moment = self._snapshot_behind(made_at, [source for source, _ in tables], generation)
        place = self._order(moment, generation)
        found = []
        for (source, name), (shape, schema) in zip(tables, shapes, strict=True):
            outcome = TableOutcome(str(name))
            for rows in row_chunks(reader, schema):
                self._check_stop()
                outcome.rows += len(rows)
                images = [routed for image, _ in rows if (routed := self._routed(source, image)) is not None]
                self._target.write(shape, [self._written(name, shape, image) for image in images], place)
            found.append(outcome)
            self._log.info("%s: %d rows copied at %s", name, outcome.rows, moment.place)
        if self._target.is_filled_aside:
            for shape, _ in shapes:
                self._target.end_copy(shape)
        self._begin_streams(moment, generation)
        reader.close()
        return found

    def verify(self) -> list[TableOutcome]:
        """Compare each row's key with the row; what differs is looked at again behind what is under way."""
        return [self._settled(self._compare(source, name), source, name)[0] for source, name in self._tables()]

    def repair(self) -> list[TableOutcome]:
        """Mend what `verify` finds, at a place of its own, so that nothing newer is written over."""
        found = []
        for source, name in self._tables():
            outcome, suspects = self._settled(self._compare(source, name), source, name)
            if suspects:
                reader, moment = self._snapshot([source])
                self._mend(reader, source, name, suspects, self._order(moment, self._generation()))
                reader.close()
                left = self._settled((TableOutcome(str(name)), suspects), source, name)[1]
                outcome.mended = len(suspects) - len(left)
            found.append(outcome)
        return found

    def close(self) -> None:
        """What was begun and not ended is removed. Never raises."""
        self._target.close()
        self._control.close()

    # -- the source ----------------------------------------------------------------------------------------------------

    def _tables(self) -> list[tuple[TableName, TableName]]:
        """(source table, its name in the sink) of all that go there."""
        rows = self._control.rows(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type LIKE '%BASE%'"
            " ORDER BY table_schema, table_name"
        )
        found = []
        for source in (TableName(str(database), str(table)) for database, table in rows):
            if source.database in SYSTEM_DATABASES or not self._router.takes(source):
                continue
            is_wanted = not self._wanted or any(fnmatchcase(str(source), glob) for glob in self._wanted)
            if not is_wanted or any(fnmatchcase(str(source), glob) for glob in self._unwanted):
                continue
            for target in self._router.databases(source.database):
                name = TableName(target, source.table)
                if not self._target.takes(name):
                    continue
                if why_not := self._target.why_not(name):
                    self._log.info("%s: %s", name, why_not)
                elif self._router.is_sharded(source.database):
                    raise OperationError(f"{source} is split by `sharding`, which this command does not follow")
                else:
                    found.append((source, name))
        if not found:
            raise OperationError(
                "no table of the source goes to Redis by this configuration: see include, exclude and the"
                " tables of sink"
            )
        return found

    def _snapshot(self, tables: Sequence[TableName]) -> tuple[SourceReader, Moment]:
        reader = SourceReader(self._keywords, key="source_db_info")
        taker = SnapshotTaker(self._control, locking="auto", lock_wait_s=3, stop=self._stop, log=self._log)
        return reader, taker.take([reader], tables)

    def _shape(self, source: TableName, name: TableName) -> tuple[Shape, TableSchema]:
        shape, schema = self._target.shape(name), read_table(self._control, source)
        if shape is None or schema is None:
            raise OperationError(f"{source} is gone at the source; run it again")
        return shape, schema

    # -- places --------------------------------------------------------------------------------------------------------

    def _generation(self) -> int:
        """How often the streams have begun anew. Raises OperationError where they differ."""
        states = [state for name in self._streams if (state := self._target.state(name)) is not None]
        generations = {state.generation for state in states} or {self._target.new_generation()}
        if len(generations) > 1:
            raise OperationError("the streams have begun anew a different number of times: name one with --stream")
        return generations.pop()

    def _end(self, generation: int) -> str:
        """The end of the binlog now."""
        place = self._places.source_place()
        if place is None:
            raise OperationError(f"{self._places.why_unknown}: a copy needs it")
        return order(generation, place.file, place.offset, None)

    def _snapshot_behind(self, place: str, tables: Sequence[TableName], generation: int) -> tuple[SourceReader, Moment]:
        """A snapshot that holds all that is before a place. What the binlog of MariaDB has may be in no snapshot yet:
        a transaction is written there before its rows are seen."""
        while True:
            reader, moment = self._snapshot(tables)
            if self._order(moment, generation) >= place:
                return reader, moment
            reader.close()
            self._check_stop()
            self._stop.wait(_POLL_S)

    def _order(self, moment: Moment, generation: int) -> str:
        """The place behind all that the snapshot holds, in the streams' own generation. Raises OperationError."""
        for name in self._streams:
            state = self._target.state(name)
            base = state.checkpoint.base if state is not None else ""
            if state is not None and base and base != moment.start.base:
                raise OperationError(
                    f"the stream {name!r} is at {state.checkpoint.position()}, but the source that is read writes"
                    f" {moment.place}: places of two binlogs cannot be compared"
                )
        return order(generation, moment.start.place.file, moment.start.place.offset, None)

    def _begin_streams(self, moment: Moment, generation: int) -> None:
        """Where a stream has no state, it goes on from the copy. All before it is left out then."""
        start = moment.start
        place = Place(start.place.file, start.place.offset, -1)
        for name in self._streams:
            checkpoint = Checkpoint(
                base=start.base, place=place, server_id=moment.server_id, newest_ts=start.newest_ts, gtids=start.gtids
            )
            if self._target.begin_stream(name, StreamState(checkpoint, generation=generation)):
                self._log.info("the stream %s goes on from %s", name, moment.place)

    # -- rows and keys -------------------------------------------------------------------------------------------------

    def _routed(self, source: TableName, image: RawImage) -> RawImage | None:
        """The row as it comes by its route; None where it does not. Raises OperationError."""
        routes = self._target.routes
        try:
            route = None if routes is None else routes.route(source)
            return image if route is None else route.row(image)
        except PlanError as exc:
            raise OperationError(f"a row of {source} cannot be routed: {exc}") from exc

    def _now(self, source: TableName, now: Mapping[tuple[str, ...], RawImage], suspect: _SuspectKey) -> RawImage | None:
        image = None if suspect.row_key is None else now.get(suspect.row_key)
        return None if image is None else self._routed(source, image)

    def _is_by_history(self, source: TableName) -> bool:
        """Whether what is there besides cannot be told from the source's rows."""
        routes = self._target.routes
        settings = None if routes is None else routes.settings(source)
        return settings is not None and settings.is_by_history

    def _written(self, name: TableName, shape: Shape, image: RawImage) -> tuple[StoredKey, StoredContent]:
        """The row as the sink would write it. Raises OperationError."""
        try:
            return shape.key(image), shape.content(image)
        except PlanError as exc:
            raise OperationError(f"a row of {name} cannot be written: {exc}") from exc

    def _compare(self, source: TableName, name: TableName) -> tuple[TableOutcome, list[_SuspectKey]]:
        shape, schema = self._shape(source, name)
        outcome = TableOutcome(str(name))
        suspects: list[_SuspectKey] = []
        seen: set[bytes] = set()
        reader = SourceReader(self._keywords, key="source_db_info")
        reader.open_snapshot()
        for rows in row_chunks(reader, schema):
            self._check_stop()
            outcome.rows += len(rows)
            routed = [(image, key) for each, key in rows if (image := self._routed(source, each)) is not None]
            wanted = [self._written(name, shape, image) for image, _ in routed]
            held = self._target.held(shape, [key for key, _ in wanted])
            for (_, row_key), (key, content), found in zip(routed, wanted, held, strict=True):
                seen.add(_digest(key))
                if not self._target.is_equal(shape, schema, content, found):
                    suspects.append(_SuspectKey(key, row_key))
        reader.close()
        for keys in () if self._is_by_history(source) else self._target.keys(shape):
            self._check_stop()
            candidates = [key for key in keys if _digest(key) not in seen]
            suspects += [_SuspectKey(key, None) for key in self._target.ours(shape, candidates)]
        return outcome, suspects

    def _settled(
        self, found: tuple[TableOutcome, list[_SuspectKey]], source: TableName, name: TableName
    ) -> tuple[TableOutcome, list[_SuspectKey]]:
        """What still differs once the stream has applied what the source had written then."""
        outcome, suspects = found
        shape, schema = self._shape(source, name)
        ends_at = time.monotonic() + self._wait_s
        place = self._places.source_place()
        while suspects:
            has_passed = self._places.passed(place, [source])
            suspects = self._still(source, name, shape, schema, suspects)
            if not suspects or has_passed is not Passed.NO:
                if suspects and has_passed is Passed.UNKNOWN:
                    outcome.note = self._places.why_unknown
                break
            if time.monotonic() >= ends_at or self._stop.wait(_SETTLE_S):
                outcome.note = f"the stream did not come to {place} while it was waited for"
                break
        for suspect, kind in zip(suspects, self._kinds(shape, suspects), strict=True):
            setattr(outcome, kind, getattr(outcome, kind) + 1)
            outcome.keys = [*outcome.keys, f"{kind}: {suspect.key}"][:20]
        return outcome, suspects

    def _kinds(self, shape: Shape, suspects: Sequence[_SuspectKey]) -> list[str]:
        held = self._target.held(shape, [suspect.key for suspect in suspects])
        return [
            "extra" if suspect.row_key is None else "missing" if found is None else "different"
            for suspect, found in zip(suspects, held, strict=True)
        ]

    def _still(
        self, source: TableName, name: TableName, shape: Shape, schema: TableSchema, found: Sequence[_SuspectKey]
    ) -> list[_SuspectKey]:
        """Those that differ now; a row that has changed its key, or is gone, is looked for by its old key."""
        left: list[_SuspectKey] = []
        reader = SourceReader(self._keywords, key="source_db_info")
        for start in range(0, len(found), ROWS):
            part = found[start : start + ROWS]
            now = rows_by_key(reader, schema, [each.row_key for each in part if each.row_key is not None])
            images = [self._now(source, now, each) for each in part]
            wanted = [
                (each.key, None) if image is None else self._written(name, shape, image)
                for each, image in zip(part, images, strict=True)
            ]
            keys = [key for key, _ in wanted]
            held = self._target.held(shape, keys)
            ours = self._target.ours(shape, keys)
            for suspect, (key, content), there in zip(part, wanted, held, strict=True):
                if content is None:
                    if self._is_by_history(source):
                        continue  # what was there before may stay
                    if (
                        there is not None
                        and key in ours
                        and not self._has_row(source, reader, schema, shape, key, suspect)
                    ):
                        left.append(_SuspectKey(key, None))
                elif not self._target.is_equal(shape, schema, content, there):
                    left.append(_SuspectKey(key, suspect.row_key))
        reader.close()
        return left

    def _has_row(
        self,
        source: TableName,
        reader: SourceReader,
        schema: TableSchema,
        shape: Shape,
        key: StoredKey,
        suspect: _SuspectKey,
    ) -> bool:
        """Whether a row has come since that has this key; only few keys are asked for."""
        if suspect.row_key is not None:
            return False
        images = (self._routed(source, image) for rows in row_chunks(reader, schema) for image, _ in rows)
        return any(image is not None and shape.key(image) == key for image in images)

    def _mend(
        self, reader: SourceReader, source: TableName, name: TableName, suspects: Sequence[_SuspectKey], place: str
    ) -> None:
        shape, schema = self._shape(source, name)
        now = rows_by_key(reader, schema, [each.row_key for each in suspects if each.row_key is not None])
        rows = []
        for each in suspects:
            image = self._now(source, now, each)
            if image is None and self._is_by_history(source):
                continue
            rows.append((each.key, None) if image is None else self._written(name, shape, image))
        self._target.write(shape, rows, place)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped; run it again")


def _digest(key: StoredKey) -> bytes:
    return hashlib.blake2b(str(key).encode(), digest_size=12).digest()


class _SinkStreams(Streams):
    """The streams by the checkpoints that the sink keeps."""

    def __init__(
        self,
        settings: Settings,
        target: ToolTarget,
        keywords: Mapping[str, Any],
        *,
        stream: str | None,
        stop: threading.Event,
    ) -> None:
        source = Server(keywords, key="source_db_info", retry=settings.retry, stop=stop)
        super().__init__(settings, source, source, streams=(stream,) if stream else ())
        self._kept_by = target

    def checkpoint(self, stream: str) -> Checkpoint | None:
        state = self._kept_by.state(stream)
        if state is None or not state.checkpoint.base:
            self.why_unknown = f"the stream {stream!r} has no checkpoint in {self._kept_by.product}"
            return None
        return state.checkpoint
