"""What the lab's servers have in common: a folder, ports that stay the same, start, stop and kill."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeVar

from lab.process import HOST, LabError, Process, complaints, free_port, is_free, spawn, wait_until
from lab.state import State, known_servers, lab_root

AnyServer = TypeVar("AnyServer", bound="Server")

BIN_PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/rabbitmq/bin")
)
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
_SEEN_READY: set[Process] = set()
"""Processes that answered once: tests ask before each of them, and each question costs a connection."""


def find_program(*names: str, path: str = BIN_PATH) -> str:
    """The path of the first of these programs that is installed."""
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise LabError(f"{names[0]} is not installed: run `make lab-up`, which installs what is missing.")


def call_in(root: Path, *names: str) -> tuple[str, ...]:
    """How the first of these servers is called that the folder `root` has, with its own libraries and messages: the
    files of another release, as debootstrap makes them, or of a binary release. `--no-defaults` must come behind the
    program (`with_first`). LabError where none is there."""
    programs = [root / place / name for name in names for place in ("usr/sbin", "bin")]
    program = next((path for path in programs if path.is_file()), None)
    if program is None:
        raise LabError(f"{root} has none of {', '.join(str(path.relative_to(root)) for path in programs)}.")
    call: tuple[str, ...] = (str(program),)
    if program.parent.name == "sbin":
        loaders = sorted((root / "usr").glob("lib*/ld-linux-*.so.*"))
        if not loaders:
            raise LabError(f"{root} has no loader of programs in usr/lib64: {program} cannot be run from outside.")
        libraries = ":".join(str(path) for path in sorted((root / "usr/lib").glob("*-linux-gnu")))
        call = (str(loaders[0]), "--library-path", libraries, str(program))
    share = share_of(program)
    plugins = next(path for path in (root / "usr/lib/mysql/plugin", root / "lib/plugin", share) if path.is_dir())
    charsets = f"--character-sets-dir={share / 'charsets'}"
    return (*call, f"--lc-messages-dir={share}", charsets, f"--plugin-dir={plugins}")


def share_of(program: Path) -> Path:
    """Where a server's messages, character sets and first tables are."""
    share = program.parent.parent / "share"
    return next((share / name for name in ("mysql", "mariadb") if (share / name / "charsets").is_dir()), share)


def with_first(call: Sequence[str], first: str) -> list[str]:
    """The call with `first` before all other options of the server, as it wants some of them."""
    program = next(place for place, word in enumerate(call, start=1) if Path(word).name in _SERVERS)
    return [*call[:program], first, *call[program:]]


_SERVERS = ("mysqld", "mariadbd")


@dataclass(frozen=True)
class Tls:
    """Paths of PEM files. With `verify_client` the server asks for a certificate that `ca` has signed."""

    ca: Path
    certificate: Path
    key: Path
    verify_client: bool = False


class Server(ABC):
    """A private server on 127.0.0.1. Its state is in `<lab>/<name>/`, so that any process finds it again."""

    kind: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    """The first one is the port that clients use."""
    host: ClassVar[str] = HOST
    user: ClassVar[str] = "app"
    password: ClassVar[str] = "app"

    def __init__(self, name: str, *, root: Path | None = None) -> None:
        self.name = name
        self.root = root or lab_root()
        self.folder = self.root / name
        self.log = self.folder / "server.log"

    @abstractmethod
    def prepare(self) -> None:
        """Make what a start needs and is not there yet."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client is greeted on the main port."""

    @property
    @abstractmethod
    def url(self) -> str: ...

    def settings(self) -> tuple[str, ...]:
        """All that makes a running server the one that is asked for."""
        return tuple(self.command())

    def is_ready(self) -> bool:
        """Whether everything that start() promises is there."""
        return self.answers()

    @property
    def ports(self) -> dict[str, int]:
        """The ports by name; the same ones for the life of the data folder, unless somebody else takes one."""
        state = self.state()
        if state.ports.keys() != set(self.port_names):
            state = replace(state, ports=self._choose_ports())
            state.save(self.folder)
        return state.ports

    @property
    def port(self) -> int:
        return self.ports[self.port_names[0]]

    @property
    def process(self) -> Process | None:
        """The running process, None when there is none."""
        process = self.state().processes.get("server")
        return process if process and process.is_alive else None

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.answers()

    def start(self: AnyServer) -> AnyServer:
        """Return when the server takes connections.

        One that runs with the same settings is used as it is, one that runs with others is restarted.
        LabError, with what the log says, when it does not come up.
        """
        with self._locked():
            process = self.process
            if process and self.state().settings != self.settings():
                self._end(STOP_TIMEOUT_S)
                process = None
            if not process:
                self._launch()
            elif process not in _SEEN_READY and not wait_until(self.is_ready, timeout_s=START_TIMEOUT_S):
                raise LabError(f"{self.name} runs as pid {process.pid} but does not answer: see {self.log}.")
            if process := self.process:
                _SEEN_READY.add(process)
        return self

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut down in order; by force after `timeout_s`. Nothing happens when it is not running."""
        with self._locked():
            self._end(timeout_s)

    def kill(self) -> None:
        """SIGKILL: what a crash leaves behind is left behind."""
        if process := self.process:
            process.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        if process := self.process:
            process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        if process := self.process:
            process.send(signal.SIGCONT)

    def remove(self) -> None:
        """End the server without ceremony and delete its data."""
        with self._locked():
            self._end(0)
            shutil.rmtree(self.folder, ignore_errors=True)

    def state(self) -> State:
        return State.load(self.folder, kind=self.kind)

    def _launch(self) -> None:
        self._end(STOP_TIMEOUT_S)  # what a crash left running
        if not wait_until(lambda: all(is_free(port) for port in self.ports.values()), timeout_s=1):
            replace(self.state(), ports=self._choose_ports()).save(self.folder)
        self.prepare()
        self.log.write_bytes(b"")
        process = self._spawn("server", self.command())
        if wait_until(lambda: not process.is_alive or self.is_ready(), timeout_s=START_TIMEOUT_S) and process.is_alive:
            return
        self._end(0)
        raise LabError(f"{self.name} did not start; {self.log} says:\n{complaints(self.log)}")

    def _spawn(self, role: str, command: list[str]) -> Process:
        process = spawn(command, environment=self.environment(), folder=self.folder, log=self.log)
        state = self.state()
        processes = {**state.processes, role: process}
        replace(state, processes=processes, settings=self.settings()).save(self.folder)
        return process

    def _end(self, timeout_s: float) -> None:
        processes = self.state().processes
        for role in sorted(processes, key=lambda role: role != "server"):
            processes[role].terminate(timeout_s=timeout_s)

    def _choose_ports(self) -> dict[str, int]:
        """Ports that are free now and belong to no other server of this lab, running or not."""
        servers = known_servers(self.root)
        taken = {port for name, state in servers.items() if name != self.name for port in state.ports.values()}
        ports: dict[str, int] = {}
        for name in self.port_names:
            ports[name] = free_port(taken=taken | set(ports.values()))
        return ports

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time starts or stops this server."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{self.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
