"""The target's tables against the source's: missing ones, other keys, what would fire."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.engine.routing import row_route, row_settings
from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.ops.doctor.catalogue import Pair, TableFacts, pairs, source_databases, target_databases, target_tables
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.variables import is_on, variables
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_name, quote_table

_TRANSACTIONAL = ("innodb", "rocksdb", "tokudb", "ndbcluster", "ndb")


def check_writable(exam: Examination) -> Iterator[Finding]:
    """MariaDB can refuse to write tables that are compressed by ROW_FORMAT."""
    if not is_on(variables(exam, "target").get("innodb_read_only_compressed")):
        return
    rows = exam.target().rows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN %s"
        " AND row_format = 'Compressed' AND engine = 'InnoDB'",
        (tuple(target_databases(exam)) or ("",),),
    )
    if rows:
        names = listed(f"{database}.{table}" for database, table in rows)
        yield error(
            "read-only-tables",
            f"the target writes no compressed tables (innodb_read_only_compressed=ON), and {names}"
            f" {'are' if len(rows) > 1 else 'is'}: every change would be parked",
            "SET GLOBAL innodb_read_only_compressed = OFF; and in my.cnf; or ALTER TABLE … ROW_FORMAT=DYNAMIC",
        )


def check_present(exam: Examination) -> Iterator[Finding]:
    """Each source table has its table at the target."""
    missing: dict[str, list[Pair]] = {}
    every = pairs(exam)
    databases = {str(row[0]).lower() for row in exam.target().rows("SHOW DATABASES")}
    for pair in every:
        if pair.target is None:
            missing.setdefault(pair.target_name.database, []).append(pair)
        elif pair.target.is_view:
            yield error(
                "table-is-a-view",
                f"{pair.target_name} is a view at the target: rows of {pair.source.name} would go through it",
                f"DROP VIEW {quote_table(pair.target_name)}; then pydbsync copy --tables '{pair.source.name}'",
            )
    for pair, there in _other_case(exam, [pair for absent in missing.values() for pair in absent]):
        missing[pair.target_name.database].remove(pair)
        yield error(
            "missing-tables",
            f"the target has {there}, and no {pair.target_name}: names are told apart by their case there, and every"
            f" change of {pair.source.name} would be parked",
            f"RENAME TABLE {quote_table(there)} TO {quote_table(pair.target_name)}",
        )
    grants = exam.grants("target")
    for database, absent in missing.items():
        hidden = [pair for pair in absent if grants.lacks(("SELECT",), database, pair.target_name.table)]
        if hidden:
            yield unknown(
                "missing-tables",
                f"{listed(pair.target_name for pair in hidden)} at the target are missing, or not shown to our user",
                f"needs {exam.granting('target', ('SELECT',), database)}",
            )
        absent = [pair for pair in absent if pair not in hidden]
        if not absent:
            continue
        names = [pair.source.name for pair in absent]
        what = (
            f"the target has no database {database}"
            if database.lower() not in databases
            else f"the target has no {listed(pair.target_name for pair in absent)}"
        )
        yield error(
            "missing-tables",
            f"{what}: every change of {listed(names)} would be parked",
            "pydbsync copy " + " ".join(f"--tables '{name}'" for name in names[:3])
            + (" …" if len(names) > 3 else "")
            + (", or correct dbname_rewrite" if exam.settings.dbname_rewrite else ""),
        )  # fmt: skip
    if every and not missing:
        yield ok("missing-tables", f"all {counted(len(every), 'table')} that take part are at the target")
    if not every:
        yield warning(
            "missing-tables",
            "no table of the source takes part",
            "look at include and exclude, and at the rights of the source's user",
        )


def _other_case(exam: Examination, absent: list[Pair]) -> list[tuple[Pair, TableName]]:
    """Those that are there under a name that differs in its case alone."""
    by_lower = {str(name).lower(): name for name in target_tables(exam)}
    return [(pair, by_lower[lower]) for pair in absent if (lower := str(pair.target_name).lower()) in by_lower]


def check_keys(exam: Examination) -> Iterator[Finding]:
    """Tables with a key, and with the same one."""
    keyless: list[str] = []
    for source, name, target in pairs(exam):
        if target is None or target.is_view or has_other_columns(exam, source):
            continue
        wanted, found = ([column.lower() for column in table.row_key] for table in (source, target))
        if not wanted and not found:
            keyless.append(str(name))
        elif wanted and not found:
            yield error(
                "other-key",
                f"{name} has no key at the target, {source.name} has ({', '.join(source.row_key)}): each change of"
                f" a row"
                " reads the whole table",
                f"ALTER TABLE {quote_table(name)} ADD PRIMARY KEY ({', '.join(map(quote_name, source.row_key))})",
            )
        elif sorted(wanted) != sorted(found):
            yield error(
                "other-key",
                f"the key of {name} is ({', '.join(target.row_key)}) at the target and"
                f" ({', '.join(source.row_key) or 'none'}) at the source: rows that differ there would replace each"
                f" other",
                f"ALTER TABLE {quote_table(name)} DROP PRIMARY KEY, ADD PRIMARY KEY"
                f" ({', '.join(map(quote_name, source.row_key)) or '…'}), or make them alike at the source",
            )
    if keyless:
        yield warning(
            "no-key",
            f"{counted(len(keyless), 'table')} without a key: {listed(keyless)}: each UPDATE and DELETE of a row"
            f" reads the"
            " whole table",
            "add a primary key at the source (ALTER TABLE … ADD id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY on"
            " both sides"
            " gives rows other numbers there: copy the table anew)",
        )


def check_routes(exam: Examination) -> Iterator[Finding]:
    """Each route fits the tables that it names."""
    settings, count, bad = exam.settings, 0, 0
    for source, name, target in pairs(exam):
        route = row_settings(settings, exam.router, source.name)
        if route is None or target is None or target.is_view:
            continue
        count += 1
        ends = read_table(exam.source(), source.name, with_referrers=False), read_table(exam.target(), name)
        try:
            if ends[0] is not None and ends[1] is not None:
                row_route(settings, route, ends[0], ends[1]).view(ends[0])
        except PlanError as exc:
            bad += 1
            yield error(
                "route", f"{source.name} cannot go its way: {exc}",
                f"correct the route of {route.table} (docs/routes.md); until then its rows are parked",
            )  # fmt: skip
    if count and not bad:
        yield ok("route", f"the routes fit {counted(count, 'table')}")


def has_other_columns(exam: Examination, source: TableFacts) -> bool:
    """Whether a route makes other columns of the table: those of both sides are not to be alike."""
    route = row_settings(exam.settings, exam.router, source.name)
    return route is not None and route.has_columns


def check_engines(exam: Examination) -> Iterator[Finding]:
    """Exactly once needs transactions."""
    without = [
        table
        for table in target_tables(exam).values()
        if not table.is_view and table.engine.lower() not in _TRANSACTIONAL and _takes_part(exam, table)
    ]
    if without:
        yield error(
            "engine",
            f"without transactions at the target: {listed(f'{each.name} ({each.engine})' for each in without)}: a"
            " crash can apply a change twice",
            f"ALTER TABLE {quote_table(without[0].name)} ENGINE=InnoDB",
        )


def check_programs(exam: Examination) -> Iterator[Finding]:
    """Triggers and events at the target, whose effects arrive as rows already."""
    databases = target_databases(exam)
    if not databases:
        return
    connection = exam.target()
    for end_right in ("TRIGGER", "EVENT"):
        lacking = [name for name in databases if exam.grants("target").lacks((end_right,), name)]
        if lacking:
            yield unknown(
                f"target-{end_right.lower()}s",
                f"{end_right.lower()}s at the target cannot be seen in {listed(lacking)}",
                f"needs {exam.granting('target', (end_right,), lacking[0])}",
            )
    triggers = connection.rows(
        "SELECT trigger_schema, trigger_name, event_object_table FROM information_schema.triggers"
        " WHERE trigger_schema IN %s",
        (tuple(databases),),
    )
    if triggers:
        shown = [f"{database}.{name} on {table}" for database, name, table in triggers]
        yield error(
            "target-triggers",
            f"the target has {counted(len(shown), 'trigger')}: {listed(shown)}: what it does comes twice, because its"
            " effects at the source arrive as rows",
            f"DROP TRIGGER {quote_name(str(triggers[0][0]))}.{quote_name(str(triggers[0][1]))}, until the cut-over",
        )
    events = connection.rows(
        "SELECT event_schema, event_name FROM information_schema.events WHERE event_schema IN %s AND status ="
        " 'ENABLED'",
        (tuple(databases),),
    )
    if events:
        scheduler = str(connection.value("SELECT @@event_scheduler")).upper() in ("ON", "1")
        shown = [f"{database}.{name}" for database, name in events]
        yield (error if scheduler else warning)(
            "target-events",
            f"the target has {counted(len(shown), 'enabled event')}: {listed(shown)}"
            + (", and event_scheduler is ON: they change rows beside the stream" if scheduler else
               ", which begin to run when event_scheduler is turned on"),
            f"ALTER EVENT {quote_name(str(events[0][0]))}.{quote_name(str(events[0][1]))} DISABLE, until the cut-over",
        )  # fmt: skip


def check_defaults(exam: Examination) -> Iterator[Finding]:
    """A table that is created without a character set gets its database's."""
    wanted = _database_collations(exam.source())
    found = _database_collations(exam.target())
    across = exam.source().dialect.is_mariadb != exam.target().dialect.is_mariadb
    for database in source_databases(exam):
        for other in exam.router.databases(database):
            pair = (wanted.get(database), found.get(other))
            if (
                None in pair
                or pair[0] == pair[1]
                or (across and str(pair[0]).split("_")[0] == str(pair[1]).split("_")[0])
            ):
                continue
            yield warning(
                "database-collation",
                f"new tables of {other} get the collation {pair[1]} at the target, and {pair[0]} at the source",
                f"ALTER DATABASE {quote_name(other)} COLLATE {pair[0]}",
            )


def _database_collations(connection: Connection) -> dict[str, str]:
    rows = connection.rows("SELECT schema_name, default_collation_name FROM information_schema.schemata")
    return {str(name): str(collation) for name, collation in rows}


def _takes_part(exam: Examination, table: TableFacts) -> bool:
    try:
        known = exam.known("target names", lambda: {pair.target_name for pair in pairs(exam)})
    except Away:
        return True
    return table.name in known
