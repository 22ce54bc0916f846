"""The source's server: who writes to it, its clock, what is open there, and the tables that are replayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError
from pydbsync.model import TableName
from pydbsync.ops.doctor.binlog import DAY_S, client_grant, duration
from pydbsync.ops.doctor.catalogue import source_tables
from pydbsync.ops.doctor.examination import Away, Examination, NoTables
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.variables import clock_skew_s, is_on, number, variables
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_table

_SKEW_S = 2.0
_LONG_TRANSACTION_S = 600
_ROWS = ("innodb", "rocksdb", "tokudb", "ndbcluster")
_NO_SUCH_TABLE = (1049, 1146)


def check_replica(exam: Examination) -> Iterator[Finding]:
    """A source that is itself a replica writes what it replicates only if told so, and may be behind or stopped."""
    known = variables(exam, "source")
    logs = is_on(known.get("log_replica_updates", known.get("log_slave_updates", "ON")))
    try:
        status = replica_status(exam.source())
    except ApplyError as exc:
        if not logs:
            yield unknown(
                "replica",
                f"the source has log_replica_updates=OFF, and whether it is a replica cannot be seen ({exc})",
                f"needs {client_grant(exam)}",
            )
        return
    if not status:
        return
    if not logs:
        yield error(
            "replica",
            "the source is a replica with log_replica_updates=OFF: what it replicates is not in its binlog",
            "log_replica_updates=ON (log_slave_updates=ON) in its my.cnf and a restart, or read the server above it",
        )
    for line in status:
        threads = {key: str(value) for key, value in line.items() if key.endswith(("_IO_Running", "_SQL_Running"))}
        stopped = [key for key, value in threads.items() if value != "Yes"]
        if stopped:
            problem = str(line.get("Last_SQL_Error") or line.get("Last_IO_Error") or "no error is given")
            yield error(
                "replica",
                f"the source is a replica whose threads are stopped ({listed(stopped)}): {problem}",
                "mend it there, then START REPLICA (START SLAVE)",
            )
        own = number(_of_target(exam, "server_id"))
        if not stopped and own and number(str(line.get("Source_Server_Id", line.get("Master_Server_Id")))) == own:
            yield error(
                "replica",
                "the source is a replica of the target: what replay writes there comes back to it, and is captured"
                " again",
                "STOP REPLICA (STOP SLAVE) at the source, or correct db_info",
            )
        late = line.get("Seconds_Behind_Source", line.get("Seconds_Behind_Master"))
        if late is not None and int(late) > 60:
            yield warning("replica", f"the source is a replica {duration(int(late))} behind its own source: so is the"
                                     f" target",
                          "see why it is slow, or read the server above it")  # fmt: skip


def _of_target(exam: Examination, name: str) -> str | None:
    try:
        return variables(exam, "target").get(name)
    except (Away, NoTables):
        return None


def check_clock(exam: Examination) -> Iterator[Finding]:
    """Lag is shown by the source's clock."""
    for end, connection in (("source", exam.source()), ("target", exam.target())):
        skew = clock_skew_s(connection)
        if abs(skew) > _SKEW_S:
            yield warning(
                "clock-skew",
                f"the clock of the {end} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this"
                f" machine's: the lag"
                " that is shown is off by as much",
                f"timedatectl set-ntp true (or chronyc makestep) on the {end} and here; or look for SET GLOBAL"
                f" timestamp",
            )
        else:
            yield ok("clock-skew", f"the clock of the {end} is this machine's, within {_SKEW_S:g} s")


