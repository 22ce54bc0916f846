"""What stands on the metrics port before a run: by sockets and pages of this process."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.doctor import machine
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding


@contextmanager
def page(text: str) -> Iterator[int]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def said(port: int) -> list[Finding]:
    bound = [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}]
    given = {"rabbitmq_queue_bind": bound, "metrics_host": "0.0.0.0", "metrics_port": port, "log_file_prefix": ""}
    return list(machine.check_port(Examination(settings_from_mapping(given, require=())[0])))


@pytest.mark.parametrize(
    ("text", "level", "says"),
    [
        ('pydbsync_up{queue="other"} 1.0\npydbsync_up{queue="sync"} 1.0\n', "ok", "the run answers"),
        ('pydbsync_up{queue="other"} 1.0\n', "warning", "taken by another run of pydbsync (queues other)"),
        ("node_load1 0.3\n", "warning", "taken by another program"),
    ],
)
def test_who_has_the_port_is_told(text: str, level: str, says: str) -> None:
    with page(text) as port:
        (found,) = said(port)
    assert found.level == level
    assert says in found.text


def test_a_run_that_is_stopped_is_told_from_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes the connection of a stopped process; nobody answers."""
    monkeypatch.setattr(machine, "_PORT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = said(port)
        assert (found.level, "SIGSTOP" in found.text, "kill -CONT" in found.remedy) == ("error", True, True)
    assert said(port) == []
