"""Steps of a cut-over at real servers: hooks of all kinds, what closes a server and opens it, events, who is dead."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pymysql
import pytest

from pydbsync.apply.tables.pause import PauseTable
from pydbsync.ops.counters import behind_of, raise_counters
from pydbsync.ops.cutover import carry as carrying
from pydbsync.ops.cutover import check as checks
from pydbsync.ops.cutover import triggers
from pydbsync.ops.cutover.accounts import account_problems
from pydbsync.ops.cutover.carry import Carry
from pydbsync.ops.cutover.check import MayBegin, own_rights, paused
from pydbsync.ops.cutover.comparison import since_last
from pydbsync.ops.cutover.events import disable_events, enable_events, enabled_events
from pydbsync.ops.cutover.failover import Arrive, Dead, SkipNumbers
from pydbsync.ops.cutover.fence import Fence, assert_quiet, not_passed
from pydbsync.ops.cutover.hooks import _started, run_hook
from pydbsync.ops.cutover.journal import CutoverJournal
from pydbsync.ops.cutover.processes import running
from pydbsync.ops.cutover.sessions import (
    ReadOnly,
    is_closed_by_file,
    keep_after_restart,
    open_after_restart,
    set_read_only,
)
from pydbsync.ops.cutover.switch import OpenWrites, Switch
from pydbsync.ops.cutover.triggers import orphans, refused_creator, refused_definers
from pydbsync.ops.cutover.work import CutoverWork, StepFailed
from pydbsync.ops.status import cutovers
from pydbsync.ops.status.facts import Cutover
from pydbsync.ops.verify.place import SourcePlace
from tests.following import Stream
from tests.integration.cutting import opened, settings_of, work_of
from tests.processes import wait_for
from tests.servers import Endpoint
from tests.switching import open_for_writes

SECRET = "correct-horse/battery"


@pytest.fixture
def journal(fresh_target: Endpoint) -> Iterator[CutoverJournal]:
    journal = opened(fresh_target)
    yield journal
    journal.close()


def hook(work: CutoverWork, command: str, name: str = "switch") -> str:
    return run_hook(work, name, command, way=work.way)


def test_hooks_are_told_all_that_the_documentation_promises_and_keep_to_their_time(
    journal: CutoverJournal, fresh_target: Endpoint, source: Endpoint, tmp_path: Path
) -> None:
    forth = settings_of(fresh_target, source)
    secret = settings_of(fresh_target, rabbitmq_conn_info={"host": "h", "user": "u", "password": SECRET})
    work = work_of(journal, forth=forth, back=secret, hook_s=30)
    told = dict(line.split("=", 1) for line in hook(work, "env | grep ^PYDBSYNC_").splitlines())
    assert {name: told.get(name) for name in (
        "PYDBSYNC_HOOK", "PYDBSYNC_COMMAND", "PYDBSYNC_PLAN", "PYDBSYNC_DIRECTION", "PYDBSYNC_CONFIG", "PYDBSYNC_FROM",
        "PYDBSYNC_FROM_HOST", "PYDBSYNC_FROM_PORT", "PYDBSYNC_TO",
    )} == {
        "PYDBSYNC_HOOK": "switch", "PYDBSYNC_COMMAND": "cutover", "PYDBSYNC_PLAN": "shop",
        "PYDBSYNC_DIRECTION": "forth", "PYDBSYNC_CONFIG": "forth.py", "PYDBSYNC_FROM": f"{source.host}:{source.port}",
        "PYDBSYNC_FROM_HOST": source.host, "PYDBSYNC_FROM_PORT": str(source.port),
        "PYDBSYNC_TO": f"{fresh_target.host}:{fresh_target.port}",
    }  # fmt: skip
    assert hook(work, "true") == ""
    for command, said in (
        ("echo no proxy; exit 7", "exit code 7: no proxy$"),
        ("exit 3", "exit code 3: it said nothing"),
        ("kill -9 $$", "the signal SIGKILL"),
        ("/nowhere/switch.sh", "exit code 127: .*not found"),
        (f"echo mysql -p{SECRET} --password={SECRET}; exit 1", r"mysql -p\*+ --password=\*+$"),
    ):
        with pytest.raises(StepFailed, match=said):
            hook(work, command)
    assert work.facts["hook"] is None
    assert hook(work, f"echo {'x ' * 4500}{SECRET}").endswith("x ***")

    # What a hook has started goes on, and is not waited for, although it has its output.
    going_on = hook(work, "sleep 300 & echo $!")
    subprocess.run(["kill", going_on], check=True)

    work = work_of(journal, forth=forth, hook_s=0.3)
    with pytest.raises(StepFailed, match=r"not ended after 0.3 s and was killed \(limits.hook_s\): halfway"):
        hook(work, f"(sleep 300; touch {tmp_path}/late) & echo halfway; echo $$ > {tmp_path}/pid; wait")
    assert not _started(int((tmp_path / "pid").read_text()))


def test_a_hook_whose_caller_was_killed_has_ended_before_the_next_one_begins(
    journal: CutoverJournal, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    for limit_s, wanted in ((30.0, "begun\nended\nagain\n"), (0.3, "begun\nagain\n")):
        pause_s = 0.5 if limit_s > 1 else 300
        former = subprocess.Popen(
            ["/bin/sh", "-c", f"echo begun > {notes}; sleep {pause_s}; echo ended >> {notes}"], start_new_session=True
        )
        reaper = threading.Thread(daemon=True, target=former.wait)
        reaper.start()
        while not notes.exists():
            pass
        work = work_of(journal, hook_s=limit_s)
        work.keep("hook", ["switch", socket.gethostname(), former.pid, _started(former.pid)])
        hook(work, f"echo again >> {notes}")
        reaper.join()
        assert notes.read_text() == wanted
        notes.unlink()


def facts_of_events(server: Endpoint) -> list[tuple[Any, ...]]:
    return server.query(
        "SELECT event_name, definer, sql_mode, time_zone, starts, status FROM information_schema.events ORDER BY 1"
    )


def test_events_stay_those_of_their_definers(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    fresh_source.query("CREATE DATABASE shop")
    with fresh_source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:00'")
        for name, when in (("nightly", "EVERY 1 DAY STARTS '2035-01-01 03:00:00'"), ("off", "EVERY 1 DAY")):
            state = "DISABLE" if name == "off" else ""
            cursor.execute(f"CREATE DEFINER = 'o''brien'@'%' EVENT shop.{name} ON SCHEDULE {when} {state} DO DO 1")
    work = work_of(journal, forth=settings_of(fresh_target, fresh_source))
    source = work.servers().source
    before = facts_of_events(fresh_source)
    events = enabled_events(source, work.way.settings)
    assert events == [["shop", "nightly"]]
    disable_events(source, events)
    assert [(name, definer, state) for name, definer, *_, state in facts_of_events(fresh_source)] == [
        ("nightly", "o'brien@%", "DISABLED"), ("off", "o'brien@%", "DISABLED")]  # fmt: skip
    assert enable_events(source, [*events, ["shop", "gone"]]) == [("shop", "gone")]
    assert facts_of_events(fresh_source) == before
    work.servers().close()


def test_the_fence_ends_what_it_would_wait_for_and_is_undone_as_it_was_done(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    fresh_source.query("CREATE DATABASE shop")
    fresh_source.query("CREATE TABLE shop.orders (id INT PRIMARY KEY)")
    fresh_source.query("CREATE USER shop_app@'%' IDENTIFIED BY 'x'")
    fresh_source.query("GRANT SELECT, INSERT, LOCK TABLES ON shop.* TO shop_app@'%'")
    forth = settings_of(fresh_target, fresh_source)
    closed = "SELECT @@global.read_only"
    try:
        with fresh_source.connect(user="shop_app", password="x") as locking, locking.cursor() as cursor:
            cursor.execute("LOCK TABLES shop.orders WRITE")
            work = work_of(journal, forth=forth, fence_s=60)
            with work.within(60, "fence_s"):
                assert "ended: 1 session" in Fence().do(work)
            assert fresh_source.query(closed) == [(1,)]

        # The plan that opens it again may have got a hook meanwhile, or lost it.
        work = work_of(journal, forth=forth, hooks={"fence": "exit 1", "unfence": f"touch {tmp_path}/called"})
        Fence().undo(work)
        assert (fresh_source.query(closed), (tmp_path / "called").exists()) == ([(0,)], False)
        journal.set_state(work.row.id, "undone")
        work = work_of(journal, forth=forth, hooks={"fence": "true", "unfence": f"touch {tmp_path}/called"})
        with work.within(60, "fence_s"):
            Fence().do(work)
        assert fresh_source.query(closed) == [(0,)]
        Fence().still(work)
        Fence().undo(work)
        assert (tmp_path / "called").exists()
        without = work_of(journal, forth=forth)
        for step in (Fence().do, Fence().undo):
            with pytest.raises(StepFailed, match="give it back"):
                step(without)
        journal.set_state(work.row.id, "undone")

        # A server that was restarted comes back open: applications are at the other one by then.
        work = work_of(journal, forth=forth)
        with work.within(60, "fence_s"):
            Fence().do(work)
        open_for_writes(fresh_source)
        with pytest.raises(StepFailed, match="is not read_only any more"):
            Fence().still(work)
        with work.within(60, "fence_s"):
            assert "was open again (a restart?) and is closed anew; " in OpenWrites().do(work)
        assert fresh_source.query(closed) == [(1,)]
    finally:
        open_for_writes(fresh_source)
        fresh_source.query("DROP USER shop_app@'%'")


@pytest.mark.mariadb
def test_a_failover_moves_sequences_behind_the_numbers_that_tables_show(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    for sql in (
        "CREATE DATABASE shop",
        "CREATE SEQUENCE shop.ids INCREMENT 2 START 1 CACHE 50",
        "CREATE SEQUENCE shop.`down to` INCREMENT -1 MINVALUE -50 MAXVALUE -1",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY DEFAULT NEXTVAL(shop.ids),"
        " n INT DEFAULT NEXTVAL(shop.`down to`))",
        "INSERT INTO shop.orders VALUES (301, -7), (9, -3)",  # as replay writes them: no number is taken
    ):
        fresh_target.query(sql)
    work = work_of(journal, forth=settings_of(fresh_target, fresh_source), command="failover", carry_s=60)
    with work.within(60, "carry_s"):
        said = SkipNumbers().do(work)
        again = SkipNumbers().do(work)
    assert "ATTENTION: the sequences shop.down to, shop.ids were moved" in said
    assert again == said
    assert fresh_target.query("SELECT NEXTVAL(shop.ids), NEXTVAL(shop.`down to`)") == [(303 + 2000, -50)]


@pytest.mark.mariadb
def test_a_sequence_goes_on_behind_the_last_number_and_not_behind_those_that_the_server_held(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    """MariaDB takes a thousand at once: a short sequence would have run out at the other server, or begun anew."""
    options = {
        "small": "MAXVALUE 50", "round": "MAXVALUE 50 CYCLE", "down": "START -1 INCREMENT -3 MINVALUE -100 MAXVALUE -1",
        "over": "MAXVALUE 3", "long": "CACHE 10",
    }  # fmt: skip
    for server in (fresh_source, fresh_target):
        for name, text in options.items():
            server.query(f"CREATE SEQUENCE shop.`{name}` {text}")
    for _ in range(3):
        for name in options:
            fresh_source.query(f"SELECT NEXTVAL(shop.`{name}`)")
    with shop.within(60, "carry_s"):
        servers = shop.servers()
        found = behind_of(shop.way.settings, servers, is_closed=True)
        servers.target.call(lambda target: raise_counters(target, found))
        assert behind_of(shop.way.settings, servers) != []  # what is held does not count for others
    taken = {
        name: fresh_target.query(f"SELECT NEXTVAL(shop.`{name}`)")[0][0] for name in ("small", "round", "down", "long")
    }
    assert taken == {"small": 5, "round": 5, "down": -13, "long": 11}
    with pytest.raises(pymysql.MySQLError, match="run out"):
        fresh_target.query("SELECT NEXTVAL(shop.`over`)")
    shop.journal.close()


def test_who_writes_past_the_fence_is_found(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    """MariaDB's read_only lets those write who have a right to it."""
    fresh_source.query("CREATE DATABASE shop")
    fresh_source.query("CREATE TABLE shop.orders (id INT PRIMARY KEY)")
    bind = [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}]
    forth = settings_of(
        fresh_target, fresh_source, rabbitmq_conn_info={"host": "nowhere"}, rabbitmq_queue_bind=bind,
        include=["shop.*"],
    )  # fmt: skip
    work = work_of(journal, forth=forth)
    try:
        with work.within(60, "fence_s"):
            Fence().do(work)
            begin = SourcePlace(*work.facts["fence_place"])
            assert_quiet(work, work.way, begin)
            pauses = PauseTable("pydbsync")
            work.servers().target.call(lambda there: pauses.add(there, "sync", "", actor="ann", reason="a look"))
            assert "by ann: a look (`pydbsync resume`)" in paused(work.servers().target, work.way)[0]
            if fresh_source.brand == "mysql":
                with pytest.raises(pymysql.MySQLError, match="super-read-only"):
                    fresh_source.query("INSERT INTO shop.orders VALUES (1)")
                set_read_only(work, forth.source, ReadOnly(True))  # type: ignore[arg-type]
            fresh_source.query("INSERT INTO shop.orders VALUES (1)")
            with pytest.raises(StepFailed, match="somebody wrote to tables that take part"):
                assert_quiet(work, work.way, begin)
            with fresh_source.connect() as connection, connection.cursor() as cursor:
                for sql in ("XA START 'x'", "INSERT INTO shop.orders VALUES (2)", "XA END 'x'", "XA PREPARE 'x'"):
                    cursor.execute(sql)
            with pytest.raises(StepFailed, match="the XA transaction 'x' is prepared"):
                Fence().do(work)
    finally:
        open_for_writes(fresh_source)
        fresh_source.query("XA ROLLBACK 'x'")


def test_a_server_that_answers_is_not_dead_whatever_it_answers(journal: CutoverJournal, fresh_source: Endpoint) -> None:
    def look(**changed: Any) -> list[str]:
        found = settings_of(fresh_source, source_db_info={**fresh_source.db_info, "connect_timeout": 5, **changed})
        return Dead().look(work_of(journal, forth=found))

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert look(port=nobody.getsockname()[1]) == []
    assert "answers and takes writes" in look()[0]
    assert "answers, although it lets nobody in" in look(password="another")[0]
    before = fresh_source.query("SELECT @@global.max_connect_errors, @@global.max_user_connections")
    fresh_source.query("CREATE USER busy@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1")
    try:
        with fresh_source.connect(user="busy", password="x"):
            assert "answers, although it lets nobody in" in look(user="busy", password="x")[0]
    finally:
        fresh_source.query("DROP USER busy@'%'")
    assert before


@pytest.fixture
def shop(fresh_source: Endpoint, fresh_target: Endpoint) -> CutoverWork:
    """A direction with a queue for all of shop and another one for what is beside it."""
    for server in (fresh_source, fresh_target):
        server.query("CREATE DATABASE shop")
        server.query("CREATE TABLE shop.orders (id TINYINT AUTO_INCREMENT PRIMARY KEY, v INT)")
    queues = {"sync": ["shop.*"], "rest": ["other.*"]}
    forth = settings_of(
        fresh_target, fresh_source, rabbitmq_conn_info={"host": "nowhere"}, exclude=["shop.kept_out"],
        rabbitmq_queue_bind=[{"exchange": ["maxwell", "topic"], "queues": queues}],
    )  # fmt: skip
    return work_of(opened(fresh_target), forth=forth, carry_s=1)


AWAITED = {
    "DROP TABLE shop.gone": True,
    "DROP /* of */ TABLE IF EXISTS nowhere.t, shop . `gone`": True,
    "RENAME TABLE shop.gone TO shop.kept_out": True,
    "DROP DATABASE shop": True,
    "ALTER DATABASE shop CHARACTER SET latin1": True,
    "CREATE VIEW shop.v AS SELECT 1": False,
    "GRANT SELECT ON shop.* TO shop_app@'%'": False,
    "DROP TABLE shop.kept_out": False,
    "DROP DATABASE other": False,  # which the other queue has
}
"""Statements of which nothing is left in the catalogue, and whether a queue is waited for until they were applied."""


def test_a_queue_is_not_level_while_a_statement_waits_in_it(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    fresh_source.query("CREATE USER shop_app@'%' IDENTIFIED BY 'x'")
    stream = Stream(shop.way.settings, fresh_source, fresh_target, name="sync")
    try:
        for statement, is_awaited in AWAITED.items():
            for sql in (*(f"DROP DATABASE IF EXISTS {name}" for name in ("shop", "other")), "CREATE DATABASE shop",
                        "CREATE DATABASE other", "CREATE TABLE shop.gone (id INT)"):  # fmt: skip
                fresh_source.query(sql)
            if "TO shop.kept_out" not in statement:
                fresh_source.query("CREATE TABLE shop.kept_out (id INT)")
            before = stream.place()
            stream.apply(upto=before)
            shop.tables.clear()
            assert not_passed(shop, shop.way, before) == "", statement
            fresh_source.query(statement)
            after = stream.place()
            shop.tables.clear()
            assert ("sync stands at" in not_passed(shop, shop.way, after)) is is_awaited, statement
            if is_awaited:
                with pytest.raises(StepFailed, match="somebody wrote"):
                    assert_quiet(shop, shop.way, before)
            stream.apply(upto=after)
            assert not_passed(shop, shop.way, after) == "", statement
    finally:
        fresh_source.query("DROP USER shop_app@'%'")
        stream.connection.close()
        shop.journal.close()


def test_a_failover_leaves_numbers_out_as_far_as_their_type_goes_and_waits_for_nobody_longer_than_it_may(
    shop: CutoverWork, fresh_target: Endpoint
) -> None:
    fresh_target.query("INSERT INTO shop.orders VALUES (100, 1)")
    with fresh_target.connect() as reading, reading.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT * FROM shop.orders")
        with (
            pytest.raises(StepFailed, match=r"longer than 1 s \(limits.carry_s of the plan\): a transaction or LOCK"),
            shop.within(1, "carry_s"),
        ):
            SkipNumbers().do(shop)
        reading.rollback()
    assert fresh_target.query("SHOW CREATE TABLE shop.orders")[0][1].count("AUTO_INCREMENT=101 ") == 1
    with shop.within(60, "carry_s"):
        assert "ATTENTION: the type of shop.orders has few numbers left" in SkipNumbers().do(shop)
    for number in (114, 115):
        fresh_target.query("INSERT INTO shop.orders (v) VALUES (2)")
        assert fresh_target.query("SELECT MAX(id) FROM shop.orders") == [(number,)]
    shop.journal.close()


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_server_that_replicates_is_not_closed_by_read_only(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint, end: str
) -> None:
    server = fresh_source if end == "source" else fresh_target
    begin, over = (
        (["CHANGE MASTER TO MASTER_HOST = 'upstream'", "START SLAVE SQL_THREAD"], ["STOP SLAVE", "RESET SLAVE ALL"])
        if server.brand == "mariadb" else
        (["CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'upstream'", "START REPLICA SQL_THREAD"],
         ["STOP REPLICA", "RESET REPLICA ALL"])
    )  # fmt: skip
    with shop.within(60, "carry_s"):
        assert MayBegin._replicated(shop) == []
        try:
            for sql in begin:
                server.query(sql)
            (found,) = MayBegin._replicated(shop)
            assert f"{server.port} is a replica of upstream" in found
            assert ("keep a rollback from beginning" in found) is (end == "target")
        finally:
            for sql in over:
                server.query(sql)
    shop.journal.close()


ACCOUNTS = "SELECT user FROM mysql.user"


def test_accounts_that_may_less_at_the_target_are_told(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    app, reads, writer = "shop_app@'%'", "shop_reads@'%'", "shop_writer"
    # The servers' own, and what another test may have left.
    others = {str(user) for server in (fresh_source, fresh_target) for (user,) in server.query(ACCOUNTS)}
    for server in (fresh_source, fresh_target):
        for sql in (f"CREATE USER {app} IDENTIFIED BY 'x'", f"CREATE USER {reads} IDENTIFIED BY 'x'",
                    f"CREATE ROLE {writer}"):  # fmt: skip
            server.query(sql)
    try:
        for sql in (
            f"GRANT SELECT, INSERT ON shop.* TO {app}", f"GRANT UPDATE (v), DELETE ON shop.orders TO {app}",
            f"GRANT SELECT ON *.* TO {reads}", f"GRANT INSERT ON `sh%`.* TO {reads}", f"GRANT {writer} TO {app}",
            f"GRANT DELETE ON other.* TO {reads}", f"GRANT EXECUTE ON shop.* TO {writer}",
        ):  # fmt: skip
            fresh_source.query(sql)
        for sql in (
            f"GRANT SELECT ON shop.* TO {app}", f"GRANT UPDATE ON *.* TO {app}", f"GRANT SELECT ON `s_op`.* TO {reads}",
            f"GRANT EXECUTE ON shop.* TO {writer}", "CREATE USER only_here@'%' IDENTIFIED BY 'x'",
        ):  # fmt: skip
            fresh_target.query(sql)
        fresh_source.query("CREATE USER only_there@'%' IDENTIFIED BY 'x'")
        servers = shop.servers()
        assert account_problems(servers.source, servers.target, {"shop": ("shop",)}, others) == [
            "accounts that the target does not have: only_there@%",
            "the account shop_app@% lacks at the target: DELETE on shop.orders, INSERT on shop.*",
            "the account shop_reads@% lacks at the target: INSERT on shop.*",
            f"the account shop_app@% has not the role {writer} at the target",
        ]
    finally:
        for server in (fresh_source, fresh_target):
            server.query(f"DROP USER IF EXISTS {app}, {reads}, only_here@'%', only_there@'%'")
            server.query(f"DROP ROLE {writer}")
        shop.journal.close()


def test_only_rows_changed_since_the_last_whole_comparison_are_compared_whatever_the_clocks_say(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    task = "INSERT INTO pydbsync.task (kind, name, host, pid, state, started_at, exit_code) VALUES"
    with fresh_target.connect(init_command="SET time_zone = '+00:00'") as connection, connection.cursor() as cursor:
        for name, day, code in (("", 2, 0), ("part", 3, 0), ("cutover", 4, 0), ("", 5, 1)):
            cursor.execute(f"{task} ('verify', '{name}', 'h', 1, 'ended', '2025-01-0{day} 12:00:00', {code})")
    ahead = {**fresh_target.db_info, "init_command": "SET timestamp = UNIX_TIMESTAMP() + 7200"}
    fast = settings_of(fresh_target, fresh_source, db_info=ahead)
    for kind, settings, wanted in (
        ("TIMESTAMP", shop.way.settings, "2025-01-02 11:59:00"), ("TIMESTAMP", fast, "2025-01-02 09:5"),
        ("DATETIME", shop.way.settings, "2024-12-31 23:59:00"), ("DATE", shop.way.settings, "2024-12-31 23:59:00"),
    ):  # fmt: skip
        fresh_source.query("DROP TABLE shop.orders")
        fresh_source.query(f"CREATE TABLE shop.orders (id INT PRIMARY KEY, changed {kind} NULL)")
        work = work_of(shop.journal, forth=settings)
        work.plan = replace(work.plan, verify="since:changed")
        with work.within(60, "verify_s"):
            since = since_last(work)
        assert (since.column, since.value[: len(wanted)]) == ("changed", wanted), kind
    fresh_target.query("UPDATE pydbsync.task SET started_at = NOW() + INTERVAL 1 HOUR WHERE exit_code = 0")
    with pytest.raises(StepFailed, match="still to come by the clock of"), work.within(60, "verify_s"):
        since_last(work)
    shop.journal.close()


def test_a_user_with_little_rights_is_told_before_and_what_it_could_not_open_is_undone(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    """Who may not make triggers could not make them again either, once they are dropped."""
    for server in (fresh_source, fresh_target):
        server.query("SET GLOBAL log_bin_trust_function_creators = 0")
        server.query("CREATE USER little@'%' IDENTIFIED BY 'x'")
        server.query("GRANT SELECT, TRIGGER ON *.* TO little@'%'")
    little = {"user": "little", "password": "x"}
    forth = settings_of(
        fresh_target, db_info={**fresh_target.db_info, **little}, source_db_info={**fresh_source.db_info, **little},
        include=["shop.*"],
    )  # fmt: skip
    work = work_of(shop.journal, forth=forth)
    try:
        with work.within(60, "carry_s"):
            told = "; ".join(own_rights(work))
            missing = ("PROCESS: it sees no sessions", "READ_ONLY ADMIN, CONNECTION ADMIN"
                       if fresh_source.brand == "mariadb" else "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN")  # fmt: skip
            assert [each in told for each in missing] == [True, True], told
            assert refused_creator(work, work.way, "source") == ""  # nothing moves
            fresh_source.query("CREATE TRIGGER shop.t BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.v = 1")
            for server, end in ((fresh_source, "source"), (fresh_target, "target")):
                why = refused_creator(work, work.way, end)  # type: ignore[arg-type]
                assert "log_bin_trust_function_creators = 1" in why
                server.query("SET GLOBAL log_bin_trust_function_creators = 1")
                assert refused_creator(work, work.way, end) == ""  # type: ignore[arg-type]
                mighty = refused_definers(work, end)  # type: ignore[arg-type]
                assert ("who has SYSTEM_USER" in mighty) is (server.brand == "mysql"), mighty
        fresh_target.query("SET GLOBAL read_only = 1")
        work.facts["retired"] = True  # it is not looked whether the source is closed
        with pytest.raises(StepFailed, match="cannot be set to open"), work.within(60, "fence_s"):
            OpenWrites().do(work)
        assert (work.facts["opening"], fresh_target.query("SELECT @@global.read_only")) == (False, [(1,)])
    finally:
        open_for_writes(fresh_target)
        for server in (fresh_source, fresh_target):
            server.query("DROP USER little@'%'")
        shop.journal.close()


FIRES = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = 'shop' ORDER BY action_order"


def test_who_writes_while_things_are_carried_or_behind_the_switch_is_found(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own statements behind the fence are no writes of anybody, whatever a trigger is called."""
    fresh_source.query("CREATE TRIGGER shop.orders BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.v = 1")

    def drop_and_write(work: CutoverWork) -> int:
        dropped = triggers.drop_triggers(work)
        fresh_source.query("INSERT INTO shop.orders (v) VALUES (2)")
        return dropped

    try:
        with shop.within(60, "carry_s"):
            Fence().do(shop)
        monkeypatch.setattr(carrying, "drop_triggers", drop_and_write)
        with pytest.raises(StepFailed, match="somebody wrote to tables that take part"), shop.within(60, "carry_s"):
            Carry().do(shop)
        with shop.within(60, "carry_s"):
            Carry().undo(shop)
        assert (fresh_source.query(FIRES), fresh_target.query(FIRES)) == ([("orders",)], [])

        monkeypatch.setattr(carrying, "drop_triggers", triggers.drop_triggers)
        with shop.within(60, "fence_s"):
            Fence().do(shop)
        with shop.within(60, "carry_s"):
            assert "1 trigger moved" in Carry().do(shop)
        fresh_target.query("SET GLOBAL read_only = 1")
        fresh_source.query("INSERT INTO shop.orders (v) VALUES (3)")
        with pytest.raises(StepFailed, match="somebody wrote to tables that take part"), shop.within(60, "fence_s"):
            OpenWrites().do(shop)
        assert (shop.facts["opening"], fresh_target.query("SELECT @@global.read_only")) == (False, [(1,)])
    finally:
        for server in (fresh_source, fresh_target):
            open_for_writes(server)
        shop.journal.close()


def test_triggers_wait_for_no_application_that_has_come_again(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    """A pool that reads in a transaction holds the table against DROP TRIGGER and CREATE TRIGGER."""
    fresh_source.query("CREATE USER shop_app@'%' IDENTIFIED BY 'x'")
    fresh_source.query("GRANT SELECT ON shop.* TO shop_app@'%'")
    for name in ("second", "first"):
        fresh_source.query(f"CREATE TRIGGER shop.{name} BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.v = 1")
    work = shop
    work.plan = replace(work.plan, limits=replace(work.plan.limits, carry_s=60))
    try:
        with work.within(60, "fence_s"):
            Fence().do(work)
        for step in (Carry().do, Carry().undo):
            with fresh_source.connect(user="shop_app", password="x") as reading, reading.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                cursor.execute("SELECT * FROM shop.orders")
                with work.within(60, "carry_s"):
                    step(work)
                with pytest.raises(pymysql.MySQLError):
                    cursor.execute("SELECT 1")
        # One that is missing alone comes back before the one behind it.
        fresh_source.query("DROP TRIGGER shop.second")
        with work.within(60, "carry_s"):
            Carry().undo(work)
        assert fresh_source.query(FIRES) == [("second",), ("first",)]
    finally:
        open_for_writes(fresh_source)
        fresh_source.query("DROP USER shop_app@'%'")
        shop.journal.close()


def test_triggers_whose_definer_the_target_lacks_are_told_before(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    creates = "CREATE USER keeper@'%' IDENTIFIED BY 'x'"
    for definer in ("keeper", "nobody"):
        if definer == "keeper":
            fresh_source.query(creates)
        fresh_source.query(
            f"CREATE DEFINER = {definer}@'%' TRIGGER shop.by_{definer} BEFORE INSERT ON shop.orders FOR EACH ROW"
            " SET NEW.v = 1"
        )
    try:
        with shop.within(60, "carry_s"):
            (found,) = orphans(shop)
            assert "does not have keeper@%, the definer of the triggers shop.by_keeper" in found
            fresh_target.query(creates)
            assert orphans(shop) == []
    finally:
        for server in (fresh_source, fresh_target):
            server.query("DROP USER IF EXISTS keeper@'%'")
        shop.journal.close()


def test_events_run_under_the_name_that_their_database_has_at_the_target(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    for server, database in ((fresh_source, "shop"), (fresh_target, "shop_new")):
        server.query(f"CREATE DATABASE {database}")
        server.query(f"CREATE EVENT {database}.nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")
    forth = settings_of(fresh_target, fresh_source, dbname_rewrite={"shop": "shop_new"})
    work = work_of(journal, forth=forth)
    work.facts |= {"fence": {"events": [["shop", "nightly"]]}, "retired": True}
    with work.within(60, "fence_s"):
        assert "does not have" not in OpenWrites().do(work)
    assert fresh_target.query("SELECT event_schema, status FROM information_schema.events") == [("shop_new", "ENABLED")]


@pytest.mark.mariadb
def test_a_sequence_that_only_the_source_has_is_made_and_goes_on(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    fresh_source.query("CREATE SEQUENCE shop.`new ids` START 5 INCREMENT 5 NOCACHE")
    fresh_source.query("SELECT NEXTVAL(shop.`new ids`)")
    work = shop
    work.plan = replace(work.plan, limits=replace(work.plan.limits, carry_s=60))
    try:
        with work.within(60, "fence_s"):
            Fence().do(work)
        with work.within(60, "carry_s"):
            assert "sequence shop.new ids" in Carry().do(work)
        assert fresh_target.query("SELECT NEXTVAL(shop.`new ids`)") == [(10,)]
        with work.within(60, "carry_s"):
            Carry().undo(work)
        assert fresh_target.query("SHOW TABLES FROM shop LIKE 'new%'") == []
    finally:
        open_for_writes(fresh_source)
        shop.journal.close()


def test_a_row_of_the_future_is_that_of_a_worker_that_is_gone(shop: CutoverWork, fresh_target: Endpoint) -> None:
    """The server's clock was set back behind its last writing."""
    for pid, when in ((1, "NOW(6) + INTERVAL 1 HOUR"), (2, "NOW(6)")):
        fresh_target.query(
            f"INSERT INTO pydbsync.worker (stream, host, pid, state, held, written_at, every_s) VALUES ('sync', 'h',"
            f" {pid}, 'following', 1, {when}, 60)"
        )
    with shop.within(60, "carry_s"):
        assert [each.pid for each in shop.servers().target.call(lambda there: running(there, shop.way))] == [2]
    shop.journal.close()


def test_a_hook_that_the_plan_has_lost_is_asked_back_and_a_look_of_ones_own_stops(
    shop: CutoverWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.keep("switched", True)
    with pytest.raises(StepFailed, match="sent by the hook switch, which the plan has no more"):
        Switch().undo(shop)
    for name in ("doctor_errors", "own_rights", "unrouted", "_behind", "_verify_age"):
        monkeypatch.setattr(checks, name, lambda *given: [])
    for command, wanted in (("true", []), ("echo no room; exit 1", ["the hook check ended with exit code 1: no room"])):
        shop.plan = replace(shop.plan, hooks=replace(shop.plan.hooks, check=command))
        with shop.within(60, "hook_s"):
            assert MayBegin().look(shop) == wanted
    shop.journal.close()


def test_a_way_back_is_not_level_while_no_capture_of_it_runs(journal: CutoverJournal, fresh_target: Endpoint) -> None:
    run = journal.begin("cutover", turn=1, source="old", target="new")
    facts = {"back": {"schema": "pydbsync", "streams": ["back.sync"]}}
    fresh_target.query("INSERT INTO pydbsync.worker (stream, host, pid, state, every_s) VALUES ('back.sync', 'h', 1,"
                       " 'following', 60)")  # fmt: skip
    capture = ("INSERT INTO pydbsync.task (kind, name, host, pid, state, every_s, written_at) VALUES ('capture',"
               " 'back-1', 'h', 2, 'following', 60, {})")  # fmt: skip

    def told(**more: object) -> Cutover:
        found = Cutover(plan="shop", command="cutover", state="done", source="old", target="new", started="")
        cutovers._look_back(found, msgspec.structs.replace(run, facts={**facts, **more}), journal.connection)
        return found

    assert told().is_level  # somebody else's capture, which tells nobody
    for when in ("NOW(6) - INTERVAL 1 HOUR", "NOW(6) + INTERVAL 1 HOUR"):
        fresh_target.query(capture.format(when))
        found = told(back_capture="back-1")
        assert (found.is_level, "no capture of the way back runs" in found.way_back) == (False, True)
        fresh_target.query("DELETE FROM pydbsync.task")
    fresh_target.query(capture.format("NOW(6)"))
    assert told(back_capture="back-1").is_level


def test_a_failover_without_a_broker_leaves_what_it_holds_and_says_so(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    for server in (fresh_source, fresh_target):
        server.query("CREATE DATABASE shop")
        server.query("CREATE TABLE shop.orders (id INT PRIMARY KEY)")
    forth = settings_of(
        fresh_target, fresh_source, rabbitmq_conn_info={"host": "127.0.0.1", "port": 1},
        rabbitmq_queue_bind=[{"exchange": ["maxwell", "topic"], "queues": {"sync": ["shop.*"]}}],
    )  # fmt: skip
    stream = Stream(forth, fresh_source, fresh_target, name="sync")
    fresh_source.query("INSERT INTO shop.orders VALUES (1)")
    stream.apply(upto=stream.place())
    stream.connection.close()
    fresh_target.query(
        "INSERT INTO pydbsync.parked (stream, position, kind, source_database, source_table, target_database, row_keys,"
        " is_whole_table, reason, code, message) VALUES ('sync', '', 'insert', 'shop', 'orders', 'shop', '', 0, '', 0,"
        " '')"
    )
    work = work_of(journal, forth=forth, command="failover")
    with work.within(60, "drain_s"):
        with pytest.raises(StepFailed, match="RabbitMQ cannot be asked"):
            Arrive().do(work)
        assert "sync is applied up to" in Arrive(leaves_queues=True).do(work)
    assert [text[:30] for text in work.facts["problems"]] == [
        "what was in the queues is left", "1 changes are parked: `pydbsyn"]  # fmt: skip


def test_a_mysql_that_was_left_comes_back_closed_and_one_that_was_opened_open(
    shop: CutoverWork, fresh_source: Endpoint
) -> None:
    is_mysql = fresh_source.brand == "mysql"
    found = "SELECT variable_name, variable_value FROM performance_schema.persisted_variables"
    with shop.within(60, "carry_s"):
        server = shop.servers().source
        assert keep_after_restart(server) is is_mysql
        if is_mysql:
            assert fresh_source.query(found) == [("read_only", "ON")]
        assert open_after_restart(server) is is_mysql
        if is_mysql:
            assert fresh_source.query(found) == []
        assert is_closed_by_file(server) is False
    open_for_writes(fresh_source)
    shop.journal.close()


COUNTED = {
    "t": ("TINYINT", 2**7), "u": ("TINYINT UNSIGNED", 2**8), "b": ("BIGINT UNSIGNED", 2**64), "i": ("BIGINT", 2**63),
}  # fmt: skip
"""Types of AUTO_INCREMENT, with the first number that none of them has."""


def test_a_counter_that_has_come_to_the_end_of_its_type_goes_on_as_at_the_source(
    shop: CutoverWork, fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    """Nearly at its end, and at it: the same number comes next, or the same error."""
    for server in (fresh_source, fresh_target):
        for name, (kind, _) in COUNTED.items():
            server.query(f"CREATE TABLE shop.{name} (id {kind} AUTO_INCREMENT PRIMARY KEY, v INT)")

    def following(server: Endpoint, name: str) -> object:
        try:
            server.query(f"INSERT INTO shop.{name} (v) VALUES (2)")
        except pymysql.MySQLError as exc:
            return exc.args[0]
        return server.query(f"SELECT MAX(id) FROM shop.{name}")

    for before in (2, 1):
        for name, (_, end) in COUNTED.items():
            fresh_source.query(f"INSERT INTO shop.{name} VALUES ({end - before}, 1)")
            fresh_source.query(f"DELETE FROM shop.{name}")
        with shop.within(60, "carry_s"):
            servers = shop.servers()
            found = behind_of(shop.way.settings, servers, is_closed=True)
            servers.target.call(lambda target: raise_counters(target, found))  # noqa: B023
            assert behind_of(shop.way.settings, servers, is_closed=True) == []
    for name in COUNTED:
        assert following(fresh_target, name) == following(fresh_source, name), name
    shop.journal.close()


def test_an_event_that_runs_at_the_fence_is_ended_in_its_midst(shop: CutoverWork, fresh_source: Endpoint) -> None:
    """It is disabled too late for that: what it has begun would go on for as long as it takes."""
    ((scheduler,),) = fresh_source.query("SELECT @@global.event_scheduler")
    fresh_source.query("CREATE USER keeper@'%' IDENTIFIED BY 'x'")
    fresh_source.query("GRANT INSERT, SELECT, EVENT ON shop.* TO keeper@'%'")
    at_work = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'keeper'"
    try:
        fresh_source.query("SET GLOBAL event_scheduler = 1")
        fresh_source.query("CREATE DEFINER = keeper@'%' EVENT shop.slow ON SCHEDULE EVERY 1 DAY DO BEGIN"
                           " DO SLEEP(3000); INSERT INTO shop.orders (v) VALUES (1); END")  # fmt: skip
        wait_for(lambda: fresh_source.query(at_work) == [(1,)], what="the event to run")
        with shop.within(60, "fence_s"):
            Fence().do(shop)
        assert (shop.facts["fence"]["events"], fresh_source.query(at_work)) == ([["shop", "slow"]], [(0,)])
        with shop.within(60, "fence_s"):
            Fence().undo(shop)
        assert fresh_source.query("SELECT status FROM information_schema.events") == [("ENABLED",)]
    finally:
        open_for_writes(fresh_source)
        fresh_source.query(f"SET GLOBAL event_scheduler = {scheduler}")
        fresh_source.query("DROP USER keeper@'%'")
        shop.journal.close()
