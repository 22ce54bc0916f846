"""A stream whose checkpoint the test moves, as a worker would."""

from __future__ import annotations

import threading

import msgspec

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.config.settings import Settings
from pydbsync.model import COMMIT_ROW, Place
from pydbsync.ops.servers import Servers
from pydbsync.ops.verify.place import SourcePlace, Streams
from tests.servers import Endpoint


class Stream:
    """The checkpoint of a stream, moved by the test as a worker would."""

    def __init__(self, settings: Settings, source: Endpoint, target: Endpoint, *, name: str = "file") -> None:
        self.settings = settings
        self.source = source
        self.connection = Connection(target.db_info)
        ensure_state_schema(self.connection, settings.state_schema)
        self._row = CheckpointRow(schema=settings.state_schema, stream=name)
        assert self._row.try_lock(self.connection)
        self._state = self._row.take_over(self.connection)

    def place(self) -> SourcePlace:
        """The end of the source's binlog."""
        servers = Servers(self.settings, threading.Event())
        place = Streams(self.settings, servers.source, servers.target).source_place()
        servers.close()
        assert place is not None
        return place

    def apply(self, *statements: str, upto: SourcePlace) -> None:
        """Change rows of the target and move the checkpoint, in one transaction."""
        checkpoint = msgspec.structs.replace(
            self._state.checkpoint,
            base=upto.base,
            place=Place(upto.file, upto.offset, COMMIT_ROW),
            server_id=upto.server_id,
        )
        self._state = msgspec.structs.replace(self._state, checkpoint=checkpoint)
        with self.connection.transaction():
            self._row.write(self.connection, self._state)
            for statement in statements:
                self.connection.execute(statement)
