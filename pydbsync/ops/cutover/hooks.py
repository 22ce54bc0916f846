"""Runs the operator's commands: by the shell, with what they need to know in the environment, within their time.

What a hook writes goes to a file and not to a pipe: one that starts something that goes on (`pydbsync run &`) has ended
when its shell has, whatever keeps its output open.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO

from pydbsync.config.servers import TargetSettings
from pydbsync.killpoints import kill_point
from pydbsync.ops.cutover.proc import stat_fields
from pydbsync.ops.cutover.work import CutoverWork, Direction, StepFailed
from pydbsync.process.logs import masked

_SHOWN = 2000
_NOTHING = "it said nothing"
_LOOK_S = 0.05


def run_hook(
    work: CutoverWork, name: str, command: str, *, way: Direction, more: Mapping[str, str] | None = None
) -> str:
    """What it wrote, its end. `way` tells from which server to which. Raises StepFailed for another end than 0."""
    environment = {
        **os.environ,
        "PYDBSYNC_PLAN": work.plan.name,
        "PYDBSYNC_HOOK": name,
        "PYDBSYNC_COMMAND": work.command,
        "PYDBSYNC_DIRECTION": way.name,
        "PYDBSYNC_CONFIG": str(way.config),
        **_server("FROM", way.settings.source),
        **_server("TO", way.settings.target),
        **(more or {}),
    }
    limit_s = work.plan.limits.hook_s
    _wait_for_former(work, limit_s)
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise StepFailed(f"the hook {name} cannot be run: {exc}") from exc
        with process:
            # Whoever goes on after a kill waits for it: two of them at once could send applications both ways.
            work.keep("hook", [name, socket.gethostname(), process.pid, _started(process.pid)])
            kill_point(f"cutover-hook-{name}")
            try:
                process.wait(timeout=limit_s)
            except subprocess.TimeoutExpired as exc:
                _kill(process.pid)
                raise StepFailed(
                    f"the hook {name} had not ended after {limit_s:g} s and was killed (limits.hook_s):"
                    f" {_said(work, output)}"
                ) from exc
        work.keep("hook", None)
        said = _said(work, output)
    if process.returncode != 0:
        how = (f"exit code {process.returncode}" if process.returncode > 0
               else f"the signal {signal.Signals(-process.returncode).name}")  # fmt: skip
        raise StepFailed(f"the hook {name} ended with {how}: {said}")
    return said if said != _NOTHING else ""


def _said(work: CutoverWork, output: BinaryIO) -> str:
    """The end of what it wrote, without passwords."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - 4 * _SHOWN))
    text = output.read().decode("utf-8", "replace").strip()
    secrets = (*work.way.settings.secrets(), *work.back.settings.secrets())
    return masked(text, secrets)[-_SHOWN:] or _NOTHING


def _wait_for_former(work: CutoverWork, limit_s: float) -> None:
    """A hook whose caller was killed goes on: let it end, or end it when its time is over."""
    former = work.facts.get("hook")
    if not former:
        return
    name, host, pid, started = former
    if host != socket.gethostname():
        return
    ends_at = time.monotonic() + limit_s
    while started and _started(pid) == started:
        if time.monotonic() >= ends_at:
            _kill(pid)
            ends_at += limit_s
        work.waits_for = f"the hook {name} of a call that was killed still runs (pid {pid})"
        work.wait(_LOOK_S)
    work.keep("hook", None)


def _started(pid: int) -> str:
    """When a process began, so that its number is not taken for another one's; empty where it has ended."""
    fields = stat_fields(pid)
    return "" if not fields or fields[0] == "Z" else fields[19]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _server(name: str, server: TargetSettings | None) -> dict[str, str]:
    connect = server.connect if server is not None else {}
    host = str(connect.get("host") or connect.get("unix_socket") or "")
    port = str(connect.get("port") or 3306)
    return {f"PYDBSYNC_{name}": f"{host}:{port}", f"PYDBSYNC_{name}_HOST": host, f"PYDBSYNC_{name}_PORT": port}
