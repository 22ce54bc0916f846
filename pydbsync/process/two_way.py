"""Marks at the source, written by a worker to see them come: from a thread and over a connection of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pydbsync.apply.connection import Connection
from pydbsync.apply.mark import send_mark
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.state_writer import ANSWER_S, StateWriter, state_connection
from pydbsync.config.servers import TargetSettings
from pydbsync.config.settings import Settings
from pydbsync.engine.echoes import another_server
from pydbsync.engine.marks import SentMarks
from pydbsync.errors import ConfigError, PermanentError, TransientError
from pydbsync.plan.quoting import quote_name

_MISSING = (1049, 1146)
"""No such database, no such table: nobody has replayed into it yet."""
_LOOK_S = 0.5
"""How often it is looked whether one is to be written."""


def check_two_way(settings: Settings, log: logging.Logger) -> None:
    """See that the two servers are two, and that no third one takes part. Raises ConfigError.

    A source that is away is passed over: its marks tell the same later.
    """
    if settings.two_way is None or settings.source is None:
        return
    own = {_server_id(settings.target, lambda connection: None), *settings.two_way.target_server_ids}
    found: list[tuple[str, int, str]] = []

    def read(connection: Connection) -> None:
        schema = quote_name(settings.source_state_schema)
        try:
            found.extend(
                (str(stream), int(number), str(others))
                for stream, number, others in connection.rows(
                    f"SELECT stream, server_id, server_ids FROM {schema}.checkpoint WHERE server_id IS NOT NULL"
                )
            )
        except PermanentError as exc:
            if exc.code not in _MISSING:
                raise ConfigError(f"the state schema of the source cannot be read: {exc}", key="two_way") from exc

    try:
        source_id = _server_id(settings.source, read)
    except TransientError as exc:
        log.warning("two_way: the source cannot be asked whether anybody else replays into it: %s", exc)
        return
    if source_id in own:
        raise ConfigError(
            f"source and target both have server_id {source_id}, by which the changes of one are told from the other's;"
            " give one of them another (SET GLOBAL server_id, and in its configuration)",
            key="two_way",
        )
    for stream, server_id, server_ids in found:
        if other := another_server(stream, server_id, server_ids, own):
            raise ConfigError(other, key="two_way")


def _server_id(server: TargetSettings, read: Callable[[Connection], None]) -> int:
    """The server's number, once `read` has asked what else is wanted. Raises ConfigError, TransientError."""
    connection = Connection(server.connect_keywords(), key=server.key, read_timeout_s=ANSWER_S)
    try:
        read(connection)
        return int(connection.value("SELECT @@server_id"))
    finally:
        connection.close()


class MarkWriter:
    """Writes one as soon as the stream is followed, and then every `mark_s`, unless the last one has not come."""

    def __init__(self, settings: Settings, marks: SentMarks, *, log: logging.Logger) -> None:
        assert settings.source is not None  # noqa: S101 (the configuration was checked)
        assert settings.two_way is not None  # noqa: S101
        self._marks = marks
        self._log = log
        self._looks = max(1, round(settings.two_way.mark_s / _LOOK_S))
        """Between two marks."""
        self._left = 0
        self._is_made = False
        self._writer = StateWriter(
            state_connection(settings.source), write=self._write, every_s=_LOOK_S, log=log, refused=self._refused
        )  # fmt: skip

    def start(self) -> None:
        """Begin."""
        self._writer.start()

    def end(self) -> None:
        """Write no more."""
        self._marks.is_following = False
        self._writer.end()

    def _refused(self, text: str) -> None:
        if text != self._marks.refusal:
            self._log.warning("two_way: no mark can be written at the source: %s", text)
        self._marks.refusal = text

    def _write(self, connection: Connection) -> None:
        self._left -= 1
        if not self._marks.is_following or self._marks.is_under_way or self._left > 0:
            return
        if not self._is_made:
            ensure_state_schema(connection, self._marks.schema)
            self._is_made = True
        try:
            number, ts, is_clean = send_mark(connection, self._marks.schema, self._marks.writer)
        except PermanentError as exc:
            self._is_made = exc.code not in _MISSING  # somebody has dropped it: it is made anew the next time
            raise
        self._marks.sent(number, ts, is_clean=is_clean)
        self._left = self._looks
