"""The session in which a schema change runs: what the statement was written for, and afterwards that of rows again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydbsync.apply.connection import ROW_SQL_MODE, SCHEMA_SQL_MODE, Connection
from pydbsync.errors import PermanentError
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.session import Variable

_DENIED = (1193, 1227, 1231, 1238, 1273, 1298, 1649)
"""Unknown variable, no right to it, a value that it does not take, read-only, unknown collation, time zone, locale."""


@contextmanager
def session_of(connection: Connection, planned: PlannedSchemaChange) -> Iterator[None]:
    """Inside, the session is what the statement was written for.

    Raises PermanentError where the target does not take a setting that the statement depends on.
    """
    wanted = planned.variables or (
        Variable("sql_mode", SCHEMA_SQL_MODE, matters=True),
        Variable("timestamp", planned.ts, matters=True),
    )
    try:
        for variable in wanted:
            _set(connection, variable)
        yield
    finally:
        if connection.is_open():
            connection.execute(f"SET SESSION sql_mode = '{ROW_SQL_MODE}', timestamp = DEFAULT, time_zone = '+00:00'")
            for name in BACK_TO_DEFAULT.intersection(variable.name for variable in wanted):
                connection.execute(f"SET SESSION {name} = DEFAULT")
            if any(variable.name == "collation_connection" for variable in wanted):
                connection.execute("SET NAMES utf8mb4")
            if any(variable.name == _RESTRICTED for variable in wanted):
                _reset(connection)


BACK_TO_DEFAULT = frozenset({
    "auto_increment_increment", "auto_increment_offset", "lc_time_names", "default_week_format",
    "div_precision_increment", "old_mode",
})  # fmt: skip
"""Rows do not depend on these."""
_RESTRICTED = "explicit_defaults_for_timestamp"
"""MySQL lets only some users set it, MariaDB before 10.8.2 none."""


def _set(connection: Connection, variable: Variable) -> None:
    name = variable.name
    if name == _RESTRICTED and int(connection.value(f"SELECT @@SESSION.{name}")) == variable.value:
        return
    try:
        connection.run(f"SET SESSION {name} = %s", (variable.value,))
    except PermanentError as exc:
        if exc.code not in _DENIED:
            raise
        if variable.otherwise:
            connection.run(f"SET SESSION {name} = %s", (variable.otherwise,))
        elif variable.matters:
            raise PermanentError(
                f"the statement depends on {name} = {variable.value} of the source's session, which the target does not"
                f" take: {exc}",
                code=exc.code,
            ) from exc


def _reset(connection: Connection) -> None:
    default = connection.value(f"SELECT @@GLOBAL.{_RESTRICTED}")
    if connection.value(f"SELECT @@SESSION.{_RESTRICTED}") != default:
        connection.run(f"SET SESSION {_RESTRICTED} = %s", (default,))
