"""What the page asks and does beside the status: in the state schema, or where a sink keeps its state."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pydbsync.apply.connection import Connection, connection_for_questions
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.pause import Pause, PauseTable
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, PermanentError, TransientError
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.pause_desk import SinkPauseDesk
from pydbsync.ops.sinks.desk import SinkDesk, open_keeps, utc
from pydbsync.ops.status.read import ANSWER_S
from pydbsync.ops.verify.kept import KeptComparison, read_kept
from pydbsync.sinks.notes import read_deeds as read_noted_deeds
from pydbsync.sinks.notes import read_minutes
from pydbsync.ui.deeds import SHOWN, Deed, read_deeds, together
from pydbsync.ui.history import History, history_of, read_history


class Lately(NamedTuple):
    """The last hours by stream, and who did what in them."""

    charts: dict[str, History]
    deeds: list[Deed]


class Store(Protocol):
    """Raises TransientError, ConfigError, PermanentError."""

    def pauses(self) -> list[Pause]: ...

    def lately(self, *, hours: int) -> Lately: ...

    def findings(self) -> KeptComparison | None:
        """The last comparison."""

    def pause(self, stream: str, tables: str, *, actor: str, reason: str) -> bool:
        """Whether that changed anything."""

    def resume(self, stream: str, tables: str, *, actor: str) -> bool: ...

    def desk(self, *, actor: str | None) -> ParkedDesk | SinkDesk: ...


def connect(settings: Settings) -> Connection:
    """To the target, for a question that is answered soon. Raises ConfigError, TransientError."""
    return connection_for_questions(settings.target, answer_s=ANSWER_S, read_s=2 * ANSWER_S)


class SchemaStore:
    """The state schema."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._settings = settings
        self._log = log
        self._schema = settings.state_schema

    def pauses(self) -> list[Pause]:
        try:
            with contextlib.closing(connect(self._settings)) as connection:
                return PauseTable(self._schema).all(connection)
        except (ConfigError, TransientError, PermanentError):
            return []  # a state schema that is not there, or is older than pauses are

    def lately(self, *, hours: int) -> Lately:
        with contextlib.closing(connect(self._settings)) as connection:
            return Lately(
                read_history(connection, self._schema, hours=hours), read_deeds(connection, self._schema)
            )  # fmt: skip

    def findings(self) -> KeptComparison | None:
        with contextlib.closing(connect(self._settings)) as connection:
            return read_kept(connection, self._schema)

    def pause(self, stream: str, tables: str, *, actor: str, reason: str) -> bool:
        with self._table() as (connection, table):
            return table.add(connection, stream, tables, actor=actor, reason=reason)

    def resume(self, stream: str, tables: str, *, actor: str) -> bool:
        with self._table() as (connection, table):
            return table.remove(connection, stream, tables, actor=actor)

    @contextlib.contextmanager
    def _table(self) -> Iterator[tuple[Connection, PauseTable]]:
        with contextlib.closing(connect(self._settings)) as connection:
            ensure_state_schema(connection, self._schema)
            yield connection, PauseTable(self._schema)

    def desk(self, *, actor: str | None) -> ParkedDesk:
        return ParkedDesk(self._settings, self._log, actor=actor)


class SinkStore:
    """What a sink keeps beside its rows."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._settings = settings
        self._log = log

    def pauses(self) -> list[Pause]:
        with contextlib.closing(SinkPauseDesk(self._settings, self._log)) as desk:
            return desk.pauses()

    def lately(self, *, hours: int) -> Lately:
        charts: dict[str, History] = {}
        deeds: list[Deed] = []
        every = open_keeps(self._settings, self._log)
        try:
            for stream, parts in every.items():
                minutes = [
                    (stream, 60.0 * each.minute, each.applied, each.lag_s)
                    for each in read_minutes(parts.keep, hours=hours)
                ]
                charts |= history_of(minutes, hours=hours, now=time.time())
                deeds += [
                    Deed(each.action, each.about, each.actor, each.detail, utc(each.at))
                    for each in read_noted_deeds(parts.keep)
                ]
                steps = [(step, kept.id) for kept in parts.keep.parked() for step in kept.history]
                steps.sort(key=lambda each: each[0].at, reverse=True)
                deeds += together(
                    (step.action, step.actor, step.detail[:300], utc(step.at), number) for step, number in steps
                )
        finally:
            for parts in every.values():
                parts.keep.close()
                parts.writer.close()
        # A pause of every stream stands in each of them.
        unique = {(each.action, each.about, each.actor, each.done_at): each for each in deeds}.values()
        return Lately(charts, sorted(unique, key=lambda deed: deed.done_at, reverse=True)[:SHOWN])

    def findings(self) -> KeptComparison | None:
        return None

    def pause(self, stream: str, tables: str, *, actor: str, reason: str) -> bool:
        with contextlib.closing(SinkPauseDesk(self._settings, self._log, actor=actor)) as desk:
            return desk.add(stream, tables, reason=reason)

    def resume(self, stream: str, tables: str, *, actor: str) -> bool:
        with contextlib.closing(SinkPauseDesk(self._settings, self._log, actor=actor)) as desk:
            return desk.remove(stream, tables)

    def desk(self, *, actor: str | None) -> SinkDesk:
        return SinkDesk(self._settings, self._log, actor=actor)


def store_of(settings: Settings, log: logging.Logger) -> Store:
    """The one of this configuration."""
    return SchemaStore(settings, log) if settings.sink is None else SinkStore(settings, log)
