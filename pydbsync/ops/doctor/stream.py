"""Maxwell's output as it is seen: in what waits, in what was parked, and, if asked, in a queue of our own for a
while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from pydbsync.decode.spoken import Translate
from pydbsync.errors import ApplyError, ConfigError, DecodeError, SourceError
from pydbsync.model import TableName
from pydbsync.ops.doctor.catalogue import TableFacts, read_tables
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.queues import queue_facts
from pydbsync.ops.doctor.variables import variables
from pydbsync.ops.doctor.watch import watch
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_name
from pydbsync.process.inputs import translator_of
from pydbsync.sinks.source_tables import SourceColumns

_ROWS = ("insert", "update", "delete", "bootstrap-insert")
_PARKED = 200
_RECORD = b"\x1e"
_IN_FILE = "in Maxwell's config.properties, and restart it"


class SampledMessage(NamedTuple):
    """One message as it came; `is_persistent` is None where that was not seen."""

    body: bytes
    is_persistent: bool | None = None
    routing_key: str = ""


def check_waiting(exam: Examination) -> Iterator[Finding]:
    """Of what waits in classic queues RabbitMQ tells how much would survive its restart."""
    for queue in exam.settings.queues:
        try:
            facts = queue_facts(exam, queue.queue) or {}
        except (Away, SourceError):
            return
        total, kept = facts.get("messages"), facts.get("messages_persistent")
        if facts.get("type", "classic") == "classic" and total and kept is not None and kept < total:
            yield error(
                "transient-messages",
                f"{total - kept:,} of {total:,} messages in queue {queue.queue} are transient: RabbitMQ loses them"
                f" when it"
                " starts again",
                f"rabbitmq_message_persistent=true {_IN_FILE}",
            )


def check_parked_messages(exam: Examination) -> Iterator[Finding]:
    """What is parked is kept as it came; of other formats than Maxwell's it was translated."""
    settings = exam.settings
    maxwells = tuple(each.stream for each in settings.queues if settings.input_format_of(each.queue) == "maxwell")
    maxwells = maxwells if settings.queues else (settings.stream,)
    if not maxwells:
        return
    try:
        rows = exam.target().rows(
            f"SELECT message FROM {quote_name(exam.settings.state_schema)}.`parked` WHERE status = 'parked'"
            f" AND input_format = 'maxwell' AND stream IN %s ORDER BY id DESC LIMIT {_PARKED}",
            (maxwells,),
        )
    except ApplyError:
        return
    yield from looked_at(exam, [SampledMessage(bytes(body)) for (body,) in rows], where="parked messages")


def check_watched(exam: Examination) -> Iterator[Finding]:
    """With --watch-stream: the messages that come meanwhile, by a queue that only we have."""
    if not exam.watch_s:
        return
    formats = {exam.settings.input_format_of(queue.queue) for queue in exam.settings.queues}
    if len(formats) > 1:
        yield unknown("stream", f"queues of several formats ({listed(sorted(formats))}) are not watched together",
                      "a configuration with the queues of one format shows what they carry")  # fmt: skip
        return
    spoken = next(iter(formats), "maxwell")
    messages: list[SampledMessage] = [SampledMessage(*each) for each in watch(exam.settings, exam.watch_s)]
    if not messages:
        yield warning(
            "stream",
            f"no message came within {exam.watch_s:g} s: Maxwell does not run, or publishes elsewhere, or nothing"
            f" changed",
            "look at Maxwell's log; pydbsync heartbeat makes a change each second",
        )
        return
    found = list(looked_at(exam, messages, where="messages", spoken=spoken))
    yield from found
    if not found:
        yield ok("stream", f"{len(messages):,} messages came in {exam.watch_s:g} s, and have all that is needed")


