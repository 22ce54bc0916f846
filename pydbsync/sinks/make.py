"""Makes the parts of a stream whose target is a sink."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydbsync.config.search import SearchSettings
from pydbsync.config.settings import Settings
from pydbsync.config.sinks import NdjsonSettings, OwnSinkSettings, RedisSettings, for_stream
from pydbsync.decode.maxwell import decode_changes
from pydbsync.engine.routing import router_from
from pydbsync.engine.stages import Stages
from pydbsync.errors import ConfigError, PydbsyncError
from pydbsync.protocols import Source
from pydbsync.route.router import Router
from pydbsync.sinks.apart import ApartSink
from pydbsync.sinks.folder import FolderKeep
from pydbsync.sinks.held import HeldAcknowledgements, Keeps
from pydbsync.sinks.keep import Keep
from pydbsync.sinks.ndjson import NdjsonSink
from pydbsync.sinks.plans import SinkPlans
from pydbsync.sinks.routes import SinkRoutes
from pydbsync.sinks.schema import SinkSchemaFlow
from pydbsync.sinks.source_tables import SourceTables
from pydbsync.sinks.writer import RowWriter

_METHODS = ("open", "key_columns", "check", "write", "change_schema", "close")
"""Those of a RowWriter."""


class Parts(NamedTuple):
    """A sink, and where its state is kept."""

    writer: RowWriter
    keep: Keep
    routes: SinkRoutes | None
    """None where rows come as they are."""
    holds: Keeps[Any] | None = None
    """What acknowledgements wait for."""


def sink_stages(
    settings: Settings,
    source: Source,
    *,
    log: logging.Logger,
    tell: Callable[[str], object] = lambda state: None,
    connected: Callable[[], object] = lambda: None,
) -> Stages:
    """The parts that a stream is followed with, for the sink of the settings. Raises ConfigError."""
    assert settings.sink is not None  # noqa: S101 (asked for by the caller)
    router = router_from(settings)
    writer, keep, routes, holds = parts_of(settings, router, source.stream, log=log)
    if holds is not None:
        source = HeldAcknowledgements(source, holds)
    apart = ApartSink(settings, writer=writer, keep=keep, stream=source.stream, log=log, tell=tell, connected=connected)
    plans = SinkPlans(router, writer, routes)
    schema = SinkSchemaFlow(settings, router=router, writer=writer, routes=routes)

    def use(found: Settings) -> None:
        router = router_from(found)
        apart.use(found)
        plans.use(router)
        schema.use(found, router)

    return Stages(source, decode_changes, plans, schema, store=apart, sink=apart, use=use)


def parts_of(settings: Settings, router: Router, stream: str, *, log: logging.Logger) -> Parts:
    """The sink and its keep. Raises ConfigError."""
    sink = settings.sink
    if isinstance(sink, NdjsonSettings | OwnSinkSettings):
        writer = (
            NdjsonSink(for_stream(sink.path, stream)) if isinstance(sink, NdjsonSettings) else _own_sink(sink, stream)
        )
        routes = SourceTables(settings, router).routes if settings.routes else None
        return Parts(writer, _folder(sink, stream), routes)
    if isinstance(sink, SearchSettings):
        try:
            from pydbsync.sinks.search.make import search_parts  # noqa: PLC0415 (urllib3 is loaded where it is used)
        except ImportError as exc:
            raise ConfigError(f"needs urllib3 ({exc}): pip install 'pydbsync[opensearch]'", key="sink.type") from exc
        parts = search_parts(settings, sink, router, stream, log=log)
        return Parts(parts.writer, parts.keep, parts.tables.routes)
    assert isinstance(sink, RedisSettings)  # noqa: S101 (there are no others)
    try:
        from pydbsync.sinks.redis.make import redis_parts  # noqa: PLC0415 (redis-py is loaded where it is used)
    except ImportError as exc:
        raise ConfigError(f"needs redis-py ({exc}): pip install 'pydbsync[redis]'", key="sink.type") from exc
    made = redis_parts(settings, sink, router, stream, log=log)
    return Parts(made.writer, made.keep, made.tables.routes, made.durability)


class OpenKeep:
    """The keep of a stream over a connection of its own, which owns nothing."""

    def __init__(self, settings: Settings, stream: str, *, log: logging.Logger) -> None:
        """Raises TransientError, ConfigError."""
        self._parts: Parts | None = None
        if isinstance(settings.sink, NdjsonSettings | OwnSinkSettings):
            self.keep: Keep = _folder(settings.sink, stream)
        else:
            self._parts = parts_of(settings, router_from(settings), stream, log=log)
            self.keep = self._parts.keep
        self._is_open = True
        try:
            self.keep.open_to_look()
            self.keep.open()
        except PydbsyncError:
            self.close()
            raise

    def is_open(self) -> bool:
        """Whether it can be used further."""
        return self._is_open

    def note(self, name: str, text: bytes) -> None:
        """As Keep.note."""
        self.keep.note(name, text)

    def notes(self, names: Sequence[str]) -> list[bytes | None]:
        """As Keep.notes."""
        return self.keep.notes(names)

    def close(self) -> None:
        """Never raises."""
        self._is_open = False
        self.keep.close()
        if self._parts is not None:
            self._parts.writer.close()


def _folder(sink: NdjsonSettings | OwnSinkSettings, stream: str) -> FolderKeep:
    state = sink.state or f"{sink.path}.state" if isinstance(sink, NdjsonSettings) else sink.state
    return FolderKeep(Path(for_stream(state, stream)))


def _own_sink(sink: OwnSinkSettings, stream: str) -> RowWriter:
    module, _, name = sink.type.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(
            f"{sink.type!r} cannot be had: {exc}; Python looks in what is installed, and in the folders of PYTHONPATH",
            key="sink.type",
        ) from exc
    if lacking := [method for method in _METHODS if not callable(getattr(made, method, None))]:
        raise ConfigError(f"{sink.type!r} has no method {', '.join(lacking)}", key="sink.type")
    return cast(RowWriter, made(sink.options, stream))
