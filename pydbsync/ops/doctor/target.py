"""The target's server: does it take what comes, keep it, and leave it as it came."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Final

from pydbsync.apply.connection import Connection
from pydbsync.apply.system_zone import system_zone
from pydbsync.errors import ApplyError
from pydbsync.ops.doctor.catalogue import source_tables
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.reach import is_local
from pydbsync.ops.doctor.source import visible_prepared
from pydbsync.ops.doctor.variables import is_on, number, variables
from pydbsync.ops.words import counted, listed

_LEAST_FREE = 0.1
_FULL_SHARE = 0.9
_LONG_S = 60
_KEPT_S: Final = 86_400
_DELAY_US: Final = 10_000
_SEMI_SYNC: Final = ("rpl_semi_sync_master_enabled", "rpl_semi_sync_source_enabled")
_MATTERING_MODES: Final = (
    "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT", "IGNORE_SPACE", "PAD_CHAR_TO_FULL_LENGTH",
    "REAL_AS_FLOAT", "HIGH_NOT_PRECEDENCE", "NO_ZERO_DATE", "NO_ZERO_IN_DATE", "STRICT_TRANS_TABLES",
    "STRICT_ALL_TABLES",
    "ERROR_FOR_DIVISION_BY_ZERO", "NO_ENGINE_SUBSTITUTION", "NO_UNSIGNED_SUBTRACTION", "ONLY_FULL_GROUP_BY",
    "NO_AUTO_VALUE_ON_ZERO", "TIME_TRUNCATE_FRACTIONAL", "SIMULTANEOUS_ASSIGNMENT", "ALLOW_INVALID_DATES",
)  # fmt: skip


def check_writable(exam: Examination) -> Iterator[Finding]:
    """A server that writes nothing is waited for, for ever."""
    known = variables(exam, "target")
    for name in (
        "super_read_only",
        "read_only",
        "innodb_read_only",
        "offline_mode",
        "transaction_read_only",
        "tx_read_only",
    ):
        value = known.get(name, "OFF")
        if is_on(value) or value.upper() in ("READ_ONLY", "NO_LOCK", "NO_LOCK_NO_ADMIN"):
            yield error(
                "read-only",
                f"the target has {name}={value}: nothing is written there"
                + (" but by users with a right to it" if name == "read_only" else ""),
                f"SET GLOBAL {name} = OFF; and leave it out of my.cnf, or point db_info to the server that is"
                f" written to",
            )
            return
    if level := number(known.get("innodb_force_recovery")):
        yield error("read-only", f"the target runs with innodb_force_recovery={level}: it may refuse or lose writes",
                    "mend its data, take innodb_force_recovery out of my.cnf and restart it")  # fmt: skip
        return
    yield ok("read-only", "the target is writable")


def check_packets(exam: Examination) -> Iterator[Finding]:
    """What the source could store, the target must take in one statement."""
    size = number(variables(exam, "target").get("max_allowed_packet"))
    try:
        wanted = number(variables(exam, "source").get("max_allowed_packet"))
    except Away:
        wanted = 2**24
        if size < wanted:
            yield warning("max-allowed-packet", f"the target takes packets of {size:,} bytes: longer rows are parked",
                          f"SET GLOBAL max_allowed_packet = {2**30}; and max_allowed_packet=1G in my.cnf")  # fmt: skip
        return
    if size < wanted:
        yield error(
            "max-allowed-packet",
            f"the target takes packets of {size:,} bytes, the source of {wanted:,}: rows that are longer are parked",
            f"SET GLOBAL max_allowed_packet = {max(wanted, 2**26)}; and the same in my.cnf",
        )
    else:
        yield ok("max-allowed-packet", f"the target takes packets of {size:,} bytes")


def check_durability(exam: Examination) -> Iterator[Finding]:
    """A commit that a crash takes back was acknowledged to RabbitMQ all the same."""
    known = variables(exam, "target")
    weak = {}
    if number(known.get("innodb_flush_log_at_trx_commit", "1")) != 1:
        weak["innodb_flush_log_at_trx_commit"] = "1"
    if is_on(known.get("log_bin")) and number(known.get("sync_binlog", "1")) != 1:
        weak["sync_binlog"] = "1"
    if known.get("innodb_doublewrite", "ON").upper() in ("OFF", "0"):
        weak["innodb_doublewrite"] = "ON"
    if weak:
        yield warning(
            "durability",
            "the target answers a COMMIT before it is on disk ("
            + ", ".join(f"{name}={known.get(name)}" for name in weak)
            + "): a crash of its machine loses changes that RabbitMQ does not have any more",
            " ".join(f"SET GLOBAL {name} = {value};" for name, value in weak.items()) + " and the same in my.cnf",
        )
    else:
        yield ok("durability", "the target has a commit on disk before it answers")


def check_binlog(exam: Examination) -> Iterator[Finding]:
    """Replay works at READ COMMITTED, whose rows no server can log as statements (1665)."""
    known = variables(exam, "target")
    if is_on(known.get("log_bin")) and known.get("binlog_format", "ROW") == "STATEMENT":
        yield error(
            "target-binlog-format",
            "the target writes binlog_format=STATEMENT: it refuses each row of replay, and all would be parked",
            "SET GLOBAL binlog_format = 'ROW'; and binlog_format=ROW in my.cnf; restart the workers",
        )


def check_way_back(exam: Examination) -> Iterator[Finding]:
    """With two_way the other direction reads the target's binlog."""
    if exam.settings.two_way is None:
        return
    known = variables(exam, "target")
    if not is_on(known.get("log_bin")):
        yield error(
            "way-back", "the target writes no binlog: the other direction (two_way) has nothing to read",
            "log_bin in its my.cnf and a restart, before the other direction begins",
        )  # fmt: skip
        return
    wanted = {"binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_value_options": ""}
    wrong = {name: value for name, value in wanted.items() if known.get(name, value).upper() != value}
    if wrong:
        yield error(
            "way-back",
            f"the target writes {', '.join(f'{name}={known[name]}' for name in wrong)}: what the other direction"
            " (two_way) reads there is not whole",
            " ".join(f"SET GLOBAL {name} = '{value}';" for name, value in wrong.items())
            + " at the target, and the same in my.cnf; then end sessions that are older",
        )
    replicas = known.get("log_replica_updates", known.get("log_slave_updates", "ON"))
    kept_s = number(known.get("binlog_expire_logs_seconds")) or 86_400 * number(known.get("expire_logs_days"))
    if 0 < kept_s < _KEPT_S and is_on(replicas or "ON"):
        yield warning(
            "way-back", f"the target keeps its binlog for {kept_s / 3600:,.1f} h: where the other direction (two_way)"
            " stands still for longer, it has lost its place",
            "SET GLOBAL binlog_expire_logs_seconds = 604800; at the target, and in my.cnf",
        )  # fmt: skip


