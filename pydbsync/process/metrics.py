"""Prometheus metrics of all workers, and whether they live and follow: on 127.0.0.1 unless somebody says otherwise."""

from __future__ import annotations

import logging
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, MetricsHandler, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pydbsync import __version__
from pydbsync.errors import ConfigError
from pydbsync.process.histogram import Histogram
from pydbsync.process.status import WorkerStatus
from pydbsync.process.tasks import Facts, Task

FOLLOWING: Final = "following"
STATES: Final = (
    "starting", FOLLOWING, "paused", "stalled", "waiting for the queue", "waiting for the target",
    "the target is read-only", "silent", "restarting", "stopped",
)  # fmt: skip
"""What a worker may be doing; another word is shown as well."""
SERVERS: Final = ("broker", "target")
_HUNG_S: Final = 60.0
"""So long the supervisor may take for one round, which it makes several times a second, before it counts as hung."""


class _TaskFigure(NamedTuple):
    text: str
    read: Callable[[Task], float | None]


TASK_GAUGES: Final[dict[str, _TaskFigure]] = {
    "task_up": _TaskFigure("Whether the tool is at work.", lambda task: float(task.is_running)),
    "task_failed": _TaskFigure(
        "Whether the tool's last run ended with a fault or without a word.", lambda task: float(task.has_failed)
    ),
    "task_exit_code": _TaskFigure("Exit code of a run that has ended.", lambda task: task.exit_code),
    "task_done": _TaskFigure("What the run has done.", lambda task: task.done),
    "task_expected": _TaskFigure("What it has to do, as far as it is known.", lambda task: task.total),
    "task_start_timestamp_seconds": _TaskFigure("When the run began.", lambda task: task.started_at),
    "task_end_timestamp_seconds": _TaskFigure("When it ended.", lambda task: task.ended_at),
}


class _Figure(NamedTuple):
    text: str
    read: Callable[[WorkerStatus], float | None]


COUNTERS: Final[dict[str, _Figure]] = {
    "applied_changes": _Figure("Row changes committed to the target.", lambda status: status.applied),
    "transactions": _Figure("Transactions committed to the target.", lambda status: status.transactions),
    "duplicate_changes": _Figure(
        "Changes left out because they were applied already.", lambda status: status.duplicates
    ),
    "echo_changes": _Figure(
        "Changes left out because the replay of the other direction has made them (two_way).",
        lambda status: status.echoes,
    ),
    "redelivered_messages": _Figure(
        "Messages that the broker had handed out before.", lambda status: status.redelivered
    ),
    "parkings": _Figure("Changes parked since the start.", lambda status: status.parked),
    "schema_changes": _Figure("Schema changes run on the target.", lambda status: status.schema_changes),
    "new_streams": _Figure("Times that places went back while time went on.", lambda status: status.new_streams),
    "gaps": _Figure("Proven holes and stalls of the stream.", lambda status: status.gaps),
    "worker_restarts": _Figure("Times that the worker was started again.", lambda status: status.restarts),
}
GAUGES: Final[dict[str, _Figure]] = {
    "up": _Figure("Whether the worker applies changes (1) or waits, stalls or is down (0).",
                  lambda status: float(status.state == FOLLOWING)),
    "lag_seconds": _Figure("What the source committed longer ago than this is committed at the target.",
                           lambda status: status.lag_s()),
    "queue_messages": _Figure("Messages waiting at the broker.", lambda status: status.depth),
    "parked_changes": _Figure("Changes that are parked now.", lambda status: status.parked_now),
    "last_commit_timestamp_seconds": _Figure("When the worker committed last.",
                                             lambda status: status.committed_at or None),
    "newest_change_timestamp_seconds": _Figure("When the newest applied change was made at the source.",
                                               lambda status: status.newest_ts or None),
    "heartbeat_number": _Figure("Last number of the source's heartbeat.", lambda status: status.heartbeat),
    "heartbeat_timestamp_seconds": _Figure("When the last heartbeat was written at the source.",
                                           lambda status: status.heartbeat_ts),
    "worker_resident_memory_bytes": _Figure("Resident memory of the worker.",
                                            lambda status: status.resident_bytes or None),
}  # fmt: skip
HISTOGRAMS: Final[dict[str, tuple[str, Callable[[WorkerStatus], Histogram]]]] = {
    "commit_lag_seconds": (
        "From the source's commit to the target's, by the newest change of each batch.",
        lambda status: status.commit_lag,
    ),
    "batch_duration_seconds": ("What the target took for a batch.", lambda status: status.batch_time),
    "batch_rows": ("Rows of a batch.", lambda status: status.batch_rows),
}


