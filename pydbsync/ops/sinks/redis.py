"""Redis as the tools see it: keys, contents, scripts and places are the sink's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, cast

from pydbsync.config.settings import Settings
from pydbsync.config.sinks import RedisSettings
from pydbsync.errors import OperationError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.sinks.target import Shape
from pydbsync.route.router import Router
from pydbsync.sinks.keep import decode_state, encode
from pydbsync.sinks.redis.client import mark_key, translated
from pydbsync.sinks.redis.keep import StreamKeys
from pydbsync.sinks.redis.make import redis_parts
from pydbsync.sinks.redis.shapes import KeyContent, RedisTableShape
from pydbsync.sinks.redis.writer import GONE, KeyWrite
from pydbsync.sinks.values import read_json
from pydbsync.work import StreamState

_CHUNK = 1000


class RedisTarget:
    """A ToolTarget."""

    product = "Redis"
    is_filled_aside = False

    def __init__(
        self, settings: Settings, sink: RedisSettings, router: Router, stream: str, *, log: logging.Logger
    ) -> None:
        """Connected. Raises ConfigError, TransientError."""
        self._sink = sink
        self._parts = redis_parts(settings, sink, router, stream, log=log)
        self.routes = self._parts.tables.routes
        self._parts.writer.open()

    def takes(self, name: TableName) -> bool:
        return self._parts.shapes.rules_of(name) is not None

    def why_not(self, name: TableName) -> str:
        rules = self._parts.shapes.rules_of(name)
        is_deleted = rules is not None and rules.settings.form == "invalidate"
        return "only deletes keys, so that there is nothing to compare" if is_deleted else ""

    def shape(self, name: TableName) -> Shape | None:
        return self._parts.shapes.shape(name)

    # -- streams -------------------------------------------------------------------------------------------------------

    def state(self, stream: str) -> StreamState | None:
        with translated():
            found = self._parts.client.any.hget(StreamKeys(self._sink.prefix, stream).state, "state")
        return None if found is None else decode_state(found)

    def new_generation(self) -> int:
        return self._parts.keep.new_generation()

    def begin_stream(self, stream: str, state: StreamState) -> bool:
        keys = StreamKeys(self._sink.prefix, stream)
        with translated():
            redis = self._parts.client.any
            if not redis.hsetnx(keys.state, "state", encode(state)):
                return False
            redis.hset(keys.state, "commits", "0")
            redis.hset(keys.generations, stream, str(state.generation))
        return True

    # -- keys ----------------------------------------------------------------------------------------------------------

    def begin_copy(self, shape: Shape, floor: str) -> None:
        """Keys are written where they are."""

    def end_copy(self, shape: Shape) -> None:
        """Nothing is left to do."""

    def write(self, shape: Shape, rows: Sequence[tuple[Any, Any]], place: str) -> None:
        own = cast(RedisTableShape, shape)
        writes = [
            KeyWrite(own, key, GONE if content is None else content, place, "known" if content is None else "placed", 0)
            for key, content in rows
        ]
        for answer in self._parts.client.run([self._parts.writer.call_of(write) for write in writes]):
            if isinstance(answer, Exception):
                raise OperationError(f"Redis refuses a row of {own.name}: {answer}")

    def held(self, shape: Shape, keys: Sequence[Any]) -> list[Any]:
        form = "hash" if cast(RedisTableShape, shape).settings.form == "hash" else "string"
        found: list[KeyContent | None] = []
        with translated():
            for answer in self._answers([("HGETALL" if form == "hash" else "GET", key) for key in keys]):
                if isinstance(answer, Exception):
                    found.append(KeyContent("another type", ()))
                elif not answer:
                    found.append(None if answer is None or form == "hash" else KeyContent(form, (answer,)))
                else:
                    parts = answer if isinstance(answer, list) else [answer]
                    found.append(KeyContent(form, tuple(parts)))
        return found

    def ours(self, shape: Shape, keys: Sequence[Any]) -> set[Any]:
        has_tag = cast(RedisTableShape, shape).template.has_hash_tag
        marks = [("GET", mark_key(self._sink.prefix, key, has_hash_tag=has_tag)) for key in keys]
        with translated():
            answers = self._answers(marks)
        live = [isinstance(mark, bytes) and not mark.startswith(b"-") for mark in answers]
        return {key for key, is_live in zip(keys, live, strict=True) if is_live}

    def keys(self, shape: Shape) -> Iterator[Sequence[Any]]:
        own = cast(RedisTableShape, shape)
        pattern = own.template.reader(own.name)
        part: list[str] = []
        for key in self._parts.client.keys(own.template.head(own.name)):
            if pattern.fullmatch(key):
                part.append(key)
            if len(part) >= _CHUNK:
                yield part
                part = []
        yield part

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

    def is_equal(self, shape: Shape, schema: TableSchema, wanted: Any, found: Any) -> bool:
        """A key with a time to live may have gone."""
        own = cast(RedisTableShape, shape)
        if found is None:
            return not wanted.parts or own.settings.ttl_s > 0
        generated = {column.name for column in schema.columns if column.generated}
        return _plain(wanted, own, generated) == _plain(found, own, generated)

    def close(self) -> None:
        self._parts.writer.close()


def _plain(content: KeyContent, shape: RedisTableShape, generated: set[str]) -> object:
    """The content in a form that compares; without generated columns where all columns are written."""
    parts = [part.encode() if isinstance(part, str) else part for part in content.parts]
    left_out = set() if shape.settings.columns else generated
    if shape.settings.form == "hash" and content.form == "hash":
        fields = zip(parts[::2], parts[1::2], strict=True)
        return {name: value for name, value in fields if name.decode("utf-8", "replace") not in left_out}
    if shape.settings.form == "json" and parts:
        try:
            document = read_json(parts[0].decode())
        except ValueError:
            return parts
        if isinstance(document, dict):
            return {name: value for name, value in document.items() if name not in left_out}
    return parts
