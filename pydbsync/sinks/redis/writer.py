"""Writes rows to Redis: one script a key, which looks at the place that is kept beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import redis

from pydbsync.config.sinks import RedisSettings
from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, TableName
from pydbsync.sinks.redis import scripts
from pydbsync.sinks.redis.client import RedisClient, ScriptCall, mark_key
from pydbsync.sinks.redis.durability import Durability
from pydbsync.sinks.redis.shapes import KeyContent, RedisShapes, RedisTableShape
from pydbsync.sinks.writer import RefusedRow, SinkRow, SinkSchemaChange

GONE = KeyContent("gone", ())
_SWEEP = 1000


class KeyWrite:
    """What is to become of one key."""

    __slots__ = ("content", "key", "mode", "number", "place", "shape")

    def __init__(
        self, shape: RedisTableShape, key: str, content: KeyContent, place: str, mode: str, number: int
    ) -> None:
        """`number` is that of the row it comes from."""
        self.shape, self.key, self.content = shape, key, content
        self.place, self.mode, self.number = place, mode, number


class RedisSink:
    """A RowWriter; copy and repair write by `call_of` as well."""

    def __init__(
        self,
        settings: RedisSettings,
        client: RedisClient,
        shapes: RedisShapes,
        durability: Durability,
        *,
        log: logging.Logger,
    ) -> None:
        self._settings = settings
        self._client = client
        self._shapes = shapes
        self._durability = durability
        self._log = log

    def open(self) -> None:
        self._client.open()
        self._durability.start()

    def key_columns(self, table: TableName) -> Sequence[str] | None:
        rules = self._shapes.rules_of(table)
        return None if rules is None else rules.template.columns

    def check(self, row: SinkRow) -> None:
        shape = self._shapes.shape(row.table)
        if shape is not None:
            shape.has_key(row.image())

    def write(self, rows: Sequence[SinkRow]) -> Sequence[RefusedRow]:
        """Of each key only the last change of these rows; of streams of changes all."""
        writes: dict[str, KeyWrite] = {}
        changes: list[tuple[int, ScriptCall]] = []
        refused: list[RefusedRow] = []
        for number, row in enumerate(rows):
            shape = self._shapes.shape(row.table)
            if shape is None:
                continue
            try:
                found = list(self._writes(row, shape, number))
            except PlanError as exc:
                refused.append(RefusedRow(number, str(exc)))
                continue
            for write in found:
                former = writes.get(write.key)
                if write.mode != "bootstrap" or former is None or former.mode == "bootstrap":
                    writes.pop(write.key, None)  # so that it stands where the last change does
                    writes[write.key] = write
            if shape.changes:
                changes.append((number, self._change(row, shape, found[0].key)))
        calls = [(write.number, self.call_of(write)) for write in writes.values()] + changes
        answers = self._client.run([call for _, call in calls])
        for (number, _), answer in zip(calls, answers, strict=True):
            if isinstance(answer, redis.RedisError):
                refused.append(RefusedRow(number, f"Redis: {answer}"))
        if self._client.is_cluster:
            self._durability.wait_for_all()  # before the checkpoint, which is on another node
        return sorted({number: RefusedRow(number, reason) for number, reason in refused}.values())

    def _writes(self, row: SinkRow, shape: RedisTableShape, number: int) -> Iterator[KeyWrite]:
        """First the row as it is now, then its old key, if it had another one. Raises PlanError."""
        change, mode = row.change, row.mode
        image = row.image()
        key = shape.key(image)
        is_gone = change.kind == "delete" or shape.settings.form == "invalidate"
        yield KeyWrite(shape, key, GONE if is_gone else shape.content(image), row.place, mode, number)
        if change.kind == "update" and change.old is not NO_JSON:
            old_key = shape.key(row.old_image())
            if old_key != key:
                yield KeyWrite(shape, old_key, GONE, row.place, mode, number)

    def call_of(self, write: KeyWrite) -> ScriptCall:
        """The script that makes it."""
        settings = write.shape.settings
        lives_ms = settings.ttl_s * 1000
        tombstone_ms = self._settings.tombstone_s * 1000
        form, parts = write.content
        if form == "hash" and self._settings.cluster:
            form = "kept"
        mark_ms = tombstone_ms + lives_ms if form == "gone" or lives_ms else 0
        mark = mark_key(self._settings.prefix, write.key, has_hash_tag=write.shape.template.has_hash_tag)
        return ScriptCall(
            scripts.WRITE, (write.key, mark), (write.place, write.mode, form, lives_ms, mark_ms, *parts)
        )  # fmt: skip

    def _change(self, row: SinkRow, shape: RedisTableShape, key: str) -> ScriptCall:
        change = row.change
        has_place = (change.commit or change.xoffset is not None) and not row.is_late
        place = row.place if has_place else ""
        fields: list[str | bytes] = [
            "type", change.kind, "database", row.table.database, "table", row.table.table, "key", key,
            "place", row.place, "ts", str(change.ts), "data", bytes(change.data),
        ]  # fmt: skip
        if change.old is not NO_JSON:
            fields += ("old", bytes(change.old))
        has_hash_tag = self._settings.cluster and "{" in shape.changes  # elsewhere braces are letters like others
        mark = mark_key(self._settings.prefix, shape.changes, has_hash_tag=has_hash_tag)
        return ScriptCall(scripts.CHANGE, (shape.changes, mark), (place, shape.settings.changes_limit, *fields))

    def change_schema(self, change: SinkSchemaChange) -> None:
        self._shapes.change_schema(
            change, clear=self._sweep, log=self._log, mended_by="pydbsync repair",
            left="`pydbsync repair` deletes their keys",
        )  # fmt: skip

    def _sweep(self, name: TableName, place: str) -> None:
        """Delete the table's keys that were written before this place."""
        shape = self._shapes.shape(name)
        if shape is None:
            return
        reader = shape.template.reader(name)
        calls: list[ScriptCall] = []
        for key in self._client.keys(shape.template.head(name)):
            if reader.fullmatch(key):
                calls.append(self.call_of(KeyWrite(shape, key, GONE, place, "known", 0)))
            if len(calls) >= _SWEEP:
                self._client.run(calls)
                calls = []
        self._client.run(calls)

    def close(self) -> None:
        self._client.close()
