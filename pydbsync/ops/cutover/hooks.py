"""Runs the operator's commands: by the shell, with what they need to know in the environment, within their time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from pydbsync.config.servers import TargetSettings
from pydbsync.ops.cutover.engine import StepFailed, Way, Work

_SHOWN = 2000


def run_hook(work: Work, name: str, command: str, *, way: Way, more: Mapping[str, str] | None = None) -> str:
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
    with subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", command], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=work.plan.limits.hook_s)
        except subprocess.TimeoutExpired as exc:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise StepFailed(
                f"the hook {name} had not ended after {work.plan.limits.hook_s:g} s and was killed (limits.hook_s)"
            ) from exc
    said = output.strip()[-_SHOWN:]
    if process.returncode != 0:
        raise StepFailed(f"the hook {name} ended with exit code {process.returncode}: {said or 'it said nothing'}")
    return said


def _server(name: str, server: TargetSettings | None) -> dict[str, str]:
    connect = server.connect if server is not None else {}
    host = str(connect.get("host") or connect.get("unix_socket") or "")
    port = str(connect.get("port") or 3306)
    return {f"PYDBSYNC_{name}": f"{host}:{port}", f"PYDBSYNC_{name}_HOST": host, f"PYDBSYNC_{name}_PORT": port}
