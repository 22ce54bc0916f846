"""The comparison of states: a server that ran a case's statements is equal to its record, and nothing else is."""

from __future__ import annotations

import pymysql
import pytest

from tests.corpus import Case, cases
from tests.servers import Endpoint
from tests.state import State, compare

READS_THE_CLOCK = {"06-temporal", "15-generated-defaults", "20-ddl-alter"}
NEEDS_MAXWELL = {"30-bootstrap"}
REPEATABLE = [case for case in cases("mariadb") if case.name not in READS_THE_CLOCK | NEEDS_MAXWELL]
KEYS = next(case for case in REPEATABLE if case.name == "12-keys")

pytestmark = pytest.mark.mariadb


def run_statements(source: Endpoint, case: Case) -> None:
    with source.connect() as connection, connection.cursor() as cursor:
        for sql, succeeds in case.statements:
            if succeeds:
                cursor.execute(sql)
            else:
                with pytest.raises(pymysql.Error):
                    cursor.execute(sql)


@pytest.mark.parametrize("case", REPEATABLE, ids=str)
def test_statements_of_a_case_lead_to_its_recorded_state(fresh_source: Endpoint, case: Case) -> None:
    run_statements(fresh_source, case)
    with fresh_source.connect() as connection:
        assert compare(connection, case.state) == []


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("DELETE FROM {table} LIMIT 1", "missing 1 x"),
        ("ALTER TABLE {table} ADD COLUMN extra INT", "columns: unexpected ['extra', 'int', True]"),
        ("CREATE INDEX extra ON {table} ({column})", "indexes: unexpected ['extra', False,"),
        ("DROP TABLE {table}", "{name}: missing"),
        ("CREATE TABLE {database}.extra (a INT)", "extra: should not exist"),
        ("DROP DATABASE {database}", "{database}: does not exist"),
    ],
)
def test_a_difference_is_named(fresh_source: Endpoint, statement: str, complaint: str) -> None:
    run_statements(fresh_source, KEYS)
    database, tables = next(iter(KEYS.state.items()))
    assert tables
    table, content = next((name, content) for name, content in tables.items() if content["rows"])
    names = {
        "database": database,
        "name": f"{database}.{table}",
        "table": f"`{database}`.`{table}`",
        "column": content["columns"][0][0],
    }
    fresh_source.query("SET STATEMENT foreign_key_checks = 0 FOR " + statement.format(**names))
    with fresh_source.connect() as connection:
        found = compare(connection, KEYS.state)
    assert any(complaint.format(**names) in line for line in found), found


def test_another_name_of_a_database_is_no_difference(fresh_source: Endpoint) -> None:
    fresh_source.query("CREATE DATABASE other")
    with fresh_source.connect() as connection:
        state: State = {"shop": {}, "gone": None}
        assert compare(connection, state) == ["shop: does not exist"]
        assert compare(connection, state, renamed={"shop": "other"}) == []
