"""A drill of a failover on servers that are there for it: a source that dies with writes which were not carried over.

Each write is remembered when its commit was answered. So what `failover --returned` lists is compared with what is
known, change by change, and what both servers hold at the end with what must be there; once for each ending.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pydbsync.config.cutover_plan import DRILL_DATABASE, DRILL_STATE
from pydbsync.config.file import load_settings
from pydbsync.errors import ApplyError, ConfigError, OperationError, TransientError
from pydbsync.ops.cutover.drill_orders import (
    TABLE,
    OrderRow,
    OrderRows,
    Orders,
    connected,
    differences,
    open_for_writes,
    row_of,
    rows_of,
)
from pydbsync.ops.cutover.proc import arguments, kill_those_of

ENDINGS = {"carry-over": ("--carry-over", "target"), "undo": ("--undo-old",)}
"""Both endings, by the options of `failover --returned`."""
_LOOK_S = 0.05
_PATIENCE_S = 120.0
_CARRIED, _DANGLING = 40, 25


class Ending(msgspec.Struct):
    """What one ending came to."""

    name: str
    dangling: int = 0
    missing: list[str] = []
    """Writes that were committed and are not listed."""
    invented: list[str] = []
    """What is listed and was never written."""
    conflicts: int = 0
    differs: list[str] = []
    """What a server holds at the end, and must not, or the other way round."""
    seconds: dict[str, float] = {}

    @property
    def is_well(self) -> bool:
        """Nothing to see to."""
        return not (self.missing or self.invented or self.differs)

    def __str__(self) -> str:
        took = ", ".join(f"{name} {value:.1f} s" for name, value in self.seconds.items())
        if self.is_well:
            return (f"{self.name}: all {self.dangling} dangling changes were listed, none invented,"
                    f" {self.conflicts} met another one; both servers hold what they must ({took})")  # fmt: skip
        faults = [*(f"not listed: {each}" for each in self.missing), *(f"made up: {each}" for each in self.invented),
                  *self.differs]  # fmt: skip
        return f"{self.name}: " + "; ".join(faults[:10])


class Drill:
    """Plays the whole of it on one pair of servers and a broker. Their databases of the drill's name are dropped."""

    def __init__(
        self, forth: Path, folder: Path, *, kill: Callable[[], object], start: Callable[[], object],
        tell: Callable[[str], object], seed: int = 1,
    ) -> None:  # fmt: skip
        """`forth` tells how to reach the servers; `kill` and `start` do so to the source. Raises ConfigError."""
        self._folder, self._kill, self._start, self._tell = folder, kill, start, tell
        self._orders = Orders(seed)
        self._config, self._plan = folder / "drill.py", folder / "drill.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            "from pydbsync.config.cutover_plan import drilled_of\n\n"
            f"globals().update(drilled_of({str(forth.resolve())!r}))\n", encoding="utf-8",
        )  # fmt: skip
        self._plan.write_text(yaml.safe_dump({
            "name": "drill", "forth": str(self._config), "sessions": {"end": "none"},
            "limits": {"drain_s": _PATIENCE_S, "arm_s": _PATIENCE_S, "watch_s": 0},
        }), encoding="utf-8")  # fmt: skip
        settings, _ = load_settings(self._config)
        if settings.source is None:
            raise ConfigError("is missing: the source of the drill", key="source_db_info")
        self._source, self._target = settings.source, settings.target

    def run(self, name: str, options: Sequence[str], *, kill_at: Mapping[str, Sequence[str]] = {}) -> Ending:
        """One ending; its calls (failover, listing, settling) are killed at these points, each in turn.

        Raises OperationError, ApplyError."""
        found = Ending(name)
        try:
            self._run(found, options, kill_at)
        finally:
            self.end_processes()
            self._start_source()
            for server in (self._source, self._target):
                open_for_writes(server)
        return found

    def _run(self, found: Ending, options: Sequence[str], kill_at: Mapping[str, Sequence[str]]) -> None:
        self._tell(f"{found.name}: tables, capture and replay; writes that are carried over")
        self._prepare()
        self._begin()
        rows: OrderRows = {}
        self._orders.write(self._source, rows, _CARRIED)
        self._wait(lambda: rows_of(self._target) == rows, "the target to hold what was written")
        with self._measured(found, "failover"):
            self._tell("capture is killed, the source written to, and killed")
            self.end_processes("capture")
            target_rows = copy.deepcopy(rows)
            written = self._orders.write(self._source, rows, _DANGLING)
            self._kill()
            self._wait(lambda: not self._answers(), "the source to be dead after drill_kill")
            self._call("failover", "--yes", kill_at=kill_at.get("failover", ()))
        self._tell("the target takes writes, on some of the same rows")
        touched = self._orders.write_here(self._target, target_rows, written)
        self._start_source()
        with self._measured(found, "listing"):
            listed = self._listed(
                self._call("failover", "--returned", "--json", expect=(1,), kill_at=kill_at.get("listing", ()))
            )
        found.dangling, found.conflicts = len(listed), sum(each["standing"] == "conflict" for each in listed)
        self._compare(found, written, listed)
        with self._measured(found, "settling"):
            self._call("failover", "--returned", *options, "--follow", "--yes", kill_at=kill_at.get("settling", ()))
        wanted = dict(target_rows)
        if "--undo-old" not in options:
            for _, old, new in written:
                for row in filter(None, (old, new)):
                    if row[0] not in touched:
                        wanted.pop(row[0], None)
                        if row is new:
                            wanted[row[0]] = row
        with self._measured(found, "following"):
            found.differs += differences(f"the target {self._target.address}", wanted, rows_of(self._target))
            with suppress(OperationError):
                self._wait(lambda: rows_of(self._source) == wanted, "the old source to hold what the target has")
            found.differs += differences(f"the old source {self._source.address}", wanted, rows_of(self._source))

    @contextmanager
    def _measured(self, found: Ending, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        found.seconds[name] = time.monotonic() - began

    def _prepare(self) -> None:
        for server in (self._target, self._source):
            open_for_writes(server)
            with connected(server) as connection:
                for name in (DRILL_DATABASE, DRILL_STATE):
                    connection.execute(f"DROP DATABASE IF EXISTS {name}")
                connection.execute(f"CREATE DATABASE {DRILL_DATABASE}")
                connection.execute(
                    f"CREATE TABLE {TABLE} (id INT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(40) NOT NULL, note TEXT)"
                    " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4"
                )

    def _begin(self) -> None:
        self._spawn("run")
        self._wait(lambda: self._has("worker", "state IN ('following', 'stalled')"), "a worker that follows its queue")
        self._spawn("capture", "--state", "target", "--name", "drill")
        self._wait(lambda: self._has("capture_place", "TRUE"), "the first place of capture")

    def _has(self, table: str, condition: str) -> bool:
        try:
            with connected(self._target) as connection:
                return bool(connection.rows(f"SELECT 1 FROM {DRILL_STATE}.{table} WHERE {condition} LIMIT 1"))
        except ApplyError as exc:
            if exc.code not in (1049, 1146):
                raise
            return False

    def _compare(
        self,
        found: Ending,
        written: Sequence[tuple[str, OrderRow | None, OrderRow | None]],
        listed: Sequence[Mapping[str, Any]],
    ) -> None:
        known = [f"{kind}: {old} -> {new}" for kind, old, new in written]
        told = [f"{each['kind']}: {row_of(each['before'])} -> {row_of(each['after'])}" for each in listed]
        found.missing = [each for each in known if known.count(each) > told.count(each)]
        found.invented = [each for each in told if told.count(each) > known.count(each)]
        if not found.missing and not found.invented and known != told:
            found.differs.append("the changes are not listed in the order in which they were made")

    @staticmethod
    def _listed(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = msgspec.json.decode(done.stdout)["changes"]
        return found

    def _spawn(self, command: str, *options: str) -> None:
        with (self._folder / f"{command}.log").open("ab") as out:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "pydbsync", command, "--config", str(self._config), *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        process.returncode = 0  # it is ended by its number

    def _call(
        self, command: str, *options: str, expect: Sequence[int] = (0,), kill_at: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """To its end. Raises OperationError for another exit code."""
        for point in (*kill_at, ""):
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-m", "pydbsync", command, str(self._plan), *options], stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", check=False,
                env={**os.environ, "PYDBSYNC_KILL_POINT": point},
            )  # fmt: skip
            if done.returncode == -signal.SIGKILL and point:
                self._tell(f"{command} was killed at {point}")
            elif done.returncode in expect:
                return done
            else:
                said = f"{done.stdout.strip()} {done.stderr.strip()}"[-2000:]
                raise OperationError(f"`{command} {' '.join(options)}` ended with exit code {done.returncode}: {said}")
        raise AssertionError("the last call ends, or is refused")

    def _start_source(self) -> None:
        self._start()
        self._wait(self._answers, "the source to answer after drill_start")

    def _answers(self) -> bool:
        try:
            with connected(self._source):
                return True
        except TransientError:
            return False

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        ends_at = time.monotonic() + _PATIENCE_S
        while not is_so():
            if time.monotonic() >= ends_at:
                raise OperationError(f"{_PATIENCE_S:g} s were not enough for {what}; see the logs in {self._folder}")
            time.sleep(_LOOK_S)

    def end_processes(self, command: str = "") -> None:
        """SIGKILL to all that works with the drill's files, or to one command alone."""
        found = kill_those_of(self._folder, command=command)
        while any(map(arguments, found)):
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(_LOOK_S)


def report(endings: Sequence[Ending], seconds: float) -> str:
    """In Markdown."""
    lines = ["# A drill of failover", "", f"{len(endings)} endings in {seconds:.0f} s.", ""]
    lines += [
        "| ending | listed | not listed | made up | conflicts | at the end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.name} | {each.dangling} | {len(each.missing)} | {len(each.invented)} | {each.conflicts} |"
        f" {'equal' if not each.differs else f'{len(each.differs)} differences'} |"
        for each in endings
    ]
    return "\n".join([*lines, "", *(f"- {each}" for each in endings), ""])
