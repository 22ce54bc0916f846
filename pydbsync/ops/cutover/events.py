"""Events, which run at exactly one of the two servers at any time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError
from pydbsync.model import TableName
from pydbsync.ops.servers import Server
from pydbsync.plan.quoting import quote_name, quote_table

_NO_SUCH_EVENT = 1539
_OVER = 1544
"""A one-time event whose moment has gone by meanwhile: the server would drop it at once."""
_NO_RIGHT_TO_DEFINER = 1227


def enabled_events(server: Server, settings: Settings) -> list[list[str]]:
    """(database, event) of those that run at the direction's source, of the databases that take part."""
    router = router_from(settings)
    return [
        [str(database), str(event)]
        for database, event in server.rows(
            "SELECT event_schema, event_name FROM information_schema.events WHERE status = 'ENABLED'"
            " ORDER BY event_schema, event_name"
        )
        if str(database) not in SYSTEM_DATABASES and router.filters.takes_database(str(database))
    ]


def events_there(events: Iterable[Sequence[str]], settings: Settings) -> list[list[str]]:
    """The same as the direction's target calls them."""
    router = router_from(settings)
    return [[there, event] for database, event in events for there in router.databases(database)]


def disable_events(server: Server, events: Iterable[Sequence[str]]) -> None:
    """None of them runs any more. One that has gone meanwhile is none."""
    _alter(server, events, "DISABLE")


def enable_events(server: Server, events: Iterable[Sequence[str]]) -> list[TableName]:
    """They run; those that the server does not have, or whose time has gone by."""
    return _alter(server, events, "ENABLE")


def _alter(server: Server, events: Iterable[Sequence[str]], how: str) -> list[TableName]:
    missing = []
    for database, event in events:
        name = TableName(database, event)
        try:
            server.call(lambda connection, name=name: _alter_one(connection, name, how))  # type: ignore[misc]
        except ApplyError as exc:
            if exc.code not in (_NO_SUCH_EVENT, _OVER):
                raise
            missing.append(name)
    return missing


def _alter_one(connection: Connection, name: TableName, how: str) -> None:
    # ALTER EVENT makes whoever calls it the definer, as whom the event runs from then on.
    definer = connection.value(
        "SELECT definer FROM information_schema.events WHERE event_schema = %s AND event_name = %s", name
    )
    user, at, host = str(definer or "").rpartition("@")
    if at:
        try:
            connection.execute(f"ALTER DEFINER = {quote_name(user)}@{quote_name(host)} EVENT {quote_table(name)} {how}")
        except ApplyError as exc:
            if exc.code != _NO_RIGHT_TO_DEFINER:
                raise
        else:
            return
    connection.execute(f"ALTER EVENT {quote_table(name)} {how}")
