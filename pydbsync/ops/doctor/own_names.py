"""Databases of the application that are called as pydbsync's own."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.apply.migrations import MIGRATIONS, VERSION_TABLE, Table
from pydbsync.ops.doctor.catalogue import pairs
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, listed

STATE_TABLES = frozenset(
    {VERSION_TABLE.name, *(step.name for each in MIGRATIONS for step in each.steps if isinstance(step, Table))}
)
"""All that a state schema can have."""


def check_own_names(exam: Examination) -> Iterator[Finding]:
    """What goes by the names of pydbsync's own is left out, or lands in it."""
    settings = exam.settings
    own = {each for each in (settings.state_schema, settings.source_state_schema) if each}
    into = sorted({str(pair.source.name.database) for pair in pairs(exam)
                   if pair.target_name.database == settings.state_schema})  # fmt: skip
    if into:
        yield error(
            "own-names",
            f"{listed(into)} of the source goes into {settings.state_schema}, which is the state schema: its tables"
            " would stand among pydbsync's own",
            "another name in dbname_rewrite (or routes), or another state_schema",
        )
    hidden = sorted(
        f"{database}.{table}"
        for database, table in exam.source().rows(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type <> 'VIEW'"
            " AND table_schema IN %s", (tuple(own),),
        )
        if str(table) not in STATE_TABLES
    )  # fmt: skip
    if hidden:
        yield error(
            "own-names",
            f"the source has {listed(hidden)} in a database that is called as the state schema, and is left out of"
            " replay: what is written there does not reach the target",
            "state_schema: another name that no database of the source has",
        )
