"""Does our user have what each tool needs, at source, target and broker; docs/rights.md has the same lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydbsync.ops.doctor.catalogue import source_databases, source_tables, target_databases
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.words import listed

ROWS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What the rows of a target database need."""
SCHEMA_CHANGES: Final = ("CREATE", "DROP", "ALTER", "INDEX", "REFERENCES")
"""What its schema changes need besides."""
STATE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP")
"""What the state schema needs; CREATE to be made, with ALTER and INDEX to be brought up to date, and with DROP for the
tables in which schema changes are tried."""
BINLOG: Final = ("REPLICATION SLAVE", "REPLICATION CLIENT")
"""What capture needs at the source on everything; verify and copy need the second one."""
HEARTBEAT: Final = ("SELECT", "INSERT", "UPDATE", "CREATE")
"""What the heartbeat's database at the source needs."""


def check_target(exam: Examination) -> Iterator[Finding]:
    """Rows, schema changes and state."""
    grants, account = exam.grants("target"), exam.account("target")
    applies = "apply" in exam.settings.schema_changes.values()
    wanted = (*ROWS, *SCHEMA_CHANGES) if applies else ROWS
    databases = target_databases(exam)
    lacking = {database: missing for database in databases if (missing := grants.lacks(wanted, database))}
    for database, missing in lacking.items():
        yield error(
            "target-rights",
            f"the target's user {account} lacks {', '.join(missing)} on {database}: its changes would be parked",
            exam.granting("target", missing, database),
        )
    state = exam.settings.state_schema
    if missing := grants.lacks(STATE, state):
        level = error if set(missing) - {"CREATE", "ALTER", "INDEX", "DROP"} else warning
        yield level(
            "state-rights",
            f"the target's user {account} lacks {', '.join(missing)} on the state schema {state}"
            + (
                ""
                if level is error
                else ": it cannot be made or brought up to date, or nothing of a schema change be proven there"
            ),
            exam.granting("target", missing, state),
        )
    elif not lacking:
        yield ok(
            "target-rights",
            f"the target's user {account} may write to {listed(databases) or 'its databases'} and {state}",
        )


def check_source(exam: Examination) -> Iterator[Finding]:
    """Reading tables, reading the binlog, the heartbeat."""
    if exam.settings.source is None:
        return
    grants, account = exam.grants("source"), exam.account("source")
    databases = source_databases(exam)
    named = {glob.partition(".")[0] for glob in exam.settings.include} | set(exam.settings.dbname_rewrite)
    named = {name for name in named if not set(name) & set("*?[")}
    for database in sorted({*databases, *named}):
        if grants.lacks(("SELECT",), database) and not _has_tables(exam, database):
            yield error(
                "source-rights",
                f"the source's user {account} may not read {database}: copy, verify and capture do not see its tables",
                exam.granting("source", ("SELECT",), database),
            )
    if not databases and grants.lacks(("SELECT",)):
        yield unknown(
            "source-rights",
            f"the source's user {account} sees no table that takes part",
            exam.granting("source", ("SELECT",)),
        )
    if missing := grants.lacks(BINLOG):
        client = exam.source().dialect
        spelled = ["BINLOG MONITOR" if each == "REPLICATION CLIENT" and client.is_mariadb and client.version >= (10, 5)
                   else each for each in missing]  # fmt: skip
        yield unknown(
            "binlog-rights",
            f"the source's user {account} lacks {', '.join(spelled)}: pydbsync capture cannot run, and verify, copy and"
            " this examination cannot see the binlog's place",
            exam.granting("source", spelled),
        )
    else:
        yield ok("source-rights", f"the source's user {account} may read tables and binlog")
    heartbeat = exam.settings.heartbeat_table.partition(".")[0]
    if missing := grants.lacks(HEARTBEAT, heartbeat):
        yield unknown(
            "heartbeat-rights",
            f"the source's user {account} lacks {', '.join(missing)} on {heartbeat}: pydbsync heartbeat cannot run"
            f" as it",
            exam.granting("source", missing, heartbeat),
        )


def _has_tables(exam: Examination, database: str) -> bool:
    """Whether each of the tables that we see may be read, by rights of their own."""
    grants = exam.grants("source")
    names = [name for name in source_tables(exam) if name.database == database]
    return bool(names) and not any(grants.lacks(("SELECT",), name.database, name.table) for name in names)


def check_accounts(exam: Examination) -> Iterator[Finding]:
    """More rights than are needed make an accident larger."""
    for end in ("source", "target"):
        try:
            account = exam.account(end)
        except Away:
            continue
        if account.startswith("root@"):
            yield warning(
                f"{end}-account",
                f"the {end} is used as {account}: any fault, here or in the configuration, can reach everything there",
                "CREATE USER 'pydbsync'@'%' IDENTIFIED BY '…'; with the grants of docs/rights.md",
            )
