"""`make rehearsal`: a whole migration on private servers, under load, with tools killed on the way.

A source with rows in twelve tables of all key shapes, changing all the time → capture → copy → replay → verify equal →
rows broken at the target on purpose → verify names exactly these → repair → verify equal → undo → they differ again.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lab
from lab.rehearsal_tables import DATABASE, TABLES, Load, make_source
from tests.processes import REPOSITORY, write_config
from tests.servers import Endpoint, Vhost

VHOST = "rehearsal"
QUEUE = "rehearsal"
EXCHANGE = "maxwell.rehearsal"
STATE_SCHEMA = "pydbsync_rehearsal"


class Failed(Exception):
    """The rehearsal did not go as it must."""


class Rehearsal:
    """The servers, the configuration, and the tools as processes."""

    def __init__(self, *, rows: int, seed: int) -> None:
        self.rows = rows
        self.random = random.Random(seed)
        self.folder = lab.lab_root() / "rehearsal"
        self.folder.mkdir(parents=True, exist_ok=True)
        lab.up_together(("source", "target", "rabbitmq"))
        self.source = Endpoint.of_lab(lab.up("source"))
        self.target = Endpoint.of_lab(lab.up("target"))
        self.vhost = Vhost(lab.up("rabbitmq"), VHOST)
        self.running: list[subprocess.Popen[bytes]] = []
        self.config = write_config(
            {
                "db_info": self.target.db_info,
                "source_db_info": self.source.db_info,
                "source_server": "mariadb 10.11",
                "rabbitmq_conn_info": self.vhost.conn_info,
                "rabbitmq_queue_bind": [
                    {"exchange": [EXCHANGE, "topic"], "queues": {QUEUE: [f"{DATABASE}.#"]}}
                ],
                "include": [f"{DATABASE}.*"],
                "state_schema": STATE_SCHEMA,
                "lossy_values": "off",
                "log_file_prefix": str(self.folder / "%s.log"),
            },
            self.folder / "config.py",
        )

    def begin_anew(self) -> None:
        """Remove what an earlier rehearsal left."""
        for endpoint in (self.source, self.target):
            endpoint.query(f"DROP DATABASE IF EXISTS {DATABASE}")
        self.target.query(f"DROP DATABASE IF EXISTS {STATE_SCHEMA}")
        self.vhost.broker.delete_vhost(VHOST)
        self.vhost.broker.create_vhost(VHOST)
        for left in self.folder.glob("capture*"):
            for file in sorted(left.rglob("*"), reverse=True):
                file.unlink()
        for name in ("report.json", "plan.sql"):
            (self.folder / name).unlink(missing_ok=True)

    def command(self, *arguments: str) -> list[str]:
        """A tool's command line."""
        return [sys.executable, "-m", "pydbsync", arguments[0], "--config", str(self.config), *arguments[1:]]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a tool that goes on; its output goes to a file."""
        with (self.folder / f"{arguments[0]}.out").open("ab") as out:
            process = subprocess.Popen(
                self.command(*arguments), cwd=REPOSITORY, stdout=out, stderr=out, start_new_session=True
            )
        self.running.append(process)
        return process

    def run(self, *arguments: str, expect: Sequence[int] = (0,)) -> int:
        """Run a tool on this terminal to its end. Raises Failed for another exit code."""
        say("python -m pydbsync " + " ".join(arguments))
        code = subprocess.run(self.command(*arguments), cwd=REPOSITORY, check=False).returncode
        if code not in expect:
            raise Failed(f"{arguments[0]} ended with exit code {code}, not {' or '.join(map(str, expect))}")
        return code

    def run_killed_once(self, *arguments: str, after_s: float) -> None:
        """Run a tool, kill it in the middle, and let it go on."""
        process = subprocess.Popen(self.command(*arguments), cwd=REPOSITORY, start_new_session=True)
        try:
            code = process.wait(timeout=after_s)
            say(f"{arguments[0]} was done before it could be killed (exit code {code})")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            say(f"{arguments[0]} was killed after {after_s:.1f} s and goes on")
        self.run(*arguments)

    def kill(self, process: subprocess.Popen[bytes], *arguments: str) -> subprocess.Popen[bytes]:
        """SIGKILL a tool that goes on, and start it anew."""
        say(f"{arguments[0]} is killed and started again")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.running.remove(process)
        return self.start(*arguments)

    def stop(self) -> None:
        """End what still runs."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def break_rows(self) -> dict[str, set[str]]:
        """Change, remove and add rows at the target behind everybody's back; per table the kinds of difference."""
        broken: dict[str, set[str]] = {}
        chosen = self.random.sample([table for table in TABLES if table.key], 5)
        with self.target.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"USE {DATABASE}")
            for table in chosen:
                # Rows from the middle, which the load leaves alone.
                keys = self._middle_key(cursor, table.key, table.name)
                where = " AND ".join(f"{column} = %s" for column in table.key)
                kind = self.random.choice(["changed", "missing"])
                sql = (
                    f"UPDATE {table.name} SET note = 'broken' WHERE {where}"
                    if kind == "changed"
                    else (f"DELETE FROM {table.name} WHERE {where}")
                )
                cursor.execute(sql, keys)
                broken.setdefault(table.name, set()).add(kind)
            cursor.execute("INSERT INTO products (sku, note) VALUES ('ZZZ-extra', 'broken')")
            broken.setdefault("products", set()).add("extra")
            cursor.execute("INSERT INTO keyless (a, note) VALUES (77, 'broken')")
            cursor.execute("DELETE FROM audit_log WHERE at = '2030-01-01' + INTERVAL 500 SECOND LIMIT 1")
            broken["keyless"], broken["audit_log"] = {"extra"}, {"missing"}
        return broken

    @staticmethod
    def _middle_key(cursor: Any, key: tuple[str, ...], table: str) -> tuple[Any, ...]:
        cursor.execute(f"SELECT COUNT(*) FROM {table}")
        (count,) = cursor.fetchone()
        columns = ", ".join(key)
        cursor.execute(f"SELECT {columns} FROM {table} ORDER BY {columns} LIMIT 1 OFFSET {count // 2}")
        found: tuple[Any, ...] = cursor.fetchone()
        return found

    def named(self) -> dict[str, set[str]]:
        """What the verify report names: per table the kinds of difference."""
        report = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        found: dict[str, set[str]] = {}
        for table in report["tables"]:
            for row in table["differences"]:
                found.setdefault(table["target"][1], set()).add(row["kind"])
        return found

    def verify(self, *, expect: int) -> dict[str, set[str]]:
        """Verify anew; what the report names."""
        self.run("verify", "--restart", "--report", str(self.folder / "report.json"), expect=(expect,))
        return self.named()


