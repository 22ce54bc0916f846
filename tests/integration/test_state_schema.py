"""The state schema: every earlier form is brought up to date, a newer one is left alone, whatever happens meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import check_state_version, ensure_state_schema
from pydbsync.apply.table_start import TableStart
from pydbsync.apply.tables.migrations import MIGRATIONS, Columns, Migration, RowsChange, Table, newest_version
from pydbsync.config.settings import settings_from_mapping
from pydbsync.errors import ConfigError
from pydbsync.model import Place
from pydbsync.ops.copy.journal import CopyJournal
from pydbsync.ops.status.read import StateReader
from tests.comparing import run_sql
from tests.integration.engine import replay
from tests.maxwell import Binlog, insert
from tests.servers import Endpoint

SCHEMA = "pydbsync"
UNNUMBERED = Path(__file__).parents[1] / "data/state_schema_1.sql"
"""The tables as they were made before versions were recorded."""
CHECKPOINT = ("checkpoint", "xid", "open_gtid", "server_ids")
NO_MADE = ("copy_made", "late_keys")
OLD_FORMS: dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]] = {
    "replay alone": (
        (
            "stream_origin", "bootstrap", "schema_change_source", "parked_piece", "copy_start", "table_start",
            "copy_run", "copy_table", "copy_chunk", "copy_made", "repair",
        ),
        (CHECKPOINT,),
    ),
    "copies of one snapshot": (
        ("stream_origin", "bootstrap", "schema_change_source", "parked_piece", "copy_made", "repair"),
        (CHECKPOINT, ("copy_run", "latest", "before_latest")),
    ),
    "no late keys": (("stream_origin", "schema_change_source"), (CHECKPOINT, NO_MADE)),
}  # fmt: skip
"""Tables and columns that earlier forms did not have."""
PLACE = ("b", 7, 1234, 2)


@pytest.fixture
def connection(fresh_target: Endpoint) -> Iterator[Connection]:
    connection = Connection(fresh_target.db_info)
    yield connection
    connection.close()


def make_old(connection: Connection, form: str) -> None:
    """The form, with one stream that is applied up to PLACE, and a copy that is under way."""
    tables, columns = OLD_FORMS[form]
    connection.execute(f"CREATE DATABASE {SCHEMA} CHARACTER SET utf8mb4")
    connection.use(SCHEMA)
    for statement in UNNUMBERED.read_text(encoding="utf-8").split(";"):
        if statement.strip():
            connection.execute(statement)
    for table in tables:
        connection.execute(f"DROP TABLE {table}")
    for table, *names in columns:
        connection.execute(f"ALTER TABLE {table} {', '.join(f'DROP COLUMN {name}' for name in names)}")
    connection.run(
        "INSERT INTO checkpoint (stream, binlog_base, binlog_file, binlog_offset, xoffset, gtids, ghosts)"
        " VALUES ('memory', %s, %s, %s, %s, '', '')",
        PLACE,
    )
    if "copy_run" not in tables:
        start = msgspec.json.encode(TableStart(base="b", place=Place(1, 2, -1))).decode()
        rest = [name for name in ("latest", "before_latest") if not any(name in each for each in columns)]
        connection.run(
            f"INSERT INTO copy_run (status, options, source, start{''.join(f', {name}' for name in rest)})"
            f" VALUES ('running', '{{}}', '{{}}', %s{', %s' * len(rest)})",
            (start, *[start for _ in rest]),
        )


def shape(connection: Connection) -> set[tuple[Any, ...]]:
    """Every column and key of the state schema, whatever their order."""
    columns = connection.rows(
        "SELECT table_name, column_name, column_type, is_nullable, column_default, collation_name"
        " FROM information_schema.columns WHERE table_schema = %s",
        (SCHEMA,),
    )
    keys = connection.rows(
        "SELECT table_name, index_name, seq_in_index, column_name FROM information_schema.statistics"
        " WHERE table_schema = %s",
        (SCHEMA,),
    )
    return {*columns, *keys}


def versions(connection: Connection) -> list[int]:
    return [int(row[0]) for row in connection.rows(f"SELECT version FROM {SCHEMA}.schema_version ORDER BY version")]


@pytest.mark.parametrize("form", OLD_FORMS)
def test_an_old_schema_becomes_what_a_new_one_is(fresh_target: Endpoint, connection: Connection, form: str) -> None:
    ensure_state_schema(connection, SCHEMA)
    expected = shape(connection)
    connection.execute(f"DROP DATABASE {SCHEMA}")
    make_old(connection, form)
    ensure_state_schema(connection, SCHEMA)
    assert shape(connection) == expected
    assert versions(connection) == [migration.version for migration in MIGRATIONS]
    assert connection.rows("SELECT binlog_base, binlog_file, binlog_offset, xoffset FROM checkpoint") == [PLACE]
    for run in CopyJournal(SCHEMA).running(connection):
        assert (run.start, run.latest) == (TableStart(base="b", place=Place(1, 2, -1)),) * 2
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    assert replay(fresh_target, Binlog().transaction(insert("d.t", {"id": 1}))).applied == 1


class Killed(BaseException):
    """Stands for a kill: no handler of the code catches it."""


def kill_after(connection: Connection, statements: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """End the next run behind so many statements that are not to run again; they are listed."""
    seen: list[str] = []
    execute, run = connection.execute, connection.run

    def count(sql: bytes | str) -> None:
        if len(seen) == statements:
            raise Killed
        if not str(sql).startswith("UPDATE"):  # those run again until their migration is recorded
            seen.append(str(sql))

    def execute_counted(sql: bytes | str) -> int:
        count(sql)
        return execute(sql)

    def run_counted(sql: str, parameters: tuple[object, ...] = ()) -> int:
        count(sql)
        return run(sql, parameters)

    monkeypatch.setattr(connection, "execute", execute_counted)
    monkeypatch.setattr(connection, "run", run_counted)
    return seen


def test_a_kill_between_any_two_statements_is_made_good_by_the_next_start(
    fresh_target: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 0
    expected: set[tuple[Any, ...]] | None = None
    while True:
        # One statement more each time, over what the kill before has left.
        with Opened(fresh_target) as connection:
            if left == 0:
                make_old(connection, "copies of one snapshot")
            with monkeypatch.context() as patch:
                seen = kill_after(connection, 1, patch)
                try:
                    ensure_state_schema(connection, SCHEMA)
                except Killed:
                    left += 1
                    assert len(seen) == 1
                    continue
            expected = shape(connection)
            assert left > 10
        break
    fresh_target.query(f"DROP DATABASE {SCHEMA}")
    with Opened(fresh_target) as connection:
        ensure_state_schema(connection, SCHEMA)
        assert shape(connection) == expected
        assert versions(connection) == [migration.version for migration in MIGRATIONS]


class Opened:
    """A connection that goes with its block, and with it the lock: as that of a process that is killed."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._connection = Connection(endpoint.db_info)

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, *exc: object) -> None:
        self._connection.close()


