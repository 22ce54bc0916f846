"""A short torture: faults at random moments on servers of its own, then a comparison row by row. See `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture.run import torture

FAULTS = 6


@pytest.mark.mariadb
def test_random_faults_leave_no_difference(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"python -m tests.torture --faults {FAULTS} --seed {seed}")
    result = torture(tmp_path, faults=FAULTS, seed=seed)
    print(result)
    assert result.is_equal, str(result)
    assert result.rows > 0
    assert sum(result.faults.values()) == FAULTS
