"""The heartbeat at the source: one row whose number counts up each second and travels the way of all changes."""

from __future__ import annotations

import logging
import threading

from pydbsync.apply.connection import Connection
from pydbsync.backoff import Backoff
from pydbsync.config.settings import Settings
from pydbsync.engine.gaps import HEARTBEAT_COLUMN, HEARTBEAT_ROW
from pydbsync.errors import ConfigError, PermanentError, TransientError
from pydbsync.ops.told import Told
from pydbsync.plan.quoting import quote_name

INTERVAL_S = 1.0
_COUNT_UP = f"UPDATE {{name}} SET {HEARTBEAT_COLUMN} = {HEARTBEAT_COLUMN} + 1 WHERE id = {HEARTBEAT_ROW}"
_SINGLE_ROW = HEARTBEAT_ROW + 1
_MISSING = (1049, 1146)


def run_heartbeat(
    settings: Settings,
    stop: threading.Event,
    log: logging.Logger,
    *,
    beats: int | None = None,
    told: Told | None = None,
) -> int:
    """Count up until `stop` is set, or `beats` times; the last number.

    Makes the table `heartbeat_table` at the source if it is missing. Waits while the source is away. Raises
    ConfigError without `source_db_info`, or where rights are missing.
    """
    if settings.source is None:
        raise ConfigError("is missing: the heartbeat is written at the source", key="source_db_info")
    database, _, table = settings.heartbeat_table.partition(".")
    name = f"{quote_name(database)}.{quote_name(table)}"
    first = f"INSERT IGNORE INTO {name} (id, {HEARTBEAT_COLUMN}) VALUES ({HEARTBEAT_ROW}, 0)"
    count_up = _COUNT_UP.format(name=name)
    backoff = Backoff(settings.retry.first_s, settings.retry.max_s)
    number, written, is_away = 0, 0, False
    connection: Connection | None = None
    while not stop.is_set() and (beats is None or written < beats):
        try:
            if connection is None:
                connection = Connection(settings.source.connect_keywords(), key=settings.source.key, read_timeout_s=30)
                _make_table(connection, quote_name(database), name)
                connection.execute(first)
                if is_away:
                    log.info("the source is back")
                is_away = False
            if not connection.execute(count_up):  # somebody has emptied the table
                connection.execute(first)
                connection.execute(count_up)
            number = int(connection.value(f"SELECT {HEARTBEAT_COLUMN} FROM {name} WHERE id = 1"))
            written += 1
            backoff.reset()
            if told is not None:
                told.now("running")
                told.row.done = written
            if beats is None or written < beats:
                stop.wait(INTERVAL_S)
        except TransientError as exc:
            if connection is not None:
                connection.close()
                connection = None
            if not is_away:
                log.warning("the source is away, no heartbeat is written: %s", exc)
                if told is not None:
                    told.now("waiting for the source")
                    told.row.last_error = str(exc)
            is_away = True
            backoff.wait(stop)
    if connection is not None:
        connection.close()
    return number


def beat_once(connection: Connection, heartbeat_table: str) -> None:
    """Make the table if it is missing, and count up a row of its own once: nobody is to miss the next beat. Raises
    TransientError, PermanentError."""
    database, _, table = heartbeat_table.partition(".")
    name = f"{quote_name(database)}.{quote_name(table)}"
    beat = (
        f"INSERT INTO {name} (id, {HEARTBEAT_COLUMN}) VALUES ({_SINGLE_ROW}, 1)"
        f" ON DUPLICATE KEY UPDATE {HEARTBEAT_COLUMN} = {HEARTBEAT_COLUMN} + 1"
    )
    try:
        connection.execute(beat)
    except PermanentError as exc:
        if exc.code not in _MISSING:
            raise
        _make_table(connection, quote_name(database), name)
        connection.execute(beat)


def _make_table(connection: Connection, database: str, name: str) -> None:
    try:
        connection.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    except PermanentError as exc:  # 1044, which does not name the right
        raise PermanentError(
            f"the heartbeat's table cannot be made at the source: {exc}; grant the user CREATE on {database}.*",
            code=exc.code,
        ) from exc
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {name} (id TINYINT UNSIGNED NOT NULL PRIMARY KEY,"
        f" {HEARTBEAT_COLUMN} BIGINT UNSIGNED NOT NULL,"
        " written_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))"
    )
