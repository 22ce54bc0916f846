"""A private Prometheus and a private Alertmanager, for the tests of metrics and alerts."""

from __future__ import annotations

import http.client
import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from lab.server import BIN_PATH, Server, find_program


class _Monitor(Server):
    """What both have in common: one port of HTTP, one file of configuration."""

    port_names: ClassVar[tuple[str, ...]] = ("http",)
    programs: ClassVar[tuple[str, ...]]
    storage: ClassVar[str]

    def __init__(self, name: str, *, root: Path | None = None, config: Mapping[str, Any] | None = None) -> None:
        """`config` is written as JSON, which is YAML."""
        super().__init__(name, root=root)
        self.config = dict(config or {})

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yml").write_text(json.dumps(self.config, indent=1), encoding="utf-8")

    def command(self) -> list[str]:
        return [
            find_program(*self.programs), f"--config.file={self.folder}/config.yml",
            f"--{self.storage}={self.folder}/data", f"--web.listen-address={self.host}:{self.port}",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {"PATH": BIN_PATH, "LANG": "C.UTF-8", "TZ": "UTC"}

    def settings(self) -> tuple[str, ...]:
        return (*self.command(), json.dumps(self.config))

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str, **parameters: str) -> Any:
        """The decoded answer to one request."""
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)


class Prometheus(_Monitor):
    kind: ClassVar[str] = "prometheus"
    programs: ClassVar[tuple[str, ...]] = ("prometheus",)
    storage: ClassVar[str] = "storage.tsdb.path"

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each series now."""
        found = self.get("/api/v1/query", query=expression)["data"]["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]


class Alertmanager(_Monitor):
    kind: ClassVar[str] = "alertmanager"
    programs: ClassVar[tuple[str, ...]] = ("prometheus-alertmanager", "alertmanager")
    storage: ClassVar[str] = "storage.path"

    def command(self) -> list[str]:
        return [*super().command(), "--cluster.listen-address="]
