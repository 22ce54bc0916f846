"""Reads the state schema, and asks RabbitMQ, each within a short time; writes nothing."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Sequence
from typing import Any

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection, connection_for_questions
from pydbsync.apply.state import check_state_version, lost_parts
from pydbsync.apply.tables.pause import Pause, PauseTable
from pydbsync.config.settings import QueueSettings, Settings
from pydbsync.errors import ConfigError, PermanentError, PydbsyncError, SourceError, TransientError
from pydbsync.ops.status.cutovers import read_cutovers
from pydbsync.ops.status.facts import (
    BrokerQueue,
    DecidedConflicts,
    Gap,
    ParkedGroup,
    Process,
    Queue,
    Reached,
    Status,
    TaskRun,
)
from pydbsync.ops.status.kept import read_kept
from pydbsync.plan.quoting import quote_name
from pydbsync.source.link import BrokerLink, LinkStopped, link_for_questions

ANSWER_S = 4.0
"""A server that takes longer is said to be away."""
_MISSING = (1049, 1146)
_GROUPS = 50
_TASK_DAYS = 2
_INCIDENT_DAYS = 7


def read_status(settings: Settings) -> Status:
    """All that can be known from here within some seconds. Raises ConfigError for a state schema that is newer."""
    now = dt.datetime.now(dt.timezone.utc)
    sink = settings.sink
    status = Status(
        at=now.strftime("%Y-%m-%d %H:%M:%S"), target=settings.target.address if sink is None else sink.address,
        state_schema=settings.state_schema if sink is None else "",
    )  # fmt: skip
    depths: dict[str, BrokerQueue | str] = {}
    asking = threading.Thread(target=_ask_broker, args=(settings, status, depths), daemon=True)
    asking.start()
    try:
        if sink is None:
            _read_target(settings, status)
        else:
            status.queues, status.tasks = read_kept(settings, logging.getLogger("pydbsync.status"))
    except TransientError as exc:
        status.target_note = str(exc)
    except ConfigError as exc:
        if "version" in str(exc) and "state schema" in str(exc):
            raise
        status.target_note = str(exc)
    for queue in settings.queues:
        if not any(each.stream == queue.stream for each in status.queues):
            status.queues.append(Queue(stream=queue.stream, queue=queue.queue, is_configured=True))
    asking.join(2 * ANSWER_S)
    if asking.is_alive():
        status.rabbitmq_note = status.rabbitmq_note or "it does not answer"
    for each in status.queues:
        found = depths.get(each.queue)
        if isinstance(found, BrokerQueue):
            each.broker = found
        elif found:
            each.broker_note = found
    return status


def _read_target(settings: Settings, status: Status) -> None:
    connection = connection_for_questions(settings.target, answer_s=ANSWER_S)
    try:
        brand = "MariaDB" if connection.dialect.is_mariadb else "MySQL"
        status.target += f" ({brand} {connection.version})"
        status.state_version = check_state_version(connection, settings.state_schema)
        status.state_lost = lost_parts(connection, settings.state_schema) if status.state_version else []
        reader = StateReader(connection, settings)
        status.queues = reader.queues(settings.queues)
        status.tasks = reader.tasks()
        read_cutovers(settings, connection, status)
    finally:
        connection.close()


class StateReader:
    """Reads the state schema over one connection; what is not made yet is empty. Raises ConfigError where it may not be
    read, TransientError."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._schema = settings.state_schema
        self._name = quote_name(settings.state_schema)

    def queues(self, configured: Sequence[QueueSettings]) -> list[Queue]:
        """Those of the configuration, then what else the state schema knows."""
        names = {queue.stream: queue.queue for queue in configured}
        origins = dict(self._rows("SELECT stream, queue FROM {}.stream_origin"))
        places = {str(row["stream"]): row for row in self._objects("SELECT *, {age:updated_at} FROM {}.checkpoint")}
        workers = self._workers()
        parked = self._rows("SELECT stream FROM {}.parked FORCE INDEX (stream) WHERE status = 'parked' GROUP BY stream")
        pauses = self._pauses()
        found = []
        for stream in dict.fromkeys((*names, *sorted({*places, *workers, *(str(stream) for (stream,) in parked)}))):
            queue = Queue(
                stream=stream,
                queue=names.get(stream) or str(origins.get(stream, stream)),
                is_configured=stream in names or not configured,
            )
            queue.place = _place(places[stream]) if stream in places else None
            queue.is_owned = CheckpointRow(schema=self._schema, stream=stream).is_locked(self._connection)
            self._divide(queue, workers.get(stream, []))
            queue.parked = self._parked(stream)
            queue.conflicts = self._conflicts(stream)
            queue.incidents = self.incidents(stream)
            own = [each for each in pauses if each.stream in ("", stream)]
            queue.paused = next((str(each) for each in own if not each.schema_changes_of), "")
            queue.paused_ddl = [str(each) for each in own if each.schema_changes_of]
            found.append(queue)
        return found

    def tasks(self) -> list[TaskRun]:
        """Those at work, and the last of each kind and name that have ended lately."""
        rows = self._objects(
            "SELECT *, {age:state_since}, {age:started_at}, {age:written_at} FROM {}.task"
            f" WHERE written_at > CURRENT_TIMESTAMP - INTERVAL {_TASK_DAYS} DAY"
            " OR (kind = 'capture' AND ended_at IS NULL) ORDER BY id DESC LIMIT 200"
        )
        found: dict[tuple[str, str, str], TaskRun] = {}
        for row in rows:
            task = TaskRun(
                id=int(row["id"]), kind=row["kind"], name=row["name"], host=row["host"], pid=int(row["pid"]),
                state=row["state"], state_s=row["state_since_s"], started_s=row["started_at_s"],
                written_s=row["written_at_s"], every_s=row["every_s"], done=row["done"], total=row["total"],
                unit=row["unit"], per_s=row["per_s"], detail=row["detail"], result=row["result"],
                last_error=row["last_error"], remedy=row["remedy"], exit_code=row["exit_code"],
                is_over=row["ended_at"] is not None,
            )  # fmt: skip
            alive = "" if task.is_over or not task.is_fresh else str(task.id)
            found.setdefault((task.kind, task.name, alive), task)
        # A run that ended says nothing any more where a newer one of its kind is at work.
        at_work = {(kind, name) for kind, name, alive in found if alive}
        return [task for (kind, name, alive), task in found.items() if alive or (kind, name) not in at_work]

    def _workers(self) -> dict[str, list[Process]]:
        rows = self._objects(
            "SELECT *, {age:state_since}, {age:written_at}, {age:last_error_at}, {age:last_commit_at},"
            " {age:heartbeat_at} FROM {}.worker ORDER BY written_at DESC"
        )
        found: dict[str, list[Process]] = {}
        for row in rows:
            stream = str(row.pop("stream"))
            figures = {
                name: value
                for name, value in row.items()
                if not isinstance(value, dt.datetime) and name not in _OWN and not name.startswith("last_error")
            }
            found.setdefault(stream, []).append(
                Process(
                    host=row["host"], pid=int(row["pid"]), pydbsync_version=row["pydbsync_version"],
                    state=row["state"], state_s=row["state_since_s"], written_s=row["written_at_s"],
                    every_s=row["every_s"], figures=figures, last_error=row["last_error"],
                    last_error_s=row["last_error_at_s"], remedy=row["remedy"],
                )
            )  # fmt: skip
        return found

    @staticmethod
    def _divide(queue: Queue, processes: list[Process]) -> None:
        """Which of the processes is the owner: of those that have written last, the one with the newest ownership."""
        fresh = [process for process in processes if process.is_fresh and process.state != "stopped"]
        stand_by = [process for process in fresh if process.state == "standing by"]
        others = [process for process in processes if process not in stand_by]
        others.sort(key=lambda process: (process.figures.get("epoch") or 0, -process.written_s), reverse=True)
        queue.worker = others[0] if others else None
        queue.stand_by = stand_by

    def _parked(self, stream: str) -> list[ParkedGroup]:
        """All columns are those of the key `counts`: no row is read, and no message. MySQL is told so; the hint does
        no harm in a state schema that lacks the key."""
        rows = self._rows(
            "SELECT /*+ INDEX(parked counts) */ COUNT(*), source_database, source_table, code, behind IS NOT NULL,"
            " MIN(id), MAX(TIMESTAMPDIFF(SECOND, parked_at, CURRENT_TIMESTAMP)) FROM {}.parked"
            " WHERE stream = %s AND status = 'parked' GROUP BY source_database, source_table, code, behind IS NOT NULL"
            f" ORDER BY behind IS NOT NULL, COUNT(*) DESC LIMIT {_GROUPS}",
            (stream,),
        )
        ids = ", ".join(str(int(row[5])) for row in rows)
        reasons = dict(self._rows(f"SELECT id, LEFT(reason, 1000) FROM {{}}.parked WHERE id IN ({ids})")) if ids else {}
        return [
            ParkedGroup(
                count=int(count), table=f"{database}.{table}", code=int(code), reason=str(reasons.get(first, "")),
                first_id=int(first), oldest_s=float(age or 0), waits=bool(waits),
            )
            for count, database, table, code, waits, first, age in rows
        ]  # fmt: skip

    def _conflicts(self, stream: str) -> list[DecidedConflicts]:
        rows = self._rows(
            "SELECT decision, COUNT(*), TIMESTAMPDIFF(SECOND, MAX(decided_at), CURRENT_TIMESTAMP) FROM {}.conflict"
            " WHERE stream = %s AND decided_at > CURRENT_TIMESTAMP - INTERVAL 1 DAY GROUP BY decision ORDER BY 1",
            (stream,),
        )
        return [DecidedConflicts(str(decision), int(count), float(age or 0)) for decision, count, age in rows]

    def incidents(self, stream: str) -> list[Gap]:
        """Gaps and errors of the last days, the newest first."""
        rows = self._rows(
            "SELECT kind, text, remedy, TIMESTAMPDIFF(SECOND, happened_at, CURRENT_TIMESTAMP) FROM {}.incident"
            f" WHERE stream = %s AND happened_at > CURRENT_TIMESTAMP - INTERVAL {_INCIDENT_DAYS} DAY"
            " ORDER BY id DESC LIMIT 50",
            (stream,),
        )
        return [Gap(str(kind), str(text), str(remedy or ""), float(age)) for kind, text, remedy, age in rows]

    def _pauses(self) -> list[Pause]:
        try:
            return PauseTable(self._schema).all(self._connection)
        except PermanentError as exc:
            if exc.code in _MISSING:
                return []
            raise ConfigError(f"the state schema cannot be read: {exc}", key="state_schema") from exc

    def _rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Nothing where the table is not made yet."""
        try:
            return self._connection.rows(sql.replace("{}", self._name), parameters)
        except PermanentError as exc:
            if exc.code in _MISSING:
                return []
            raise ConfigError(f"the state schema cannot be read: {exc}", key="state_schema") from exc

    def _objects(self, sql: str) -> list[dict[str, Any]]:
        """By the names of the columns; `{age:column}` is how many seconds ago that was, as `column_s`."""
        head, _, rest = sql.partition(" FROM ")
        names = [each.partition("}")[0] for each in head.split("{age:")[1:]]
        table = rest.partition(".")[2].partition(" ")[0]
        columns = [
            str(row[0])
            for row in self._connection.rows(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
                (self._schema, table),
            )
        ]
        listed = [quote_name(name) for name in columns]
        listed += [f"TIMESTAMPDIFF(MICROSECOND, {name}, CURRENT_TIMESTAMP(6)) / 1e6" for name in names]
        rows = self._rows(f"SELECT {', '.join(listed)} FROM {rest}") if columns else []
        keys = [*columns, *(f"{name}_s" for name in names)]
        return [dict(zip(keys, row, strict=True)) for row in rows]


_OWN = ("host", "pid", "pydbsync_version", "state", "state_since_s", "written_at_s", "every_s", "remedy", "queue")


def _place(row: dict[str, Any]) -> Reached:
    newest = int(row["newest_ts"] or 0)
    now = dt.datetime.now(dt.timezone.utc).timestamp()
    position = (
        f"{row['binlog_base']}.{int(row['binlog_file']):06d}:{row['binlog_offset']}" if row["binlog_base"] else ""
    )
    gtid = row.get("open_gtid") or str(row["gtids"]).replace("\n", "")
    return Reached(
        position=position, gtid=gtid if len(gtid) <= 200 else f"…{gtid[-200:]}",
        newest_s=max(0.0, now - newest) if newest else None, applied=int(row["applied"]),
        duplicates=int(row["duplicates"]), owner=row["owner_info"], epoch=int(row["epoch"]),
        changed_s=float(row["updated_at_s"]),
    )  # fmt: skip


def _ask_broker(settings: Settings, status: Status, depths: dict[str, BrokerQueue | str]) -> None:
    """Depth and consumers of each queue, over one connection."""
    if not settings.queues:
        return
    status.rabbitmq = settings.amqp.address
    stop = threading.Event()
    timer = threading.Timer(ANSWER_S, stop.set)
    timer.daemon = True
    timer.start()
    link = link_for_questions(settings.amqp, "status")
    try:
        link.connect(stop)
        for queue in settings.queues:
            depths[queue.queue] = ask_queue(link, queue.queue, stop)
    except LinkStopped:
        status.rabbitmq_note = f"no answer within {ANSWER_S:g} s"
    except PydbsyncError as exc:
        status.rabbitmq_note = str(exc)
    finally:
        timer.cancel()
        link.close()


def ask_queue(link: BrokerLink, queue: str, stop: threading.Event) -> BrokerQueue | str:
    """Depth and consumers as they are now, or why they are not known. Raises LinkStopped."""
    channel = link.open_channel(stop)  # the broker closes it where the queue is not there
    try:
        answer = link.ask(channel, lambda reply: channel.queue_declare(queue, passive=True, callback=reply), stop)
    except SourceError as exc:
        return str(exc)
    return BrokerQueue(depth=int(answer.method.message_count), consumers=int(answer.method.consumer_count))
