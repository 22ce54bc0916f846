"""Puts the texts of rows into the target's tables, through lost connections and deadlocks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from pydbsync.apply.retrying import Retrying
from pydbsync.backoff import Backoff
from pydbsync.errors import ApplyError, OperationError, PermanentError, TransientError
from pydbsync.ops.copy.fields import Carriage
from pydbsync.ops.copy.sessions import TargetWriter
from pydbsync.ops.copy.tasks import TableTask

LOAD_REFUSED = (1148, 2068, 3948, 3950, 4166)
"""Errors by which a server refuses LOAD DATA LOCAL."""
ATTEMPTS = 50


class ChunkWriter:
    """Owns one connection to the target, made anew after each loss. Used by one thread."""

    def __init__(self, connect: Callable[[], TargetWriter], *, stop: threading.Event, log: logging.Logger) -> None:
        self._connect = connect
        self._connection: TargetWriter | None = None
        self._stop = stop
        self._log = log

    @property
    def connection(self) -> TargetWriter:
        """The open connection. Raises TransientError, ConfigError."""
        if self._connection is None or not self._connection.is_open():
            self._connection = self._connect()
        return self._connection

    def max_allowed_packet(self) -> int:
        """Of the server, in bytes. Waits while it is away. Raises PermanentError, TransientError, Stopped."""
        self.repeat(lambda _: None)
        return self.connection.max_allowed_packet

    def close(self) -> None:
        """Close it. Never raises."""
        if self._connection is not None:
            self._connection.close()

    def repeat(self, step: Callable[[TargetWriter], object]) -> None:
        """Run a step, again while the server is away or a deadlock comes, up to some minutes.

        Raises PermanentError, TransientError, Stopped.
        """
        retrying = Retrying(
            Backoff(0.2, 10.0),
            stop=self._stop,
            log=self._log,
            says="the target does not take it now, trying again",
            stopped="stopped while the target was away",
        )
        while True:
            try:
                step(self.connection)
                return
            except TransientError as exc:
                retrying.failed(exc, self.close, limit=ATTEMPTS)

    def write(self, task: TableTask, way: Carriage, text: bytes, *, shard: int | None, rows: int, errors: int) -> None:
        """Rows of one shard (None: of all) into their tables, as part of the running transaction.

        `errors` is how many ENUM values among them are the error value 0. Raises ApplyError.
        """
        connection, form = self.connection, task.form
        if form is None:
            raise OperationError(f"{task.name} was not prepared")
        for target in task.targets:
            if not rows or (target.shard is not None and shard is not None and target.shard != shard):
                continue
            if way is Carriage.LOAD:
                statement_for = partial(form.load_statement, target.name, replace=task.replace)
                connection.load(statement_for, text + b"\n", expected=rows, warnings=errors, may_replace=task.replace)
                continue
            sql = form.write_head(target.name, replace=task.replace) + text
            if len(sql) + 64 > connection.max_allowed_packet:
                raise PermanentError(
                    f"a row of {len(sql)} bytes is longer than the target's max_allowed_packet"
                    f" ({connection.max_allowed_packet}); raise it at the target",
                    code=1153,
                )
            connection.write(sql, expected=rows, warnings=errors, may_replace=task.replace)

    def give_up_loading(self, task: TableTask, exc: ApplyError) -> bool:
        """Whether the target has refused LOAD DATA, which is not tried again for this table then."""
        if exc.code not in LOAD_REFUSED or task.way is not Carriage.LOAD:
            return False
        task.way = Carriage.INSERT
        self._log.info("%s: LOAD DATA LOCAL is refused (%s): rows are inserted instead", task.name, exc)
        return True