class WorkerMetrics(Collector):
    """Answers with the statuses it was last given."""

    def __init__(self) -> None:
        self.statuses: list[WorkerStatus] = []

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each request."""
        statuses = self.statuses
        yield InfoMetricFamily(
            "pydbsync_build", "The running program.", {"version": __version__, "python": platform.python_version()}
        )
        for name, figure in COUNTERS.items():
            yield _fill(CounterMetricFamily(f"pydbsync_{name}", figure.text, labels=["queue"]), statuses, figure)
        for name, figure in GAUGES.items():
            yield _fill(GaugeMetricFamily(f"pydbsync_{name}", figure.text, labels=["queue"]), statuses, figure)
        for name, (text, read) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"pydbsync_{name}", text, labels=["queue"])
            for status in statuses:
                found = read(status)
                histogram.add_metric([status.stream], found.buckets(), found.sum)
            yield histogram
        reconnects = CounterMetricFamily(
            "pydbsync_reconnects", "Connections made again by a running worker.", labels=["queue", "server"]
        )
        waits = CounterMetricFamily(
            "pydbsync_wait_seconds", "Time in which nothing could be done for want of a server.",
            labels=["queue", "server"],
        )  # fmt: skip
        conflicts = CounterMetricFamily(
            "pydbsync_conflicts", "Changes that found another row at the target, by whose row stays.",
            labels=["queue", "decision"],
        )  # fmt: skip
        states = GaugeMetricFamily(
            "pydbsync_worker_state", "1 for what the worker is doing, 0 for what it is not.", labels=["queue", "state"]
        )
        for status in statuses:
            for server in SERVERS:
                again = status.broker_reconnects if server == "broker" else status.target_reconnects
                reconnects.add_metric([status.stream, server], again)
                waits.add_metric([status.stream, server], status.wait_s(server))
            for decision, count in status.conflicts().items():
                conflicts.add_metric([status.stream, decision], count)
            for state in dict.fromkeys((*STATES, status.state)):
                states.add_metric([status.stream, state], float(state == status.state))
        yield reconnects
        yield waits
        yield conflicts
        yield states


class TaskMetrics(Collector):
    """Copy, verify, capture and the other tools, as they tell in the state schema."""

    def __init__(self, read: Callable[[], Facts]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each request."""
        facts = self._read()
        for name, figure in TASK_GAUGES.items():
            labels = ["kind", "name", *(["unit"] if name in ("task_done", "task_expected") else [])]
            gauge = GaugeMetricFamily(f"pydbsync_{name}", figure.text, labels=labels)
            for task in facts.tasks:
                value = figure.read(task)
                if value is not None:
                    gauge.add_metric([task.kind, task.name, task.unit][: len(labels)], value)
            yield gauge
        retention = GaugeMetricFamily(
            "pydbsync_source_binlog_retention_seconds", "How long the source keeps its binlog.", labels=[]
        )
        if facts.retention_s is not None:
            retention.add_metric([], facts.retention_s)
        yield retention


def _fill(family: CounterMetricFamily | GaugeMetricFamily, statuses: Iterable[WorkerStatus], figure: _Figure) -> Metric:
    for status in statuses:
        value = figure.read(status)
        if value is not None:
            family.add_metric([status.stream], value)
    return family


class Metrics:
    """The port with `/metrics`, `/healthz` (does the process live) and `/readyz` (do the workers follow)."""

    def __init__(self, host: str, port: int, collectors: Iterable[Collector] = ()) -> None:
        """Port 0 is none."""
        self.port = port
        self._host = host
        self._workers = WorkerMetrics()
        self._collectors = (self._workers, *collectors)
        self._updated_at = time.monotonic()

    def start(self, log: logging.Logger) -> None:
        """Listen, if a port is configured. Raises ConfigError if it is taken."""
        if not self.port:
            return
        registry = CollectorRegistry()
        for collector in (*self._collectors, ProcessCollector(registry=None)):
            registry.register(collector)
        handler = type("_Handler", (_Handler,), {"registry": registry, "metrics": self})
        try:
            server = _listen(self._host, self.port, handler)
        except OSError as exc:
            raise ConfigError(f"{self._host}:{self.port} cannot be listened on: {exc}", key="metrics_port") from exc
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics: http://%s:%d/metrics (and /healthz, /readyz)", self._host, self.port)

    def update(self, statuses: list[WorkerStatus]) -> None:
        """What the next request is answered with."""
        self._workers.statuses = statuses
        self._updated_at = time.monotonic()

    def health(self) -> tuple[bool, str]:
        """Whether the supervisor works, and a sentence."""
        silent_s = time.monotonic() - self._updated_at
        if silent_s > _HUNG_S:
            return False, f"the supervisor has done nothing for {silent_s:.0f} s"
        return True, "the supervisor works"

    def readiness(self) -> tuple[bool, str]:
        """Whether every worker follows its queue, and a sentence."""
        lives, sentence = self.health()
        if not lives:
            return False, sentence
        statuses = self._workers.statuses
        others = [f"queue {status.stream}: {status.state}" for status in statuses if status.state != FOLLOWING]
        if others or not statuses:
            return False, "; ".join(others) or "no worker is started yet"
        return True, "every worker follows its queue" if len(statuses) > 1 else "the worker follows its queue"


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    server = type("_HttpServer", (ThreadingHTTPServer,), {"address_family": family})
    listening: ThreadingHTTPServer = server(address, handler)
    return listening


class _Handler(MetricsHandler):
    metrics: Metrics
    timeout = 10  # a client that says nothing holds no thread for ever

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/metrics", "/"):
            super().do_GET()
        elif path == "/healthz":
            self._answer(*self.metrics.health())
        elif path == "/readyz":
            self._answer(*self.metrics.readiness())
        else:
            self._say(404, "there are /metrics, /healthz and /readyz")

    def _answer(self, holds: bool, sentence: str) -> None:
        self._say(200 if holds else 503, sentence)

    def _say(self, code: int, sentence: str) -> None:
        body = f"{sentence}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
