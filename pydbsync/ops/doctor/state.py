"""The state schema at the target: whose streams stand there, how far they are, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.apply.connection import Connection
from pydbsync.apply.migrations import newest_version
from pydbsync.apply.origin import StreamOrigin, refuse_another
from pydbsync.apply.state import check_state_version
from pydbsync.errors import ApplyError, ConfigError
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, counted, error, listed, ok, unknown, warning
from pydbsync.ops.doctor.grants import grant_statement
from pydbsync.plan.quoting import quote_name

_OLD_S = 60
_SILENT_S = 15
_SILENT_TIMES = 5
"""A worker that has written nothing for so many of its own intervals has gone."""
_RECENT_S = 600


def check_schema(exam: Examination) -> Iterator[Finding]:
    """It is there, of our version, and transactional."""
    schema = exam.settings.state_schema
    present = _tables(exam)
    grants = exam.grants("target")
    if not present and grants.lacks(("SELECT",), schema):
        yield unknown(
            "state-schema",
            f"whether there is a state schema {schema} cannot be seen",
            f"needs {grant_statement(('SELECT',), schema, '*', exam.account('target'))}",
        )
        return
    if not present:
        yield ok("state-schema", f"the state schema {schema} does not exist yet: the first start makes it")
        return
    try:
        version = check_state_version(exam.target(), schema)
    except ConfigError as exc:
        sentence, _, remedy = str(exc).partition("; this is ")
        yield error("state-version", sentence.removeprefix("state_schema: "), f"this is {remedy}")
        return
    if version < newest_version():
        yield warning(
            "state-version",
            f"the state schema {schema} has version {version}, this pydbsync makes it {newest_version()} at its"
            f" next start",
            f"stop all workers, start one: its user needs CREATE, ALTER and INDEX on {quote_name(schema)}.*"
            " (docs/upgrading.md)",
        )
    else:
        yield ok("state-schema", f"the state schema {schema} has version {version}")
    for table, engine in exam.target().rows(
        "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = %s AND engine <> 'InnoDB'",
        (schema,),
    ):
        yield error(
            "state-engine",
            f"{schema}.{table} is a table of {engine}: place and rows cannot be committed together",
            f"stop the workers; ALTER TABLE {quote_name(schema)}.{quote_name(str(table))} ENGINE=InnoDB",
        )


def check_workers(exam: Examination) -> Iterator[Finding]:
    """Who works on the queues, and what they met last."""
    if "worker" not in _tables(exam):
        return
    wanted = {queue.stream: queue.queue for queue in exam.settings.queues}
    rows = exam.target().rows(
        "SELECT stream, host, pid, state, TIMESTAMPDIFF(SECOND, written_at, NOW(6)), every_s, last_error, remedy,"
        f" TIMESTAMPDIFF(SECOND, last_error_at, NOW(6)) FROM {quote_name(exam.settings.state_schema)}.`worker`"
    )
    alive: set[str] = set()
    for stream, host, pid, state, age_s, every_s, last_error, remedy, error_age_s in rows:
        if stream not in wanted:
            continue
        is_alive = int(age_s or 0) <= max(_SILENT_S, _SILENT_TIMES * float(every_s or 1))
        if is_alive:
            alive.add(str(stream))
        if last_error and is_alive and int(error_age_s or 0) < _RECENT_S:
            yield warning("worker-error", f"the worker of {wanted[stream]} (pid {pid} on {host}, {state}) met:"
                                          f" {last_error}",
                          str(remedy or "pydbsync status shows whether it has passed"))  # fmt: skip
        elif last_error and not is_alive:
            yield error("worker-error", f"the worker of {wanted[stream]} (pid {pid} on {host}) ended with:"
                                        f" {last_error}",
                        str(remedy or "mend that, and start it again"))  # fmt: skip
    seen = {str(row[0]) for row in rows}
    for stream, queue in wanted.items():
        if stream in seen and stream not in alive:
            yield warning("workers", f"no worker reads the queue {queue}: the last one is silent",
                          "start it: pydbsync run (or its service), and see pydbsync status")  # fmt: skip
        elif stream in alive:
            yield ok("workers", f"a worker reads the queue {queue}")


def check_parked(exam: Examination) -> Iterator[Finding]:
    """Changes that wait for a person."""
    if "parked" not in _tables(exam):
        return
    connection, table = exam.target(), f"{quote_name(exam.settings.state_schema)}.`parked`"
    total = int(connection.value(f"SELECT COUNT(*) FROM {table} WHERE status = 'parked'"))
    if not total:
        yield ok("parked", "nothing is parked")
        return
    kinds = connection.rows(
        f"SELECT COUNT(*), MIN(id), source_database, source_table, LEFT(MIN(reason), 200) FROM {table}"
        " WHERE status = 'parked' AND behind IS NULL GROUP BY source_database, source_table, code"
        " ORDER BY COUNT(*) DESC, MIN(id) LIMIT 5"
    )
    for number, first, database, name, reason in kinds:
        yield warning(
            "parked",
            f"{counted(int(number), 'change')} of {database}.{name} parked: {reason}",
            f"pydbsync parked show {first}; mend the cause, then pydbsync parked retry",
        )
    limit = exam.settings.max_parked
    if limit and total >= limit:
        yield error("parked", f"{total:,} changes are parked, and max_parked is {limit:,}: workers stop with exit"
                              f" code 3",
                    "pydbsync parked list; mend the cause, then pydbsync parked retry")  # fmt: skip


def check_streams(exam: Examination) -> Iterator[Finding]:
    """Each queue's place: that it has one, and whose it is."""
    if not {"checkpoint", "stream_origin"} <= _tables(exam):
        return
    connection, schema = exam.target(), exam.settings.state_schema
    rows = {
        str(stream): (base, int(commits), int(applied), age)
        for stream, base, commits, applied, age in connection.rows(
            "SELECT stream, binlog_base, commits, applied, UNIX_TIMESTAMP() - newest_ts"
            f" FROM {quote_name(schema)}.`checkpoint`"
        )
    }
    for queue in exam.settings.queues:
        found = rows.pop(queue.stream, None)
        if found is None:
            yield ok(
                "checkpoint", f"queue {queue.queue} has no checkpoint yet: it begins with what stands in the queue"
            )
        else:
            base, commits, _, _ = found
            if commits and not base:
                yield error(
                    "positions",
                    f"messages of queue {queue.queue} carry no position: what comes twice is applied twice, and a loss"
                    " cannot be told",
                    "Maxwell: output_binlog_position=true and output_xoffset=true in config.properties, and restart it",
                )
        yield from _origin(exam, connection, queue.queue, queue.stream)
    others = sorted(set(rows) - {exam.settings.stream})
    if others and exam.settings.queues:
        yield ok("checkpoint", f"other streams in {schema}: {listed(others)}")


