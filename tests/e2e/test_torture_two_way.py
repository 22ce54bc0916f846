"""A short torture of both directions: faults at random moments, then a comparison. See `make torture`."""

from __future__ import annotations

from pathlib import Path

from tests.matrices import ANOTHER_SEED, LONG
from tests.servers import Endpoint, Vhost
from tests.torture.two_way import torture

FAULTS = 3


@LONG  # the same with two kills at fixed moments is in test_two_way.py
def test_random_faults_leave_both_sides_equal_and_nothing_going_round(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path: Path
) -> None:
    print(f"python -m tests.torture --two-way --faults {FAULTS} --seed {ANOTHER_SEED}")
    result = torture(fresh_source, fresh_target, vhost, tmp_path, faults=FAULTS, seed=ANOTHER_SEED)
    print(result)
    assert result.is_equal, str(result)
    assert result.transactions > 0
