"""The connection to the target, the lock of one stream, and its checkpoint row: kept through all that is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.origin import StreamOrigin, former_server, keep_origin, refuse_another, server_of
from pydbsync.apply.retrying import Retrying
from pydbsync.apply.server_errors import READ_ONLY_CODES
from pydbsync.apply.state import ensure_state_schema
from pydbsync.backoff import Backoff
from pydbsync.config.settings import Settings
from pydbsync.errors import CheckpointConflict, ConfigError, PermanentError, StopError, Stopped, TransientError
from pydbsync.work import StreamState

_T = TypeVar("_T")


class _TargetWentBack(TransientError):
    """The target that answers now lacks what was committed: all begins anew at its checkpoint."""


class StreamSession:
    """Owns one stream at the target. Used by one thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        stream: str,
        catalog: LiveCatalog,
        log: logging.Logger,
        origin: StreamOrigin | None = None,
        tell: Callable[[str], object] = lambda state: None,
        connected: Callable[[], object] = lambda: None,
    ) -> None:
        """`catalog` reads over the session's connection. `origin` is whose stream it is, for one that comes from a
        queue. `tell` hears in a word or two what the worker does while the target takes nothing, `connected` of each
        new connection."""
        self._settings = settings
        self._stream = stream
        self._log = log
        self._origin = origin
        self._tell = tell
        self._connected = connected
        self._connection: Connection | None = None
        self._was_let_in = False
        self._refusal = ""
        self._used_at = 0.0
        self._is_owner = False
        self.row = CheckpointRow(schema=settings.state_schema, stream=stream)
        self.catalog = catalog
        self.state: StreamState | None = None
        """The checkpoint row as it was committed last."""
        self.stop = threading.Event()
        """Ends every waiting."""

    def acquire(
        self, stop: threading.Event, *, on_owned: Callable[[Connection], None], is_away: bool = False
    ) -> StreamState | None:
        """Connect, wait for the stream's lock, take the checkpoint over; None if `stop` was set first.

        `on_owned` reads what else is owned, whenever the lock was taken anew. Waits while the server is away; `is_away`
        says that its going was told already. Raises ConfigError if it refuses the user or the state schema, or if the
        stream belongs to another queue.
        """
        self.stop = stop
        if self._is_owner and self._is_still_owner():
            return self.state
        self._is_owner = False
        backoff = Backoff(self._settings.retry.first_s, self._settings.retry.max_s)
        while not stop.is_set():
            try:
                connection = self._connect()
                ensure_state_schema(connection, self._settings.state_schema)
                self._refuse_another_origin(connection)
                if not self.row.try_lock(connection):
                    self._log.info("waiting for %s: it is owned by %s", self._stream, self.row.holder(connection))
                    self._tell("standing by")
                    if not self.row.wait_for_lock(connection, stop):
                        return None
                self._refuse_another_origin(connection, tell=True)  # one that came first while we waited
                state = self.row.take_over(connection)
                self._tell_if_gone_back(state)
                self._tell_if_another_server(connection, state)
                self.state = state
                on_owned(connection)
                self._is_owner = True
                if is_away:
                    self._log.info("the target is back")
                return self.state
            except TransientError as exc:
                self.drop_connection()
                self._tell("waiting for the target")
                if not is_away:
                    self._log.warning("the target is away, waiting: %s", exc)
                is_away = True
                backoff.wait(stop)
        return None

    def _refuse_another_origin(self, connection: Connection, *, tell: bool = False) -> None:
        if self._origin is None:
            return
        former = refuse_another(connection, self._settings.state_schema, self._stream, self._origin)
        if tell and former.kept() != self._origin.kept():
            self._log.warning(
                "%r was read from %s, and is now from %s: they are taken for one, since a broker's name or its address"
                " may change; if they are two, stop this worker and give its queue a name of its own (stream_names)",
                self._stream, former, self._origin,
            )  # fmt: skip

    def _tell_if_another_server(self, connection: Connection, state: StreamState) -> None:
        """A worker that starts does not know what was committed last, but where."""
        if self._origin is None:
            return
        schema = self._settings.state_schema
        former, server = former_server(connection, schema, self._stream), server_of(connection)
        if former not in ("", server) and self.state is None:
            self._log.warning(
                "the target is another server (%s) than %r was written to last (%s): if that one had committed what"
                " this one never got, it was acknowledged, does not come again, and is missing behind %s;"
                " `pydbsync verify` finds it, `repair` mends it",
                server, self._stream, former, state.checkpoint.position() or "the beginning",
            )  # fmt: skip
        keep_origin(connection, schema, self._stream, self._origin)

    def _is_still_owner(self) -> bool:
        """Whether the lock was kept while the source was away: the server may have hung up on the idle connection."""
        connection = self._connection
        try:
            return connection is not None and connection.is_open() and self.row.is_locked_by(connection)
        except (TransientError, PermanentError):
            return False

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self._settings = settings

    def release(self) -> None:
        """Close the connection, and with it give back the lock. Never raises."""
        self._is_owner = False
        self.drop_connection()

    def keep_alive(self) -> None:
        """Say something to an idle connection in time, or the server takes the lock away. Raises CheckpointConflict."""
        if time.monotonic() - self._used_at > self._settings.lock_timeout_s / 3:
            self.repeat(lambda connection: connection.execute(b"DO 1"))

    @property
    def connection(self) -> Connection:
        """The open connection. Raises TransientError if it was lost."""
        if self._connection is None or not self._connection.is_open():
            raise TransientError("the connection to the target was lost", code=2013)
        self._used_at = time.monotonic()
        return self._connection

    def _connect(self) -> Connection:
        self.drop_connection()
        lock_timeout_s = max(2, round(self._settings.lock_timeout_s))
        try:
            connection = Connection(
                self._settings.target.connect_keywords(),
                key=self._settings.target.key,
                wait_timeout_s=lock_timeout_s,
                statement_timeout_s=self._settings.statement_timeout_s,
                on_slow=self._tell_slow,
                stop=self.stop,
            )
        except ConfigError as exc:
            if not self._was_let_in:
                raise
            # What was right at the start is being changed by somebody: it is waited for.
            if str(exc) != self._refusal:
                self._refusal = str(exc)
                self._log.warning("the target lets nobody in, waiting: %s", exc)
            raise TransientError(str(exc), code=2003) from exc
        self._was_let_in, self._refusal = True, ""
        self._connection = connection
        self._used_at = time.monotonic()
        self.catalog.attach(connection)
        self._connected()
        return connection

    def _tell_slow(self) -> None:
        self._log.info(
            "the target works on a statement for over %g s (a large ALTER, a lock, or a disk without room?); it is"
            " waited for", self._settings.statement_timeout_s,
        )  # fmt: skip

    def drop_connection(self) -> None:
        """Close the connection; the next step makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def repeat(
        self,
        step: Callable[[Connection], _T],
        *,
        begun: Callable[[], _T] | None = None,
        expected_commits: int | None = None,
    ) -> _T | None:
        """Run a step until it succeeds, through lost connections and deadlocks.

        `begun` is the end of a step that was begun already, and comes first. A commit whose answer was lost is not
        guessed at: if the row read back counts `expected_commits`, it was done, and None is returned. Raises
        PermanentError, PlanError, StopError, CheckpointConflict.
        """
        retrying: Retrying | None = None
        while True:
            try:
                if begun is not None:
                    first, begun = begun, None
                    return first()
                if self._connection is None or not self._connection.is_open():
                    committed = self._reconnect()
                    if expected_commits is not None and committed.commits == expected_commits:
                        self._log.info("the target is back, and has committed what it did not answer")
                        self._tell("following")
                        return None
                result = step(self.connection)
                self._used_at = time.monotonic()
                if retrying is not None:
                    self._log.info("the target takes it again")
                    self._tell("following")
                return result
            except _TargetWentBack:
                raise
            except TransientError as exc:
                if retrying is None:
                    retrying = self._retrying()
                    is_read_only = exc.code in READ_ONLY_CODES
                    self._tell("the target is read-only" if is_read_only else "waiting for the target")
                retrying.failed(exc, self.drop_connection)

    def _retrying(self) -> Retrying:
        return Retrying(
            Backoff(self._settings.retry.first_s, self._settings.retry.max_s),
            stop=self.stop,
            log=self._log,
            says="the target does not take it now, trying again",
            stopped="stopped while the target was away",
        )

    def _reconnect(self) -> StreamState:
        """After a lost connection: the lock again, and the row as it is committed. Raises CheckpointConflict if
        another worker owned the stream in between."""
        connection = self._connect()
        try:
            is_locked = False
            while not is_locked:
                if self.stop.is_set():
                    raise Stopped("stopped while waiting for the target")
                is_locked = self.row.try_lock(connection, wait_s=1.0)
                if not self.row.is_ours(connection):
                    raise CheckpointConflict(
                        f"{self.row.holder(connection)} has taken over {self._stream!r} while the connection to the"
                        " target was lost; what was not committed is given back to the queue"
                    )
            state = self.row.read(connection)
        except BaseException:
            self.drop_connection()  # it is of no use without the lock, and before it is known what was committed
            raise
        if state is None:
            raise CheckpointConflict(f"the checkpoint row of {self._stream!r} was removed")
        if self._tell_if_gone_back(state):
            self.drop_connection()
            raise _TargetWentBack("it lacks what was committed last", code=2013)
        self._tell_if_another_server(connection, state)
        return state

    def _tell_if_gone_back(self, found: StreamState) -> bool:
        """Whether the checkpoint stands before what was committed: a fail-over has led to a server without it, and what
        was acknowledged since does not come again. Raises StopError by policy."""
        known = self.state
        if known is None or found.commits >= known.commits:
            return False
        self.state = None
        lost = (
            f"the target has gone back: its checkpoint of {self._stream!r} is at"
            f" {found.checkpoint.position() or 'the beginning'} (commit {found.commits}), but"
            f" {known.checkpoint.position() or 'the beginning'} (commit {known.commits}) was committed; another server"
            " answers now, and what lies between is missing there: `pydbsync verify` finds it, `repair` mends it"
        )
        if self._settings.on_gap == "stop":
            raise StopError(lost)
        self._log.warning("%s", lost)
        return True
