"""Capture of a source of other habits: it folds the case of names, encrypts its binlog and waits for replicas."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab
from pydbsync.errors import OperationError, StopError
from tests.integration.captured import Capture, head, rows, run
from tests.servers import Endpoint

pytestmark = pytest.mark.mariadb

KEYS = Path(os.environ.get("PYDBSYNC_MARIADB_PLUGINS", "/usr/lib/mysql/plugin"), "file_key_management.so")
"""Debian has it in the package mariadb-server, of which the lab installs the core alone."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    root = tmp_path_factory.mktemp("odd")
    habits = {
        "lower-case-table-names": "1",
        "innodb-file-per-table": "ON",
        # Commits wait for a replica that says that it has them; capture says nothing.
        "rpl-semi-sync-master-enabled": "ON",
        "rpl-semi-sync-master-wait-no-slave": "OFF",
        "rpl-semi-sync-master-timeout": "600000",
    }
    if KEYS.exists():
        (root / "keys").write_text(f"1;{'a1' * 32}\n")
        encryption = {"plugin-load-add": KEYS.stem, "file-key-management-filename": str(root / "keys")}
        habits |= {"plugin-dir": str(KEYS.parent), **encryption, "encrypt-binlog": "ON"}
    server = lab.MariaDB("odd", root=root, options=habits).start()
    yield Endpoint.of_lab(server)
    for each in lab.servers(root=root):
        each.remove()


@pytest.fixture
def shop(odd: Endpoint) -> Endpoint:
    odd.drop_databases()
    run(odd, ["CREATE DATABASE Shop", "CREATE TABLE SHOP.Orders (Id INT PRIMARY KEY, v LONGTEXT)"])
    return odd


@pytest.mark.skipif(
    not KEYS.exists(), reason=f"the plugin that has the keys of an encrypted binlog is not here: {KEYS}"
)
def test_an_encrypted_binlog_is_read_from_any_place(shop: Endpoint, tmp_path: Path) -> None:
    (file,) = (row[0] for row in shop.query("SHOW MASTER STATUS"))
    assert b"Orders" not in (shop.server.data / file).read_bytes()  # type: ignore[union-attr]
    for by_gtid in (False, True):
        folder = tmp_path / str(by_gtid)
        folder.mkdir()
        capture = Capture(shop, folder, by_gtid=by_gtid)
        capture.read()
        for number in range(2):
            run(shop, [f"REPLACE INTO shop.orders VALUES ({number}, REPEAT('é', 70000))", "FLUSH BINARY LOGS"])
            assert [data["Id"] for _, data in rows(map(json.loads, capture.read()))] == [number]
        run(shop, ["DELETE FROM shop.orders"])
        assert len(capture.read()) == 2


def test_a_source_that_waits_for_replicas_does_not_wait_for_capture(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path)
    capture.read()
    with shop.connect(read_timeout=60) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop.orders VALUES (1, 'x')")
    assert rows(map(json.loads, capture.read())) == [("insert", {"Id": 1, "v": "x"})]
    assert shop.query("SHOW STATUS LIKE 'Rpl_semi_sync_master_status'")[0][1] == "ON"
    assert shop.query("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'")[0][1] == "0"


def test_names_are_those_of_the_rows_however_a_statement_spells_them(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path, include=("shop.*",))
    capture.read()
    found = capture.of(
        "USE SHOP", "INSERT INTO ORDERS VALUES (1, 'a')", "ALTER TABLE Orders ADD W INT",
        "UPDATE orders SET w = 2", "RENAME TABLE Orders TO shoP.Bills", "INSERT INTO bills VALUES (2, 'b', 3)",
        "CREATE TABLE Copy LIKE BILLS", "INSERT INTO cOPY SELECT * FROM Bills",
        "CREATE DATABASE Other", "CREATE TABLE Other.Bills (x INT)", "INSERT INTO OTHER.bills VALUES (1)",
        "DROP TABLE COPY", "DROP DATABASE Other",
    )  # fmt: skip
    assert {each["database"] for each in found} == {"shop"}
    assert [(each["type"], each["table"]) for each in found if "data" not in each] == [
        ("table-alter", "orders"), ("table-alter", "orders"), ("table-create", "copy"), ("table-drop", "copy"),
    ]  # fmt: skip
    assert [each["data"] for each in found if "data" in each] == [
        {"Id": 1, "v": "a"}, {"Id": 1, "v": "a", "W": 2}, {"Id": 2, "v": "b", "W": 3},
        {"Id": 1, "v": "a", "W": 2}, {"Id": 2, "v": "b", "W": 3},
    ]  # fmt: skip


def test_columns_before_a_statement_are_not_those_behind_it_however_it_spells_the_table(
    shop: Endpoint, tmp_path: Path
) -> None:
    place = head(shop)
    run(shop, ["INSERT INTO shop.orders VALUES (1, 'a')", "ALTER TABLE SHOP.Orders RENAME COLUMN v TO w"])
    with pytest.raises(OperationError, match="binlog_row_metadata=FULL"):
        Capture(shop, tmp_path, start=place).read()


def test_a_statement_that_cannot_be_read_stops_however_it_spells_its_table(shop: Endpoint, tmp_path: Path) -> None:
    capture = Capture(shop, tmp_path, include=("shop.*",))
    capture.read()
    run(shop, ["ALTER TABLE SHOP.Orders DISCARD TABLESPACE"])
    with pytest.raises(StopError, match="exchanges the table's rows with a file"):
        capture.read()


def test_globs_that_no_name_can_match_are_refused(shop: Endpoint, tmp_path: Path) -> None:
    for globs in ({"include": ("Shop.*",)}, {"exclude": ("shop.x", "shop.Secret")}):
        with pytest.raises(
            OperationError, match=r"all names in lower case: '\S+' of include or exclude .*; write 'shop"
        ):
            Capture(shop, tmp_path, **globs).read()
