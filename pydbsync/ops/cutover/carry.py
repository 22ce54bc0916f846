"""What replay does not carry: numbers that were given out, triggers, and what is reported (views, accounts)."""

from __future__ import annotations

from pydbsync.engine.routing import router_from
from pydbsync.model import TableName
from pydbsync.ops.copy.options import CopyOptions
from pydbsync.ops.copy.programs import missing_definers
from pydbsync.ops.counters import behind_of, raise_counters
from pydbsync.ops.cutover.accounts import account_problems
from pydbsync.ops.cutover.fence import applications_ended, assert_quiet, source_place
from pydbsync.ops.cutover.programs import inventory_of, make_missing
from pydbsync.ops.cutover.sessions import ReadOnly, read_only, set_read_only
from pydbsync.ops.cutover.triggers import (
    drop,
    drop_triggers,
    keep_triggers,
    make_triggers,
    restore_triggers,
    triggers_at,
)
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.place import SourcePlace
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_table

_LOCKED = "a transaction, a dump or LOCK TABLES may keep a table from being altered (SHOW PROCESSLIST at both servers)"
_ALL = CopyOptions(views=True, triggers=True, routines=True, events=True)


class Carry(CutoverStep):
    """Counters are raised; triggers leave one server and come to the other."""

    name = "carry"
    says = "counters above every number given out, triggers to the other server"
    undo_says = "triggers are where they were; counters that were raised stay"
    limit = "carry_s"

    def do(self, work: CutoverWork) -> str:
        way = work.way
        servers = work.servers()
        work.waits_for = _LOCKED
        if way.settings.source is not None and read_only(servers.source).super_read_only:
            # What follows here, and the way back, writes as a user that may write under read_only.
            set_read_only(work, way.settings.source, ReadOnly(True))
        begin = SourcePlace(*work.facts.get("quiet_from", work.facts["fence_place"]))
        if not work.is_two_way:  # else the other direction writes there all the time
            assert_quiet(work, way, begin)
        made = make_missing(work) if work.plan.programs else []
        behind = behind_of(way.settings, servers, is_closed=not work.is_two_way)
        servers.target.call(lambda connection: raise_counters(connection, behind))
        said = [f"raised: {counted(len(behind), 'counter')}" if behind else "no counter was behind"]
        if work.plan.triggers:
            moved = self._move_triggers(work)
            if moved:
                said.append(f"{counted(moved, 'trigger')} moved to {way.target}, and gone from {way.source}")
        if made:
            said.append(f"made at {way.target}: {listed(made)}")
        # Again, to the last statement of ours: who may write on a closed server did not wait for us to end.
        quiet = source_place(work, way) if work.is_two_way else assert_quiet(work, way, begin)
        work.keep("quiet_from", list(quiet))
        return "; ".join(said)

    def _move_triggers(self, work: CutoverWork) -> int:
        keep_triggers(work)
        make_triggers(work)
        with applications_ended(work):
            return drop_triggers(work)

    def undo(self, work: CutoverWork) -> str:
        work.waits_for = _LOCKED
        # The server that applications go on at comes first: the other one may be away.
        triggers = restore_triggers(work) if "triggers" in work.facts else ""
        work.keep("triggers_restored", True)
        servers = work.servers()
        for kind, database, name in work.facts.get("programs_made", ()):
            sql = f"DROP {kind.upper()} IF EXISTS {quote_table(TableName(database, name))}"
            servers.target.call(lambda connection, sql=sql: connection.execute(sql))  # type: ignore[misc]
        made = {TableName(*each) for each in work.facts.get("triggers_made", ())}
        drop(servers.target, made & servers.target.call(triggers_at) if made else ())
        return triggers

    def keeps_closed(self, work: CutoverWork) -> bool:
        """Rows that are written without their triggers are not to be mended afterwards."""
        return bool(work.facts.get("triggers")) and not work.facts.get("triggers_restored")


def reported(way: Direction, source: Server, target: Server) -> list[str]:
    """What a person has to see to: definers, accounts and their rights that are missing."""
    said: list[str] = []
    inventory = source.call(lambda connection: inventory_of(way, connection))
    said += source.call(lambda first: target.call(lambda second: missing_definers(first, second, inventory, _ALL)))
    router = router_from(way.settings)
    databases = {database: router.databases(database) for database in inventory.databases}
    own = {str(each.connect.get("user", "")) for each in (way.settings.source, way.settings.target) if each is not None}
    said += account_problems(source, target, databases, own)
    return said