def check_sessions(exam: Examination) -> Iterator[Finding]:
    """Sessions keep their own settings: what was corrected globally goes on in them."""
    connection = exam.source()
    wanted = {"binlog_format": ("ROW",), "binlog_row_image": ("FULL",), "binlog_row_value_options": ("",),
              "sql_log_bin": ("ON", "1")}  # fmt: skip
    known = variables(exam, "source")
    if connection.dialect.is_mariadb or not is_on(known.get("performance_schema")):
        return  # MariaDB shows a session's settings to itself alone
    try:
        rows = connection.rows(
            "SELECT t.processlist_id, t.processlist_user, v.variable_name, v.variable_value"
            " FROM performance_schema.variables_by_thread v JOIN performance_schema.threads t USING (thread_id)"
            " WHERE v.variable_name IN %s AND t.type = 'FOREGROUND'",
            (tuple(wanted),),
        )
    except ApplyError:
        yield unknown(
            "sessions",
            "what sessions at the source have set for themselves cannot be seen",
            f"needs {exam.granting('source', ('SELECT',), 'performance_schema')}",
        )
        return
    for number_, user, name, value in rows:
        if str(value) not in wanted[str(name)] and str(value) != known.get(str(name)):
            yield error(
                "sessions",
                f"session {number_} of {user} at the source has {name}={value}: its changes are not in the binlog"
                f" as they"
                " must be",
                f"KILL {number_}; and take the setting out of that program",
            )


def check_transactions(exam: Examination) -> Iterator[Finding]:
    """A transaction comes when it is committed: until then the target lacks all of it."""
    try:
        rows = exam.source().rows(
            "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()), trx_rows_modified"
            " FROM information_schema.innodb_trx WHERE trx_rows_modified > 0"
        )
    except ApplyError:
        yield unknown("long-transactions", "open transactions at the source cannot be seen",
                      f"needs {exam.granting('source', ('PROCESS',))}")  # fmt: skip
        return
    for thread, age_s, modified in rows:
        if int(thread or 0) and int(age_s or 0) > _LONG_TRANSACTION_S:
            yield warning(
                "long-transactions",
                f"session {thread} at the source has a transaction open for {duration(int(age_s))} with"
                f" {int(modified):,} changed"
                " rows: they come all at once, when it commits",
                f"COMMIT or ROLLBACK in it, or KILL {thread}",
            )


def check_prepared(exam: Examination) -> Iterator[Finding]:
    """A prepared XA transaction belongs to no session, and waits over restarts."""
    names = visible_prepared(exam.source())
    if names:
        yield warning(
            "prepared",
            f"{counted(len(names), 'prepared XA transaction')} at the source ({listed(names)}): what they changed comes"
            " when they are committed, and copy waits for them",
            f"XA COMMIT {names[0]}; or XA ROLLBACK {names[0]}; at the source",
        )


def visible_prepared(connection: Connection) -> list[str]:
    """Prepared XA transactions; none where our user may not see them."""
    try:
        return prepared_transactions(connection)
    except ApplyError:
        return []


def prepared_transactions(connection: Connection) -> list[str]:
    """The names of prepared XA transactions, as XA COMMIT takes them. Raises ApplyError."""
    is_mariadb = connection.dialect.is_mariadb
    # A name is bytes, which no character set has to fit.
    rows = connection.rows("XA RECOVER FORMAT='SQL'" if is_mariadb else "XA RECOVER CONVERT XID")
    return [
        lenient_text(data) if is_mariadb else _xid(int(form), int(length), lenient_text(data))
        for form, length, _, data in rows
    ]


def _xid(form: int, length: int, data: str) -> str:
    raw = bytes.fromhex(data.removeprefix("0x"))
    if form == 1 and len(raw) == length and raw.isascii() and raw.decode().isprintable():
        return f"'{raw.decode()}'"
    return f"X'{raw[:length].hex()}',X'{raw[length:].hex()}',{form}"


def check_tables(exam: Examination) -> Iterator[Finding]:
    """Engines whose rows come without a transaction."""
    without = [table for table in source_tables(exam).values() if table.engine.lower() not in (*_ROWS, "")]
    if without:
        names = [f"{table.name} ({table.engine})" for table in without]
        yield warning(
            "source-engine",
            f"{counted(len(names), 'table')} of the source without transactions: {listed(names)}: copy has no"
            f" snapshot of"
            " them, and rows of a transaction that is rolled back stay",
            f"ALTER TABLE `{without[0].name.database}`.`{without[0].name.table}` ENGINE=InnoDB at the source, or"
            f" compare"
            " them with pydbsync verify after the copy",
        )


