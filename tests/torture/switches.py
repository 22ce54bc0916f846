"""Cutover and rollback under load, the program killed at each of its steps, and what works beside it in between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import lab
from pydbsync.ops.cutover.run import steps
from tests.processes import REPOSITORY, wait_for
from tests.servers import Endpoint, Vhost
from tests.switching import Application, Stage

VHOST = "torture-switches"
DISTURBED = 0.3
"""How often something beside is killed before a call."""
CALLS = 8


def torture(
    source: Endpoint, target: Endpoint, *, rounds: int, seed: int, only: str, say: Callable[[str], None]
) -> int:
    """The exit code: 0 where no committed write is missing or doubled at either server."""
    chosen = random.Random(seed)
    broker = lab.up("rabbitmq")
    broker.delete_vhost(VHOST)
    broker.create_vhost(VHOST)
    stage = Stage(source, target, Vhost(broker, VHOST), Path(tempfile.mkdtemp(prefix="pydbsync-switches-")))
    say(f"logs in {stage.folder}")
    try:
        stage.write_plan()
        application = Application(stage).start()
        stage.begin()
        for _ in range(rounds):
            for command in ("cutover", "rollback"):
                go(stage, command, chosen, only, say)
                application.write_more(30)
        application.stop()
        faults = application.faults(source)
        if not faults:
            wait_for(lambda: not application.faults(target), what="the last orders at the other server", timeout_s=120)
    finally:
        stage.close()
    say(f"{len(application.committed):,} writes, {application.refused:,} refused; {faults[:5] or 'none lost or twice'}")
    return 1 if faults else 0


def go(stage: Stage, command: str, chosen: random.Random, only: str, say: Callable[[str], None]) -> None:
    """Killed at each point that `only` names a part of, then to its end."""
    undone = 0
    points = [f"cutover-{step.name}-{when}" for step in steps() for when in ("begun", "done", "written")]
    for point in (point for point in points if any(text in point for text in only.split(","))):
        what = disturb(stage, chosen) if chosen.random() < DISTURBED else ""
        done = stage.call(command, kill_at=point)
        say(f"{command}: {point}: {done.exit_code}{f'; before it {what} was killed' if what else ''}")
        if done.exit_code == 3:  # what was killed beside it was away for too long
            undone += 1
        assert done.exit_code in (-signal.SIGKILL, 3), done
    for _ in range(CALLS):
        done = stage.call(command)
        say(f"{command}: {done.exit_code}: {(done.stdout.splitlines() or [''])[-1]}")
        if done.exit_code in (0, 1):
            break
        assert done.exit_code == 3, done
    else:
        raise AssertionError(done)
    say(f"{command}: {undone} times undone on the way")


def disturb(stage: Stage, chosen: random.Random) -> str:
    """Kill a process that captures or replays, or the broker, and start it again."""
    if chosen.random() < 0.2:
        stage.vhost.broker.kill()
        stage.vhost.broker.start()
        return "RabbitMQ"
    found = list(at_work(stage))
    if not found:
        return ""
    pid, command = chosen.choice(found)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with (stage.folder / "again.out").open("ab") as out:
        stage.started.append(
            subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        )
    return " ".join(command[3:4])


def at_work(stage: Stage) -> Iterator[tuple[int, list[str]]]:
    """Pid and command of each `pydbsync run` and `capture` of the stage."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode().split("\0")[:-1]
                if (
                    words[1:3] == ["-m", "pydbsync"]
                    and words[3] in ("run", "capture")
                    and str(stage.folder) in str(words)
                ):
                    yield int(folder.name), words
