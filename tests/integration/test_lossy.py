"""What Maxwell does not carry whole is named, parked or stopped at, and what can be repaired is repaired.

tests/data/lossy.json says of every recorded case why it is lossy and exactly what remains: `told` are the columns
that the log names, `warn` and `park` what differs and what is parked by these policies, `unseen` what is another value
at the target although `park` was asked for, since nothing in the message tells it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pydbsync.errors import StopError
from tests.conftest import LEG, RunSync
from tests.corpus import VERSIONS, Brand, Case, lossy_cases
from tests.integration.captured import Capture, run
from tests.integration.engine import LOG, parked, replay
from tests.servers import Endpoint
from tests.state import differences, read_state

pytestmark = pytest.mark.kept_state

OWN: Brand = "mysql" if LEG == "mysql" else "mariadb"
KNOWN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "lossy.json").read_text())[OWN]
CASES = lossy_cases(OWN)
STOPPING = [case for case in CASES if KNOWN[case.folder.name]["told"]]
DATABASES = sorted({name for case in CASES for name in case.state})


@pytest.fixture(scope="module")
def emptied(target: Endpoint) -> Endpoint:
    if target.server:
        target.server.start()
    target.drop_databases()
    return target


def prepare(target: Endpoint, names: Iterable[str]) -> None:
    """Drop these databases, and forget all that was ever applied."""
    present = set(target.databases())
    drops = [f"DROP DATABASE `{name}`" for name in names if name in present]
    state = [f"DELETE FROM pydbsync.{name}" for name in ("checkpoint", "schema_change", "parked")]
    run(target, ["SET foreign_key_checks = 0", *drops, *(state if "pydbsync" in present else [])])


def found_after(target: Endpoint, case: Case, **options: Any) -> tuple[list[str], list[list[str]]]:
    """What differs after a replay, and what is parked as [kind, table, reason]."""
    prepare(target, DATABASES)  # other cases have tables of the same names
    replay(target, case.messages, source_server=VERSIONS[case.brand].replace("-", " "), **options)
    with target.connect() as connection:
        unequal = list(differences(case.state, read_state(connection, case.state), data_only=False))
    return unequal, [[each.kind, each.table, each.reason] for each in parked(target)]


def test_every_case_that_is_lossy_is_listed_with_its_reason() -> None:
    assert sorted(KNOWN) == [case.folder.name for case in CASES]
    assert all(known["reason"] for known in KNOWN.values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_warn_leaves_exactly_the_known_differences_and_names_the_columns(
    emptied: Endpoint, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    known = KNOWN[case.folder.name]
    with caplog.at_level(logging.WARNING, LOG.name):
        unequal, put_aside = found_after(emptied, case, lossy_values="warn")
    assert unequal == known["warn"]["differences"]
    assert put_aside == known["warn"]["parked"]
    told = [text.split(":")[0] for text in caplog.messages if "lossy_values; said once" in text]
    assert told == known["told"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_park_writes_nothing_wrong_that_can_be_told(emptied: Endpoint, case: Case) -> None:
    known = KNOWN[case.folder.name]
    unequal, put_aside = found_after(emptied, case, lossy_values="park")
    assert unequal == known["park"]["differences"]
    assert put_aside == known["park"]["parked"]
    assert [each for each in unequal if "unexpected" in each] == known["unseen"]


@pytest.mark.parametrize("case", STOPPING, ids=str)
def test_stop_ends_at_the_first_and_writes_nothing_after_it(emptied: Endpoint, case: Case) -> None:
    prepare(emptied, [*case.state])
    with pytest.raises(StopError, match="lossy_values"):
        replay(emptied, case.messages, lossy_values="stop", source_server=VERSIONS[OWN].replace("-", " "))
    with emptied.connect() as connection:
        unequal = differences(case.state, read_state(connection, case.state), data_only=False)
    assert [each for each in unequal if "unexpected" in each] == []
    assert parked(emptied) == []


def test_a_run_that_stops_at_a_lossy_value_has_the_exit_code_3(fresh_target: Endpoint, run_sync: RunSync) -> None:
    [case] = [case for case in CASES if case.folder.name == "02-time-range"]
    config = {"db_info": fresh_target.db_info, "lossy_values": "stop", "stream": "stops"}
    done = run_sync(config, "--from", str(case.folder / "messages.ndjson"), "--until-drained")
    assert done.exit_code == 3, done
    assert "c_l_time.t.t0" in done.stderr


@pytest.mark.parametrize("globs", [["c_l_time.t.*"], ["c_l_time.t.t[036]"], ["*"]])
def test_columns_that_are_trusted_are_not_looked_at(
    emptied: Endpoint, globs: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    [case] = [case for case in CASES if case.folder.name == "02-time-range"]
    unequal, put_aside = found_after(emptied, case, lossy_values="park", trusted_columns=globs)
    assert unequal == KNOWN["02-time-range"]["warn"]["differences"]
    assert put_aside == []
    assert "lossy" not in caplog.text


STORED_BY_SESSION = {
    "day": "DATE AS (DATE(at)) STORED",
    "h": "INT AS (HOUR(at) + 1) STORED",
    "v": "DATE AS (DATE(at)) VIRTUAL",
    "n": "INT AS (at IS NULL) STORED",
    "m": "DATE AS (DATE(moment)) STORED",
    "f": "VARCHAR(20) AS (CONCAT(YEAR(moment), '%M')) STORED",
}
STORED_BY_SESSION |= (
    {"name": "VARCHAR(20) AS (DAYNAME(moment)) STORED", "short": "VARCHAR(20) AS (DATE_FORMAT(moment, '%d %b')) STORED"}
    if OWN == "mysql"
    else {"u": "BIGINT AS (UNIX_TIMESTAMP(at) DIV 60) STORED"}
)
"""What each brand takes beside."""


def test_what_each_server_stores_by_its_session_is_named_or_parked(
    emptied: Endpoint, source: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(source, ["zoned"])
    capture = Capture(source, tmp_path)
    capture.read()
    columns = ", ".join(f"{name} {definition}" for name, definition in STORED_BY_SESSION.items())
    run(source, ["CREATE DATABASE zoned", "USE zoned", "SET time_zone = '+09:00'",
                 f"CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP NULL, moment DATETIME, {columns})",
                 "INSERT INTO t (id, at, moment) VALUES (1, '2024-01-01 01:00:00', '2024-01-01 01:00:00')",
                 "INSERT INTO t (id) VALUES (2)"])  # fmt: skip
    messages = capture.read()
    for policy, left in (("warn", [(1,), (2,)]), ("park", [(2,)])):
        prepare(emptied, ["zoned"])
        replay(emptied, messages, lossy_values=policy)
        assert emptied.query("SELECT id FROM zoned.t ORDER BY id") == left
    (why,) = {each.reason.partition(": ")[0] for each in parked(emptied)}
    assert why == "zoned.t.day"
    told = {name for name in STORED_BY_SESSION if f"zoned.t.{name}: the target computes and stores it" in caplog.text}
    assert told == {"day", "h", "name", "short"} & {*STORED_BY_SESSION}
    prepare(emptied, ["zoned"])
    replay(emptied, messages, lossy_values="park", trusted_columns=["zoned.t.*"])
    assert parked(emptied) == []
    prepare(source, ["zoned"])


def test_what_arrives_changed_but_is_known_is_repaired(emptied: Endpoint, source: Endpoint, tmp_path: Path) -> None:
    """BIT(32) above 2^31, YEAR 0, and where NULL cannot be: JSON's null and the error value of an ENUM; odd labels."""
    prepare(source, ["mended"])
    prepare(emptied, ["mended"])
    capture = Capture(source, tmp_path)
    capture.read()
    labels = "'it''s', 'back\\\\slash', 'both\\\\''', 'pad ', 'dou\"ble', ''"
    run(
        source,
        [
            "SET sql_mode = ''",
            "CREATE DATABASE mended CHARACTER SET utf8mb4",
            "USE mended",
            "CREATE TABLE t (id INT PRIMARY KEY, b BIT(32), y YEAR, j JSON NOT NULL,"
            f" e ENUM({labels}) NOT NULL, s SET('a''b', 'c\\\\d', 'e') NOT NULL)",
            "INSERT INTO t VALUES (1, 0x80000000, 0, 'null', 'wrong', 'a''b,c\\\\d')",
            "INSERT INTO t VALUES (2, 0xFFFFFFFF, '1901', '{}', 'it''s', 'e')",
            "INSERT INTO t VALUES (3, 1, 2155, '[null]', 'back\\\\slash', '')",
            "INSERT INTO t VALUES (4, 0x7FFFFFFF, 0, '\"null\"', 'both\\\\''', 'a''b')",
            "INSERT INTO t VALUES (5, NULL, NULL, '0', 'pad', 'e')",
            "INSERT INTO t VALUES (6, 0, '2000', 'true', 'dou\"ble', 'c\\\\d'), (7, 0, '2000', 'true', '', 'c\\\\d')",
            "UPDATE t SET b = b + 1, e = 'wrong', j = 'null' WHERE id IN (1, 4)",
            "CREATE TABLE keyless AS SELECT b, y, j, e, s FROM t",
            "INSERT INTO keyless SELECT b, y, j, e, s FROM t",
            "DELETE FROM keyless WHERE y = 0 LIMIT 1",
            "UPDATE keyless SET b = 0 WHERE b = 0x80000001 LIMIT 1",
        ],
    )  # fmt: skip
    replay(emptied, capture.read(), lossy_values="park", source_server=f"{OWN} {'9.7' if OWN == 'mysql' else '10.11'}")
    assert parked(emptied) == []
    with source.connect() as at_source, emptied.connect() as at_target:
        wanted, found = read_state(at_source, ["mended"]), read_state(at_target, ["mended"])
    assert list(differences(wanted, found, data_only=False)) == []


