"""Runs the checks group by group, each group within its time: what cannot be looked at is said, never passed over."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from pydbsync.errors import ApplyError, ConfigError, PydbsyncError, TransientError
from pydbsync.ops.doctor import (
    binlog,
    broker,
    canary,
    columns,
    conflicts,
    constraints,
    machine,
    maxwell,
    maxwell_filter,
    named,
    opened,
    own_names,
    queues,
    reach,
    rights,
    routing,
    sink,
    source,
    state,
    stream,
    tables,
    target,
    target_use,
)
from pydbsync.ops.doctor.examination import Away, Examination, NoTables
from pydbsync.ops.doctor.finding import DoctorReport, Finding, unknown, warning

Check: TypeAlias = Callable[[Examination], Iterable[Finding]]

GROUPS: Final[Mapping[str, tuple[Check, ...]]] = {
    "connections": (
        reach.check_target, sink.check_sink, reach.check_source, reach.check_ends, reach.check_broker,
        reach.broker_certificate, machine.check_logs, machine.check_port,
    ),
    "rights": (rights.check_target, rights.check_source, rights.check_accounts, broker.check_rights),
    "source": (
        binlog.check_binlog, binlog.check_status, binlog.check_filtered, source.check_sessions, binlog.check_retention,
        binlog.check_durability, binlog.check_gtids, source.check_replica, source.check_clock,
        source.check_transactions, source.check_prepared, source.check_tables, source.check_writable,
        source.check_heartbeat, source.check_copies,
    ),
    "maxwell": (
        maxwell.check_flags, maxwell_filter.check_filter, maxwell.check_places, maxwell.check_publishers,
        maxwell.check_readers, maxwell.check_types,
    ),
    "broker": (
        queues.check_queues, broker.check_limits, broker.check_user_limits, broker.check_exchanges, broker.check_alarms,
        broker.check_message_size,
        routing.check_bindings, routing.check_routes, routing.check_database_changes, routing.check_heartbeat,
        routing.check_marks,
    ),
    "stream": (stream.check_waiting, stream.check_parked_messages, stream.check_watched, stream.check_unseen),
    "target": (
        target.check_writable, target.check_packets, target.check_durability, target.check_binlog,
        target.check_way_back, target.check_commits, target.check_modes, target.check_names,
        target.check_engines, target.check_rows, target.check_zones, target.check_connections, target.check_blockers,
        target.check_prepared, target_use.check_account, target_use.check_read_only_databases,
        target_use.check_replication, target_use.check_writers, target.check_space,
    ),
    "tables": (
        named.check_names, own_names.check_own_names, tables.check_writable, tables.check_present, opened.check_opened,
        tables.check_routes, tables.check_keys, columns.check_columns, tables.check_engines, tables.check_programs,
        constraints.check_unique_keys, constraints.check_lost_keys,
        constraints.check_merged, constraints.check_checks, constraints.check_partitions,
        constraints.check_cascades, tables.check_defaults, conflicts.check_conflicts, conflicts.check_numbers,
    ),
    "state": (
        state.check_readable, state.check_schema, own_names.check_untouched, own_names.check_columns,
        state.check_workers, state.check_streams, state.check_pauses, state.check_parked, state.check_schema_changes,
        state.check_tools, sink.check_kept,
    ),
    "canary": (canary.check_canary,),
}  # fmt: skip
"""What is looked at, in this order; a check that says nothing has found nothing wrong."""

_REFUSED = frozenset({1044, 1045, 1142, 1143, 1227, 1345, 1370, 1699})
_NEEDS = re.compile(r"need \(at least one of\) the (.+?) privilege", re.IGNORECASE)


def examine(
    exam: Examination,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    on_group: Callable[[str], object] = lambda group: None,
) -> DoctorReport:
    """Run the groups that are chosen. `on_group` hears which one begins. Never raises for what a server does."""
    started = time.monotonic()
    for name in (*only, *skip):
        if name not in GROUPS:
            raise ConfigError(f"there is no group {name!r}; they are {', '.join(GROUPS)}")
    found: list[Finding] = []
    try:
        for group, checks in GROUPS.items():
            if (not only or group in only) and group not in skip:
                on_group(group)
                found += _in_time(exam, group, checks)
    finally:
        exam.close()
    return DoctorReport(findings=tuple(found), seconds=round(time.monotonic() - started, 3))


def _in_time(exam: Examination, group: str, checks: Iterable[Check]) -> list[Finding]:
    """A thread of its own, so that nothing on the other side can keep us: what it has found until then counts."""
    found: list[Finding] = []
    running = [""]
    thread = threading.Thread(target=_run, args=(exam, checks, found, running), name=f"doctor {group}", daemon=True)
    thread.start()
    thread.join(exam.limits.group_s + {"stream": exam.watch_s, "canary": exam.canary_s}.get(group, 0))
    if thread.is_alive():
        exam.close()  # its question fails, and the next group asks over new connections
        found = [*found, warning(
            f"{group}-time",
            f"the checks of {group} did not end within {exam.limits.group_s:g} s (the last was {running[0]}): what"
            f" they had"
            " not reached is unknown",
            "see what the servers are busy with (SHOW PROCESSLIST), or give it longer with --timeout",
        )]  # fmt: skip
    return [msgspec.structs.replace(each, group=group) for each in found]


def _run(exam: Examination, checks: Iterable[Check], found: list[Finding], running: list[str]) -> None:
    away: set[str] = set()
    for check in checks:
        name = check.__name__.removeprefix("check_").replace("_", "-")
        running[0] = name
        try:
            for each in check(exam):  # one by one: what was found before a failure counts
                found.append(each)
        except NoTables:
            continue
        except Away as exc:
            if exc.end not in away:
                away.add(exc.end)
                found.append(_without(exc))
        except ApplyError as exc:
            found.append(_refused(name, exc))
        except PydbsyncError as exc:
            found.append(unknown(name, f"this could not be looked at: {exc}"))
        except Exception as exc:
            text = f"a check failed by a fault of pydbsync itself: {type(exc).__name__}: {exc}"
            found.append(unknown(name, text, "report it, with this line"))


def _without(away: Away) -> Finding:
    if away.cause is None:
        return unknown(
            "not-configured", f"what needs {away.end} is not looked at", f"set {away.end.partition('(')[2][:-1]}"
        )
    return unknown("away", f"what needs {away.end} is not looked at: see the group connections")


def _refused(name: str, exc: ApplyError) -> Finding:
    if exc.code in _REFUSED:
        needs = _NEEDS.search(str(exc))
        remedy = f"needs GRANT {needs[1]} …" if needs else "needs the right that the message names (docs/rights.md)"
        return unknown(name, f"this may not be looked at: {exc}", remedy)
    what = "does not answer now" if isinstance(exc, TransientError) else "could not be asked"
    return unknown(name, f"the server {what}: {exc}")
