"""The server's own replication: the relay log is fetched first, then only the applying is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.publish import wait_for
from benchmarks.rig import Prepared, ask, connect
from lab.mariadb import MariaDB

FETCH_TIMEOUT_S = 300
APPLY_TIMEOUT_S = 1800


@dataclass(frozen=True)
class Mode:
    """How the replica applies; no threads means its single SQL thread."""

    threads: int = 0
    order: str = "conservative"

    @property
    def title(self) -> str:
        return f"{self.order}, {self.threads} threads" if self.threads else "one thread"


SINGLE = Mode()
PARALLEL = tuple(Mode(n, order) for order in ("optimistic", "conservative", "aggressive") for n in (4, 8))
# Queues as long as pydbsync's batches are: the default of 128 KB starves the workers on short transactions.
QUEUE_BYTES = 16 << 20


def apply_relay_log(source: MariaDB, target: MariaDB, prepared: Prepared, mode: Mode) -> float:
    """Seconds from the start of the SQL thread until the last transaction is committed."""
    begin, end = prepared.begin, prepared.end
    ask(
        target,
        f"SET GLOBAL slave_parallel_threads = {mode.threads}",
        f"SET GLOBAL slave_parallel_mode = '{mode.order}'",
        f"SET GLOBAL slave_parallel_max_queued = {QUEUE_BYTES}",
        f"CHANGE MASTER TO MASTER_HOST='{source.host}', MASTER_PORT={source.port}, MASTER_USER='{source.user}',"
        f" MASTER_PASSWORD='{source.password}', MASTER_LOG_FILE='{begin.file}', MASTER_LOG_POS={begin.offset},"
        " MASTER_USE_GTID=no",
        "START SLAVE IO_THREAD",
    )
    wait_for(lambda: has_fetched(target, prepared), timeout_s=FETCH_TIMEOUT_S, what="the whole relay log")
    ask(target, "STOP SLAVE IO_THREAD")
    connection = connect(target)
    try:
        with connection.cursor() as cursor:
            start = time.perf_counter()
            cursor.execute("START SLAVE SQL_THREAD")
            cursor.execute(f"SELECT MASTER_POS_WAIT('{end.file}', {end.offset}, {APPLY_TIMEOUT_S})")
            passed = time.perf_counter() - start
            (events,) = cursor.fetchone() or (None,)
            if events is None or int(str(events)) < 0:
                raise RuntimeError(f"replication did not arrive: {slave_status(target).get('Last_SQL_Error')}")
            cursor.execute("STOP SLAVE")
    finally:
        connection.close()
    return passed


def slave_status(target: MariaDB) -> dict[str, object]:
    connection = connect(target)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SLAVE STATUS")
            row = cursor.fetchone() or ()
            return dict(zip([column[0] for column in cursor.description or ()], row, strict=False))
    finally:
        connection.close()


def has_fetched(target: MariaDB, prepared: Prepared) -> bool:
    status = slave_status(target)
    if status.get("Last_IO_Errno"):
        raise RuntimeError(f"the relay log cannot be fetched: {status.get('Last_IO_Error')}")
    place = (str(status.get("Master_Log_File")), int(str(status.get("Read_Master_Log_Pos") or 0)))
    return place >= (prepared.end.file, prepared.end.offset)
