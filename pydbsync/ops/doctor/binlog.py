"""The source's binlog: whether it has all that a replay needs, and is kept for long enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError
from pydbsync.ops.doctor.catalogue import source_databases
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.variables import is_on, number, variables
from pydbsync.ops.words import listed

DAY_S = 86_400
_NO_SUCH_STATEMENT = 1064


def check_binlog(exam: Examination) -> Iterator[Finding]:
    """Rows, whole, in a binlog that has all databases."""
    known = variables(exam, "source")
    if not is_on(known.get("log_bin")):
        yield error(
            "log-bin", "the source writes no binlog", "start it with log_bin=binlog and a server_id, in its my.cnf"
        )
        return
    if (kind := known.get("binlog_format", "ROW")) != "ROW":
        yield error(
            "binlog-format",
            f"the source writes binlog_format={kind}: changes come as statements, and neither Maxwell nor capture"
            f" sees rows",
            "SET GLOBAL binlog_format = 'ROW'; and binlog_format=ROW in my.cnf; sessions that are open keep the old one"
            " until they connect again",
        )
    if (image := known.get("binlog_row_image", "FULL")) not in ("FULL", "FULL_NODUP"):
        yield error(
            "binlog-row-image",
            f"the source writes binlog_row_image={image}: changed rows lack columns",
            "SET GLOBAL binlog_row_image = 'FULL'; and binlog_row_image=FULL in my.cnf; sessions that are open keep"
            " the old"
            " one until they connect again",
        )
    elif image == "FULL_NODUP":
        yield warning("binlog-row-image", "the source writes binlog_row_image=FULL_NODUP, which Maxwell does not know",
                      "SET GLOBAL binlog_row_image = 'FULL'; and binlog_row_image=FULL in my.cnf")  # fmt: skip
    if "PARTIAL_JSON" in known.get("binlog_row_value_options", ""):
        yield error(
            "partial-json",
            "the source writes binlog_row_value_options=PARTIAL_JSON: Maxwell drops such updates (pydbsync capture"
            " reads them)",
            "SET GLOBAL binlog_row_value_options = ''; and leave it out of my.cnf; sessions that are open keep it"
            " until they"
            " connect again",
        )
    if is_on(known.get("binlog_transaction_compression")):
        yield error(
            "binlog-compression",
            "the source writes binlog_transaction_compression=ON: Maxwell does not read compressed transactions"
            " (pydbsync"
            " capture does, with the extra zstd)",
            "SET GLOBAL binlog_transaction_compression = OFF; and leave it out of my.cnf",
        )
    if is_on(known.get("log_bin_compress")):
        yield error("binlog-compression", "the source writes log_bin_compress=ON: Maxwell does not read compressed"
                                          " events"
                    " (pydbsync capture does)",
                    "SET GLOBAL log_bin_compress = OFF; and leave it out of my.cnf")  # fmt: skip
    if known.get("binlog_legacy_event_pos") == "OFF":  # MariaDB from 11.4
        yield (warning if exam.maxwell is None else error)(
            "binlog-places",
            "the source writes binlog_legacy_event_pos=OFF: Maxwell gets no places of rows, and takes them for negative"
            " (pydbsync capture counts them itself)",
            "SET GLOBAL binlog_legacy_event_pos = ON; and in my.cnf, before Maxwell begins",
        )
    metadata = known.get("binlog_row_metadata")
    if metadata is not None and metadata != "FULL":
        yield warning(
            "binlog-row-metadata",
            f"the source writes binlog_row_metadata={metadata}: capture must follow names of columns by DDL",
            "SET GLOBAL binlog_row_metadata = 'FULL'; and binlog_row_metadata=FULL in my.cnf",
        )
    if number(known.get("server_id")) == 0:
        yield error("server-id", "the source has server_id 0: nobody can read its binlog", "server_id=1 in its"
                                                                                           " my.cnf, and a"
                    " restart")  # fmt: skip
    if kind == "ROW" and image == "FULL":
        yield ok("binlog-format", "the source writes whole rows to its binlog")


def check_filtered(exam: Examination) -> Iterator[Finding]:
    """binlog_do_db and binlog_ignore_db leave databases out."""
    status = binlog_status(exam)
    if status is None:
        return
    only, never = ([name for name in str(each or "").split(",") if name] for each in status[2:4])
    databases = source_databases(exam)
    absent = [name for name in databases if (only and name not in only) or name in never]
    if absent:
        yield error(
            "binlog-filter",
            f"the source leaves {listed(absent)} out of its binlog (binlog_do_db or binlog_ignore_db)",
            "take binlog_do_db and binlog_ignore_db out of its my.cnf and restart it; then pydbsync copy the"
            " databases anew",
        )


def check_retention(exam: Examination) -> Iterator[Finding]:
    """The binlog must outlive each stop of the readers, and a copy."""
    known = variables(exam, "source")
    kept_s = number(known.get("binlog_expire_logs_seconds")) or number(known.get("expire_logs_days")) * DAY_S
    if known.get("binlog_expire_logs_auto_purge", "ON").upper() == "OFF":
        kept_s = 0
    name = "binlog_expire_logs_seconds" if "binlog_expire_logs_seconds" in known else "expire_logs_days"
    if not kept_s:
        yield ok("binlog-retention", "the source keeps its binlog until somebody purges it")
    else:
        behind_s = _behind_s(exam)
        long_enough = f"SET GLOBAL {name} = {7 * DAY_S if name.endswith('seconds') else 7}; and in my.cnf"
        if behind_s is not None and behind_s > kept_s / 2:
            yield error(
                "binlog-retention",
                f"the source keeps its binlog for {duration(kept_s)}, and what was applied last is {duration(behind_s)}"
                f" old: what"
                " is not read before it is purged is lost",
                long_enough,
            )
        elif kept_s < DAY_S:
            yield warning(
                "binlog-retention",
                f"the source keeps its binlog for {duration(kept_s)}: a reader that is away for longer, or a copy that"
                f" takes"
                " longer, has lost its place",
                long_enough,
            )
        else:
            yield ok("binlog-retention", f"the source keeps its binlog for {duration(kept_s)}")
    for variable in ("max_binlog_total_size", "binlog_space_limit"):  # MariaDB's, Percona's
        if limit := number(known.get(variable)):
            yield warning(
                "binlog-retention",
                f"the source purges its binlog beyond {variable}={limit:,} bytes, whoever still reads it",
                f"{variable} = 0 in its my.cnf (SET GLOBAL where it can be set)",
            )

    yield from _on_rds(exam)


def _on_rds(exam: Examination) -> Iterator[Finding]:
    """Amazon purges by a setting of its own, whatever the server's variables say."""
    try:
        hours = exam.source().value("SELECT value FROM mysql.rds_configuration WHERE name = 'binlog retention hours'")
    except ApplyError:
        return  # a server that is not Amazon's, or a user that may not look
    if hours is None or number(str(hours)) < 24:
        kept = f"{hours} h" if hours is not None else "as long as it needs it itself, which is minutes"
        yield (warning if hours is not None else error)(
            "binlog-retention",
            f"the source is one of Amazon RDS, which keeps its binlog for {kept}: a reader that is away for longer has"
            " lost its place",
            "CALL mysql.rds_set_configuration('binlog retention hours', 168);",
        )


