"""Holds all workers back together: at a rate, while a server is busy, and while a replica of the target is behind."""

from __future__ import annotations

import logging
import threading

from pydbsync.config.settings import Settings
from pydbsync.errors import ApplyError, OperationError
from pydbsync.ops.brake import Brake, LoadLimits
from pydbsync.ops.copy.options import CopyOptions
from pydbsync.ops.servers import Server, Servers

BEHIND_FOR_EVER_S = 1e9
"""What a replica that does not replicate is said to be behind."""


class Throttle:
    """To be called before a piece of work with 0, and after it with its rows. Several threads may."""

    def __init__(
        self, settings: Settings, options: CopyOptions, servers: Servers, *, stop: threading.Event, log: logging.Logger
    ) -> None:
        self._replicas = [
            Server(_keywords(settings, address), key="db_info", retry=settings.retry, stop=stop)
            for address in options.replicas
        ]
        self._brake = Brake(
            LoadLimits(options.threads_running, options.lag_s if self._replicas else 0.0, options.rows_per_s),
            servers=[("source", servers.source), ("target", servers.target)],
            lag_s=lambda: max(map(lag_of, self._replicas), default=0.0),
            late=_late,
            stop=stop,
            log=log,
        )
        self._lock = threading.Lock()

    def __call__(self, rows: int) -> None:
        """Wait, or take note of what was done. Raises Stopped."""
        with self._lock:
            if rows:
                self._brake.worked(rows)
            else:
                self._brake.wait()

    def close(self) -> None:
        """Close the connections to replicas. Never raises."""
        for replica in self._replicas:
            replica.close()


def lag_of(replica: Server) -> float:
    """How far a replica is behind its source, in seconds. Raises OperationError if it is none."""
    for statement, column in (("SHOW REPLICA STATUS", 32), ("SHOW SLAVE STATUS", 32)):
        try:
            found = replica.rows(statement)
        except ApplyError:
            continue
        if not found:
            raise OperationError(
                "a server named by --replica replicates from nowhere; leave it out, or start its replication"
            )
        behind = found[0][column]
        return BEHIND_FOR_EVER_S if behind is None else float(behind)
    raise OperationError(
        "a replica of the target does not tell its state; grant its user REPLICATION CLIENT (MariaDB: REPLICA MONITOR)"
    )


def _late(lag_s: float) -> str:
    if lag_s >= BEHIND_FOR_EVER_S:
        return "a replica of the target has stopped replicating"
    return f"a replica of the target is {lag_s:.0f} s behind"


def _keywords(settings: Settings, address: str) -> dict[str, object]:
    host, _, port = address.partition(":")
    given = settings.target.connect_keywords()
    given.pop("unix_socket", None)
    return {**given, "host": host, "port": int(port or 3306)}