def check_commits(exam: Examination) -> Iterator[Finding]:
    """A commit of one stream has no others to wait for."""
    known = variables(exam, "target")
    if not is_on(known.get("log_bin")):
        return
    delay_us = number(known.get("binlog_group_commit_sync_delay"))
    if number(known.get("binlog_commit_wait_count")) > 1:
        delay_us = number(known.get("binlog_commit_wait_usec"))
    if delay_us >= _DELAY_US:
        names = [name for name in ("binlog_group_commit_sync_delay", "binlog_commit_wait_count") if name in known]
        yield warning(
            "commit-delay",
            f"the target holds each commit back for {delay_us / 1e6:.3g} s so that others come with it: a worker"
            " commits its batches one after the other, and waits each time",
            " ".join(f"SET GLOBAL {name} = 0;" for name in names) + " and the same in my.cnf",
        )
    status = {
        str(name).lower().replace("master", "source"): str(value)
        for name, value in exam.target().rows("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'")
    }
    enabled = next((name for name in _SEMI_SYNC if is_on(known.get(name))), "")
    if enabled and status.get("rpl_semi_sync_source_clients", "0") == "0":
        timeout = number(known.get(enabled.replace("enabled", "timeout")))
        yield warning(
            "semi-sync",
            f"the target waits for a replica to confirm each commit ({enabled}), and none is connected: replay stands"
            f" for up to {timeout / 1000:,.0f} s at a commit",
            f"connect its semi-synchronous replica, or SET GLOBAL {enabled} = OFF",
        )


def check_modes(exam: Examination) -> Iterator[Finding]:
    """pydbsync sets its own sql_mode; what was made at the target by others, and the application after the cut-over,
    has
    the server's."""
    known = variables(exam, "target")
    if statement := known.get("init_connect"):
        yield warning("init-connect", f"the target runs init_connect for each new session: {statement[:80]}",
                      "SET GLOBAL init_connect = ''; or see that it changes no setting of rows")  # fmt: skip
    try:
        there = variables(exam, "source")
    except Away:
        return
    brands = exam.source().dialect.is_mariadb == exam.target().dialect.is_mariadb
    wanted, found = ({mode for mode in each.get("sql_mode", "").split(",") if mode in _MATTERING_MODES}
                     for each in (there, known))  # fmt: skip
    differing = sorted(wanted ^ found)
    if differing:
        yield warning(
            "sql-mode",
            f"the servers differ in sql_mode ({listed(differing)}): the application, triggers and events meet"
            f" another server"
            " after the cut-over" + ("" if brands else "; the brands' defaults differ too"),
            f"SET GLOBAL sql_mode = '{there.get('sql_mode', '')}'; at the target, and the same in my.cnf",
        )


