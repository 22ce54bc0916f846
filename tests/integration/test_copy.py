"""What copy makes at the target: structure, rows, names, and what it refuses to touch."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

import msgspec
import pymysql
import pytest

from pydbsync.apply.mark import MarkedConnection
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, OperationError, TransientError
from pydbsync.model import TableName
from pydbsync.ops.copy import one_round
from pydbsync.ops.copy import run as copy_run
from pydbsync.ops.copy.options import CopyReport
from pydbsync.ops.copy.sessions import TargetWriter
from tests.commands import call
from tests.comparing import run_sql, settings_for
from tests.integration.copying import (
    KEYLESS,
    KEYS,
    CopyProcess,
    Recorder,
    copy,
    make_shapes,
    state_differences,
    unequal,
)
from tests.matrices import LONG
from tests.processes import write_config
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

SHOP = """
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(40), best INT);
CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, customer INT NOT NULL, total DECIMAL(10,2),
  doubled DECIMAL(12,2) AS (total * 2) STORED, halved DECIMAL(12,4) AS (total / 2) VIRTUAL,
  KEY (customer), FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE);
ALTER TABLE customers ADD FOREIGN KEY (best) REFERENCES orders (id);
CREATE TABLE log (at DATETIME(6), line VARCHAR(100));
CREATE TABLE touched (customer INT);
CREATE VIEW a_second AS SELECT * FROM z_first WHERE total > 1;
CREATE VIEW z_first AS SELECT o.id, o.total, c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer;
CREATE TRIGGER remember AFTER INSERT ON orders FOR EACH ROW INSERT INTO touched VALUES (NEW.customer);
CREATE PROCEDURE tidy() DELETE FROM log;
INSERT INTO customers (id, name) VALUES (1, 'one'), (2, 'two');
INSERT INTO orders (id, customer, total) VALUES (10, 1, 1.50), (11, 2, 2.50);
UPDATE customers SET best = id + 9;
INSERT INTO orders (id, customer, total) VALUES (12, 77, 0.5);
INSERT INTO log VALUES ('2024-05-05 01:02:03.000004', 'twice'), ('2024-05-05 01:02:03.000004', 'twice'), (NULL, NULL)
"""
"""Two tables that refer to each other, an orphan, equal rows without a key, a view that is made before the one it
reads, and a trigger that has written rows."""


@pytest.fixture
def settings(fresh_source: Endpoint, fresh_target: Endpoint) -> Settings:
    return settings_for(fresh_source, fresh_target)


def make(source: Endpoint, statements: str = SHOP, *, database: str = "shop") -> None:
    source.query(f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4")
    # A view may be made before what it reads only if it is taken on trust: the order of their names is the wrong one.
    first = [part for part in statements.split(";\n") if "a_second" not in part]
    run_sql(source, first + [part for part in statements.split(";\n") if "a_second" in part], database=database)


def rows(target: Endpoint, table: str) -> list[tuple[object, ...]]:
    return sorted(target.query(f"SELECT * FROM {table}"), key=repr)


# -- structure ---------------------------------------------------------------------------------------------------------


def test_views_and_foreign_keys_are_made_and_triggers_are_not(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(source)
    report = copy(settings)
    assert state_differences(source, target, ["shop"]) == []
    assert unequal(settings) == {}
    assert {str(name) for name in report.views} == {"shop.a_second", "shop.z_first"}
    assert rows(target, "shop.a_second") == rows(source, "shop.a_second") != []
    keys = "SELECT table_name, referenced_table_name, delete_rule FROM information_schema.referential_constraints"
    assert sorted(target.query(keys)) == sorted(source.query(keys)) != []
    assert target.query("SELECT 1 FROM information_schema.triggers WHERE trigger_schema = 'shop'") == []
    assert report.triggers == []
    assert [text.partition(": ")[0] for text in report.left_out] == [
        "the procedure shop.tidy", "the trigger shop.remember",
    ]  # fmt: skip


def test_triggers_are_made_when_asked_for_and_do_not_fire_for_copied_rows(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(source)
    report = copy(settings, triggers=True, views=False)
    assert [str(name) for name in report.triggers] == ["shop.remember"]
    assert report.views == []
    assert target.query("SELECT 1 FROM information_schema.views WHERE table_schema = 'shop'") == []
    before = rows(target, "shop.touched")
    assert before == rows(source, "shop.touched") != []
    target.query("INSERT INTO shop.orders (customer, total) VALUES (2, 3)")
    assert len(rows(target, "shop.touched")) == len(before) + 1


def test_what_follows_the_copy_gets_the_next_number(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(
        source,
        "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT);\nINSERT INTO t VALUES (-5, 0), (0, 1), (41, 2)",
    )
    source.query("ALTER TABLE shop.t AUTO_INCREMENT = 100")
    copy(settings)
    assert rows(target, "shop.t") == rows(source, "shop.t")
    numbers = []
    for end in (source, target):
        end.query("INSERT INTO shop.t (v) VALUES (9)")
        numbers.append(end.query("SELECT MAX(id) FROM shop.t"))
    assert numbers[0] == numbers[1]


@pytest.mark.mariadb
@pytest.mark.usefixtures("small_packets")
@pytest.mark.parametrize("loading", ["load", pytest.param("insert", marks=LONG)])
@pytest.mark.parametrize("kind", ["UUID", "INET6", "INET4"])
def test_addresses_are_read_in_chunks_by_their_text(
    settings: Settings, source: Endpoint, target: Endpoint, kind: str, loading: str
) -> None:
    target.query("SET GLOBAL local_infile = 1")
    text = {
        "UUID": "CONCAT('c319e087-e4eb-11f1-aec7-', LPAD(HEX(seq * 999), 12, '0'))",
        "INET6": "CONCAT('fe80::', HEX(seq + 5))",
        "INET4": "CONCAT('10.7.', seq DIV 200, '.', seq % 200)",
    }[kind]
    make(
        source,
        f"CREATE TABLE t (id {kind} PRIMARY KEY, other {kind}, v VARCHAR(100));\n"
        f"INSERT INTO t SELECT {text}, IF(seq % 3, {text}, NULL), REPEAT('x', 90) FROM seq_1_to_600;\nANALYZE TABLE t",
    )
    observer = Recorder()
    copy(settings, observer=observer, loading=loading)
    assert rows(target, "shop.t") == rows(source, "shop.t") != []
    assert len({count for _, count, state in observer.steps if state == "copying"}) > 1


@pytest.mark.mariadb
def test_what_only_mariadb_has_is_copied_or_named(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(
        source,
        "CREATE SEQUENCE numbers START WITH 50 INCREMENT BY -2 MAXVALUE 60 MINVALUE 1 CACHE 5;\n"
        "DO NEXTVAL(numbers);\nCREATE TABLE n (id INT DEFAULT NEXTVAL(shop.numbers));\n"
        "CREATE TABLE kept (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;\n"
        "INSERT INTO kept VALUES (1, 1), (2, 2);\nUPDATE kept SET v = 3 WHERE id = 1;\nDELETE FROM kept WHERE id = 2;\n"
        "CREATE TABLE u (id UUID PRIMARY KEY, a INET6);\nINSERT INTO u VALUES (UUID(), '::1'), (UUID(), NULL)",
    )
    report = copy(settings)
    assert rows(target, "shop.kept") == [(1, 3)]
    assert rows(target, "shop.u") == rows(source, "shop.u") != []
    assert "the history of shop.kept" in "\n".join(report.left_out)
    place = "SELECT next_not_cached_value, increment, cache_size, maximum_value FROM shop.numbers"
    assert target.query(place) == source.query(place) == [(40, -2, 5, 60)]
    assert any("does not move sequences (shop.numbers)" in note for note in report.notes)


SHAPES_OF_A_SYSTEM = (
    "CREATE TABLE g (id INT PRIMARY KEY, `a``b` POINT REF_SYSTEM_ID=4326 NOT NULL, h GEOMETRY REF_SYSTEM_ID = 3857,"
    " i POINT);\nINSERT INTO g VALUES (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(1 2)', 3857), NULL)"
)
SYSTEMS = "SELECT g_geometry_column, srid FROM information_schema.geometry_columns WHERE f_table_schema = 'shop'"


@pytest.mark.mariadb
def test_reference_systems_are_carried(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source, SHAPES_OF_A_SYSTEM)
    copy(settings)
    assert sorted(target.query(SYSTEMS)) == [("a`b", 4326), ("h", 3857), ("i", 0)]
    assert rows(target, "shop.g") == rows(source, "shop.g") != []


@pytest.fixture
def from_mariadb_to_mysql(mariadb_source: Endpoint, mysql_target: Endpoint) -> Settings:
    for end in (mariadb_source, mysql_target):
        end.drop_databases()
    return settings_for(mariadb_source, mysql_target)


def test_rows_that_mysql_would_not_take_are_named_before_anything_is_made(
    from_mariadb_to_mysql: Settings, mariadb_source: Endpoint, mysql_target: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB has them from sessions that do not look at CHECKs."""
    make(
        mariadb_source,
        "CREATE TABLE c (id INT PRIMARY KEY, v INT CHECK (v < 9), CONSTRAINT `100%` CHECK (v <> id));\n"
        "CREATE TABLE j (id INT PRIMARY KEY, d JSON);\nCREATE TABLE fine (v VARCHAR(9) CHECK (v LIKE 'a%'));\n"
        "INSERT INTO fine VALUES ('a'), (NULL);\nSET check_constraint_checks = 0;\n"
        "INSERT INTO c VALUES (1, 10), (2, 2);\nINSERT INTO j VALUES (1, '{')",
    )
    with pytest.raises(OperationError) as refused:
        copy(from_mariadb_to_mysql)
    told = str(refused.value)
    assert told.startswith("3 things forbid the copy:")
    for name, found in (("c", "CHECK v forbids"), ("c", "CHECK 100% forbids"), ("j", "CHECK d forbids")):
        assert f"shop.{name} has rows at the source that its {found}" in told
    assert "SELECT * FROM `shop`.`c` WHERE NOT (`v` < 9)" in told
    copy(from_mariadb_to_mysql, where=(("shop.c", "v < 0"),), exclude=("shop.j",))
    monkeypatch.setattr("pydbsync.ops.copy.run.broken_checks", lambda *_: [])  # as where the look takes too long
    with pytest.raises(OperationError, match=r"shop\.c: .*violated.*NOT ENFORCED.*--restart --existing keep"):
        copy(from_mariadb_to_mysql, exclude=("shop.j",), existing="drop", overwrite_checkpoint=True)


