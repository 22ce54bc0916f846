"""Addresses of replicas, and where markers go."""

from __future__ import annotations

import pytest

from pydbsync.config.settings import settings_from_mapping
from pydbsync.ops.copy.markers import marker_table
from pydbsync.ops.copy.throttle import BEHIND_FOR_EVER_S, _keywords, _late


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("replica", "replica", 3306), ("replica:3307", "replica", 3307), ("10.0.0.1:", "10.0.0.1", 3306)],
)
def test_a_replica_is_reached_with_the_targets_user_but_not_through_its_socket(
    address: str, host: str, port: int
) -> None:
    given = {"db_info": {"host": "t", "port": 5, "user": "u", "password": "p", "unix_socket": "/s"}}
    keywords = _keywords(settings_from_mapping(given, require=())[0], address)
    assert (keywords["host"], keywords["port"], keywords["user"], keywords["password"]) == (host, port, "u", "p")
    assert "unix_socket" not in keywords


def test_a_replica_that_has_stopped_is_told_apart_from_one_that_is_late() -> None:
    assert _late(12.4) == "a replica of the target is 12 s behind"
    assert _late(BEHIND_FOR_EVER_S) == "a replica of the target has stopped replicating"


def test_markers_go_beside_the_heartbeat() -> None:
    settings = settings_from_mapping(
        {"db_info": {"host": "t", "user": "u"}, "heartbeat_table": "own.beat"}, require=()
    )[0]
    assert marker_table(settings) == ("own", "beat_marker")
