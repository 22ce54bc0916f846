"""The private servers of a rehearsal, and the two directions between them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

import lab
from lab.rehearsal.tables import DATABASE
from lab.rehearsal.tools import STATE_SCHEMA, Direction
from pydbsync.ops.cutover.proc import kill_those_of
from tests.servers import Endpoint, Vhost

VHOST = "rehearsal"
APPLICATION, PASSWORD = "rehearsal_app", "writes-all-the-time"
"""The load is no user of pydbsync's: a server that is closed takes nothing of it."""


@dataclass(frozen=True)
class Stage:
    """Two MariaDB servers and a virtual host of the broker."""

    source: Endpoint
    target: Endpoint
    vhost: Vhost
    folder: Path

    @classmethod
    def of_lab(cls) -> Stage:
        """The lab's servers, started where they are down. Raises LabError."""
        lab.up_together(("source", "target", "rabbitmq"))
        return cls(
            Endpoint.of_lab(lab.up("source")),
            Endpoint.of_lab(lab.up("target")),
            Vhost(lab.up("rabbitmq"), VHOST),
            lab.lab_root() / "rehearsal",
        )

    def forth(self) -> Direction:
        """From the source to the target."""
        return Direction(self.source, self.target, self.vhost, "forth", self.folder / "forth")

    def back(self) -> Direction:
        """From the target to the source, in bundles."""
        return Direction(self.target, self.source, self.vhost, "back", self.folder / "back", in_bundles=True)

    def begin_anew(self) -> None:
        """Remove what an earlier rehearsal left."""
        self.end_processes()
        for endpoint in (self.source, self.target):
            endpoint.query("SET GLOBAL read_only = 0")
            endpoint.query(f"CREATE OR REPLACE USER {APPLICATION}@'%' IDENTIFIED BY '{PASSWORD}'")
            endpoint.query(f"GRANT ALL ON {DATABASE}.* TO {APPLICATION}@'%'")
            for name in (DATABASE, STATE_SCHEMA):
                endpoint.query(f"DROP DATABASE IF EXISTS {name}")
        self.vhost.broker.delete_vhost(VHOST)
        self.vhost.broker.create_vhost(VHOST)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.active.write_text(f"{self.source.host}:{self.source.port}", encoding="utf-8")

    @property
    def active(self) -> Path:
        """The file that names the server to which applications are sent, as a proxy's configuration would."""
        return self.folder / "active"

    def application(self) -> Endpoint:
        """Where the load has to write now, as the application."""
        now = self.active.read_text(encoding="utf-8").strip()
        for each in (self.source, self.target):
            if now == f"{each.host}:{each.port}":
                return replace(each, user=APPLICATION, password=PASSWORD)
        raise lab.LabError(f"{self.active} names {now!r}, which is none of both servers")

    def write_plan(self) -> Path:
        """Of the cut-over, with the configurations of both directions."""
        plan = self.folder / "plan.yaml"
        back = self.back()
        back.prepare()
        patient = dict.fromkeys(("fence_s", "stop_s", "carry_s", "arm_s", "hook_s"), 300)
        plan.write_text(
            yaml.safe_dump(
                {
                    "name": "rehearsal",
                    "forth": str(self.forth().config),
                    "back": str(back.config),
                    "bundle": True,
                    "hooks": {"switch": f'printf %s "$PYDBSYNC_TO" > {self.active}'},
                    "limits": {**patient, "drain_s": 600, "verify_s": 3600, "lag_s": 60, "watch_s": 2},
                }
            ),
            encoding="utf-8",
        )
        return plan

    def end_processes(self) -> None:
        """Of this folder: those that a cut-over has started go on when it has ended."""
        kill_those_of(self.folder)
