"""Processes of the lab: found again by pid and start time, waited for by condition, ended by pid."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"
POLL_S = 0.02

# Below the range from which the kernel takes the ports of outgoing connections: a port that a stopped
# server leaves for a moment is not lent to somebody's client meanwhile.
FIRST_PORT, LAST_PORT = 20_000, 31_999


class LabError(Exception):
    """A private server cannot be had; the text says why and what to do."""


@dataclass(frozen=True)
class Process:
    """A running process. The start time (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        stat = read_stat(self.pid)
        if stat.start_ticks != self.start_ticks:
            return False
        if stat.state != "Z":
            return True
        reap(self.pid)
        return stat.threads > 1  # the first thread is gone, others still hold ports and files

    def send(self, signum: int) -> None:
        """Signal the process and, as it leads its session, all that it started there."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signum)

    def terminate(self, *, timeout_s: float) -> None:
        """SIGTERM to the process alone; SIGKILL to its group if it is still there after `timeout_s`."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
                os.kill(self.pid, signal.SIGCONT)  # a process that was stopped could not end
        if not wait_until(lambda: not self.is_alive, timeout_s=timeout_s):
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the group, and wait until the process is gone."""
        self.send(signal.SIGKILL)
        wait_until(lambda: not self.is_alive, timeout_s=30)


class Stat(NamedTuple):
    """What /proc tells of a process."""

    state: str
    threads: int
    start_ticks: int


def read_stat(pid: int) -> Stat:
    """The process's entry in /proc; start_ticks is -1 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return Stat("X", 0, -1)
    fields = text.rpartition(")")[2].split()  # the name in parentheses may contain anything
    return Stat(fields[0], int(fields[17]), int(fields[19]))


def peak_rss_bytes(pid: int) -> int:
    """The highest resident memory (VmHWM) that the process has had; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0)


def child_pids(pid: int) -> list[int]:
    """The process's children, from whichever of its threads they were started."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += map(int, file.read_text(encoding="ascii").split())
    return found


def tree(pid: int) -> list[tuple[int, int]]:
    """The process and all below it, each with its depth: 0 for itself, 1 for its children, and so on."""
    found = [(pid, 0)]
    for parent, depth in found:
        found += [(child, depth + 1) for child in child_pids(parent)]
    return found


def reap(pid: int) -> None:
    """Take a dead child's exit status, so that no zombie stays. Another process's child is left to it."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def spawn(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> Process:
    """Start a daemon: a session of its own, no terminal, all output to `log`, no descriptor of ours kept open."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child.returncode = 0  # it outlives this object; without this, Popen warns of a child still running
    return Process(child.pid, read_stat(child.pid).start_ticks)


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """True as soon as the condition holds, False when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(*, taken: Collection[int] = ()) -> int:
    """A port of 127.0.0.1 on which nothing listens, none of `taken`."""
    while True:
        port = random.randint(FIRST_PORT, LAST_PORT)
        if port not in taken and is_free(port):
            return port


def complaints(log: Path, *, limit: int = 12) -> str:
    """The first lines of a log that speak of an error, else its last lines, indented for an error message."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "    (there is no log)"
    errors = [line for line in lines if "error" in line.lower()]
    return "\n".join("    " + line for line in (errors[:limit] or lines[-limit:]))
