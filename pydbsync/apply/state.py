"""The tables of the state schema in the target: made at start, with clear errors where rights are missing."""

from __future__ import annotations

from pydbsync.apply.connection import Connection
from pydbsync.errors import ConfigError, PermanentError
from pydbsync.plan.quoting import quote_name

TABLES = {
    "checkpoint": """
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
        owner VARCHAR(64) CHARACTER SET ascii NOT NULL DEFAULT '',
        owner_info VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
        epoch BIGINT UNSIGNED NOT NULL DEFAULT 0,
        binlog_base VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
        binlog_file BIGINT UNSIGNED NOT NULL DEFAULT 0,
        binlog_offset BIGINT UNSIGNED NOT NULL DEFAULT 0,
        xoffset BIGINT NOT NULL DEFAULT -1,
        server_id BIGINT UNSIGNED NULL,
        newest_ts BIGINT NOT NULL DEFAULT 0,
        gtids LONGTEXT CHARACTER SET ascii NOT NULL,
        commits BIGINT UNSIGNED NOT NULL DEFAULT 0,
        applied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        duplicates BIGINT UNSIGNED NOT NULL DEFAULT 0,
        heartbeat BIGINT UNSIGNED NULL,
        heartbeat_ts BIGINT NULL,
        ghosts LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        xid BIGINT UNSIGNED NULL,
        open_gtid VARCHAR(255) CHARACTER SET ascii NOT NULL DEFAULT '',
        server_ids VARCHAR(1000) CHARACTER SET ascii NOT NULL DEFAULT '',
        updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)
    """,
    "stream_origin": """
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
        queue VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        vhost VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        cluster VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        address VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
    """,
    "bootstrap": """
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        PRIMARY KEY (stream, source_database, source_table)
    """,
    "schema_change": """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        statement_hash CHAR(40) CHARACTER SET ascii NOT NULL,
        position VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        status ENUM('intent', 'done', 'skipped', 'parked') CHARACTER SET ascii NOT NULL,
        default_database VARCHAR(64) CHARACTER SET utf8mb4 NULL,
        statement LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        before_state LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        note TEXT CHARACTER SET utf8mb4 NOT NULL,
        ts BIGINT NOT NULL,
        started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        ended_at TIMESTAMP(6) NULL,
        UNIQUE KEY statement_hash (statement_hash)
    """,
    "schema_change_source": """
        statement_hash CHAR(40) CHARACTER SET ascii NOT NULL PRIMARY KEY,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target VARCHAR(262) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        KEY target (target)
    """,
    "parked": """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        status ENUM('parked', 'applied', 'skipped') CHARACTER SET ascii NOT NULL DEFAULT 'parked',
        position VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        kind VARCHAR(32) CHARACTER SET ascii NOT NULL,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        row_keys LONGBLOB NOT NULL,
        is_whole_table BOOLEAN NOT NULL,
        behind BIGINT UNSIGNED NULL,
        reason TEXT CHARACTER SET utf8mb4 NOT NULL,
        code INT UNSIGNED NOT NULL,
        message LONGBLOB NOT NULL,
        edited LONGBLOB NULL,
        parked_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        KEY stream (stream, status, id)
    """,
    "parked_piece": """
        parked_id BIGINT UNSIGNED NOT NULL,
        number INT UNSIGNED NOT NULL,
        piece LONGBLOB NOT NULL,
        PRIMARY KEY (parked_id, number)
    """,
    "parked_audit": """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        parked_id BIGINT UNSIGNED NOT NULL,
        action VARCHAR(16) CHARACTER SET ascii NOT NULL,
        actor VARCHAR(190) CHARACTER SET utf8mb4 NOT NULL,
        detail LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        done_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        KEY parked_id (parked_id)
    """,
}

_ADDED = ("xid", "open_gtid", "server_ids")
"""Columns of `checkpoint` that state schemas made earlier do not have."""


def ensure_state_schema(connection: Connection, schema: str) -> None:
    """Create what is missing of the state schema. Raises ConfigError if the user may not."""
    name = quote_name(schema)
    try:
        found = {
            str(row[0])
            for row in connection.rows(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (schema,)
            )
        }
        if set(TABLES) <= found:
            _add_columns(connection, schema)
            return
        if not connection.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (schema,)):
            connection.execute(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4")
        for table, definition in TABLES.items():
            connection.execute(f"CREATE TABLE IF NOT EXISTS {name}.{quote_name(table)} ({definition}) ENGINE=InnoDB")
        _add_columns(connection, schema)
    except PermanentError as exc:
        raise ConfigError(
            f"the state schema {schema!r} cannot be made in the target: {exc}; create it and grant the user ALL on it"
            " (docs/operations.md lists the grants)",
            key="state_schema",
        ) from exc


def _add_columns(connection: Connection, schema: str) -> None:
    found = {
        str(row[0])
        for row in connection.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = 'checkpoint'",
            (schema,),
        )
    }
    lines = [line.strip().rstrip(",") for line in TABLES["checkpoint"].splitlines()]
    missing = [f"ADD COLUMN {line}" for line in lines if line.split(" ")[0] in set(_ADDED) - found]
    if missing:
        connection.execute(f"ALTER TABLE {quote_name(schema)}.`checkpoint` {', '.join(missing)}")
