"""Which server the source is, asked of `source_db_info` when it is first needed."""

from __future__ import annotations

import logging
import time

from pydbsync.apply.connection import Connection
from pydbsync.config.servers import TargetSettings
from pydbsync.errors import ConfigError, TransientError
from pydbsync.plan.dialect import Server

_CONNECT_TIMEOUT_S = 5.0
_ASK_AGAIN_S = 30.0


class AskedSource:
    """The source's brand and version, by asking it once; None while it cannot be asked."""

    def __init__(self, source: TargetSettings | None, log: logging.Logger) -> None:
        self._source = source
        self._log = log
        self._found: Server | None = None
        self._ask_at = 0.0

    def __call__(self) -> Server | None:
        if self._found is None and self._source is not None and time.monotonic() >= self._ask_at:
            self._found = self._ask(self._source)
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
        return self._found

    def _ask(self, source: TargetSettings) -> Server | None:
        try:
            connection = Connection(
                {"connect_timeout": _CONNECT_TIMEOUT_S, **source.connect_keywords()}, key=source.key
            )
        except (ConfigError, TransientError) as exc:
            self._log.warning("the source could not be asked which server it is (%s): %s", source.key, exc)
            return None
        try:
            self._log.info("source: %s", connection.version)
            return Server("mariadb" if connection.dialect.is_mariadb else "mysql", connection.dialect.version)
        finally:
            connection.close()
