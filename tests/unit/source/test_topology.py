"""A quorum queue is declared so that it never drops what a worker gives back."""

from __future__ import annotations

import pytest

from pydbsync.source.topology import queue_arguments

QUORUM = {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    ("configured", "server_version", "expected"),
    [
        (QUORUM, "4.0.1", {**QUORUM, "x-delivery-limit": -1}),
        (QUORUM, "10.2", {**QUORUM, "x-delivery-limit": -1}),
        ({**QUORUM, "x-delivery-limit": 50}, "4.3.0", {**QUORUM, "x-delivery-limit": 50}),
        (QUORUM, "3.10.8", QUORUM),
        (QUORUM, "3.13.7", QUORUM),
        (QUORUM, "", QUORUM),
        ({"x-queue-type": "classic"}, "4.3.0", {"x-queue-type": "classic"}),
        ({}, "4.3.0", {}),
    ],
)
def test_the_delivery_limit_is_lifted_where_there_is_one_by_default(
    configured: dict[str, object], server_version: str, expected: dict[str, object]
) -> None:
    assert queue_arguments(configured, server_version=server_version) == expected
    assert "x-delivery-limit" not in QUORUM
