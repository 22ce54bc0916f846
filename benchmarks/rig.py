"""The private servers of the benchmark: a source with the workload in its binlog, durable targets, a broker."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pymysql
from pymysql.cursors import Cursor

from benchmarks.generate import Generated
from benchmarks.workload import DATABASE
from lab.mariadb import MariaDB
from lab.rabbitmq import RabbitMQ
from lab.server import find_program

COMMON = {"innodb-buffer-pool-size": "1G", "performance-schema": "OFF"}
SMALL = {**COMMON, "innodb-log-file-size": "16M"}  # what is copied is small; the server makes its log anew at start
LARGE = {**COMMON, "innodb-log-file-size": "512M"}
KEEP_BINLOG = {"binlog-expire-logs-seconds": "0"}
WITHOUT_BINLOG = {"log-slave-updates": "OFF", "skip-log-bin": "ON"}


@dataclass(frozen=True)
class TableState:
    """A table's content: the number of its rows and a hash of all of them in order."""

    rows: int
    digest: str


@dataclass(frozen=True)
class BinlogPlace:
    file: str
    offset: int


@dataclass(frozen=True)
class Prepared:
    """A workload that was run on a source: its binlog from `begin` to `end`, and what came out."""

    generated: Generated
    begin: BinlogPlace
    end: BinlogPlace
    state: Mapping[str, TableState]


def connect(server: MariaDB) -> pymysql.Connection[Cursor]:
    return pymysql.Connection(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        charset="utf8mb4",
        autocommit=True,
    )


def ask(server: MariaDB, *statements: str) -> tuple[object, ...]:
    """Run statements; the last one's first row, an empty tuple when there is none."""
    connection = connect(server)
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchone() or ()
    finally:
        connection.close()


def client_command(server: MariaDB, *options: str) -> list[str]:
    return [
        find_program("mariadb", "mysql"),
        "--no-defaults",
        f"--socket={server.data / 'server.sock'}",
        f"--user={server.user}",
        f"--password={server.password}",
        *options,
    ]


