"""Copy of all that the recorded cases leave at a source: all types, keys, names and kinds of tables, in one run."""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
import pytest

from tests.comparing import settings_for
from tests.conftest import LEG
from tests.corpus import Brand, cases, lossy_cases
from tests.integration.copying import OWN, copy, state_differences, unequal
from tests.matrices import LONG
from tests.servers import Endpoint

BRAND: Brand = "mysql" if LEG == "mysql" else "mariadb"
FOREIGN_ONLY = ["c_text.g18"]
"""MariaDB has no character set gb18030."""


@pytest.fixture(scope="module")
def databases(source: Endpoint) -> Iterator[list[str]]:
    """What all cases of the leg's brand leave at the source."""
    if source.server:
        source.server.start()
    source.drop_databases()
    with source.connect() as connection, connection.cursor() as cursor:
        for case in (*cases(BRAND), *lossy_cases(BRAND)):
            for statement, succeeds in case.statements:
                try:
                    cursor.execute(statement)
                except pymysql.Error:
                    assert not succeeds or "maxwell.bootstrap" in statement
    found = [name for name in source.databases() if name not in OWN]
    assert {name for case in cases(BRAND) for name, tables in case.state.items() if tables is not None} <= set(found)
    yield found
    source.drop_databases()


@pytest.mark.parametrize("way", ["load", pytest.param("insert", marks=LONG)])
def test_a_copy_of_all_cases_is_equal(source: Endpoint, fresh_target: Endpoint, databases: list[str], way: str) -> None:
    fresh_target.query(f"SET GLOBAL local_infile = {int(way == 'load')}")
    settings = settings_for(source, fresh_target)
    report = copy(settings, loading=way)
    ((count,),) = source.query(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_type <> 'VIEW' AND table_schema IN"
        f" ({', '.join(['%s'] * len(databases))})",
        *databases,
    )
    assert len(report.tables) == count
    assert {table.state for table in report.tables} == {"done"}
    assert state_differences(source, fresh_target, databases) == []
    if way == "load":  # byte by byte, where the state reads text as utf8mb4
        assert unequal(settings) == {}


def test_a_copy_of_all_cases_to_the_other_brand_is_equal(
    mysql_source: Endpoint, databases: list[str], mariadb: Endpoint
) -> None:
    if mariadb.server:
        mariadb.server.start()
    mariadb.drop_databases()
    settings = settings_for(mysql_source, mariadb, exclude=FOREIGN_ONLY)
    report = copy(settings)
    assert {table.state for table in report.tables} == {"done"}
    assert unequal(settings) == {}
