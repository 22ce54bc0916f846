"""Pauses of a stream, or of the schema changes of tables: in the state schema, or where a sink keeps its state."""

from __future__ import annotations

import datetime as dt
import logging

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.operator_audit import actor_here
from pydbsync.apply.tables.pause import Pause, PauseTable, about_pause
from pydbsync.config.settings import Settings
from pydbsync.ops.sinks.desk import open_keeps
from pydbsync.sinks.keep import KeptPause
from pydbsync.sinks.notes import add_deed


class PauseDesk:
    """The pauses of a state schema. Raises ConfigError, TransientError."""

    def __init__(self, settings: Settings) -> None:
        self._connection = Connection(settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=60)
        ensure_state_schema(self._connection, settings.state_schema)
        self._table = PauseTable(settings.state_schema)

    def all(self) -> list[str]:
        """A line each."""
        return [str(each) for each in self._table.all(self._connection)]

    def add(self, stream: str, tables: str, *, reason: str) -> bool:
        """Pause; False where it was already."""
        return self._table.add(self._connection, stream, tables, actor=actor_here(), reason=reason)

    def remove(self, stream: str, tables: str) -> bool:
        """Resume; False where nothing was paused."""
        return self._table.remove(self._connection, stream, tables, actor=actor_here())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class SinkPauseDesk:
    """The pauses that the keeps of a sink's streams have; those of tables are in each of them."""

    def __init__(self, settings: Settings, log: logging.Logger, *, actor: str | None = None) -> None:
        """`actor` is who is written down beside each pause; without it the user of this process."""
        self._parts = open_keeps(settings, log)
        self._actor = actor or actor_here()

    def pauses(self) -> list[Pause]:
        """Every one; of tables once, whatever the streams are."""
        found: dict[object, Pause] = {}
        for stream, parts in self._parts.items():
            for each in parts.keep.pauses():
                tables = each.schema_changes_of
                asked_at = dt.datetime.fromisoformat(each.asked_at)
                found.setdefault(
                    tables or (stream, ""), Pause("" if tables else stream, tables, each.actor, each.reason, asked_at)
                )
        return list(found.values())

    def all(self) -> list[str]:
        """A line each."""
        found = []
        for stream, parts in self._parts.items():
            for each in parts.keep.pauses():
                what = (
                    f"the schema changes of {each.schema_changes_of} in {stream}" if each.schema_changes_of else stream
                )
                found.append(f"{what} {each}")
        return found

    def add(self, stream: str, tables: str, *, reason: str) -> bool:
        """Pause; False where it was already."""
        asked_at = f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d %H:%M:%S}"
        has_changed = False
        for name in [stream] if stream else self._parts:
            keep = self._parts[name].keep
            pauses = keep.pauses()
            if all(each.schema_changes_of != tables for each in pauses):
                keep.pause([*pauses, KeptPause(tables, self._actor, reason, asked_at)])
                add_deed(keep, "pause", about_pause(name, tables), actor=self._actor, detail=reason)
                has_changed = True
        return has_changed

    def remove(self, stream: str, tables: str) -> bool:
        """Resume; False where nothing was paused."""
        has_changed = False
        for name in [stream] if stream else self._parts:
            keep = self._parts[name].keep
            pauses = keep.pauses()
            left = [each for each in pauses if each.schema_changes_of != tables]
            if left != pauses:
                keep.pause(left)
                add_deed(keep, "resume", about_pause(name, tables), actor=self._actor, detail="")
                has_changed = True
        return has_changed

    def close(self) -> None:
        """Close all connections."""
        for parts in self._parts.values():
            parts.keep.close()
            parts.writer.close()