def check_durability(exam: Examination) -> Iterator[Finding]:
    """What a crash of the source's machine takes out of one of its two logs the target has, or never gets."""
    known = variables(exam, "source")
    weak = [
        name
        for name in ("sync_binlog", "innodb_flush_log_at_trx_commit")
        if name in known and number(known.get(name)) != 1
    ]
    if is_on(known.get("log_bin")) and weak:
        yield warning(
            "source-durability",
            "a crash of the source's machine can leave its tables and its binlog unlike"
            f" ({', '.join(f'{name}={known[name]}' for name in weak)}): what is lost there stays at the target, or"
            " never comes",
            " ".join(f"SET GLOBAL {name} = 1;" for name in weak) + " and in my.cnf; pydbsync verify after each crash",
        )


def check_gtids(exam: Examination) -> Iterator[Finding]:
    """After a fail-over only GTIDs tell the place."""
    mode = variables(exam, "source").get("gtid_mode")
    if mode is not None and mode != "ON":
        yield warning(
            "gtid-mode",
            f"the source has gtid_mode={mode}: after a fail-over to another server nobody can tell where the stream"
            f" goes on",
            "enforce_gtid_consistency=ON and gtid_mode=ON, step by step: OFF_PERMISSIVE, ON_PERMISSIVE, ON",
        )


def binlog_files(exam: Examination) -> list[str] | None:
    """The binlog files that the source still has, oldest first; None where our user may not see them. Raises Away."""

    def read() -> list[str] | None:
        try:
            return [str(name) for name, *_ in exam.source().rows("SHOW BINARY LOGS")]
        except ApplyError:
            return None

    return exam.known("binlog files", read)


def check_status(exam: Examination) -> Iterator[Finding]:
    """Without the right to see the binlog's place some checks say nothing."""
    if is_on(variables(exam, "source").get("log_bin")) and binlog_status(exam) is None:
        yield unknown("binlog-filter", "the binlog's place and filters at the source cannot be seen",
                      f"needs {client_grant(exam)}")  # fmt: skip


def binlog_status(exam: Examination) -> tuple[Any, ...] | None:
    """File, offset and filters as the source shows them; None where our user may not see them. Raises Away."""
    return exam.known("binlog status", lambda: binlog_end(exam.source()))


def binlog_end(connection: Connection) -> tuple[Any, ...] | None:
    """The same as it is now."""
    for sql in ("SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"):
        try:
            found = connection.rows(sql)
            return found[0] if found else None
        except ApplyError as exc:
            if exc.code != _NO_SUCH_STATEMENT:
                return None
    return None


def client_grant(exam: Examination) -> str:
    dialect = exam.source().dialect
    wanted = ["REPLICATION CLIENT"]
    if dialect.is_mariadb and dialect.version >= (10, 5):
        wanted = ["BINLOG MONITOR", "REPLICA MONITOR"]
    return exam.granting("source", wanted)


def _behind_s(exam: Examination) -> float | None:
    """How old the oldest of our places is, by the state at the target; None where there is none."""
    try:
        streams = tuple(queue.stream for queue in exam.settings.queues) or (exam.settings.stream,)
        schema = exam.settings.state_schema.replace("`", "``")
        found = exam.target().value(
            f"SELECT UNIX_TIMESTAMP() - MIN(newest_ts) FROM `{schema}`.checkpoint WHERE newest_ts > 0 AND stream IN %s",
            (streams,),
        )
    except (Away, ApplyError):
        return None
    return None if found is None else float(found)


def duration(seconds: float) -> str:
    for size, name in ((DAY_S, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.0f} s"
