"""A private Redis (or Valkey): 127.0.0.1 only, data in its folder."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from lab.process import HOST
from lab.server import BIN_PATH, Server, Tls, find_program

BASE_OPTIONS: Mapping[str, str] = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}


class Redis(Server):
    """`options` are lines of redis.conf by name; an empty value is "". With `tls` the main port is the encrypted one.
    With `sentinel` it watches others instead of keeping data."""

    kind: ClassVar[str] = "redis"
    port_names: ClassVar[tuple[str, ...]] = ("redis", "bus")

    def __init__(
        self,
        name: str = "redis",
        *,
        root: Path | None = None,
        tls: Tls | None = None,
        options: Mapping[str, str] | None = None,
        sentinel: bool = False,
    ) -> None:
        super().__init__(name, root=root)
        self.tls = tls
        self.options = dict(options or {})
        self.sentinel = sentinel

    @property
    def url(self) -> str:
        return f"redis{'s' if self.tls else ''}://{self.host}:{self.port}"

    @property
    def _config(self) -> Path:
        return self.folder / "redis.conf"

    def _text(self) -> str:
        port = {"port": str(self.port)}
        if self.tls:
            port = {
                "port": "0",
                "tls-port": str(self.port),
                "tls-cert-file": str(self.tls.certificate),
                "tls-key-file": str(self.tls.key),
                "tls-ca-cert-file": str(self.tls.ca),
                "tls-auth-clients": "yes" if self.tls.verify_client else "no",
            }
        lines = {"bind": HOST, "dir": str(self.folder), "daemonize": "no", **port}
        if not self.sentinel:
            lines |= BASE_OPTIONS
        if self.options.get("cluster-enabled") == "yes":
            lines["cluster-port"] = str(self.ports["bus"])
        lines |= self.options
        return "".join(f"{name} {value or chr(34) * 2}\n" for name, value in lines.items())

    def prepare(self) -> None:
        if not (self.sentinel and self._config.exists()):  # a sentinel writes what it knows into its file
            self._config.write_text(self._text(), encoding="utf-8")

    def settings(self) -> tuple[str, ...]:
        return (*self.command(), self._text())

    def command(self) -> list[str]:
        program = find_program("redis-server", "valkey-server")
        return [program, str(self._config), *(["--sentinel"] if self.sentinel else [])]

    def environment(self) -> dict[str, str]:
        return {"PATH": BIN_PATH, "HOME": str(self.folder), "LANG": "C.UTF-8", "TZ": "UTC"}

    def answers(self) -> bool:
        """A PING is answered: PONG, or that a password or TLS is wanted."""
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                if self.tls:
                    return True
                connection.sendall(b"PING\r\n")
                answer = connection.recv(100)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))
