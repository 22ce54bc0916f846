"""Statements of a source, carried to the target as messages, and compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.captured import Capture, run
from tests.integration.engine import parked, replay
from tests.servers import Endpoint
from tests.state import differences, read_state


class Carrier:
    """One source and one target without any databases, and a capture between them."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path) -> None:
        self.source, self.target = source, target
        self._capture = Capture(source, folder, exact=True)
        self._capture.read()
        self.messages: list[bytes] = []

    @property
    def source_server(self) -> str:
        return "mysql 9.7" if self.source.brand == "mysql" else "mariadb 10.11"

    def run(self, *statements: str) -> list[bytes]:
        """Run them on the source in one session; the messages of these alone."""
        run(self.source, statements)
        found = self._capture.read()
        self.messages += found
        return found

    def replay(self, messages: Sequence[bytes] | None = None, **options: Any) -> None:
        """Replay all messages so far, or these; nothing may be parked."""
        given = {"source_server": self.source_server, "lossy_values": "off", **options}
        replay(self.target, self.messages if messages is None else messages, **given)
        assert parked(self.target) == []

    def differences(self, *databases: str) -> list[str]:
        with self.source.connect() as at_source, self.target.connect() as at_target:
            wanted, found = read_state(at_source, databases), read_state(at_target, databases)
        return list(differences(wanted, found, data_only=False))


def without_places(messages: Sequence[bytes]) -> list[bytes]:
    """The row messages as a Maxwell that tells no positions sends them: nothing shows that they came before."""
    found = []
    for message in messages:
        decoded = json.loads(message)
        if "data" in decoded:
            for name in ("position", "gtid", "xoffset"):
                decoded.pop(name, None)
            found.append(json.dumps(decoded, ensure_ascii=False).encode())
    return found
