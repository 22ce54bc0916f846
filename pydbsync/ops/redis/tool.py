"""Copy, verify and repair where the target is Redis: what the source has, as the sink would have written it."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.config.sinks import RedisSettings
from pydbsync.engine.table_plans import router_from
from pydbsync.errors import OperationError, PlanError, Stopped
from pydbsync.model import Place, TableName, TableSchema
from pydbsync.ops.copy.sessions import SourceReader
from pydbsync.ops.copy.snapshot import Moment, SnapshotTaker
from pydbsync.ops.redis.rows import ROWS, Image, row_chunks, rows_by_key
from pydbsync.ops.servers import SYSTEM_DATABASES, Server
from pydbsync.ops.verify.place import Passed, Streams
from pydbsync.places import Checkpoint
from pydbsync.sinks.keep import decode_state, encode_state
from pydbsync.sinks.redis.client import mark_key, translated
from pydbsync.sinks.redis.keep import StreamKeys
from pydbsync.sinks.redis.make import RedisParts, redis_parts
from pydbsync.sinks.redis.shapes import Content, TableShape
from pydbsync.sinks.redis.writer import GONE, Write
from pydbsync.sinks.writer import order
from pydbsync.work import StreamState

_SETTLE_S = 0.5


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


class _Suspect(msgspec.Struct, frozen=True):
    """A key that was not as the source's row says."""

    key: str
    row_key: tuple[str, ...] | None
    """The source's row; None for a key that no row has."""


