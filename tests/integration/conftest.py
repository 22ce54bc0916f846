"""Fixtures for several files of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.copying import PACKET
from tests.servers import Endpoint


@pytest.fixture
def small_packets(target: Endpoint) -> Iterator[None]:
    """The target takes packets of 64 KB at most, so that small tables are copied in many chunks."""
    ((before,),) = target.query("SELECT @@global.max_allowed_packet")
    target.query(f"SET GLOBAL max_allowed_packet = {PACKET}")
    yield
    target.query(f"SET GLOBAL max_allowed_packet = {before}")