def looked_at(
    exam: Examination, messages: Iterable[SampledMessage], *, where: str, spoken: str = "maxwell"
) -> Iterator[Finding]:
    """What is wrong with these messages, each fault once, with an example. `spoken` is their format (input_format)."""
    try:
        columns_of = SourceColumns(exam.settings, exam.router)
        translate = translator_of(exam.settings, spoken, columns_of, has_tables=exam.settings.source is not None)
    except ConfigError as exc:
        yield error("message-format", f"the messages cannot be read: {exc}", "see what the sentence names")
        return
    faults: dict[str, tuple[int, Finding]] = {}
    count = 0
    tables = _MessageTables(exam)
    for message in messages:
        for text in _texts(message.body):
            count += 1
            for finding in _faults_of(exam, text, message, tables, spoken=spoken, translate=translate):
                number, first = faults.get(finding.check, (0, finding))
                faults[finding.check] = (number + 1, first)
    for number, finding in faults.values():
        yield msgspec.structs.replace(finding, text=f"{number} of {count} {where}: {finding.text}")


def _texts(body: bytes) -> list[bytes]:
    """A bundle of capture is several texts."""
    return [part.strip() for part in body.split(_RECORD) if part.strip()] if body.startswith(_RECORD) else [body]


def _faults_of(
    exam: Examination,
    text: bytes,
    message: SampledMessage,
    tables: _MessageTables,
    *,
    spoken: str,
    translate: Translate | None,
) -> Iterator[Finding]:
    """Of a message in whatever format it came: the faults of Maxwell's flags are Maxwell's alone."""
    if message.is_persistent is False:
        yield error("transient-messages", "they are transient: RabbitMQ loses them when it starts again",
                    f"rabbitmq_message_persistent=true {_IN_FILE}" if spoken == "maxwell"
                    else "have the publisher send them with delivery_mode 2")  # fmt: skip
    try:
        plain = [text] if translate is None else translate(text)
    except DecodeError as exc:
        check = "encrypted" if spoken == "maxwell" else "message-format"
        yield error(check, f"{exc}", "maxwell_secret_key: the secret_key of config.properties" if spoken == "maxwell"
                    else f"each such message would be parked; where its format is another: input_format (it"
                         f" says {spoken}), or who else publishes to the exchange")  # fmt: skip
        return
    for each in plain if spoken == "maxwell" else ():
        yield from _faults(exam, each, tables)


def _faults(exam: Examination, text: bytes, tables: _MessageTables) -> Iterator[Finding]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        yield error("message-format", f"not JSON ({exc}): {text[:60]!r}",
                    "see who publishes to the exchange besides Maxwell")  # fmt: skip
        return
    if not isinstance(found, dict) or "type" not in found:
        if isinstance(found, dict) and "encrypted" in found:
            yield _encrypted()
            return
        other = "Debezium's" if isinstance(found, dict) and {"payload", "before", "op"} & found.keys() else "another"
        yield error("message-format", f"they have {other} format, not Maxwell's: {text[:60]!r}",
                    "input_format: canal or debezium, where all messages are of that (docs/inputs.md); else publish"
                    " with Maxwell or pydbsync capture alone to this exchange")  # fmt: skip
        return
    kind = found["type"]
    if isinstance(found.get("data"), str) or (isinstance(found.get("data"), dict) and "encrypted" in found["data"]):
        yield _encrypted()
        return
    if kind not in _ROWS or kind == "bootstrap-insert":
        return
    name = TableName(str(found.get("database")), str(found.get("table")))
    if not found.get("position"):
        yield error("positions", f"no position (a row of {name}): what comes twice is applied twice, and a loss"
                                 f" cannot be"
                    " told", f"output_binlog_position=true {_IN_FILE}")  # fmt: skip
    if "xid" not in found and "commit" not in found and "xoffset" not in found:
        yield error("commit-info", f"no xid, xoffset or commit (a row of {name}): where a transaction ends is not"
                                   f" known",
                    f"output_commit_info=true and output_xoffset=true {_IN_FILE}")  # fmt: skip
    elif "xoffset" not in found and not found.get("commit"):
        yield error("xoffset", f"no xoffset (a row of {name}): rows of one transaction cannot be told apart",
                    f"output_xoffset=true {_IN_FILE}")  # fmt: skip
    if "gtid" not in found and tables.has_gtids:
        yield warning("gtid", f"no GTID (a row of {name}), and the source has gtid_mode=ON: after a fail-over the place"
                      " cannot be told", f"output_gtid_position=true {_IN_FILE}")  # fmt: skip
    if isinstance(found.get("data"), dict):
        yield from _columns(exam, name, found, tables)


