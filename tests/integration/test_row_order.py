"""Rows without a key keep the source's order, and what depends on it all the same is named before it is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydbsync.errors import StopError
from tests.integration.carried import Carrier
from tests.integration.engine import LOG, parked, replay
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

NUMBER = "ALTER TABLE d.t ADD id INT AUTO_INCREMENT PRIMARY KEY FIRST"
CHANGES = (
    "CREATE DATABASE d",
    "USE d",
    "CREATE TABLE t (a INT, v VARCHAR(9))",
    "INSERT INTO t VALUES (1, 'x'), (2, 'x'), (1, 'x'), (3, 'x'), (2, 'x'), (4, 'x')",
    "UPDATE t SET v = 'y' WHERE a = 3",
    "DELETE FROM t WHERE a = 4",
    "INSERT INTO t VALUES (4, 'x'), (5, 'x'), (3, 'x')",
    "BEGIN",
    "INSERT INTO t VALUES (6, 'x'), (7, 'x')",
    "UPDATE t SET a = 60 WHERE a = 6",
    "INSERT INTO t VALUES (6, 'x')",
    "DELETE FROM t WHERE a = 7",
    "UPDATE t SET v = 'z' WHERE a = 60",
    "COMMIT",
    "CREATE TABLE s AS SELECT a, v FROM t",
)


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


@pytest.mark.parametrize("batch_rows", [1, 3, 5000])
def test_rows_are_numbered_as_at_the_source_where_their_order_is_the_source_s(
    carrier: Carrier, batch_rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.run(*CHANGES, NUMBER, NUMBER.replace("d.t", "d.s"), "UPDATE d.t SET v = 'last' WHERE id = 3")
    with caplog.at_level("WARNING", LOG.name):
        carrier.replay(batch_rows=batch_rows)
    assert carrier.differences("d") == []
    assert "in d.t, which has no key, id numbers the rows in the order" in caplog.text
    assert "in d.s, which has no key" in caplog.text


@pytest.mark.parametrize("rows", ["", "INSERT INTO d.t VALUES (1, 'x')"])
def test_what_cannot_be_in_another_order_is_not_named(
    carrier: Carrier, rows: str, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.run(*CHANGES[:3], *filter(None, [rows]), NUMBER)
    with caplog.at_level("WARNING", LOG.name):
        carrier.replay(lossy_values="stop")
    assert carrier.differences("d") == []
    assert "no key" not in caplog.text


def test_by_policy_the_statement_is_parked_or_stops(carrier: Carrier) -> None:
    carrier.run(*CHANGES, NUMBER, "UPDATE d.t SET v = 'last' WHERE id = 3")
    with pytest.raises(StopError, match=r"in d\.t, which has no key, id numbers the rows .* nothing after it was"):
        carrier.replay(lossy_values="stop")
    replay(carrier.target, carrier.messages, lossy_values="park", source_server=carrier.source_server)
    assert [each.kind for each in parked(carrier.target)] == ["table-alter", "update"]
    carrier.target.drop_databases()
    replay(
        carrier.target, carrier.messages, lossy_values="park", trusted_columns=["d.*.id"],
        source_server=carrier.source_server,
    )  # fmt: skip
    assert parked(carrier.target) == []
    assert carrier.differences("d") == []
