"""Messages without places are applied at least once: what that means in each way of writing."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.integration.engine import parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state


def without_places(messages: Sequence[bytes]) -> list[bytes]:
    """As Maxwell prints them without output_binlog_position and output_xoffset."""
    found = []
    for message in map(json.loads, messages):
        found.append(json.dumps({name: message[name] for name in message if name not in ("position", "xoffset")}))
    return [each.encode() for each in found]


@pytest.mark.parametrize(
    ("apply_mode", "unique", "codes"),
    [
        ("replace", "", []),
        ("replace", ", UNIQUE KEY (v)", []),
        ("upsert", "", []),
        ("upsert", ", UNIQUE KEY (v)", [1062]),
        ("plain", "", [1062]),
    ],
)
def test_what_comes_again_converges_or_is_parked_as_a_duplicate(
    fresh_target: Endpoint, apply_mode: str, unique: str, codes: list[int]
) -> None:
    binlog = Binlog()
    create = [*binlog.ddl("CREATE DATABASE d", "d")]
    create += binlog.ddl(f"CREATE TABLE t (id INT PRIMARY KEY, v INT{unique})", "d.t")
    replay(fresh_target, create)
    changes = [insert("d.t", {"id": 1, "v": 1}), update("d.t", {"id": 1, "v": 2}, {"v": 1})]
    changes += [insert("d.t", {"id": 2, "v": 3}), delete("d.t", {"id": 2, "v": 3})]
    messages = without_places(binlog.each(changes))
    for _ in range(2):
        replay(fresh_target, messages, apply_mode=apply_mode)
    assert fresh_target.query("SELECT * FROM d.t ORDER BY id") == [(1, 2)]
    found = [each.code for each in parked(fresh_target) if each.behind is None]
    assert found == codes