def rehearse(rehearsal: Rehearsal, *, load_per_s: float) -> None:
    """The whole way. Raises Failed."""
    started = time.monotonic()
    rehearsal.begin_anew()
    with rehearsal.source.connect() as connection:
        total = make_source(connection, rehearsal.rows)
    say(f"{total:,} rows in {len(TABLES)} tables at the source ({time.monotonic() - started:.0f} s)")
    rehearsal.vhost.declare(QUEUE, exchange=EXCHANGE, routing_keys=[f"{DATABASE}.#"])
    capture_arguments = ("capture", "--state", str(rehearsal.folder / "capture-state"))
    capture = rehearsal.start(*capture_arguments)
    wait_for_state(rehearsal.folder / "capture-state", capture)
    load = Load(rehearsal.source.connect(), seed=rehearsal.random.randrange(2**31), per_second=load_per_s)
    load.start()
    say("the load runs from here on; capture publishes it")
    rehearsal.run_killed_once("copy", after_s=rehearsal.random.uniform(1.5, 3.0))
    replay = rehearsal.start("run")
    capture = rehearsal.kill(capture, *capture_arguments)
    replay = rehearsal.kill(replay, "run")
    if named := rehearsal.verify(expect=0):
        raise Failed(f"verify names {named} where nothing was broken")
    broken = rehearsal.break_rows()
    say(f"broken at the target on purpose: {describe(broken)}")
    named = rehearsal.verify(expect=1)
    if named != broken:
        raise Failed(f"verify names {describe(named)}, but broken were {describe(broken)}")
    report, plan = str(rehearsal.folder / "report.json"), str(rehearsal.folder / "plan.sql")
    rehearsal.run("repair", "--report", report, "--plan", plan, "--yes")
    rehearsal.verify(expect=0)
    rehearsal.run("repair", "--plan", plan, "--undo", "--yes")
    again = rehearsal.verify(expect=1)
    if again != broken:
        raise Failed(f"after the undo verify names {describe(again)}, but broken were {describe(broken)}")
    load.stop()
    say(
        f"the load wrote {load.transactions:,} transactions and {load.schema_changes} schema changes meanwhile;"
        f" all of it took {time.monotonic() - started:.0f} s"
    )


def wait_for_state(folder: Path, process: subprocess.Popen[bytes], *, timeout_s: float = 60) -> None:
    """Until capture has noted where it begins."""
    deadline = time.monotonic() + timeout_s
    while not (folder.is_dir() and any(folder.iterdir())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed("capture did not begin")
        time.sleep(0.05)


def describe(found: dict[str, set[str]]) -> str:
    return ", ".join(f"{table} ({', '.join(sorted(kinds))})" for table, kinds in sorted(found.items())) or "nothing"


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.rehearsal", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows at the source, in all tables")
    parser.add_argument("--load", type=float, default=100, help="transactions a second")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    say(f"seed {seed}")
    rehearsal = Rehearsal(rows=arguments.rows, seed=seed)
    try:
        rehearse(rehearsal, load_per_s=arguments.load)
    except (Failed, lab.LabError) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 1
    finally:
        rehearsal.stop()
    say("the rehearsal went as it must")
    return 0


if __name__ == "__main__":
    sys.exit(main())
