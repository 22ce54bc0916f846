"""What others have made of pydbsync's own names: databases that are called as the state schema, and what was changed in
it by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.apply.tables.migrations import MIGRATIONS, VERSION_TABLE, ColumnMade, Table, made_columns, plain_type
from pydbsync.ops.capture.history.state import CAPTURE_TABLES
from pydbsync.ops.copy.markers import marker_table
from pydbsync.ops.doctor.catalogue import every_source_table, pairs
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_name

_PRIMARY = re.compile(r"PRIMARY KEY\b", re.IGNORECASE)
STATE_TABLES = frozenset(
    {
        VERSION_TABLE.name, *(step.name for each in MIGRATIONS for step in each.steps if isinstance(step, Table)),
        *CAPTURE_TABLES,
    }
)  # fmt: skip
"""All that a state schema can have."""
_KEYED = frozenset(
    step.name
    for each in MIGRATIONS
    for step in each.steps
    if isinstance(step, Table) and _PRIMARY.search(step.definition)
)
"""Those in which a row is found by its primary key."""


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
    into = sorted({pair.target_name.database for pair in pairs(exam)
                   if pair.target_name.database.lower() in SYSTEM_DATABASES})  # fmt: skip
    if into:
        yield error("own-names", f"rows would go into {listed(into)}, which is the target's own",
                    "another name in dbname_rewrite (or routes)")  # fmt: skip
    heartbeat, _, table = settings.heartbeat_table.partition(".")
    beside = sorted(str(name) for name in every_source_table(exam)
                    if name.database == heartbeat and name.table != table
                    and name != marker_table(settings))  # fmt: skip
    if beside:
        yield error(
            "own-names",
            f"the database of the heartbeat ({settings.heartbeat_table}) has other tables too: {listed(beside)}: they"
            " are left out of replay",
            "heartbeat_table: one in a database of its own, such as pydbsync_heartbeat.heartbeat",
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


def check_untouched(exam: Examination) -> Iterator[Finding]:
    """The state schema is pydbsync's alone: a program in it acts in the same transaction as a checkpoint."""
    schema = exam.settings.state_schema
    target = exam.target()
    programs = [
        (f"the trigger {name} of {table}", f"DROP TRIGGER {quote_name(schema)}.{quote_name(str(name))}")
        for name, table in target.rows(
            "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE event_object_schema = %s",
            (schema,),
        )
    ]
    programs += [
        (f"the event {name}", f"DROP EVENT {quote_name(schema)}.{quote_name(str(name))}")
        for (name,) in target.rows(
            "SELECT event_name FROM information_schema.events WHERE event_schema = %s", (schema,)
        )
    ]
    for what, remedy in programs:
        yield error(
            "state-changed", f"{what} stands in the state schema {schema}: what it changes there is the place of a"
            " stream, or what is parked", f"stop the workers; {remedy}",
        )  # fmt: skip
    keyed = {
        str(table)
        for (table,) in target.rows(
            "SELECT table_name FROM information_schema.statistics WHERE table_schema = %s AND index_name = 'PRIMARY'",
            (schema,),
        )
    }
    for table, kind in target.rows(
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s", (schema,)
    ):
        name = f"{quote_name(schema)}.{quote_name(str(table))}"
        if kind == "VIEW":
            yield error("state-changed", f"{schema}.{table} is a view: what a worker commits there is not its own",
                        f"stop the workers; DROP VIEW {name}, and give the table its name back")  # fmt: skip
        elif table in _KEYED and table not in keyed:
            yield error(
                "state-changed", f"{schema}.{table} has lost its primary key: rows that are one can be there twice",
                f"stop the workers; see that no row is there twice, then ALTER TABLE {name} ADD PRIMARY KEY (…) as"
                " SHOW CREATE TABLE of another state schema has it",
            )  # fmt: skip


def check_columns(exam: Examination) -> Iterator[Finding]:
    """What is kept must come back as it was written: columns as they were made."""
    schema, made = exam.settings.state_schema, made_columns()
    for table, column, kind, charset, collation, nullable in exam.target().rows(
        "SELECT table_name, column_name, column_type, character_set_name, collation_name, is_nullable"
        " FROM information_schema.columns WHERE table_schema = %s",
        (schema,),
    ):
        wanted = made.get((str(table).lower(), str(column).lower()))
        if wanted is None:
            continue
        if unlike := _unlike(wanted, lenient_text(kind), charset, collation, is_null=nullable == "YES"):
            yield error(
                "state-changed",
                f"{schema}.{table}.{column} is {unlike}: what pydbsync keeps there is refused, cut, or taken for"
                " something else",
                f"stop the workers; ALTER TABLE {quote_name(schema)}.{quote_name(str(table))} MODIFY {wanted.line}",
            )


def _unlike(made: ColumnMade, kind: str, charset: str | None, collation: str | None, *, is_null: bool) -> str:
    """In which way a column is another one than was made, as words; empty where it is that."""
    if plain_type(kind) != made.type:
        return f"{kind} and was made as {made.type}"
    if made.charset and charset != made.charset:
        return f"of the character set {charset} and was made with {made.charset}"
    if made.collation and collation != made.collation:
        return f"compared by {collation} and was made with {made.collation}"
    if made.is_null and not is_null:
        return "NOT NULL and was made to take NULL"
    return ""
