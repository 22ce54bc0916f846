"""Who else writes to the target, and how much of it our account may use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError
from pydbsync.ops.doctor.catalogue import target_databases
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, warning
from pydbsync.ops.doctor.source import replica_status
from pydbsync.ops.doctor.variables import number, variables
from pydbsync.ops.words import counted
from pydbsync.plan.quoting import quote_name

_LIFETIME = re.compile(r"PASSWORD EXPIRE (?:(?P<never>NEVER)|INTERVAL (?P<days>\d+) DAY|DEFAULT)")
_LIMIT = re.compile(r"(MAX_(?:QUERIES|UPDATES|CONNECTIONS)_PER_HOUR) ([1-9]\d*)")


def check_replication(exam: Examination) -> Iterator[Finding]:
    """A target that replicates by itself gets each change twice."""
    try:
        status = replica_status(exam.target())
    except ApplyError:
        return
    for line in status:
        threads = [str(value) for key, value in line.items() if key.endswith(("_IO_Running", "_SQL_Running"))]
        if "Yes" in threads:
            host, port = (line.get(f"Source_{name}", line.get(f"Master_{name}")) for name in ("Host", "Port"))
            stop = "STOP ALL SLAVES" if exam.target().dialect.is_mariadb else "STOP REPLICA"
            yield error(
                "target-replica",
                f"the target is itself a replica of {host}:{port}, and its replication runs: the same rows come on two"
                " ways, in no common order",
                f"{stop}; at the target (RESET … ALL for good), or let replication do all of it and stop pydbsync",
            )


def check_writers(exam: Examination) -> Iterator[Finding]:
    """Programs of others that work on the tables that replay writes to."""
    settings = exam.settings
    databases = tuple(target_databases(exam))
    if settings.two_way is not None or settings.detects_conflicts or not databases:
        return
    rows = exam.target().rows(
        "SELECT user, MIN(host), db, COUNT(*) FROM information_schema.processlist WHERE db IN %s"
        " AND user <> SUBSTRING_INDEX(USER(), '@', 1) AND user NOT IN ('system user', 'event_scheduler')"
        " GROUP BY user, db",
        (databases,),
    )
    for user, host, database, count in rows:
        if not _may_write(exam.target(), str(user), str(database)):
            continue
        yield warning(
            "other-writers",
            f"{counted(int(count), 'session')} of {user} (from {str(host).partition(':')[0]}) at the target work on"
            f" {database}, and may write: what they change the next change of the same row replaces, or is parked by",
            f"ALTER USER '{user}'@'…' ACCOUNT LOCK at the target and KILL its sessions, or REVOKE INSERT, UPDATE,"
            f" DELETE ON {quote_name(str(database))}.* from it, until the cut-over; two_way and detect_conflicts"
            " (docs/conflicts.md) where both ends are to be written to",
        )


def _may_write(connection: Connection, user: str, database: str) -> bool:
    """As far as our user is shown the rights of others; where not, it counts as one that may."""
    grantee = f"'{user}'@%"
    shown = connection.rows(
        "SELECT privilege_type FROM information_schema.user_privileges WHERE grantee LIKE %s"
        " UNION SELECT privilege_type FROM information_schema.schema_privileges"
        " WHERE grantee LIKE %s AND %s LIKE table_schema"
        " UNION SELECT privilege_type FROM information_schema.table_privileges"
        " WHERE grantee LIKE %s AND table_schema = %s",
        (grantee, grantee, database, grantee, database),
    )
    return not shown or bool({str(each) for (each,) in shown} & {"INSERT", "UPDATE", "DELETE"})


def check_account(exam: Examination) -> Iterator[Finding]:
    """Limits that the account of our user has by itself."""
    connection, account = exam.target(), exam.account("target")
    user, _, host = account.rpartition("@")
    alter = f"ALTER USER '{user}'@'{host}' WITH"
    most = int(connection.value("SELECT @@SESSION.max_user_connections") or 0)
    needed = 3 * max(1, len(exam.settings.queues)) + 2
    if 0 < most < needed:
        yield error(
            "account-limits",
            f"the target's user {account} may have {most} connections, and {needed} are needed: each worker takes two,"
            " and one more to look after a slow statement; tools take some besides",
            f"{alter} MAX_USER_CONNECTIONS {4 * needed};",
        )
    try:
        rows = connection.rows("SHOW CREATE USER CURRENT_USER()")
    except ApplyError:
        return
    told = " ".join(str(row[0]) for row in rows)
    yield from _password(exam, account, told)
    limits = _LIMIT.findall(told)
    if limits:
        yield error(
            "account-limits",
            f"the target's user {account} is limited ({', '.join(' '.join(each) for each in limits)}): beyond that the"
            " target refuses it, and replay waits for the next hour",
            f"{alter} {' '.join(f'{name} 0' for name, _ in limits)};",
        )


def _password(exam: Examination, account: str, told: str) -> Iterator[Finding]:
    """A password that has to be changed from time to time is refused one day, in the middle of the night."""
    found = _LIFETIME.search(told)
    if found is None:
        return
    days = number(found["days"] or variables(exam, "target").get("default_password_lifetime"))
    if found["never"] or not days:
        return
    user, _, host = account.rpartition("@")
    yield warning(
        "account-password",
        f"the password of the target's user {account} must be changed every {days} days: from then on the target"
        " refuses new connections and statements, and replay waits",
        f"ALTER USER '{user}'@'{host}' PASSWORD EXPIRE NEVER; or change it in time, there and in the configuration",
    )


def check_read_only_databases(exam: Examination) -> Iterator[Finding]:
    """MySQL can close a database to all writes (8.0.22 and newer)."""
    databases = tuple(target_databases(exam))
    dialect = exam.target().dialect
    if dialect.is_mariadb or dialect.version < (8, 0, 22) or not databases:
        return
    for (name,) in exam.target().rows(
        "SELECT schema_name FROM information_schema.schemata_extensions WHERE schema_name IN %s"
        " AND options LIKE %s", ((*databases, exam.settings.state_schema), "%READ ONLY=1%"),
    ):  # fmt: skip
        yield error(
            "read-only-database",
            f"the database {name} at the target is READ ONLY: every change of it would be parked",
            f"ALTER DATABASE {quote_name(str(name))} READ ONLY = 0;",
        )
