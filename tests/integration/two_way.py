"""Two servers, each captured and replayed to the other one, in turns: nothing depends on how fast the machine is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydbsync.process.status import WorkerStatus
from tests.integration.captured import Capture
from tests.integration.engine import replay
from tests.servers import Endpoint
from tests.state import differences, read_state

STATE = "pydbsync"
MOST_TURNS = 12


class Direction:
    """What one server writes, captured and replayed to the other one."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path, stream: str, **options: Any) -> None:
        folder.mkdir()
        self.source, self.target, self.stream = source, target, stream
        self.options: Mapping[str, Any] = {
            "source_db_info": source.db_info, "two_way": True, "detect_conflicts": "off", **options
        }  # fmt: skip
        self.capture = Capture(source, folder, state_schema=STATE)
        self.echoes = self.applied = self.schema_changes = 0
        self.messages: list[bytes] = []
        """All that were captured."""
        self.capture.read()  # from now on

    def read(self) -> list[bytes]:
        """What the source has written since the last time."""
        found = self.capture.read()
        self.messages += found
        return found

    def apply(self, messages: Sequence[bytes], **options: Any) -> WorkerStatus:
        """Replay them."""
        status = replay(self.target, messages, stream=self.stream, **{**self.options, **options})
        self.echoes += status.echoes
        self.applied += status.applied
        self.schema_changes += status.schema_changes
        return status


class TwoWay:
    """Both directions."""

    def __init__(
        self, a: Endpoint, b: Endpoint, folder: Path, *, forth: Mapping[str, Any] = {}, back: Mapping[str, Any] = {}
    ) -> None:
        self.a, self.b = a, b
        self.forth = Direction(a, b, folder / "forth", "forth", **forth)
        self.back = Direction(b, a, folder / "back", "back", **back)

    def settle(self, **options: Any) -> int:
        """Replay in turns until neither side has written anything more; how many turns it took."""
        for turn in range(1, MOST_TURNS):
            messages = [self.forth.read(), self.back.read()]
            if all(map(is_a_start, [*messages[0], *messages[1]])):
                return turn
            for direction, found in zip((self.forth, self.back), messages, strict=True):
                if not all(map(is_a_start, found)):
                    direction.apply(found, **options)
        raise AssertionError(f"after {MOST_TURNS} turns there are still messages: {messages}")

    def differences(self, *databases: str) -> list[str]:
        """What differs between the servers."""
        with self.a.connect() as a, self.b.connect() as b:
            return list(differences(read_state(a, databases), read_state(b, databases), data_only=False))


def is_a_start(message: bytes) -> bool:
    """Whether it is what a replay writes when it takes its stream over, which each turn here does."""
    found = json.loads(message)
    return found.get("table") == "checkpoint" and "epoch" in found.get("old", {})
