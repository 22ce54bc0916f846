"""Two servers, a plan of a cut-over between them, and a small application that writes wherever it is sent."""

from __future__ import annotations

import logging
import os
import pty
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql
import yaml

from pydbsync.apply.raw_connection import RawConnection
from pydbsync.ops.cutover.journal import Command
from pydbsync.ops.cutover.run import CutoverCall, CutoverOutcome
from pydbsync.ops.cutover.ways import load_ways
from tests.processes import REPOSITORY, Finished, wait_for, write_config
from tests.servers import Endpoint, Vhost

APPLICATION = "shop_app"
PASSWORD = "write-orders"
OPERATOR = "pydbsync_operator"
"""The user of pydbsync, with no right but those that the documentation asks for."""
RIGHTS = {
    "shop.*": "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, LOCK TABLES, TRIGGER, EVENT,"
              " CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE",
    "pydbsync.*": "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP",
    "pydbsync_heartbeat.*": "SELECT, INSERT, UPDATE, CREATE",
}  # fmt: skip
EVERYWHERE = {
    "mariadb": "SELECT, REPLICATION SLAVE, REPLICATION CLIENT, PROCESS, READ_ONLY ADMIN, CONNECTION ADMIN, SET USER",
    "mysql": "SELECT, REPLICATION SLAVE, REPLICATION CLIENT, PROCESS, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN,"
             " XA_RECOVER_ADMIN, SET_ANY_DEFINER, SYSTEM_USER",
}  # fmt: skip
TABLES = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(40) NOT NULL, note TEXT)",
    "CREATE TABLE shop.balance (id INT PRIMARY KEY, n BIGINT NOT NULL)",
    "INSERT INTO shop.balance VALUES (1, 0)",
    "CREATE TRIGGER shop.count_orders AFTER INSERT ON shop.orders FOR EACH ROW"
    " UPDATE shop.balance SET n = n + 1 WHERE id = 1",
    "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY STARTS CURRENT_TIMESTAMP + INTERVAL 1 DAY DO DO 1",
)


def open_for_writes(server: Endpoint) -> None:
    """An earlier test may have left it closed."""
    if server.brand == "mysql":
        server.query("SET GLOBAL super_read_only = 0")
        server.query("RESET PERSIST IF EXISTS read_only")
    server.query("SET GLOBAL read_only = 0")


