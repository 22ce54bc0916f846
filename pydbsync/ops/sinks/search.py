"""OpenSearch and Elasticsearch as the tools see them: a copy fills a new index while the old one serves."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from pydbsync.config.search import SearchSettings
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError, PydbsyncError, TransientError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.sinks.target import Shape
from pydbsync.route.router import Router
from pydbsync.sinks.search.bulk import DocumentWrite
from pydbsync.sinks.search.client import SearchError, path_of
from pydbsync.sinks.search.indices import Index
from pydbsync.sinks.search.make import search_parts
from pydbsync.sinks.search.shapes import DocumentKey, SearchTableShape
from pydbsync.work import StreamState


class SearchTarget:
    """A ToolTarget."""

    is_filled_aside = True

    def __init__(
        self, settings: Settings, sink: SearchSettings, router: Router, stream: str, *, log: logging.Logger
    ) -> None:
        """Connected. Raises ConfigError, TransientError."""
        self._mark = sink.mark
        self._log = log
        self._parts = search_parts(settings, sink, router, stream, log=log, is_worker=False)
        self.routes = self._parts.tables.routes
        self._client = self._parts.client
        self._filled: dict[str, Index] = {}
        self.product = sink.product
        self._parts.writer.open()
        self._parts.keep.open()

    def takes(self, name: TableName) -> bool:
        return self._parts.shapes.rules_of(name) is not None

    def why_not(self, name: TableName) -> str:
        return ""

    def shape(self, name: TableName) -> Shape | None:
        return self._parts.shapes.shape(name)

    # -- streams -------------------------------------------------------------------------------------------------------

    def state(self, stream: str) -> StreamState | None:
        return self._parts.keep.index.state(stream)

    def new_generation(self) -> int:
        return self._parts.keep.new_generation()

    def begin_stream(self, stream: str, state: StreamState) -> bool:
        return self._parts.keep.index.begin(stream, state)

    # -- documents -----------------------------------------------------------------------------------------------------

    def begin_copy(self, shape: Shape, floor: str) -> None:
        own = cast(SearchTableShape, shape)
        left = self._parts.indices.of([own])[own.alias].filling
        if left is not None:
            self._log.warning("%s: removed %s, which a former copy had not filled", own.name, left.name)
            self._parts.indices.remove(left)
        self._filled[own.alias] = self._parts.indices.fill(own, floor)

    def end_copy(self, shape: Shape) -> None:
        own = cast(SearchTableShape, shape)
        index = self._filled.pop(own.alias)
        self._parts.indices.finish(own, index)
        self._log.info("%s: %s serves from now on", own.name, index.name)

    def write(self, shape: Shape, rows: Sequence[tuple[Any, Any]], place: str) -> None:
        own = cast(SearchTableShape, shape)
        is_copy = own.alias in self._filled
        indices = [self._filled[own.alias]] if is_copy else self._parts.indices.of([own])[own.alias].both()
        if not indices:
            indices = [self._parts.indices.serving(own)]
        writes = [
            DocumentWrite(index, key, content, place, "known" if content is None else "placed", 0, is_new=is_copy)
            for key, content in rows
            for index in indices
        ]
        try:
            refused = self._parts.bulk.run(writes)
        except TransientError as exc:
            if is_copy and self._parts.indices.of([own])[own.alias].filling != self._filled[own.alias]:
                raise OperationError(
                    f"the index that was being filled for {own.name} is gone, by a TRUNCATE, a DROP or another copy:"
                    " run it again"
                ) from exc
            raise
        if refused:
            raise OperationError(f"{self.product} refuses a row of {own.name}: {refused[0][1]}")

    def _serving(self, shape: SearchTableShape) -> Index | None:
        return self._parts.indices.of([shape])[shape.alias].serving

    def _sources(self, shape: SearchTableShape, keys: Sequence[DocumentKey]) -> list[dict[str, Any] | None]:
        """The documents with their places; None where there is none, or where it was deleted."""
        index = self._serving(shape)
        if index is None:
            return [None] * len(keys)
        return [
            None if source is None or (source.get(self._mark) or {}).get("gone") else source
            for source in self._parts.bulk.read(index, keys)
        ]

    def held(self, shape: Shape, keys: Sequence[Any]) -> list[Any]:
        found = self._sources(cast(SearchTableShape, shape), keys)
        return [source and {name: each for name, each in source.items() if name != self._mark} for source in found]

    def ours(self, shape: Shape, keys: Sequence[Any]) -> set[Any]:
        found = self._sources(cast(SearchTableShape, shape), keys)
        return {key for key, source in zip(keys, found, strict=True) if source is not None}

    def keys(self, shape: Shape) -> Iterator[Sequence[Any]]:
        index = self._serving(cast(SearchTableShape, shape))
        if index is None:
            return
        try:
            self._client.call("POST", path_of(index.name, "_refresh"))
            query = {"bool": {"must_not": [{"term": {f"{self._mark}.gone": True}}]}}
            for hits in self._client.documents(index.name, query, fields=False):
                yield [DocumentKey(hit["_id"], hit.get("_routing")) for hit in hits]
        except SearchError as exc:
            raise TransientError(f"{self.product}: {index.name} cannot be read through: {exc}") from exc

    def is_equal(self, shape: Shape, schema: TableSchema, wanted: Any, found: Any) -> bool:
        if found is None:
            return False
        own = cast(SearchTableShape, shape)
        left_out = set() if own.settings.columns else {each.name for each in schema.columns if each.generated}
        return _without(wanted, left_out) == _without(found, left_out)

    def close(self) -> None:
        for index in self._filled.values():
            with contextlib.suppress(PydbsyncError):  # the next copy removes it
                self._parts.indices.remove(index)
        self._parts.writer.close()


def _without(document: dict[str, Any], names: set[str]) -> str:
    """As a text that compares: True and 1, 1 and 1.0 are not the same."""
    kept = {name: value for name, value in document.items() if name not in names}
    return repr(sorted((name, _sorted(value)) for name, value in kept.items()))


def _sorted(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return _sorted(msgspec.json.decode(value))
    if isinstance(value, dict):
        return [(name, _sorted(each)) for name, each in sorted(value.items())]
    return [_sorted(each) for each in value] if isinstance(value, list) else value
