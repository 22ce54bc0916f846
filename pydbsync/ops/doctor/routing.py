"""Which queue receives which table: each one, and no two; what belongs together in the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydbsync.engine.echoes import MARK_TABLES
from pydbsync.errors import SourceError
from pydbsync.model import TableName
from pydbsync.ops.doctor.bindings import Binding, Routes
from pydbsync.ops.doctor.catalogue import read_foreign_keys, source_databases, source_tables
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.policies import alternate_of
from pydbsync.ops.words import counted, listed

_TEMPLATE = "%db%.%table%"
_LONGEST_KEY = 255


def check_routes(exam: Examination) -> Iterator[Finding]:
    """Tables without a queue, and with two."""
    if not exam.settings.queues:
        return
    routes, is_sure = _routes(exam)
    blind = sorted({queue.exchange for queue in exam.settings.queues if not routes.may_tell(queue.exchange)})
    if blind:
        yield unknown("routes", f"what exchange {listed(blind)} sends where cannot be told from its bindings",
                      "look at its bindings: rabbitmqctl list_bindings")  # fmt: skip
        return
    unbound = [queue.queue for queue in exam.settings.queues if not queue.routing_keys]
    if not is_sure and unbound:
        yield unknown("routes", f"what queue {listed(unbound)} is bound to cannot be seen",
                      "rabbitmqctl list_bindings shows it; the management API shows it to us")  # fmt: skip
        return
    reached = {name: _queues(exam, routes, name) for name in source_tables(exam)}
    lost = sorted(name for name, queues in reached.items() if not queues)
    if lost:
        yield error(
            "no-queue",
            f"{counted(len(lost), 'table')} that no queue receives: {listed(lost)}: their changes do not reach the"
            f" target",
            f"add '{_key(exam, lost[0])}' to the routing keys of a queue in rabbitmq_queue_bind, or the table to"
            f" exclude",
        )
    doubled = {name: queues for name, queues in reached.items() if len(queues) > 1}
    for name, queues in sorted(doubled.items())[:3]:
        # One publisher uses one exchange: queues of several are the same changes twice only where it uses them all.
        is_sure_of_it = any(len(_queues(exam, routes, name, [each])) > 1 for each in _published(exam))
        yield (error if is_sure_of_it else warning)(
            "two-queues",
            f"{name} is received by {' and '.join(sorted(queues))}"
            + (f" (and {counted(len(doubled) - 1, 'more table')} likewise)" if len(doubled) > 1 else "")
            + ("" if is_sure_of_it else ", by different exchanges: if its changes are published to both")
            + (": " if is_sure_of_it else ", ")
            + "each applies all its changes, in no common order",
            f"rabbitmqctl list_bindings -p {exam.settings.amqp.vhost}; unbind it from one of them, and correct the"
            " routing keys in rabbitmq_queue_bind (an unbinding is made by hand: rabbitmqadmin delete binding)",
        )
    if reached and not lost and not doubled:
        yield ok("routes", f"each of {counted(len(reached), 'table')} is received by one queue")
    long = sorted(name for name in reached if len(_key(exam, name).encode()) > _LONGEST_KEY)
    if long:
        yield error(
            "long-keys",
            f"the routing key of {listed(long)} is longer than {_LONGEST_KEY} bytes, which is all that AMQP can carry:"
            " its changes cannot be published",
            "shorter names at the source; or leave the table out of Maxwell's filter (--exclude of pydbsync capture),"
            " and copy it by itself",
        )
    yield from _foreign_keys(exam, reached)


def _foreign_keys(exam: Examination, reached: Mapping[TableName, frozenset[str]]) -> Iterator[Finding]:
    for key in read_foreign_keys(exam.source(), {name.database for name in reached}):
        child, parent = (reached.get(name, frozenset()) for name in (key.child, key.parent))
        if child and parent and not child & parent:
            yield (error if key.acts else warning)(
                "divided-keys",
                f"{key.child} refers to {key.parent} ({key.name}), and they are in different queues"
                f" ({listed(sorted(child))}"
                f" and {listed(sorted(parent))}): "
                + ("what the foreign key changes by itself meets rows that have not come yet, or have gone" if key.acts
                   else "a child can come before its parent"),
                f"bind both to one queue: move '{_key(exam, key.child)}' to the routing keys of {sorted(parent)[0]}",
            )  # fmt: skip


def check_database_changes(exam: Examination) -> Iterator[Finding]:
    """CREATE and DROP DATABASE have a key without a table, the heartbeat one of its own."""
    routes, is_sure = _routes(exam)
    if not exam.settings.queues or (not is_sure and any(not queue.routing_keys for queue in exam.settings.queues)):
        return
    if not all(routes.may_tell(queue.exchange) for queue in exam.settings.queues):
        return
    databases = source_databases(exam)
    lost = [name for name in databases if not _queues(exam, routes, TableName(name, ""))]
    if lost and any(exam.settings.schema_changes.get(kind) == "apply" for kind in ("create-database", "drop-database")):
        yield warning(
            "database-changes",
            f"schema changes of databases themselves ({listed(lost)}) are received by no queue",
            f"add '{_key(exam, TableName(lost[0], ''))}' to the routing keys of one queue",
        )


def check_heartbeat(exam: Examination) -> Iterator[Finding]:
    """A queue without the heartbeat cannot prove that it is whole."""
    routes, _ = _routes(exam)
    if any(not routes.may_tell(queue.exchange) or routes.hashes(queue.exchange) for queue in exam.settings.queues):
        return
    database, _, table = exam.settings.heartbeat_table.partition(".")
    key = _key(exam, TableName(database, table))
    without = [
        queue.queue for queue in exam.settings.queues
        if queue.routing_keys and queue.queue not in routes.queues(queue.exchange, key)
    ]  # fmt: skip
    if without:
        yield warning(
            "heartbeat-binding",
            f"queue {listed(without)} does not receive the heartbeat: a loss on the way there cannot be proven, nor"
            f" silence"
            " told from rest",
            f"add '{key}' to its routing keys, and run pydbsync heartbeat",
        )


def check_marks(exam: Examination) -> Iterator[Finding]:
    """Where replay runs in both directions, each queue needs the marks: without them the worker stops at its start."""
    schema = exam.settings.source_state_schema
    routes, is_sure = _routes(exam)
    if not schema or not all(routes.may_tell(queue.exchange) for queue in exam.settings.queues):
        return
    if not is_sure and any(not queue.routing_keys for queue in exam.settings.queues):
        return
    reached = {table: _queues(exam, routes, TableName(schema, table)) for table in MARK_TABLES}
    is_whole = True
    for queue in exam.settings.queues:
        lost = [table for table in MARK_TABLES if queue.queue not in reached[table]]
        if lost:
            is_whole = False
            keys = " and ".join(f"'{_key(exam, TableName(schema, table))}'" for table in lost)
            yield error(
                "no-marks",
                f"queue {queue.queue} does not receive {listed([f'{schema}.{table}' for table in lost])}: what the"
                " other direction has written could not be told (two_way)",
                f"add {keys} to its routing keys in rabbitmq_queue_bind",
            )
    if is_whole:
        yield ok("marks", "the marks of the other direction are received by each queue")


def _queues(exam: Examination, routes: Routes, name: TableName, exchanges: list[str] | None = None) -> frozenset[str]:
    """Those of the configuration that a table's changes reach, by whichever of its exchanges they are published."""
    own = {queue.queue for queue in exam.settings.queues}
    key = _key(exam, name)
    found: set[str] = set()
    for exchange in _published(exam) if exchanges is None else exchanges:
        reached = routes.queues(exchange, key) & own
        found |= set(sorted(reached)[:1]) if routes.hashes(exchange) else reached
    return frozenset(found)


