"""Whether each table can be opened and read at all: its file may be discarded or broken, and a lock held."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError
from pydbsync.model import TableName
from pydbsync.ops.doctor.catalogue import pairs, source_tables
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, warning
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_table

_AT_ONCE = 50
_WAIT_S = 1
_LOCKED = 1205
_REFUSED = (1044, 1142, 1143)
_GONE = (1049, 1146, 1051)


def check_opened(exam: Examination) -> Iterator[Finding]:
    """One row of each table is asked for, at both ends."""
    target = {pair.target.name: str(pair.source.name) for pair in pairs(exam) if pair.target is not None}
    yield from _end(exam.target(), target, "target")
    try:
        yield from _end(exam.source(), {name: str(name) for name in source_tables(exam)}, "source")
    except Away:
        return


def _end(connection: Connection, names: dict[TableName, str], end: str) -> Iterator[Finding]:
    connection.execute(f"SET SESSION lock_wait_timeout = {_WAIT_S}")
    locked: list[TableName] = []
    for name, exc in _refused(connection, names):
        if exc.code in (*_REFUSED, *_GONE):
            continue  # that is told by the rights, or was dropped meanwhile
        if exc.code == _LOCKED:
            locked.append(name)
            continue
        does = "its changes would be parked" if end == "target" else "copy and verify cannot read it"
        yield error(
            "unreadable-tables",
            f"{name} cannot be read at the {end}: {exc}; {does}",
            _remedy(name, names[name], exc, end),
        )
    if locked:
        yield warning(
            "locked-tables",
            f"{listed(locked)} at the {end} {'is' if len(locked) == 1 else 'are'} locked by another session (LOCK"
            " TABLES, or a schema change that waits): changes of it wait",
            f"SHOW FULL PROCESSLIST at the {end}: UNLOCK TABLES or COMMIT in that session, or KILL it",
        )


def _refused(connection: Connection, names: Iterable[TableName]) -> Iterator[tuple[TableName, ApplyError]]:
    """The tables that could not be read, found by halves."""
    left = iter(names)
    while several := list(islice(left, _AT_ONCE)):
        yield from _refused_of(connection, several)


def _refused_of(connection: Connection, names: Sequence[TableName]) -> Iterator[tuple[TableName, ApplyError]]:
    try:
        connection.rows(" UNION ALL ".join(f"(SELECT 1 FROM {quote_table(name)} LIMIT 1)" for name in names))
    except ApplyError as exc:
        if not connection.is_open():
            raise
        if len(names) == 1:
            yield names[0], exc
            return
        half = len(names) // 2
        yield from _refused_of(connection, names[:half])
        yield from _refused_of(connection, names[half:])


def _remedy(name: TableName, source: str, exc: ApplyError, end: str) -> str:
    shown = quote_table(name)
    if "discarded" in str(exc).lower():
        first = f"ALTER TABLE {shown} IMPORT TABLESPACE with the files of its backup"
    elif re.search(r"crashed|repair", str(exc), re.IGNORECASE):
        first = f"REPAIR TABLE {shown}"
    else:
        first = f"CHECK TABLE {shown}, and the server's error log, say more"
    return f"{first}; or DROP TABLE {shown} and pydbsync copy --tables '{source}'" if end == "target" else first
