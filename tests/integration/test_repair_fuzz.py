"""Random tables with random damage are equal after repair, and as before after its reverse.

A short run with the same rounds each time; the long form is `python -m tests.torture.repairs`.
"""

from __future__ import annotations

from pathlib import Path

from tests.repair_fuzz import Ends, fuzz
from tests.servers import Endpoint

ROUNDS = 6


def test_random_damage_is_repaired_and_put_back(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> None:
    with Ends(fresh_source, fresh_target, tmp_path) as ends:
        fuzz(ends, rounds=ROUNDS, seed=None)
        assert ends.changes > ROUNDS
