"""What replay does not carry: numbers that were given out, triggers, and what is reported (views, accounts)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydbsync.apply.connection import Connection
from pydbsync.engine.table_plans import router_from
from pydbsync.model import TableName
from pydbsync.ops.copy.definitions import Inventory, read_inventory
from pydbsync.ops.copy.options import CopyOptions
from pydbsync.ops.copy.programs import (
    Program,
    make_programs,
    missing_definers,
    read_events,
    read_routines,
    read_triggers,
    read_views,
)
from pydbsync.ops.counters import behind_of, raise_counters
from pydbsync.ops.cutover.accounts import account_problems
from pydbsync.ops.cutover.engine import Step, StepFailed, Way, Work
from pydbsync.ops.cutover.fence import assert_quiet, source_place
from pydbsync.ops.cutover.sessions import ReadOnly, read_only, set_read_only
from pydbsync.ops.doctor.finding import counted, listed
from pydbsync.ops.doctor.grants import own_grants
from pydbsync.ops.servers import SYSTEM_DATABASES, Server
from pydbsync.ops.verify.place import SourcePlace
from pydbsync.plan.quoting import quote_table
from pydbsync.route.filters import Filters

_LOCKED = "a transaction, a dump or LOCK TABLES may keep a table from being altered (SHOW PROCESSLIST at both servers)"
_ALL = CopyOptions(views=True, triggers=True, routines=True, events=True)


class Carry(Step):
    """Counters are raised; triggers leave one server and come to the other."""

    name = "carry"
    says = "counters above every number given out, triggers to the other server"
    undo_says = "triggers are where they were; counters that were raised stay"
    limit = "carry_s"

    def do(self, work: Work) -> str:
        way = work.way
        servers = work.servers()
        work.waits_for = _LOCKED
        if way.settings.source is not None and read_only(servers.source).super_read_only:
            # What follows here, and the way back, writes as a user that may write under read_only.
            set_read_only(work, way.settings.source, ReadOnly(True))
        begin = SourcePlace(*work.facts.get("quiet_from", work.facts["fence_place"]))
        if not work.is_two_way:  # else the other direction writes there all the time
            assert_quiet(work, way, begin)
        behind = behind_of(way.settings, servers, is_closed=not work.is_two_way)
        servers.target.call(lambda connection: raise_counters(connection, behind))
        said = [f"raised: {counted(len(behind), 'counter')}" if behind else "no counter was behind"]
        if work.plan.triggers:
            moved = self._move_triggers(work)
            if moved:
                said.append(f"{counted(moved, 'trigger')} moved to {way.target}, and gone from {way.source}")
        if work.plan.programs and (made := self._make_programs(work)):
            said.append(f"made at {way.target}: {listed(made)}")
        work.keep("quiet_from", list(source_place(work, way)))
        said += reported(way, servers.source, servers.target)
        return "; ".join(said)

    def _move_triggers(self, work: Work) -> int:
        keep_triggers(work)
        make_triggers(work)
        return drop_triggers(work)

    def _make_programs(self, work: Work) -> list[str]:
        """Views, routines and events that only the server has that is left; events come disabled, and run when it is
        opened."""
        servers = work.servers()
        router = router_from(work.way.settings)
        found = servers.source.call(lambda source: read_all(source, inventory_of(work.way, source)))
        there = programs_at(servers.target)
        missing = [
            each for each in found
            if {(each.kind, database, each.name.table) for database in router.databases(each.name.database)} - there
        ]  # fmt: skip
        names = {(each.kind, database, each.name.table) for each in missing
                 for database in router.databases(each.name.database)} - there  # fmt: skip
        work.keep("programs_made", sorted({*map(tuple, work.facts.get("programs_made", ())), *names}))
        made = servers.target.call(lambda target: make_programs(
            target, missing, databases=router.databases,
            rename=lambda database, own, there: router.rename(database, shard_of=own, shard=there),
        ))  # fmt: skip
        work.problem(*made.left_out)
        return [
            f"{each.kind} {each.name}" for each in missing if each.name.table in {name.table for name in made.names}
        ]

    def undo(self, work: Work) -> str:
        work.waits_for = _LOCKED
        # The server that applications go on at comes first: the other one may be away.
        triggers = self._restore_triggers(work) if "triggers" in work.facts else ""
        work.keep("triggers_restored", True)
        servers = work.servers()
        for kind, database, name in work.facts.get("programs_made", ()):
            sql = f"DROP {kind.upper()} IF EXISTS {quote_table(TableName(database, name))}"
            servers.target.call(lambda connection, sql=sql: connection.execute(sql))  # type: ignore[misc]
        made = {TableName(*each) for each in work.facts.get("triggers_made", ())}
        drop(servers.target, made & servers.target.call(_triggers) if made else ())
        return triggers

    def keeps_closed(self, work: Work) -> bool:
        """Rows that are written without their triggers are not to be mended afterwards."""
        return bool(work.facts.get("triggers")) and not work.facts.get("triggers_restored")

    def _restore_triggers(self, work: Work) -> str:
        servers = work.servers()
        there = servers.source.call(_triggers)
        missing = [each for each in programs_from(work.facts["triggers"]) if each.name not in there]
        made = servers.source.call(lambda source: make_programs(
            source, missing, databases=lambda database: (database,), rename=lambda database, own, there: database,
        ))  # fmt: skip
        if made.left_out:
            raise StepFailed(f"triggers cannot be made again at {work.way.source}: {listed(made.left_out)}")
        return "triggers are where they were"


def keep_triggers(work: Work) -> None:
    """Store the triggers of the server that is left, before any is dropped."""
    if "triggers" not in work.facts:
        source = work.servers().source
        found = source.call(lambda connection: read_triggers(connection, inventory_of(work.way, connection).tables))
        work.keep("triggers", [list(each) for each in found])


def make_triggers(work: Work) -> None:
    """Make those at the server that is gone to. Raises StepFailed where one is refused."""
    servers = work.servers()
    programs = programs_from(work.facts["triggers"])
    router = router_from(work.way.settings)
    names = servers.target.call(_triggers)
    missing = [
        each for each in programs
        if {TableName(each_one, each.name.table) for each_one in router.databases(each.name.database)} - names
    ]  # fmt: skip
    work.keep(
        "triggers_made",
        sorted(
            {
                *map(tuple, work.facts.get("triggers_made", ())),
                *((database, each.name.table) for each in missing for database in router.databases(each.name.database)),
            }
        ),
    )
    made = servers.target.call(lambda target: make_programs(
        target, missing, databases=router.databases,
        rename=lambda database, own, there: router.rename(database, shard_of=own, shard=there),
    ))  # fmt: skip
    if made.left_out:
        raise StepFailed(f"cannot be made at {work.way.target}: {listed(made.left_out)}")


def drop_triggers(work: Work) -> int:
    """None of them fires at the server that is left any more; how many there are."""
    source = work.servers().source
    programs = programs_from(work.facts["triggers"])
    there = source.call(_triggers)
    drop(source, [each.name for each in programs if each.name in there])
    return len(programs)


def refused_creator(work: Work, way: Way, end: Literal["source", "target"]) -> str:
    """Why triggers and functions can be neither made nor dropped at an end of the direction; empty where they can."""
    servers = work.servers(way)
    server = servers.source if end == "source" else servers.target
    needs = bool(work.plan.triggers and _moving(work))
    if end == "target" and work.plan.programs and not needs:
        there = programs_at(server)
        found = servers.source.call(lambda source: read_all(source, inventory_of(way, source)))
        needs = any(each.kind == "function" and ("function", *each.name) not in there for each in found)
    if not needs or not _is_on(server.value("SELECT @@global.log_bin AND NOT @@log_bin_trust_function_creators")):
        return ""
    if server.call(own_grants).has("SUPER"):
        return ""
    return (
        f"{way.source if end == 'source' else way.target} writes a binlog, and lets none but SUPER make or drop the"
        " triggers and functions that move: SET GLOBAL log_bin_trust_function_creators = 1 there until it is over (with"
        " binlog_format=ROW it harms nothing), or grant SUPER"
    )


def refused_definers(work: Work, end: Literal["source", "target"]) -> str:
    """Why MySQL lets us not touch triggers and events of some definers; empty where it does."""
    servers = work.servers()
    server = servers.source if end == "source" else servers.target
    if server.dialect.is_mariadb or server.call(own_grants).has("SYSTEM_USER"):
        return ""
    mighty = {
        str(grantee).replace("'", "")
        for (grantee,) in server.rows(
            "SELECT grantee FROM information_schema.user_privileges WHERE privilege_type = 'SYSTEM_USER'"
        )
    }
    router = router_from(work.way.settings)
    found = {
        str(definer)
        for database, definer in servers.source.rows(
            "SELECT trigger_schema, definer FROM information_schema.triggers"
            " UNION SELECT event_schema, definer FROM information_schema.events"
        )
        if str(database) not in SYSTEM_DATABASES and router.filters.takes_database(str(database))
    }
    if not found & mighty:
        return ""
    address = work.way.source if end == "source" else work.way.target
    return (
        f"triggers and events are those of {listed(sorted(found & mighty))}, who has SYSTEM_USER at {address}: only a"
        " user that has it too may alter or make them; grant it to ours"
    )


def _is_on(value: object) -> bool:
    return str(value) not in ("0", "None")


def _moving(work: Work) -> list[Program]:
    if "triggers" in work.facts:
        return programs_from(work.facts["triggers"])
    return work.servers().source.call(lambda source: read_triggers(source, inventory_of(work.way, source).tables))


def inventory_of(way: Way, source: Connection) -> Inventory:
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


def drop(server: Server, triggers: Iterable[TableName]) -> None:
    """One that has gone already is none."""
    for name in triggers:
        server.call(lambda connection, name=name: connection.execute(f"DROP TRIGGER IF EXISTS {quote_table(name)}"))  # type: ignore[misc]


def _triggers(connection: Connection) -> set[TableName]:
    found = connection.rows("SELECT trigger_schema, trigger_name FROM information_schema.triggers")
    return {TableName(str(database), str(name)) for database, name in found}


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
    )
    return {(str(kind), str(database), str(name)) for kind, database, name in found}


def reported(way: Way, source: Server, target: Server) -> list[str]:
    """What a person has to see to: definers, accounts and their rights that are missing."""
    said: list[str] = []
    inventory = source.call(lambda connection: inventory_of(way, connection))
    said += source.call(lambda first: target.call(lambda second: missing_definers(first, second, inventory, _ALL)))
    router = router_from(way.settings)
    databases = {database: router.databases(database) for database in inventory.databases}
    own = {str(each.connect.get("user", "")) for each in (way.settings.source, way.settings.target) if each is not None}
    said += account_problems(source, target, databases, own)
    return said
