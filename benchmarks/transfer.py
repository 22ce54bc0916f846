"""The initial copy and the comparison afterwards, beside the usual tools for them, on the same tables."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.engine import ROOT, connect_keywords
from benchmarks.generate import Facts, Generated, write_base
from benchmarks.race import FAILURES, Say, describe
from benchmarks.results import WITH_BINLOG, Result
from benchmarks.rig import Rig, TableState, ask, client_command, read_state
from benchmarks.tables import orders, sysbench
from benchmarks.workload import DATABASE, Workload
from lab.mariadb import MariaDB
from lab.process import LabError
from lab.server import BIN_PATH, find_program

COPY, VERIFY = "copy", "verify"
JOBS = 4
"""Connections to either server, of each copier that can have several."""
TABLES = (sysbench(1), sysbench(2), sysbench(3), orders())


class Transfer:
    """Copies and comparisons of `rows` rows in four tables."""

    def __init__(self, rig: Rig, *, rows: int, seed: int, only: Sequence[str], say: Say) -> None:
        self._rig = rig
        self._rows = rows
        self._only = tuple(only)
        self._say = say
        self._round = 0
        self._state: dict[str, TableState] = {}
        self._generated = self._prepare(seed)

    def run(self, rounds: int) -> Iterator[Result]:
        """Results as they come: every copier fills an empty target, every comparer compares equal servers."""
        with self._rig.full_source(self._generated) as source:
            self._state = read_state(source, self._generated.facts.tables)
            for self._round in range(1, rounds + 1):
                entries = [(COPY, name, partial(self._copy, source, name, way)) for name, way in self._copiers()]
                entries += [(VERIFY, name, partial(self._verify, source, name, way)) for name, way in self._comparers()]
                Random(self._round).shuffle(entries)
                for kind, name, run in entries:
                    try:
                        result = run()
                    except FAILURES as error:
                        self._say(f"{name} failed: {error}")
                        result = Result(kind, name, WITH_BINLOG, self._round, self._rows, 0.0, outcome="failed")
                    self._say(describe(result))
                    yield result

    def _prepare(self, seed: int) -> Generated:
        base = self._rows // len(TABLES)
        workload = Workload("transfer", "copy and verify", TABLES, base, 0, lambda rows, random: iter(()))
        folder = self._rig.cache / f"transfer-{base}-{seed}"
        generated = Generated(workload, folder, Facts("transfer", self._rows, 0, 0, tuple(t.name for t in TABLES)))
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_base(generated.base_sql, workload.start(seed).rows)
            self._rig.prepare_template(generated)
            generated.base_sql.unlink()
            (folder / "complete").touch()
        return generated

    def _copiers(self) -> Iterator[tuple[str, Callable[[MariaDB, MariaDB], None]]]:
        yield from self._present("copy: pydbsync", pydbsync_copy, sys.executable)
        yield from self._present("copy: mariadb-dump | mariadb", dump_and_load, "mariadb-dump")
        yield from self._present("copy: mydumper, myloader", mydump_and_load, "mydumper")

    def _comparers(self) -> Iterator[tuple[str, Callable[[MariaDB, MariaDB], None]]]:
        yield from self._present("verify: pydbsync", pydbsync_verify, sys.executable)
        yield from self._present("verify: pt-table-checksum", table_checksum, "pt-table-checksum")

    def _present(
        self, name: str, way: Callable[[MariaDB, MariaDB], None], program: str
    ) -> Iterator[tuple[str, Callable[[MariaDB, MariaDB], None]]]:
        if self._only and not any(word in name for word in self._only):
            return
        try:
            find_program(program)
        except LabError:
            self._say(f"{name} is left out: {program} is not installed (apt-get install mydumper percona-toolkit)")
            return
        yield name, way

    def _copy(self, source: MariaDB, name: str, way: Callable[[MariaDB, MariaDB], None]) -> Result:
        with self._rig.empty_target() as target:
            seconds = timed(way, source, target)
            equal = read_state(target, self._generated.facts.tables) == self._state
            return self._result(COPY, name, seconds, is_right=equal)

    def _verify(self, source: MariaDB, name: str, way: Callable[[MariaDB, MariaDB], None]) -> Result:
        """The timed comparison is of equal servers. One value is changed afterwards, which must be found."""
        with self._rig.target(self._generated, binlog=True) as target:
            seconds = timed(way, source, target)
            ask(target, "SET sql_log_bin=0", f"UPDATE {DATABASE}.sbtest2 SET pad='?' WHERE id={self._rows // 8}")
            try:
                way(source, target)
                is_right = False
            except DifferenceFound:
                is_right = True
            return self._result(VERIFY, name, seconds, is_right=is_right)

    def _result(self, kind: str, name: str, seconds: float, *, is_right: bool) -> Result:
        outcome = "equal" if is_right else "WRONG"
        return Result(kind, name, WITH_BINLOG, self._round, self._rows, seconds, seconds, outcome=outcome)


class DifferenceFound(Exception):
    """A comparer says that the servers differ."""


def timed(way: Callable[[MariaDB, MariaDB], None], source: MariaDB, target: MariaDB) -> float:
    start = time.perf_counter()
    way(source, target)
    return time.perf_counter() - start


def dump_and_load(source: MariaDB, target: MariaDB) -> None:
    dump = [find_program("mariadb-dump", "mysqldump"), "--no-defaults", *login(source), "--single-transaction"]
    dump += ["--master-data=2", "--databases", DATABASE]
    with subprocess.Popen(dump, stdout=subprocess.PIPE) as dumping:
        subprocess.run(client_command(target, "--max-allowed-packet=1G"), stdin=dumping.stdout, check=True)
    if dumping.returncode:
        raise RuntimeError(f"mariadb-dump ended with {dumping.returncode}")


def mydump_and_load(source: MariaDB, target: MariaDB) -> None:
    """With as many threads as pydbsync has jobs, tables cut into parts, the target's binlog on as for the others."""
    with tempfile.TemporaryDirectory(dir=source.root) as folder:
        place = ["--threads", str(JOBS)]
        parts = ["--rows", "50000", "--outputdir", folder, "--database", DATABASE]
        run_quietly([find_program("mydumper"), *socket_login(source), *place, *parts])
        load = ["--directory", folder, "--enable-binlog", "--database", DATABASE]
        run_quietly([find_program("myloader"), *socket_login(target), *place, *load])


