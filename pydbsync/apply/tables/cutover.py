"""The tables in which a cut-over writes down its steps, for whoever goes on after a kill, from whichever machine."""

from __future__ import annotations

from typing import Final

_NAME: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

CUTOVER_TABLES: Final = {
    "cutover_run": f"""
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        plan VARCHAR(190) {_NAME} NOT NULL,
        command VARCHAR(16) CHARACTER SET ascii NOT NULL,
        turn BIGINT UNSIGNED NOT NULL,
        state VARCHAR(16) CHARACTER SET ascii NOT NULL,
        source VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
        target VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
        actor VARCHAR(190) CHARACTER SET utf8mb4 NOT NULL,
        facts LONGTEXT CHARACTER SET utf8mb4 NOT NULL,
        result TEXT CHARACTER SET utf8mb4 NULL,
        started_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        ended_at TIMESTAMP(6) NULL,
        KEY plan (plan, turn)
    """,
    "cutover_step": """
        run_id BIGINT UNSIGNED NOT NULL,
        number INT UNSIGNED NOT NULL,
        name VARCHAR(32) CHARACTER SET ascii NOT NULL,
        state VARCHAR(16) CHARACTER SET ascii NOT NULL,
        actor VARCHAR(190) CHARACTER SET utf8mb4 NOT NULL,
        result TEXT CHARACTER SET utf8mb4 NULL,
        begun_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        ended_at TIMESTAMP(6) NULL,
        PRIMARY KEY (run_id, number)
    """,
}
"""`cutover_run`: a row a cutover, rollback or failover, at the server that is gone to; `turn` counts the ways of a plan
that were gone, at both servers together. `facts` is JSON: what the undoing and the next one must know."""
