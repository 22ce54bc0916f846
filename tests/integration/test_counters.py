"""The numbers that the target gives out after the switch: none that the source has given out already."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pydbsync.config.settings import Settings
from pydbsync.ops.verify.run import Verification, VerifyOptions
from tests.commands import call
from tests.comparing import LOG, QUICK, run_sql, settings_for
from tests.integration.carried import Carrier
from tests.integration.copying import copy
from tests.integration.engine import replay
from tests.processes import write_config
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

TABLES = ("deleted", "moved", "emptied", "fresh")
MADE = [
    *(f"CREATE TABLE {name} (id INT PRIMARY KEY AUTO_INCREMENT, v INT)" for name in TABLES),
    "CREATE TABLE plain (id INT PRIMARY KEY)",
]
GIVEN = [
    "INSERT INTO deleted VALUES (1, 1), (40, 2)", "DELETE FROM deleted WHERE id = 40",
    "INSERT INTO moved VALUES (700, 1)", "UPDATE moved SET id = 3 WHERE id = 700",
    "INSERT INTO emptied VALUES (9, 1)", "DELETE FROM emptied",
]  # fmt: skip


def next_ids(end: Endpoint, database: str = "d") -> dict[str, int]:
    found = {}
    for name in TABLES:
        with end.connect(database=database) as connection, connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {name} (v) VALUES (5)")
            found[name] = int(cursor.lastrowid)
    return found


def listed_by_verify(settings: Settings) -> set[str]:
    verification = Verification(settings, VerifyOptions(settle=QUICK), stop=threading.Event(), log=LOG)
    return set(verification.run().counters)


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    carrier = Carrier(fresh_source, fresh_target, tmp_path)
    carrier.run("CREATE DATABASE d")
    run_sql(fresh_source, MADE, database="d")
    return carrier


def test_a_copy_gives_out_no_number_of_the_source_again(carrier: Carrier) -> None:
    """Nor where the tables were there already, without the counters in their definitions."""
    source, target = carrier.source, carrier.target
    run_sql(source, GIVEN, database="d")
    target.query("CREATE DATABASE d")
    run_sql(target, MADE, database="d")
    copy(settings_for(source, target), existing="keep")
    assert next_ids(target) == next_ids(source) == {"deleted": 41, "moved": 701, "emptied": 10, "fresh": 1}


def test_what_the_stream_does_not_raise_is_listed_and_raised(carrier: Carrier, tmp_path: Path) -> None:
    source, target = carrier.source, carrier.target
    settings = settings_for(source, target)
    copy(settings, trust_stream=True)
    carrier.run(*(f"{sql.replace(' INTO ', ' INTO d.').replace(' FROM ', ' FROM d.').replace('UPDATE ', 'UPDATE d.')}"
                  for sql in GIVEN))  # fmt: skip
    replay(target, carrier.messages, stream="file", source_server=carrier.source_server, lossy_values="off")
    wanted = {f"ALTER TABLE `d`.`{name}` AUTO_INCREMENT = {number}" for name, number in
              (("deleted", 41), ("moved", 701), ("emptied", 10))}  # fmt: skip
    assert listed_by_verify(settings) == wanted
    config = write_config(
        {"log_file_prefix": "", "db_info": target.db_info, "source_db_info": source.db_info}, tmp_path / "c.py"
    )

    def counters(*arguments: str) -> tuple[int, str]:
        done = call("counters", "--config", str(config), *arguments)
        return done.returncode, done.stdout

    code, listed = counters()
    assert (code, set(listed.split(";\n")) - {""}) == (1, wanted)
    assert counters("--apply")[0] == 0
    assert counters() == (0, "no number of the source would be given out again\n")
    assert next_ids(target) == next_ids(source)


@pytest.mark.mariadb
def test_sequences_go_on_where_the_source_is(carrier: Carrier) -> None:
    source, target = carrier.source, carrier.target
    run_sql(
        source,
        ["CREATE SEQUENCE up CACHE 3", "CREATE SEQUENCE down START WITH 9 MAXVALUE 9 MINVALUE 1 INCREMENT BY -1 CYCLE",
         "DO NEXTVAL(up)"],
        database="d",
    )  # fmt: skip
    settings = settings_for(source, target)
    copy(settings)
    run_sql(source, ["DO NEXTVAL(up), NEXTVAL(up), NEXTVAL(up), NEXTVAL(up)", "DO NEXTVAL(down)"], database="d")
    assert listed_by_verify(settings) == {
        f"SELECT SETVAL(`d`.`{name}`, {value}, 0, {cycles})" for name, value, cycles in
        (("up", 7, 0), ("down", *source.query("SELECT next_not_cached_value, cycle_count FROM d.down")[0]))
    }  # fmt: skip


def test_databases_that_are_merged_count_from_the_highest(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    for name, number in (("d1", 30), ("d2", 20)):
        fresh_source.query(f"CREATE DATABASE {name}")
        run_sql(
            fresh_source, ["CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT)", f"INSERT INTO t VALUES ({number})",
                           "DELETE FROM t"], database=name,
        )  # fmt: skip
    copy(settings_for(fresh_source, fresh_target, dbname_rewrite={"d1": "d", "d2": "d"}))
    fresh_target.query("INSERT INTO d.t VALUES (NULL)")
    assert fresh_target.query("SELECT id FROM d.t") == [(31,)]
