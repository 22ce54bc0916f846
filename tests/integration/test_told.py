"""Tools tell how far they are in the state schema, all in one way; where they cannot, they work as ever."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.errors import OperationError, Stopped, TransientError
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.read import read_status
from pydbsync.ops.told import telling
from tests.integration.engine import settings_for
from tests.processes import wait_for
from tests.servers import Endpoint


@pytest.fixture
def settings(fresh_target: Endpoint) -> Settings:
    connection = Connection(fresh_target.db_info)
    ensure_state_schema(connection, "pydbsync")
    connection.close()
    return settings_for(fresh_target, state_interval_s=0.05)


def tasks(target: Endpoint, *columns: str) -> list[tuple[Any, ...]]:
    return list(target.query(f"SELECT {', '.join(columns)} FROM pydbsync.task ORDER BY id"))


def test_a_run_is_seen_while_it_works_and_behind_its_end(fresh_target: Endpoint, settings: Settings) -> None:
    with telling(settings, "copy", name="sync") as told:
        told.row.done, told.row.total = 10, 100
        told.says("copying")
        columns = ("kind", "name", "state", "done", "total", "detail", "ended_at IS NULL")
        wait_for(
            lambda: tasks(fresh_target, *columns) == [("copy", "sync", "running", 10, 100, "copying", 1)], what="it"
        )
        told.row.done = 50
        wait_for(lambda: tasks(fresh_target, "per_s > 0") == [(1,)], what="a rate")
        told.row.result = "3 of 3 tables"
    assert tasks(fresh_target, "state", "done", "result", "exit_code", "ended_at IS NULL") == [
        ("done", 50, "3 of 3 tables", 0, 0)
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationError("no such table"), ("failed", 2, "no such table", "do what the sentence says%")),
        (TransientError("it is away"), ("failed", 2, "it is away", "see that the server answers%")),
        (Stopped("stopped"), ("stopped", 0, None, None)),
        (typer.Exit(1), ("done", 1, None, None)),
        (ZeroDivisionError("x"), ("failed", 70, "ZeroDivisionError: x", "report it%")),
    ],
    ids=str,
)
def test_how_it_ended_is_told(
    fresh_target: Endpoint, settings: Settings, error: Exception, expected: tuple[Any, ...]
) -> None:
    with pytest.raises(type(error)), telling(settings, "verify"):
        raise error
    *told, remedy = expected
    assert tasks(fresh_target, "state", "exit_code", "last_error") == [tuple(told)]
    wanted = "remedy IS NULL" if remedy is None else f"remedy LIKE '{remedy}'"
    assert tasks(fresh_target, wanted) == [(1,)]
    status = read_status(settings)
    judge(status)
    assert any(str(remedy).strip("%") in each for each in status.todo) is (remedy is not None)


def test_without_a_state_schema_nothing_is_made_and_nothing_fails(
    fresh_target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with telling(settings_for(fresh_target, state_interval_s=0.05), "verify"):
        pass
    assert fresh_target.databases() == []
    with telling(settings_from_mapping({"log_file_prefix": ""}, require=())[0], "capture"):
        pass
    assert caplog.records == []
