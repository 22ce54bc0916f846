"""The state schema at the target: whose streams stand there, how far they are, and what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.apply.connection import Connection
from pydbsync.apply.origin import former_server, origin_of, refuse_another, server_of
from pydbsync.apply.state import check_state_version, lost_parts
from pydbsync.apply.tables.migrations import newest_version
from pydbsync.apply.tables.pause import PauseTable
from pydbsync.config.settings import QueueSettings
from pydbsync.errors import ApplyError, ConfigError
from pydbsync.ops.doctor.binlog import binlog_end, binlog_files
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.status.judge import LATE_S, open_gaps, task_trouble
from pydbsync.ops.status.read import StateReader
from pydbsync.ops.words import age, counted, listed, seconds
from pydbsync.plan.quoting import quote_name
from pydbsync.source.brokers import is_another

_OLD_S = 60
_SILENT_S = 15
_SILENT_TIMES = 5
"""A worker that has written nothing for so many of its own intervals has gone."""
_RECENT_S = 600
_AT_WORK = ("following", "standing by", "copying", "stalled")


def check_schema(exam: Examination) -> Iterator[Finding]:
    """It is there, of our version, and transactional."""
    schema = exam.settings.state_schema
    present = _tables(exam)
    grants = exam.grants("target")
    if not present and grants.lacks(("SELECT",), schema):
        yield unknown(
            "state-schema",
            f"whether there is a state schema {schema} cannot be seen",
            f"needs {exam.granting('target', ('SELECT',), schema)}",
        )
        return
    if not present:
        yield ok("state-schema", f"the state schema {schema} does not exist yet: the first start makes it")
        return
    if foreign := sorted(present - {"schema_version"}) if not {"schema_version", "checkpoint"} & present else []:
        yield error(
            "state-schema",
            f"state_schema is {schema}, and there are other tables in it ({listed(foreign)}): it is no state schema,"
            " and its changes are not replayed",
            "state_schema: a name that no database has, such as pydbsync",
        )
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
    if lost := lost_parts(exam.target(), schema):
        yield error(
            "state-tables",
            f"the state schema {schema} lacks {listed(lost)}: what was in it is not known any more"
            + (", as the places up to which changes were applied" if "checkpoint" in lost else "")
            + ", and the next start makes it anew, empty",
            "start no worker before you know who has removed it: restore the whole target, rows and state schema from"
            " one backup; without one, start the workers and run pydbsync verify",
        )
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
        " TIMESTAMPDIFF(SECOND, last_error_at, NOW(6)), TIMESTAMPDIFF(SECOND, state_since, NOW(6)), lag_s"
        f" FROM {quote_name(exam.settings.state_schema)}.`worker`"
    )
    alive: set[str] = set()
    gone: list[tuple[str, Finding]] = []
    for stream, host, pid, state, age_s, every_s, last_error, remedy, error_age_s, state_s, lag_s in rows:
        if stream not in wanted:
            continue
        is_alive = int(age_s or 0) <= max(_SILENT_S, _SILENT_TIMES * float(every_s or 1))
        if is_alive:
            alive.add(str(stream))
            yield _alive(wanted[stream], str(state), float(state_s or 0), lag_s, f"pid {pid} on {host}")
        if last_error and is_alive and int(error_age_s or 0) < _RECENT_S:
            yield warning("worker-error", f"the worker of {wanted[stream]} (pid {pid} on {host}, {state}) met:"
                                          f" {last_error}",
                          str(remedy or "pydbsync status shows whether it has passed"))  # fmt: skip
        elif last_error and not is_alive:
            gone.append((str(stream), error(
                "worker-error", f"the worker of {wanted[stream]} (pid {pid} on {host}) ended with: {last_error}",
                str(remedy or "mend that, and start it again"),
            )))  # fmt: skip
    # Where another one works on the queue, somebody has mended it.
    yield from (finding for stream, finding in gone if stream not in alive)
    seen = {str(row[0]) for row in rows}
    for stream, queue in wanted.items():
        if stream in seen and stream not in alive:
            yield warning("workers", f"no worker reads the queue {queue}: the last one is silent",
                          "start it: pydbsync run (or its service), and see pydbsync status")  # fmt: skip


def _alive(queue: str, state: str, state_s: float, lag_s: float | None, who: str) -> Finding:
    """What a worker that writes its state is at."""
    if state not in _AT_WORK and state_s > _SILENT_S:
        return warning(
            "workers", f"the worker of {queue} ({who}) applies nothing: {state} for {seconds(state_s)}",
            "pydbsync resume" if state == "paused" else "pydbsync status says what it waits for; its log says more",
        )  # fmt: skip
    if lag_s is not None and lag_s > LATE_S:
        return warning(
            "workers", f"the worker of {queue} ({who}) is {seconds(lag_s)} behind the source",
            "pydbsync status says whether it is catching up, and what it waits for",
        )  # fmt: skip
    return ok("workers", f"a worker reads the queue {queue}")


def check_pauses(exam: Examination) -> Iterator[Finding]:
    """What somebody has paused stays so until somebody resumes it, over restarts too."""
    if "pause" not in _tables(exam):
        return
    names = {queue.stream: queue.queue for queue in exam.settings.queues}
    for pause in PauseTable(exam.settings.state_schema).all(exam.target()):
        if pause.schema_changes_of:
            yield warning(
                "paused", f"paused: {pause}; they are parked, and with them what comes behind",
                f"pydbsync resume --ddl '{pause.schema_changes_of}' applies them",
            )  # fmt: skip
        elif pause.stream in names or not names:
            yield warning(
                "paused", f"paused: {pause}; nothing of it is applied, also by a worker that is started now",
                f"pydbsync resume {names.get(pause.stream, pause.stream)}",
            )  # fmt: skip
        else:
            yield warning(
                "paused", f"paused: {pause}; and no queue of this configuration is called so",
                f"pydbsync resume {pause.stream}, where it is not another configuration's",
            )  # fmt: skip


def check_tools(exam: Examination) -> Iterator[Finding]:
    """How the last runs of capture, heartbeat, verify and others came out, and gaps that nothing has answered."""
    if not {"task", "incident"} <= _tables(exam):
        return
    reader = StateReader(exam.target(), exam.settings)
    tasks = reader.tasks()
    for task in tasks:
        health, text = task_trouble(task)
        if text and (task.kind != "copy" or task.is_over):  # of a silent copy the group source tells
            sentence, _, remedy = text.partition(": ")
            yield (error if health == "down" else warning)("tools", sentence, remedy or "see its log, and run it again")
    for queue in exam.settings.queues:
        gaps = open_gaps(reader.incidents(queue.stream), tasks)
        if gaps:
            yield error(
                "gaps",
                f"something may be missing of queue {queue.queue}: {gaps[0].text} ({age(gaps[0].age_s)})"
                + (f", and {len(gaps) - 1} more" if len(gaps) > 1 else ""),
                "pydbsync verify shows whether rows differ, pydbsync repair mends them; equal rows end this alarm",
            )


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
        f"SELECT COUNT(*), MIN(id), source_database, source_table FROM {table}"
        " WHERE status = 'parked' AND behind IS NULL GROUP BY source_database, source_table, code"
        " ORDER BY COUNT(*) DESC, MIN(id) LIMIT 5"
    )
    for number, first, database, name in kinds:
        reason = connection.value(f"SELECT LEFT(reason, 200) FROM {table} WHERE id = %s", (first,))
        waiting = int(
            connection.value(
                f"SELECT COUNT(*) FROM {table} WHERE status = 'parked' AND source_database = %s AND source_table = %s"
                " AND behind IS NOT NULL",
                (database, name),
            )
        )
        behind = f", and {counted(waiting, 'change')} waiting behind" if waiting else ""
        yield warning(
            "parked",
            f"{counted(int(number), 'change')} of {database}.{name} parked{behind}: {reason}",
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
        str(stream): (str(base), int(file), int(offset), int(commits))
        for stream, base, file, offset, commits in connection.rows(
            f"SELECT stream, binlog_base, binlog_file, binlog_offset, commits FROM {quote_name(schema)}.`checkpoint`"
        )
    }
    for queue in exam.settings.queues:
        found = rows.pop(queue.stream, None)
        if found is None and (known := _traces(exam, queue.stream)):
            yield error(
                "checkpoint",
                f"the checkpoint of queue {queue.queue} is gone from {schema}, where {known} of its stream: how far it"
                " was is not known any more, and what comes twice is applied twice",
                "pydbsync checkpoint set writes the place again, where it is known (the worker's log has it); then"
                " pydbsync verify",
            )
        elif found is None:
            yield ok(
                "checkpoint", f"queue {queue.queue} has no checkpoint yet: it begins with what stands in the queue"
            )
        else:
            base, _, _, commits = found
            if commits and not base:
                yield error(
                    "positions",
                    f"messages of queue {queue.queue} carry no position: what comes twice is applied twice, and a loss"
                    " cannot be told",
                    "Maxwell: output_binlog_position=true and output_xoffset=true in config.properties, and restart it",
                )
        yield from _origin(exam, connection, queue)
        if found is not None:
            yield from _of_another_target(exam, connection, queue.queue, queue.stream)
        if found is not None and found[0]:
            yield from _of_another_source(exam, queue.queue, *found[:3])
    others = sorted(set(rows) - {exam.settings.stream})
    if others and exam.settings.queues:
        yield ok("checkpoint", f"other streams in {schema}: {listed(others)}")


def _traces(exam: Examination, stream: str) -> str:
    """What else the state schema has of a stream that has applied something."""
    schema, tables = quote_name(exam.settings.state_schema), _tables(exam)
    for table, condition, words in (
        ("parked", "status = 'parked'", "changes are parked"),
        ("worker", "applied > 0", "workers have written what they did"),
        ("schema_change", "status <> 'intent'", "schema changes stand in the journal"),
    ):
        if table in tables and exam.target().value(
            f"SELECT 1 FROM {schema}.{quote_name(table)} WHERE stream = %s AND {condition} LIMIT 1", (stream,)
        ):
            return words
    return ""


def _of_another_target(exam: Examination, connection: Connection, queue: str, stream: str) -> Iterator[Finding]:
    """A state schema that came with a copy of the data, or through a fail-over."""
    try:
        former, server = former_server(connection, exam.settings.state_schema, stream), server_of(connection)
    except ApplyError:
        return  # an older state schema does not know
    if former not in ("", server):
        yield warning(
            "other-target",
            f"the stream of queue {queue} was written last at another server ({former}) than this one ({server}): this"
            " is a copy of that target, or took its place, and may lack what that one had committed last",
            "correct db_info where that is the target; after a fail-over: pydbsync verify, and start the workers",
        )


def _of_another_source(exam: Examination, queue: str, base: str, file: int, offset: int) -> Iterator[Finding]:
    """Whether the place is one of the server that source_db_info leads to."""
    try:
        files = binlog_files(exam)
    except Away:
        return
    if not files or exam.settings.source is None:
        return
    newest = files[-1]
    last: int | None = None
    if end := binlog_end(exam.source()):  # asked behind the place, which goes on meanwhile
        newest, last = str(end[0]), int(end[1])
    newest_base, _, number = newest.rpartition(".")
    if base == newest_base:
        is_in_last = number.isdecimal() and file == int(number)
        is_beyond = (number.isdecimal() and file > int(number)) or (is_in_last and last is not None and offset > last)
        if not is_beyond:
            return
    shown = newest if last is None else f"{newest}:{last}"
    yield warning(
        "other-source",
        f"what was applied last of queue {queue} stands at {base}.{file:06d}:{offset}, and the source at"
        f" {exam.settings.source.address} is at {shown}: it is not the server whose"
        " changes are replayed, or its binlog was begun anew",
        "correct host and port of source_db_info; after a fail-over or a RESET of the binlog compare both ends:"
        " pydbsync verify",
    )


def _origin(exam: Examination, connection: Connection, queue: QueueSettings) -> Iterator[Finding]:
    try:
        cluster = exam.link().cluster_name
    except Away:
        return
    amqp = exam.settings.amqp
    origin = origin_of(
        amqp, queue, cluster,
        proves_another=lambda former: is_another(amqp, queue.queue, former.host_and_port()),
    )  # fmt: skip
    try:
        refuse_another(connection, exam.settings.state_schema, queue.stream, origin)
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