def test_a_reference_system_is_named_where_it_would_keep_rows_out(
    from_mariadb_to_mysql: Settings, mariadb_source: Endpoint
) -> None:
    make(mariadb_source, SHAPES_OF_A_SYSTEM)
    report = copy(from_mariadb_to_mysql)
    assert [text.partition(":")[0] for text in report.left_out] == [
        "the reference system 4326 of column a`b of shop.g", "the reference system 3857 of column h of shop.g",
    ]  # fmt: skip
    assert unequal(from_mariadb_to_mysql) == {}


def test_a_table_whose_rows_are_elsewhere_is_made_and_stays_empty(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(
        source,
        "CREATE TABLE part (id INT) ENGINE=MyISAM;\nINSERT INTO part VALUES (1), (2);\n"
        "CREATE TABLE whole (id INT) ENGINE=MERGE UNION=(part)",
    )
    assert rows(source, "shop.whole") == [(1,), (2,)]
    report = copy(settings)
    assert {str(table.name): table.note for table in report.tables} == {
        "shop.part": "",
        "shop.whole": "MRG_MYISAM has no rows of its own",
    }
    assert rows(target, "shop.part") == [(1,), (2,)]
    engine = "SELECT engine FROM information_schema.tables WHERE table_name = 'whole'"
    assert target.query(engine) == source.query(engine)


def test_empty_databases_and_tables_are_copied_too(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    source.query("CREATE DATABASE hollow CHARACTER SET latin1 COLLATE latin1_bin")
    make(source, "CREATE TABLE t (id INT PRIMARY KEY);\nCREATE TABLE k (v INT)")
    copy(settings)
    assert state_differences(source, target, ["hollow", "shop"]) == []
    database = (
        "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata"
        " WHERE schema_name = 'hollow'"
    )
    assert target.query(database) == source.query(database) == [("latin1", "latin1_bin")]


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loading", ["load", pytest.param("insert", marks=LONG)])
@pytest.mark.usefixtures("small_packets")
def test_keys_of_all_shapes_are_read_in_chunks_and_nothing_is_doubled(
    settings: Settings, source: Endpoint, target: Endpoint, loading: str
) -> None:
    make_shapes(source)
    target.query("SET GLOBAL local_infile = 1")
    observer = Recorder()
    copy(settings, loading=loading, observer=observer)
    assert state_differences(source, target, ["shapes"]) == []
    steps = [name for name, rows, state in observer.steps if state == "copying" and rows]
    assert all(steps.count(f"shapes.{name}") > 1 for name in KEYS if name not in KEYLESS)


def test_a_row_larger_than_the_source_prints_as_one_text_arrives_whole(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    """QUOTE() doubles each of these bytes: escaped, a row is longer than max_allowed_packet, as it is not."""
    packet = int(source.query("SELECT @@global.max_allowed_packet")[0][0])
    assert int(target.query("SELECT @@global.max_allowed_packet")[0][0]) >= packet
    make(source, "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB);\nCREATE TABLE k (b LONGBLOB)")
    size = min(packet // 2 - 4096, 9 << 20)
    source.query(f"SET GLOBAL max_allowed_packet = {(size * 3 // 2) // 1024 * 1024}")
    try:
        for table, value in (("t", "1, "), ("k", "")):
            source.query(f"INSERT INTO shop.{table} VALUES ({value}REPEAT('\\'', {size}))")
        source.query("INSERT INTO shop.t VALUES (2, 'small'), (3, NULL)")
        copy(settings)
    finally:
        source.query(f"SET GLOBAL max_allowed_packet = {packet}")
    for table in ("t", "k"):
        sums = f"SELECT LENGTH(b), SHA2(b, 256) FROM shop.{table}"
        assert sorted(target.query(sums), key=repr) == sorted(source.query(sums), key=repr)


def test_a_value_that_the_target_would_change_stops_the_copy(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(source, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20));\nINSERT INTO t VALUES (1, 'long enough')")
    make(target, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(4))")
    with pytest.raises(OperationError, match=r"shop\.t: .*[Tt]runcated.*'v'"):
        copy(settings, existing="keep")
    assert rows(target, "shop.t") == []


class Unanswered(TargetWriter):
    """Its first connection is lost just behind its first COMMIT, which the server has done."""

    lost: ClassVar[int] = 0

    def execute(self, sql: bytes | str) -> int:
        done = super().execute(sql)
        if sql == b"COMMIT" and not Unanswered.lost:
            Unanswered.lost += 1
            self.close()
            raise TransientError("the answer was lost", code=2013)
        return done


@pytest.mark.parametrize(
    ("tables", "merged"),
    [
        pytest.param(("d1.k", "d2.k"), True, id="merged-without-a-key"),
        pytest.param(("d1.t",), False, id="with-a-key"),
        pytest.param(("d1.k",), False, id="without-a-key"),
        pytest.param(("d1.long",), False, id="rows-too-long-for-a-chunk"),
    ],
)
def test_a_commit_whose_answer_is_lost_is_not_done_again(
    fresh_source: Endpoint,
    fresh_target: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    tables: tuple[str, ...],
    merged: bool,
) -> None:
    packet = int(fresh_source.query("SELECT @@global.max_allowed_packet")[0][0])
    fresh_source.query(f"SET GLOBAL max_allowed_packet = {1 << 20}")
    monkeypatch.setattr(one_round, "TargetWriter", Unanswered)
    monkeypatch.setattr(Unanswered, "lost", 0)
    try:
        for database in ("d1", "d2"):
            fresh_source.query(f"CREATE DATABASE {database}")
            run_sql(
                fresh_source,
                [
                    "CREATE TABLE k (v VARCHAR(9))", "INSERT INTO k VALUES ('twice'), ('twice'), (NULL)",
                    "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)",
                    "CREATE TABLE `long` (id INT PRIMARY KEY, b LONGBLOB)",
                    "INSERT INTO `long` VALUES (1, REPEAT('\\'', 600000)), (2, 'x')",
                ],
                database=database,
            )  # fmt: skip
        rewrite = {"dbname_rewrite": {"d1": "d", "d2": "d"}} if merged else {}
        settings = settings_for(fresh_source, fresh_target, **rewrite)
        report = copy(settings, tables=tables, jobs=1, trust_stream=True)
    finally:
        fresh_source.query(f"SET GLOBAL max_allowed_packet = {packet}")
    assert Unanswered.lost == 1
    name = tables[0].partition(".")[2]
    wanted = [row for table in tables for row in fresh_source.query(f"SELECT * FROM {table.replace('long', '`long`')}")]
    found = fresh_target.query(f"SELECT * FROM {'d' if merged else 'd1'}.`{name}`")
    assert sorted(found, key=repr) == sorted(wanted, key=repr) != []
    assert report.rows == len(wanted)


class UnansweredAtTheEnd(MarkedConnection):
    """Lost just behind the COMMIT that ends the copy."""

    ends: ClassVar[int] = 0

    def run(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        UnansweredAtTheEnd.ends += "ended_at" in sql
        return super().run(sql, parameters)

    def commit(self) -> None:
        super().commit()
        if UnansweredAtTheEnd.ends == 1:
            self.close()
            raise TransientError("the answer was lost", code=2013)


def test_a_copy_whose_last_answer_is_lost_is_finished(
    fresh_source: Endpoint, fresh_target: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(fresh_source)
    monkeypatch.setattr(copy_run, "MarkedConnection", UnansweredAtTheEnd)
    monkeypatch.setattr(UnansweredAtTheEnd, "ends", 0)
    report = copy(settings_for(fresh_source, fresh_target, retry={"first_s": 0.01, "max_s": 0.01}))
    assert UnansweredAtTheEnd.ends == 1
    assert report.place
    assert report.rows == 11
    assert fresh_target.query("SELECT status FROM pydbsync.copy_run") == [("done",)]
    assert state_differences(fresh_source, fresh_target, ["shop"]) == []


# -- names -------------------------------------------------------------------------------------------------------------


def test_filters_and_the_rewrite_of_databases_are_those_of_replay(source: Endpoint, target: Endpoint) -> None:
    source.drop_databases()
    target.drop_databases()
    make(source)
    make(source, "CREATE TABLE t (id INT PRIMARY KEY)", database="left_alone")
    settings = settings_for(
        source, target, dbname_rewrite={"shop": "store"}, include=["shop.*"], exclude=["shop.touched"]
    )
    report = copy(settings)
    assert target.databases() == ["pydbsync", "store"]
    assert {str(table.name) for table in report.tables} == {"shop.customers", "shop.log", "shop.orders"}
    assert state_differences(source, target, ["shop"], renamed={"shop": "store"}) == ["store.touched: missing"]
    assert rows(target, "store.a_second") == rows(source, "shop.a_second") != []
    (view,) = target.query("SELECT view_definition FROM information_schema.views WHERE table_name = 'z_first'")
    assert "`shop`" not in view[0]
    found = target.query("SELECT DISTINCT unique_constraint_schema FROM information_schema.referential_constraints")
    assert found == [("store",)]


def test_tables_can_be_chosen_for_one_copy(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source)
    for tables, why in (
        (("shop.l*", "shop.tuched"), r"--tables names shop\.tuched, and no table that is copied"),
        (("SHOP.log",), r"--tables names 'SHOP\.log', and the source calls it shop\.log: names compare"),
    ):
        with pytest.raises(OperationError, match=why):
            copy(settings, tables=tables)
    report = copy(settings, tables=("shop.l*", "*.touched"))
    assert sorted(str(table.name) for table in report.tables) == ["shop.log", "shop.touched"]
    assert {name for (name,) in target.query("SHOW TABLES FROM shop")} == {"log", "touched"}


def test_a_sharded_table_is_split_and_a_row_without_a_shard_goes_to_all(
    fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    make(
        fresh_source,
        "CREATE TABLE t (id INT PRIMARY KEY, corp INT);\nCREATE TABLE k (corp INT, v INT);\n"
        "CREATE TABLE all_of_it (id INT);\nINSERT INTO all_of_it VALUES (1);\n"
        "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 0), (7, NULL), (8, -1), (9, -2);\n"
        "INSERT INTO k SELECT corp, id FROM t;\nINSERT INTO k SELECT corp, id FROM t",
        database="d",
    )
    sharding = {"databases": ["d"], "column": "corp", "modulo": 4, "instances": 2}
    settings = settings_for(fresh_source, fresh_target, sharding=sharding, db_corpmod=1)
    copy(settings)
    assert sorted(fresh_target.databases()) == ["d1", "d3", "pydbsync"]
    everywhere = [(6, 0), (7, None)]
    assert rows(fresh_target, "d1.t") == sorted([(1, 1), (5, 5), *everywhere], key=repr)
    assert rows(fresh_target, "d3.t") == sorted([(3, 3), (8, -1), *everywhere], key=repr)
    doubled = [(corp, number) for number, corp in [(1, 1), (5, 5), *everywhere] for _ in range(2)]
    assert rows(fresh_target, "d1.k") == sorted(doubled, key=repr)
    assert rows(fresh_target, "d1.all_of_it") == rows(fresh_target, "d3.all_of_it") == [(1,)]
    assert unequal(settings) == {}


def test_databases_that_are_merged_come_to_one_table(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    for number in (1, 2, 3):
        make(
            fresh_source,
            "CREATE TABLE t (id INT PRIMARY KEY, v INT);\nCREATE TABLE k (v INT);\n"
            f"INSERT INTO t VALUES ({number}, {number}), ({number + 10}, {number});\n"
            f"INSERT INTO k VALUES ({number}), (0), (0)",
            database=f"d{number}",
        )
    settings = settings_for(fresh_source, fresh_target, dbname_rewrite={"d1": "d", "d2": "d", "d3": "d"})
    report = copy(settings)
    assert rows(fresh_target, "d.t") == sorted([(n + m, n) for n in (1, 2, 3) for m in (0, 10)], key=repr)
    assert rows(fresh_target, "d.k") == [(0,)] * 6 + [(1,), (2,), (3,)]
    assert {table.targets for table in report.tables} == {(TableName("d", "t"),), (TableName("d", "k"),)}
    assert unequal(settings) == {}


# -- a target that holds something -------------------------------------------------------------------------------------


def test_a_table_that_the_target_has_already_is_not_touched(
    settings: Settings, source: Endpoint, target: Endpoint, tmp_path: Path
) -> None:
    make(source)
    make(target, "CREATE TABLE log (at DATETIME(6), line VARCHAR(100));\nINSERT INTO log VALUES (NULL, 'mine')")
    config = {"db_info": target.db_info, "source_db_info": source.db_info}
    finished = CopyProcess(config, tmp_path).wait()
    assert finished.exit_code == 2
    assert "the target has 1 of the tables already (shop.log): drop them" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert rows(target, "shop.log") == [(None, "mine")]
    assert [name for (name,) in target.query("SHOW TABLES FROM shop")] == ["log"]
    with pytest.raises(OperationError, match=r"has 1 of the tables already \(shop\.log\)"):
        copy(settings, existing="keep", restart=True)
    assert rows(target, "shop.log") == [(None, "mine")]


def test_empty_tables_are_kept_as_they_are_where_asked(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9));\nINSERT INTO t VALUES (1, 'a')")
    make(target, "CREATE TABLE t (v VARCHAR(20), extra INT DEFAULT 7, id BIGINT PRIMARY KEY)")
    copy(settings, existing="keep")
    assert rows(target, "shop.t") == [("a", 7, 1)]


def test_tables_are_dropped_where_asked(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source)
    make(target, "CREATE TABLE log (other INT);\nINSERT INTO log VALUES (1);\nCREATE TABLE own (id INT)")
    copy(settings, existing="drop")
    assert state_differences(source, target, ["shop"]) == ["shop.own: should not exist"]


def test_tables_that_the_source_cannot_open_are_named_at_once(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(source)
    for table in ("log", "touched"):
        run_sql(
            source,
            [
                "SET GLOBAL innodb_file_per_table = ON",
                f"ALTER TABLE {table} FORCE",
                f"ALTER TABLE {table} DISCARD TABLESPACE",
            ],
            database="shop",
        )
    with pytest.raises(OperationError, match=r"shop\.log cannot be read at the source: (.|\n)*shop\.touched cannot be"):
        copy(settings)
    assert copy(settings, exclude=("shop.log", "shop.touched")).tables
    run_sql(source, ["DROP TABLE log", "DROP TABLE touched"], database="shop")


def test_sessions_that_only_read_by_default_are_no_hindrance(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(source)
    name = "tx_read_only" if source.brand == "mariadb" else "transaction_read_only"
    try:
        for end in (source, target):
            end.query(f"SET GLOBAL {name} = 1")
        report = copy(settings)
    finally:
        for end in (source, target):
            end.query(f"SET GLOBAL {name} = 0")
    assert {table.state for table in report.tables} == {"done"}


@pytest.mark.parametrize("existing", ["drop", pytest.param("keep", marks=LONG)])
def test_a_view_in_a_tables_place_is_neither_dropped_nor_filled(
    settings: Settings, source: Endpoint, target: Endpoint, existing: str
) -> None:
    make(source, "CREATE TABLE t (id INT PRIMARY KEY);\nINSERT INTO t VALUES (1);\nCREATE TABLE other (id INT)")
    make(
        target,
        "CREATE TABLE real_one (id INT);\nCREATE VIEW t AS SELECT * FROM real_one;\nCREATE TABLE other (id INT, v INT)",
    )
    with pytest.raises(OperationError, match=r"^shop\.t is a view or a sequence at the target, no table"):
        copy(settings, existing=existing)
    assert target.query("SHOW COLUMNS FROM shop.other LIKE 'v'"), "nothing is dropped before all is known"
    assert rows(target, "shop.real_one") == []


@pytest.mark.mysql
@pytest.mark.parametrize("end", ["source", "target"])
def test_an_invisible_key_that_a_server_does_not_show_is_copied(
    settings: Settings, source: Endpoint, target: Endpoint, end: str
) -> None:
    run_sql(source, ["SET SESSION sql_generate_invisible_primary_key = 1", "CREATE DATABASE shop",
                     "CREATE TABLE shop.t (v INT)", "INSERT INTO shop.t VALUES (1), (1)"])  # fmt: skip
    shows = "SET GLOBAL show_gipk_in_create_table_and_information_schema"
    server = {"source": source, "target": target}[end]
    server.query(f"{shows} = OFF")
    try:
        copy(settings)
    finally:
        server.query(f"{shows} = ON")
    assert state_differences(source, target, ["shop"]) == []


def test_a_column_that_the_kept_table_lacks_is_named(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source, "CREATE TABLE t (id INT PRIMARY KEY, v INT);\nINSERT INTO t VALUES (1, 1)")
    make(target, "CREATE TABLE t (id INT PRIMARY KEY)")
    with pytest.raises(OperationError, match=r"shop\.t at the target has no column 'v'"):
        copy(settings, existing="keep")


@pytest.fixture
def from_mysql_to_mariadb(mysql_source: Endpoint, mariadb: Endpoint) -> Settings:
    mysql_source.drop_databases()
    if mariadb.server:
        mariadb.server.start()
    mariadb.drop_databases()
    return settings_for(mysql_source, mariadb)


def test_all_that_has_no_equivalent_is_named_before_anything_is_made(
    from_mysql_to_mariadb: Settings, mysql_source: Endpoint, mariadb: Endpoint
) -> None:
    make(
        mysql_source,
        "CREATE TABLE t (id INT PRIMARY KEY);\nCREATE TABLE g (v VARCHAR(9) CHARACTER SET gb18030);\n"
        "CREATE TABLE k (id INT PRIMARY KEY, s VARCHAR(20), UNIQUE ((lower(s))))",
    )
    with pytest.raises(OperationError) as refused:
        copy(from_mysql_to_mariadb)
    for table in ("g", "k"):
        assert f"shop.{table} cannot be made at the target: " in str(refused.value)
    assert "exclude it, or make it by hand and copy with --existing keep" in str(refused.value)
    assert mariadb.query("SHOW TABLES FROM shop") == []
    assert mariadb.query("SELECT COUNT(*) FROM pydbsync.copy_run") == [(0,)]


def test_a_table_made_by_hand_after_a_refusal_is_filled_or_left_alone(
    from_mysql_to_mariadb: Settings, mysql_source: Endpoint, mariadb: Endpoint
) -> None:
    make(
        mysql_source,
        "CREATE TABLE a (id INT PRIMARY KEY);\n"
        "CREATE TABLE k (id INT PRIMARY KEY, s VARCHAR(20), UNIQUE ((lower(s))));\n"
        "INSERT INTO k VALUES (1, 'x')",
    )
    with pytest.raises(OperationError, match=r"shop\.k cannot be made"):
        copy(from_mysql_to_mariadb)
    make(mariadb, "CREATE TABLE k (id INT PRIMARY KEY, s VARCHAR(40), own INT);\nINSERT INTO k VALUES (77, 'mine', 1)")
    with pytest.raises(OperationError, match=r"has 1 of the tables already \(shop\.k\)"):
        copy(from_mysql_to_mariadb)
    for restart in (False, True):
        with pytest.raises(OperationError, match=r"has 1 of the tables already \(shop\.k\)"):
            copy(from_mysql_to_mariadb, existing="keep", restart=restart)
    assert rows(mariadb, "shop.k") == [(77, "mine", 1)]
    mariadb.query("DELETE FROM shop.k")
    copy(from_mysql_to_mariadb, existing="keep")
    assert rows(mariadb, "shop.k") == [(1, "x", None)]


@pytest.mark.mariadb
@pytest.mark.parametrize("loading", ["load", pytest.param("insert", marks=LONG)])
def test_addresses_become_text_where_the_target_has_text(
    settings: Settings, source: Endpoint, target: Endpoint, loading: str
) -> None:
    target.query("SET GLOBAL local_infile = 1")
    make(
        source,
        "CREATE TABLE t (id INT PRIMARY KEY, u UUID, a INET4, b INET6, c VARCHAR(50));\n"
        "INSERT INTO t VALUES"
        " (1, 'c319e087-e4eb-11f1-aec7-000000000001', '10.7.0.39', 'fe80::27:5c', '::ffff:1.2.3.4'),"
        " (2, NULL, NULL, NULL, NULL)",
    )
    make(target, "CREATE TABLE t (id INT PRIMARY KEY, u CHAR(36), a TEXT CHARSET latin1, b VARCHAR(50), c INET6)")
    copy(settings, existing="keep", loading=loading)
    assert rows(target, "shop.t") == rows(source, "shop.t")
    target.query("DELETE FROM shop.t")
    target.query("ALTER TABLE shop.t MODIFY u BINARY(16), MODIFY a BLOB")
    with pytest.raises(OperationError, match=r"column u is of type uuid, and that of the target of type binary\(16\)"):
        copy(settings, existing="keep", overwrite_checkpoint=True)
    assert rows(target, "shop.t") == []


def test_triggers_that_copied_rows_set_off_are_said_before(
    settings: Settings, source: Endpoint, target: Endpoint
) -> None:
    make(source, "CREATE TABLE t (id INT PRIMARY KEY, v INT);\nINSERT INTO t VALUES (1, 1)")
    make(
        target,
        "CREATE TABLE t (id INT PRIMARY KEY, v INT);\n"
        "CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW SET NEW.v = 7;\n"
        "CREATE TRIGGER u BEFORE UPDATE ON t FOR EACH ROW SET NEW.v = 8",
    )
    observer = Recorder()
    report = copy(settings, existing="keep", observer=observer)
    (note,) = [text for text in report.notes if "triggers" in text]
    assert note.startswith("shop.t at the target has triggers (b): ")
    assert observer.notes[0] == note


BYTES = r"""
CREATE TABLE b (id INT PRIMARY KEY, v VARBINARY(9) DEFAULT x'00FF27', f BINARY(2) DEFAULT x'FFFE',
  t VARCHAR(9) DEFAULT 'é☃\'', c VARBINARY(9) DEFAULT 'a\\\0') COMMENT 'it''s é'
"""


def test_defaults_of_bytes_are_made_as_they_are(settings: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source, BYTES)
    if source.brand == "mysql":
        # MariaDB has lost the bytes of such an expression itself.
        source.query(r"ALTER TABLE shop.b ADD e VARBINARY(9) DEFAULT (concat(_binary x'E90027', 'z\\'))")
    copy(settings)
    for end in (source, target):
        end.query("INSERT INTO shop.b (id) VALUES (1)")
    assert rows(target, "shop.b") == rows(source, "shop.b")
    assert state_differences(source, target, ["shop"]) == []


def test_strings_in_expressions_keep_their_characters_on_mariadb(
    from_mysql_to_mariadb: Settings, mysql_source: Endpoint, mariadb: Endpoint
) -> None:
    make(
        mysql_source,
        r"""CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(40), g VARCHAR(40) AS (regexp_replace(a, '\\.', '-')) STORED,
          q VARCHAR(40) AS (concat(a, 'it''s é☃\n')) VIRTUAL,
          b VARBINARY(40) AS (concat(unhex('00'), _binary x'E900275C')),
          d VARCHAR(40) DEFAULT (concat('\\', _latin1 x'E9')), CHECK (a <> 'x\\y'));
CREATE VIEW v AS SELECT concat(a, 'it''s\\é') AS w FROM t;
INSERT INTO t (id, a) VALUES (1, 'a.b.c'), (2, 'xy')""",
    )
    copy(from_mysql_to_mariadb)
    mariadb.query("FLUSH TABLES")
    assert rows(mariadb, "shop.t") == rows(mysql_source, "shop.t") != []
    assert rows(mariadb, "shop.v") == rows(mysql_source, "shop.v") != []
    for end in (mysql_source, mariadb):
        end.query("INSERT INTO shop.t (id, a) VALUES (3, 'new')")
        with pytest.raises(pymysql.Error):
            end.query(r"INSERT INTO shop.t (id, a) VALUES (4, 'x\\y')")
    assert rows(mariadb, "shop.t") == rows(mysql_source, "shop.t")


def test_a_copy_needs_a_source(fresh_target: Endpoint) -> None:
    settings = settings_for(fresh_target, fresh_target, source_db_info=None)
    with pytest.raises(ConfigError, match="source_db_info"):
        copy(settings)


def test_tables_that_get_a_column_before_their_turn_are_copied_with_it(
    settings: Settings, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    names = ("a", "b", "c")
    make(fresh_source, ";\n".join(f"CREATE TABLE {name} (id INT PRIMARY KEY)" for name in names))
    for name in names:
        fresh_source.query(f"INSERT INTO shop.{name} VALUES (1), (2)")

    def alter() -> None:
        run_sql(fresh_source, [f"ALTER TABLE {name} ADD COLUMN v INT DEFAULT 3" for name in names], database="shop")

    report = copy(settings, observer=Recorder(alter), jobs=1)
    assert report.rounds == 2
    assert state_differences(fresh_source, fresh_target, ["shop"]) == []
    assert fresh_target.query("SELECT id, v FROM shop.c") == [(1, 3), (2, 3)]


# -- what is told ------------------------------------------------------------------------------------------------------


def called(source: Endpoint, target: Endpoint, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, in this process."""
    ends = {"db_info": target.db_info, "source_db_info": source.db_info, "log_file_prefix": ""}
    return call("copy", *words, "--config", str(write_config(ends, folder / "copy_config.py")))


def test_without_a_terminal_each_table_has_a_line_and_the_summary_says_where_replay_goes_on(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    make(fresh_source)
    finished = called(fresh_source, fresh_target, tmp_path)
    assert finished.returncode == 0, finished
    for table, count in (("customers", 2), ("orders", 3), ("log", 3), ("touched", 3)):
        assert f"shop.{table}: {count} rows in " in finished.stderr
    assert "\x1b[" not in finished.stderr + finished.stdout
    assert "replay of file goes on at " in finished.stdout
    assert "the target is consistent at once" in finished.stdout
    assert "left out: the trigger shop.remember: " in finished.stdout


def test_the_report_as_json_has_all_tables(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> None:
    make(fresh_source)
    finished = called(fresh_source, fresh_target, tmp_path, "--format", "json")
    assert finished.returncode == 0, finished
    report = msgspec.json.decode(finished.stdout.encode(), type=CopyReport)
    assert {str(table.name): table.rows for table in report.tables} == {
        "shop.customers": 2, "shop.log": 3, "shop.orders": 3, "shop.touched": 3,
    }  # fmt: skip
    assert (report.rounds, report.is_resumed, report.end_place) == (1, False, report.place)
