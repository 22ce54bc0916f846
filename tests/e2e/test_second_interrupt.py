"""A second Ctrl-C ends every command at once, with exit code 130, and nothing is lost by it."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import RunSync, StartSync
from tests.e2e.streams import QUICK, Ledger, all_faults
from tests.matrices import LONG
from tests.processes import REPOSITORY, sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = [pytest.mark.mariadb, pytest.mark.kept_state]


def test_replay_ends_at_once_with_its_workers_and_what_was_not_committed_comes_again(
    vhost: Vhost, fresh_target: Endpoint, start_sync: StartSync, run_sync: RunSync
) -> None:
    ledger = Ledger("l")
    vhost.declare("sync")
    vhost.publish(ledger.begin() + ledger.write(20))
    config = sync_config(fresh_target, vhost, **QUICK)
    process = start_sync(config)
    wait_for(lambda: ledger.applied(fresh_target) == 20, what="the first changes")
    with fresh_target.connect() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES l.ledger READ")  # the worker's statement waits: a stop in order takes its time
        vhost.publish(ledger.write(20))
        wait_for(lambda: "l.ledger" in waiting(fresh_target) or "`ledger`" in waiting(fresh_target), what="a worker")
        os.killpg(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGINT)
        wait_for(lambda: interrupt(process.process), what="the end")
    finished = process.wait()
    assert finished.exit_code == 130, finished
    assert "is killed" not in finished.stderr, "that is the end of the time that a stop in order has"
    wait_for(lambda: not process.workers(), what="the end of the workers")
    assert run_sync(config, "--until-drained").exit_code == 0
    assert all_faults(fresh_target, [ledger]) == {}


def waiting(target: Endpoint) -> str:
    """What statements wait for a lock of a table."""
    return str(target.query("SELECT info FROM information_schema.processlist WHERE state LIKE '%%lock%%'"))


def interrupt(process: subprocess.Popen[bytes]) -> bool:
    """One more Ctrl-C: two that come in one moment are one. Whether the process has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.poll() is not None


COMMANDS = {
    "run": (),
    "replay": ("messages.json",),
    "copy": (),
    "verify": (),
    "capture": (),
    "heartbeat": (),
}


@pytest.mark.parametrize("commands", [("copy", "capture"), pytest.param(COMMANDS, marks=LONG)], ids=["two", "all"])
def test_every_command_that_hangs_ends_at_the_second_one(tmp_path: Path, commands: Iterable[str]) -> None:
    """The servers that take the connection say nothing: a stop in order is as long as the limit for connecting."""
    with ExitStack() as stack:
        started = [Hanging(command, tmp_path, stack) for command in commands]
        for each in started:
            each.listener.settimeout(60)
            stack.enter_context(each.listener.accept()[0])
            each.process.send_signal(signal.SIGINT)
        for each in started:
            assert "stopping in order" in each.says("again ends at once"), each.command
            wait_for(partial(interrupt, each.process), what=f"the end of {each.command}")
            assert each.process.returncode == 130, each.command
            each.says("ended at once; what was not committed is rolled back")


class Hanging:
    """A command at a terminal of its own, and the port where its servers do not answer."""

    def __init__(self, command: str, folder: Path, stack: ExitStack) -> None:
        self.command = command
        self.listener = stack.enter_context(socket.socket())
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        silent = {"host": "127.0.0.1", "port": self.listener.getsockname()[1], "user": "u", "password": "x" * 20}
        config = {
            "db_info": silent,
            "source_db_info": silent,
            "rabbitmq_conn_info": {**silent, "vhost": "/"},
            "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
            "log_file_prefix": "",
        }
        folder = folder / command
        folder.mkdir()
        write_config(config, folder / "config.py")
        (folder / "messages.json").write_text("")
        self._terminal, theirs = pty.openpty()
        self.process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "pydbsync", command, *COMMANDS[command]],
                cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=theirs, stdin=subprocess.DEVNULL,
            )
        )  # fmt: skip
        os.close(theirs)
        stack.callback(self.process.kill)

    def says(self, words: str) -> str:
        """What comes on the terminal up to these words, as one line."""
        said = ""
        while words not in said:
            said = re.sub(r"\s+", " ", said + os.read(self._terminal, 4096).decode())
        return said