def check_names(exam: Examination) -> Iterator[Finding]:
    """Names that are two at the source must not become one."""
    here = number(variables(exam, "target").get("lower_case_table_names"))
    there = number(variables(exam, "source").get("lower_case_table_names"))
    if (here == 0) == (there == 0):
        return
    names: dict[str, list[str]] = {}
    for name in source_tables(exam):
        names.setdefault(str(name).lower(), []).append(str(name))
    doubled = [each for each in names.values() if len(each) > 1]
    if here and doubled:
        yield error(
            "name-case",
            f"the target has lower_case_table_names={here}, and {' and '.join(doubled[0])} of the source become one"
            f" table",
            "another name at the source, or a target with lower_case_table_names=0 (set when its data folder is made)",
        )
    else:
        yield warning(
            "name-case",
            f"lower_case_table_names is {there} at the source and {here} at the target: statements that write a name in"
            " another case than the table has mean something else there",
            "a target with the same lower_case_table_names (set when its data folder is made)",
        )


def check_engines(exam: Examination) -> Iterator[Finding]:
    """New tables must be transactional."""
    known = variables(exam, "target")
    default = known.get("default_storage_engine", "InnoDB")
    forced = known.get("enforce_storage_engine", "")
    disabled = known.get("disabled_storage_engines", "")
    if default.lower() != "innodb":
        yield warning("default-engine", f"new tables of the target are made as {default} where the source does not"
                                        f" say more",
                      "SET GLOBAL default_storage_engine = InnoDB; and the same in my.cnf")  # fmt: skip
    if forced and forced.upper() not in ("NULL", "NONE", "INNODB"):
        yield error("default-engine", f"the target makes all tables as {forced} (enforce_storage_engine)",
                    "SET GLOBAL enforce_storage_engine = NULL; and leave it out of my.cnf")  # fmt: skip
    if "innodb" in disabled.lower():
        yield error("default-engine", "the target lets nobody make InnoDB tables (disabled_storage_engines)",
                    "take InnoDB out of disabled_storage_engines in my.cnf and restart it")  # fmt: skip


def check_rows(exam: Examination) -> Iterator[Finding]:
    """How rows lie on disk decides which tables and keys can be made."""
    known, there = variables(exam, "target"), variables(exam, "source")
    if (form := known.get("innodb_default_row_format", "dynamic").lower()) in ("compact", "redundant"):
        yield warning(
            "row-format",
            f"new tables of the target have the row format {form} (innodb_default_row_format): schema changes with keys"
            " of more than 767 bytes, such as VARCHAR(192) in utf8mb4, are refused there",
            "SET GLOBAL innodb_default_row_format = dynamic; and leave it out of my.cnf",
        )
    page, wanted = (number(each.get("innodb_page_size")) for each in (known, there))
    if 0 < page < wanted:
        yield warning(
            "page-size",
            f"the target has pages of {page:,} bytes, the source of {wanted:,} (innodb_page_size): tables with longer"
            " rows or keys cannot be made there",
            f"a target whose data folder is made with innodb_page_size={wanted}",
        )
    if is_on(known.get("innodb_force_primary_key")):
        without = [str(table.name) for table in source_tables(exam).values() if not table.row_key]
        if without:
            yield warning(
                "forced-keys",
                f"the target makes no table without a key (innodb_force_primary_key=ON), and the source has"
                f" {listed(without)}: CREATE TABLE and copies of such are refused",
                "SET GLOBAL innodb_force_primary_key = OFF; and leave it out of my.cnf",
            )


def check_zones(exam: Examination) -> Iterator[Finding]:
    """NOW() and TIMESTAMP mean something by the session's zone; replay itself works in UTC."""
    here, there = _zone_of(exam.target(), variables(exam, "target")), _zone_of(exam.source(), variables(exam, "source"))
    if _zone(here) != _zone(there):
        yield warning(
            "time-zone",
            f"the time zone is {there} at the source and {here} at the target: the application reads other times in"
            " its TIMESTAMP columns, and writes others by NOW(), after the cut-over",
            f"SET GLOBAL time_zone = '{there}'; at the target, and default-time-zone in my.cnf (an offset such as"
            " '+08:00' where the name is not known there)",
        )
    is_named = "/" in there
    named = f"SELECT CONVERT_TZ('2020-06-01 00:00:00', '+00:00', '{there if is_named else 'Asia/Shanghai'}')"
    if (is_named or exam.source().value(named) is not None) and exam.target().value(named) is None:
        program = "mariadb-tzinfo-to-sql" if exam.target().dialect.is_mariadb else "mysql_tzinfo_to_sql"
        yield warning(
            "time-zone",
            f"the target knows no time zones by name, the source {f'is in {there}' if is_named else 'does'}: sessions"
            " that set one, and schema changes of such sessions, are refused there",
            f"{program} /usr/share/zoneinfo | mysql mysql at the target",
        )


