"""What is captured from a source and replayed on a target of the same brand makes it equal to the source.

The cases of which Maxwell loses a part are among them. What no message of Maxwell's format can carry is listed, with
the reason, and nothing else may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pymysql
import pytest

from tests.corpus import Case, cases, lossy_cases
from tests.integration.captured import Capture, run
from tests.integration.engine import parked, replay
from tests.integration.test_capture_conformance import MARKS, make_maxwells_table, run_case
from tests.matrices import LONG
from tests.servers import Endpoint
from tests.state import differences, read_state

pytestmark = pytest.mark.kept_state


class Exempt(NamedTuple):
    """Where the target cannot end equal: why, and in which rows of which table."""

    reason: str
    table: str
    rows: int


EXEMPT = {
    "lossy/04-json": Exempt("JSON's null and SQL's NULL are both null in a message", "c_l_json.j", 2),
    "lossy/13-orphans-and-cascades": Exempt(
        "MariaDB does not write what a cascade changes, and a message does not say that checks were off",
        "c_l_fk.child",
        1,
    ),
}
ALWAYS = {
    "03-text-charsets", "06-temporal", "08-bit", "09-enum-set", "10-json", "11-geometry", "13-no-primary-key",
    "16-invisible-columns", "17-foreign-keys", "20-ddl-alter", "28-transactions", *EXEMPT,
}  # fmt: skip
"""The others are for the long tests: what capture makes of each is in test_capture_conformance.py, what replay makes
of that in test_corpus.py."""
ALL = [
    pytest.param(case, marks=[MARKS[case.brand], *([] if case.name in ALWAYS else [LONG])], id=str(case))
    for brand in ("mysql", "mariadb")
    for case in (*cases(brand), *lossy_cases(brand))
    if case.name != "30-bootstrap"
]


@pytest.mark.parametrize("case", ALL)
def test_a_captured_case_makes_the_target_equal_to_the_source(
    fresh_source: Endpoint, fresh_target: Endpoint, case: Case, tmp_path: Path
) -> None:
    make_maxwells_table(fresh_source, case)
    capture = Capture(fresh_source, tmp_path, exact=True)
    capture.read()
    run_case(fresh_source, case)
    source = "mariadb 10.11" if case.brand == "mariadb" else "mysql 9.7"
    replay(fresh_target, capture.read(), lossy_values="off", source_server=source)
    databases = [name for name in fresh_source.databases() if name != "maxwell"]
    with fresh_source.connect() as at_source, fresh_target.connect() as at_target:
        expected, actual = read_state(at_source, databases), read_state(at_target, databases)
    found = list(differences(expected, actual, data_only=False))
    exempt = EXEMPT.get(case.name)
    if exempt is None:
        assert found == []
    else:
        missing = [line for line in found if line.startswith(f"{exempt.table}: missing 1 x")]
        assert len(missing) == exempt.rows, found
        assert all(line.startswith(exempt.table) for line in found), found
    assert parked(fresh_target) == []


RANGES = "PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (5), PARTITION q VALUES LESS THAN (9))"
MOVED = [
    pytest.param(["CREATE TABLE d.n PARTITION BY HASH (a) PARTITIONS 3 SELECT a FROM d.t"], id="made-with-partitions"),
    pytest.param(
        [f"CREATE TABLE d.n (a INT PRIMARY KEY, v TEXT) {RANGES}", "INSERT INTO d.n VALUES (1,'x'),(6,'y'),(7,'z')",
         "ALTER TABLE d.n CONVERT PARTITION q TO TABLE e.q", "INSERT INTO e.q VALUES (8,'v')",
         "ALTER TABLE d.n CONVERT TABLE e.q TO PARTITION q VALUES LESS THAN (9)", "UPDATE d.n SET v = 'all'"],
        marks=pytest.mark.mariadb, id="partitions-and-tables",
    ),
]  # fmt: skip


@pytest.mark.parametrize("statements", MOVED)
def test_rows_that_come_or_move_with_a_statement_are_where_the_source_has_them(
    fresh_source: Endpoint, fresh_target: Endpoint, statements: list[str], tmp_path: Path
) -> None:
    capture = Capture(fresh_source, tmp_path)
    capture.read()
    made = ["CREATE DATABASE d", "CREATE DATABASE e", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1),(2)"]
    run(fresh_source, [*made, *statements])
    replay(fresh_target, capture.read())
    with fresh_source.connect() as at_source, fresh_target.connect() as at_target:
        expected, actual = read_state(at_source, ["d", "e"]), read_state(at_target, ["d", "e"])
    assert list(differences(expected, actual, data_only=False)) == []
    assert parked(fresh_target) == []


@pytest.fixture
def encrypting(fresh_source: Endpoint, fresh_target: Endpoint) -> Iterator[None]:
    """Both servers take encrypted connections alone; the lab's MySQL else offers none."""
    both = (fresh_source, fresh_target)
    before = [end.query("SELECT @@GLOBAL.tls_version, @@GLOBAL.require_secure_transport")[0] for end in both]
    for end in both:
        end.query("SET GLOBAL tls_version = 'TLSv1.2,TLSv1.3'")
        end.query("ALTER INSTANCE RELOAD TLS")
        end.query("SET GLOBAL require_secure_transport = ON")
    yield
    for end, (versions, is_required) in zip(both, before, strict=True):
        run(end, [f"SET GLOBAL require_secure_transport = {is_required}", f"SET GLOBAL tls_version = '{versions}'"])
        with suppress(pymysql.MySQLError):  # without a version it is an error, and then there is no TLS
            end.query("ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR")


@pytest.mark.mysql
@pytest.mark.usefixtures("encrypting")
def test_connections_are_encrypted_where_the_servers_ask_for_it(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    """PyMySQL's login and its packets are others then."""
    capture = Capture(fresh_source, tmp_path)
    capture.read()
    run(fresh_source, ["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v LONGTEXT)"])
    run(fresh_source, ["INSERT INTO d.t VALUES (1, REPEAT('ä', 100000)), (2, NULL)"])
    replay(fresh_target, capture.read())
    assert fresh_target.query("SELECT id, CHAR_LENGTH(v), SHA2(v, 256) FROM d.t ORDER BY id") == fresh_source.query(
        "SELECT id, CHAR_LENGTH(v), SHA2(v, 256) FROM d.t ORDER BY id"
    )
