"""A short torture of the sink `redis`: faults at random moments, then a comparison key by key. See `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrices import ANOTHER_SEED, LONG
from tests.torture.redis import torture

FAULTS = [pytest.param(3, 1, id="the same seed"), pytest.param(6, ANOTHER_SEED, id="another seed")]


@LONG  # kills, cut lines and a Redis that goes away are each in test_redis.py
@pytest.mark.mariadb
@pytest.mark.parametrize(("faults", "seed"), FAULTS)
def test_random_faults_leave_redis_equal_and_never_show_older_over_newer(
    tmp_path: Path, faults: int, seed: int
) -> None:
    print(f"python -m tests.torture --redis --faults {faults} --seed {seed}")
    result = torture(tmp_path, faults=faults, seed=seed)
    print(result)
    assert result.is_equal, str(result)
    assert result.keys > 0
    assert result.looks > 0
    assert result.overheard > 0
