"""What a queue drops is known before anything is read; ours never drop what a worker gives back."""

from __future__ import annotations

import pytest

from pydbsync.source.topology import queue_arguments, what_it_drops, with_policy

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


@pytest.mark.parametrize(
    ("own", "policy", "version", "limit"),
    [
        (-1, 5, "4.1.8", 5),  # ours has none, so that the policy's holds
        (5, -1, "4.1.8", 5),
        (-1, -1, "4.1.8", -1),
        (20, 5, "4.1.8", 5),
        (5, 20, "4.1.8", 5),
        (None, 5, "4.1.8", 5),
        (5, 20, "3.10.8", 5),
        (-1, 5, "3.10.8", -1),  # there it is a limit of none
    ],
)
def test_of_the_limits_of_a_queue_and_its_policies_the_stricter_holds(
    own: int | None, policy: int, version: str, limit: int
) -> None:
    arguments = {} if own is None else {"x-delivery-limit": own}
    found = with_policy(arguments, {"delivery-limit": policy}, server_version=version)
    assert found == {"x-delivery-limit": limit}


@pytest.mark.parametrize(
    ("arguments", "server_version", "said"),
    [
        ({}, "3.10.8", []),
        ({"x-queue-type": "classic", "x-queue-mode": "lazy"}, "4.0.1", []),
        (QUORUM, "3.10.8", []),
        (QUORUM, "4.0.1", ["20 times"]),
        ({**QUORUM, "x-delivery-limit": -1}, "4.0.1", []),
        ({**QUORUM, "x-delivery-limit": -1}, "3.13.7", ["0 times"]),
        ({**QUORUM, "x-delivery-limit": 3}, "3.10.8", ["3 times"]),
        ({"x-delivery-limit": 3}, "3.10.8", []),  # classic queues know no limit
        ({"x-max-length": 7}, "3.10.8", ["beyond 7 messages"]),
        ({"x-max-length": 7, "x-max-length-bytes": 8}, "3.10.8", ["beyond 7 messages", "beyond 8 bytes"]),
        ({"x-max-length": 7, "x-overflow": "drop-head"}, "3.10.8", ["beyond 7 messages"]),
        ({"x-max-length": 7, "x-overflow": "reject-publish"}, "3.10.8", []),
        ({"x-max-length": 7, "x-overflow": "reject-publish-dlx"}, "3.10.8", []),
        ({"x-message-ttl": 5000}, "3.10.8", ["for more than 5000 ms"]),
        ({"x-expires": 60000}, "3.10.8", ["no worker reads it for 60000 ms"]),
    ],
)
def test_what_a_queue_drops_is_known_by_its_arguments(
    arguments: dict[str, object], server_version: str, said: list[str]
) -> None:
    found = what_it_drops(arguments, server_version=server_version)
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence
