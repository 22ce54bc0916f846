"""What copy, verify, capture and the other tools have written about themselves, read for metrics and alerts."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from pydbsync.apply.connection import Connection
from pydbsync.config.servers import TargetSettings
from pydbsync.config.settings import Settings
from pydbsync.errors import PydbsyncError
from pydbsync.plan.quoting import quote_name
from pydbsync.process.tasks import Facts, Task
from pydbsync.sinks.notes import read_tasks as read_noted_tasks

if TYPE_CHECKING:
    from pydbsync.sinks.make import OpenKeep

EVERY_S: Final = 5.0
_RETENTION_EVERY_S: Final = 300.0
_CONNECT_TIMEOUT_S: Final = 5.0
_SILENT_S: Final = 30.0
"""A task that says it works and has written nothing for so long, and for ten times its own interval, has died."""


class TaskFacts:
    """Asks the target (or where a sink keeps its state) every few seconds, the source every few minutes, in a thread
    of its own."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self._settings = settings
        self._log = log
        self._connection: Connection | OpenKeep | None = None
        self._retention_at = 0.0
        self._stop = threading.Event()
        self._is_told = False
        self.found = Facts()

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._run, name="task facts", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
                self._is_told = False
            except PydbsyncError as exc:
                self._drop()
                if not self._is_told:
                    self._is_told = True
                    self._log.info("what copy, verify and the other tools do is not known now: %s", exc)
            self._stop.wait(EVERY_S)
        self._drop()

    def _look(self) -> None:
        self.found = self.found._replace(tasks=self._tasks())
        source = self._settings.source
        if source is not None and time.monotonic() >= self._retention_at:
            self._retention_at = time.monotonic() + _RETENTION_EVERY_S
            connection = _connect(source)
            try:
                self.found = self.found._replace(retention_s=read_retention(connection))
            finally:
                connection.close()

    def _tasks(self) -> tuple[Task, ...]:
        settings = self._settings
        if settings.sink is None:
            if not isinstance(self._connection, Connection):
                self._connection = _connect(settings.target)
            return read_tasks(self._connection, settings.state_schema)
        if self._connection is None or isinstance(self._connection, Connection):
            from pydbsync.sinks.make import OpenKeep  # noqa: PLC0415 (what sinks are made of is loaded where one is)

            streams = [queue.stream for queue in settings.queues] or [settings.stream]
            self._connection = OpenKeep(settings, streams[0], log=self._log)  # each stream keeps all of them
        return tuple(
            Task(
                each.kind, "", "done", each.started_at, each.ended_at, each.exit_code, each.done, None, "rows",
                is_running=False,
            )
            for each in read_noted_tasks(self._connection)
        )  # fmt: skip

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(server: TargetSettings) -> Connection:
    return Connection({"connect_timeout": _CONNECT_TIMEOUT_S, **server.connect_keywords()}, key=server.key)


def read_tasks(connection: Connection, schema: str) -> tuple[Task, ...]:
    """The newest run of each kind and name. Raises PermanentError, TransientError."""
    table = f"{quote_name(schema)}.`task`"
    rows = connection.rows(
        "SELECT t.kind, t.name, t.state, UNIX_TIMESTAMP(t.started_at), UNIX_TIMESTAMP(t.ended_at), t.exit_code, t.done,"
        " t.total, t.unit, TIMESTAMPDIFF(SECOND, t.written_at, CURRENT_TIMESTAMP), t.every_s"
        f" FROM {table} t JOIN (SELECT MAX(id) AS id FROM {table} GROUP BY kind, name) newest ON newest.id = t.id"
        " ORDER BY t.kind, t.name"
    )
    return tuple(map(_task, rows))


def _task(row: tuple[Any, ...]) -> Task:
    kind, name, state, started_at, ended_at, exit_code, done, total, unit, age_s, every_s = row
    is_running = ended_at is None and float(age_s) <= max(_SILENT_S, 10 * float(every_s))
    return Task(
        str(kind), str(name), str(state), float(started_at), None if ended_at is None else float(ended_at),
        _whole(exit_code), _whole(done), _whole(total), str(unit), is_running,
    )  # fmt: skip


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def read_retention(connection: Connection) -> float | None:
    """How long this server keeps its binlog. MySQL 8 and MariaDB 10.6 count seconds, older ones days."""
    found = {
        str(name).lower(): float(value)
        for name, value in connection.rows(
            "SHOW GLOBAL VARIABLES WHERE variable_name IN"
            " ('binlog_expire_logs_seconds', 'expire_logs_days', 'binlog_expire_logs_auto_purge')"
            " AND value REGEXP '^[0-9.]+$'"
        )
    }
    seconds = found.get("binlog_expire_logs_seconds", 0.0) or found.get("expire_logs_days", 0.0) * 86_400
    return seconds or None
