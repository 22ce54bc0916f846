"""Runs: checks everything once, says what will be done, then follows queues or a file."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import msgspec
from rich.console import Console

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.config.settings import QueueSettings, Settings, describe
from pydbsync.errors import ConfigError, PydbsyncError, SourceError, TransientError
from pydbsync.process.logs import start_logging
from pydbsync.process.outlet import TerminalStream
from pydbsync.process.status import WorkerStatus
from pydbsync.process.stop_signals import Hangup, stop_on_signals
from pydbsync.process.supervisor import Supervisor, Watch, summary
from pydbsync.process.terminal import Terminal
from pydbsync.process.two_way import check_two_way
from pydbsync.source.file import FileSource
from pydbsync.source.link import check_broker
from pydbsync.source.management import Management

_LAST_WORDS_S = 1.0
_MANAGEMENT_S = 5.0
_LOOK_S = 30.0
"""How often it is seen what was done to the queues at the broker."""


class RunOptions(msgspec.Struct, frozen=True):
    """What the command line adds to the settings."""

    until_drained: bool = False
    from_file: str | None = None
    stream: str | None = None
    summary_json: Path | None = None
    reload: Callable[[], tuple[Settings, tuple[str, ...]]] | None = None
    """Reads the configuration again. Raises ConfigError."""
    watch: Callable[[Settings, logging.Logger], Watch] | None = None
    """Makes who looks beside the workers."""


def run(settings: Settings, warnings: tuple[str, ...], options: RunOptions) -> int:
    """The exit code. Raises ConfigError before anything is consumed."""
    outlet = TerminalStream(sys.stderr.fileno())
    try:
        return _run(settings, warnings, options, outlet)
    finally:
        outlet.drain(_LAST_WORDS_S)


def _run(settings: Settings, warnings: tuple[str, ...], options: RunOptions, outlet: TerminalStream) -> int:
    stream = cast("TextIO", outlet)
    console = Console(file=stream)
    log = start_logging(settings, "main", console=console if console.is_terminal else None, stream=stream)
    stop = stop_on_signals()
    for text in warnings:
        log.warning("%s", text)
    if settings.sink is None:
        check_target(settings, log)
        check_two_way(settings, log)
    cluster = check_source(settings) if options.from_file is None else ""
    for line in describe(settings):
        log.info("%s", line)
    if options.from_file is not None:
        code, statuses = _run_file(settings, options, stop, log)
    else:
        terminal = Terminal(log=log, console=console, live=console.is_terminal)
        supervisor = Supervisor(
            settings, log=log, terminal=terminal, cluster=cluster, until_drained=options.until_drained,
            watch=None if options.watch is None else options.watch(settings, log),
        )  # fmt: skip
        stop.before_end = supervisor.kill
        threading.Thread(target=watch_queues, args=(settings, log, stop), name="queues", daemon=True).start()
        hangup = Hangup(stop)

        def look() -> None:
            if hangup.came() and options.reload is not None:
                reload(supervisor, options.reload, log)

        code = supervisor.run(stop, look)
        statuses = supervisor.statuses()
    figures = summary(statuses)
    log.info("%s", describe_summary(figures))
    if options.summary_json is not None:
        options.summary_json.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return code


def reload(supervisor: Supervisor, load: Callable[[], tuple[Settings, tuple[str, ...]]], log: logging.Logger) -> None:
    """Read the configuration again and have the workers take it over; one that is wrong changes nothing."""
    try:
        settings, warnings = load()
    except ConfigError as exc:
        log.error("reload: refused, and the former configuration goes on: %s", exc)
        return
    for text in warnings:
        log.warning("%s", text)
    supervisor.reload(settings)


def _run_file(
    settings: Settings, options: RunOptions, stop: threading.Event, log: logging.Logger
) -> tuple[int, list[WorkerStatus]]:
    follow = importlib.import_module("pydbsync.process.worker").follow  # a run of queues leaves it to other processes
    source = FileSource(str(options.from_file), stream=options.stream or settings.stream)
    latest = [WorkerStatus(stream=source.stream)]

    def send(status: WorkerStatus) -> None:
        latest[0] = status

    try:
        follow(settings, source, stop=stop, send=send, log=log, until_drained=True)
    except PydbsyncError as exc:
        if exc.exit_code:
            log.error("%s", exc)
        return exc.exit_code, latest
    return 0, latest


def check_target(settings: Settings, log: logging.Logger) -> None:
    """Connect to the target and make the state schema. Raises ConfigError."""
    try:
        connection = Connection(settings.target.connect_keywords(), key=settings.target.key)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key) from exc
    try:
        ensure_state_schema(connection, settings.state_schema)
        brand = "MariaDB" if connection.dialect.is_mariadb else "MySQL"
        log.info("target: %s %s", brand, connection.version)
    finally:
        connection.close()


def check_source(settings: Settings) -> str:
    """Connect to RabbitMQ and leave again; what it calls itself. Raises ConfigError."""
    try:
        return check_broker(settings.amqp)
    except SourceError as exc:
        raise ConfigError(str(exc), key="rabbitmq_conn_info") from exc


def watch_queues(settings: Settings, log: logging.Logger, stop: threading.Event, *, every_s: float = _LOOK_S) -> None:
    """Name queues that a policy has drop messages, and those that are bound no more, when it is seen first: AMQP does
    not show it, and nobody waits for the management."""
    management = Management(settings.amqp, timeout_s=_MANAGEMENT_S)
    looks = [_SeenQueue(queue, management) for queue in settings.queues]
    while True:
        try:
            for look in looks:
                look.tell(log)
        except SourceError as exc:  # doctor names what keeps it from being seen
            log.debug("policies and bindings of the queues cannot be seen: %s", exc)
        if stop.wait(every_s):
            return


class _SeenQueue:
    """What was seen of one queue at the broker's management."""

    def __init__(self, queue: QueueSettings, management: Management) -> None:
        self._queue = queue
        self._management = management
        self._dropped: list[str] = []
        self._bound: frozenset[str] = frozenset()

    def tell(self, log: logging.Logger) -> None:
        """Name what is new. Raises SourceError."""
        if self._queue.exchange and self._queue.routing_keys:
            self._tell_bindings(log)
        dropped = self._management.dropped_by_policy(self._queue.queue)
        for sentence in dropped:
            if sentence not in self._dropped:
                log.warning(
                    "queue %r %s: such changes do not reach the target, and only a heartbeat shows it; leave that out"
                    " of the policy", self._queue.queue, sentence,
                )  # fmt: skip
        self._dropped = dropped

    def _tell_bindings(self, log: logging.Logger) -> None:
        bound = self._management.bound_by(self._queue)
        if bound is None:  # the worker finds out
            return
        if gone := self._bound - bound:
            log.warning(
                "queue %r is no longer bound to exchange %r by %s: what is published until it is bound again does not"
                " reach the target, and only a heartbeat shows it; bind it, or start the workers anew, which do so,"
                " then compare the tables with the source (`pydbsync verify`)",
                self._queue.queue, self._queue.exchange, ", ".join(sorted(gone)),
            )  # fmt: skip
        self._bound = bound


def describe_summary(figures: dict[str, object]) -> str:
    """One line for people."""
    return (
        f"applied {figures['applied']:,} row changes and {figures['schema_changes']} schema changes"
        f" in {figures['seconds']:.1f} s ({figures['rows_per_s']:,} rows/s);"
        f" {figures['duplicates']:,} duplicates left out, {figures['parked']:,} parked"
    )
