"""A short torture of both directions: faults at random moments, then a comparison. See `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrices import ANOTHER_SEED, LONG
from tests.servers import Endpoint, Vhost
from tests.torture.two_way import torture

FAULTS = [pytest.param(1, 1, id="the same seed"), pytest.param(3, ANOTHER_SEED, marks=LONG, id="another seed")]


@pytest.mark.parametrize(("faults", "seed"), FAULTS)
def test_random_faults_leave_both_sides_equal_and_nothing_going_round(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path: Path, faults: int, seed: int
) -> None:
    print(f"python -m tests.torture --two-way --faults {faults} --seed {seed}")
    result = torture(fresh_source, fresh_target, vhost, tmp_path, faults=faults, seed=seed)
    print(result)
    assert result.is_equal, str(result)
    assert result.transactions > 0
