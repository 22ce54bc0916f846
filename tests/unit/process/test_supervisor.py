"""What the supervisor counts of workers that end, or seem to."""

from __future__ import annotations

import logging
import multiprocessing

import pytest
from rich.console import Console

from pydbsync.config.settings import settings_from_mapping
from pydbsync.process.status import WorkerStatus
from pydbsync.process.supervisor import Supervisor
from pydbsync.process.terminal import Terminal

LOG = logging.getLogger("test")


class EndedProcess:
    """As multiprocessing shows a process of which the fork server told nothing more: it may live on."""

    exitcode = 255
    pid = 77

    def join(self) -> None:
        """It has ended as far as is known."""


@pytest.fixture
def supervisor() -> Supervisor:
    given = {
        "db_info": {"host": "h", "user": "u"},
        "rabbitmq_conn_info": {"host": "h", "user": "u", "password": "p"},
        "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"q": ["#"]}}],
    }
    settings, _ = settings_from_mapping(given)
    terminal = Terminal(log=LOG, console=Console(), live=False)
    return Supervisor(settings, log=LOG, terminal=terminal, cluster="", until_drained=False)


def test_a_worker_that_outlives_its_fork_server_is_not_counted_twice(supervisor: Supervisor) -> None:
    (worker,) = supervisor._workers
    worker.pipe, theirs = multiprocessing.Pipe()
    worker.process = EndedProcess()
    theirs.send(WorkerStatus(stream="q", applied=8, state="following"))
    supervisor._ended(worker)
    assert [each.applied for each in supervisor.statuses()] == [8]
    with pytest.raises(BrokenPipeError):  # it sees that nobody listens
        theirs.send(WorkerStatus(stream="q", applied=9, state="following"))
    supervisor._listen(0)
    assert [(each.applied, each.state) for each in supervisor.statuses()] == [(8, "restarting")]


def test_a_worker_that_gives_no_sign_of_life_is_said_and_shown_until_it_does(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydbsync.process.supervisor._SILENT_S", 30_000.0)  # however slow the machine is
    (worker,) = supervisor._workers
    worker.pipe, theirs = multiprocessing.Pipe()
    worker.process = EndedProcess()

    def state_after(silent_s: float, *messages: WorkerStatus | None) -> str:
        worker.heard_at -= silent_s
        for message in messages:
            theirs.send(message)
        supervisor._listen(0)
        supervisor._notice_silence()
        return supervisor.statuses()[0].state

    with caplog.at_level(logging.INFO, "test"):
        assert state_after(0, WorkerStatus(stream="q", state="following")) == "following"
        assert state_after(20_000) == "following"
        assert state_after(29, None) == "following"  # it is at a long statement, and lives
        assert [state_after(20_000), state_after(20_000)] == ["following", "silent"]
        assert state_after(90_000) == "silent"
        assert state_after(1, None) == "following"
    lines = [record.getMessage() for record in caplog.records]
    assert [" ".join(line.split()[:9]) for line in lines] == [
        "worker of q (pid 77) gives no sign of", "worker of q gives signs of life again",
    ]  # fmt: skip
