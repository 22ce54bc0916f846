"""A private RabbitMQ: node name, cookie, port mapper and data of its own, 127.0.0.1 only."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http
import http.client
import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from lab.process import HOST, LabError, wait_until
from lab.server import BIN_PATH, Server, Tls, find_program

PROGRAM_PATH = os.pathsep.join(("/usr/lib/rabbitmq/bin", BIN_PATH))
"""First the scripts themselves: what Debian puts into /usr/sbin changes to the user and the folders of the service."""


class ApiError(LabError):
    """The management API has refused a request."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class RabbitMQ(Server):
    """`plugins` are enabled beside those that are always there; `config` are further lines of rabbitmq.conf by name."""

    kind: ClassVar[str] = "rabbitmq"
    port_names: ClassVar[tuple[str, ...]] = ("amqp", "amqps", "management", "distribution", "epmd")

    def __init__(
        self,
        name: str = "rabbitmq",
        *,
        root: Path | None = None,
        tls: Tls | None = None,
        plugins: Sequence[str] = (),
        config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, root=root)
        self.tls = tls
        self.plugins = ("rabbitmq_management", "rabbitmq_consistent_hash_exchange", *plugins)
        self.config = dict(config or {})
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        self.node = f"pydbsync-{digest}@localhost"

    @property
    def url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{self.host}:{self.port}/"

    @property
    def tls_port(self) -> int:
        return self.ports["amqps"]

    def prepare(self) -> None:
        for folder in ("home", "conf.d", "mnesia"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "rabbitmq.conf").write_text(self._config_text(), encoding="utf-8")
        (self.folder / "enabled_plugins").write_text(f"[{','.join(self.plugins)}].\n", encoding="utf-8")
        epmd_port = self.ports["epmd"]
        mapper = self._spawn("epmd", [find_program("epmd"), "-address", HOST, "-port", str(epmd_port)])
        if not wait_until(lambda: can_connect(epmd_port) or not mapper.is_alive, timeout_s=10) or not mapper.is_alive:
            raise LabError(f"epmd of {self.name} does not listen on port {epmd_port}: see {self.log}.")

    def command(self) -> list[str]:
        return [find_program("rabbitmq-server", path=PROGRAM_PATH)]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": BIN_PATH,
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.ports["epmd"]),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self.ports["distribution"]),
            # Erlang's threads sleep when they have nothing to do: spinning takes the processor from those who have.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            " +sbwt none +sbwtdcpu none +sbwtdio none",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbitmq.pid"),
            # The script then becomes the Erlang machine instead of watching it: the pid is the broker's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def settings(self) -> tuple[str, ...]:
        return (*self.command(), self._config_text(), *self.plugins)

    def answers(self) -> bool:
        """The broker's first frame is read; it is of type 1 (method: Connection.Start)."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def is_ready(self) -> bool:
        if not self.answers():
            return False
        try:
            self.call("GET", "/overview")
        except (OSError, LabError, http.client.HTTPException):
            return False
        return True

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to the management API (`path` behind /api); the decoded answer, None for an empty one."""
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection(self.host, self.ports["management"], timeout=30)
        try:
            connection.request(
                method,
                f"/api{path}",
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            text = answer.decode(errors="replace")
            raise ApiError(f"RabbitMQ answered {method} {path} with {response.status}: {text}", response.status)
        return json.loads(answer) if answer else None

    def control(self, *arguments: str) -> str:
        """`rabbitmqctl` of this broker; what it says. Raises LabError if it fails."""
        command = [find_program("rabbitmqctl", path=PROGRAM_PATH), "--node", self.node, *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def create_vhost(self, name: str) -> None:
        """Make a virtual host in which the lab's user may do everything."""
        self.call("PUT", f"/vhosts/{quote(name, safe='')}", {})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.call("PUT", f"/permissions/{quote(name, safe='')}/{self.user}", everything)

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host with its queues, and cut its connections. One that is not there is no error."""
        try:
            self.call("DELETE", f"/vhosts/{quote(name, safe='')}")
        except ApiError as exc:
            if exc.status != http.HTTPStatus.NOT_FOUND:
                raise

    def close_connections(self, vhost: str) -> int:
        """Have the broker close the connections of a virtual host; how many it has closed."""
        closed = 0
        for connection in self.call("GET", f"/vhosts/{quote(vhost, safe='')}/connections"):
            with contextlib.suppress(LabError):  # one that has gone by itself, or is closing, is answered with an error
                self.call("DELETE", f"/connections/{quote(connection['name'], safe='')}")
                closed += 1
        return closed

    def _config_text(self) -> str:
        lines = {
            "listeners.tcp.1": f"{HOST}:{self.ports['amqp']}",
            "management.tcp.ip": HOST,
            "management.tcp.port": str(self.ports["management"]),
            "default_user": self.user,
            "default_pass": self.password,
            "disk_free_limit.absolute": "64MB",
        }
        if self.tls:
            lines |= {
                "listeners.ssl.1": f"{HOST}:{self.ports['amqps']}",
                "ssl_options.cacertfile": str(self.tls.ca),
                "ssl_options.certfile": str(self.tls.certificate),
                "ssl_options.keyfile": str(self.tls.key),
                "ssl_options.verify": "verify_peer" if self.tls.verify_client else "verify_none",
                "ssl_options.fail_if_no_peer_cert": "true" if self.tls.verify_client else "false",
            }
        return "".join(f"{name} = {value}\n" for name, value in {**lines, **self.config}.items())


def can_connect(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True
