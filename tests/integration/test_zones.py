"""Moments are equal whatever the time zones of source, its sessions, target and this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunSync
from tests.integration.captured import Capture, run
from tests.integration.engine import parked, replay
from tests.matrices import thinned
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint
from tests.state import differences, read_state

pytestmark = pytest.mark.kept_state

MACHINE_ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")


@pytest.fixture
def odd_target(fresh_target: Endpoint) -> Iterator[Endpoint]:
    """A target whose zone is nobody else's."""
    [(before,)] = fresh_target.query("SELECT @@global.time_zone")
    fresh_target.query("SET GLOBAL time_zone = '+05:00'")
    yield fresh_target
    fresh_target.query("SET GLOBAL time_zone = %s", before)


@pytest.fixture(scope="module")
def moments(source: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Messages of moments that sessions of several zones wrote, with keys and without, with clocks of the server."""
    source.drop_databases()
    capture = Capture(source, tmp_path_factory.mktemp("zones"))
    capture.read()
    run(source, ["CREATE DATABASE z", "CREATE TABLE z.t (id INT PRIMARY KEY, ts TIMESTAMP(6) NULL, dt DATETIME(6))"])
    run(
        source, ["CREATE TABLE z.k (ts TIMESTAMP PRIMARY KEY, v INT)", "CREATE TABLE z.n (ts TIMESTAMP(3) NULL, v INT)"]
    )
    run(
        source,
        [
            "CREATE TABLE z.c (id INT PRIMARY KEY, v INT,"
            " ts TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)"
        ],
    )
    for number, zone in enumerate(("+08:00", "-03:30", "+00:00", "+13:00")):
        hour = f"2024-03-31 02:30:0{number}"  # an hour that many zones skip
        run(
            source,
            [
                f"SET time_zone = '{zone}'",
                f"INSERT INTO z.t VALUES ({number}, '{hour}.123456', '{hour}.123456')",
                f"INSERT INTO z.k VALUES ('{hour}', {number})",
                f"INSERT INTO z.n VALUES ('{hour}.5', {number}), ('{hour}.5', {number}), (NULL, {number})",
                f"INSERT INTO z.c (id, v) VALUES ({number}, 1)",
                f"UPDATE z.c SET v = 2 WHERE id = {number}",
                f"UPDATE z.n SET v = v + 10 WHERE ts = '{hour}.5' LIMIT 1",
                f"UPDATE z.k SET ts = ts + INTERVAL 1 DAY WHERE v = {number}",
            ],
        )
    run(
        source,
        [
            "SET time_zone = '+00:00'",
            "INSERT INTO z.t VALUES (10, '1970-01-01 00:00:01', '1000-01-01')",
            "INSERT INTO z.t VALUES (11, '2038-01-19 03:14:07', '9999-12-31')",
            "DELETE FROM z.n WHERE v = 10 LIMIT 1",
            "DELETE FROM z.k WHERE v = 2",
            "ALTER TABLE z.t ADD made TIMESTAMP DEFAULT CURRENT_TIMESTAMP",
        ],
    )
    return capture.read()


@pytest.mark.parametrize("zone", thinned(MACHINE_ZONES, lambda zone: zone in MACHINE_ZONES[1:3]))
def test_timestamps_are_equal_in_every_zone_of_this_machine(
    moments: list[bytes], source: Endpoint, odd_target: Endpoint, run_sync: RunSync, tmp_path: Path, zone: str
) -> None:
    file = tmp_path / "moments.ndjson"
    file.write_bytes(b"".join(message + b"\n" for message in moments))
    done = run_sync({"db_info": odd_target.db_info}, "--from", str(file), environment={"TZ": zone})
    assert done.exit_code == 0, done
    assert parked(odd_target) == []
    with source.connect() as at_source, odd_target.connect() as at_target:
        wanted, found = read_state(at_source, ["z"]), read_state(at_target, ["z"])
    assert list(differences(wanted, found, data_only=False)) == []


CREATE = "CREATE TABLE d.{} (id INT {}, at {}, note {})"
LISTED = {"timestamp_columns": {"d": {"t": ["at", "note"], "k": ["at"], "n": ["at", "note"]}}}


def shifted(target: Endpoint, kind: str, messages: list[bytes], **options: Any) -> None:
    run(
        target,
        [
            "CREATE DATABASE d",
            CREATE.format("t", "PRIMARY KEY", kind, "TIMESTAMP(3) NULL"),
            f"CREATE TABLE d.k (at {kind} NOT NULL, v INT, PRIMARY KEY (at))",
            CREATE.format("n", "", kind, "TIMESTAMP(3) NULL"),
        ],
    )
    replay(target, messages, **{**LISTED, **options})
    assert parked(target) == []


def texts(target: Endpoint, sql: str) -> list[tuple[Any, ...]]:
    with target.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(sql)
        return list(cursor.fetchall())


def changes() -> list[bytes]:
    log = Binlog()
    first, second, third = "2024-02-28 20:00:00.5", "2024-12-31 23:59:59.999", "1970-01-01 00:00:01"

    def row(number: int, moment: str | None) -> dict[str, Any]:
        return {"id": number, "at": moment, "note": moment}

    return [
        *log.transaction(*(insert(f"d.{name}", row(1, first)) for name in "tn")),
        *log.transaction(*(insert(f"d.{name}", row(2, None)) for name in "tn")),
        *log.transaction(insert("d.n", row(1, first)), insert("d.n", row(3, third))),
        *log.transaction(*(insert("d.k", {"at": at, "v": 0}) for at in (first, second, third))),
        *log.transaction(update("d.t", row(1, second), {"at": first, "note": first})),
        *log.transaction(update("d.n", row(1, second), {"at": first, "note": first})),
        *log.transaction(delete("d.n", row(3, third))),
        *log.transaction(delete("d.n", row(2, None))),
        *log.transaction(update("d.k", {"at": second, "v": 5}, {"v": 0})),
        *log.transaction(update("d.k", {"at": "2030-01-01 00:00:00", "v": 6}, {"at": first, "v": 0})),
        *log.transaction(delete("d.k", {"at": third, "v": 0})),
    ]


@pytest.mark.parametrize("mode", ["replace", "upsert", "plain"])
@pytest.mark.parametrize("kind", ["DATETIME(3)", "VARCHAR(40)"])
def test_listed_columns_are_shifted_in_values_keys_and_conditions(odd_target: Endpoint, kind: str, mode: str) -> None:
    shifted(odd_target, kind, changes(), apply_mode=mode)
    digits = ".000" if kind.startswith("DATETIME") else ""
    assert texts(odd_target, "SELECT id, CAST(at AS CHAR), CAST(note AS CHAR) FROM d.t ORDER BY 1") == [
        (1, "2025-01-01 07:59:59.999", "2024-12-31 23:59:59.999"),
        (2, None, None),
    ]
    half = ".500" if digits else ".5"
    assert sorted(texts(odd_target, "SELECT id, CAST(at AS CHAR), CAST(note AS CHAR) FROM d.n")) == [
        (1, f"2024-02-29 04:00:00{half}", "2024-02-28 20:00:00.500"),
        (1, "2025-01-01 07:59:59.999", "2024-12-31 23:59:59.999"),
    ]
    assert texts(odd_target, "SELECT CAST(at AS CHAR), v FROM d.k ORDER BY v") == [
        ("2025-01-01 07:59:59.999", 5),
        (f"2030-01-01 08:00:00{digits}", 6),
    ]


@pytest.mark.parametrize(
    ("offset", "moment"), [("+08:00", "2024-02-29 04:00:00"), ("-09:30", "2024-02-28 10:30:00"), ("+00:00", None)]
)
def test_the_offset_is_the_configured_one(fresh_target: Endpoint, offset: str, moment: str | None) -> None:
    log = Binlog()
    one = log.transaction(insert("d.t", {"id": 1, "at": "2024-02-28 20:00:00", "note": None}))
    shifted(fresh_target, "DATETIME", one, timestamp_offset=offset)
    assert texts(fresh_target, "SELECT CAST(at AS CHAR) FROM d.t") == [(moment or "2024-02-28 20:00:00",)]


def test_a_zero_date_is_not_shifted(fresh_target: Endpoint) -> None:
    zero = "0000-00-00 00:00:00"
    shifted(fresh_target, "DATETIME", Binlog().transaction(insert("d.t", {"id": 1, "at": zero, "note": zero})))
    assert texts(fresh_target, "SELECT CAST(at AS CHAR), CAST(note AS CHAR) FROM d.t") == [(zero, f"{zero}.000")]


def test_messages_of_a_timestamp_are_in_utc(moments: list[bytes]) -> None:
    found = [json.loads(message) for message in moments]
    written = {row["data"]["id"]: row["data"]["ts"] for row in found if row["type"] == "insert" and row["table"] == "t"}
    assert written[0] == "2024-03-30 18:30:00.123456"
    assert written[1] == "2024-03-31 06:00:01.123456"