@pytest.mark.parametrize("name", ["07-truncate", "08-index-ddl"])
def test_pydbsync_capture_publishes_what_maxwell_does_not(
    emptied: Endpoint, source: Endpoint, tmp_path: Path, name: str
) -> None:
    [case] = [case for case in CASES if case.folder.name == name]
    for endpoint in (source, emptied):
        prepare(endpoint, [*case.state])
    capture = Capture(source, tmp_path)
    capture.read()
    with source.connect() as connection, connection.cursor() as cursor:
        for sql, succeeds in case.statements:
            assert succeeds
            cursor.execute(sql)
    replay(emptied, capture.read(), source_server=f"{OWN} {'9.7' if OWN == 'mysql' else '10.11'}")
    with emptied.connect() as connection:
        assert list(differences(case.state, read_state(connection, case.state), data_only=False)) == []
    prepare(source, case.state)


@pytest.mark.parametrize(
    ("policy", "sql", "unchanged"),
    [
        ("truncate-table", "TRUNCATE TABLE c_pol.t", "rows"),
        ("create-index", "CREATE INDEX i ON c_pol.t (v)", "indexes"),
        ("drop-index", "DROP INDEX k ON c_pol.t", "indexes"),
    ],
)
def test_each_of_these_has_a_policy_of_its_own(
    emptied: Endpoint, source: Endpoint, tmp_path: Path, policy: str, sql: str, unchanged: str
) -> None:
    for endpoint in (source, emptied):
        prepare(endpoint, ["c_pol"])
    capture = Capture(source, tmp_path)
    capture.read()
    run(
        source,
        [
            "CREATE DATABASE c_pol",
            "CREATE TABLE c_pol.t (id INT PRIMARY KEY, v INT, KEY k (v))",
            "INSERT INTO c_pol.t VALUES (1, 1)",
        ],
    )
    with source.connect() as connection:
        before = read_state(connection, ["c_pol"])
    run(source, [sql])
    replay(emptied, capture.read(), schema_changes={policy: "skip"})
    with emptied.connect() as connection:
        assert list(differences(before, read_state(connection, ["c_pol"]), data_only=False)) == []
    prepare(source, ["c_pol"])


@pytest.mark.mariadb
def test_without_cascading_the_target_keeps_what_a_session_without_checks_kept(emptied: Endpoint) -> None:
    """The other half of 13-orphans-and-cascades: no setting is right for both sessions of that source."""
    [case] = [case for case in CASES if case.folder.name == "13-orphans-and-cascades"]
    unequal, _ = found_after(emptied, case, referential_actions="off")
    assert unequal == ["c_l_fk.child: unexpected 1 x ['10', '1']"]
