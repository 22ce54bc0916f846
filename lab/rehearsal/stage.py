"""The private servers of a rehearsal, and the two directions between them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import lab
from lab.rehearsal.tables import DATABASE
from lab.rehearsal.tools import STATE_SCHEMA, Direction
from tests.servers import Endpoint, Vhost

VHOST = "rehearsal"


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
        for endpoint in (self.source, self.target):
            for name in (DATABASE, STATE_SCHEMA):
                endpoint.query(f"DROP DATABASE IF EXISTS {name}")
        self.vhost.broker.delete_vhost(VHOST)
        self.vhost.broker.create_vhost(VHOST)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
