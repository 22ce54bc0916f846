"""Which streams write to which tables of the target, so that those of another configuration are seen too."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.plan.quoting import quote_name

_REFRESH_S = 3600.0
_GONE_AFTER_H = 26
"""A stream that is run once a day is one that goes on."""


class Feeders:
    """The table `feeder` of the state schema: a row for each stream, target table and server whose rows it writes.

    A stream names a table before it writes the first row to it, in a transaction of its own, and looks who else has;
    who feeds it already learns of the new one when it looks around. Used between transactions only.
    """

    def __init__(self, *, schema: str, stream: str = "") -> None:
        """Without a stream it only tells what the streams have named."""
        self._table = f"{quote_name(schema)}.`feeder`"
        self._checkpoint = f"{quote_name(schema)}.`checkpoint`"
        self._stream = stream
        self._own: set[tuple[str, str, int]] = set()
        self._seen = 0
        """The newest row that was looked at."""
        self._refreshed_at = 0.0

    def load(self, connection: Connection) -> None:
        """What was named before; it is said that the stream goes on."""
        rows = connection.rows(
            f"SELECT target_database, target_table, server_id FROM {self._table} WHERE stream = %s", (self._stream,)
        )
        self._own = {(str(database), str(table), int(server)) for database, table, server in rows}
        self._seen = self._newest(connection)
        self._refresh(connection)

    def has(self, table: TableName) -> bool:
        """Whether this stream has written rows to the table, or begun to."""
        return any((database, name) == table for database, name, _ in self._own)

    def others(self, connection: Connection, table: TableName, server_id: int | None) -> tuple[str, ...]:
        """The streams of other servers that feed the table; none where the messages do not tell their server."""
        if server_id is None:
            return ()
        if self._stream and (*table, server_id) not in self._own:
            self._name(connection, table, server_id)
            self._own.add((*table, server_id))
        return self.others_than(connection, table, {server_id})

    def _name(self, connection: Connection, table: TableName, server_id: int) -> None:
        connection.run(
            f"INSERT INTO {self._table} (stream, target_database, target_table, server_id) VALUES (%s, %s, %s, %s)"
            " ON DUPLICATE KEY UPDATE seen_at = CURRENT_TIMESTAMP",
            (self._stream, *table, server_id),
        )

    def others_in(self, connection: Connection, database: str, table: str | None = None) -> tuple[str, ...]:
        """The streams of other servers that feed a table, or any table of the database. A stream that has fed none of
        it is told by its other tables and its checkpoint; one of which nothing is known yet may be of any server."""
        if table is None:
            return self._others(connection, "target_database = %s", (database,), None)
        return self._others(connection, "target_database = %s AND target_table = %s", (database, table), None)

    def apart(self, connection: Connection) -> dict[str, str]:
        """The streams that are of other servers than this one, each with the first stream of its source by name."""
        own = self.servers(connection)
        if not own:
            return {}
        found: dict[str, set[int]] = {}
        for stream, server in connection.rows(f"SELECT DISTINCT stream, server_id FROM {self._table}"):
            found.setdefault(str(stream), set()).add(int(server))
        found[self._stream] = own
        return {
            stream: first
            for first, streams in _of_one_source(found).items()
            if self._stream not in streams
            for stream in streams
        }

    def others_than(self, connection: Connection, table: TableName, servers: set[int]) -> tuple[str, ...]:
        """The streams that feed the table and are of none of these servers, nor of this stream's."""
        return self._others(connection, "target_database = %s AND target_table = %s", table, servers)

    def name(self, connection: Connection, tables: Iterable[TableName], servers: Iterable[int]) -> None:
        """Have the stream name the tables as fed with rows of the servers, which somebody else writes for it."""
        rows = [(table, server) for table in tables for server in sorted(servers)]
        with connection.transaction():
            for table, server in rows:
                self._name(connection, table, server)

    def forget(self, connection: Connection, tables: Iterable[TableName]) -> None:
        """The rows are not there any more; the stream names a table again before it writes to it."""
        for table in tables:
            connection.run(
                f"DELETE FROM {self._table} WHERE stream = %s AND target_database = %s AND target_table = %s",
                (self._stream, *table),
            )

    def servers(self, connection: Connection) -> set[int]:
        """The servers whose rows have come in this stream, to whatever table."""
        if not self._stream:
            return set()
        rows = connection.rows(
            f"SELECT DISTINCT server_id, '' FROM {self._table} WHERE stream = %s"
            f" UNION SELECT server_id, server_ids FROM {self._checkpoint} WHERE stream = %s",
            (self._stream, self._stream),
        )
        found = {int(server) for server, _ in rows if server is not None}
        return found | {int(each) for _, servers in rows for each in str(servers).split(",") if each}

    def _others(
        self, connection: Connection, where: str, names: tuple[str, ...], servers: set[int] | None
    ) -> tuple[str, ...]:
        found: dict[str, set[int]] = {}
        for stream, server in connection.rows(
            f"SELECT stream, server_id FROM {self._table} WHERE {where}"
            f" AND (stream = %s OR seen_at > CURRENT_TIMESTAMP - INTERVAL {_GONE_AFTER_H} HOUR) ORDER BY stream",
            (*names, self._stream),
        ):
            found.setdefault(str(stream), set()).add(int(server))
        if not self._stream:
            own = found.pop(min(found)) if found else set()  # whether they are of one source is asked for all of them
        elif not found:
            return ()
        else:
            own = found.pop(self._stream, set()) or (self.servers(connection) if servers is None else servers)
        # Queues that share the rows of one source have servers in common, behind a fail-over too.
        return tuple(stream for stream, others in found.items() if not others & own)

    def have_come(self, connection: Connection) -> bool:
        """Whether a table that this stream feeds has got another feeder since the last look."""
        if time.monotonic() - self._refreshed_at > _REFRESH_S:
            self._refresh(connection)
        newest = self._newest(connection)
        if newest == self._seen:
            return False
        former, self._seen = self._seen, newest
        return bool(
            connection.value(
                f"SELECT EXISTS (SELECT 1 FROM {self._table} o JOIN {self._table} m"
                " USING (target_database, target_table) WHERE o.id > %s AND o.stream <> %s AND m.stream = %s)",
                (former, self._stream, self._stream),
            )
        )

    def _newest(self, connection: Connection) -> int:
        return int(connection.value(f"SELECT IFNULL(MAX(id), 0) FROM {self._table}"))

    def _refresh(self, connection: Connection) -> None:
        connection.run(f"UPDATE {self._table} SET seen_at = CURRENT_TIMESTAMP WHERE stream = %s", (self._stream,))
        self._refreshed_at = time.monotonic()


def _of_one_source(servers: dict[str, set[int]]) -> dict[str, set[str]]:
    """Streams that have servers in common, by the first of them: each with those that it shares one with, over others
    too."""
    found: dict[str, set[str]] = {}
    left = dict(servers)
    while left:
        first = min(left)
        streams, known = {first}, set(left.pop(first))
        while more := [stream for stream, each in left.items() if each & known]:
            for stream in more:
                known |= left.pop(stream)
            streams |= {*more}
        found[first] = streams
    return found
