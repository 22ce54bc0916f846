"""Views, routines, events and sequences that the other server lacks, and all that takes part."""

from __future__ import annotations

from collections.abc import Iterable

from pydbsync.apply.connection import Connection
from pydbsync.engine.routing import router_from
from pydbsync.model import TableName
from pydbsync.ops.copy.definitions import Inventory, read_inventory
from pydbsync.ops.copy.programs import Program, make_programs, read_events, read_routines, read_views
from pydbsync.ops.cutover.work import CutoverWork, Direction
from pydbsync.ops.servers import Server
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.route.filters import Filters


def make_missing(work: CutoverWork) -> list[str]:
    """Make views, routines, events and sequences that only the server has that is left; they are told. Events come
    disabled, and run when the other server is opened; sequences begin, and their place comes with the counters."""
    servers, router = work.servers(), router_from(work.way.settings)
    inventory = servers.source.call(lambda source: inventory_of(work.way, source))
    there = programs_at(servers.target)

    def lacking(kind: str, name: TableName) -> set[tuple[str, str, str]]:
        return {(kind, database, name.table) for database in router.databases(name.database)} - there

    found = servers.source.call(lambda source: read_all(source, inventory))
    missing = [each for each in found if lacking(each.kind, each.name)]
    sequences = {
        key: f"CREATE SEQUENCE IF NOT EXISTS {quote_table(TableName(*key[1:]))}"
        f"{sql.removeprefix(f'CREATE SEQUENCE {quote_name(name.table)}')}"
        for name, sql in inventory.sequences.items() if servers.target.dialect.is_mariadb
        for key in lacking("sequence", name)
    }  # fmt: skip
    names = {key for each in missing for key in lacking(each.kind, each.name)} | set(sequences)
    work.keep("programs_made", sorted({*map(tuple, work.facts.get("programs_made", ())), *names}))
    for sql in sequences.values():
        servers.target.call(lambda connection, sql=sql: connection.execute(sql.encode()))  # type: ignore[misc]
    made = servers.target.call(lambda target: make_programs(
        target, missing, databases=router.databases,
        rename=lambda database, own, there: router.rename(database, shard_of=own, shard=there),
    ))  # fmt: skip
    work.problem(*made.left_out, *made.notes)
    return [
        *(f"sequence {database}.{name}" for _, database, name in sorted(sequences)),
        *(f"{each.kind} {each.name}" for each in missing if each.name.table in {name.table for name in made.names}),
    ]


def inventory_of(way: Direction, source: Connection) -> Inventory:
    """The tables and views of the direction's source that take part."""
    return read_inventory(
        source, router_from(way.settings), chosen=Filters(),
        own=[TableName(*way.settings.heartbeat_table.split(".", 1))], with_empty=False,
    )  # fmt: skip


def programs_from(rows: Iterable[list[object]]) -> list[Program]:
    """As they were stored."""
    return [
        Program(str(kind), TableName(*name), str(sql), str(mode), str(collation), str(zone))  # type: ignore[misc]
        for kind, name, sql, mode, collation, zone in rows
    ]


def read_all(source: Connection, inventory: Inventory) -> list[Program]:
    """Routines, views and events that take part, in the order in which they can be made."""
    routines, _ = read_routines(source, inventory.databases)
    views, _ = read_views(source, inventory.views)
    return [*routines, *views, *read_events(source, inventory.databases)]


def programs_at(server: Server) -> set[tuple[str, str, str]]:
    """(kind, database, name) of all that a server has."""
    found = server.rows(
        "SELECT 'view', table_schema, table_name FROM information_schema.views"
        " UNION ALL SELECT LOWER(routine_type), routine_schema, routine_name FROM information_schema.routines"
        " UNION ALL SELECT 'event', event_schema, event_name FROM information_schema.events"
        " UNION ALL SELECT 'sequence', table_schema, table_name FROM information_schema.tables"
        " WHERE table_type = 'SEQUENCE'"
    )
    return {(str(kind), str(database), str(name)) for kind, database, name in found}
