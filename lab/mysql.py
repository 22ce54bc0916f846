"""A private MySQL for the tests' second leg, where one is installed: it is never installed here.

Debian's stable releases have MariaDB alone, so the folder that PYDBSYNC_MYSQL names may hold another release's files,
as debootstrap makes them: its mysqld is run with its own libraries, from outside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from lab.mariadb import MariaDB
from lab.process import HOST, LabError
from lab.server import BIN_PATH, call_in, with_first

ROOT_VARIABLE = "PYDBSYNC_MYSQL"

OPTIONS: Mapping[str, str] = {
    "bind-address": HOST,
    "skip-name-resolve": "ON",
    "max-connect-errors": "4294967295",
    "mysqlx": "OFF",
    "secure-file-priv": "",  # the folder that packages name need not be there
    "gtid-mode": "ON",
    "enforce-gtid-consistency": "ON",
    "binlog-row-image": "FULL",
    "binlog-row-metadata": "FULL",
    "max-allowed-packet": "64M",
    "max-connections": "300",
    "innodb-buffer-pool-size": "128M",
    # As the lab's MariaDB: a crash of the machine may lose commits, one of the process none.
    "innodb-flush-log-at-trx-commit": "2",
    "sync-binlog": "0",
    "innodb-flush-method": "nosync",
    # What costs the processor and shows nothing: clients encrypt where it is offered, each COUNT(*) starts threads, and
    # what statements do is measured. Tests that are about TLS turn it on.
    "tls-version": "",
    "innodb-parallel-read-threads": "1",
    "performance-schema-instrument": "%=OFF",
}


@dataclass(frozen=True)
class Mysqld:
    """How the program is called, and where its files are."""

    command: tuple[str, ...]
    version: str


@cache
def find_mysqld() -> Mysqld | None:
    """The MySQL in the folder that the environment's PYDBSYNC_MYSQL names, else the one that is installed; None where
    there is none. Raises LabError where the named one does not run."""
    root = os.environ.get(ROOT_VARIABLE)
    if root:
        command = call_in(Path(root), "mysqld")
    elif installed := shutil.which("mysqld", path=BIN_PATH):
        command = (installed,)
    else:
        return None
    told = subprocess.run(with_first(command, "--version"), capture_output=True, text=True, check=False)
    if told.returncode != 0 and root:
        raise LabError(f"{ROOT_VARIABLE} is {root}, but mysqld does not run there: {told.stderr.strip()}")
    if told.returncode != 0 or "MariaDB" in told.stdout:
        return None
    return Mysqld(command, told.stdout.partition("Ver ")[2].split()[0])


class MySQL(MariaDB):
    """As the lab's MariaDB, with GTIDs and full metadata in the binlog."""

    kind: ClassVar[str] = "mysql"

    def prepare(self) -> None:
        self.temporary.mkdir(parents=True, exist_ok=True)
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS {self.user}@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO {self.user}@'%' WITH GRANT OPTION;\n",
            encoding="utf-8",
        )
        if (self.data / "mysql").is_dir():
            return
        start = self._start("--no-defaults")
        self.fill_data(
            next(word for word in start if word.endswith("/mysqld")),
            lambda data: [*start, "--initialize-insecure", *self._as_root(), f"--datadir={data}"],
        )

    def command(self) -> list[str]:
        return [
            *self._start("--no-defaults"),
            *self._as_root(),
            f"--datadir={self.data}",
            f"--port={self.port}",
            "--socket=server.sock",
            "--pid-file=server.pid",
            f"--init-file={self.folder / 'init.sql'}",
            f"--server-id={self.port}",
            *(f"--{name}={value}" for name, value in {**OPTIONS, **self.options}.items()),
        ]

    def _start(self, first: str) -> list[str]:
        """The program, with `first` before all other options, as mysqld wants it."""
        found = find_mysqld()
        if found is None:
            raise LabError(f"MySQL is not installed: {ROOT_VARIABLE} can name a folder that has usr/sbin/mysqld.")
        return with_first(found.command, first)

    def _as_root(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []
