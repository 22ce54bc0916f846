"""The watch over the source's schema: what no message tells is named once the stream has passed it."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pydbsync.config.settings import settings_from_mapping
from pydbsync.engine.gaps import HEARTBEAT_COLUMN
from pydbsync.errors import ConfigError
from pydbsync.ops.ddl_watch.watch import DdlWatch
from pydbsync.ops.servers import Servers
from pydbsync.ops.status.facts import Status
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.read import read_status
from pydbsync.ops.told import Told
from pydbsync.ops.verify.place import Streams
from tests.comparing import on_both, run_sql, settings_for
from tests.conftest import StartSync
from tests.following import Stream
from tests.maxwell import Binlog, insert
from tests.processes import sync_config, wait_for
from tests.proxy import Proxy
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.kept_state

TABLES = """CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), KEY old_one (b));
CREATE TABLE emptied (id INT PRIMARY KEY);
CREATE TABLE keyless (v INT);
CREATE TABLE refilled (id INT PRIMARY KEY);
INSERT INTO emptied VALUES (1), (2), (3);
INSERT INTO keyless VALUES (1);
INSERT INTO refilled VALUES (1), (2), (3)"""
SILENT = """CREATE INDEX new_one ON t (a, b(7));
DROP INDEX old_one ON t;
CREATE TABLE unpublished (id INT PRIMARY KEY);
TRUNCATE emptied;
TRUNCATE keyless;
TRUNCATE refilled;
INSERT INTO refilled VALUES (1)"""
NAMED = {
    ("shop.t", "index new_one (a, b(7)) is missing at the target"),
    ("shop.t", "index old_one (b) is at the target only"),
    ("shop.unpublished", "the target has no such table"),
    *(
        (f"shop.{name}", "it has rows that the source has no more, as after a TRUNCATE at the source")
        for name in ("emptied", "keyless", "refilled")
    ),
}


def granted(end: Endpoint, *grants: str) -> Endpoint:
    """A new user with these grants alone."""
    user = f"u{uuid.uuid4().hex[:10]}"
    run_sql(
        end, [f"CREATE USER {user}@'%' IDENTIFIED BY 'secret'", *(f"GRANT {each} TO {user}@'%'" for each in grants)]
    )
    return replace(end, user=user, password="secret", server=None)


class Watched:
    """A watch whose looks the test takes, and what it said."""

    def __init__(self, source: Endpoint, target: Endpoint, caplog: pytest.LogCaptureFixture, **options: Any) -> None:
        watch = {"policy": "warn", "every_s": 0.2, **options.pop("ddl_watch", {})}
        self.settings = settings_for(source, target, ddl_watch=watch, **options)
        self.source, self.target = source, target
        self.stream = Stream(self.settings, source, target)
        self.told = Told("ddl-watch", "", "differences")
        self.watch = DdlWatch(self.settings, logging.getLogger("tests.ddl_watch"))
        self._caplog = caplog
        caplog.set_level(logging.INFO)

    def close(self) -> None:
        self.watch.close()
        self.stream.connection.close()

    def look(self) -> None:
        """Look at all, after a statement that makes the watch do so."""
        self.source.query("CREATE DATABASE IF NOT EXISTS unwatched")
        wait_for(lambda: self.watch.step(self.told), what="a look at all")

    def pass_by(self) -> None:
        """The stream comes to where the source is."""
        self.stream.apply(upto=self.stream.place())

    def settle(self) -> None:
        """What differs now is seen, passed, and seen again."""
        self.look()
        self.pass_by()
        self.look()

    def said(self, level: int = logging.WARNING) -> list[str]:
        """The lines since the last time."""
        found = [each.getMessage() for each in self._caplog.records if each.levelno == level]
        self._caplog.clear()
        return found

    @property
    def named(self) -> set[tuple[str, str]]:
        return {(str(each.table), each.text) for each in self.watch.differences}


@pytest.fixture
def watched(
    fresh_source: Endpoint, fresh_target: Endpoint, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**options: Any) -> Watched:
        made.append(Watched(fresh_source, fresh_target, caplog, **options))
        return made[-1]

    on_both(fresh_source, fresh_target, TABLES)
    yield make
    for each in made:
        each.close()


def test_what_no_message_tells_is_named_when_the_stream_has_passed_it_and_its_end_too(
    watched: Callable[..., Watched],
) -> None:
    run = watched()
    run.settle()
    assert run.named == set()
    run_sql(run.source, SILENT, database="shop")
    run.look()
    run.look()
    assert (run.named, run.said()) == (set(), []), "it may still be on its way"
    run.pass_by()
    run.look()
    assert run.named == NAMED
    said = run.said()
    assert len(said) == len(NAMED)
    assert any("ALTER TABLE `shop`.`t` ADD INDEX `new_one` (`a`, `b`(7))" in line for line in said)
    assert any("pydbsync verify --tables 'shop.emptied' --report" in line and "(id) = (1)" in line for line in said)
    assert (run.told.row.done, run.told.row.state) == (len(NAMED), "different")
    run.look()
    assert (run.named, run.said()) == (NAMED, []), "once"
    assert run.target.query("SELECT COUNT(*) FROM pydbsync.incident WHERE kind = 'structure'") == [(len(NAMED),)]

    run.target.query("ALTER TABLE shop.t ADD INDEX new_one (a, b(7)), DROP INDEX old_one")
    run_sql(run.target, SILENT.partition(";\n")[2].partition(";\n")[2], database="shop")
    run.said(logging.INFO)
    run.look()
    assert run.named == set()
    assert len([line for line in run.said(logging.INFO) if "agree again" in line]) == len(NAMED)
    assert (run.told.row.done, run.told.row.state) == (0, "running")


def test_what_was_seen_outlives_the_process(watched: Callable[..., Watched]) -> None:
    former = watched()
    former.settle()
    former.close()
    run = watched()
    run_sql(run.source, SILENT, database="shop")
    run.settle()
    assert run.named == NAMED


def test_what_is_on_its_way_or_meant_so_is_not_named(watched: Callable[..., Watched]) -> None:
    run = watched(dbname_rewrite={"shop": "copied"}, exclude=["shop.keyless"], ddl_watch={"exclude": ["shop.emptied"]})
    run_sql(
        run.target, f"CREATE DATABASE copied CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;\nUSE copied;\n{TABLES}"
    )
    run.target.query("ALTER TABLE copied.t ADD own INT, ADD INDEX own_one (own), AUTO_INCREMENT = 7")
    run.target.query("INSERT INTO copied.refilled VALUES (100)")
    run.settle()
    run.source.query("TRUNCATE shop.emptied")
    run.source.query("TRUNCATE shop.keyless")
    run.source.query("ALTER TABLE shop.t ADD on_its_way INT, ADD INDEX (on_its_way)")
    run.source.query("DELETE FROM shop.refilled")
    run.source.query("CREATE TABLE shop._t_gho (id INT PRIMARY KEY)")
    run.look()
    run.look()
    run.target.query("ALTER TABLE copied.t ADD on_its_way INT AFTER b, ADD INDEX (on_its_way)")
    run.target.query("DELETE FROM copied.refilled")
    run.pass_by()
    run.look()
    assert (run.named, run.said()) == (set(), [])


@pytest.mark.parametrize(
    ("server", "feeds", "names"),
    [
        ("NULL", "other", set()),  # whose rows these are, nobody knows
        ("7", "other", {"shop.emptied"}),
        ("7", "emptied", set()),
    ],
)
def test_rows_of_another_source_are_not_missed_at_this_one(
    watched: Callable[..., Watched], server: str, feeds: str, names: set[str]
) -> None:
    run = watched()
    run.settle()
    run.target.query(
        "INSERT INTO pydbsync.checkpoint (stream, owner, owner_info, gtids, ghosts, binlog_base, server_id)"
        f" VALUES ('another', '', '', '', '', 'binlog', {server})"
    )
    for stream, number in (("file", 1), ("another", 7)):
        run.target.query(
            "INSERT INTO pydbsync.feeder (stream, target_database, target_table, server_id)"
            f" VALUES ('{stream}', 'shop', '{feeds}', {number})"
        )
    run.source.query("DELETE FROM shop.emptied")
    run.settle()
    assert {table for table, _ in run.named} == names


@pytest.mark.parametrize(
    ("kind", "silent"),
    [
        ({"create-index": "skip"}, "CREATE INDEX i ON t (a)"),
        ({"truncate-table": "skip"}, "TRUNCATE emptied"),
        ({"create-table": "skip"}, "CREATE TABLE n (id INT PRIMARY KEY)"),
    ],
)
def test_what_the_configuration_leaves_out_is_not_missed(
    watched: Callable[..., Watched], kind: dict[str, str], silent: str
) -> None:
    run = watched(schema_changes=kind)
    run_sql(run.source, silent, database="shop")
    run.settle()
    assert run.named == set()


def test_a_heartbeat_proves_it_too_where_the_places_tell_nothing(watched: Callable[..., Watched]) -> None:
    run = watched()
    run.source.query("CREATE DATABASE pydbsync_heartbeat")
    run.source.query(f"CREATE TABLE pydbsync_heartbeat.heartbeat (id TINYINT PRIMARY KEY, {HEARTBEAT_COLUMN} BIGINT)")
    run.source.query("INSERT INTO pydbsync_heartbeat.heartbeat VALUES (1, 40)")
    run.source.query("CREATE INDEX i ON shop.t (a)")
    for beat, names in ((40, set()), (41, {("shop.t", "index i (a) is missing at the target")})):
        run.look()
        run.target.query(f"UPDATE pydbsync.checkpoint SET heartbeat = {beat}")
        run.look()
        assert run.named == names


def test_indexes_are_carried_over_where_nothing_else_differs(watched: Callable[..., Watched]) -> None:
    run = watched(ddl_watch={"policy": "carry_over"})
    on_both(run.source, run.target, "CREATE TABLE w (id INT PRIMARY KEY, a INT, KEY old_one (a))")
    run.settle()
    run_sql(run.source, SILENT, database="shop")
    run_sql(
        run.source,
        ["CREATE UNIQUE INDEX only_by_hand ON w (a)", "DROP INDEX old_one ON w", "CREATE INDEX back ON w (a DESC)"],
        database="shop",
    )
    run.settle()
    run.look()
    found = run.target.query(
        "SELECT table_name, index_name FROM information_schema.statistics WHERE table_schema = 'shop'"
        " AND table_name IN ('t', 'w') AND index_name <> 'PRIMARY' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert found == [("t", "new_one"), ("w", "old_one")]
    assert {table for table, _ in run.named} == {
        f"shop.{name}" for name in ("w", "unpublished", "emptied", "keyless", "refilled")
    }
    assert ("shop.w", "index only_by_hand unique (a) is missing at the target") in run.named
    run.target.query("ALTER TABLE shop.w ADD UNIQUE INDEX only_by_hand (a)")
    run.look()
    run.look()
    assert not {text for table, text in run.named if table == "shop.w"}


def test_views_and_programs_that_come_change_and_go_are_told_once(watched: Callable[..., Watched]) -> None:
    run = watched()
    run.source.query("CREATE VIEW shop.v AS SELECT 1 AS one")
    run.look()
    assert run.said() == [], "what was there when the watch began is doctor's to name"
    run.target.query("CREATE VIEW shop.v AS SELECT 1 AS one")
    for statement in (
        "CREATE TRIGGER shop.tr BEFORE INSERT ON shop.t FOR EACH ROW SET NEW.a = 1",
        "CREATE OR REPLACE VIEW shop.v AS SELECT 2 AS two",
        "CREATE PROCEDURE shop.p() SELECT 1",
        "CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
    ):
        run.source.query(statement)
    run.look()
    assert sorted(line.split(":")[0] for line in run.said()) == [
        "event shop.e was made at the source, which no message tells; the target has none of that name",
        "routine shop.p was made at the source, which no message tells; the target has none of that name",
        "trigger shop.tr was made at the source, which no message tells; the target has none of that name",
        "view shop.v was changed at the source, which no message tells; the target has one of that name",
    ]
    if run.source.brand == "mariadb":
        run.source.query("CREATE SEQUENCE shop.s")
        run.look()
        assert [line.partition(",")[0] for line in run.said()] == ["sequence shop.s was made at the source"]
        run.source.query("SELECT NEXT VALUE FOR shop.s")
        run.look()
        assert run.said() == [], "that it counts is no change"
    run.source.query("DROP TRIGGER shop.tr")
    run.look()
    assert [line.partition(",")[0] for line in run.said()] == ["trigger shop.tr was dropped at the source"]
    run.look()
    assert (run.said(), run.named) == ([], set())


def test_a_policy_of_stop_has_a_sentence_with_the_remedy(watched: Callable[..., Watched]) -> None:
    run = watched(ddl_watch={"policy": "stop"})
    run.source.query("CREATE INDEX i ON shop.t (a)")
    run.look()
    assert run.watch.stopped == {}
    run.pass_by()
    run.look()
    ((stream, reason),) = run.watch.stopped.items()
    assert stream == run.settings.stream
    assert "shop.t: index i (a) is missing at the target" in reason
    assert "ALTER TABLE `shop`.`t` ADD INDEX `i` (`a`)" in reason


def test_a_table_that_was_emptied_and_filled_again_is_compared_key_by_key_behind_what_was_on_its_way(
    watched: Callable[..., Watched],
) -> None:
    run = watched()
    on_both(
        run.source, run.target,
        "CREATE TABLE wide (a INT, b VARCHAR(9) CHARACTER SET latin1, PRIMARY KEY (a, b));\n"
        "CREATE TABLE rebuilt (id INT PRIMARY KEY);\nINSERT INTO rebuilt VALUES (1), (2)",
    )  # fmt: skip
    run.settle()
    fill = "INSERT INTO shop.wide WITH RECURSIVE n AS (SELECT 0 x UNION ALL SELECT x + 1 FROM n WHERE x < 699)"
    run.source.query(f"{fill} SELECT x, 'é' FROM n")  # on its way when the table is emptied, but for the last 100
    run_sql(
        run.source,
        ["TRUNCATE wide", f"{fill} SELECT x, 'é' FROM n WHERE x NOT IN (350, 650)", "ALTER TABLE rebuilt FORCE"],
        database="shop",
    )
    run.look()
    run.look()
    assert (run.named, run.said()) == (set(), [])
    run.target.query(f"{fill} SELECT x, 'é' FROM n")
    run.pass_by()
    named = {("shop.wide", "it has rows that the source has no more, as after a TRUNCATE at the source")}
    run.settle()
    run.settle()
    for key in (350, 650):  # of different blocks
        assert run.named == named
        assert [f"such as (a, b) = ({key}, " in str(each) for each in run.watch.differences] == [True]
        run.target.query(f"DELETE FROM shop.wide WHERE a = {key}")
        run.look()
    assert run.named == set()


def test_a_table_that_was_emptied_is_still_looked_at_after_a_restart(watched: Callable[..., Watched]) -> None:
    former = watched()
    former.settle()
    run_sql(
        former.source, ["TRUNCATE refilled", "INSERT INTO refilled VALUES (1), (3)", "DROP INDEX old_one ON t"],
        database="shop",
    )  # fmt: skip
    former.settle()
    former.close()
    run = watched()
    run.target.query("REPLACE INTO pydbsync.source_seen (origin, kind, name, definition) SELECT origin, kind, name, '?'"
                     " FROM pydbsync.source_seen WHERE kind = 'table' AND name = 'shop.t'")  # fmt: skip
    run.settle()
    assert {table for table, _ in run.named} == {"shop.refilled"}


def test_another_default_of_a_database_is_named_until_the_target_has_it(watched: Callable[..., Watched]) -> None:
    run = watched()
    run.target.query("ALTER DATABASE shop CHARACTER SET latin1 COLLATE latin1_bin")
    run.settle()
    assert run.named == set(), "what was so when both were seen first is meant"
    run.source.query("ALTER DATABASE shop CHARACTER SET ascii COLLATE ascii_bin")
    run.settle()
    run.look()
    assert run.named == {(
        "shop.*",
        "the database is by default of CHARACTER SET ascii COLLATE ascii_bin at the source,"
        " of CHARACTER SET latin1 COLLATE latin1_bin at the target",
    )}  # fmt: skip
    run.target.query("ALTER DATABASE shop CHARACTER SET ascii COLLATE ascii_bin")
    run.look()
    assert run.named == set()


@pytest.mark.parametrize("policy", ["warn", "stop"])
def test_without_a_source_there_is_nothing_to_watch(policy: str) -> None:
    with pytest.raises(ConfigError, match=r"ddl_watch\.policy: needs source_db_info"):
        settings_from_mapping({"ddl_watch": {"policy": policy}}, require=())


def test_little_rights_are_enough(
    watched: Callable[..., Watched], fresh_source: Endpoint, fresh_target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    watched()
    on_both(
        fresh_source, fresh_target,
        "CREATE TABLE child (id INT PRIMARY KEY, t INT, CONSTRAINT f FOREIGN KEY (t) REFERENCES t (id))",
    )  # fmt: skip
    reader = granted(fresh_source, "SELECT ON shop.*", "REPLICATION CLIENT ON *.*")
    writer = granted(
        fresh_target,
        "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES ON shop.*",
        "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON few.*",
    )
    run = Watched(reader, writer, caplog, state_schema="few")
    run.source = fresh_source
    run_sql(run.source, SILENT, database="shop")
    run.settle()
    run.close()
    # Without PROCESS a TRUNCATE shows only where no row is there again.
    refilled = ("shop.refilled", "it has rows that the source has no more, as after a TRUNCATE at the source")
    assert run.named == NAMED - {refilled, ("shop.t", "index old_one (b) is at the target only")}
    assert len([line for line in run.said() if "without the right PROCESS at the source" in line]) == 1


@pytest.mark.mariadb
def test_a_run_says_it_in_its_log_and_status_outlives_the_source_and_stops_where_it_is_told_to(
    fresh_source: Endpoint,
    fresh_target: Endpoint,
    vhost: Vhost,
    start_sync: StartSync,
    make_proxy: Callable[[int], Proxy],
) -> None:
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY, a INT)")
    line = make_proxy(fresh_source.port)
    config = sync_config(
        fresh_target, vhost, state_interval_s=0.2, retry={"first_s": 0.05, "max_s": 0.1},
        source_db_info={**fresh_source.db_info, "port": line.port}, ddl_watch={"policy": "warn", "every_s": 0.2},
    )  # fmt: skip
    sync = start_sync(config)
    run_sql(fresh_source, ["CREATE INDEX i ON shop.t (a)", "INSERT INTO shop.t VALUES (1, 1)"])
    settings = settings_for(fresh_source, fresh_target)
    servers = Servers(settings, threading.Event())
    place = Streams(settings, servers.source, servers.target).source_place()
    servers.close()
    assert place is not None
    binlog = Binlog(base=place.base, server_id=place.server_id, ts=int(time.time()))
    binlog.reset(file=place.file + 1)

    def look() -> Status:
        status = read_status(settings_from_mapping(config)[0])
        judge(status)
        return status

    def is_following(queue: int = 0) -> bool:
        worker = look().queues[queue].worker
        return worker is not None and worker.state == "following"

    wait_for(is_following, what="a worker that follows")
    vhost.publish(binlog.transaction(insert("shop.t", {"id": 1, "a": 1})))
    wait_for(lambda: "shop.t: index i (a) is missing at the target" in sync.stderr, what="the difference")

    wait_for(lambda: "index i (a) is missing" in str(look().todo), what="status")
    assert look().health == "degraded"
    line.refuse()
    wait_for(lambda: "the source does not answer now" in sync.stderr, what="that the source is away")
    line.resume()
    fresh_target.query("ALTER TABLE shop.t ADD INDEX i (a)")
    wait_for(lambda: "agree again: shop.t: index i (a)" in sync.stderr, what="its end")
    wait_for(lambda: look().health == "healthy", what="a healthy status")
    assert sync.stop().exit_code == 0

    fresh_target.query("ALTER TABLE shop.t DROP INDEX i")
    fresh_target.query("CREATE TABLE shop.other (id INT PRIMARY KEY, a INT)")
    binds = [{"exchange": ["maxwell", "topic"], "queues": {"left": ["shop.t"], "other": ["shop.other"]}}]
    config |= {"rabbitmq_queue_bind": binds, "ddl_watch": {"policy": "stop", "every_s": 0.2}}
    run = start_sync(config)
    wait_for(lambda: is_following(0) and is_following(1), what="two workers that follow")
    vhost.publish(binlog.transaction(insert("shop.t", {"id": 2, "a": 2})))
    said = "worker of left is stopped: ddl_watch: stop: the source differs from what the stream told: shop.t: index i"
    wait_for(lambda: said in run.stderr, what="that a worker is stopped")
    vhost.publish(binlog.transaction(insert("shop.other", {"id": 1, "a": 1})))
    wait_for(lambda: fresh_target.query("SELECT a FROM shop.other") == [(1,)], what="a row of the other queue")
    stopped = run.stop()
    assert stopped.exit_code == 3
    assert "worker of other" not in stopped.stderr