class RedisTool:
    """Reads the source and writes Redis by the sink's own means: keys, contents, scripts and places."""

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
        """`tables` and `exclude` are globs of source tables. Raises ConfigError, OperationError."""
        if not isinstance(settings.sink, RedisSettings):
            raise OperationError("copy, verify and repair know MySQL and Redis as targets; this sink is neither")
        self._settings = settings
        self._sink = settings.sink
        self._wanted, self._unwanted = tables, exclude
        self._wait_s = wait_s
        self._stop = stop
        self._log = log
        self._router = router_from(settings)
        self._generation = 0
        names = [queue.stream for queue in settings.queues] or [settings.stream]
        self._streams = [stream] if stream else names
        self._parts: RedisParts = redis_parts(settings, self._sink, self._router, self._streams[0], log=log)
        self._parts.writer.open()
        assert settings.source is not None  # noqa: S101 (redis_parts asks for it)
        self._keywords = settings.source.connect_keywords()
        self._control = Connection(self._keywords, key=settings.source.key)
        self._places = _RedisStreams(settings, self._parts, self._keywords, stream=stream, stop=stop)

    # -- what the commands do ------------------------------------------------------------------------------------------

    def copy(self) -> list[TableOutcome]:
        """Write all rows as they are at one place, and have streams that are not begun begin there."""
        tables = self._tables()
        reader, moment = self._snapshot([source for source, _ in tables])
        place = self._order(moment)
        found = []
        for source, name in tables:
            outcome = TableOutcome(str(name))
            shape, schema = self._shape(source, name)
            for rows in row_chunks(reader, schema):
                self._check_stop()
                outcome.rows += len(rows)
                self._write(shape, ((image, None) for image, _ in rows), place)
            found.append(outcome)
            self._log.info("%s: %d rows copied at %s", name, outcome.rows, moment.place)
        self._begin_streams(moment)
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
                self._mend(reader, source, name, suspects, self._order(moment))
                reader.close()
                left = self._settled((TableOutcome(str(name)), suspects), source, name)[1]
                outcome.mended = len(suspects) - len(left)
            found.append(outcome)
        return found

    # -- the source ----------------------------------------------------------------------------------------------------

    def _tables(self) -> list[tuple[TableName, TableName]]:
        """(source table, its name in the sink) of all that go to Redis."""
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
                rules = self._parts.shapes.rules_of(name)
                if rules is None:
                    continue
                if rules.settings.form == "invalidate":
                    self._log.info("%s: only deletes keys, so that there is nothing to compare", name)
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

    def _shape(self, source: TableName, name: TableName) -> tuple[TableShape, TableSchema]:
        shape, schema = self._parts.shapes.shape(name), read_table(self._control, source)
        if shape is None or schema is None:
            raise OperationError(f"{source} is gone at the source; run it again")
        return shape, schema

    # -- places --------------------------------------------------------------------------------------------------------

    def _order(self, moment: Moment) -> str:
        """The place behind all that the snapshot holds, in the streams' own generation. Raises OperationError."""
        states = {name: state for name in self._streams if (state := self._state(name)) is not None}
        for name, state in states.items():
            base = state.checkpoint.base
            if base and base != moment.start.base:
                raise OperationError(
                    f"the stream {name!r} is at {state.checkpoint.position()}, but the source that is read writes"
                    f" {moment.place}: places of two binlogs cannot be compared"
                )
        generations = {state.generation for state in states.values()} or {self._parts.keep.new_generation()}
        if len(generations) > 1:
            raise OperationError("the streams have begun anew a different number of times: name one with --stream")
        self._generation = generations.pop()
        return order(self._generation, moment.start.place.file, moment.start.place.offset, None)

    def _state(self, stream: str) -> StreamState | None:
        with translated():
            found = self._parts.client.any.hget(StreamKeys(self._sink.prefix, stream).state, "state")
        return None if found is None else decode_state(found)

    def _begin_streams(self, moment: Moment) -> None:
        """Where a stream has no state, it goes on from the copy. All before it is left out then."""
        start = moment.start
        place = Place(start.place.file, start.place.offset, -1)
        for name in self._streams:
            keys = StreamKeys(self._sink.prefix, name)
            checkpoint = Checkpoint(
                base=start.base, place=place, server_id=moment.server_id, newest_ts=start.newest_ts, gtids=start.gtids
            )
            state = StreamState(checkpoint, generation=self._generation)
            with translated():
                redis = self._parts.client.any
                if redis.hsetnx(keys.state, "state", encode_state(state)):
                    redis.hset(keys.state, "commits", "0")
                    redis.hset(keys.generations, name, str(state.generation))
                    self._log.info("the stream %s goes on from %s", name, moment.place)

    # -- rows and keys -------------------------------------------------------------------------------------------------

    def _write(self, shape: TableShape, rows: Iterable[tuple[Image | None, str | None]], place: str) -> None:
        """Each row as it is, or, without one, the key that is to go."""
        writes = []
        for image, key in rows:
            if image is not None:
                writes.append(Write(shape, shape.key(image), shape.content(image), place, "placed", 0))
            else:
                writes.append(Write(shape, str(key), GONE, place, "known", 0))
        for answer in self._parts.client.run([self._parts.writer.call_of(write) for write in writes]):
            if isinstance(answer, Exception):
                raise OperationError(f"Redis refuses a row of {shape.name}: {answer}")

    def _compare(self, source: TableName, name: TableName) -> tuple[TableOutcome, list[_Suspect]]:
        shape, schema = self._shape(source, name)
        outcome = TableOutcome(str(name))
        suspects: list[_Suspect] = []
        seen: set[bytes] = set()
        reader = SourceReader(self._keywords, key="source_db_info")
        reader.open_snapshot()
        for rows in row_chunks(reader, schema):
            self._check_stop()
            outcome.rows += len(rows)
            keys = [shape.key(image) for image, _ in rows]
            seen.update(map(_digest, keys))
            held = self._held(shape, keys)
            for (image, row_key), key, found in zip(rows, keys, held, strict=True):
                if not self._is_equal(shape, schema, image, found):
                    suspects.append(_Suspect(key, row_key))
        reader.close()
        pattern = shape.template.reader(name)
        candidates = [
            key for key in self._parts.client.keys(shape.template.head(name))
            if pattern.fullmatch(key) and _digest(key) not in seen
        ]  # fmt: skip
        suspects += [_Suspect(key, None) for key in self._ours(shape, candidates)]
        return outcome, suspects

    def _settled(
        self, found: tuple[TableOutcome, list[_Suspect]], source: TableName, name: TableName
    ) -> tuple[TableOutcome, list[_Suspect]]:
        """What still differs once the stream has applied what the source had written then."""
        outcome, suspects = found
        shape, schema = self._shape(source, name)
        ends_at = time.monotonic() + self._wait_s
        place = self._places.source_place()
        while suspects:
            has_passed = self._places.passed(place, [source])
            suspects = self._still(shape, schema, suspects)
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

    def _kinds(self, shape: TableShape, suspects: Sequence[_Suspect]) -> list[str]:
        held = self._held(shape, [suspect.key for suspect in suspects])
        return [
            "extra" if suspect.row_key is None else "missing" if found is None else "different"
            for suspect, found in zip(suspects, held, strict=True)
        ]

    def _still(self, shape: TableShape, schema: TableSchema, suspects: Sequence[_Suspect]) -> list[_Suspect]:
        """Those that differ now; a row that has changed its key, or is gone, is looked for by its old key."""
        left: list[_Suspect] = []
        reader = SourceReader(self._keywords, key="source_db_info")
        for start in range(0, len(suspects), ROWS):
            part = suspects[start : start + ROWS]
            now = rows_by_key(reader, schema, [each.row_key for each in part if each.row_key is not None])
            images = [None if each.row_key is None else now.get(each.row_key) for each in part]
            keys = [each.key if image is None else shape.key(image) for each, image in zip(part, images, strict=True)]
            held = self._held(shape, keys)
            ours = set(self._ours(shape, keys))
            for suspect, image, key, found in zip(part, images, keys, held, strict=True):
                if image is None:
                    if found is not None and key in ours and not self._has_row(reader, schema, shape, key, suspect):
                        left.append(_Suspect(key, None))
                elif not self._is_equal(shape, schema, image, found):
                    left.append(_Suspect(key, suspect.row_key))
        reader.close()
        return left

    def _has_row(
        self, reader: SourceReader, schema: TableSchema, shape: TableShape, key: str, suspect: _Suspect
    ) -> bool:
        """Whether a row has come since that has this key; only few keys are asked for."""
        if suspect.row_key is not None:
            return False
        return any(shape.key(image) == key for rows in row_chunks(reader, schema) for image, _ in rows)

    def _mend(
        self, reader: SourceReader, source: TableName, name: TableName, suspects: Sequence[_Suspect], place: str
    ) -> None:
        shape, schema = self._shape(source, name)
        now = rows_by_key(reader, schema, [each.row_key for each in suspects if each.row_key is not None])
        self._write(
            shape, ((None if each.row_key is None else now.get(each.row_key), each.key) for each in suspects), place
        )

    def _held(self, shape: TableShape, keys: Sequence[str]) -> list[Content | None]:
        """What is in Redis under these keys; None where nothing is."""
        form = "hash" if shape.settings.form == "hash" else "string"
        found: list[Content | None] = []
        with translated():
            for answer in self._answers([("HGETALL" if form == "hash" else "GET", key) for key in keys]):
                if isinstance(answer, Exception):
                    found.append(Content("another type", ()))
                elif not answer:
                    found.append(None if answer is None or form == "hash" else Content(form, (answer,)))
                else:
                    parts = answer if isinstance(answer, list) else [answer]
                    found.append(Content(form, tuple(parts)))
        return found

    def _ours(self, shape: TableShape, keys: Sequence[str]) -> list[str]:
        """Of these keys those that the sink has written, and not deleted since."""
        has_tag = shape.template.has_hash_tag
        marks = [("GET", mark_key(self._sink.prefix, key, has_hash_tag=has_tag)) for key in keys]
        with translated():
            answers = self._answers(marks)
        live = [isinstance(mark, bytes) and not mark.startswith(b"-") for mark in answers]
        return [key for key, is_live in zip(keys, live, strict=True) if is_live]

    def _answers(self, commands: Sequence[tuple[str, str]]) -> list[Any]:
        answers: list[Any] = [None] * len(commands)
        for client, chosen in self._parts.client.by_node([key for _, key in commands]):
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.response_callbacks = {}
            for index in chosen:
                pipeline.execute_command(*commands[index])
            for index, answer in zip(chosen, pipeline.execute(raise_on_error=False), strict=True):
                answers[index] = answer
        return answers

    def _is_equal(self, shape: TableShape, schema: TableSchema, image: Image, found: Content | None) -> bool:
        """Whether the key holds the row. A key with a time to live may have gone; generated columns, which not every
        binlog has, may be absent."""
        try:
            wanted = shape.content(image)
        except PlanError as exc:
            raise OperationError(f"a row of {shape.name} cannot be written: {exc}") from exc
        if found is None:
            return not wanted.parts or shape.settings.ttl_s > 0
        generated = {column.name for column in schema.columns if column.generated}
        return _plain(wanted, shape, generated) == _plain(found, shape, generated)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped("stopped; run it again")


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=12).digest()


