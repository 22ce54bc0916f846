"""The tables of the state schema as version 1 has them; what came later stands in the migrations."""

from __future__ import annotations

FIRST_TABLES = {
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
    "copy_start": """
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
        run_id BIGINT UNSIGNED NOT NULL,
        phase ENUM('copying', 'replay', 'consistent') CHARACTER SET ascii NOT NULL,
        is_proven BOOLEAN NOT NULL,
        queue_existed BOOLEAN NOT NULL,
        binlog_base VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
        binlog_file BIGINT UNSIGNED NOT NULL DEFAULT 0,
        binlog_offset BIGINT UNSIGNED NOT NULL DEFAULT 0,
        end_file BIGINT UNSIGNED NOT NULL DEFAULT 0,
        end_offset BIGINT UNSIGNED NOT NULL DEFAULT 0,
        end_ts BIGINT NOT NULL DEFAULT 0,
        marker_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
        marker_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
        end_marker VARCHAR(64) CHARACTER SET ascii NOT NULL DEFAULT ''
    """,
    "table_start": """
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        binlog_base VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
        binlog_file BIGINT UNSIGNED NOT NULL DEFAULT 0,
        binlog_offset BIGINT UNSIGNED NOT NULL DEFAULT 0,
        gtids LONGTEXT CHARACTER SET ascii NOT NULL,
        newest_ts BIGINT NOT NULL DEFAULT 0,
        marker VARCHAR(64) CHARACTER SET ascii NOT NULL DEFAULT '',
        PRIMARY KEY (stream, source_database, source_table)
    """,
    "copy_run": """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        status ENUM('running', 'done', 'given up') CHARACTER SET ascii NOT NULL,
        options LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        source LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        start LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        latest LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        before_latest LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        rounds INT UNSIGNED NOT NULL DEFAULT 0,
        started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        ended_at TIMESTAMP(6) NULL
    """,
    "copy_table": """
        run_id BIGINT UNSIGNED NOT NULL,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        round INT UNSIGNED NOT NULL,
        status ENUM('begun', 'done', 'gone') CHARACTER SET ascii NOT NULL,
        start LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        fingerprint CHAR(40) CHARACTER SET ascii NOT NULL,
        row_count BIGINT UNSIGNED NOT NULL DEFAULT 0,
        size_bytes BIGINT UNSIGNED NOT NULL DEFAULT 0,
        PRIMARY KEY (run_id, source_database, source_table)
    """,
    "copy_chunk": """
        run_id BIGINT UNSIGNED NOT NULL,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        number INT UNSIGNED NOT NULL,
        lower_key LONGTEXT CHARACTER SET ascii NULL,
        upper_key LONGTEXT CHARACTER SET ascii NULL,
        is_done BOOLEAN NOT NULL,
        row_count BIGINT UNSIGNED NOT NULL DEFAULT 0,
        size_bytes BIGINT UNSIGNED NOT NULL DEFAULT 0,
        PRIMARY KEY (run_id, source_database, source_table, number)
    """,
    "copy_made": """
        run_id BIGINT UNSIGNED NOT NULL,
        target_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        status ENUM('making', 'made', 'kept') CHARACTER SET ascii NOT NULL,
        fingerprint CHAR(40) CHARACTER SET ascii NOT NULL,
        late_keys LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        PRIMARY KEY (run_id, target_database, target_table)
    """,
    "repair": """
        plan VARCHAR(64) CHARACTER SET ascii NOT NULL,
        number BIGINT UNSIGNED NOT NULL,
        status ENUM('applied', 'undone') CHARACTER SET ascii NOT NULL,
        after_image LONGBLOB NULL,
        done_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
        PRIMARY KEY (plan, number)
    """,
}
"""`copy_start`: one row a stream. `table_start`: a table of '' stands for the statements about a database itself,
'*'.'*' for all that has no row of its own."""
