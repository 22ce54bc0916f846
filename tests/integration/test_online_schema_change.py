"""gh-ost and pt-online-schema-change, run on a source under load, are one change of the real table on the target."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
import pytest

from pydbsync.apply.ddl import schema_steps
from pydbsync.engine import commits
from pydbsync.errors import StopError
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.source.memory import MemorySource
from tests.integration.carried import Carrier
from tests.integration.engine import LOG, follow_source, parked, replay, settings_for
from tests.matrices import thinned
from tests.maxwell import Binlog, insert
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

CREATE = (
    "CREATE TABLE o.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40), n INT, UNIQUE KEY u (n))"
)  # fmt: skip
ROWS = 600


class Crash(Exception):
    """The worker dies here."""


class Load(threading.Thread):
    """Inserts, updates and deletes rows of the table until it is stopped."""

    def __init__(self, source: Endpoint, table: str) -> None:
        super().__init__(daemon=True)
        self._source, self._table = source, table
        self._stop_it = threading.Event()
        self.done = 0

    def run(self) -> None:
        draw = random.Random(6)
        with self._source.connect() as connection, connection.cursor() as cursor:
            while not self._stop_it.is_set():
                number = draw.randint(1, 10**6)
                form = draw.choice(
                    (
                        "INSERT INTO {0} (v, n) VALUES ('new', {1})",
                        "UPDATE {0} SET v = CONCAT('x', {1}) WHERE id % 97 = {1} % 97 LIMIT 2",
                        "DELETE FROM {0} WHERE id > {1} % 500 ORDER BY id LIMIT 1",
                        "UPDATE {0} SET id = id + 1000000 WHERE id < 900000 AND id % 89 = {1} % 89 LIMIT 1",
                    )
                )
                try:
                    cursor.execute(form.format(self._table, number))
                except pymysql.MySQLError:  # a value that is there already, or a deadlock with the tool
                    continue
                self.done += 1
                self._stop_it.wait(0.002)  # leaves the tool a share of the processor

    def stop(self) -> None:
        self._stop_it.set()
        self.join()


def filled(source: Endpoint) -> None:
    source.query("CREATE DATABASE o")
    source.query(CREATE)
    values = ", ".join(f"('row {number}', {number})" for number in range(ROWS))
    source.query(f"INSERT INTO o.t (v, n) VALUES {values}")


@pytest.fixture(scope="module")
def changed(source: Endpoint, target: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Carrier:
    """A source whose table pt-online-schema-change has changed under load, and the messages of that."""
    source.drop_databases()
    carrier = Carrier(source, target, tmp_path_factory.mktemp("pt-osc"))
    filled(source)
    load = Load(source, "o.t")
    load.start()
    try:
        done = subprocess.run(
            [
                "pt-online-schema-change", "--execute",
                "--alter", "ADD COLUMN c INT NOT NULL DEFAULT 7, MODIFY v VARCHAR(80)",
                "--chunk-size", "50", "--recursion-method", "none", "--no-version-check", "--no-check-alter",
                f"h={source.host},P={source.port},u={source.user},p={source.password},D=o,t=t,A=utf8mb4",
            ],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        load.stop()
    assert load.done > 0
    source.query("UPDATE o.t SET c = 8 ORDER BY id LIMIT 3")
    carrier.run()
    return carrier


def statements_run(target: Endpoint) -> list[str]:
    return [sql for (sql,) in target.query("SELECT statement FROM pydbsync.schema_change ORDER BY started_at")]


def assert_one_change(carrier: Carrier) -> None:
    assert carrier.differences("o") == []
    tables = carrier.target.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'o'")
    assert tables == [("t",)]
    ran = statements_run(carrier.target)
    assert [sql.split()[:2] for sql in ran] == [["CREATE", "DATABASE"], ["CREATE", "TABLE"], ["ALTER", "TABLE"]], ran
    assert "ADD COLUMN c INT NOT NULL DEFAULT 7" in ran[2]


def tables_of(messages: Sequence[bytes]) -> set[str]:
    return {json.loads(message).get("table", "") for message in messages}


def test_pt_online_schema_change_under_load_is_one_change_of_the_table(
    changed: Carrier, fresh_target: Endpoint
) -> None:
    assert "_t_new" in tables_of(changed.messages)
    changed.replay()
    assert_one_change(changed)


def turning_points(messages: Sequence[bytes]) -> Iterator[int]:
    """Behind each DDL message, and in the middle of the copying."""
    places = [number for number, message in enumerate(messages) if b'"sql"' in message]
    yield from (place + 1 for place in places)
    yield sum(places[2:4]) // 2


def test_a_worker_that_is_started_anew_in_the_middle_goes_on(changed: Carrier, fresh_target: Endpoint) -> None:
    done = 0
    for place in sorted(turning_points(changed.messages)):
        # what was not acknowledged comes again, also messages of the last statement
        changed.replay(changed.messages[max(0, done - 5) : place])
        done = place
    changed.replay(changed.messages[max(0, done - 5) :])
    assert_one_change(changed)


def test_off_replays_the_tool_s_own_statements(changed: Carrier, fresh_target: Endpoint) -> None:
    changed.replay(online_schema_change="off")
    assert changed.differences("o") == []
    assert any("_t_new" in sql and sql.startswith("CREATE") for sql in statements_run(fresh_target))


def gh_ost(q: str) -> tuple[str, ...]:
    """What gh-ost does, but for its reading of the binlog; `q` is `o.` or nothing."""
    copy = "(id, v, n) (SELECT id, v, n FROM"
    return (
        "USE o",
        f"CREATE TABLE {q}`_t_ghc` (id BIGINT AUTO_INCREMENT, last_update TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP"
        " ON UPDATE CURRENT_TIMESTAMP, hint VARCHAR(64) CHARACTER SET ascii NOT NULL, value VARCHAR(4096) CHARACTER SET"
        " ascii NOT NULL, PRIMARY KEY (id), UNIQUE KEY hint_uidx (hint)) AUTO_INCREMENT=256 COMMENT='gh-ost changelog'",
        f"CREATE TABLE {q}`_t_gho` LIKE {q}`t`",
        f"ALTER TABLE {q}`_t_gho` ADD COLUMN c INT NOT NULL DEFAULT 7, MODIFY v VARCHAR(80)",
        f"INSERT INTO {q}`_t_ghc` (id, hint, value) VALUES (NULLIF(2, 0), 'state', 'GhostTableMigrated')",
        f"INSERT IGNORE INTO {q}`_t_gho` {copy} {q}`t` WHERE id BETWEEN 1 AND 300)",
        f"UPDATE {q}t SET v = 'changed' WHERE id = 5",
        f"REPLACE INTO {q}`_t_gho` {copy} {q}`t` WHERE id = 5)",
        f"DELETE FROM {q}t WHERE id = 7",
        f"DELETE FROM {q}`_t_gho` WHERE id = 7",
        f"INSERT IGNORE INTO {q}`_t_gho` {copy} {q}`t` WHERE id > 300)",
        f"INSERT INTO {q}`_t_ghc` (id, hint, value) VALUES (NULLIF(1, 0), 'heartbeat', 'x')"
        " ON DUPLICATE KEY UPDATE last_update = NOW(), value = VALUES(value)",
        f"CREATE TABLE {q}`_t_del` (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB COMMENT='ghost-cut-over-sentry'",
        f"DROP TABLE IF EXISTS {q}`_t_del`",
        f"RENAME TABLE {q}`t` TO {q}`_t_del`, {q}`_t_gho` TO {q}`t`",
        f"INSERT INTO {q}t (v, n, c) VALUES ('after', 100001, 9)",
        f"DROP TABLE IF EXISTS {q}`_t_ghc`",
        f"DROP TABLE IF EXISTS {q}`_t_del`",
        f"UPDATE {q}t SET c = 10 WHERE id = 5",
    )


@pytest.fixture
def carrier(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Carrier:
    return Carrier(fresh_source, fresh_target, tmp_path)


@pytest.mark.parametrize("qualified", ["o.", ""], ids=["qualified", "unqualified"])
def test_gh_ost_s_statements_are_one_change_of_the_table(carrier: Carrier, qualified: str) -> None:
    filled(carrier.source)
    carrier.run(*gh_ost(qualified))
    carrier.replay()
    assert_one_change(carrier)


def as_maxwell_filters_them(messages: Sequence[bytes]) -> list[bytes]:
    """With `exclude: o./_t_.*/` Maxwell publishes neither rows nor DDL of the ghost tables."""
    return [message for message in messages if not json.loads(message).get("table", "").startswith("_t_")]


@pytest.mark.parametrize("tool", ["gh-ost", "pt-osc"])
def test_ghost_tables_that_are_filtered_at_maxwell_are_named_as_the_reason(
    carrier: Carrier, request: pytest.FixtureRequest, tool: str
) -> None:
    if tool == "pt-osc":
        messages = as_maxwell_filters_them(request.getfixturevalue("changed").messages)
    else:
        filled(carrier.source)
        messages = as_maxwell_filters_them(carrier.run(*gh_ost("o.")))
    assert tables_of(messages) == {"t", ""}
    options: dict[str, Any] = {"source_server": carrier.source_server, "lossy_values": "off"}
    replay(carrier.target, messages, **options)
    found = parked(carrier.target)
    assert found[0].kind == "table-alter"
    assert "filtered out at Maxwell" in found[0].reason
    assert "run its ALTER TABLE on the target by hand" in found[0].reason
    assert {each.table for each in found} == {"o.t"}  # what comes later waits behind it
    carrier.target.drop_databases()
    with pytest.raises(StopError, match="filtered out at Maxwell"):
        replay(carrier.target, messages, on_error="stop", **options)


def test_a_column_without_its_ddl_is_not_left_out_silently(carrier: Carrier) -> None:
    filled(carrier.source)
    ours = carrier.run()
    carrier.run("ALTER TABLE o.t ADD c INT NOT NULL DEFAULT 7")
    later = carrier.run("UPDATE o.t SET c = 8 WHERE id = 1")
    replay(carrier.target, [*ours, *later], source_server=carrier.source_server)
    [found] = parked(carrier.target)
    assert "o.t has no column 'c' at the target: the DDL that adds it is parked or was filtered out" in found.reason
    assert "ghost tables of an online schema change filtered at Maxwell" in found.reason


def by_hand_in_the_tool_s_words(source: Endpoint, copied: str) -> list[str]:
    """What pt-online-schema-change does but for its triggers; `copied` tells which rows are copied."""
    shown = source.query("SHOW CREATE TABLE o.t")[0][1]
    return [
        shown.replace("CREATE TABLE `t` (", "CREATE TABLE `o`.`_t_new` (", 1),
        "ALTER TABLE `o`.`_t_new` ADD COLUMN c INT NOT NULL DEFAULT 7",
        f"INSERT LOW_PRIORITY IGNORE INTO `o`.`_t_new` (id, v, n) SELECT id, v, n FROM `o`.`t` WHERE {copied}",
        "UPDATE o._t_new SET v = 'changed' WHERE id = 3",
        "DELETE FROM o._t_new WHERE id = 4",
        "INSERT INTO o._t_new (id, v, n) SELECT id, v, n FROM o.t WHERE id = 4",
        "RENAME TABLE `o`.`t` TO `o`.`_t_old`, `o`.`_t_new` TO `o`.`t`",
        "DROP TABLE IF EXISTS `o`.`_t_old`",
        "UPDATE o.t SET c = 8 WHERE id = 1",
    ]


ADDED = "ADD COLUMN c INT NOT NULL DEFAULT 7"


def with_as_many_rows(source: Endpoint, columns: str = "id, v, n", altered: str = ADDED) -> list[str]:
    """The same with all rows, and nothing changed in them but by `columns`, which are selected for id, v and n."""
    return [
        each.replace(ADDED, altered).replace("SELECT id, v, n FROM", f"SELECT {columns} FROM")
        for each in by_hand_in_the_tool_s_words(source, "TRUE")
        if "'changed'" not in each
    ]


def before_the_swap(statements: list[str], *more: str) -> list[str]:
    swap = next(place for place, each in enumerate(statements) if each.startswith("RENAME"))
    return [*statements[:swap], *more, *statements[swap:]]


def no_copies(carrier: Carrier) -> dict[str, list[str]]:
    """What begins like an online schema change, and turns out to be none."""
    shown = by_hand_in_the_tool_s_words(carrier.source, "id < 500")
    whole = by_hand_in_the_tool_s_words(carrier.source, "TRUE")
    swap = shown.index("RENAME TABLE `o`.`t` TO `o`.`_t_old`, `o`.`_t_new` TO `o`.`t`")
    ghost = [each.replace("SELECT id, v, n FROM o.`t` WHERE id > 300", "SELECT id, 'x', n FROM o.`t` WHERE id > 400")
             for each in gh_ost("o.")]  # fmt: skip
    ghost_swap = next(place for place, each in enumerate(ghost) if each.startswith("RENAME"))
    return {
        "fewer rows": shown,
        "emptied meanwhile": [*whole[:swap], "TRUNCATE TABLE o.t", *whole[swap:]],
        "altered meanwhile": [*whole[:swap], "ALTER TABLE o.t ADD z INT", *whole[swap:]],
        "another name": [*whole[:swap], "RENAME TABLE o._t_new TO o.archive", "DELETE FROM o.archive WHERE id = 9"],
        "dropped first": [*shown[:swap], "DROP TABLE o.t", "RENAME TABLE o._t_new TO o.t", shown[-1]],
        "swapped back": [*shown[:swap + 1], "UPDATE o.t SET v = 'x'", "RENAME TABLE o.t TO o._t_new, o._t_old TO o.t",
                         "UPDATE o.t SET v = 'y' WHERE id = 550"],
        "other values": with_as_many_rows(carrier.source, "id, UPPER(v), n"),
        "one other value": with_as_many_rows(carrier.source, "id, IF(id = 599, 'Row 598', v), n"),
        "keys exchanged": with_as_many_rows(carrier.source, "IF(id < 3, 3 - id, id), v, n"),
        "another new column": [each.replace("(id, v, n) SELECT id, v, n", "(id, v, n, c) SELECT id, v, n, id")
                               for each in with_as_many_rows(carrier.source)],
        "a moment": with_as_many_rows(
            carrier.source, altered="ADD c INT, ADD at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
        ),
        "numbers": with_as_many_rows(
            carrier.source, altered="MODIFY id INT, DROP PRIMARY KEY, ADD c INT AUTO_INCREMENT PRIMARY KEY"
        ),
        "another key": with_as_many_rows(
            carrier.source, "id, UPPER(v), n", "DROP PRIMARY KEY, MODIFY id INT, ADD PRIMARY KEY (n), ADD c INT"
        ),
        "changed beside it": before_the_swap(
            with_as_many_rows(carrier.source), "UPDATE o.t SET v = 'nobody copied this' WHERE id = 77"
        ),
        "changed behind it": before_the_swap(
            with_as_many_rows(carrier.source), "UPDATE o._t_new SET v = CONCAT(v, ' ') WHERE id = 77"
        ),
        "another one deleted": before_the_swap(
            with_as_many_rows(carrier.source), "DELETE FROM o._t_new WHERE id = 77", "DELETE FROM o.t WHERE id = 78"
        ),
        "beside another table": [
            *shown[:swap], "CREATE TABLE o.u LIKE o.t", "RENAME TABLE o.u TO o.w, o.t TO o._t_old, o._t_new TO o.t"
        ],
        "gh-ost": ghost,
        "gh-ost in two steps": [
            *ghost[:ghost_swap], "RENAME /* gh-ost */ TABLE o.t TO o._t_del",
            "RENAME /* gh-ost */ TABLE o._t_gho TO o.t",
            *ghost[ghost_swap + 1:],
        ],
    }  # fmt: skip


NO_COPIES = (
    "fewer rows", "emptied meanwhile", "altered meanwhile", "another name", "dropped first", "swapped back",
    "other values", "one other value", "keys exchanged", "another new column", "a moment", "numbers", "another key",
    "changed beside it", "changed behind it", "another one deleted", "beside another table", "gh-ost",
    "gh-ost in two steps",
)  # fmt: skip


ALWAYS = (
    "fewer rows",
    "altered meanwhile",
    "swapped back",
    "one other value",
    "a moment",
    "changed beside it",
    "gh-ost",
)


@pytest.mark.parametrize("case", thinned(NO_COPIES, ALWAYS.__contains__))
def test_what_is_no_copy_is_made_of_the_rows_that_came(
    carrier: Carrier, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    filled(carrier.source)
    carrier.run(*no_copies(carrier)[case])
    carrier.replay(block=len(case), batch_rows=7)
    assert carrier.differences("o") == []
    assert [text for text in caplog.messages if "is made now, of the rows that came for it" in text]
    assert carrier.target.query("SELECT ghosts FROM pydbsync.checkpoint") == [("",)]
    carrier.replay(carrier.run("UPDATE o.t SET v = 'later' WHERE id = 7"))
    assert carrier.differences("o") == []
    assert carrier.target.query("SELECT COUNT(*) FROM pydbsync.copy_rows") == [(0,)]


def test_what_is_made_of_the_rows_that_came_is_made_once_whenever_the_worker_dies(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(carrier.source)
    carrier.source.query(
        "ALTER TABLE o.t DROP PRIMARY KEY, MODIFY id INT"
    )  # a row that came twice would be there twice
    carrier.run(*by_hand_in_the_tool_s_words(carrier.source, "id < 500"))
    source = MemorySource(carrier.messages, block=40)
    died = 0
    while not source.is_drained():
        left = [3 + died % 7]  # what is passed again on the way is passed

        def kill_point(name: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Crash(name)

        monkeypatch.setattr(commits, "kill_point", kill_point)
        monkeypatch.setattr(schema_steps, "kill_point", kill_point)
        with contextlib.suppress(Crash):
            follow_source(
                carrier.target, source, batch_rows=40, source_server=carrier.source_server, lossy_values="off"
            )
            break
        died += 1
        assert died < 100
    assert died > 5
    assert parked(carrier.target) == []
    assert carrier.differences("o") == []


def test_a_copy_that_cannot_be_made_waits_with_all_that_follows(carrier: Carrier) -> None:
    filled(carrier.source)
    statements = by_hand_in_the_tool_s_words(carrier.source, "id < 20")
    carrier.run(*(each for each in statements if not each.startswith("DROP")))
    options: dict[str, Any] = {"source_server": carrier.source_server, "lossy_values": "off"}
    swap = next(place for place, each in enumerate(carrier.messages) if b"RENAME" in each)
    replay(carrier.target, carrier.messages[:swap], **options)
    carrier.target.query("CREATE TABLE o._t_new (id INT PRIMARY KEY, other TEXT)")
    replay(carrier.target, carrier.messages[swap:], **options)
    found = parked(carrier.target)
    assert found[0].kind == "table-create"
    assert {each.behind for each in found[1:]} != {None}
    carrier.target.query("DROP TABLE o._t_new")
    desk = ParkedDesk(settings_for(carrier.target, **options), LOG)
    try:
        assert [outcome.detail for outcome in desk.retry() if not outcome.applied] == []
    finally:
        desk.close()
    assert carrier.differences("o") == []


COPIES = {
    "a column more": ADDED,
    "other types": "ADD c INT, MODIFY v TEXT CHARACTER SET utf8mb4, MODIFY n DECIMAL(12,3), MODIFY id BIGINT",
    "other names": "CHANGE v w VARCHAR(80), CHANGE id number BIGINT AUTO_INCREMENT, ADD c INT",
    "another key": "MODIFY id INT NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (n, id), DROP KEY u, ADD c INT",
    "constraints": "ADD c INT, ADD CONSTRAINT big CHECK (n >= 0), ADD FOREIGN KEY (n) REFERENCES p (id)",
    "generated": "ADD c INT, ADD twice BIGINT AS (n * 2) STORED, ADD UNIQUE (twice)",
}


@pytest.mark.parametrize("case", thinned(COPIES, ("a column more", "other types", "other names").__contains__))
def test_a_copy_whose_rows_are_those_of_the_table_is_one(carrier: Carrier, case: str) -> None:
    filled(carrier.source)
    carrier.source.query("CREATE TABLE o.p (id INT PRIMARY KEY) SELECT n AS id FROM o.t")
    changes = [
        "UPDATE o.t SET v = 'late' WHERE n < 50",
        "UPDATE o._t_new SET v = 'late' WHERE n < 50",
        "DELETE FROM o.t WHERE n = 60",
        "DELETE FROM o._t_new WHERE n = 60",
    ]
    statements = before_the_swap(with_as_many_rows(carrier.source, altered=COPIES[case]), *changes)
    if case == "other names":
        for before, after in (
            ("(id, v, n) SELECT", "(number, w, n) SELECT"),
            ("_new SET v", "_new SET w"),
            ("_new WHERE id", "_new WHERE number"),
            ("c = 8 WHERE id", "c = 8 WHERE number"),
        ):
            statements = [each.replace(before, after) for each in statements]
    carrier.run(*statements)
    carrier.replay(batch_rows=7)
    assert carrier.differences("o") == []
    assert not [sql for sql in statements_run(carrier.target) if sql.startswith("CREATE") and "_t_new" in sql]
    left = carrier.target.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'pydbsync'")
    assert not [name for (name,) in left if name.startswith(("copied_", "altered_"))]


SHARDS: dict[str, Any] = {
    "db_corpmod": 0,
    "sharding": {"databases": ["o"], "column": "n", "modulo": 3, "instances": 1},
}


def in_shards(carrier: Carrier) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The rows that the shards are to have, and those that they have, each with its shard."""
    wanted = []
    for row in carrier.source.query("SELECT n, t.* FROM o.t"):
        shards = [row[0] % 3] if row[0] else [0, 1, 2]
        wanted += [(f"o{shard}", *row[1:]) for shard in shards]
    databases = [name for name in carrier.target.databases() if name.startswith("o")]
    assert len(databases) == 3
    found = [row for name in databases for row in carrier.target.query(f"SELECT '{name}', t.* FROM {name}.t")]
    return sorted(wanted, key=str), sorted(found, key=str)


