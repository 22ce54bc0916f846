"""A huge transaction and a huge row pass through a worker in bounded memory: `python -m tests.torture --bounds`."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import lab
from lab.process import peak_rss_bytes
from tests.maxwell import Binlog, insert
from tests.processes import SyncProcess, sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

LIMIT_BYTES = 300 * 10**6
"""What a worker may have resident at any time."""
ROWS, ROW_BYTES = 2_000_000, 64 * 2**20
VHOST = "bounds"


@dataclass(frozen=True)
class Bounds:
    """What passed, and the most that the worker had resident."""

    rows: int
    row_bytes: int
    transaction_peak_bytes: int
    row_peak_bytes: int

    def __str__(self) -> str:
        return (
            f"a transaction of {self.rows:,} rows: {self.transaction_peak_bytes / 1e6:.0f} MB resident at most\n"
            f"a text and a BLOB of {self.row_bytes >> 20} MiB: {self.row_peak_bytes / 1e6:.0f} MB resident at most"
        )


def main() -> int:
    """On servers of its own."""
    with ExitStack() as opened:
        target = lab.start_mariadb("torture-target")
        broker = lab.start_rabbitmq("torture-rabbitmq")
        opened.callback(target.stop)
        opened.callback(broker.stop)
        endpoint = Endpoint.of_lab(target)
        endpoint.drop_databases()
        broker.delete_vhost(VHOST)
        broker.create_vhost(VHOST)
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        bounds = measure(endpoint, Vhost(broker, VHOST), folder, rows=ROWS, row_bytes=ROW_BYTES)
    print(bounds)
    return 0 if max(bounds.transaction_peak_bytes, bounds.row_peak_bytes) < LIMIT_BYTES else 1


def measure(target: Endpoint, vhost: Vhost, folder: Path, *, rows: int, row_bytes: int) -> Bounds:
    """Send both through a worker each, check what came, and tell the peaks."""
    binlog = Binlog()
    vhost.declare("sync")
    vhost.publish(
        [
            *binlog.ddl("CREATE DATABASE d", "d"),
            *binlog.ddl("CREATE TABLE d.many (id INT PRIMARY KEY, v VARCHAR(20))", "d.many", columns=("id", "v")),
            *binlog.ddl("CREATE TABLE d.large (id INT PRIMARY KEY, v LONGTEXT, b LONGBLOB)", "d.large"),
        ]
    )
    vhost.publish(one_transaction(binlog, rows))
    config = write_config(sync_config(target, vhost, log_file_prefix=str(folder / "%s.log")), folder / "config.py")
    transaction_peak = peak(config, folder / "first")
    assert target.query("SELECT COUNT(*), SUM(id), MAX(v) FROM d.many") == [(rows, rows * (rows - 1) // 2, "text")]
    text = "aé'\"\\😀" * (row_bytes // 10)
    data = bytes(range(256)) * (row_bytes // 256)
    vhost.publish(binlog.transaction(insert("d.large", {"id": 1, "v": text, "b": None})))
    vhost.publish(binlog.transaction(insert("d.large", {"id": 2, "v": None, "b": b64encode(data).decode()})))
    row_peak = peak(config, folder / "second")
    arrived = target.query("SELECT id, MD5(COALESCE(v, b)) FROM d.large ORDER BY id")
    assert arrived == [(1, md5(text.encode()).hexdigest()), (2, md5(data).hexdigest())]
    assert target.query("SELECT COUNT(*) FROM pydbsync.parked") == [(0,)]
    return Bounds(rows, row_bytes, transaction_peak, row_peak)


def one_transaction(binlog: Binlog, rows: int) -> Iterator[bytes]:
    """Made one by one: neither is the transaction held here. A MariaDB-sized event holds a hundred rows."""
    binlog.transaction(insert("d.many", {"id": 0, "v": ""}))
    position, xid = binlog.position, rows
    head = f'{{"database":"d","table":"many","type":"insert","ts":{binlog.ts},"xid":{xid},'
    tail = f'"position":"{position}","server_id":{binlog.server_id},"data":'
    for number in range(rows):
        place = '"commit":true,' if number == rows - 1 else f'"xoffset":{number},'
        yield f'{head}{place}{tail}{{"id":{number},"v":"text"}}}}'.encode()


def peak(config: Path, folder: Path) -> int:
    """Run until nothing is left; the most bytes that a worker had resident."""
    folder.mkdir()
    process = SyncProcess("mysql_sync.py", ["--config", str(config), "--until-drained"], folder=folder, environment={})
    peaks = [0]
    try:
        wait_for(lambda: watched(process, peaks.append), what="the end of the run", timeout_s=1800)
        finished = process.wait()
    finally:
        process.kill()
    assert finished.exit_code == 0, finished
    return max(peaks)


def watched(process: SyncProcess, note: Callable[[int], None]) -> bool:
    """Note the peaks of the workers so far; whether all have ended."""
    for pid in process.workers():
        note(peak_rss_bytes(pid))
    return not process.is_running
