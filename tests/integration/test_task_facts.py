"""What the tools have written is read as it is: the newest run of each, and one that died apart from one that works."""

from __future__ import annotations

import logging

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.config.settings import settings_from_mapping
from pydbsync.process.task_facts import TaskFacts, read_retention
from tests.processes import wait_for
from tests.servers import Endpoint

INSERT = "INSERT INTO pydbsync.task (kind, name, host, pid, state, written_at, ended_at, exit_code, done) VALUES "


def test_the_newest_run_of_each_tool_is_known(fresh_target: Endpoint) -> None:
    settings, _ = settings_from_mapping(
        {"db_info": fresh_target.db_info, "source_db_info": fresh_target.db_info}, require=()
    )
    facts = TaskFacts(settings, logging.getLogger("test"))
    facts.start()  # before there is a state schema
    try:
        connection = Connection(settings.target.connect_keywords(), key="db_info")
        ensure_state_schema(connection, "pydbsync")
        connection.close()
        now = "CURRENT_TIMESTAMP(6)"
        rows = (
            f"('verify', '', 'h', 1, 'done', {now}, {now}, 1, 10)",
            f"('verify', '', 'h', 2, 'done', {now}, {now}, 0, 11)",
            f"('copy', 'a', 'h', 3, 'running', {now} - INTERVAL 1 HOUR, NULL, NULL, 12)",
            f"('copy', 'b', 'h', 4, 'running', {now}, NULL, NULL, NULL)",
        )
        fresh_target.query(INSERT + ", ".join(rows))
        found = wait_for(lambda: facts.found.tasks, what="the tasks")
        assert [(each.title, each.exit_code, each.done, each.is_running, each.has_failed) for each in found] == [
            ("copy a", None, 12, False, True), ("copy b", None, None, True, False), ("verify", 0, 11, False, False)
        ]  # fmt: skip
        assert found[2].ended_at >= found[2].started_at > 1_700_000_000
        wait_for(lambda: facts.found.retention_s is not None or not retention(fresh_target), what="the retention")
        assert facts.found.retention_s == retention(fresh_target)
    finally:
        facts.close()


def retention(server: Endpoint) -> float | None:
    connection = Connection(server.db_info, key="db_info")
    try:
        return read_retention(connection)
    finally:
        connection.close()


def test_days_and_seconds_of_retention_are_the_same_thing(fresh_target: Endpoint) -> None:
    names = dict(fresh_target.query("SHOW GLOBAL VARIABLES LIKE '%%expire\\_logs\\_%%'"))
    name = "binlog_expire_logs_seconds" if "binlog_expire_logs_seconds" in names else "expire_logs_days"
    unit = 1 if name == "binlog_expire_logs_seconds" else 86_400
    try:
        fresh_target.query(f"SET GLOBAL {name} = {172_800 // unit}")
        assert retention(fresh_target) == 172_800
        fresh_target.query(f"SET GLOBAL {name} = 0")
        assert retention(fresh_target) is None
    finally:
        fresh_target.query(f"SET GLOBAL {name} = {names[name].partition('.')[0]}")
