"""Rows of a bootstrap have no place in the stream: whatever comes again, the table ends as the source's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pydbsync.source.memory import MemorySource
from tests.integration.engine import follow_source, parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state


@pytest.fixture
def tables(fresh_target: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("CREATE DATABASE d", "d")
    for name in ("t", "other"):
        messages += binlog.ddl(f"CREATE TABLE {name} (id INT PRIMARY KEY, v INT)", f"d.{name}", columns=["id", "v"])
    replay(fresh_target, messages)


def rows(target: Endpoint) -> Sequence[tuple[Any, ...]]:
    return target.query("SELECT * FROM d.t ORDER BY id")


@pytest.mark.usefixtures("tables")
def test_what_follows_a_bootstrap_that_comes_again_is_made_again(fresh_target: Endpoint, binlog: Binlog) -> None:
    messages = binlog.bootstrap("d.t", [{"id": n, "v": 1} for n in range(4)])
    messages += binlog.each([update("d.t", {"id": 1, "v": 2}, {"v": 1}), delete("d.t", {"id": 2, "v": 1})])
    messages += binlog.each([update("d.t", {"id": 9, "v": 1}, {"id": 3}), insert("d.other", {"id": 1, "v": 1})])
    expected = [(0, 1), (1, 2), (9, 1)]
    replay(fresh_target, messages)
    assert rows(fresh_target) == expected
    status = replay(fresh_target, messages)
    assert rows(fresh_target) == expected
    assert status.duplicates == 1, "the row of the table that had no bootstrap"
    # a part of it comes again, as after a crash between commit and acknowledgement
    replay(fresh_target, messages[2:])
    assert rows(fresh_target) == expected


@pytest.mark.usefixtures("tables")
def test_changes_that_maxwell_held_back_during_a_bootstrap_are_applied(fresh_target: Endpoint, binlog: Binlog) -> None:
    held = binlog.each([insert("d.t", {"id": 7, "v": 1}), update("d.t", {"id": 0, "v": 5}, {"v": 1})])
    meanwhile = binlog.each([insert("d.other", {"id": n, "v": 1}) for n in range(3)])
    bootstrap = binlog.bootstrap("d.t", [{"id": 0, "v": 1}])
    replay(fresh_target, bootstrap[:-1] + meanwhile + bootstrap[-1:] + held)
    assert rows(fresh_target) == [(0, 5), (7, 1)]
    assert fresh_target.query("SELECT COUNT(*) FROM d.other") == [(3,)]


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("cut", range(1, 9))
def test_a_restart_anywhere_in_a_bootstrap_loses_nothing_of_what_was_held_back(
    fresh_target: Endpoint, binlog: Binlog, cut: int
) -> None:
    held = binlog.each([insert("d.t", {"id": 7, "v": 1}), update("d.t", {"id": 0, "v": 5}, {"v": 1})])
    meanwhile = binlog.each([insert("d.other", {"id": n, "v": 1}) for n in range(3)])
    bootstrap = binlog.bootstrap("d.t", [{"id": 0, "v": 1}])
    messages = bootstrap[:-1] + meanwhile + bootstrap[-1:] + held
    replay(fresh_target, messages[:cut])
    replay(fresh_target, messages[cut:])
    assert rows(fresh_target) == [(0, 5), (7, 1)]


@pytest.mark.usefixtures("tables")
def test_a_bootstrap_is_over_with_the_first_newer_change_of_its_table(fresh_target: Endpoint, binlog: Binlog) -> None:
    unfinished = "SELECT stream, source_table FROM pydbsync.bootstrap"
    later = binlog.bootstrap("d.t", [{"id": 0, "v": 1}])
    replay(fresh_target, later)
    assert fresh_target.query(unfinished) == [("memory", "t")]
    replay(fresh_target, binlog.each([insert("d.other", {"id": 1, "v": 1})]))
    assert fresh_target.query(unfinished) == [("memory", "t")]
    replay(fresh_target, binlog.each([insert("d.t", {"id": 1, "v": 1})]))
    assert fresh_target.query(unfinished) == []


def test_what_was_held_back_of_a_table_without_a_key_is_named(
    fresh_target: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    messages = binlog.ddl("CREATE DATABASE d", "d") + binlog.ddl("CREATE TABLE t (id INT, v INT)", "d.t")
    messages += binlog.ddl("CREATE TABLE other (id INT)", "d.other")
    held = binlog.each([insert("d.t", {"id": 1, "v": 1}), insert("d.t", {"id": 2, "v": 1})])
    messages += binlog.bootstrap("d.t", [{"id": 0, "v": 1}]) + binlog.each([insert("d.other", {"id": 1})])
    replay(fresh_target, messages + held)
    messages_of_keys = [record for record in caplog.records if "has no key" in record.getMessage()]
    warnings = [record.getMessage() for record in messages_of_keys if record.levelname == "WARNING"]
    assert len(warnings) == 1, warnings
    assert "d.t" in warnings[0]
    assert "compare" in warnings[0]


def test_a_table_without_a_key_gets_no_second_copy_of_what_was_applied(fresh_target: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("CREATE DATABASE d", "d") + binlog.ddl("CREATE TABLE t (id INT, v INT)", "d.t")
    messages += binlog.bootstrap("d.t", [{"id": 0, "v": 1}])
    changes = binlog.each([insert("d.t", {"id": 1, "v": 1})])
    replay(fresh_target, messages + changes)
    follow_source(fresh_target, MemorySource(changes, stream="memory"))
    assert rows(fresh_target) == [(0, 1), (1, 1)]


@pytest.mark.usefixtures("tables")
def test_a_parked_change_behind_a_bootstrap_is_parked_once(fresh_target: Endpoint, binlog: Binlog) -> None:
    messages = binlog.bootstrap("d.t", [{"id": 0, "v": 1}])
    messages += binlog.each([insert("d.t", {"id": 1, "v": 2**40}), update("d.t", {"id": 1, "v": 3}, {"v": 2**40})])
    for _ in range(2):
        replay(fresh_target, messages, batch_rows=1, block=1)
        assert len(parked(fresh_target)) == 2
        assert rows(fresh_target) == [(0, 1)]
