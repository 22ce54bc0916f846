"""Programs of the source that its user may not see, said so that nobody takes them for absent."""

from __future__ import annotations

from collections.abc import Iterable

from pydbsync.apply.connection import Connection
from pydbsync.ops.copy.definitions import Inventory
from pydbsync.ops.doctor.grants import Grants, own_grants

_SHOW_ROUTINES = ("EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE")
_MOST = 5


def hidden_programs(source: Connection, inventory: Inventory) -> list[str]:
    """The kinds of programs that may be there unseen, a sentence each."""
    grants = own_grants(source)
    databases = sorted(inventory.databases)
    return [
        *_said("triggers", "TRIGGER", {name.database for name in inventory.tables if not grants.has("TRIGGER", *name)}),
        *_said("events", "EVENT", {name for name in databases if not grants.has("EVENT", name)}),
        *_said(
            "procedures and functions",
            "SELECT on mysql.proc" if source.dialect.is_mariadb else "SHOW_ROUTINE",
            {name for name in databases if not _shows_routines(grants, name, is_mariadb=source.dialect.is_mariadb)},
        ),
    ]


def _shows_routines(grants: Grants, database: str, *, is_mariadb: bool) -> bool:
    """Of some of these rights MySQL shows the names alone, and what cannot be read is named then."""
    if is_mariadb:
        shows_all = grants.has("SELECT", "mysql", "proc")
    else:
        shows_all = grants.has("SHOW_ROUTINE") or grants.has("SELECT")
    return shows_all or any(grants.has(right, database) for right in _SHOW_ROUTINES)


def _said(kind: str, right: str, databases: Iterable[str]) -> list[str]:
    names = sorted(databases)
    if not names:
        return []
    listed = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    return [f"{kind} of {listed}, if there are any: the source's user may not see them without {right}"]
