"""Triggers, which fire at exactly one of the two servers at any time; and who may move them."""

from __future__ import annotations

from collections.abc import Iterable

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.apply.connection import Connection
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError
from pydbsync.model import End, TableName
from pydbsync.ops.copy.programs import Program, make_programs, read_triggers
from pydbsync.ops.cutover.fence import applications_ended
from pydbsync.ops.cutover.programs import inventory_of, programs_at, programs_from, read_all
from pydbsync.ops.cutover.sessions import ReadOnly, read_only, set_read_only
from pydbsync.ops.cutover.work import CutoverWork, Direction, StepFailed
from pydbsync.ops.doctor.grants import own_grants
from pydbsync.ops.servers import Server
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_table


def keep_triggers(work: CutoverWork) -> None:
    """Store the triggers of the server that is left, before any is dropped."""
    if "triggers" not in work.facts:
        source = work.servers().source
        found = source.call(lambda connection: read_triggers(connection, inventory_of(work.way, connection).tables))
        work.keep("triggers", [list(each) for each in found])


def make_triggers(work: CutoverWork) -> None:
    """Make those at the server that is gone to. Raises StepFailed where one is refused."""
    servers = work.servers()
    programs = programs_from(work.facts["triggers"])
    router = router_from(work.way.settings)
    names = servers.target.call(triggers_at)
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
    work.problem(*made.notes)


def drop_triggers(work: CutoverWork) -> int:
    """None of them fires at the server that is left any more; how many there are."""
    source = work.servers().source
    programs = programs_from(work.facts["triggers"])
    there = source.call(triggers_at)
    drop(source, [each.name for each in programs if each.name in there])
    return len(programs)


def restore_triggers(work: CutoverWork) -> str:
    """Make those again at the server that is left that are gone. Raises StepFailed where one is refused."""
    source, programs = work.servers().source, programs_from(work.facts["triggers"])
    there = source.call(triggers_at)
    remaining = [each.name for each in programs if each.name in there]
    if len(remaining) == len(programs):
        return "triggers are where they were"
    settings = work.way.settings.source
    if settings is not None and read_only(source).super_read_only:  # somebody has set it since
        set_read_only(work, settings, ReadOnly(True))
    with applications_ended(work):
        drop(source, remaining)  # else they would fire before those that are made behind them
        made = source.call(lambda connection: make_programs(
            connection, programs, databases=lambda database: (database,),
            rename=lambda database, own, there: database,
        ))  # fmt: skip
    if made.left_out:
        raise StepFailed(f"triggers cannot be made again at {work.way.source}: {listed(made.left_out)}")
    return "triggers are where they were"


def drop(server: Server, triggers: Iterable[TableName]) -> None:
    """One that has gone already is none."""
    for name in triggers:
        server.call(lambda connection, name=name: connection.execute(f"DROP TRIGGER IF EXISTS {quote_table(name)}"))  # type: ignore[misc]


def triggers_at(connection: Connection) -> set[TableName]:
    found = connection.rows("SELECT trigger_schema, trigger_name FROM information_schema.triggers")
    return {TableName(str(database), str(name)) for database, name in found}


def refused_creator(work: CutoverWork, way: Direction, end: End) -> str:
    """Why triggers and functions can be neither made nor dropped at an end of the direction; empty where they can."""
    servers = work.servers(way)
    server = servers.source if end == "source" else servers.target
    needs = bool(work.plan.triggers and _moving(work))
    if end == "target" and work.plan.programs and not needs:
        there = programs_at(server)
        found = servers.source.call(lambda source: read_all(source, inventory_of(way, source)))
        router = router_from(way.settings)
        needs = any(
            each.kind == "function"
            and any(("function", name, each.name.table) not in there for name in router.databases(each.name.database))
            for each in found
        )
    if not needs or not _is_on(server.value("SELECT @@global.log_bin AND NOT @@log_bin_trust_function_creators")):
        return ""
    if server.call(own_grants).has("SUPER"):
        return ""
    return (
        f"{way.source if end == 'source' else way.target} writes a binlog, and lets none but SUPER make or drop the"
        " triggers and functions that move: SET GLOBAL log_bin_trust_function_creators = 1 there until it is over (with"
        " binlog_format=ROW it harms nothing), or grant SUPER"
    )


def refused_definers(work: CutoverWork, end: End) -> str:
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


def orphans(work: CutoverWork) -> list[str]:
    """Triggers whose definer the other server lacks: each write to their tables would fail there (1449), or MySQL would
    make them ours."""
    moving = {each.name for each in _moving(work)} if work.plan.triggers else set()
    if not moving:
        return []
    servers = work.servers()
    try:
        here, there = (
            {
                f"{lenient_text(user)}@{lenient_text(host)}"
                for user, host in server.rows("SELECT user, host FROM mysql.user")
            }
            for server in (servers.source, servers.target)
        )
    except ApplyError:
        return []  # `reported` says that accounts could not be compared
    found: dict[str, list[str]] = {}
    for database, name, definer in servers.source.rows(
        "SELECT trigger_schema, trigger_name, definer FROM information_schema.triggers"
    ):
        if TableName(str(database), str(name)) in moving and str(definer) in here - there:
            found.setdefault(str(definer), []).append(f"{database}.{name}")
    return [
        f"{work.way.target} does not have {definer}, the definer of the triggers {listed(sorted(names))}: each write to"
        " their tables would fail there; make the account (it may be locked)"
        for definer, names in sorted(found.items())
    ]


def _is_on(value: object) -> bool:
    return str(value) not in ("0", "None")


def _moving(work: CutoverWork) -> list[Program]:
    if "triggers" in work.facts:
        return programs_from(work.facts["triggers"])
    return work.servers().source.call(lambda source: read_triggers(source, inventory_of(work.way, source).tables))
