"""Real runs of `python mysql_sync.py`: started, watched, signalled and killed by tests."""

from __future__ import annotations

import os
import pprint
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.process import child_pids
from tests.servers import Endpoint, Vhost

REPOSITORY = Path(__file__).resolve().parent.parent
POLL_S = 0.02
REST = 8
"""A condition that takes long to look at is looked at less often: what it waits for needs the processor too."""


@dataclass(frozen=True)
class Finished:
    """A run that has ended. `exit_code` is negative for a signal."""

    exit_code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"exit code {self.exit_code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class SyncProcess:
    """`python SCRIPT …` as a process group of its own; its output goes to files and can be read while it runs."""

    def __init__(self, script: str, arguments: list[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        self.stdout_file = folder / "stdout"
        self.stderr_file = folder / "stderr"
        with self.stdout_file.open("wb") as stdout, self.stderr_file.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(REPOSITORY / script), *arguments],
                cwd=REPOSITORY,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return self.stdout_file.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def workers(self) -> list[int]:
        """Pids of the workers that still run."""
        started = [pid for server in self.fork_servers() for pid in child_pids(server)]
        return [pid for pid in started if process_state(pid) not in ("Z", None)]

    def fork_servers(self) -> list[int]:
        """Pid of the process that workers are forked from, if there is one."""
        return [pid for pid in child_pids(self.pid) if is_fork_server(pid)]

    def send(self, signum: int) -> None:
        """Signal the supervisor alone."""
        if self.is_running:
            self.process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL to the supervisor and all its workers."""
        if self.is_running or child_pids(self.pid):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, *, timeout_s: float = 120) -> Finished:
        """Wait for its end; AssertionError with its output when it does not come."""
        try:
            exit_code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it still ran after {timeout_s} s: {self.finished(-signal.SIGKILL)}") from None
        return self.finished(exit_code)

    def stop(self, *, timeout_s: float = 30) -> Finished:
        """SIGTERM, and wait for its end."""
        self.send(signal.SIGTERM)
        return self.wait(timeout_s=timeout_s)

    def finished(self, exit_code: int) -> Finished:
        return Finished(exit_code, self.stdout, self.stderr)


def is_fork_server(pid: int) -> bool:
    """Whether it is the process that multiprocessing forks workers from."""
    try:
        return b"multiprocessing.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def process_state(pid: int) -> str | None:
    """The state letter of /proc (R, S, T, Z …), None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return None


def wait_for(condition: Callable[[], Any], *, what: str, timeout_s: float = 60) -> Any:
    """The condition's first true value; AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        began = time.monotonic()
        if value := condition():
            return value
        ended = time.monotonic()
        assert ended < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(min(max(POLL_S, REST * (ended - began)), 0.5))


def sync_config(
    target: Endpoint,
    vhost: Vhost,
    *,
    queues: Mapping[str, list[str]] | None = None,
    exchange: tuple[str, str] = ("maxwell", "topic"),
    **options: Any,
) -> dict[str, Any]:
    """A configuration under the names of config.py; `options` are further keys, or replace these."""
    return {
        "db_info": target.db_info,
        "rabbitmq_conn_info": vhost.conn_info,
        "rabbitmq_queue_bind": [{"exchange": list(exchange), "queues": dict(queues or {"sync": ["#"]})}],
        "log_level": "info",
        **options,
    }


def write_config(config: Mapping[str, Any], path: Path) -> Path:
    """Write a configuration as Python, one assignment a key."""
    text = "".join(f"{name} = {pprint.pformat(value, sort_dicts=False)}\n" for name, value in config.items())
    path.write_text(text, encoding="utf-8")
    return path