def _published(exam: Examination) -> list[str]:
    exchanges = list(dict.fromkeys(queue.exchange for queue in exam.settings.queues))
    told = (exam.maxwell or {}).get("rabbitmq_exchange")
    return [told] if told in exchanges and told is not None else exchanges


def _key(exam: Examination, name: TableName) -> str:
    template = (exam.maxwell or {}).get("rabbitmq_routing_key_template", _TEMPLATE)
    return template.replace("%db%", name.database).replace("%table%", name.table)


def _routes(exam: Examination) -> tuple[Routes, bool]:
    """The bindings as they are, and whether they could be seen; else as the configuration would make them."""

    def read() -> tuple[Routes, bool]:
        queues = exam.settings.queues
        types = {queue.exchange: queue.exchange_type for queue in queues}
        configured = [Binding(queue.exchange, queue.queue, True, key) for queue in queues for key in queue.routing_keys]
        try:
            management = exam.management()
            found = management.get(management.path("bindings")) or []
            exchanges = management.get(management.path("exchanges")) or []
            types |= {str(each["name"]): str(each["type"]) for each in exchanges}
            alternates = {str(each["name"]): other for each in exchanges if (other := alternate_of(exam, each))}
            queues_there = management.get(f"{management.path('queues')}?disable_stats=true") or []
            present = {str(each["name"]) for each in queues_there}
        except (Away, SourceError):
            return Routes(types, configured), False
        real = [
            Binding(str(each["source"]), str(each["destination"]), each["destination_type"] == "queue",
                    str(each["routing_key"]))
            for each in found
        ]  # fmt: skip
        absent = [binding for binding in configured if binding.destination not in present]
        return Routes(types, [*real, *absent], alternates), True

    return exam.known("routes", read)


def check_bindings(exam: Examination) -> Iterator[Finding]:
    """What the configuration binds is bound: a worker makes it at its start, and until then nothing comes."""
    if not _routes(exam)[1]:
        return
    management = exam.management()
    found = management.get(management.path("bindings")) or []
    present = {(str(each["source"]), str(each["destination"]), str(each["routing_key"])) for each in found}
    queues = {destination for _, destination, _ in present}
    for queue in exam.settings.queues:
        missing = [key for key in queue.routing_keys if (queue.exchange, queue.queue, key) not in present]
        if missing and queue.queue in queues:
            yield warning(
                "missing-binding",
                f"queue {queue.queue} is not bound to exchange {queue.exchange} by {listed(missing)} yet: what is"
                f" published"
                " until the worker's next start does not come",
                f"restart the worker, or: rabbitmqadmin -V {exam.settings.amqp.vhost} declare binding"
                f" source={queue.exchange} destination={queue.queue} routing_key='{missing[0]}'",
            )
        bound = {key for source, name, key in present if (source, name) == (queue.exchange, queue.queue)}
        extra = sorted(bound - set(queue.routing_keys))
        if extra and queue.routing_keys:
            yield warning(
                "extra-binding",
                f"queue {queue.queue} is also bound to exchange {queue.exchange} by {listed(extra)}, which the"
                f" configuration"
                " does not have: what comes by it is applied too",
                f"rabbitmqadmin -V {exam.settings.amqp.vhost} delete binding source={queue.exchange}"
                f" destination_type=queue destination={queue.queue} properties_key='{extra[0]}'",
            )