def pydbsync_verify(source: MariaDB, target: MariaDB) -> None:
    """Structure and rows. Raises DifferenceFound."""
    options = ["--tables", f"{DATABASE}.*", "--wait-s", "1"]
    done = run_pydbsync("verify", source, target, *options)
    if done.returncode == 1:
        raise DifferenceFound
    if done.returncode:
        raise RuntimeError(f"pydbsync verify ended with {done.returncode}: {done.stdout}{done.stderr}")


def pydbsync_copy(source: MariaDB, target: MariaDB) -> None:
    """Structure and rows at a recorded place of the binlog, and the checkpoint with which replay goes on."""
    done = run_pydbsync(
        "copy", source, target, "--tables", f"{DATABASE}.*", "--jobs", str(JOBS), "--stream", "bench", "--trust-stream"
    )
    if done.returncode:
        raise RuntimeError(f"pydbsync copy ended with {done.returncode}: {done.stdout}{done.stderr}")


def run_pydbsync(command: str, source: MariaDB, target: MariaDB, *options: str) -> subprocess.CompletedProcess[str]:
    folder = source.root / "pydbsync"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    servers = {"source_db_info": connect_keywords(source), "db_info": connect_keywords(target)}
    config.write_text(json.dumps({**servers, "log_file_prefix": str(folder / "log_%s.log")}))
    return subprocess.run(
        [sys.executable, "-m", "pydbsync", command, "--config", str(config), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def table_checksum(source: MariaDB, target: MariaDB) -> None:
    """The target follows the source meanwhile: pt-table-checksum works through replication. Raises DifferenceFound."""
    # Its own tables from an earlier round are not at this target, and it would wait for them without end.
    ask(source, "DROP DATABASE IF EXISTS percona")
    file, offset, *_ = ask(source, "SHOW MASTER STATUS")
    ask(
        target,
        "STOP SLAVE",
        "DROP DATABASE IF EXISTS percona",
        f"CHANGE MASTER TO MASTER_HOST='{source.host}', MASTER_PORT={source.port}, MASTER_USER='{source.user}',"
        f" MASTER_PASSWORD='{source.password}', MASTER_LOG_FILE='{file}', MASTER_LOG_POS={offset}, MASTER_USE_GTID=no",
        "START SLAVE",
    )
    ask(
        source,
        "CREATE DATABASE percona",
        "CREATE TABLE percona.dsns (id INT PRIMARY KEY, parent_id INT, dsn VARCHAR(255))",
        f"INSERT INTO percona.dsns VALUES (1, 1, '{dsn(target)}')",
    )
    where = dsn(source)
    options = ["--databases", DATABASE, "--no-check-binlog-format", "--no-version-check", "--no-check-plan"]
    options += ["--recursion-method", f"dsn={where},D=percona,t=dsns", "--max-load", "", "--check-interval", "0.1"]
    done = subprocess.run(
        [find_program("pt-table-checksum"), *options, where],
        env={**os.environ, "PATH": BIN_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 16:
        raise DifferenceFound
    if done.returncode:
        raise RuntimeError(f"pt-table-checksum ended with {done.returncode}: {done.stderr}{done.stdout}")


def dsn(server: MariaDB) -> str:
    return f"h={server.host},P={server.port},u={server.user},p={server.password}"


def login(server: MariaDB) -> list[str]:
    return [f"--socket={server.data / 'server.sock'}", f"--user={server.user}", f"--password={server.password}"]


def socket_login(server: MariaDB) -> list[str]:
    """In two words each, as mydumper wants it."""
    return ["--socket", str(server.data / "server.sock"), "--user", server.user, "--password", server.password]


def run_quietly(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr[-2000:]}")
