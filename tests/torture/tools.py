"""Capture, copy, verify and repair under faults: what they say is true, and what they began they end when run again.

`python -m tests.torture --tools 20`, on the lab's servers or on those that `--source` and `--target` name. A fault ends
the process, cuts its lines (in the middle of an answer, too), kills its sessions or leaves no room for its files.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql

from pydbsync.errors import OperationError
from pydbsync.ops.repair.plan import read_plan
from pydbsync.ops.verify.report import VerifyReport, read_report
from tests.integration.copying import KEYS, SHAPES, make_shapes
from tests.processes import REPOSITORY, write_config
from tests.proxy import Proxy
from tests.servers import Endpoint
from tests.state import State, differences, read_state
from tests.torture.workload import Workload, make_databases, make_tables

USER = "tool"
ROWS = 200
PATIENCE_S = 180
"""How long one run may take; a tool that hangs is a finding."""
KILL_POINTS = {
    "capture": ("before-place", "after-place", "after-schema-entry"),
    "copy": ("after-chunk", "before-chunk-commit"),
    "verify": ("before-report", "after-report"),
    "repair": ("before-repair-commit", "after-repair-commit"),
}
ENDED_BY_US = (-signal.SIGKILL, -signal.SIGTERM)


class ToolFailed(AssertionError):
    """A tool did what it must not do."""


class Tools:
    """Rounds of all four tools between two servers, whose databases are dropped."""

    def __init__(
        self,
        source: Endpoint,
        target: Endpoint,
        folder: Path,
        *,
        seed: int,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._source, self._target, self._folder, self._say = source, target, folder, say
        self._chance = random.Random(seed)
        self._proxies = (Proxy(source.port), Proxy(target.port))
        self._config = self._write_config()
        self._usual_s = dict.fromkeys(KILL_POINTS, 3.0)
        self.rounds = 0
        self.faults: Counter[str] = Counter()
        """How often each was brought about, by tool and name."""

    def close(self) -> None:
        for proxy in self._proxies:
            proxy.close()

    def round(self, *, faults: int) -> None:
        """All tools once, with so many faults each. Raises ToolFailed."""
        for end in (self._source, self._target):
            end.drop_databases()
        self._make_user()
        self.rounds += 1
        folder = self._folder / f"round-{self.rounds}"
        folder.mkdir()
        self._capture(folder, faults)
        for end in (self._source, self._target):
            end.drop_databases()
        self._copy(faults)
        self._damage()
        self._verify(folder, faults)
        self._repair(folder, faults)

    # -- what each tool must do --------------------------------------------------------------------------------------

    def _capture(self, folder: Path, faults: int) -> None:
        """Every message of an undisturbed capture comes at least once, in order, as it is."""
        make_databases(self._source)
        make_tables(self._source)
        calm, found = ([str(folder / name), str(folder / f"{name}.ndjson")] for name in ("calm", "found"))
        words = {to: ["capture", "--state", state, "--to", to] for state, to in (calm, found)}
        for words_of in words.values():
            self._ends([*words_of, "--until-end"], 0)
        workload = Workload(self._source, seed=self._chance.randrange(10**6), pause_s=0.01)
        workload.start()
        try:
            for _ in range(faults):
                self._disturbed(words[found[1]], (0, 2))
        finally:
            workload.finish()
        for words_of in words.values():
            self._ends([*words_of, "--until-end"], 0)
        wanted = Path(calm[1]).read_bytes().splitlines()
        places = {line: number for number, line in enumerate(wanted)}
        upto = -1
        for line in Path(found[1]).read_bytes().splitlines():
            number = places.get(line)
            if number is None:
                raise ToolFailed(f"capture: published what an undisturbed one does not: {line[:500]!r}")
            if number > upto + 1:
                raise ToolFailed(f"capture: left out {wanted[upto + 1][:500]!r}")
            upto = max(upto, number)
        if upto != len(wanted) - 1 or not wanted:
            raise ToolFailed(f"capture: {len(wanted) - 1 - upto} messages at the end are missing, of {len(wanted)}")

    def _copy(self, faults: int) -> None:
        """It ends equal, or says why it does not, and goes on when it is run again."""
        make_shapes(self._source, count=ROWS)
        self._source.query(f"CREATE TABLE {SHAPES}.big (id INT PRIMARY KEY, v LONGTEXT)")
        for number in range(8):
            self._source.query(f"INSERT INTO {SHAPES}.big VALUES (%s, REPEAT(%s, %s))", number, "é'\\", 3000 * number)
        words = ["copy", "--stream", "file", "--trust-stream", "--chunk-s", "0.01"]
        code = -1
        for _ in range(faults):
            if code == 0:
                break
            code = self._disturbed(words, (0, 2))
        if code != 0:
            code, text = self._run(words)
            # A run that was killed behind its end has left nothing to go on with.
            if code != 0 and not (code == 2 and "--existing" in text and not self._unlike()):
                raise ToolFailed(f"copy does not end when it is run again: {code}\n{text}")
        if unlike := self._unlike():
            raise ToolFailed(f"copy: {unlike[:5]}")

    def _verify(self, folder: Path, faults: int) -> None:
        """Never equal of what differs, nor different of what is equal; the report is whole at any time."""
        report = folder / "report.json"
        words = ["verify", "--stream", "file", "--wait-s", "1", "--chunk-s", "0.01", "--report", str(report)]
        for _ in range(faults):
            code = self._disturbed(words, (0, 1, 2))
            if report.exists():
                found = self._whole_report(report)  # a run that was told to stop may end with 1 by what it has found
                self._judge(found, is_over=code in (0, 1) and bool(found.finished_at))
        self._ends(words, 1 if self._unlike() else 0)
        self._judge(self._whole_report(report), is_over=True)

    def _whole_report(self, report: Path) -> VerifyReport:
        try:
            return read_report(report)
        except OperationError as exc:
            raise ToolFailed(f"verify: the report is not whole: {exc}") from exc

    def _judge(self, report: VerifyReport, *, is_over: bool) -> None:
        really = {text.partition(":")[0] for text in self._unlike()}
        told = {str(table.target): table.status for table in report.tables}
        if wrong := {
            name
            for name, status in told.items()
            if (status == "equal" and name in really) or (status == "different" and name not in really)
        }:
            raise ToolFailed(f"verify: {told} is told, and {really} differ: wrong of {wrong}")
        if is_over and (missing := really - {name for name, status in told.items() if status == "different"}):
            raise ToolFailed(f"verify: does not find {missing}: {told}")

    def _repair(self, folder: Path, faults: int) -> None:
        """Equal after it, and as before after its reverse; the plan is whole or not there."""
        before = self._state(self._target)
        report, plan = folder / "report.json", folder / "plan.sql"
        common = ["repair", "--plan", str(plan), "--stream", "file", "--wait-s", "1", "--unproven"]
        for _ in range(faults):
            if not plan.exists():
                self._disturbed([*common, "--report", str(report)], (0, 1, 2))
        if not plan.exists():
            self._ends([*common, "--report", str(report)], 1)
        changes = len(read_plan(plan).changes)
        if changes == 0 or read_plan(plan).head.changes != changes:
            raise ToolFailed(f"repair: the plan is half: {changes} changes of {read_plan(plan).head.changes}")
        for turn, extra in enumerate(([], ["--undo"], [])):
            words = [*common, "--yes", "--transaction-rows", self._chance.choice(["1", "7", "100"]), *extra]
            for _ in range(faults):
                self._disturbed(words, (0, 1, 2))
            self._ends(words, 0)
            wanted = before if turn == 1 else self._state(self._source)
            if unlike := list(differences(wanted, self._state(self._target), data_only=True)):
                raise ToolFailed(f"repair, {'undone' if turn == 1 else 'applied'}: {unlike[:5]}")

    def _damage(self) -> None:
        for name in (*KEYS, "big"):
            for _ in range(self._chance.choice([0, 1, 2])):
                rows = self._chance.choice([1, 3, 30])
                kinds = [
                    f"DELETE FROM {name} ORDER BY id LIMIT {rows}",
                    f"UPDATE {name} SET v = CONCAT(LEFT(v, 40), 'x') ORDER BY id DESC LIMIT {rows}",
                ]
                if name == "none":
                    kinds.append(f"INSERT INTO {name} SELECT * FROM {name} LIMIT {rows}")
                with self._target.connect(database=SHAPES) as connection, connection.cursor() as cursor:
                    cursor.execute(self._chance.choice(kinds))
        self._target.query(f"DELETE FROM {SHAPES}.number LIMIT 1")

    def _state(self, end: Endpoint) -> State:
        with end.connect() as connection:
            return read_state(connection, [SHAPES])

    def _unlike(self) -> list[str]:
        return list(differences(self._state(self._source), self._state(self._target), data_only=True))

    # -- runs and faults ---------------------------------------------------------------------------------------------

    def _ends(self, words: list[str], wanted: int) -> None:
        code, text = self._run(words)
        if code != wanted:
            raise ToolFailed(f"{' '.join(words)}: exit code {code}, not {wanted}\n{text[-3000:]}")

    def _disturbed(self, words: list[str], allowed: tuple[int, ...]) -> int:
        """One run with a fault. It may end with such a code and a sentence, or by our signal."""
        tool = words[0]
        name = self._chance.choice([*FAULTS, "kill point", "no room"])
        self.faults[f"{tool}: {name}"] += 1
        self._say(f"{tool}: {name}")
        environment: dict[str, str] = {}
        room = -1
        if name == "kill point":
            point = self._chance.choice(KILL_POINTS[tool])
            environment = {"PYDBSYNC_KILL_POINT": f"{point}:{self._chance.choice([1, 1, 2, 5])}"}
        elif name == "no room":
            room = self._chance.choice([0, 10, 300, 5000, 100_000])
        code, text = self._run(words, fault=FAULTS.get(name), environment=environment, room=room)
        if code not in (*allowed, *ENDED_BY_US) or "Traceback" in text:
            raise ToolFailed(f"{' '.join(words)}: {name}: exit code {code}\n{text[-3000:]}")
        if code == 2 and not text.strip():
            raise ToolFailed(f"{' '.join(words)}: {name}: exit code 2 without a word")
        return code

    def _run(
        self,
        words: list[str],
        *,
        fault: Fault | None = None,
        environment: dict[str, str] | None = None,
        room: int = -1,
    ) -> tuple[int, str]:
        """One run to its end: the exit code, and what it said."""
        tool, follows = words[0], words[0] == "capture" and "--until-end" not in words
        began_at = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pydbsync", tool, "--config", str(self._config), *words[1:]],
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if room >= 0:  # of files; as on a disk that is full, a write fails when some of it has been written
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, room))
        moment_s = self._chance.uniform(0.1, 1.1) * self._usual_s[tool]
        disturber = threading.Thread(target=self._disturb, args=(process, fault, moment_s, follows), daemon=True)
        disturber.start()
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise ToolFailed(f"{' '.join(words)}: still ran after {PATIENCE_S} s\n{output[-3000:].decode()}") from None
        finally:
            disturber.join()
        for proxy in self._proxies:
            proxy.resume()
        if fault is None and process.returncode in (0, 1):
            self._usual_s[tool] = time.monotonic() - began_at
        return process.returncode, output.decode("utf-8", "replace")

    def _disturb(self, process: subprocess.Popen[bytes], fault: Fault | None, moment_s: float, follows: bool) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        if fault is not None and process.poll() is None:
            fault(process, self._chance.choice(self._proxies), self._target, self._chance)
        if follows:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._chance.uniform(0.2, 2))
            if process.poll() is None:
                process.send_signal(self._chance.choice([signal.SIGTERM, signal.SIGKILL]))

    # -- the servers -------------------------------------------------------------------------------------------------

    def _make_user(self) -> None:
        for end in (self._source, self._target):
            end.query(f"DROP USER IF EXISTS {USER}@'%'")
            end.query(f"CREATE USER {USER}@'%' IDENTIFIED BY 'tool'")
            end.query(f"GRANT ALL ON *.* TO {USER}@'%'")

    def _write_config(self) -> Path:
        ends = ({"host": "127.0.0.1", "port": proxy.port, "user": USER, "password": "tool"} for proxy in self._proxies)
        source, target = ends
        return write_config(
            {
                "source_db_info": source,
                "db_info": target,
                "log_file_prefix": "",
                "statement_timeout_s": 3,
                "retry": {"first_s": 0.05, "max_s": 0.5},
            },
            self._folder / "tools.py",
        )


Fault = Callable[["subprocess.Popen[bytes]", Proxy, Endpoint, random.Random], Any]


def _kill(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    process.kill()


def _terminate(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    process.terminate()


def _cut(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    proxy.cut()


def _break_off(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    """Somewhere in the next answers."""
    proxy.cut_behind(chance.choice([1, 5, 100, 3000, 20_000]))


def _refuse(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    proxy.refuse()
    time.sleep(chance.uniform(0, 2))
    proxy.resume()


def _swallow(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    """Requests or answers, as of a line that has gone dead; among them that of a COMMIT."""
    proxy.swallow(chance.choice(["to_client", "to_server"]))
    time.sleep(chance.uniform(0, 4))
    proxy.resume()
    proxy.cut()


def _kill_sessions(process: subprocess.Popen[bytes], proxy: Proxy, target: Endpoint, chance: random.Random) -> None:
    for (number,) in target.query("SELECT id FROM information_schema.processlist WHERE user = %s", USER):
        with contextlib.suppress(pymysql.Error):
            target.query(f"KILL {chance.choice(['CONNECTION', 'QUERY'])} {number}")


FAULTS: dict[str, Fault] = {
    "kill": _kill,
    "terminate": _terminate,
    "cut": _cut,
    "answer broken off": _break_off,
    "refuse": _refuse,
    "swallow": _swallow,
    "kill sessions": _kill_sessions,
}


@contextlib.contextmanager
def tools(
    source: Endpoint, target: Endpoint, folder: Path, *, seed: int, say: Callable[[str], None] = lambda text: None
) -> Iterator[Tools]:
    """The rounds, with their proxies closed in the end."""
    found = Tools(source, target, folder, seed=seed, say=say)
    try:
        yield found
    finally:
        found.close()
