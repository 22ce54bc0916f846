"""What closes a server and opens it again: read_only, the applications' sessions, and who may write all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.config.cutover_plan import Sessions
from pydbsync.config.servers import TargetSettings
from pydbsync.errors import ApplyError, PermanentError
from pydbsync.ops.cutover.work import CutoverWork, StepFailed
from pydbsync.ops.doctor.source import replica_status
from pydbsync.ops.servers import Server
from pydbsync.plan.target import Dialect

_SERVERS_OWN = frozenset({"system user", "event_scheduler", "mysql.session", "mysql.sys", "mysql.infoschema", ""})
_REPLICAS = frozenset({"Binlog Dump", "Binlog Dump GTID", "Daemon", "Slave_IO", "Slave_SQL", "Slave_worker"})
_WRITING_REPLICAS = frozenset({"Slave_SQL", "Slave_worker"})
_GONE = 1094
_PATIENCE_S = 0.5


class ReadOnly(NamedTuple):
    """How a server takes writes: of nobody but those with a right to it, and on MySQL of nobody at all."""

    read_only: bool
    super_read_only: bool = False

    def __str__(self) -> str:
        return "super_read_only" if self.super_read_only else "read_only" if self.read_only else "open"


def read_only(server: Server) -> ReadOnly:
    """As it is now."""
    if server.dialect.is_mariadb:
        return ReadOnly(_is_on(server.value("SELECT @@global.read_only")))
    ((own, whole),) = server.rows("SELECT @@global.read_only, @@global.super_read_only")
    return ReadOnly(_is_on(own), _is_on(whole))


def _is_on(value: object) -> bool:
    return str(value).upper() not in ("0", "OFF")  # MariaDB 12 has words for it


def set_read_only(
    work: CutoverWork, settings: TargetSettings, wanted: ReadOnly, *, while_waiting: Callable[[], object] = lambda: None
) -> None:
    """Close or open the server. It waits for LOCK TABLES and commits of others, for as long as the step may take;
    `while_waiting` is called once when it does.

    Raises StepFailed where it waits for longer; the statement is ended then, so that it does not take effect later.
    """
    connection = Connection(settings.connect_keywords(), key=settings.key)
    failure: list[Exception] = []

    def run() -> None:
        try:
            for sql in read_only_statements(connection.dialect, wanted):
                connection.execute(sql)
        except ApplyError as exc:
            failure.append(exc)

    thread = threading.Thread(target=run, name="read_only", daemon=True)
    try:
        thread.start()
        thread.join(_PATIENCE_S)
        if thread.is_alive():
            while_waiting()
        while thread.is_alive():
            thread.join(0.05)
            if work.stop.is_set() and thread.is_alive():
                other = Connection(settings.connect_keywords(), key=settings.key, read_timeout_s=10)
                try:
                    other.run(f"KILL {connection.connection_id}")
                finally:
                    other.close()
                thread.join(10)
                raise StepFailed(
                    "SET GLOBAL read_only waits for somebody's LOCK TABLES, or a commit that does not end (SHOW"
                    " PROCESSLIST shows it)"
                )
        if failure:
            raise StepFailed(
                f"{settings.address} cannot be set to {wanted}: {failure[0]}"
                + ("; the user needs READ_ONLY ADMIN (MariaDB), or SYSTEM_VARIABLES_ADMIN and CONNECTION_ADMIN (MySQL),"
                   " or SUPER" if isinstance(failure[0], PermanentError) else "")
            ) from failure[0]  # fmt: skip
    finally:
        connection.close()


def read_only_statements(dialect: Dialect, wanted: ReadOnly) -> list[str]:
    """What makes a server take writes so, in order."""
    if dialect.is_mariadb:
        return [f"SET GLOBAL read_only = {int(wanted.read_only)}"]
    if wanted.super_read_only:
        return ["SET GLOBAL super_read_only = 1"]  # and read_only with it
    return ["SET GLOBAL super_read_only = 0", f"SET GLOBAL read_only = {int(wanted.read_only)}"]


def keep_after_restart(server: Server) -> bool:
    """Have a closed server come back closed; whether that could be done. Only MySQL has a statement for it."""
    return _persist(server, ("SET PERSIST read_only = 1",))


def open_after_restart(server: Server) -> bool:
    """An opened server comes back open, whatever was persisted for it before."""
    return _persist(server, ("RESET PERSIST IF EXISTS read_only", "RESET PERSIST IF EXISTS super_read_only"))


def _persist(server: Server, statements: Iterable[str]) -> bool:
    if server.dialect.is_mariadb or server.dialect.version < (8,):
        return False
    try:
        for sql in statements:
            server.call(lambda connection, sql=sql: connection.execute(sql))  # type: ignore[misc]
    except ApplyError:  # its folder of data cannot be written, or the right is missing
        return False
    return True


def is_closed_by_file(server: Server) -> bool:
    """Whether read_only stands in the server's configuration, as far as it shows that: a restart closes it again."""
    sql = (
        "SELECT global_value_origin FROM information_schema.system_variables WHERE variable_name = 'READ_ONLY'"
        if server.dialect.is_mariadb else
        "SELECT variable_source FROM performance_schema.variables_info WHERE variable_name = 'read_only'"
    )  # fmt: skip
    try:
        return str(server.value(sql)) in ("CONFIG", "GLOBAL", "SERVER", "EXPLICIT", "EXTRA", "USER", "COMMAND_LINE")
    except ApplyError:
        return False


