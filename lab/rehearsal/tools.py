"""The tools of one direction as processes: those that end by themselves, and those that go on until they are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.process import tree
from lab.rehearsal.memory import MemoryWatch
from lab.rehearsal.record import Record
from lab.rehearsal.tables import DATABASE
from tests.processes import REPOSITORY, write_config
from tests.servers import Endpoint, Vhost

STATE_SCHEMA = "pydbsync_rehearsal"
STOP_S = 60.0
LOOK_S = 0.05


class Failed(Exception):
    """The rehearsal did not go as it must."""


@dataclass(frozen=True)
class Direction:
    """From which server to which, by which queue; its files are in `folder`."""

    source: Endpoint
    target: Endpoint
    vhost: Vhost
    queue: str
    folder: Path
    in_bundles: bool = False
    """Whether capture puts several changes into one message."""

    @property
    def capture(self) -> tuple[str, ...]:
        """The command of capture, with its options."""
        bundle = ("--bundle", "--routing-key", "%db%") if self.in_bundles else ()
        return ("capture", "--state", str(self.folder / "capture-state"), *bundle)

    @property
    def config(self) -> Path:
        return self.folder / "config.py"

    @property
    def exchange(self) -> str:
        return f"maxwell.{self.queue}"

    def prepare(self) -> None:
        """Write the configuration, and declare the queue before anything is published."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_config(
            {
                "db_info": self.target.db_info,
                "source_db_info": self.source.db_info,
                "source_server": "mariadb 10.11",
                "rabbitmq_conn_info": self.vhost.conn_info,
                "rabbitmq_queue_bind": [
                    {"exchange": [self.exchange, "topic"], "queues": {self.queue: [f"{DATABASE}.#"]}}
                ],
                "include": [f"{DATABASE}.*"],
                "state_schema": STATE_SCHEMA,
                "lossy_values": "off",
                "log_file_prefix": str(self.folder / "%s.log"),
            },
            self.config,
        )
        self.vhost.declare(self.queue, exchange=self.exchange, routing_keys=[f"{DATABASE}.#"])


class Tools:
    """Runs pydbsync's tools for one direction."""

    def __init__(self, direction: Direction, *, record: Record, memory: MemoryWatch) -> None:
        self.direction = direction
        self._record = record
        self._memory = memory
        self.capture = LastingTool(direction.capture, "capture", direction, memory)
        self.replay = LastingTool(("run",), "replay", direction, memory)

    def run(
        self, *arguments: str, expect: Sequence[int] = (0,), kill_when: Callable[[], bool] | None = None
    ) -> int | None:
        """Run a tool on this terminal to its end, or until `kill_when` is true, which is asked again and again.

        The exit code, None if it was killed. Raises Failed for another one than expected.
        """
        shown = " ".join(arguments).replace(str(self.direction.folder), self.direction.folder.name)
        self._record.say(f"[bold]python -m pydbsync {shown}[/bold]")
        with self._record.lent():
            process = subprocess.Popen(command(self.direction, arguments), cwd=REPOSITORY)
            self._memory.add("replay" if arguments[0] == "run" else arguments[0], process.pid)
            begun = time.monotonic()
            try:
                code = process.wait() if kill_when is None else wait_unless(process, kill_when)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            seconds = time.monotonic() - begun
        if code is None:
            self._record.say(f"[yellow]{arguments[0]} was killed (SIGKILL) after {seconds:.1f} s; it goes on[/yellow]")
        elif code not in expect:
            raise Failed(f"{arguments[0]} ended with exit code {code}, not {' or '.join(map(str, expect))}")
        return code

    def stop(self) -> None:
        """SIGTERM to those that go on, and wait for their end."""
        self.capture.stop()
        self.replay.stop()


def wait_unless(process: subprocess.Popen[bytes], is_time: Callable[[], bool]) -> int | None:
    """The exit code of the process; None if it still runs when it is time."""
    while not is_time():
        with suppress(subprocess.TimeoutExpired):
            return process.wait(LOOK_S)
    return process.poll()


class LastingTool:
    """A tool that goes on until it is stopped or killed; what it says goes to a file."""

    def __init__(self, arguments: Sequence[str], name: str, direction: Direction, memory: MemoryWatch) -> None:
        self.name = name
        self.out = direction.folder / f"{name}.out"
        self._command = command(direction, arguments)
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            self._start()

    def _start(self) -> None:
        with self.out.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._memory.add(self.name, self._process.pid, forked=f"{self.name}: worker")

    def check(self) -> None:
        """Raises Failed if it has ended by itself."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                raise Failed(f"{self.name} ended with exit code {self._process.returncode}; see {self.out}")

    def kill_and_start(self) -> bool:
        """SIGKILL to all its processes, and start it anew; whether it ran."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._kill()
            self._start()
            return True

    def kill_worker(self) -> bool:
        """SIGKILL to one worker alone, which the supervisor starts again; whether there was one."""
        with self._lock:
            if self._process is None:
                return False
            workers = [pid for pid, depth in tree(self._process.pid) if depth == 2]
            for pid in workers[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return bool(workers)

    def stop(self) -> None:
        """SIGTERM, and wait for the end; what does not end is killed."""
        with self._lock:
            if self._process is None:
                return
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._kill()
            self._process = None

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def command(direction: Direction, arguments: Sequence[str]) -> list[str]:
    """A tool's command line."""
    tool, *options = arguments
    return [sys.executable, "-m", "pydbsync", tool, "--config", str(direction.config), *options]


class Killer(threading.Thread):
    """Kills capture, replay or its worker at random moments, as long as it is let."""

    def __init__(self, chosen: random.Random, *, record: Record, pause_s: tuple[float, float]) -> None:
        super().__init__(name="killer", daemon=True)
        self._random = chosen
        self._record = record
        self._pause_s = pause_s
        self._tools: Tools | None = None
        self._lock = threading.Lock()
        self._halt = threading.Event()
        self.kills = 0

    def hunt(self, tools: Tools | None) -> None:
        """These are killed from now on; None gives peace, and returns when nothing is being killed."""
        with self._lock:
            self._tools = tools

    def stop(self) -> None:
        self._halt.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        while not self._halt.wait(self._random.uniform(*self._pause_s)):
            with self._lock:
                if self._tools is not None:
                    self._kill(self._tools)

    def _kill(self, tools: Tools) -> None:
        prey = self._random.choice(("capture", "replay", "worker"))
        if prey == "worker" and tools.replay.kill_worker():
            what = "the worker of replay was killed (SIGKILL); its supervisor starts it again"
        elif prey != "capture" and tools.replay.kill_and_start():
            what = "replay was killed (SIGKILL) and is started again"
        elif tools.capture.kill_and_start():
            what = "capture was killed (SIGKILL) and is started again"
        else:
            return
        self.kills += 1
        self._record.say(f"[yellow]{what}[/yellow]")


def wait_until_captured(tools: Tools, *, timeout_s: float = 60) -> None:
    """Until capture has noted where it begins. Raises Failed."""
    folder = tools.direction.folder / "capture-state"
    deadline = time.monotonic() + timeout_s
    while not (folder.is_dir() and any(folder.iterdir())):
        tools.capture.check()
        if time.monotonic() > deadline:
            raise Failed(f"capture did not begin within {timeout_s:.0f} s; see {tools.capture.out}")
        time.sleep(0.05)