def _origin(exam: Examination, connection: Connection, queue: str, stream: str) -> Iterator[Finding]:
    amqp = exam.settings.amqp
    try:
        cluster = exam.link().cluster_name
    except Away:
        return
    origin = StreamOrigin(queue=queue, vhost=amqp.vhost, cluster=cluster, address=f"{amqp.host}:{amqp.port}")
    try:
        refuse_another(connection, exam.settings.state_schema, stream, origin)
    except ConfigError as exc:
        sentence, _, remedy = str(exc).partition("; ")
        yield error("stream-origin", sentence.removeprefix("stream_names: "), remedy)


def check_schema_changes(exam: Examination) -> Iterator[Finding]:
    """Statements that were begun, and whose end nobody has written."""
    if "schema_change" not in _tables(exam):
        return
    rows = exam.target().rows(
        "SELECT id, stream, LEFT(statement, 120), TIMESTAMPDIFF(SECOND, started_at, NOW()) FROM"
        f" {quote_name(exam.settings.state_schema)}.`schema_change` WHERE status = 'intent'"
    )
    for number, stream, statement, age_s in rows:
        if int(age_s) > _OLD_S:
            yield warning(
                "schema-change",
                f"a schema change of {stream} was begun {int(age_s):,} s ago and has no end (id {number}): {statement}",
                "SHOW PROCESSLIST at the target: it runs, or waits for a lock that another session holds; a worker that"
                " starts again finds out by itself whether it was done",
            )


def longest_schema_change_s(exam: Examination) -> float | None:
    """How long the longest statement took that is in the journal; None where there is none. Raises Away, ApplyError."""
    if "schema_change" not in _tables(exam):
        return None
    found = exam.target().value(
        "SELECT MAX(TIMESTAMPDIFF(MICROSECOND, started_at, ended_at)) / 1e6 FROM"
        f" {quote_name(exam.settings.state_schema)}.`schema_change` WHERE status = 'done'"
    )
    return None if found is None else float(found)


def _tables(exam: Examination) -> set[str]:
    """Those of the state schema that are there and may be read."""

    def read() -> set[str]:
        found = exam.target().rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (exam.settings.state_schema,)
        )
        return {str(name) for (name,) in found}

    return exam.known("state tables", read)


def check_readable(exam: Examination) -> Iterator[Finding]:
    """Where our user may not read it, nothing below is known."""
    schema = exam.settings.state_schema
    try:
        exam.target().rows(f"SELECT 1 FROM {quote_name(schema)}.`checkpoint` LIMIT 1")
    except ApplyError as exc:
        if exc.code in (1044, 1142, 1143):
            yield unknown("state-schema", f"the state schema {schema} may not be read: {exc}",
                          f"needs GRANT SELECT ON {quote_name(schema)}.* TO our user")  # fmt: skip
