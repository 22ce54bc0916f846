"""Prometheus metrics of all workers, on 127.0.0.1 unless the operator says otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError
from pydbsync.process.status import WorkerStatus

_COUNTERS = {
    "applied": "Row changes committed to the target",
    "transactions": "Transactions committed to the target",
    "duplicates": "Changes left out because they were applied already",
    "parked": "Changes parked",
    "schema_changes": "Schema changes run on the target",
    "new_streams": "Times that places went back while time went on",
    "gaps": "Proven holes and stalls of the stream",
}


class Metrics(Collector):
    """Answers with the statuses it was last given."""

    def __init__(self, settings: Settings) -> None:
        self._host, self._port = settings.metrics_host, settings.metrics_port
        self._statuses: list[WorkerStatus] = []

    def start(self, log: logging.Logger) -> None:
        """Listen, if a port is configured. Raises ConfigError if it is taken."""
        if not self._port:
            return
        registry = CollectorRegistry()
        registry.register(self)
        try:
            start_http_server(self._port, addr=self._host, registry=registry)
        except OSError as exc:
            raise ConfigError(f"{self._host}:{self._port} cannot be listened on: {exc}", key="metrics_port") from exc
        log.info("metrics: http://%s:%d/metrics", self._host, self._port)

    def update(self, statuses: list[WorkerStatus]) -> None:
        """What the next request is answered with."""
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client for each request."""
        statuses = self._statuses
        for name, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"pydbsync_{name}", text, labels=["queue"])
            for status in statuses:
                counter.add_metric([status.stream], getattr(status, name))
            yield counter
        gauges: dict[str, tuple[str, Callable[[WorkerStatus], float | None]]] = {
            "lag_seconds": ("Age of the newest applied change, by the source's clock", lambda status: status.lag_s()),
            "queue_depth": ("Messages waiting at the broker", lambda status: status.depth),
            "resident_bytes": ("Resident memory of the worker", lambda status: status.resident_bytes),
            "heartbeat": ("Last number of the source's heartbeat", lambda status: status.heartbeat),
            "up": ("Whether the worker applies changes", lambda status: int(status.state == "following")),
        }
        for name, (text, read) in gauges.items():
            gauge = GaugeMetricFamily(f"pydbsync_{name}", text, labels=["queue"])
            for status in statuses:
                value = read(status)
                if value is not None:
                    gauge.add_metric([status.stream], value)
            yield gauge
