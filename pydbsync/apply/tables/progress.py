"""The tables in which workers and tools write what they are doing, for `pydbsync status` and whoever asks by SQL."""

from __future__ import annotations

_NAME = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_PROCESS = """
        pydbsync_version VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
        state VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL,
        state_since TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        written_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        every_s DOUBLE NOT NULL DEFAULT 1,
        last_error TEXT CHARACTER SET utf8mb4 NULL,
        last_error_at TIMESTAMP(6) NULL,
        remedy TEXT CHARACTER SET utf8mb4 NULL,"""
"""All times are the target's clock; what happened before the writing is told as an age. `every_s` is how often the row
is written: one that is much older is that of a process that has gone, or cannot write."""

FRESH = (
    "written_at BETWEEN CURRENT_TIMESTAMP(6) - INTERVAL GREATEST(2, 10 * every_s) SECOND"
    " AND CURRENT_TIMESTAMP(6) + INTERVAL 1 SECOND"
)
"""The condition on a row whose process writes it still. One of the future was written before the server's clock was set
back, by a process that may be dead: who lives writes it anew."""

PROGRESS_TABLES = {
    "worker": f"""
        stream VARCHAR(190) {_NAME} NOT NULL,
        host VARCHAR(190) {_NAME} NOT NULL,
        pid BIGINT UNSIGNED NOT NULL,
        queue VARCHAR(255) {_NAME} NOT NULL DEFAULT '',{_PROCESS}
        epoch BIGINT UNSIGNED NULL,
        busy_s DOUBLE NULL,
        applied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        transactions BIGINT UNSIGNED NOT NULL DEFAULT 0,
        schema_changes BIGINT UNSIGNED NOT NULL DEFAULT 0,
        duplicates BIGINT UNSIGNED NOT NULL DEFAULT 0,
        redelivered BIGINT UNSIGNED NOT NULL DEFAULT 0,
        new_streams BIGINT UNSIGNED NOT NULL DEFAULT 0,
        gaps BIGINT UNSIGNED NOT NULL DEFAULT 0,
        parked BIGINT UNSIGNED NOT NULL DEFAULT 0,
        parked_now BIGINT UNSIGNED NULL,
        rows_per_s DOUBLE NULL,
        messages_per_s DOUBLE NULL,
        arriving_per_s DOUBLE NULL,
        depth BIGINT UNSIGNED NULL,
        held BIGINT UNSIGNED NULL,
        level_s DOUBLE NULL,
        newest_ts BIGINT NULL,
        lag_s DOUBLE NULL,
        published_s DOUBLE NULL,
        received_s DOUBLE NULL,
        committed_s DOUBLE NULL,
        batch_rows DOUBLE NULL,
        batch_s DOUBLE NULL,
        heartbeat BIGINT UNSIGNED NULL,
        heartbeat_at TIMESTAMP(6) NULL,
        broker_reconnects BIGINT UNSIGNED NOT NULL DEFAULT 0,
        target_reconnects BIGINT UNSIGNED NOT NULL DEFAULT 0,
        last_commit_at TIMESTAMP(6) NULL,
        resident_bytes BIGINT UNSIGNED NULL,
        PRIMARY KEY (stream, host, pid)
    """,
    "worker_minute": f"""
        stream VARCHAR(190) {_NAME} NOT NULL,
        minute TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        applied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        lag_s DOUBLE NULL,
        depth BIGINT UNSIGNED NULL,
        parked_now BIGINT UNSIGNED NULL,
        PRIMARY KEY (stream, minute)
    """,
    "incident": f"""
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        stream VARCHAR(190) {_NAME} NOT NULL,
        kind VARCHAR(32) CHARACTER SET ascii NOT NULL,
        happened_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        text TEXT CHARACTER SET utf8mb4 NOT NULL,
        remedy TEXT CHARACTER SET utf8mb4 NULL,
        KEY stream (stream, id)
    """,
    "task": f"""
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        kind VARCHAR(16) CHARACTER SET ascii NOT NULL,
        name VARCHAR(190) {_NAME} NOT NULL DEFAULT '',
        host VARCHAR(190) {_NAME} NOT NULL,
        pid BIGINT UNSIGNED NOT NULL,{_PROCESS}
        ended_at TIMESTAMP(6) NULL,
        exit_code INT NULL,
        done BIGINT UNSIGNED NULL,
        total BIGINT UNSIGNED NULL,
        unit VARCHAR(16) CHARACTER SET ascii NOT NULL DEFAULT 'rows',
        size_bytes BIGINT UNSIGNED NULL,
        per_s DOUBLE NULL,
        detail TEXT CHARACTER SET utf8mb4 NULL,
        result TEXT CHARACTER SET utf8mb4 NULL,
        KEY kind (kind, id)
    """,
}
"""`worker`: a row a process, stand-bys too. `worker_minute`: what became of each minute, with the highest lag and depth
in it; kept for some days. `incident`: gaps, and errors that ended a worker; kept for a month. `task`: a row a run of
copy, verify, repair, capture and heartbeat."""

FINDINGS_TABLE = """
    task_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    kind VARCHAR(16) CHARACTER SET ascii NOT NULL,
    findings MEDIUMTEXT CHARACTER SET utf8mb4 NOT NULL,
    written_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
"""
"""`task_findings`: what a run found, as JSON that is cut to some size; that of the last runs is kept."""