def _plain(content: Content, shape: TableShape, generated: set[str]) -> object:
    """The content in a form that compares; without generated columns where all columns are written."""
    parts = [part.encode() if isinstance(part, str) else part for part in content.parts]
    left_out = set() if shape.settings.columns else generated
    if shape.settings.form == "hash" and content.form == "hash":
        fields = zip(parts[::2], parts[1::2], strict=True)
        return {name: value for name, value in fields if name.decode("utf-8", "replace") not in left_out}
    if shape.settings.form == "json" and parts:
        try:
            document = json.loads(parts[0])
        except ValueError:
            return parts
        if isinstance(document, dict):
            return {name: value for name, value in document.items() if name not in left_out}
    return parts


class _RedisStreams(Streams):
    """The streams by their checkpoints in Redis."""

    def __init__(
        self,
        settings: Settings,
        parts: RedisParts,
        keywords: Mapping[str, Any],
        *,
        stream: str | None,
        stop: threading.Event,
    ) -> None:
        source = Server(keywords, key="source_db_info", retry=settings.retry, stop=stop)
        super().__init__(settings, source, source, streams=(stream,) if stream else ())
        self._parts = parts
        self._prefix = parts.client.prefix

    def checkpoint(self, stream: str) -> Checkpoint | None:
        with translated():
            found = self._parts.client.any.hget(StreamKeys(self._prefix, stream).state, "state")
        state = None if found is None else decode_state(found)
        if state is None or not state.checkpoint.base:
            self.why_unknown = f"the stream {stream!r} has no checkpoint in Redis"
            return None
        return state.checkpoint