def check_writable(exam: Examination) -> Iterator[Finding]:
    """The heartbeat is written at the source."""
    if is_on(variables(exam, "source").get("read_only")):
        yield warning("source-read-only", "the source is read_only: pydbsync heartbeat cannot write there",
                      "run the heartbeat at the server that is written to, or SET GLOBAL read_only = OFF")  # fmt: skip


def check_heartbeat(exam: Examination) -> Iterator[Finding]:
    """It proves that nothing is lost on the way; one that has stopped proves nothing any more."""
    database, _, table = exam.settings.heartbeat_table.partition(".")
    try:
        age_s = exam.source().value(
            "SELECT TIMESTAMPDIFF(SECOND, written_at, NOW()) FROM"
            f" {quote_table(TableName(database, table))} WHERE id = 1"
        )
    except ApplyError as exc:
        if exc.code in _NO_SUCH_TABLE:
            yield unknown(
                "heartbeat",
                f"there is no heartbeat ({database}.{table}) at the source: whether messages are lost on the way"
                f" cannot be"
                " proven",
                "run pydbsync heartbeat, as a service of its own",
            )
        else:
            grant = exam.granting("source", ("SELECT",), database)
            yield unknown("heartbeat", f"the heartbeat at the source may not be read: {exc}", f"needs {grant}")
        return
    if age_s is None or int(age_s) > exam.settings.heartbeat_stall_s:
        yield warning(
            "heartbeat",
            f"the heartbeat at the source has stopped {duration(float(age_s or 0))} ago: a loss cannot be proven since",
            "start pydbsync heartbeat again, as a service of its own",
        )
    else:
        yield ok("heartbeat", "the heartbeat at the source beats")


def check_copies(exam: Examination) -> Iterator[Finding]:
    """A copy that takes longer than the binlog is kept has lost its place when it ends."""
    known = variables(exam, "source")
    kept_s = number(known.get("binlog_expire_logs_seconds")) or number(known.get("expire_logs_days")) * DAY_S
    schema = exam.settings.state_schema.replace("`", "``")
    try:
        rows = exam.target().rows(
            "SELECT TIMESTAMPDIFF(SECOND, started_at, NOW(6)), done, total, pid, host,"
            f" TIMESTAMPDIFF(SECOND, written_at, NOW(6)), every_s FROM `{schema}`.`task`"
            " WHERE kind = 'copy' AND ended_at IS NULL"
        )
    except (Away, ApplyError):
        return
    for age_s, done, total, pid, host, silent_s, every_s in rows:
        who = f"the copy (pid {pid} on {host})"
        if int(silent_s) > max(60, 5 * float(every_s)):
            yield warning("copy", f"{who} has said nothing for {duration(int(silent_s))}, and did not end: it was"
                                  f" killed, or its"
                          " machine is gone", "run pydbsync copy again: it goes on where it was")  # fmt: skip
            continue
        expected_s = float(age_s) * float(total) / float(done) if done and total else float(age_s)
        if kept_s and expected_s > kept_s / 2:
            yield (error if expected_s > kept_s else warning)(
                "binlog-retention",
                f"{who} will take about {duration(expected_s)}, and the source keeps its binlog for {duration(kept_s)}:"
                f" changes that"
                " came meanwhile may be purged before anybody reads them",
                f"SET GLOBAL binlog_expire_logs_seconds = {max(7 * DAY_S, int(3 * expected_s))}; at the source, now",
            )


def replica_status(connection: Connection) -> list[dict[str, Any]]:
    """A row for each server that this one replicates from. Raises ApplyError."""
    dialect = connection.dialect
    if dialect.is_mariadb:
        sql = "SHOW ALL SLAVES STATUS"
    else:
        sql = "SHOW REPLICA STATUS" if dialect.version >= (8, 0, 22) else "SHOW SLAVE STATUS"
    return connection.named_rows(sql)
