"""`make demo` ends with an equal target, again and again, and says so only when it is true."""

from __future__ import annotations

import subprocess
import sys

from lab import RabbitMQ
from tests.corpus import STREAM
from tests.processes import REPOSITORY
from tests.servers import Endpoint, Vhost


def run_demo() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab.demo", "--rows", "2000"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def test_the_demo_ends_equal_and_can_be_repeated(mariadb: Endpoint, rabbitmq: RabbitMQ) -> None:
    tables = sum(len(content or {}) for content in STREAM.state.values())
    for _ in range(2):
        done = run_demo()
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"tables equal  {tables} of {tables}" in done.stdout
        assert Vhost(rabbitmq, "demo").depth("demo") == 0
        assert mariadb.query("SELECT COUNT(*) FROM demo_shop.orders")[0][0] > 0
