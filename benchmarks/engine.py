"""Runs pydbsync itself as an operator would: a config file, `python mysql_sync.py`, a durable queue."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import Outcome, run
from benchmarks.publish import EXCHANGE, connect, wait_for
from lab.mariadb import MariaDB
from lab.rabbitmq import RabbitMQ
from lab.server import Server

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Engine:
    """How to start pydbsync on some queues; `settings` are further keys of its configuration."""

    broker: RabbitMQ
    target: MariaDB
    queues: Mapping[str, Sequence[str]]
    folder: Path
    settings: Mapping[str, object]

    def command(self) -> list[str]:
        return [sys.executable, str(ROOT / "mysql_sync.py"), "--config", str(self._write_config())]

    def run_until_drained(self) -> Outcome:
        """The whole process, from its start to its end on empty queues."""
        return run([*self.command(), "--until-drained"], result_option="--summary-json", folder=self.folder)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process that follows the queues while the block runs; the block begins when it consumes."""
        log = self.folder / "engine.log"
        with log.open("wb") as output:
            child = subprocess.Popen(self.command(), stdout=output, stderr=subprocess.STDOUT, cwd=self.folder)
            try:

                def is_up() -> bool:
                    return child.poll() is not None or all(consumers(self.broker.url, q) for q in self.queues)

                wait_for(is_up, timeout_s=60, what="a consumer of every queue")
                if child.poll() is not None:
                    raise RuntimeError(f"pydbsync ended with {child.returncode}:\n{log.read_text()[-2000:]}")
                yield child
            finally:
                child.terminate()
                try:
                    child.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def _write_config(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "db_info": connect_keywords(self.target),
            "rabbitmq_conn_info": {**connect_keywords(self.broker), "vhost": "/"},
            "rabbitmq_queue_bind": [
                {"exchange": [EXCHANGE, "topic"], "queues": {queue: list(keys) for queue, keys in self.queues.items()}}
            ],
            "log_file_prefix": str(self.folder / "worker_%s.log"),
            "log_level": "warn",
            **self.settings,
        }
        path = self.folder / "bench.yaml"
        path.write_text(json.dumps(config, indent=1))  # JSON is YAML
        return path


def connect_keywords(server: Server) -> dict[str, object]:
    """How a configuration of pydbsync says where a server is."""
    return {"host": server.host, "port": server.port, "user": server.user, "password": server.password}


def consumers(url: str, queue: str) -> int:
    connection = connect(url)
    count = connection.channel().queue_declare(queue, passive=True).method.consumer_count
    connection.close()
    return int(count)