def pipe(server: MariaDB, sql: Path, *options: str) -> None:
    """Feed a file to the server's own command-line client."""
    with sql.open("rb") as file:
        subprocess.run(
            client_command(server, "--batch", "--default-character-set=utf8mb4", *options),
            stdin=file,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def read_state(server: MariaDB, tables: tuple[str, ...]) -> dict[str, TableState]:
    """Hash every row of each table, in the order of all its columns, as the client prints the bytes."""
    return {table: read_table_state(server, table) for table in tables}


def read_table_state(server: MariaDB, table: str) -> TableState:
    columns = ask(
        server,
        "SELECT GROUP_CONCAT(CONCAT('`', column_name, '`') ORDER BY ordinal_position) FROM information_schema.columns"
        f" WHERE table_schema = '{DATABASE}' AND table_name = '{table}'",
    )[0]
    command = client_command(
        server,
        "--batch",
        "--quick",
        "--skip-column-names",
        "--default-character-set=binary",
        "--init-command=SET time_zone='+00:00', sort_buffer_size=67108864",
        f"--execute=SELECT {columns} FROM {DATABASE}.`{table}` ORDER BY {columns}",
    )
    digest = hashlib.sha256()
    rows = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        output: IO[bytes] | None = child.stdout
        assert output is not None
        while chunk := output.read(1 << 20):
            digest.update(chunk)
            rows += chunk.count(b"\n")
    if child.returncode:
        raise RuntimeError(f"{table} could not be read: the client ended with {child.returncode}")
    return TableState(rows, digest.hexdigest())


class Rig:
    """All servers of the benchmark, under one folder of the lab."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "workloads"
        self.broker = RabbitMQ("broker", root=root)

    @contextmanager
    def source(self, prepared: Prepared) -> Iterator[MariaDB]:
        """The source with the workload in its binlog, up for as long as the block runs."""
        server = self._source(prepared.generated)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @contextmanager
    def target(
        self, generated: Generated, *, binlog: bool, options: Mapping[str, str] | None = None
    ) -> Iterator[MariaDB]:
        """A durable server with the base rows alone, the same for every contestant: copied, started, read through."""
        with self._fresh_target(self._template(generated), binlog=binlog, options=options) as server:
            for table in generated.facts.tables:
                ask(server, f"CHECKSUM TABLE {DATABASE}.`{table}`", f"SELECT COUNT(*) FROM {DATABASE}.`{table}`")
            yield server

    @contextmanager
    def empty_target(self) -> Iterator[MariaDB]:
        """A durable server with a binlog and without a table."""
        with self._fresh_target(self._empty(), binlog=True) as server:
            yield server

    @contextmanager
    def _fresh_target(
        self, origin: MariaDB, *, binlog: bool, options: Mapping[str, str] | None = None
    ) -> Iterator[MariaDB]:
        extra = {**LARGE, **({} if binlog else WITHOUT_BINLOG), **(options or {})}
        server = MariaDB("target", root=self.root, durable=True, options=extra)
        server.stop()
        self._copy_data(origin, server)
        server.start()
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(server.data, ignore_errors=True)

    @contextmanager
    def full_source(self, generated: Generated) -> Iterator[MariaDB]:
        """A source that holds the base rows, made from the template; `prepare_template` comes before."""
        server = MariaDB("source", root=generated.folder, options={**LARGE, **KEEP_BINLOG})
        server.stop()
        self._copy_data(self._template(generated), server)
        server.start()
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(server.data, ignore_errors=True)

    def prepare(self, generated: Generated) -> Prepared:
        """Write the workload on a source, once; later calls find it."""
        facts_file = generated.folder / "source.json"
        if not facts_file.exists():
            self.prepare_template(generated)
            self._prepare_source(generated, facts_file)
        facts = json.loads(facts_file.read_text())
        state = {table: TableState(**entry) for table, entry in facts["state"].items()}
        return Prepared(generated, BinlogPlace(**facts["begin"]), BinlogPlace(**facts["end"]), state)

    def prepare_template(self, generated: Generated) -> None:
        empty = self._empty()
        template = self._template(generated)
        self._copy_data(empty, template)
        template.start()
        try:
            ask(template, "SET GLOBAL innodb_fast_shutdown = 0")
            pipe(template, generated.base_sql)
            ask(template, "RESET MASTER")
        finally:
            template.stop()

    def _prepare_source(self, generated: Generated, facts_file: Path) -> None:
        source = self._source(generated)
        source.stop()
        self._copy_data(self._template(generated), source)
        source.start()
        try:
            begin = read_place(source)
            pipe(source, generated.changes_sql)
            end = read_place(source)
            state = read_state(source, generated.facts.tables)
        finally:
            source.stop()
        facts = {
            "begin": asdict(begin),
            "end": asdict(end),
            "state": {table: asdict(entry) for table, entry in state.items()},
        }
        facts_file.write_text(json.dumps(facts, indent=1))

    def _empty(self) -> MariaDB:
        server = MariaDB("empty", root=self.root, options=SMALL)
        if not server.data.exists():
            server.start()
            server.stop()
        return server

    def _template(self, generated: Generated) -> MariaDB:
        return MariaDB("template", root=generated.folder, options=SMALL)

    def _source(self, generated: Generated) -> MariaDB:
        return MariaDB("source", root=generated.folder, options={**SMALL, **KEEP_BINLOG, "innodb-log-file-size": "64M"})

    @staticmethod
    def _copy_data(origin: MariaDB, copy: MariaDB) -> None:
        shutil.rmtree(copy.data, ignore_errors=True)
        copy.folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(origin.data, copy.data)
        os.sync()


def read_place(server: MariaDB) -> BinlogPlace:
    """Where the server's binlog ends now."""
    file, offset, *_ = ask(server, "SHOW MASTER STATUS")
    return BinlogPlace(str(file), int(str(offset)))