def end_sessions(work: CutoverWork, server: Server, which: Sessions, own: Iterable[str]) -> int:
    """KILL until none of the applications' sessions is left; how many there were."""
    if which.end == "none":
        return 0
    kept = {*own, *which.keep, *_SERVERS_OWN}
    ended: set[int] = set()
    while left := [each for each in _sessions(server) if _is_meant(each, which, kept)]:
        for each in left:
            number = int(each["Id"])
            try:
                server.call(lambda connection, number=number: connection.run(f"KILL {number}"))  # type: ignore[misc]
            except PermanentError as exc:
                if exc.code != _GONE:
                    raise StepFailed(f"the session {number} of {each['User']} cannot be ended: {exc}; end it"
                                     " yourself, or name the user in sessions.keep") from exc  # fmt: skip
            ended.add(number)
        if not any(int(each["Id"]) in ended for each in _sessions(server)):
            break
        work.wait(0.05)
    return len(ended)


def _sessions(server: Server) -> list[dict[str, Any]]:
    return server.call(lambda connection: connection.named_rows("SHOW PROCESSLIST"))


def _is_meant(session: dict[str, Any], which: Sessions, kept: set[str]) -> bool:
    user = str(session["User"] or "")
    if user in kept or str(session["Command"]) in _REPLICAS or session["Command"] == "Killed":
        return False
    return which.end == "all" or user in which.users


def privileged(server: Server) -> list[str]:
    """The accounts that write at a server with read_only; of MySQL's super_read_only nobody is."""
    rights: tuple[str, ...] = ("SUPER", "READ_ONLY ADMIN", "READ ONLY ADMIN", "CONNECTION_ADMIN")
    dialect = server.dialect
    if dialect.is_mariadb and dialect.version >= (10, 11):
        rights = ("READ_ONLY ADMIN", "READ ONLY ADMIN")  # MariaDB 10.11 took it out of SUPER
    found = server.rows(
        "SELECT DISTINCT grantee FROM information_schema.user_privileges WHERE privilege_type IN %s ORDER BY grantee",
        (rights,),
    )
    return [str(grantee) for (grantee,) in found]


def replicated_from(server: Server) -> list[str]:
    """The servers whose changes this one writes as their replica, which no read_only stops. Raises ApplyError."""
    try:
        return [
            str(each.get("Source_Host") or each.get("Master_Host"))
            for each in server.call(replica_status)
            if "Yes" in (each.get("Replica_SQL_Running"), each.get("Slave_SQL_Running"))
        ]
    except PermanentError:  # no right to it; who may see all sessions sees the thread
        return ["another server" for each in _sessions(server) if each["Command"] in _WRITING_REPLICAS]


def long_transactions(server: Server, limit_s: float) -> list[str]:
    """Sessions whose transaction has changed rows and has been open for longer."""
    return [
        f"session {thread} has a transaction open for {int(age or 0)} s with {int(rows):,} changed rows"
        for thread, age, rows in server.rows(
            "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()), trx_rows_modified"
            " FROM information_schema.innodb_trx WHERE trx_rows_modified > 0"
            " AND TIMESTAMPDIFF(SECOND, trx_started, NOW()) > %s",
            (limit_s,),
        )
    ]
