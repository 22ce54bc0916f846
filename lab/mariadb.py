"""A private MariaDB: data folder of its own, row binlog on, quick rather than durable unless asked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from lab.process import HOST, LabError, complaints
from lab.server import BIN_PATH, Server, Tls, call_in, find_program, share_of, with_first
from lab.state import common_root

SERVER_IDS = {"source": 1, "target": 2}

BASE_OPTIONS: Mapping[str, str] = {
    "bind-address": HOST,
    "skip-name-resolve": "ON",
    "max-connect-errors": "4294967295",  # probes and cut connections must not get the host blocked
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_general_ci",  # the default differs between versions
    "default-time-zone": "+00:00",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "binlog-row-image": "FULL",
    "log-slave-updates": "ON",
    "max-binlog-size": "256M",
    "binlog-expire-logs-seconds": "7200",
    "max-allowed-packet": "1G",
    "max-connections": "300",
    "innodb-buffer-pool-size": "256M",
    "innodb-log-file-size": "256M",
}
# The process may be killed at any time without losing a commit; only a crash of the machine loses one.
QUICK: Mapping[str, str] = {
    "innodb-flush-log-at-trx-commit": "2",
    "sync-binlog": "0",
    "innodb-flush-method": "nosync",  # else DDL waits for the disk again and again, and takes twice as long
    "debug-no-sync": "ON",
    # To make a table in a file of its own costs half as much again, to drop it twice as much, and tests do so more than
    # anything else. Those that are about files set it, and the lab's MySQL has it.
    "innodb-file-per-table": "OFF",
    "innodb-stats-persistent": "OFF",
}
DURABLE: Mapping[str, str] = {"innodb-flush-log-at-trx-commit": "1", "sync-binlog": "1"}
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 << 30
ROOT_VARIABLE = "PYDBSYNC_MARIADB"
INSTALL = ("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
BOOTSTRAP = ("--bootstrap", "--log-warnings=0", "--enforce-storage-engine=", "--max-allowed-packet=8M")


def mariadbd() -> tuple[str, ...]:
    """How the server is called: the one in the folder that the environment's PYDBSYNC_MARIADB names, of any release,
    else the one that is installed."""
    root = os.environ.get(ROOT_VARIABLE)
    return call_in(Path(root), "mariadbd", "mysqld") if root else (find_program("mariadbd", "mysqld"),)


def first_tables(share: Path) -> bytes:
    """What mariadb-install-db has a new server read, of the release whose files are in `share`."""
    parts = (
        "*_system_tables.sql", "*_performance_tables.sql", "*_system_tables_data.sql",
        "maria_add_gis_sp_bootstrap.sql", "*_sys_schema.sql",
    )  # fmt: skip
    texts = [path.read_bytes() for part in parts for path in sorted(share.glob(part))[:1]]
    return b"\n".join((b"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;", *texts))


class MariaDB(Server):
    """`options` are further server options by name, such as {"default-time-zone": "+08:00"}."""

    kind: ClassVar[str] = "mariadb"
    port_names: ClassVar[tuple[str, ...]] = ("mysql",)

    def __init__(
        self,
        name: str,
        *,
        root: Path | None = None,
        durable: bool = False,
        tls: Tls | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, root=root)
        self.durable = durable
        self.tls = tls
        self.options = dict(options or {})
        self.data = self.folder / "data"

    @property
    def url(self) -> str:
        return f"mysql://{self.user}:{self.password}@{self.host}:{self.port}"

    @property
    def temporary(self) -> Path:
        """Where it makes its temporary files. A MariaDB makes two for a question about columns or keys, and on a disk
        they take longer than the answer: so in memory, where that has room for those of large statements too."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        in_memory = MEMORY / f"pydbsync-lab-{digest}"
        return in_memory if in_memory.is_dir() or _has_room(MEMORY) else self.folder / "tmp"

    def prepare(self) -> None:
        self.temporary.mkdir(parents=True, exist_ok=True)
        (self.folder / "init.sql").write_text(
            "".join(
                f"CREATE USER IF NOT EXISTS {self.user}@'{host}' IDENTIFIED BY '{self.password}';\n"
                f"GRANT ALL ON *.* TO {self.user}@'{host}' WITH GRANT OPTION;\n"
                for host in ("%", "localhost")
            ),
            encoding="utf-8",
        )
        if (self.data / "mysql").is_dir():
            return
        call = mariadbd()
        program = next(word for word in call if word.endswith(("/mariadbd", "/mysqld")))
        log_size = f"--innodb-log-file-size={BASE_OPTIONS['innodb-log-file-size']}"
        # Not `--user`: for a named user the script changes the owner of the system's PAM plugin.
        as_root = ["--loose-user=root"] if os.geteuid() == 0 else []
        if ROOT_VARIABLE in os.environ:  # whose script would run its programs with the libraries of this system
            bootstrap = [*with_first(call, "--no-defaults"), *BOOTSTRAP, log_size, *as_root]
            first = first_tables(share_of(Path(program)))
            self.fill_data(program, lambda data: [*bootstrap, f"--datadir={data}"], stdin=first)
            return
        installer = [find_program("mariadb-install-db", "mysql_install_db"), "--no-defaults", *INSTALL, log_size]
        self.fill_data(program, lambda data: [*installer, *as_root, f"--datadir={data}"])

    def fill_data(self, program: str, command: Callable[[Path], list[str]], *, stdin: bytes = b"") -> None:
        """Have `command` make the data folder that it is given, for this server program; once in a lab: the folders of
        its other servers are copies."""
        made = template_of(program, self.kind)
        with made.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.is_dir():
                partial = _emptied(made.with_suffix(".partial"))
                if stdin:
                    partial.mkdir()
                self._run(command(partial), stdin=stdin)
                made.with_suffix(".partial").rename(made)
        # Filled beside its place: what was interrupted is not taken for a complete one.
        partial = _emptied(self.folder / "data.partial")
        self._run(["cp", "-a", "--sparse=always", "--reflink=auto", str(made), str(partial)])
        (partial / "auto.cnf").unlink(missing_ok=True)  # a MySQL's UUID, which the next start makes
        partial.rename(self.data)

    def _run(self, command: list[str], *, stdin: bytes = b"") -> None:
        with self.log.open("wb") as log:
            done = subprocess.run(
                command,
                input=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                check=False,
            )
        if done.returncode != 0:
            raise LabError(f"The data folder of {self.name} could not be made:\n{complaints(self.log)}")

    def command(self) -> list[str]:
        options = {
            **BASE_OPTIONS,
            **(DURABLE if self.durable else QUICK),
            **self._tls_options(),
            **self.options,
        }
        return [
            *with_first(mariadbd(), "--no-defaults"),
            *(["--user=root"] if os.geteuid() == 0 else []),
            f"--datadir={self.data}",
            f"--port={self.port}",
            "--socket=server.sock",  # relative to the data folder: the full path may be too long for a socket
            "--pid-file=server.pid",
            f"--init-file={self.folder / 'init.sql'}",
            f"--server-id={SERVER_IDS.get(self.name, self.port)}",
            *(f"--{name}={value}" for name, value in options.items()),
        ]

    def _end(self, timeout_s: float) -> None:
        super()._end(timeout_s)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": BIN_PATH,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            # Not the common /tmp: a MariaDB that starts deletes the temporary tables of all others there.
            "TMPDIR": str(self.temporary),
        }

    def answers(self) -> bool:
        """The server's greeting is read: it comes when init.sql has run, while the port is open earlier."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                greeting = connection.recv(5)
        except OSError:
            return False
        return greeting[4:5] == b"\x0a"  # protocol version 10 behind the four bytes of the packet's header

    def _tls_options(self) -> dict[str, str]:
        if not self.tls:
            return {}
        return {"ssl-ca": str(self.tls.ca), "ssl-cert": str(self.tls.certificate), "ssl-key": str(self.tls.key)}


def _has_room(folder: Path) -> bool:
    """Whether files of a gigabyte can be there without being missed, as the memory of a container may not have."""
    try:
        return shutil.disk_usage(folder).free >= MEMORY_BYTES
    except OSError:
        return False


def template_of(program: str, kind: str) -> Path:
    """Where the lab keeps the data folder that a new server of this program begins with."""
    place = Path(program).resolve()
    about = place.stat()
    digest = hashlib.sha256(f"{place} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = common_root() / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{kind}-{digest}"


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