def test_two_that_start_at_once_make_it_once(fresh_target: Endpoint) -> None:
    barrier = threading.Barrier(4)
    faults: list[BaseException] = []

    def start() -> None:
        with Opened(fresh_target) as connection:
            barrier.wait()
            try:
                ensure_state_schema(connection, SCHEMA)
            except BaseException as exc:
                faults.append(exc)

    threads = [threading.Thread(daemon=True, target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with Opened(fresh_target) as connection:
        assert versions(connection) == [migration.version for migration in MIGRATIONS]


def test_a_newer_schema_is_refused_and_left_as_it_is(fresh_target: Endpoint, connection: Connection) -> None:
    ensure_state_schema(connection, SCHEMA)
    newer = newest_version() + 1
    connection.execute(f"DROP TABLE {SCHEMA}.repair")
    connection.run(
        f"INSERT INTO {SCHEMA}.schema_version (version, says, made_by) VALUES (%s, 'x', 'pydbsync 99')", (newer,)
    )
    before = shape(connection)
    for look in (ensure_state_schema, check_state_version):
        with pytest.raises(ConfigError, match=rf"version {newer}, made by pydbsync 99.*nothing was written") as caught:
            look(connection, SCHEMA)
        assert caught.value.exit_code == 2
    assert shape(connection) == before


def test_with_the_schema_right_no_right_to_change_it_is_needed(fresh_target: Endpoint, connection: Connection) -> None:
    ensure_state_schema(connection, SCHEMA)
    run_sql(
        fresh_target,
        [
            "DROP USER IF EXISTS worker@'%'",
            "CREATE USER worker@'%' IDENTIFIED BY 'worker'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.* TO worker@'%'",
        ],
    )
    limited = Connection({**fresh_target.db_info, "user": "worker", "password": "worker"})
    try:
        ensure_state_schema(limited, SCHEMA)
        connection.execute(f"DELETE FROM {SCHEMA}.schema_version WHERE version > 1")
        connection.execute(f"DROP TABLE {SCHEMA}.task")
        with pytest.raises(ConfigError, match=r"state_schema.*CREATE.*task.*grant the user .*CREATE, ALTER, INDEX"):
            ensure_state_schema(limited, SCHEMA)
    finally:
        limited.close()
        fresh_target.query("DROP USER worker@'%'")


LATER = (
    Migration(1, "One.", (Table("a", "id INT NOT NULL PRIMARY KEY,\nv INT NULL,\nKEY v (v)"),)),
    Migration(
        2,
        "Two.",
        (
            Columns("a", "w INT NOT NULL DEFAULT 3,\nKEY w (w, v)"),
            RowsChange("UPDATE {schema}.a SET w = 5 WHERE w = 3"),
        ),
    ),
)
"""As others will append them."""


def test_a_later_migration_adds_columns_and_keys_and_changes_rows_once(connection: Connection) -> None:
    ensure_state_schema(connection, SCHEMA, LATER[:1])
    connection.execute(f"INSERT INTO {SCHEMA}.a VALUES (1, 1)")
    ensure_state_schema(connection, SCHEMA, LATER)
    assert connection.rows(f"SELECT id, v, w FROM {SCHEMA}.a") == [(1, 1, 5)]
    connection.execute(f"UPDATE {SCHEMA}.a SET w = 3")
    ensure_state_schema(connection, SCHEMA, LATER)
    assert connection.value(f"SELECT w FROM {SCHEMA}.a") == 3
    upgraded = shape(connection)
    connection.execute(f"DROP DATABASE {SCHEMA}")
    ensure_state_schema(connection, SCHEMA, LATER)
    assert shape(connection) == upgraded


def test_a_new_schema_with_all_migrations_needs_no_alter(fresh_target: Endpoint) -> None:
    run_sql(
        fresh_target,
        [
            "DROP USER IF EXISTS maker@'%'",
            "CREATE USER maker@'%' IDENTIFIED BY 'maker'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON {SCHEMA}.* TO maker@'%'",
        ],
    )
    limited = Connection({**fresh_target.db_info, "user": "maker", "password": "maker"})
    try:
        ensure_state_schema(limited, SCHEMA, LATER)
        assert versions(limited) == [1, 2]
    finally:
        limited.close()
        fresh_target.query("DROP USER maker@'%'")


class Asking(StateReader):
    """Keeps what it asks."""

    asked: tuple[str, tuple[object, ...]] = ("", ())

    def _rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        if " GROUP BY " in sql and ".parked" in sql:
            self.asked = (sql.replace("{}", "`pydbsync`"), parameters)
        return super()._rows(sql, parameters)


def test_parked_changes_are_counted_without_reading_one(connection: Connection, fresh_target: Endpoint) -> None:
    """Their messages may be long, and many."""
    ensure_state_schema(connection, "pydbsync")
    columns = "stream, position, kind, source_database, source_table, target_database, row_keys, is_whole_table, reason"
    values = ", ".join(f"('{'s' if n % 2 else 'o'}', '{n}', 'insert', 'd', 't{n % 3}', 'd', '', 0, 'r', 1062, '{{}}')"
                       for n in range(3000))  # fmt: skip
    connection.execute(f"INSERT INTO pydbsync.parked ({columns}, code, message) VALUES {values}")
    reader = Asking(connection, settings_from_mapping({"db_info": fresh_target.db_info}, require=())[0])
    (found,) = [queue for queue in reader.queues([]) if queue.stream == "s"]
    assert {(group.table, group.count) for group in found.parked} == {("d.t0", 500), ("d.t1", 500), ("d.t2", 500)}
    sql, parameters = reader.asked
    plan = str(connection.value(f"EXPLAIN FORMAT=JSON {sql}", parameters))
    assert '"counts"' in plan
    assert '"using_index": true' in plan or '"covering": true' in plan  # the second since MySQL 9
