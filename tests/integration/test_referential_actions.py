"""Children of foreign keys with actions end as at the source, whether its binlog tells of them or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pydbsync.errors import StopError
from pydbsync.ops.parked.desk import ParkedDesk
from tests.integration.carried import Carrier, without_places
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

MODES = ("replace", "upsert", "plain")

FAMILY = (
    "CREATE DATABASE f",
    "USE f",
    "CREATE TABLE parent (id INT PRIMARY KEY, code VARCHAR(10) UNIQUE, v INT)",
    "CREATE TABLE casc (id INT PRIMARY KEY, pid INT, v INT,"
    " FOREIGN KEY (pid) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE nulls (id INT PRIMARY KEY, pid INT,"
    " FOREIGN KEY (pid) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE SET NULL)",
    "CREATE TABLE bycode (id INT PRIMARY KEY, code VARCHAR(10),"
    " FOREIGN KEY (code) REFERENCES parent (code) ON UPDATE CASCADE ON DELETE SET NULL)",
    "CREATE TABLE grand (id INT PRIMARY KEY, cid INT, FOREIGN KEY (cid) REFERENCES casc (id) ON DELETE CASCADE)",
    "CREATE TABLE tree (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE)",
    "INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4)",
    "INSERT INTO casc VALUES (10, 1, 0), (11, 1, 0), (20, 2, 0), (30, 3, 0)",
    "INSERT INTO nulls VALUES (10, 1), (20, 2), (30, 3)",
    "INSERT INTO bycode VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    "INSERT INTO grand VALUES (100, 10), (110, 11), (300, 30)",
    "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, NULL)",
)
CHANGES = (
    "USE f",
    "DELETE FROM parent WHERE id = 1",
    "UPDATE parent SET id = 22 WHERE id = 2",
    "UPDATE parent SET code = 'cc', v = 5 WHERE id = 3",
    "DELETE FROM tree WHERE id = 1",
    "BEGIN",
    "INSERT INTO parent VALUES (6, 'f', 6)",
    "INSERT INTO casc VALUES (60, 6, 0), (61, 6, 0)",
    "INSERT INTO grand VALUES (600, 60)",
    "UPDATE parent SET id = 66 WHERE id = 6",
    "UPDATE casc SET v = 9 WHERE pid = 66",
    "DELETE FROM casc WHERE id = 61",
    "DELETE FROM parent WHERE id = 66",
    "COMMIT",
    "BEGIN",
    "INSERT INTO parent VALUES (7, 'g', 7)",
    "INSERT INTO casc VALUES (70, 7, 0)",
    "UPDATE parent SET v = 8 WHERE id = 7",
    "UPDATE casc SET pid = NULL WHERE id = 70",
    "DELETE FROM parent WHERE id = 7",
    "COMMIT",
)


@pytest.fixture(scope="module")
def family(source: Endpoint, target: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Carrier:
    source.drop_databases()
    carrier = Carrier(source, target, tmp_path_factory.mktemp("family"))
    carrier.run(*FAMILY)
    carrier.run(*CHANGES)
    return carrier


@pytest.mark.parametrize("batch_rows", [1, 5000])
@pytest.mark.parametrize("mode", MODES)
def test_children_end_as_at_the_source(family: Carrier, fresh_target: Endpoint, mode: str, batch_rows: int) -> None:
    family.replay(apply_mode=mode, batch_rows=batch_rows)
    assert family.differences("f") == []


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


@pytest.mark.mysql
def test_mysql_9_7_tells_of_the_children_so_the_target_need_not_cascade(carrier: Carrier) -> None:
    carrier.run(*FAMILY)
    told = carrier.run(*CHANGES)
    assert any(b'"table":"casc","type":"delete"' in message and b'"id":10,' in message for message in told)
    carrier.replay(referential_actions="off")
    assert carrier.differences("f") == []


@pytest.mark.mariadb
def test_mariadb_does_not_tell_of_the_children_so_the_target_must_cascade(carrier: Carrier) -> None:
    carrier.run(*FAMILY)
    told = carrier.run("USE f", "DELETE FROM parent WHERE id = 1")
    assert [message for message in told if b'"table":"casc"' in message] == []
    carrier.replay(referential_actions="off")
    assert carrier.differences("f") != []


# What the target refuses at first, and what comes of the source meanwhile.
REFUSED = {
    "a parent's delete, before the same parent has children again": (
        "DELETE ON f.parent",
        [
            "DELETE FROM parent WHERE id = 1", "INSERT INTO parent VALUES (1, 'n', 0)",
            "INSERT INTO casc VALUES (15, 1, 0)", "INSERT INTO nulls VALUES (15, 1)",
            "INSERT INTO grand VALUES (150, 15)",
        ],
    ),
    "a parent's new key": (
        "UPDATE ON f.parent",
        ["UPDATE parent SET id = 22 WHERE id = 2", "UPDATE casc SET v = 7 WHERE pid = 22",
         "INSERT INTO parent VALUES (2, 'n', 0)", "INSERT INTO casc VALUES (25, 2, 0)"],
    ),
    "a child that goes with its parent": (
        "INSERT ON f.casc", ["BEGIN", "INSERT INTO casc VALUES (12, 1, 0)", "DELETE FROM parent WHERE id = 1", "COMMIT"]
    ),
    "a grandchild that goes with all": (
        "INSERT ON f.grand", ["INSERT INTO grand VALUES (111, 11)", "DELETE FROM parent WHERE id = 1"]
    ),
    "a row of a tree": (
        "DELETE ON f.tree",
        ["BEGIN", "DELETE FROM tree WHERE id = 3", "INSERT INTO tree VALUES (3, 2)", "INSERT INTO tree VALUES (6, 3)",
         "COMMIT"],
    ),
    "a parent's delete, before there is a foreign key": (
        "DELETE ON f.parent",
        ["CREATE TABLE late (id INT PRIMARY KEY, pid INT)", "INSERT INTO late VALUES (1, 4)",
         "DELETE FROM parent WHERE id = 4", "INSERT INTO parent VALUES (4, 'n', 0)",
         "ALTER TABLE late ADD FOREIGN KEY (pid) REFERENCES parent (id) ON DELETE CASCADE"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("event", "changes"), REFUSED.values(), ids=REFUSED)
def test_children_end_as_at_the_source_where_something_was_parked(
    carrier: Carrier, event: str, changes: list[str]
) -> None:
    carrier.run(*FAMILY)
    carrier.replay()
    carrier.target.query(
        f"CREATE TRIGGER f.refuses BEFORE {event} FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'"
    )
    found = carrier.run("USE f", *changes)
    options: dict[str, Any] = {"source_server": carrier.source_server, "lossy_values": "off"}
    replay(carrier.target, found, batch_rows=1, **options)
    if carrier.source.brand == "mariadb":  # MySQL tells of the children, so that some of it meets no trigger
        assert parked(carrier.target)
    carrier.target.query("DROP TRIGGER f.refuses")
    desk = ParkedDesk(settings_for(carrier.target, **options), LOG)
    try:
        assert [outcome.detail for outcome in desk.retry() if not outcome.applied] == []
    finally:
        desk.close()
    assert carrier.differences("f") == []


@pytest.mark.parametrize("actions", ["on", "off"])
def test_a_parent_that_comes_again_never_deletes_its_children(carrier: Carrier, actions: str) -> None:
    carrier.run(*FAMILY)
    updates = carrier.run("USE f", "UPDATE parent SET v = v + 1", "UPDATE tree SET up = 5 WHERE id = 1")
    carrier.replay(referential_actions=actions)
    again = [message for message in carrier.messages if b'"table":"parent"' in message or b'"table":"tree"' in message]
    assert len(again) > len(updates)
    carrier.replay(without_places(again), referential_actions=actions)
    carrier.replay(without_places(again), referential_actions=actions, batch_rows=1)
    assert carrier.differences("f") == []


def test_a_worker_stops_before_it_would_guess_what_the_source_does_with_children(carrier: Carrier) -> None:
    carrier.run(*FAMILY)
    carrier.run("USE f", "INSERT INTO parent VALUES (9, 'i', 9)", "UPDATE parent SET v = 10 WHERE id = 9")
    carrier.replay(source_server="auto")  # what reaches no child is the same from every source
    assert carrier.differences("f") == []
    change = carrier.run("USE f", "DELETE FROM parent WHERE id = 1")
    for _ in range(2):
        with pytest.raises(StopError, match=r"f\.\w+ is referenced .* set source_server"):
            carrier.replay(change, source_server="auto")
    assert carrier.target.query("SELECT COUNT(*) FROM f.parent WHERE id = 1") == [(1,)]
    carrier.replay(change)
    assert carrier.differences("f") == []


def test_the_source_is_asked_what_it_is(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    carrier.run(*FAMILY)
    carrier.run(*CHANGES)
    with caplog.at_level("INFO", LOG.name):
        carrier.replay(source_server="auto", source_db_info=carrier.source.db_info)
    assert carrier.differences("f") == []
    assert caplog.text.count("source: ") == 1


def test_a_source_that_cannot_be_asked_is_named(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    carrier.run(*FAMILY)
    carrier.run("USE f", "DELETE FROM parent WHERE id = 1")
    nobody = {**carrier.source.db_info, "password": "wrong"}
    with caplog.at_level("WARNING", LOG.name), pytest.raises(StopError, match="set source_server"):
        carrier.replay(source_server="auto", source_db_info=nobody)
    assert caplog.text.count("the source could not be asked which server it is (source_db_info)") == 1
