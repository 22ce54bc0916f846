"""Of system-versioned tables of MariaDB the current rows are replayed, and only they."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.carried import Carrier
from tests.integration.engine import LOG, parked, replay
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

COLUMNS = (
    "id INT{key}, v INT, rs TIMESTAMP(6) GENERATED ALWAYS AS ROW START, re TIMESTAMP(6) GENERATED ALWAYS AS ROW END"
)
TABLES = {
    "k": COLUMNS.format(key=" PRIMARY KEY"),
    "n": COLUMNS.format(key=""),
    "u": COLUMNS.format(key="") + ", UNIQUE KEY (id)",
}
CURRENT = "SELECT id, v FROM d.{} ORDER BY 1, 2"


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


@pytest.mark.mariadb
@pytest.mark.parametrize("batch_rows", [1, 5000])
def test_current_rows_of_system_versioned_tables(
    carrier: Carrier, batch_rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.run("CREATE DATABASE d")
    for name, columns in TABLES.items():
        carrier.run(
            f"CREATE TABLE d.{name} ({columns}, PERIOD FOR SYSTEM_TIME (rs, re)) WITH SYSTEM VERSIONING",
            f"INSERT INTO d.{name} (id, v) VALUES (1, 1), (2, 2), (3, 3), (4, 4)",
            f"UPDATE d.{name} SET v = 9 WHERE id = 1",
            f"UPDATE d.{name} SET id = 7 WHERE id = 3",
            f"DELETE FROM d.{name} WHERE id = 2",
            f"INSERT INTO d.{name} (id, v) VALUES (2, 5)",
            f"DELETE HISTORY FROM d.{name} BEFORE SYSTEM_TIME NOW(6)",
        )
    with caplog.at_level("WARNING", LOG.name):
        carrier.replay(batch_rows=batch_rows)
    for name in TABLES:
        expected = [(1, 9), (2, 5), (4, 4), (7, 3)]
        assert carrier.source.query(CURRENT.format(name)) == carrier.target.query(CURRENT.format(name)) == expected
        assert f"d.{name} is system-versioned: its current rows are replayed" in caplog.text


@pytest.mark.mariadb
def test_what_was_altered_with_its_history_is_altered_so(carrier: Carrier) -> None:
    carrier.run(
        "CREATE DATABASE d",
        "CREATE TABLE d.t (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING",
        "INSERT INTO d.t VALUES (1, 1)",
        "UPDATE d.t SET v = 2",
        "SET STATEMENT system_versioning_alter_history = KEEP FOR ALTER TABLE d.t ADD w INT DEFAULT 5, MODIFY v BIGINT",
        "INSERT INTO d.t VALUES (2, 2, 2)",
    )
    carrier.replay()
    assert parked(carrier.target) == []
    for query in ("SHOW CREATE TABLE d.t", CURRENT.format("t"), "SELECT w FROM d.t ORDER BY id"):
        assert carrier.source.query(query) == carrier.target.query(query)


def test_rows_with_the_time_in_hidden_columns(fresh_target: Endpoint) -> None:
    """As they come of a MariaDB that tells the names of hidden columns; the target's table need not be versioned."""
    forever, over = "2038-01-19 03:14:07.999999", "2026-01-02 00:00:00.000000"
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")

    def row(number: int, kind: str, values: tuple[int, int, str], **old: Any) -> bytes:
        data = dict(zip(("id", "v", "row_start", "row_end"), (*values[:2], over, values[2]), strict=True))
        message = {"database": "d", "table": "t", "type": kind, "ts": 1, "xid": number, "commit": True, "data": data}
        return json.dumps({**message, "position": f"b.1:{number}", **({"old": old} if old else {})}).encode()

    messages = [
        row(1, "insert", (1, 1, forever)),
        row(2, "insert", (2, 2, forever)),
        row(3, "update", (1, 9, forever), v=1),
        row(4, "insert", (1, 1, over)),
        row(5, "update", (2, 2, over), row_end=forever),
    ]
    replay(fresh_target, messages)
    assert parked(fresh_target) == []
    assert fresh_target.query("SELECT id, v FROM d.t") == [(1, 9)]