class Stage:
    """A source with an application, an empty target, and a plan from one to the other."""

    def __init__(self, source: Endpoint, target: Endpoint, vhost: Vhost, folder: Path) -> None:
        self.source, self.target, self.vhost, self.folder = source, target, vhost, folder
        self.active = folder / "active"
        self.plan = folder / "plan.yaml"
        self.started: list[subprocess.Popen[bytes]] = []
        self.applications: list[Application] = []
        for server in (source, target):
            open_for_writes(server)
            server.query(f"DROP USER IF EXISTS {APPLICATION}@'%'")
            server.query(f"CREATE USER {APPLICATION}@'%' IDENTIFIED BY '{PASSWORD}'")
            server.query(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON shop.* TO {APPLICATION}@'%'")
            server.query("SET GLOBAL log_bin_trust_function_creators = 1")
            server.query(f"DROP USER IF EXISTS {OPERATOR}@'%'")
            server.query(f"CREATE USER {OPERATOR}@'%' IDENTIFIED BY '{PASSWORD}'")
            for where, what in {**RIGHTS, "*.*": EVERYWHERE[server.brand]}.items():
                server.query(f"GRANT {what} ON {where} TO {OPERATOR}@'%'")
        for sql in TABLES:
            source.query(sql)
        self.send_to(source)

    def send_to(self, server: Endpoint) -> None:
        self.active.write_text(f"{server.host}:{server.port}")

    def write_plan(self, **more: Any) -> None:
        """And the configuration forth; that of the way back is derived."""
        write_config(
            {
                "db_info": {**self.target.db_info, "user": OPERATOR, "password": PASSWORD},
                "source_db_info": {**self.source.db_info, "user": OPERATOR, "password": PASSWORD},
                "rabbitmq_conn_info": self.vhost.conn_info,
                "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
                "include": ["shop.*", "pydbsync_heartbeat.*"],
                "exclude": ["pydbsync.*"],
                "state_interval_s": 0.2,
                "consumer_poll_s": 0.05,
                "lossy_values": "off",
                "log_file_prefix": str(self.folder / "forth-%s.log"),
            },
            self.folder / "forth.py",
        )
        plan: dict[str, Any] = {
            "name": "shop",
            "forth": "forth.py",
            "hooks": {"switch": self.switch},
            **more,
        }
        patient = dict.fromkeys(
            ("fence_s", "drain_s", "verify_s", "stop_s", "carry_s", "arm_s", "hook_s", "lag_s"), 300
        )
        plan["limits"] = {**patient, "verify_age_s": 0, "watch_s": 0.5, **more.get("limits", {})}
        self.plan.write_text(yaml.safe_dump(plan), encoding="utf-8")

    def begin_capture(self) -> subprocess.Popen[bytes]:
        """Have it at work forth; replay begins behind a copy."""
        self.vhost.declare("sync")
        config = str(self.folder / "forth.py")
        capture = self.start("capture", "--config", config, "--state", "target", "--name", "forth-first")
        wait_for(self._is_captured, what="capture's first place")
        return capture

    def begin(self) -> subprocess.Popen[bytes]:
        """Copy, and have capture and replay forth at work; the capture."""
        config = str(self.folder / "forth.py")
        capture = self.begin_capture()
        done = self.run("copy", "--config", config)
        assert done.exit_code == 0, done
        self.start("run", "--config", config)
        return capture

    def _is_captured(self) -> bool:
        try:
            return bool(self.target.query("SELECT 1 FROM pydbsync.capture_place"))
        except pymysql.MySQLError:
            return False

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{arguments[0]}.out").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pydbsync", *arguments], cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 400) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "pydbsync", *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout_s, check=False, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    def call(self, command: str, *, kill_at: str = "", options: tuple[str, ...] = ("--yes",)) -> Finished:
        """`pydbsync cutover plan.yaml --yes`, or another; killed where it is told to be."""
        environment = {"PYDBSYNC_KILL_POINT": kill_at} if kill_at else {}
        return self.run(command, str(self.plan), *options, environment=environment)

    @property
    def switch(self) -> str:
        """The hook that sends the application to the other server."""
        return f'echo "$PYDBSYNC_TO" > {self.active}'

    def answered(self, command: str, answers: str) -> Finished:
        """The call at a terminal, where a person answers."""
        ours, theirs = pty.openpty()
        os.write(ours, answers.encode())
        done = subprocess.run(
            [sys.executable, "-m", "pydbsync", command, str(self.plan)], cwd=self.folder, stdin=theirs,
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        os.close(theirs)
        os.close(ours)
        return Finished(done.returncode, done.stdout, done.stderr)

    def go(self, command: Command, tell: Callable[[str], None]) -> CutoverOutcome:
        """In this process, which can then be disturbed at each step; `tell` gets what the call says."""
        log = logging.getLogger("test")
        return CutoverCall(
            load_ways(self.plan), command, tell=tell, ask=log.info, log=log, stop=threading.Event()
        ).run()  # fmt: skip

    def end_sessions(self) -> None:
        """All that pydbsync has at both servers: of the call, its lock, workers and capture."""
        for server in (self.source, self.target):
            for (number,) in server.query(f"SELECT id FROM information_schema.processlist WHERE user = '{OPERATOR}'"):
                with suppress(pymysql.MySQLError):
                    server.query(f"KILL {number}")

    def close(self) -> None:
        """End the applications, and all that works with files of this stage, what the tool itself has started too."""
        for application in self.applications:
            application.stop()
        mark = str(self.folder).encode()
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with suppress(OSError):
                    words = (folder / "cmdline").read_bytes()
                    if mark in words and b"pydbsync" in words:
                        os.killpg(os.getpgid(int(folder.name)), signal.SIGKILL)
        for process in self.started:
            process.wait()
        for server in (self.source, self.target):
            open_for_writes(server)
            server.query(f"DROP USER IF EXISTS {APPLICATION}@'%', {OPERATOR}@'%'")


class Application:
    """Writes orders one by one to the server that `active` names, and remembers each that was committed."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        stage.applications.append(self)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="application", daemon=True)
        self.committed: list[str] = []
        self.unknown: list[str] = []
        """Whose COMMIT had no answer."""
        self.refused = 0
        self._number = 0

    def start(self) -> Application:
        self._thread.start()
        return self

    def write_more(self, count: int) -> None:
        """Wait until so many more were committed."""
        wanted = len(self.committed) + count
        wait_for(lambda: len(self.committed) >= wanted, what=f"{count} more orders")

    def stop(self) -> None:
        self._halt.set()
        self._thread.join()

    def _run(self) -> None:
        connection, where = None, ""
        while not self._halt.is_set():
            if (now := self._stage.active.read_text().strip()) != where or connection is None:
                where = now or where
                with suppress(pymysql.MySQLError):
                    if connection is not None:
                        connection.close()
                connection = self._connected(where)
                if connection is None:
                    self._halt.wait(0.02)
                    continue
            if not self._write(connection):
                connection = None
            self._halt.wait(0.02)

    def _connected(self, where: str) -> Any:
        host, _, port = where.partition(":")
        try:
            return RawConnection(host=host, port=int(port), user=APPLICATION, password=PASSWORD, database="shop")
        except (pymysql.MySQLError, ValueError):
            return None

    def _write(self, connection: Any) -> bool:
        self._number += 1
        token, is_committing = f"order {self._number}", False
        try:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO orders (token) VALUES (%s)", (token,))
                if self._number % 3 == 0:
                    cursor.execute("UPDATE orders SET note = 'seen' WHERE id = LAST_INSERT_ID()")
            is_committing = True
            connection.commit()
        except pymysql.MySQLError as exc:
            is_answer = exc.args and exc.args[0] in (1290, 1836, 1792)
            if is_committing and not is_answer:
                self.unknown.append(token)
            self.refused += 1
            with suppress(pymysql.MySQLError):
                connection.close()
            return False
        self.committed.append(token)
        return True

    def faults(self, server: Endpoint) -> list[str]:
        """What is missing, doubled or made up at a server; empty when all is well."""
        found = Counter(str(token) for (token,) in server.query("SELECT token FROM shop.orders"))
        known = {*self.committed, *self.unknown}
        wrong = [f"missing: {token}" for token in self.committed if not found[token]]
        wrong += [f"{count} times: {token}" for token, count in found.items() if count > 1]
        wrong += [f"never committed: {token}" for token in found if token not in known]
        ((counted,),) = server.query("SELECT n FROM shop.balance")
        if counted != sum(found.values()):
            wrong.append(f"the trigger counted {counted} orders, there are {sum(found.values())}")
        return wrong
