"""Memory is bounded by settings, not by a transaction or a row. The long form: `make torture ARGS=--bounds`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import Endpoint, Vhost
from tests.torture.bounds import LIMIT_BYTES, measure


@pytest.mark.mariadb
def test_a_large_transaction_and_a_large_row_pass_in_bounded_memory(
    vhost: Vhost, fresh_target: Endpoint, tmp_path: Path
) -> None:
    bounds = measure(fresh_target, vhost, tmp_path, rows=60_000, row_bytes=64 * 2**20)
    print(bounds)
    assert 0 < bounds.transaction_peak_bytes < LIMIT_BYTES
    assert 0 < bounds.row_peak_bytes < LIMIT_BYTES
