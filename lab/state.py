"""What the lab remembers of a server: kind, ports, process and the settings it was started with."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from lab.process import Process

FILE_NAME = "server.json"
WORKER = "worker-"
"""How the folder of one of several processes that run tests side by side begins."""


def lab_root() -> Path:
    """Where the lab keeps its data: the environment's PYDBSYNC_LAB, else `.lab` in the repository."""
    return Path(os.environ.get("PYDBSYNC_LAB") or Path(__file__).resolve().parent.parent / ".lab").resolve()


def common_root() -> Path:
    """The lab of all the processes that run tests side by side."""
    root = lab_root()
    return root.parent if root.name.startswith(WORKER) else root


@dataclass(frozen=True)
class State:
    """One server's entry. `processes` are the server itself and, for RabbitMQ, Erlang's port mapper."""

    kind: str
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    """Command line and configuration of the running process: other ones ask for a restart."""

    @classmethod
    def load(cls, folder: Path, *, kind: str) -> State:
        """The entry in `folder`, an empty one of `kind` when there is none."""
        try:
            entry = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(kind)
        return cls(
            kind=entry["kind"],
            ports=entry["ports"],
            processes={name: Process(*place) for name, place in entry["processes"].items()},
            settings=tuple(entry["settings"]),
        )

    def save(self, folder: Path) -> None:
        entry = {
            "kind": self.kind,
            "ports": self.ports,
            "processes": {name: [process.pid, process.start_ticks] for name, process in self.processes.items()},
            "settings": self.settings,
        }
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{FILE_NAME}.{os.getpid()}"
        partial.write_text(json.dumps(entry, indent=1), encoding="utf-8")
        partial.replace(folder / FILE_NAME)


def known_servers(root: Path) -> dict[str, State]:
    """Every server that has a folder in this lab, running or not, by name."""
    folders = sorted(file.parent for file in root.glob(f"*/{FILE_NAME}"))
    return {folder.name: State.load(folder, kind="") for folder in folders}
