"""The tables in which an operator asks something of the workers, and in which it is written down who did what."""

from __future__ import annotations

from typing import Final

OPERATOR_TABLES: Final = {
    "pause": """
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        schema_changes_of VARCHAR(130) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        actor VARCHAR(190) CHARACTER SET utf8mb4 NOT NULL,
        reason TEXT CHARACTER SET utf8mb4 NOT NULL,
        asked_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        PRIMARY KEY (stream, schema_changes_of)
    """,
    "operator_audit": """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        action VARCHAR(32) CHARACTER SET ascii NOT NULL,
        about VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        actor VARCHAR(190) CHARACTER SET utf8mb4 NOT NULL,
        detail LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        done_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
    """,
}
"""`pause`: a row a queue that is paused (`schema_changes_of` is empty then), and a row a table of which the schema
changes are; a stream of '' is every stream."""

FEEDER: Final = """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        server_id BIGINT UNSIGNED NOT NULL,
        seen_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        UNIQUE KEY feeds (target_database, target_table, stream, server_id),
        KEY stream (stream)
    """
