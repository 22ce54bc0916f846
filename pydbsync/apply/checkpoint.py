"""The checkpoint row of one stream: who owns it, how far it is applied, and the fence in every commit.

The row is written first in every transaction, so that rows and place are committed together or not at all. The lock
is the server's GET_LOCK, which goes with the connection: a worker that dies gives it back at once, one that hangs
loses it when the server hangs up on its silent connection (wait_timeout = lock_timeout_s). Should a replaced worker
come back all the same, its owner mark no longer stands in the row and its commit changes nothing (CheckpointConflict).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import CheckpointConflict
from pydbsync.model import Place, TableName
from pydbsync.places import Checkpoint, Recent
from pydbsync.plan.quoting import quote_name, quote_text
from pydbsync.work import StreamState


class CheckpointRow:
    """Reads, owns and writes the row `checkpoint` of one stream."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._table = f"{quote_name(schema)}.`checkpoint`"
        self._bootstrap_table = f"{quote_name(schema)}.`bootstrap`"
        self._stream = stream
        self._owner = ""
        # 64 characters at most, and equal for equal streams of one state schema only.
        digest = hashlib.sha256(f"{schema}\0{stream}".encode()).hexdigest()[:40]
        self._lock = f"pydbsync:{digest}"

    def wait_for_lock(self, connection: Connection, stop: threading.Event) -> bool:
        """Take the stream's lock on this connection; False if `stop` was set first."""
        while not stop.is_set():
            if self.try_lock(connection, wait_s=1):
                return True
        return False

    def try_lock(self, connection: Connection, *, wait_s: float = 0) -> bool:
        """Take the stream's lock if it is free, or gets free within `wait_s`."""
        return bool(connection.value("SELECT GET_LOCK(%s, %s)", (self._lock, wait_s)) == 1)

    def is_locked_by(self, connection: Connection) -> bool:
        """Whether this very connection holds the lock."""
        return bool(connection.value("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", (self._lock,)) == 1)

    def is_locked(self, connection: Connection) -> bool:
        """Whether anybody holds the lock."""
        return connection.value("SELECT IS_USED_LOCK(%s)", (self._lock,)) is not None

    def holder(self, connection: Connection) -> str:
        """Who owns the stream now, for people: process and machine."""
        found = connection.rows(f"SELECT owner_info FROM {self._table} WHERE stream = %s", (self._stream,))
        return str(found[0][0]) if found else "nobody"

    def take_over(self, connection: Connection) -> StreamState:
        """Write our mark as owner and read the row. Needs the lock."""
        self._owner = secrets.token_hex(16)
        info = f"pid {os.getpid()} on {socket.gethostname()}"
        connection.run(
            f"INSERT INTO {self._table} (stream, owner, owner_info, epoch, gtids, ghosts)"
            " VALUES (%s, %s, %s, 1, '', '')"
            " ON DUPLICATE KEY UPDATE owner = VALUES(owner), owner_info = VALUES(owner_info), epoch = epoch + 1",
            (self._stream, self._owner, info[:255]),
        )
        state = self.read(connection)
        if state is None:
            raise CheckpointConflict(f"the checkpoint row of {self._stream!r} was removed while it was taken over")
        return state

    def is_ours(self, connection: Connection) -> bool:
        """Whether our mark still stands in the row."""
        found = connection.value(f"SELECT owner FROM {self._table} WHERE stream = %s", (self._stream,))
        return bool(self._owner) and found == self._owner

    def read(self, connection: Connection) -> StreamState | None:
        """The row as it is committed; None if there is none."""
        found = connection.rows(
            "SELECT binlog_base, binlog_file, binlog_offset, xoffset, server_id, newest_ts, gtids, epoch, commits,"
            " applied, duplicates, heartbeat, heartbeat_ts, ghosts, xid, open_gtid, server_ids, echoes,"
            " recent"
            f" FROM {self._table} WHERE stream = %s",
            (self._stream,),
        )
        if not found:
            return None
        base, file, offset, xoffset, server_id, newest_ts, gtids, epoch, commits, applied, duplicates, *rest = found[0]
        heartbeat, heartbeat_ts, ghosts, xid, open_gtid, server_ids, echoes, recent = rest
        return StreamState(
            checkpoint=Checkpoint(
                base=base,
                place=Place(int(file), int(offset), int(xoffset)),
                server_id=server_id,
                newest_ts=int(newest_ts),
                gtids=gtids,
                xid=xid,
                open_gtid=open_gtid,
                server_ids=tuple(int(number) for number in filter(None, server_ids.split(","))),
                recent=Recent() if recent is None else msgspec.json.decode(recent, type=Recent),
            ),
            epoch=int(epoch),
            commits=int(commits),
            applied=int(applied),
            duplicates=int(duplicates),
            heartbeat=heartbeat,
            heartbeat_ts=heartbeat_ts,
            ghosts=ghosts,
            echoes=echoes,
            bootstrapped=frozenset(
                TableName(*row)
                for row in connection.rows(
                    f"SELECT source_database, source_table FROM {self._bootstrap_table} WHERE stream = %s",
                    (self._stream,),
                )
            ),
        )

    def write_bootstrapped(self, connection: Connection, tables: frozenset[TableName]) -> None:
        """Store which tables have come by a bootstrap, as part of the running transaction."""
        connection.run(f"DELETE FROM {self._bootstrap_table} WHERE stream = %s", (self._stream,))
        for table in sorted(tables):
            connection.run(f"INSERT INTO {self._bootstrap_table} VALUES (%s, %s, %s)", (self._stream, *table))

    def write(self, connection: Connection, state: StreamState) -> None:
        """Store the state as part of the running transaction. Raises CheckpointConflict if the row is not ours."""
        place, checkpoint = state.checkpoint.place, state.checkpoint
        sql = (
            f"UPDATE {self._table} SET binlog_base = ".encode()
            + quote_text(checkpoint.base)
            + b", binlog_file = %d, binlog_offset = %d, xoffset = %d, server_id = %s, newest_ts = %d, commits = %d,"
            b" applied = %d, duplicates = %d, heartbeat = %s, heartbeat_ts = %s, xid = %s, server_ids = '%s',"
            b" open_gtid = "
            % (
                place.file,
                place.offset,
                place.xoffset,
                _number(checkpoint.server_id),
                checkpoint.newest_ts,
                state.commits,
                state.applied,
                state.duplicates,
                _number(state.heartbeat),
                _number(state.heartbeat_ts),
                _number(checkpoint.xid if 0 <= (checkpoint.xid or 0) < 2**64 else None),
                b",".join(b"%d" % number for number in checkpoint.server_ids),
            )
            + quote_text(checkpoint.open_gtid)
            + b", gtids = "
            + quote_text(checkpoint.gtids)
            + b", ghosts = "
            + quote_text(state.ghosts)
            + b", recent = "
            + quote_text(msgspec.json.encode(checkpoint.recent).decode())
            + (b"" if state.echoes is None else b", echoes = " + quote_text(state.echoes))
            + b" WHERE stream = "
            + quote_text(self._stream)
            + b" AND owner = "
            + quote_text(self._owner)
        )
        if connection.execute(sql) != 1:
            raise CheckpointConflict(
                f"another worker ({self.holder(connection)}) has taken over {self._stream!r}; this one stops and"
                " nothing of it was committed"
            )


def _number(value: int | None) -> bytes:
    return b"NULL" if value is None else b"%d" % value
