"""A sink in this process: settings, a worker that follows a list, and one that does so in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.process.status import WorkerStatus
from pydbsync.process.worker import follow
from pydbsync.source.memory import MemorySource
from tests.servers import Endpoint

LOG = logging.getLogger("tests.sinks")


def sink_settings(sink: Mapping[str, Any], source: Endpoint, options: Mapping[str, Any]) -> Settings:
    """Options of the sink have their names; those of the run begin with `run_`."""
    given: dict[str, Any] = {
        "sink": {**sink, **{name: value for name, value in options.items() if not name.startswith("run_")}},
        "source_db_info": source.db_info,
        "log_file_prefix": "",
        "state_interval_s": 0,  # some count the requests
        "retry": {"first_s": 0.01, "max_s": 0.1},
    }
    given |= {name[4:]: value for name, value in options.items() if name.startswith("run_")}
    return settings_from_mapping(given, require=("db_info",))[0]


def run(settings: Settings, bodies: Iterable[bytes], *, stream: str = "memory", block: int = 1000) -> WorkerStatus:
    """Follow until drained: all is acknowledged then."""
    source = MemorySource(bodies, stream=stream, block=block)
    status = follow(settings, source, stop=threading.Event(), send=lambda status: None, log=LOG, until_drained=True)
    assert source.depth() == 0
    return status


class Running:
    """A worker in a thread, with what happens meanwhile seen from outside."""

    def __init__(self, settings: Settings, source: MemorySource, *, ends_in_s: float = 10) -> None:
        """`ends_in_s` is how long the worker may take to end when it is told to."""
        self.source = source
        self.error: BaseException | None = None
        self._settings, self._ends_in_s = settings, ends_in_s
        self._stop = threading.Event()
        self._thread = threading.Thread(daemon=True, target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            follow(
                self._settings, self.source, stop=self._stop, send=lambda status: None, log=LOG, until_drained=True
            )  # fmt: skip
        except BaseException as exc:
            self.error = exc

    def join(self) -> None:
        self._thread.join(60)
        self._stop.set()
        self._thread.join(self._ends_in_s)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        assert self.source.depth() == 0
