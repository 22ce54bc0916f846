"""Random tables with random damage are equal after repair, and as before after its reverse.

One run, always the same; the long form is `make torture ARGS="--repair 2000"`.
"""

from __future__ import annotations

from pathlib import Path

from tests.servers import Endpoint
from tests.torture.repairs import Fuzz

TABLES = 8


def test_random_damage_is_repaired_and_put_back(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> None:
    fuzz = Fuzz(fresh_source, fresh_target, tmp_path, seed=11)
    assert fuzz.run(TABLES) == []
    assert fuzz.tables == TABLES
    assert fuzz.changes > TABLES
