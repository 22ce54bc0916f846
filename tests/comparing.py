"""Runs of verify and repair in this process, for tests that look at their reports."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.ops.verify.report import RowDifference, TableReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.ops.verify.settle import SettleOptions
from tests.servers import Endpoint

QUICK = SettleOptions(blind_pause_s=0.01, pause_s=0.01, stall_s=0.3)
"""For servers at rest: there is nothing to wait for."""
LOG = logging.getLogger("tests.comparing")


def settings_for(source: Endpoint, target: Endpoint, **options: Any) -> Settings:
    """Settings of a comparison; `options` are keys of config.py."""
    given = {"db_info": target.db_info, "source_db_info": source.db_info, "log_file_prefix": "", **options}
    return settings_from_mapping(given, require=())[0]


def compare(
    settings: Settings,
    *,
    on_progress: Callable[[TableReport], None] = lambda table: None,
    stop: threading.Event | None = None,
    **options: Any,
) -> dict[str, TableReport]:
    """The reports of all tables by the target's name, which ran to their end."""
    chosen = VerifyOptions(**{"settle": QUICK, **options})
    verification = Verification(settings, chosen, stop=stop or threading.Event(), log=LOG, on_progress=on_progress)
    report = verification.run()
    assert report.finished_at or stop is not None
    return {str(table.target): table for table in report.tables}


def run_sql(endpoint: Endpoint, statements: str | Iterable[str], *, database: str | None = None) -> None:
    """Run statements, separated by `;` at the end of a line, in a session that takes zero dates and checks no keys."""
    parts = statements.split(";\n") if isinstance(statements, str) else list(statements)
    with endpoint.connect(database=database) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0")
        for part in parts:
            if part.strip():
                cursor.execute(part)


def on_both(source: Endpoint, target: Endpoint, statements: str, *, database: str = "shop") -> None:
    """Run the same on both servers, in a database that is made for it."""
    for endpoint in (source, target):
        endpoint.query(f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        run_sql(endpoint, statements, database=database)


def found(table: TableReport) -> list[tuple[str, Any, Any]]:
    """(kind, the source's values by column, the target's) of each difference, sorted; equal values are left out."""
    return sorted((_short(difference, table) for difference in table.differences), key=repr)


def _short(difference: RowDifference, table: TableReport) -> tuple[str, Any, Any]:
    source, target = difference.source, difference.target
    names = [
        name
        for index, name in enumerate(table.columns)
        if name in table.key or source is None or target is None or source[index] != target[index]
    ]
    at_source, at_target = (
        None if values is None else {name: values[table.columns.index(name)] for name in names}
        for values in (source, target)
    )
    return difference.kind, at_source, at_target
