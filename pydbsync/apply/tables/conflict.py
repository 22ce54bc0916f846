"""Conflicts as they were decided: the table `conflict`, written in the transaction that the decision is part of."""

from __future__ import annotations

from typing import Final

from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.plan.quoting import quote_name
from pydbsync.work import Conflict

_ROOM_BYTES: Final = 2**16
"""Of a statement, for all but the images."""

CONFLICT_TABLES: Final = {
    "conflict": """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        position VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        kind VARCHAR(32) CHARACTER SET ascii NOT NULL,
        source_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        source_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        target_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        found VARCHAR(16) CHARACTER SET ascii NOT NULL,
        policy VARCHAR(128) CHARACTER SET utf8mb4 NOT NULL,
        decision VARCHAR(16) CHARACTER SET ascii NOT NULL,
        status VARCHAR(16) CHARACTER SET ascii NOT NULL DEFAULT 'decided',
        before_image LONGBLOB NULL,
        after_image LONGBLOB NULL,
        found_image LONGBLOB NULL,
        note TEXT CHARACTER SET utf8mb4 NOT NULL,
        decided_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        KEY age (decided_at),
        KEY by_table (source_database, source_table, id),
        KEY place (stream, `position`(64))
    """,
}
"""`found` is what the target had against the change, `decision` whose row stays; `status` is `resolved` when an
operator has decided anew. NULL is no row: there was none, or `note` tells why its image is not kept."""


_OF_CHANGE: Final = (
    "stream = %s AND `position` = %s AND target_database = %s AND target_table = %s AND decision = 'parked'"
    " AND status = 'decided'"
)


class ConflictTable:
    """The conflicts of one stream."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._table = f"{quote_name(schema)}.`conflict`"
        self._stream = stream

    def is_parked(self, connection: Connection, position: str, target: TableName) -> bool:
        """Whether a conflict of the change at this place was written down, and waits for a decision."""
        return bool(connection.rows(
            f"SELECT 1 FROM {self._table} WHERE {_OF_CHANGE} LIMIT 1", (self._stream, position[:255], *target)
        ))  # fmt: skip

    def write_resolved(self, connection: Connection, position: str, target: TableName) -> None:
        """An operator has decided what was parked of the change at this place, as part of the running transaction."""
        connection.run(
            f"UPDATE {self._table} SET status = 'resolved' WHERE {_OF_CHANGE}",
            (self._stream, position[:255], *target),
        )

    def write(self, connection: Connection, conflict: Conflict) -> None:
        """Store one as part of the running transaction."""
        images, note = (conflict.before, conflict.after, conflict.there), conflict.note
        size_bytes = sum(len(image) for image in images if image is not None)
        if 2 * size_bytes + _ROOM_BYTES > connection.max_allowed_packet:  # escaped, they may be twice as long
            note = f"its images of {size_bytes} bytes are too long to be kept (max_allowed_packet); {note}"
            images = (None, None, None)
        connection.run(
            f"INSERT INTO {self._table} (stream, `position`, kind, source_database, source_table, target_database,"
            " target_table, found, policy, decision, before_image, after_image, found_image, note)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                self._stream, conflict.position[:255], conflict.kind, *conflict.source, *conflict.target,
                conflict.found, conflict.policy[:128], conflict.decision,
                *(None if image is None else bytes(image) for image in images), note[:16000],
            ),
        )  # fmt: skip
