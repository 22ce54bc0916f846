"""A short torture: faults at random moments on servers of its own, then a comparison row by row. See `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrices import ANOTHER_SEED, LONG
from tests.torture.run import torture

FAULTS = [pytest.param(3, 1, id="the same seed"), pytest.param(6, ANOTHER_SEED, id="another seed")]


@LONG  # each of these faults alone is in test_kill_points.py, test_servers_away.py and test_target_faults.py
@pytest.mark.mariadb
@pytest.mark.parametrize(("faults", "seed"), FAULTS)
def test_random_faults_leave_no_difference(tmp_path: Path, faults: int, seed: int) -> None:
    print(f"python -m tests.torture --faults {faults} --seed {seed}")
    result = torture(tmp_path, faults=faults, seed=seed)
    print(result)
    assert result.is_equal, str(result)
    assert result.rows > 0
    assert sum(result.faults.values()) == faults
