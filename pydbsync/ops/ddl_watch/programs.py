"""Views, triggers, events, routines and sequences of the source: what came, changed and went since it was seen."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.tables.seen import DefinedThing
from pydbsync.errors import ApplyError, TransientError
from pydbsync.model import TableName
from pydbsync.ops.servers import Server
from pydbsync.plan.quoting import quote_table

_QUESTIONS: Final = {  # the definition first, which is empty where the user may not see it
    "view": "SELECT table_schema, table_name, view_definition, check_option, security_type, definer"
    " FROM information_schema.views WHERE table_schema IN %s",
    "trigger": "SELECT trigger_schema, trigger_name, action_statement, event_object_table, action_timing,"
    " event_manipulation, action_order, definer FROM information_schema.triggers WHERE trigger_schema IN %s",
    "event": "SELECT event_schema, event_name, event_definition, event_type, execute_at, interval_value,"
    " interval_field, starts, ends, status, definer FROM information_schema.events WHERE event_schema IN %s",
    "routine": "SELECT routine_schema, routine_name, routine_definition, routine_type, dtd_identifier, last_altered,"
    " definer FROM information_schema.routines WHERE routine_schema IN %s",
    "sequence": "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SEQUENCE'"
    " AND table_schema IN %s",
}
KINDS: Final = tuple(_QUESTIONS)
_EFFECTS: Final = {
    "view": "run the statement at the target (`pydbsync copy --structure-only --existing keep` makes what is missing)",
    "trigger": "its effects arrive as rows: leave it out at the target until the cut-over, and make it there then",
    "event": "its effects arrive as rows: leave it out at the target until the cut-over, and make it there then",
    "routine": "its effects arrive as rows; make it at the target before the cut-over",
    "sequence": "its numbers arrive in rows; make it at the target before the cut-over, and then `pydbsync counters`",
}


class ProgramNotice(NamedTuple):
    """Something that has happened to a view, trigger, event, routine or sequence."""

    thing: DefinedThing
    text: str
    remedy: str


def read_programs(server: Server, databases: Collection[str]) -> dict[DefinedThing, str]:
    """A digest of each definition, empty where it may not be seen; what the user may not see at all is not there."""
    return dict(_read(server, tuple(sorted(databases)))) if databases else {}


def notices(
    former: Mapping[DefinedThing, str], now: Mapping[DefinedThing, str], at_target: Collection[tuple[str, str]]
) -> Iterator[ProgramNotice]:
    """What has changed; `at_target` are the kinds and names that the target has, by the source's names."""
    for thing in sorted({*former, *now}):
        if former.get(thing) == now.get(thing):
            continue
        if "" in (former.get(thing), now.get(thing)):  # what it was, or is, may not be seen
            continue
        what = "was dropped" if thing not in now else "was changed" if thing in former else "was made"
        has = "has one of that name" if (thing.kind, thing.name) in at_target else "has none of that name"
        yield ProgramNotice(
            thing,
            f"{thing.kind} {thing.name} {what} at the source, which no message tells; the target {has}",
            _EFFECTS[thing.kind],
        )


def _read(server: Server, databases: tuple[str, ...]) -> Iterator[tuple[DefinedThing, str]]:
    for kind, sql in _QUESTIONS.items():
        try:
            rows = server.rows(sql, (databases,))
        except TransientError:
            raise
        except ApplyError:  # what the user may not see
            rows = []
        for database, name, *rest in rows:
            prefix = f"{rest[1]} " if kind == "routine" and rest[1] != "PROCEDURE" else ""
            thing = DefinedThing(kind, f"{prefix.lower()}{lenient_text(database)}.{lenient_text(name)}")
            parts = rest or _sequence(server, TableName(lenient_text(database), lenient_text(name)))
            text = "\0".join(lenient_text(each) for each in parts)
            yield thing, hashlib.sha256(text.encode()).hexdigest() if parts[0] else ""


def _sequence(server: Server, name: TableName) -> Sequence[object]:
    """How it counts, without where it is."""
    try:
        (found,) = server.rows(
            "SELECT increment, start_value, minimum_value, maximum_value, cycle_option, cache_size"
            f" FROM {quote_table(name)}"
        )
    except TransientError:
        raise
    except ApplyError:
        return [""]
    return found