def _zone_of(connection: Connection, known: Mapping[str, str]) -> str:
    zone, letters = known.get("time_zone", "SYSTEM"), known.get("system_time_zone", "")
    return system_zone(connection.rows, letters) if zone.upper() == "SYSTEM" else zone


def _zone(name: str) -> str:
    return "+00:00" if name.upper() in ("UTC", "GMT", "+00:00", "ETC/UTC") else name


def check_connections(exam: Examination) -> Iterator[Finding]:
    """A worker needs two connections, copy and verify several more."""
    limit = number(variables(exam, "target").get("max_connections"))
    rows = exam.target().rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    used = int(rows[0][1]) if rows else 0
    if limit and used > _FULL_SHARE * limit:
        yield warning("max-connections", f"the target has {used} of {limit} connections in use",
                      f"SET GLOBAL max_connections = {2 * limit}; and the same in my.cnf")  # fmt: skip


def check_blockers(exam: Examination) -> Iterator[Finding]:
    """Transactions of others at the target hold locks that rows and schema changes wait for."""
    connection = exam.target()
    try:
        rows = connection.rows(
            "SELECT t.trx_mysql_thread_id, p.user, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), t.trx_rows_locked"
            " FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p"
            " ON p.id = t.trx_mysql_thread_id WHERE t.trx_mysql_thread_id <> CONNECTION_ID()"
        )
    except ApplyError:
        yield unknown("blockers", "open transactions at the target, which rows may wait for, cannot be seen",
                      f"needs {exam.granting('target', ('PROCESS',))}")  # fmt: skip
        return
    for thread, user, age_s, locked in rows:
        if int(age_s or 0) > _LONG_S and int(thread or 0):
            yield warning(
                "blockers",
                f"session {thread} of {user} at the target has a transaction open for {int(age_s)} s that holds"
                f" {int(locked or 0):,} row locks: changes of these rows, and schema changes of its tables, wait"
                f" for it",
                f"COMMIT or ROLLBACK in it, or KILL {thread}",
            )
    with_lock = "SELECT id, user, time FROM information_schema.processlist WHERE info LIKE %s AND command = 'Query'"
    for thread, user, age_s in connection.rows(with_lock, ("%LOCK TABLES%",)):
        if int(age_s) > _LONG_S:
            yield warning("blockers", f"session {thread} of {user} at the target waits for, or holds, LOCK TABLES",
                          f"UNLOCK TABLES in it, or KILL {thread}")  # fmt: skip


def check_prepared(exam: Examination) -> Iterator[Finding]:
    """XA transactions that are prepared hold their locks over a restart."""
    names = visible_prepared(exam.target())
    if names:
        yield warning(
            "prepared",
            f"{counted(len(names), 'prepared XA transaction')} at the target ({listed(names)}): they hold their locks"
            " over a restart, and changes of these rows wait",
            f"XA COMMIT {names[0]}; or XA ROLLBACK {names[0]};",
        )


def check_space(exam: Examination) -> Iterator[Finding]:
    """Free space, where it can be known: on this machine, or by MariaDB's plugin DISKS."""
    folder = variables(exam, "target").get("datadir", "")
    connection = exam.target()
    host = str(exam.settings.target.connect.get("host", "localhost"))
    found: tuple[float, float] | None = None
    if is_local(host) and os.path.isdir(folder) and os.access(folder, os.R_OK):
        usage = shutil.disk_usage(folder)
        found = (usage.free, usage.total)
    elif connection.dialect.is_mariadb:
        try:
            rows = connection.rows("SELECT path, available, total FROM information_schema.disks")
            fitting = [row for row in rows if folder.startswith(str(row[0]))]
            if fitting:
                _, free, total = max(fitting, key=lambda row: len(str(row[0])))
                found = (int(free) * 1024, int(total) * 1024)
        except ApplyError:
            pass
    if found is None:
        yield unknown("free-space", f"the room that is left in {folder} at the target cannot be seen from here",
                      f"look there: df -h {folder}" + ("; INSTALL SONAME 'disks' and GRANT FILE show it to us"
                                                       if connection.dialect.is_mariadb else ""))  # fmt: skip
    elif found[0] < _LEAST_FREE * found[1]:
        yield warning("free-space", f"{found[0] / 2**30:,.1f} GiB of {found[1] / 2**30:,.1f} are free in {folder}"
                                    f" at the"
                      " target: a full disk stops replay",
                      "make room, and PURGE BINARY LOGS there if nobody needs them")  # fmt: skip
    else:
        yield ok("free-space", f"{found[0] / 2**30:,.1f} GiB are free in {folder} at the target")
