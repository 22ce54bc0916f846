"""One worker: one stream, one process, its exit code."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from pydbsync.apply.applier import Applier
from pydbsync.apply.connection import Connection
from pydbsync.apply.origin import StreamOrigin, origin_of
from pydbsync.apply.state_writer import state_connection
from pydbsync.apply.tables.retention import Retention
from pydbsync.apply.tables.worker import WorkerTable
from pydbsync.config.settings import QueueSettings, Settings
from pydbsync.decode.maxwell import decode_changes
from pydbsync.engine.control import Control
from pydbsync.engine.echoes import Echoes
from pydbsync.engine.follower import Follower
from pydbsync.engine.gaps import carries_everything
from pydbsync.engine.marks import ProvenSource, SentMarks
from pydbsync.engine.observe import Observers
from pydbsync.engine.routing import router_from
from pydbsync.engine.schema_flow import SchemaFlow
from pydbsync.engine.stages import Stages
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import ConfigError, PydbsyncError, Stopped
from pydbsync.process.conflict_start import refuse_other_end, refuse_unfit
from pydbsync.process.inputs import translated
from pydbsync.process.logs import set_level, start_logging
from pydbsync.process.outlet import Outlet
from pydbsync.process.source_server import AskedSource
from pydbsync.process.status import StatusObserver, WorkerStatus
from pydbsync.process.stop_signals import TOLD_TO_STOP, stop_on_signals
from pydbsync.process.two_way import MarkWriter
from pydbsync.process.worker_state import WorkerState
from pydbsync.protocols import Source, StateStore
from pydbsync.sinks.make import OpenKeep, sink_stages
from pydbsync.sinks.notes import WorkerNotes
from pydbsync.source.amqp import AmqpSource
from pydbsync.source.brokers import is_another

INTERNAL_ERROR = 70
"""The exit code for a fault of pydbsync itself (EX_SOFTWARE)."""
_LAST_WORDS_S = 1.0
_MOST_HELD = 4
"""So many times `read_ahead_bytes` may be held until a mark has come (two_way)."""
_MOST_LINES = 1000
_STUCK_S = 15.0
"""So long a supervisor that works never takes."""
BEAT_S = 5.0
"""How often a worker says that it lives, whatever it waits for."""

_log = logging.getLogger("pydbsync")


def follow(
    settings: Settings,
    source: Source,
    *,
    stop: threading.Event,
    send: Callable[[WorkerStatus], None],
    log: logging.Logger,
    until_drained: bool = False,
    carries_everything: bool = True,
    origin: StreamOrigin | None = None,
    on_control: Callable[[Control], object] = lambda control: None,
) -> WorkerStatus:
    """Follow one source in this process until it is told to stop or nothing is left. Raises PydbsyncError.

    `on_control` is handed what other threads can ask of the run.
    """
    figures = StatusObserver(source.stream if origin is None else origin.queue, send)
    kind = settings.input_format_of(figures.status.stream)
    marks = None if settings.two_way is None else SentMarks(source.stream, schema=settings.source_state_schema)
    stages = _stages(settings, source, figures=figures, log=log, origin=origin, marks=marks)
    stages = translated(stages, settings, kind)
    mark_writer = None
    if marks is not None and origin is not None:  # a file is as it is
        mark_writer = MarkWriter(settings, marks, log=log)
        mark_writer.start()
        proven = ProvenSource(
            source, marks, decode=stages.decode, most=settings.prefetch,
            most_bytes=_MOST_HELD * settings.read_ahead_bytes, log=log,
        )  # fmt: skip
        stages = stages._replace(source=proven)
    control = Control(settings, use=stages.use)
    on_control(control)
    state = _worker_state(settings, source, control, status=figures.status, store=stages.store, log=log)
    state.start()
    follower = Follower(
        control,
        stages,
        observer=Observers([figures, state]),
        log=log,
        until_drained=until_drained,
        # Debezium and canal number the rows of an event, not those of a transaction.
        carries_everything=carries_everything and kind == "maxwell",
        splits_statements=kind == "debezium",
    )
    try:
        follower.run(stop)
    except Stopped:  # as was asked for: nothing is to be mended
        raise
    except Exception as exc:
        state.failed(exc)
        raise
    finally:
        figures.now("stopped")
        if mark_writer is not None:
            mark_writer.end()
        state.end()
    return figures.status


def _worker_state(
    settings: Settings,
    source: Source,
    control: Control,
    *,
    status: WorkerStatus,
    store: StateStore,
    log: logging.Logger,
) -> WorkerState[Connection] | WorkerState[OpenKeep]:
    """In the state schema, or beside the state that a sink keeps."""
    host, pid = socket.gethostname(), os.getpid()
    if settings.sink is not None:
        return WorkerState[OpenKeep](
            settings, source, status=status, store=store, ledger=WorkerNotes(host=host, pid=pid), log=log,
            connect=lambda: OpenKeep(settings, source.stream, log=log),
        )  # fmt: skip
    retention = Retention(settings.state_schema)
    return WorkerState(
        settings, source, status=status, store=store, log=log, connect=state_connection(settings.target),
        ledger=WorkerTable(schema=settings.state_schema, stream=source.stream, host=host, pid=pid),
        read=lambda connection: retention.step(connection, control.settings.history_days),
    )  # fmt: skip


def _stages(
    settings: Settings,
    source: Source,
    *,
    figures: StatusObserver,
    log: logging.Logger,
    origin: StreamOrigin | None,
    marks: SentMarks | None,
) -> Stages:
    def connected() -> None:
        figures.connected("target")

    if settings.sink is not None:
        return sink_stages(settings, source, log=log, tell=figures.now, connected=connected)

    def examine(connection: Connection) -> None:
        refuse_unfit(connection, settings, log)
        refuse_other_end(settings, log)

    applier = Applier(
        settings, stream=source.stream, log=log, origin=origin, tell=figures.now, connected=connected,
        examine=examine,
    )  # fmt: skip
    asked = AskedSource(settings.source, log)
    plans = TablePlans(
        settings,
        router=router_from(settings),
        catalog=applier.catalog,
        log=log,
        ask_source=asked,
        ask_collation=asked.collation_of,
        ask_table=asked.table,
        checks_routes=True,
        input_format=settings.input_format_of(figures.status.stream),
    )
    schema = SchemaFlow(settings, tables=applier, plans=plans, log=log, decode=decode_changes)

    def use(found: Settings) -> None:
        applier.use(found)
        plans.use(found)
        schema.use(found)

    def echoes(state: str | None) -> Echoes:
        further = () if settings.two_way is None else settings.two_way.target_server_ids
        return Echoes(
            settings.source_state_schema, state, marks=marks, server_ids={applier.server_id, *further}
        )  # fmt: skip

    return Stages(source, decode_changes, plans, schema, store=applier, sink=applier, use=use, echoes=echoes)


def run_worker(
    settings: Settings,
    queue: QueueSettings,
    cluster: str,
    until_drained: bool,
    pipe: multiprocessing.connection.Connection,
) -> None:
    """The target function of a worker process; ends it with the exit code of what happened. `cluster` is what RabbitMQ
    calls itself."""
    stop = stop_on_signals(says="")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that is closed tells the supervisor too
    _stop_with_parent(stop)
    lines = PipeHandler(pipe)
    try:
        log = start_logging(settings, queue.queue, terminal=False, complain=lines.say)
    except ConfigError as exc:
        lines.say(str(exc), level=logging.ERROR)
        _end(exc.exit_code, lines, pipe)
    log.addHandler(lines)
    _beat(lines)
    source = AmqpSource(
        settings.amqp, queue, prefetch=settings.prefetch, read_ahead_bytes=settings.read_ahead_bytes,
        consumer_poll_s=settings.consumer_poll_s, log=log,
    )  # fmt: skip
    code = 0
    try:
        follow(
            settings, source, stop=stop, send=lines.send, log=log, until_drained=until_drained,
            carries_everything=carries_everything(queue.exchange_type, queue.routing_keys),
            origin=origin_of(
                settings.amqp, queue, cluster,
                proves_another=lambda former: is_another(settings.amqp, queue.queue, former.host_and_port()),
            ),
            on_control=lambda control: _listen(pipe, control, log),
        )  # fmt: skip
    except PydbsyncError as exc:
        code = exc.exit_code
        if code:
            log.error("%s", exc)
    except Exception:
        log.exception("a fault of pydbsync itself; please report it with these lines")
        code = INTERNAL_ERROR
    _end(TOLD_TO_STOP if code == 0 and stop.is_set() else code, lines, pipe)


def _listen(pipe: multiprocessing.connection.Connection, control: Control, log: logging.Logger) -> None:
    """Hand on the settings that the supervisor sends."""

    def run() -> None:
        with contextlib.suppress(EOFError, OSError):  # the supervisor has gone
            while True:
                settings: Settings = pipe.recv()
                set_level(settings)
                control.give(settings)

    threading.Thread(target=run, name="supervisor", daemon=True).start()


def _end(code: int, lines: PipeHandler, pipe: multiprocessing.connection.Connection) -> NoReturn:
    lines.outlet.flush(_LAST_WORDS_S)
    sys.stdout.flush()
    pipe.close()
    os._exit(code)  # the AMQP thread is a daemon, and nothing is left to be flushed


def _beat(lines: PipeHandler) -> None:
    def run() -> None:
        while True:
            lines.beat()
            time.sleep(BEAT_S)

    threading.Thread(target=run, name="beat", daemon=True).start()


def _stop_with_parent(stop: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()


class PipeHandler(logging.Handler):
    """Hands log lines and statuses to the supervisor, which owns the terminal; never waits for it."""

    def __init__(self, pipe: multiprocessing.connection.Connection) -> None:
        super().__init__()
        self._is_stuck = False
        self.outlet: Outlet[tuple[int, str] | WorkerStatus | None] = Outlet(
            pipe.send,
            most=_MOST_LINES,
            left_out=lambda count: (logging.WARNING, f"{count} lines or figures were left out here; see the log file"),
        )

    def send(self, status: WorkerStatus) -> None:
        """A status as it is now."""
        self.outlet.put(status.copy())
        is_stuck = self.outlet.held_s() > _STUCK_S
        if is_stuck and not self._is_stuck:
            _log.warning(
                "the supervisor has taken nothing for %g s: it is stopped (SIGSTOP, a debugger) or has no time; the"
                " worker goes on, but nobody would start it again, send alerts, or answer on the metrics port (kill"
                " -CONT it)", _STUCK_S,
            )  # fmt: skip
        elif self._is_stuck and not is_stuck:
            _log.info("the supervisor is back")
        self._is_stuck = is_stuck

    def beat(self) -> None:
        """A sign of life."""
        self.outlet.put(None)

    def say(self, text: str, *, level: int = logging.WARNING) -> None:
        """A line that no log file has."""
        self.outlet.put((level, text))

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self.outlet.put((record.levelno, text))
