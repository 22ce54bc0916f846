"""Random tables with random damage: a few rounds of `make torture ARGS=--verify`, always the same."""

from __future__ import annotations

from tests.servers import Endpoint
from tests.torture.comparisons import Fuzz


def test_random_damage_is_found_exactly(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    assert Fuzz(fresh_source, fresh_target, seed=11).run(40) == []
