"""A short torture of the sink `opensearch`: faults at random moments, then a comparison. See `make torture`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.integration.search_sink import NEEDED, URL
from tests.torture.search import torture

FAULTS = 5


@pytest.mark.mariadb
@pytest.mark.skipif(not URL, reason=NEEDED)
def test_random_faults_leave_opensearch_equal_and_never_show_older_over_newer(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"python -m tests.torture --opensearch --faults {FAULTS} --seed {seed}")
    result = torture(tmp_path, faults=FAULTS, seed=seed)
    print(result)
    assert result.is_equal, str(result)
    assert result.keys > 0
    assert result.looks > 0
    assert result.overheard > 0
