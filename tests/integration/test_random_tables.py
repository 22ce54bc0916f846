"""Random tables, values and transactions on a real source end equal on a real target.

Each example makes two tables of random types, keys and character sets, runs random transactions on them and changes
them on the way, takes all that through message form (capture, exact where Maxwell is not) and replays it, in one of the
ways to apply. A short run is part of `make test`; a thousand examples, each time others:

    PYDBSYNC_EXAMPLES=1000 make test ARGS=tests/integration/test_random_tables.py
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from tests.integration.captured import Capture
from tests.integration.engine import parked, replay
from tests.integration.random_tables import RandomTable
from tests.servers import Endpoint
from tests.state import differences, read_state

SHORT = 12
EXAMPLES = int(os.environ.get("PYDBSYNC_EXAMPLES", SHORT))
_numbers = itertools.count(1)


class Ends:
    """Source and target with a connection each that lasts, and the capture of the source."""

    def __init__(self, source: Endpoint, target: Endpoint, capture: Capture) -> None:
        self.source, self.target, self.capture = source, target, capture
        self.at_source: pymysql.Connection[Any] = source.connect()
        self.at_target: pymysql.Connection[Any] = target.connect()

    def run(self, sql: str) -> bool:
        """Run it on the source; False where the source refuses it, such as a value that is there already."""
        note(sql)
        with self.at_source.cursor() as cursor:
            try:
                cursor.execute(sql)
            except pymysql.MySQLError as refused:
                note(f"-- refused: {refused}")
                event(f"refused with {refused.args[0]}")
                return False
            return True

    def must(self, *statements: str) -> None:
        with self.at_source.cursor() as cursor:
            for sql in statements:
                note(sql)
                cursor.execute(sql)


@pytest.fixture(scope="module")
def ends(source: Endpoint, target: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    for endpoint in (source, target):
        endpoint.drop_databases()
    capture = Capture(source, tmp_path_factory.mktemp("random"), exact=True)
    capture.read()
    found = Ends(source, target, capture)
    yield found
    with contextlib.closing(found.at_source), contextlib.closing(found.at_target):
        pass


def make_random_changes(data: st.DataObject, ends: Ends, database: str) -> None:
    """Two tables, transactions on them, schema changes between these."""
    ends.must(
        f"CREATE DATABASE {database} CHARACTER SET utf8mb4",
        f"USE {database}",
        "SET sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+03:00'",
    )
    tables = []
    for name in ("t", "u"):
        table = RandomTable(data.draw, ends.source.brand, name)
        if ends.run(table.create()):
            tables.append(table)
    for _ in range(data.draw(st.integers(1, 6), label="transactions") if tables else 0):
        ends.must("BEGIN")
        for _ in range(data.draw(st.integers(1, 5))):
            ends.run(data.draw(st.sampled_from(tables)).statement())
        ends.must(data.draw(st.sampled_from(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])))
        if data.draw(st.integers(0, 2)) == 2:
            place = data.draw(st.integers(0, len(tables) - 1))
            sql, then = tables[place].change()
            if ends.run(sql):
                tables[place] = then


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES <= SHORT,
    print_blob=True,
)
@given(data=st.data())
def test_random_tables_end_equal(data: st.DataObject, ends: Ends) -> None:
    database = f"random_{next(_numbers)}"
    mode = data.draw(st.sampled_from(["replace", "replace", "upsert", "plain"]), label="apply_mode")
    make_random_changes(data, ends, database)
    replay(
        ends.target,
        ends.capture.read(),
        stream=database,
        block=data.draw(st.sampled_from([1, 3, 1000])),
        lossy_values="off",
        apply_mode=mode,
        batch_rows=data.draw(st.sampled_from([1, 4, 5000])),
        transaction_rows=data.draw(st.sampled_from([2, 100_000])),
        source_server="mysql 9.7" if ends.source.brand == "mysql" else "mariadb 10.11",
    )
    assert [each for each in parked(ends.target) if each.table.startswith(f"{database}.")] == []
    wanted, found = (read_state(connection, [database]) for connection in (ends.at_source, ends.at_target))
    unequal = list(differences(wanted, found, data_only=False))
    assert not unequal, "\n".join(unequal)
    ends.must(f"DROP DATABASE {database}")
