"""What /proc tells of the processes of this machine, and the end of those that work with the files of a folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def arguments(pid: int) -> list[str]:
    """Of its command line; none where it has ended, or waits for its parent to notice that."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(line).split("\0")[:-1]


def stat_fields(pid: int) -> list[str]:
    """The fields of `stat` behind the name, the first is the state; none where it has ended. Source: proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def kill_those_of(folder: Path, *, command: str = "") -> list[int]:
    """SIGKILL to every pydbsync that was given a file of the folder, or to one command of it alone; their numbers."""
    found = [
        pid
        for pid in _others()
        if "pydbsync" in (words := arguments(pid))
        and any(word.startswith(str(folder)) for word in words)
        and (not command or command in words)
    ]
    for pid in found:
        with suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), signal.SIGKILL)
    return found


def _others() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)
