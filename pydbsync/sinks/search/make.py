"""Makes the parts of the sinks `opensearch` and `elasticsearch`."""

from __future__ import annotations

import logging
from typing import NamedTuple

from pydbsync.config.search import SearchSettings
from pydbsync.config.settings import Settings
from pydbsync.route.router import Router
from pydbsync.sinks.search.bulk import BulkWriter
from pydbsync.sinks.search.client import SearchClient
from pydbsync.sinks.search.indices import TableIndices
from pydbsync.sinks.search.keep import SearchKeep
from pydbsync.sinks.search.shapes import SearchShapes
from pydbsync.sinks.search.writer import SearchSink
from pydbsync.sinks.source_tables import SourceTables


class SearchParts(NamedTuple):
    """They share one connection to the cluster, and one to the source."""

    tables: SourceTables
    client: SearchClient
    shapes: SearchShapes
    indices: TableIndices
    bulk: BulkWriter
    writer: SearchSink
    keep: SearchKeep


def search_parts(
    settings: Settings,
    sink: SearchSettings,
    router: Router,
    stream: str,
    *,
    log: logging.Logger,
    is_worker: bool = True,
) -> SearchParts:
    """Nothing is connected yet. Raises ConfigError."""
    client = SearchClient(sink)
    tables = SourceTables(settings, router)
    shapes = SearchShapes(sink, tables.routed)
    indices = TableIndices(sink, client, log=log)
    keep = SearchKeep(sink, client, stream=stream, lock_s=settings.lock_timeout_s)
    bulk = BulkWriter(sink, client, alive=keep.keep_alive if is_worker else lambda: None)
    writer = SearchSink(sink, client, shapes, indices, bulk, log=log)
    return SearchParts(tables, client, shapes, indices, bulk, writer, keep)