def _columns(exam: Examination, name: TableName, found: dict[str, Any], tables: _MessageTables) -> Iterator[Finding]:
    if not exam.router.takes(name):
        return
    data = {str(column): value for column, value in found["data"].items()}
    table = tables.find(name)
    if table is None or not table.columns:  # none of them is shown to our user
        return
    lower = {column.lower() for column in data}
    strange = [column for column in data if column.lower() not in table.columns]
    bare = {key.replace("_", ""): key for key in table.columns}
    renamed = [column for column in strange if column.lower().replace("_", "") in bare]
    if renamed:
        yield error("naming", f"columns have other names than in the table ({name}: {renamed[0]} for"
                    f" {bare[renamed[0].lower().replace('_', '')]})", f"output_naming_strategy=none"
                                                                      f" {_IN_FILE}")  # fmt: skip
    elif strange:
        yield error("unknown-columns", f"{name} has {listed(strange)}, which the target's table lacks",
                    "make the tables alike: pydbsync verify shows the differences")  # fmt: skip
    absent = [column for key, column in table.columns.items() if key not in lower and not column.generated]
    if absent and not renamed and tables.is_of_source(name):
        has_null = any(value is None for value in data.values())
        cause = (
            "NULLs are left out (output_nulls=false), or a session writes images that are not whole"
            if all(column.nullable for column in absent) and not has_null
            else "a session writes images that are not whole (binlog_row_image), or columns are excluded"
        )
        yield error(
            "incomplete-rows",
            f"{name} lacks {listed(column.name for column in absent)}: {cause}",
            f"output_nulls=true and no exclude_columns {_IN_FILE}; SET GLOBAL binlog_row_image = 'FULL' at the"
            f" source, and end"
            " sessions that were open before",
        )
    key = found.get("primary_key_columns")
    if isinstance(key, list) and key and sorted(map(str.lower, key)) != sorted(map(str.lower, table.row_key)):
        yield error(
            "other-key",
            f"the key of {name} is ({', '.join(key)}) at the source and ({', '.join(table.row_key) or 'none'}) at"
            f" the target",
            "make the keys alike: ALTER TABLE at the target",
        )


def _encrypted() -> Finding:
    return error("encrypted", "they are encrypted, and maxwell_secret_key is not set",
                 f"maxwell_secret_key: the secret_key of config.properties, or encrypt=none {_IN_FILE}")  # fmt: skip


class _MessageTables:
    """What the tables of the messages are: at the source where it may be asked, else at the target."""

    def __init__(self, exam: Examination) -> None:
        self._exam = exam
        self._found: dict[str, dict[TableName, TableFacts]] = {}
        self._own: dict[TableName, TableFacts | None] = {}

    @property
    def has_gtids(self) -> bool:
        try:
            return variables(self._exam, "source").get("gtid_mode", "OFF").upper() == "ON"
        except (Away, ApplyError):
            return False

    def is_of_source(self, name: TableName) -> bool:
        """Whether a column of the target that a message lacks is none of the target's own."""
        try:
            if name.database not in self._found:
                self._found[name.database] = read_tables(self._exam.source(), [name.database])
        except (Away, ApplyError):
            return False
        at_source, at_target = self._found[name.database].get(name), self.find(name)
        return at_source is not None and at_target is not None and set(at_target.columns) <= set(at_source.columns)

    def find(self, name: TableName) -> TableFacts | None:
        """The target's table of a source table; the first, where there are several."""
        if name not in self._own:
            databases = self._exam.router.databases(name.database)
            try:
                found = read_tables(self._exam.target(), databases[:1])
            except (Away, ApplyError):
                found = {}
            self._own[name] = found.get(TableName(databases[0], name.table)) if databases else None
        return self._own[name]


def check_unseen(exam: Examination) -> Iterator[Finding]:
    """What only a look at messages would tell."""
    if not exam.watch_s and exam.settings.queues and exam.maxwell is None:
        yield unknown(
            "stream",
            "whether Maxwell's messages have positions, whole rows and their own names was not looked at",
            "--watch-stream 10 looks at what comes for so long (a queue of its own, which goes again), --maxwell"
            " config.properties at its flags",
        )
