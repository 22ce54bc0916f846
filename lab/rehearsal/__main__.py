"""`make rehearsal`: a whole migration on private servers, under load, with tools killed on the way.

Rows in twelve tables with keys of all shapes, changing all the time → capture → copy → replay → verify equal → rows
broken at the target on purpose → verify names exactly these → repair → verify equal → undo → they differ again →
`rehearse` and `cutover`, the load is sent to the target → verify equal → `rehearse` and `rollback`, the load is sent
back → verify equal.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import ER

import lab
from lab.rehearsal.damage import Damage, break_rows, describe, named_in
from lab.rehearsal.load import Load, SchemaSteps
from lab.rehearsal.memory import MemoryWatch
from lab.rehearsal.record import Record, Step, clock
from lab.rehearsal.stage import Stage
from lab.rehearsal.tables import DATABASE, TABLES, make_source
from lab.rehearsal.tools import STATE_SCHEMA, Direction, Failed, Killer, Tools, wait_until_captured
from tests.processes import REPOSITORY
from tests.servers import Endpoint

ABOUT_PER_S = 400_000
"""Rows a second of verify: by it the moment is chosen at which it is killed."""
CATCH_UP_S = 600.0
BEHIND_S = 20.0
STALL_S = "300"
"""Replay that was killed begins again within it, however busy the machine is."""
MORE = 50
"""Transactions that are waited for behind a cut-over."""


class Rehearsal:
    """The whole road. Each method is a step, or two that belong together."""

    def __init__(self, stage: Stage, *, rows: int, load_per_s: float, kills_each_s: float, seed: int) -> None:
        self._stage = stage
        self._rows = rows
        self._load_per_s = load_per_s
        self._random = random.Random(seed)
        self._load: Load | None = None
        self._steps = SchemaSteps(random.Random(self._random.randrange(2**31)))
        self._marks = 0
        self._watched: Direction | None = None
        """The direction behind which the load must not run away."""
        self.record = Record()
        self.memory = MemoryWatch()
        pause_s = (0.5 * kills_each_s, 1.5 * kills_each_s)
        self.killer = Killer(random.Random(self._random.randrange(2**31)), record=self.record, pause_s=pause_s)
        self._tools: list[Tools] = []

    def go(self) -> None:
        """Raises Failed where something is not as it must be."""
        self.memory.start()
        for name, endpoint in (("MariaDB, source", self._stage.source), ("MariaDB, target", self._stage.target)):
            if endpoint.server is not None and endpoint.server.process is not None:
                self.memory.add(name, endpoint.server.process.pid)
        broker = self._stage.vhost.broker.process
        if broker is not None:
            self.memory.add("RabbitMQ", broker.pid, forked="RabbitMQ")
        self.make_source()
        self.killer.start()
        forth = self.begin(self._stage.forth(), "capture, the load")
        self.copy(forth)
        self.replay(forth)
        self.verify_equal(forth, "verify: equal, under load", is_killed=True)
        damage = self.break_rows(forth)
        self.verify_names(forth, damage, "verify: names exactly these")
        self.repair(forth, forth.direction.folder / "plan.sql")
        self.verify_equal(forth, "verify: equal again")
        self.undo(forth, damage)
        self.repair(forth, forth.direction.folder / "plan2.sql")
        self.switch(forth, "cutover", "cut-over to the target")
        back = self.follow(self._stage.back())
        self.verify_equal(back, "verify: equal, under load")
        self.switch(back, "rollback", "back to the source, with all that was written")
        self.follow(self._stage.forth())
        self.end(forth)

    def stop(self) -> None:
        """End what still runs."""
        self.killer.stop()
        if self._load is not None:
            self._load.stop()
        for tools in self._tools:
            tools.stop()
        self._stage.end_processes()
        self.memory.stop()

    def make_source(self) -> None:
        with self.record.step("a source with rows") as step:
            self._stage.begin_anew()
            with self._stage.source.connect() as connection:
                total = make_source(connection, self._rows)
            self.record.say(f"{total:,} rows in {len(TABLES)} tables")
            step.outcome = f"{total:,} rows"

    def begin(self, direction: Direction, title: str) -> Tools:
        """Capture notes its place before the load writes to that server."""
        with self.record.step(title) as step:
            direction.prepare()
            tools = Tools(direction, record=self.record, memory=self.memory)
            self._tools.append(tools)
            tools.capture.start()
            wait_until_captured(tools)
            seed = self._random.randrange(2**31)
            self._load = Load(
                self._stage.application(), rows=self._rows, seed=seed, per_second=self._load_per_s, steps=self._steps,
                where=self._stage.application, is_behind=self._is_behind,
            )  # fmt: skip
            self._watched = direction
            self._load.start()
            self.killer.hunt(tools)
            step.outcome = f"{self._load_per_s:.0f} transactions/s"
            self.record.say(f"from here on {step.outcome}, now and then a schema change; capture publishes all of it")
        return tools

    def _is_behind(self, last: float) -> bool:
        """Whether replay has not come near to the load's last change."""
        if self._watched is None:
            return False
        try:
            found = self._watched.target.query(f"SELECT newest_ts FROM {STATE_SCHEMA}.checkpoint WHERE newest_ts > 0"
                                               f" AND stream = '{self._watched.queue}'")  # fmt: skip
        except pymysql.MySQLError:
            return False
        return any(int(newest) < last - BEHIND_S for (newest,) in found)

    def copy(self, tools: Tools) -> None:
        """Replay must not run yet: the checkpoint from which it goes on is what copy writes at its end."""
        with self.record.step("copy, killed on the way") as step:
            begun = time.monotonic()
            rows = self._random.uniform(0.02, 0.6) * self._rows
            was_killed = tools.run("copy", kill_when=lambda: rows_copied(tools.direction.target) >= rows) is None
            if was_killed:
                tools.run("copy")
            seconds = time.monotonic() - begun
            step.outcome = f"{self._rows / seconds:,.0f} rows/s, {times_killed(was_killed)}"

    def _some_time(self, shortest_s: float, longest_s: float) -> Callable[[], bool]:
        """Whether a time from now has gone by that is chosen at random."""
        moment = time.monotonic() + self._random.uniform(shortest_s, longest_s)
        return lambda: time.monotonic() >= moment

    def replay(self, tools: Tools) -> None:
        """Until a row that is written now has come through."""
        with self.record.step("replay catches up") as step:
            tools.replay.start()
            begun = time.monotonic()
            self._mark(tools)
            step.outcome = "a row written now is there"
            self.record.say(f"it is there {clock(time.monotonic() - begun)} later")

    def _mark(self, tools: Tools) -> None:
        """A row that is written at the source now, until it is at the target. Raises Failed."""
        begun = time.monotonic()
        self._marks += 1
        mark = f"mark {self._marks}"
        tools.direction.source.query(f"INSERT INTO {DATABASE}.products (sku, note) VALUES ('{mark}', '{mark}')")
        self.record.say("a row was written to the source; it is waited for at the target")
        is_there = f"SELECT COUNT(*) FROM {DATABASE}.products WHERE sku = '{mark}'"
        with tools.direction.target.connect() as connection, connection.cursor() as cursor:
            while cursor.execute(is_there) and not cursor.fetchone()[0]:
                tools.replay.check()
                tools.capture.check()
                if time.monotonic() - begun > CATCH_UP_S:
                    raise Failed(f"replay did not catch up in {CATCH_UP_S:.0f} s; see {tools.replay.out}")
                time.sleep(0.1)

    def verify_equal(self, tools: Tools, title: str, *, is_killed: bool = False) -> None:
        with self.record.step(title) as step:
            self._verify(tools, step, expect=0, is_killed=is_killed)

    def verify_names(self, tools: Tools, damage: Damage, title: str) -> None:
        with self.record.step(title) as step:
            named = self._verify(tools, step, expect=1)
            if named != damage:
                raise Failed(
                    "verify does not name what was broken, but"
                    f" also {describe(named - damage)}, and not {describe(damage - named)}"
                )
            step.outcome = f"names all {damage.total()}, no others"
            self.record.say(f"[green]these are exactly the {damage.total()} differences that were made[/green]")

    def _verify(self, tools: Tools, step: Step, *, expect: int, is_killed: bool = False) -> Damage:
        report = str(tools.direction.folder / "report.json")
        options = ("--report", report, "--limit", "2", "--stall-s", STALL_S)
        kill_when = self._some_time(1.0, max(3.0, self._rows / ABOUT_PER_S)) if is_killed else None
        was_killed = tools.run("verify", "--restart", *options, expect=(expect,), kill_when=kill_when) is None
        if was_killed:
            tools.run("verify", *options, expect=(expect,))
        if self._load is not None:
            self._load.check()
        step.outcome = f"all rows equal{'; killed once' if was_killed else ''}"
        return named_in(Path(report))

    def break_rows(self, tools: Tools) -> Damage:
        """The schema of these tables stays as it is until the last repair: a row that has changed since a repair, be it
        by a new column, is not put back."""
        with self.record.step("rows broken at the target") as step:
            damage = break_rows(tools.direction.target, rows=self._rows, chosen=self._random)
            tables = {row.table for row in damage}
            self.leave_unaltered(tables)
            self.record.say(describe(damage))
            step.outcome = f"{damage.total()} differences in {len(tables)} tables"
        return damage

    def leave_unaltered(self, tables: Collection[str]) -> None:
        """The load goes on with schema changes in the other tables only."""
        if self._load is not None:
            self._load.leave_unaltered(tables)

    def repair(self, tools: Tools, plan: Path) -> None:
        """Killed at a random moment: then the plan may be there or not, and may be applied in part."""
        with self.record.step("repair, killed on the way") as step:
            arguments = ("--report", str(tools.direction.folder / "report.json"), "--stall-s", STALL_S)
            moment = self._some_time(0.4, 2)
            was_killed = tools.run("repair", *arguments, "--plan", str(plan), "--yes", kill_when=moment) is None
            if was_killed:
                tools.run("repair", *(() if plan.exists() else arguments), "--plan", str(plan), "--yes")
            step.outcome = times_killed(was_killed)

    def undo(self, tools: Tools, damage: Damage) -> None:
        with self.record.step("undo") as step:
            tools.run("repair", "--plan", str(tools.direction.folder / "plan.sql"), "--undo", "--yes")
            step.outcome = "the repair is taken back"
        self.verify_names(tools, damage, "verify: they differ again")

    def switch(self, tools: Tools, command: str, title: str) -> None:
        """As an operator would, while the application writes: rehearsed, then done."""
        plan = self._stage.write_plan()
        self.leave_unaltered([table.name for table in TABLES])
        self.killer.hunt(None)
        direction = ("--rollback",) if command == "rollback" else ()
        with self.record.step(f"rehearse: {command}") as step:
            found = self._call("rehearse", str(plan), *direction, "--reports", str(self._stage.folder))
            parts = found["parts"]
            predicted = sum(sorted(part["seconds"])[len(part["seconds"]) // 2] for part in parts)
            step.outcome = f"writing would stop for about {predicted:.1f} s"
        with self.record.step(title) as step:
            found = self._call(command, str(plan), "--yes")
            step.outcome = f"no writing for {found['write_stop_s']:.2f} s"
        tools.stop()

    def _call(self, *arguments: str) -> dict[str, Any]:
        """What a command of a plan says as JSON; what it tells meanwhile goes to this terminal."""
        self.record.say(f"[bold]python -m pydbsync {' '.join(arguments)}[/bold]")
        with self.record.lent():
            done = subprocess.run(
                [sys.executable, "-m", "pydbsync", *arguments, "--json"], cwd=REPOSITORY, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        if done.returncode:
            raise Failed(f"{arguments[0]} ended with exit code {done.returncode}: {done.stdout[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def follow(self, direction: Direction) -> Tools:
        """The direction that the cut-over has begun, with its own processes: schema changes go on, and all of it
        arrives."""
        with self.record.step(f"{direction.folder.name}: the load goes on there") as step:
            load, self._watched = self._load, direction
            self.leave_unaltered(())
            before = load.transactions if load is not None else 0
            tools = Tools(direction, record=self.record, memory=self.memory)
            self._mark(tools)
            while load is not None and load.transactions < before + MORE:
                load.check()
                time.sleep(0.1)
            if load is not None:
                step.outcome = f"{load.transactions - before:,} transactions, {load.refused:,} refused until now"
        return tools

    def end(self, tools: Tools) -> None:
        """The load ends, and both servers hold the same to the last row."""
        with self.record.step("the load ends; verify: equal") as step:
            load = self._load
            if load is not None:
                load.stop()
                load.check()
                self.record.say(
                    f"the load has ended: {load.transactions:,} transactions ({load.per_second:.0f} a second),"
                    f" {load.rows:,} rows, {load.schema_changes} schema changes"
                )
            self._verify(tools, step, expect=0)


def rows_copied(target: Endpoint) -> int:
    """Rows of the chunks that copy has committed; before it begins there is no table of them."""
    try:
        ((found,),) = target.query(f"SELECT SUM(row_count) FROM {STATE_SCHEMA}.copy_chunk WHERE is_done")
    except pymysql.MySQLError as exc:
        if exc.args[0] not in (ER.NO_SUCH_TABLE, ER.BAD_DB_ERROR):
            raise
        return 0
    return int(found or 0)


def times_killed(was_killed: bool) -> str:
    return "killed once" if was_killed else "ended unkilled"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.rehearsal", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows at the source, in all tables")
    parser.add_argument("--load", type=float, default=100, help="transactions a second")
    parser.add_argument("--kills", type=float, default=20, help="a tool is killed every so many seconds, on average")
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of an earlier rehearsal")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    try:
        rehearsal = Rehearsal(
            Stage.of_lab(), rows=arguments.rows, load_per_s=arguments.load, kills_each_s=arguments.kills, seed=seed
        )
    except lab.LabError as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 1
    return run(rehearsal, seed=seed)


def run(rehearsal: Rehearsal, *, seed: int) -> int:
    """The exit code."""
    console = rehearsal.record.console
    console.print(f"A whole migration between two private MariaDB servers; the same again with --seed {seed}")
    try:
        rehearsal.go()
    except (Failed, lab.LabError, pymysql.MySQLError) as error:
        rehearsal.record.say(f"[red]rehearsal: {error}[/red]")
        return 1
    except KeyboardInterrupt:
        rehearsal.record.say("[red]interrupted[/red]")
        return 130
    finally:
        rehearsal.stop()
        rehearsal.record.show_times()
        rehearsal.memory.show(console)
    console.print(
        f"[green]The rehearsal went as it must[/green]; tools that go on were killed {rehearsal.killer.kills} time(s)."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
