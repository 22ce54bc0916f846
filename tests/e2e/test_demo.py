"""`make demo` ends with an equal target, again and again, and says so only when it is true."""

from __future__ import annotations

import subprocess
import sys

from lab import RabbitMQ
from lab.demo import EXCHANGE, QUEUE, STATE_SCHEMA, VHOST
from tests.corpus import STREAM
from tests.matrices import LONG
from tests.processes import REPOSITORY
from tests.servers import Endpoint, Vhost


def run_demo() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab.demo", "--rows", "2000"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def leave_behind(mariadb: Endpoint, vhost: Vhost) -> None:
    """Of a demo that was interrupted: tables that are others, a checkpoint that cannot be read, a message."""
    mariadb.drop_databases()
    for sql in (
        *(f"CREATE DATABASE {name}" for name in ("demo_shop", STATE_SCHEMA)),
        "CREATE TABLE demo_shop.orders (no_such_column INT)",
        f"CREATE TABLE {STATE_SCHEMA}.checkpoint (stream INT)",
    ):
        mariadb.query(sql)
    vhost.broker.create_vhost(vhost.name)
    vhost.declare(QUEUE, exchange=EXCHANGE)
    vhost.publish([b"left behind"], exchange=EXCHANGE)


@LONG  # its parts are in test_stream.py (the recorded stream) and test_copy_stream.py (copy and replay under load)
def test_the_demo_ends_equal_and_can_be_repeated(mariadb: Endpoint, rabbitmq: RabbitMQ) -> None:
    tables = sum(len(content or {}) for content in STREAM.state.values())
    leave_behind(mariadb, Vhost(rabbitmq, VHOST))
    for _ in range(2):
        done = run_demo()
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"tables equal  {tables} of {tables}" in done.stdout
        assert Vhost(rabbitmq, VHOST).depth(QUEUE) == 0
        assert mariadb.query("SELECT COUNT(*) FROM demo_shop.orders")[0][0] > 0
