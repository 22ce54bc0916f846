"""What a run needs of the machine that we are on: a place for its log files, and its port for metrics."""

from __future__ import annotations

import http.client
import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, warning
from pydbsync.ops.words import listed

_ANY = ("", "0.0.0.0", "::")  # noqa: S104 - what a configuration can say
_PORT_S = 3.0
_QUEUE_UP = re.compile(r'^pydbsync_up\{queue="((?:[^"\\]|\\.)*)"\}', re.MULTILINE)


def check_logs(exam: Examination) -> Iterator[Finding]:
    """A worker that cannot open its log file does not start; looked at as the user that runs us."""
    prefix = exam.settings.log_file_prefix
    if not prefix:
        return
    folder = (Path(prefix % "x") if "%s" in prefix else Path(prefix)).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        what = "cannot be written by this user" if folder.is_dir() else "does not exist"
        yield error(
            "log-files", f"the folder {folder} of the log files {what}: no worker starts",
            f"mkdir -p {folder}; chown it to the workers' user; or log_file_prefix: '' (nothing but the terminal)",
        )  # fmt: skip


def check_port(exam: Examination) -> Iterator[Finding]:
    """A run does not start where its port for metrics is taken; one that is stopped does not answer there."""
    settings = exam.settings
    port = settings.metrics_port
    if not port or not settings.queues:
        return
    host = settings.metrics_host if settings.metrics_host not in _ANY else "127.0.0.1"
    try:
        socket.create_connection((host, port), timeout=_PORT_S).close()
    except OSError:
        return  # nobody is there, or no such address here: the workers run on another machine
    url = f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=_PORT_S) as answer:
            text = answer.read().decode("utf-8", "replace")
    except TimeoutError:
        yield error(
            "metrics-port",
            f"what listens on {host}:{port} (metrics_port) does not answer: if it is a run of pydbsync, it is stopped"
            " (SIGSTOP, a debugger): its workers go on, and none is started again or alarmed about",
            f"ss -ltnp 'sport = :{port}' shows its pid; kill -CONT it, or end it and start pydbsync run",
        )
        return
    except (OSError, ValueError, http.client.HTTPException):
        text = ""
    queues = set(_QUEUE_UP.findall(text))
    if {queue.queue for queue in settings.queues} & queues:
        yield ok("metrics-port", f"the run answers at {host}:{port}")
        return
    who = f"another run of pydbsync (queues {listed(sorted(queues))})" if queues else "another program"
    yield warning(
        "metrics-port",
        f"the port {host}:{port} (metrics_port) is taken by {who}: a run with this configuration does not start on this"
        " machine",
        f"metrics_port: another one, or 0 for none; ss -ltnp 'sport = :{port}' shows who has it",
    )
