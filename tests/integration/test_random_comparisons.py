"""Random tables with random damage: a few rounds of `make torture ARGS=--verify`, always the same."""

from __future__ import annotations

import pytest

from tests.matrices import LONG
from tests.servers import Endpoint
from tests.torture.comparisons import Fuzz

pytestmark = pytest.mark.kept_state


@pytest.mark.parametrize("rounds", [12, pytest.param(40, marks=LONG)])
def test_random_damage_is_found_exactly(fresh_source: Endpoint, fresh_target: Endpoint, rounds: int) -> None:
    assert Fuzz(fresh_source, fresh_target, seed=11).run(rounds) == []
