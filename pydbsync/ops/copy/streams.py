"""The streams that will go on from the copy: owned while it runs, so that nobody replays into half a copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.feeders import Feeders
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.table_start import (
    StartRow,
    TableStart,
    read_start_row,
    write_start_row,
    write_table_starts,
)
from pydbsync.errors import OperationError, PermanentError
from pydbsync.model import TableName
from pydbsync.places import Checkpoint
from pydbsync.plan.quoting import quote_name
from pydbsync.work import StreamState

_NO_STATE = (1049, 1146)
LOCK_WAIT_S = 3.0
"""The connection of this copy that was just lost may not have been missed by the server yet."""


class OwnedStreams:
    """The checkpoint rows of all streams, locked over one connection to the target."""

    def __init__(self, connection: Connection, schema: str, names: Sequence[str]) -> None:
        self._connection = connection
        self._schema = schema
        self.names = tuple(names)
        self._rows = {name: CheckpointRow(schema=schema, stream=name) for name in names}
        self._states: dict[str, StreamState] = {}

    def acquire(self) -> None:
        """Make the state schema and take all streams over.

        Raises OperationError if one is being replayed, ConfigError without the right to.
        """
        ensure_state_schema(self._connection, self._schema)
        for name, row in self._rows.items():
            if not row.try_lock(self._connection, wait_s=LOCK_WAIT_S):
                raise OperationError(
                    f"{name!r} is owned by {row.holder(self._connection)}: stop the replay, and any other copy, first"
                )
        self._states = {name: row.take_over(self._connection) for name, row in self._rows.items()}

    def look(self) -> None:
        """Read how far all streams are, and own none of them."""
        for name, row in self._rows.items():
            try:
                state = row.read(self._connection)
            except PermanentError as exc:
                if exc.code not in _NO_STATE:
                    raise
                state = None
            if state is not None:
                self._states[name] = state

    def commits(self) -> dict[str, str]:
        """How many transactions each stream has applied; text, to be kept beside a run."""
        return {f"commits of {name}": str(state.commits) for name, state in self._states.items()}

    def with_checkpoint(self) -> list[str]:
        """The streams that replay has gone on in already."""
        return [name for name, state in self._states.items() if state.checkpoint.base]

    def refuse_parked(self) -> None:
        """Raises OperationError if changes are parked: the copied rows hold them, or what led to them."""
        for name in self.names:
            count = self._connection.value(
                f"SELECT COUNT(*) FROM {quote_name(self._schema)}.`parked` WHERE stream = %s AND status = 'parked'",
                (name,),
            )
            if count:
                raise OperationError(
                    f"{count} change(s) of {name!r} are parked, and the copy would make them meaningless: give them up,"
                    " with `python -m pydbsync parked skip`"
                )

    def refuse_passed(self, start: TableStart) -> None:
        """Raises OperationError if a stream's checkpoint is not before the place at which tables would be read anew."""
        for name, state in self._states.items():
            checkpoint = state.checkpoint
            are_apart = checkpoint.base != start.base and not (checkpoint.gtids and start.gtids)
            if checkpoint.base and (are_apart or (checkpoint.base == start.base and checkpoint.place > start.place)):
                raise OperationError(
                    f"the checkpoint of {name!r}, {checkpoint.position()}, is not before the end of the source's"
                    f" binlog, {start.base}.{start.place.file:06d}:{start.place.offset}: it is of another server, or of"
                    " a binlog that was reset, and nothing tells which changes such a copy holds. Name the streams of"
                    " this source by --stream, or copy everything with --overwrite-checkpoint"
                )

    def feed(self, tables: Iterable[TableName], servers: set[int]) -> None:
        """Say, before any row is written, that these streams feed the tables with rows of the servers, so that a stream
        of another server finds company there."""
        tables = tuple(tables)
        for feeders in self._of_servers(servers):
            feeders.name(self._connection, tables, servers)

    def others(self, table: TableName, servers: set[int]) -> tuple[str, ...]:
        """The streams of other servers that feed a table of the target."""
        try:
            return self._of_servers(servers)[0].others_than(self._connection, table, servers)
        except PermanentError as exc:
            if exc.code not in _NO_STATE:
                raise
            return ()

    def _of_servers(self, servers: set[int]) -> list[Feeders]:
        """Those that may be of the servers: others of the same configuration can be of another source."""
        all_streams = [Feeders(schema=self._schema, stream=name) for name in self.names]
        known = [each.servers(self._connection) for each in all_streams]
        own = [each for each, had in zip(all_streams, known, strict=True) if not had or had & servers]
        return own or all_streams  # the source has been exchanged for another one

    def trust(self) -> bool:
        """Take it on trust that the streams begin early enough; False if no copy is waiting for the proof."""
        waiting = False
        for name in self.names:
            row = read_start_row(self._connection, self._schema, name)
            if row is not None and row.phase == "replay" and not row.is_proven:
                waiting = True
                row.is_proven = True
                write_start_row(self._connection, self._schema, name, row)
        return waiting

    def begin(self, run_id: int, marker_table: TableName, queues: set[str], *, proven: bool) -> None:
        """From now on replay refuses to start until the copy is finished."""
        for name in self.names:
            row = StartRow(
                run_id=run_id, phase="copying", is_proven=proven, queue_existed=name in queues,
                marker_table=marker_table,
            )  # fmt: skip
            write_start_row(self._connection, self._schema, name, row)

    def finish(
        self,
        start: TableStart,
        starts: Mapping[TableName, TableStart],
        *,
        server_id: int | None,
        end: TableStart,
        is_added: bool,
    ) -> None:
        """Checkpoints and starts, as part of the running transaction. `is_added` keeps the checkpoints there are."""
        for name, row in self._rows.items():
            state = self._states[name]
            if not is_added:
                checkpoint = Checkpoint(
                    base=start.base, place=start.place, server_id=server_id, newest_ts=start.newest_ts,
                    gtids=start.gtids,
                ) if start.base else Checkpoint()  # fmt: skip
                state = StreamState(checkpoint=checkpoint, epoch=state.epoch, commits=state.commits)
            state = msgspec.structs.replace(state, commits=state.commits + 1)
            row.write(self._connection, state)
            self._states[name] = state
            begun = read_start_row(self._connection, self._schema, name)
            if begun is None:
                raise OperationError(
                    f"the row of {name!r} was removed from copy_start while the copy ran; begin anew with --restart"
                )
            begun.phase = "replay"
            begun.is_proven = begun.is_proven or is_added
            begun.base, begun.place = (start.base, start.place) if not is_added else (end.base, end.place)
            begun.end, begun.end_ts, begun.end_marker = end.place, end.newest_ts, end.marker
            write_start_row(self._connection, self._schema, name, begun)
            write_table_starts(self._connection, self._schema, name, starts, keep=is_added)

    def give_back(self, tables: Iterable[TableName]) -> None:
        """A copy that is given up leaves the streams as if it had never been; `tables` are those that it has fed."""
        tables = tuple(tables)
        for name in self.names:
            Feeders(schema=self._schema, stream=name).forget(self._connection, tables)
            self._connection.run(f"DELETE FROM {quote_name(self._schema)}.`copy_start` WHERE stream = %s", (name,))
