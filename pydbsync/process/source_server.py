"""Which server the source is, asked of `source_db_info` when it is first needed."""

from __future__ import annotations

import logging
import time

from pydbsync.apply.catalog import collation_of, read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.system_zone import system_zone
from pydbsync.config.servers import TargetSettings
from pydbsync.errors import ConfigError, PermanentError, TransientError
from pydbsync.model import SessionSettings, TableName, TableSchema
from pydbsync.plan.ddl.collations import StatementServer

_CONNECT_TIMEOUT_S = 5.0
_ASK_AGAIN_S = 30.0


class AskedSource:
    """The source's brand, version and global settings, by asking it once; None while it cannot be asked."""

    def __init__(self, source: TargetSettings | None, log: logging.Logger) -> None:
        self._source = source
        self._log = log
        self._found: StatementServer | None = None
        self._ask_at = 0.0

    def __call__(self) -> StatementServer | None:
        if self._found is None and self._source is not None and time.monotonic() >= self._ask_at:
            self._found = self._ask(self._source)
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
        return self._found

    def collation_of(self, database: str) -> str | None:
        """The default collation that the source's database has now; None where it is gone or cannot be asked for."""
        source = self._source
        if source is None or self() is None:
            return None
        connection = self._connect(source)
        if connection is None:
            return None
        try:
            return collation_of(connection, database)
        except (PermanentError, TransientError) as exc:
            self._log.warning("the source could not be asked for its databases (%s): %s", source.key, exc)
            return None
        finally:
            connection.close()

    def table(self, name: TableName) -> TableSchema | None:
        """A table of the source as it is now; None where there is none, or no source is configured. Raises
        TransientError where it does not answer."""
        if self._source is None:
            return None
        connection = self._connect(self._source)
        if connection is None:
            raise TransientError("the source does not answer, of which a route has to know the types of columns")
        try:
            return read_table(connection, name, with_referrers=False)
        finally:
            connection.close()

    def _connect(self, source: TargetSettings) -> Connection | None:
        try:
            return Connection({"connect_timeout": _CONNECT_TIMEOUT_S, **source.connect_keywords()}, key=source.key)
        except (ConfigError, TransientError) as exc:
            self._log.warning("the source could not be asked which server it is (%s): %s", source.key, exc)
            return None

    def _ask(self, source: TargetSettings) -> StatementServer | None:
        connection = self._connect(source)
        if connection is None:
            return None
        try:
            self._log.info("source: %s", connection.version)
            dialect = connection.dialect
            return StatementServer(dialect.brand, dialect.version, session=read_globals(connection))
        except (PermanentError, TransientError) as exc:
            self._log.warning("the source could not be asked for its settings (%s): %s", source.key, exc)
            return None
        finally:
            connection.close()


def read_globals(connection: Connection) -> SessionSettings:
    """What a session of this server has where it sets nothing itself. Raises TransientError, PermanentError."""
    listed = ", ".join(f"'{name}'" for name in SessionSettings.__struct_fields__)
    found = {
        str(name).lower(): str(value)
        for name, value in connection.rows(f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({listed})")
    }
    explicit = found.get("explicit_defaults_for_timestamp")
    letters = found.get("system_time_zone", "")

    def number(name: str) -> int | None:
        return int(found[name]) if name in found else None

    return SessionSettings(
        sql_mode=found.get("sql_mode"),
        collation_connection=found.get("collation_connection"),
        collation_server=found.get("collation_server"),
        default_collation_for_utf8mb4=found.get("default_collation_for_utf8mb4"),
        character_set_collations=found.get("character_set_collations"),
        explicit_defaults_for_timestamp=None if explicit is None else explicit == "ON",
        time_zone=found.get("time_zone"),
        system_time_zone=system_zone(connection.rows, letters) or None,
        auto_increment_increment=number("auto_increment_increment"),
        auto_increment_offset=number("auto_increment_offset"),
        lc_time_names=found.get("lc_time_names"),
        default_week_format=number("default_week_format"),
        div_precision_increment=number("div_precision_increment"),
        old_mode=found.get("old_mode"),
    )
