"""A short torture of both directions: faults at random moments, then a comparison. See `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

from tests.servers import Endpoint, Vhost
from tests.torture.two_way import torture

FAULTS = 3


def test_random_faults_leave_both_sides_equal_and_nothing_going_round(
    fresh_source: Endpoint, fresh_target: Endpoint, vhost: Vhost, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"python -m tests.torture --two-way --faults {FAULTS} --seed {seed}")
    result = torture(fresh_source, fresh_target, vhost, tmp_path, faults=FAULTS, seed=seed)
    print(result)
    assert result.is_equal, str(result)
    assert result.transactions > 0