@pytest.mark.parametrize("point", ["after-ddl", "after-schema-step"])
def test_a_copy_is_one_also_for_a_worker_that_died_behind_its_change(
    carrier: Carrier, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """The first shard is altered already: its rows are no more as the copy began with them."""
    filled(carrier.source)
    carrier.run(*with_as_many_rows(carrier.source))
    swap = next(place for place, each in enumerate(carrier.messages) if b"RENAME" in each)
    carrier.replay(carrier.messages[:swap], **SHARDS)

    def kill_point(name: str) -> None:
        if name == point:
            raise Crash(name)

    source = MemorySource(carrier.messages[swap:])
    options: dict[str, Any] = {"source_server": carrier.source_server, "lossy_values": "off", **SHARDS}
    with monkeypatch.context() as dying:
        for module in (commits, schema_steps):
            dying.setattr(module, "kill_point", kill_point)
        with pytest.raises(Crash):
            follow_source(carrier.target, source, **options)
    follow_source(carrier.target, source, **options)
    wanted, found = in_shards(carrier)
    assert found == wanted
    assert "is made now, of the rows that came for it" not in caplog.text


@pytest.mark.parametrize("case", ["a copy", "one other value", "fewer rows", "moved between shards"])
def test_the_copy_of_a_sharded_table_is_compared_in_each_shard(
    carrier: Carrier, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    filled(carrier.source)
    statements = {
        "a copy": with_as_many_rows(carrier.source),
        "one other value": with_as_many_rows(carrier.source, "id, IF(id = 599, 'Row 598', v), n"),
        "fewer rows": by_hand_in_the_tool_s_words(carrier.source, "id < 500"),
        "moved between shards": before_the_swap(
            with_as_many_rows(carrier.source),
            *(f"UPDATE o.{name} SET n = n + 1000 WHERE id = 77" for name in ("t", "_t_new")),
            "UPDATE o._t_new SET n = n + 5000 WHERE id = 599",
        ),
    }[case]
    carrier.run(*statements)
    carrier.replay(batch_rows=7, **SHARDS)
    wanted, found = in_shards(carrier)
    assert found == wanted
    assert ("is made now, of the rows that came for it" in caplog.text) == (case != "a copy")
    assert "were not compared" not in caplog.text


def test_the_copy_of_a_table_that_another_server_feeds_too_is_named(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    """Whose rows the table has is not known: those that came need not be as many."""
    filled(carrier.source)
    carrier.run(*with_as_many_rows(carrier.source))
    swap = next(place for place, each in enumerate(carrier.messages) if b"RENAME" in each)
    carrier.replay(carrier.messages[:swap], stream="q0")
    other = Binlog(base="other", server_id=99)
    carrier.replay(other.transaction(insert("o.t", {"id": 9000, "v": "of another", "n": 9000})), stream="q1")
    carrier.replay(carrier.messages[swap:], stream="q0")
    assert "rows which o._t_new lacks cannot be told from theirs: verify it" in caplog.text
    assert carrier.target.query("SELECT COUNT(*), SUM(c = 7), SUM(c = 8) FROM o.t") == [(ROWS + 1, ROWS, 1)]


MERGED: dict[str, Any] = {"dbname_rewrite": {"o": "p", "o2": "p"}}


@pytest.mark.parametrize("case", ["a copy", "one other value", "more rows", "altered for another source"])
def test_the_rows_of_a_merged_table_s_copy_are_compared(
    carrier: Carrier, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    """All that came for it, and not what it may lack: the others are rows of another source, for all that is known."""
    filled(carrier.source)
    another = "INSERT INTO o2.t VALUES (9000, 'of another', 9000)"
    carrier.run("CREATE DATABASE o2", CREATE.replace("o.t", "o2.t"), another)
    statements = {
        "a copy": with_as_many_rows(carrier.source),
        "one other value": with_as_many_rows(carrier.source, "id, IF(id = 599, 'Row 598', v), n"),
        "more rows": before_the_swap(
            with_as_many_rows(carrier.source), "INSERT INTO o._t_new (id, v, n) VALUES (700, 'a', 700), (701, 'b', 701)"
        ),
        "altered for another source": [f"ALTER TABLE o2.t {ADDED}", *with_as_many_rows(carrier.source)],
    }[case]
    carrier.run(*statements)
    options = {"source_server": carrier.source_server, "lossy_values": "off", **MERGED}
    replay(carrier.target, carrier.messages, batch_rows=7, **options)
    found = parked(carrier.target)
    if case in ("a copy", "altered for another source"):
        assert found == []
        told = "lacks cannot be told from theirs" if case == "a copy" else "cannot be compared with those of p.t"
        assert told in caplog.text
        assert carrier.target.query("SELECT COUNT(*), SUM(c = 7), SUM(c = 8) FROM p.t") == [(ROWS + 1, ROWS, 1)]
    else:
        assert "o._t_new takes the place of o.t, but it is no copy of it" in found[0].reason
        assert ("Row" not in found[0].reason, found[0].kind) == (True, "table-alter")


def test_rows_of_a_copy_whose_beginning_was_not_seen_are_named(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    filled(carrier.source)
    carrier.run(*gh_ost("o.")[:10])
    with caplog.at_level("WARNING", LOG.name):
        carrier.replay([each for each in carrier.messages if b"_t_gho" not in each or b'"sql"' not in each])
    assert caplog.text.count("rows of o._t_gho are left out: by its name it is the copy") == 1


BY_HAND = {
    "like": "CREATE TABLE o._t_new LIKE o.t",
    "columns": "CREATE TABLE `o`.`_t_new` (`id` INT AUTO_INCREMENT PRIMARY KEY, `v` VARCHAR(40), `n` INT)",
    "like a ghost": "CREATE TABLE `o`.`_t_gho` LIKE `o`.`t`",
}


@pytest.mark.parametrize("create", BY_HAND.values(), ids=BY_HAND)
def test_a_migration_by_hand_is_replayed_as_it_was_made(carrier: Carrier, create: str) -> None:
    new = "_t_gho" if "_gho" in create else "_t_new"
    filled(carrier.source)
    carrier.run(
        create,
        f"ALTER TABLE o.{new} ADD c INT",
        f"INSERT INTO o.{new} (id, v, n) SELECT id, UPPER(v), n FROM o.t WHERE id < 300",
        f"RENAME TABLE o.t TO o._t_old, o.{new} TO o.t",
        "INSERT INTO o.t (id, v) VALUES (100000, 'after')",
    )
    carrier.replay()
    assert carrier.differences("o") == []
    back = carrier.run(f"RENAME TABLE o.t TO o.{new}, o._t_old TO o.t", "UPDATE o.t SET v = 'back' WHERE id = 400")
    carrier.replay(back)
    assert carrier.differences("o") == []


def test_the_rows_of_a_copy_go_by_the_overrides_of_the_real_table(carrier: Carrier) -> None:
    """Made LIKE it, the copy has the target's own types, where a text may stand for bytes."""
    carrier.run("CREATE DATABASE o")
    carrier.replay()
    carrier.target.query("CREATE TABLE o.t (id INT PRIMARY KEY, at DATETIME, b TEXT)")
    carrier.source.query("CREATE TABLE o.t (id INT PRIMARY KEY, at TIMESTAMP NULL, b BLOB)")
    carrier.run()  # the target has it already
    rows = "(1, '2020-01-01 10:00:00', 'a'), (2, '2020-01-01 10:00:00', 'b')"
    found = carrier.run(
        "SET time_zone = '+00:00'", f"INSERT INTO o.t VALUES {rows}", "CREATE TABLE o._t_new LIKE o.t",
        "INSERT INTO o._t_new SELECT * FROM o.t", "RENAME TABLE o.t TO o._t_old, o._t_new TO o.t",
        "INSERT INTO o.t VALUES (3, '2020-01-01 10:00:00', 'c')",
    )  # fmt: skip
    named = {"timestamp_columns": {"o": {"t": ["at"]}}, "binary_columns": {"o": {"t": ["b"]}}}
    carrier.replay(found, timestamp_offset="+01:00", **named)
    expected = [("11:00:00", "a"), ("11:00:00", "b"), ("11:00:00", "c")]
    assert [(str(at)[-8:], b) for at, b in carrier.target.query("SELECT at, b FROM o.t ORDER BY id")] == expected
