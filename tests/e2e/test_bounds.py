"""Memory is bounded by settings, not by a transaction or a row. The long form: `make torture ARGS=--bounds`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.matrices import LONG
from tests.servers import Endpoint, Vhost
from tests.torture.bounds import LIMIT_BYTES, measure


# In bounded memory too, always: large rows while the target is away, in test_servers_away.py; messages of 64 MiB, in
# tests/integration/amqp/test_bounds.py.
@LONG
@pytest.mark.mariadb
@pytest.mark.parametrize(
    ("rows", "row_bytes", "of_rows", "of_row"),
    [(20_000, 16 * 2**20, 90e6, 160e6), (60_000, 64 * 2**20, LIMIT_BYTES, LIMIT_BYTES)],
)
def test_a_large_transaction_and_a_large_row_pass_in_bounded_memory(
    vhost: Vhost,
    fresh_target: Endpoint,
    tmp_path: Path,
    rows: int,
    row_bytes: int,
    of_rows: float,
    of_row: float,
) -> None:
    bounds = measure(fresh_target, vhost, tmp_path, rows=rows, row_bytes=row_bytes)
    print(bounds)
    assert 0 < bounds.transaction_peak_bytes < of_rows
    assert 0 < bounds.row_peak_bytes < of_row
