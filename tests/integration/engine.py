"""The engine in this process: real target, deliveries from a list."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.errors import Stopped
from pydbsync.process.status import WorkerStatus
from pydbsync.process.worker import follow
from pydbsync.source.memory import MemorySource
from tests.servers import Endpoint

QUICK_RETRY = {"first_s": 0.01, "max_s": 0.2}
LOG = logging.getLogger("tests.engine")


def settings_for(target: Endpoint, **options: Any) -> Settings:
    """The settings of a run on this target."""
    given = {"db_info": target.db_info, "retry": QUICK_RETRY, "log_file_prefix": "", **options}
    return settings_from_mapping(given, require=("db_info",))[0]


def replay(
    target: Endpoint, bodies: Iterable[bytes], *, stream: str = "memory", block: int = 1000,
    carries_everything: bool = True, **options: Any,
) -> WorkerStatus:  # fmt: skip
    """Apply all messages, in blocks as a broker hands them over; all of them must be acknowledged at the end. They are
    not all that the source has written where `carries_everything` is not set."""
    source = MemorySource(bodies, stream=stream, block=block)
    status = follow_source(target, source, carries_everything=carries_everything, **options)
    assert source.is_drained()
    assert source.depth() == 0
    return status


def follow_source(
    target: Endpoint, source: MemorySource, *, carries_everything: bool = True, **options: Any
) -> WorkerStatus:
    """Follow the source until it is drained."""
    return follow(
        settings_for(target, **options),
        source,
        stop=threading.Event(),
        send=lambda status: None,
        log=LOG,
        until_drained=True,
        carries_everything=carries_everything,
    )


@contextlib.contextmanager
def following(settings: Settings, source: MemorySource) -> Iterator[Callable[[], None]]:
    """A worker follows while the block runs; what is given ends it sooner."""
    stop = threading.Event()

    def run() -> None:
        with contextlib.suppress(Stopped):
            follow(settings, source, stop=stop, send=lambda status: None, log=LOG)

    worker = threading.Thread(daemon=True, target=run)

    def end() -> None:
        stop.set()
        worker.join(60)

    worker.start()
    try:
        yield end
    finally:
        end()


class Parked(NamedTuple):
    """A row of the table `parked`."""

    kind: str
    table: str
    reason: str
    code: int
    behind: int | None
    id: int
    message: bytes
    input_format: str


def parked(target: Endpoint, schema: str = "pydbsync") -> Sequence[Parked]:
    """What is parked, in order."""
    rows = target.query(
        "SELECT kind, CONCAT(source_database, '.', source_table), reason, code, behind, id, message,"
        f" input_format FROM `{schema}`.parked WHERE status = 'parked' ORDER BY id"
    )
    return [Parked(*row) for row in rows]


def checksums(target: Endpoint, databases: Iterable[str]) -> dict[str, int]:
    """CHECKSUM TABLE of every table."""
    names = [
        f"`{database}`.`{table}`"
        for database in databases
        for (table,) in target.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name", database
        )
    ]
    return dict(target.query(f"CHECKSUM TABLE {', '.join(names)}"))
