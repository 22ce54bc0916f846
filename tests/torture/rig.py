"""The servers, proxies and processes of one torture run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lab
from pydbsync.ops.capture.publish.bundle import BUNDLE_BYTES
from tests.processes import REPOSITORY, SyncProcess, wait_for, write_config
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost
from tests.torture.workload import DATABASES, QUEUES, make_databases

USER, PASSWORD = "applier", "applier"
GRANTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE TEMPORARY TABLES, LOCK TABLES"
VHOST = "torture"
QUICK = {"innodb-lock-wait-timeout": "1", "innodb-buffer-pool-size": "128M"}


class Rig:
    """A source, a broker and a target; capture that publishes; two supervisors on the same queues through proxies."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.folder = folder
        self.source = Endpoint.of_lab(lab.start_mariadb("torture-source", options=QUICK))
        self.target = Endpoint.of_lab(lab.start_mariadb("torture-target", options=QUICK))
        self.broker = lab.start_rabbitmq("torture-rabbitmq")
        for server in (self.source.server, self.target.server, self.broker):
            assert server is not None
            opened.callback(server.stop, timeout_s=0)  # the next run begins anew
        self.vhost = Vhost(self.broker, VHOST)
        self.to_target = Proxy(self.target.port)
        self.to_broker = Proxy(self.broker.port)
        opened.callback(self.to_target.close)
        opened.callback(self.to_broker.close)
        self._begin_anew()
        self.config = self._write_config()
        self.supervisors: list[SyncProcess] = []
        self._publisher: subprocess.Popen[bytes] | None = None
        self._next_bundle_bytes = 0
        self._runs = 0
        self.is_operated = False
        """Whether operators make changes wait, and mend them."""
        self._redelivered_before = self._redelivered_last = 0
        opened.callback(self._end)

    def _begin_anew(self) -> None:
        for endpoint in (self.source, self.target):
            endpoint.drop_databases()
            make_databases(endpoint)
        self.target.query(f"CREATE OR REPLACE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
        for database in (*DATABASES, "pydbsync"):
            self.target.query(f"GRANT {GRANTS} ON `{database}`.* TO {USER}@'%'")
        self.broker.delete_vhost(VHOST)
        self.broker.create_vhost(VHOST)
        for queue, keys in QUEUES.items():
            self.vhost.declare(queue, routing_keys=keys)

    def _write_config(self) -> Path:
        config: dict[str, Any] = {
            "db_info": {"host": "127.0.0.1", "port": self.to_target.port, "user": USER, "password": PASSWORD},
            "source_db_info": self.source.db_info,
            "rabbitmq_conn_info": {**self.vhost.conn_info, "port": self.to_broker.port, "heartbeat_s": 2},
            "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": QUEUES}],
            "log_level": "info",
            "log_file_prefix": str(self.folder / "%s.log"),
            "lock_timeout_s": 3,
            "statement_timeout_s": 3,
            "retry": {"first_s": 0.1, "max_s": 1.0},
            "lossy_values": "off",
            "max_parked": 0,  # what operators do to tables makes many changes wait
            "batch_rows": 100,  # small, so that one is taken in while the one before is committed
        }
        # Capture has a way of its own: what it may lose is not what is tested here.
        direct = {**config, "rabbitmq_conn_info": self.vhost.conn_info}
        self._publisher_config = write_config(direct, self.folder / "publisher.py")
        self.operator_config = write_config({**direct, "db_info": self.target.db_info}, self.folder / "operator.py")
        return write_config(config, self.folder / "config.py")

    # -- processes -----------------------------------------------------------------------------------------------------

    def start_publisher(self) -> None:
        """Capture goes on where it was, and sends again what it had not noted down: every other time in bundles."""
        bundle_bytes, self._next_bundle_bytes = self._next_bundle_bytes, BUNDLE_BYTES - self._next_bundle_bytes
        with (self.folder / "publisher.log").open("ab") as log:
            command = [sys.executable, "-m", "tests.torture.publisher"]
            self._publisher = subprocess.Popen(
                [*command, str(self._publisher_config), str(self.folder / "state"), str(bundle_bytes)],
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_publisher(self) -> None:
        if self._publisher is not None:
            self._publisher.kill()
            self._publisher.wait()

    def check_publisher(self) -> None:
        assert self._publisher is not None
        assert self._publisher.poll() is None, (self.folder / "publisher.log").read_text()[-3000:]

    def wait_for_publisher(self) -> None:
        """Until capture knows its place: what is written from now on is published."""
        wait_for(lambda: "capture begins at" in (self.folder / "publisher.log").read_text(), what="capture's beginning")

    def start_supervisor(self, index: int, **environment: str) -> None:
        self._runs += 1
        folder = self.folder / f"run-{self._runs}"
        folder.mkdir()
        process = SyncProcess("mysql_sync.py", ["--config", str(self.config)], folder=folder, environment=environment)
        if index < len(self.supervisors):
            self.supervisors[index] = process
        else:
            self.supervisors.append(process)

    def ensure_supervisors(self) -> None:
        """Start again the ones that have ended, as a service manager does: a server may have been away at start."""
        for index, process in enumerate(self.supervisors):
            if not process.is_running:
                process.kill()
                self.start_supervisor(index)

    def workers(self) -> list[int]:
        return [pid for process in self.supervisors if process.is_running for pid in process.workers()]

    def _end(self) -> None:
        for process in self.supervisors:
            for pid in process.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            process.kill()
        self.kill_publisher()

    # -- what is seen --------------------------------------------------------------------------------------------------

    def note_redeliveries(self, *, is_restart: bool = False) -> None:
        """RabbitMQ counts them from its start on."""
        with contextlib.suppress(OSError, lab.LabError, ValueError):
            found = self.broker.call("GET", f"/vhosts/{VHOST}")
            self._redelivered_last = max(
                self._redelivered_last, int(found.get("message_stats", {}).get("redeliver", 0))
            )
        if is_restart:
            self._redelivered_before += self._redelivered_last
            self._redelivered_last = 0

    @property
    def redelivered(self) -> int:
        return self._redelivered_before + self._redelivered_last

    def duplicates(self) -> int:
        return int(self.target.query("SELECT COALESCE(SUM(duplicates), 0) FROM pydbsync.checkpoint")[0][0])

    def parked(self) -> list[tuple[Any, ...]]:
        return self.target.query(
            "SELECT kind, source_database, source_table, position, reason FROM pydbsync.parked"
            + (" WHERE status = 'parked'" if self.is_operated else "")
        )

    def committed(self) -> int:
        """Transactions on the target; grows while work is done."""
        return int(self.target.query("SELECT COALESCE(SUM(commits), 0) FROM pydbsync.checkpoint")[0][0])


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """All of it, ended in the end."""
    with ExitStack() as opened:
        yield Rig(folder, opened)


def pick(chance: random.Random, pids: list[int]) -> int | None:
    return chance.choice(sorted(pids)) if pids else None


def send(pid: int | None, signum: int) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
