"""Finds the target of the tools by the configuration."""

from __future__ import annotations

import logging

from pydbsync.config.search import SearchSettings
from pydbsync.config.settings import Settings
from pydbsync.config.sinks import RedisSettings
from pydbsync.errors import OperationError
from pydbsync.ops.sinks.target import ToolTarget
from pydbsync.route.router import Router


def target_of(settings: Settings, router: Router, stream: str, *, log: logging.Logger) -> ToolTarget:
    """Connected. Raises ConfigError, TransientError, OperationError."""
    sink = settings.sink
    if isinstance(sink, RedisSettings):
        try:
            from pydbsync.ops.sinks.redis import RedisTarget  # noqa: PLC0415 (redis-py is loaded where it is used)
        except ImportError as exc:
            raise OperationError(f"redis-py is not installed ({exc}): pip install 'pydbsync[redis]'") from exc
        return RedisTarget(settings, sink, router, stream, log=log)
    if isinstance(sink, SearchSettings):
        try:
            from pydbsync.ops.sinks.search import SearchTarget  # noqa: PLC0415 (urllib3 is loaded where it is used)
        except ImportError as exc:
            raise OperationError(f"urllib3 is not installed ({exc}): pip install 'pydbsync[opensearch]'") from exc
        return SearchTarget(settings, sink, router, stream, log=log)
    raise OperationError("copy, verify and repair know MySQL, Redis and OpenSearch as targets; this sink is neither")
