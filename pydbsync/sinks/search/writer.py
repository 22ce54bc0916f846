"""Writes rows to OpenSearch or Elasticsearch: a document each, which keeps the place of its last change."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pydbsync.config.search import SearchSettings
from pydbsync.errors import ApplyError, PlanError, TransientError
from pydbsync.model import NO_JSON, TableName
from pydbsync.sinks.search.bulk import BulkWriter, DocumentWrite
from pydbsync.sinks.search.client import SearchClient, SearchError, path_of
from pydbsync.sinks.search.indices import Index, Indices, TableIndices
from pydbsync.sinks.search.shapes import Document, DocumentKey, SearchShapes, SearchTableShape
from pydbsync.sinks.writer import RefusedRow, SinkRow, SinkSchemaChange

_PURGE_S = 60.0
_PURGED = 10_000
"""Tombstones that are removed at a time, so that nothing waits for long."""


class _DocumentChange:
    """What a row says of one document."""

    __slots__ = ("document", "is_new", "key", "mode", "number", "place", "shape")

    def __init__(
        self, shape: SearchTableShape, key: DocumentKey, document: Document | None, row: SinkRow, number: int
    ) -> None:
        self.shape, self.key, self.document, self.number = shape, key, document, number
        self.place = row.place
        self.mode = row.mode
        self.is_new = row.change.kind in ("insert", "bootstrap-insert")


class SearchSink:
    """A RowWriter; copy and repair write by its parts as well."""

    def __init__(
        self,
        settings: SearchSettings,
        client: SearchClient,
        shapes: SearchShapes,
        indices: TableIndices,
        bulk: BulkWriter,
        *,
        log: logging.Logger,
    ) -> None:
        self._settings = settings
        self._client = client
        self._shapes = shapes
        self._indices = indices
        self._bulk = bulk
        self._log = log
        self._purged_at: dict[str, float] = {}

    def open(self) -> None:
        self._client.open()
        self._indices.forget()

    def key_columns(self, table: TableName) -> Sequence[str] | None:
        rules = self._shapes.rules_of(table)
        return None if rules is None else rules.id.columns

    def check(self, row: SinkRow) -> None:
        shape = self._shapes.shape(row.table)
        if shape is not None:
            shape.has_key(row.image())

    def write(self, rows: Sequence[SinkRow]) -> Sequence[RefusedRow]:
        """Of each document only the last change of these rows."""
        changes: dict[tuple[str, str], _DocumentChange] = {}
        refused: dict[int, RefusedRow] = {}
        for number, row in enumerate(rows):
            shape = self._shapes.shape(row.table)
            if shape is None:
                continue
            try:
                found = list(self._changes(row, shape, number))
            except PlanError as exc:
                refused[number] = RefusedRow(number, str(exc))
                continue
            for change in found:
                where = (shape.alias, change.key.id)
                former = changes.pop(where, None)
                if former is not None and change.mode == "bootstrap" and former.mode != "bootstrap":
                    change = former
                elif former is not None:
                    change.is_new = former.is_new
                changes[where] = change
        for write, reason in self._bulk.run(list(self._writes(list(changes.values())))):
            refused[write.number] = RefusedRow(write.number, reason)
        return [refused[number] for number in sorted(refused)]

    def _changes(self, row: SinkRow, shape: SearchTableShape, number: int) -> Iterator[_DocumentChange]:
        """First the row as it is now, then its old document, if it had another one. Raises PlanError."""
        change, image = row.change, row.image()
        key = shape.key(image)
        yield _DocumentChange(shape, key, None if change.kind == "delete" else shape.content(image), row, number)
        if change.kind == "update" and change.old is not NO_JSON:
            old_key = shape.key(row.old_image())
            if old_key.id != key.id:
                yield _DocumentChange(shape, old_key, None, row, number)

    def _writes(self, changes: Sequence[_DocumentChange]) -> Iterator[DocumentWrite]:
        shapes = {change.shape.alias: change.shape for change in changes}
        found = self._indices.of(shapes.values())
        for alias, shape in shapes.items():
            if not found[alias].both():
                found[alias] = Indices(self._indices.serving(shape), None)
            for index in found[alias].both():
                self._purge(index)
        for change in changes:
            for index in found[change.shape.alias].both():
                yield DocumentWrite(
                    index, change.key, change.document, change.place, change.mode, change.number, is_new=change.is_new
                )  # fmt: skip

    def _purge(self, index: Index) -> None:
        """Remove the documents of rows that were deleted long ago."""
        now = time.monotonic()
        if now - self._purged_at.get(index.name, -_PURGE_S) < _PURGE_S:
            return
        self._purged_at[index.name] = now
        before = round((time.time() - self._settings.tombstone_s) * 1000)
        mark = self._settings.mark
        query = {"bool": {"filter": [{"term": {f"{mark}.gone": True}}, {"range": {f"{mark}.at": {"lt": before}}}]}}
        with suppress(SearchError, ApplyError):  # the next time, then
            for hits in self._client.documents(index.name, query, limit=_PURGED):
                self._bulk.forget(index, hits)

    # -- schema changes ------------------------------------------------------------------------------------------------

    def change_schema(self, change: SinkSchemaChange) -> None:
        self._shapes.change_schema(
            change, clear=self._begin_anew, log=self._log, mended_by="pydbsync copy",
            left="delete their indices, if they are not needed",
        )  # fmt: skip

    def _begin_anew(self, name: TableName, place: str) -> None:
        shape = self._shapes.shape(name)
        if shape is None:
            return
        found = self._indices.begin_anew(shape, place)
        if found is None:
            return
        index, former = found
        if place:
            self._carry_over(former, index, place)
        self._indices.replace(shape, index, former)

    def _carry_over(self, former: Index, index: Index, place: str) -> None:
        """What is newer than the place, as of a copy that was made behind it."""
        self._client.call("POST", path_of(former.name, "_refresh"))
        mark = self._settings.mark
        for hits in self._client.documents(former.name, {"range": {f"{mark}.place": {"gte": place}}}):
            writes = []
            for hit in hits:
                document, key = hit["_source"], DocumentKey(hit["_id"], hit.get("_routing"))
                about = document.pop(mark)
                content = None if about.get("gone") else document
                writes.append(DocumentWrite(index, key, content, about["place"], "placed", 0, is_new=True))
            if refused := self._bulk.run(writes):
                raise TransientError(f"a document could not be carried over to {index.name}: {refused[0][1]}")

    def close(self) -> None:
        self._client.close()
