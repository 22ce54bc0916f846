"""Two configurations side by side: what each is right by itself, and wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

from pydbsync.config.servers import TargetSettings
from pydbsync.config.settings import QueueSettings, Settings
from pydbsync.ops.doctor.bindings import matches
from pydbsync.ops.doctor.finding import Finding, error, warning
from pydbsync.ops.doctor.reach import addresses_of


def check_together(named: Sequence[tuple[str, Settings]]) -> Iterator[Finding]:
    """`named` has each configuration's file and settings."""
    for (one_name, one), (other_name, other) in combinations(named, 2):
        both = f"{one_name} and {other_name}"
        same_state = _end(one.target) == _end(other.target) and one.state_schema == other.state_schema
        for mine in one.queues:
            for theirs in other.queues:
                same_queue = _queue(one, mine) == _queue(other, theirs)
                if same_queue and not same_state:
                    yield error(
                        "one-queue-twice",
                        f"{both} read the same queue {mine.queue} for different targets or state schemas: each gets"
                        f" a part of"
                        " the changes",
                        f"another queue in {other_name}, bound to the same exchange by the same routing keys",
                    )
                if not same_queue and same_state and mine.stream == theirs.stream:
                    yield error(
                        "one-stream-twice",
                        f"{both} have a stream {mine.stream} in one state schema, for different queues: the second"
                        f" is refused",
                        f"stream_names: {{'{theirs.queue}': '{theirs.queue}-2'}} or another state_schema in"
                        f" {other_name}",
                    )
        if one.source is not None and other.source is not None and (
            (_end(one.source), _end(one.target)) == (_end(other.target), _end(other.source))
        ):  # fmt: skip
            yield from _both_directions(both, one, other)
        yield from _one_source_twice(both, one, other)
        yield from _one_row_twice(both, one, other)
        if one.metrics_port and (one.metrics_host, one.metrics_port) == (other.metrics_host, other.metrics_port):
            yield warning(
                "one-port-twice",
                f"{both} have the metrics port {one.metrics_port}: on one machine the second does not start",
                f"metrics_port: {one.metrics_port + 1} in {other_name}",
            )


def _both_directions(both: str, one: Settings, other: Settings) -> Iterator[Finding]:
    """Between the same servers, there and back."""
    if one.two_way is None and other.two_way is None:
        yield warning(
            "both-directions",
            f"{both} are two directions between the same servers: run at the same time, changes go round in a circle",
            "one direction at a time (docs/cutover.md): begin the way back when the way forth has ended; or two_way in"
            " both (docs/two-way.md)",
        )
    elif one.two_way is None or other.two_way is None:
        yield error(
            "both-directions",
            f"{both} are two directions between the same servers, and only one has two_way: the other carries back what"
            " came",
            "two_way: true in both (docs/two-way.md)",
        )
    elif one.detects_conflicts and other.detects_conflicts:
        has_other_names = bool(one.dbname_rewrite or one.routes or other.dbname_rewrite or other.routes)
        why = one.conflicts.contradicts(other.conflicts.to_json(), has_other_names=has_other_names)
        if why:
            yield error(
                "both-directions",
                f"{both} would end with different rows: {why}",
                "the same policies in both, and `prefer: source` in one, `target` in the other (docs/conflicts.md)",
            )
    elif one.detects_conflicts or other.detects_conflicts:
        yield error(
            "both-directions",
            f"of {both} only one looks for conflicts: a row that both ends change differs afterwards",
            "leave detect_conflicts at auto in both (docs/conflicts.md)",
        )


def _one_source_twice(both: str, one: Settings, other: Settings) -> Iterator[Finding]:
    """Databases of two sources that come to one name at one target, without a rewrite that tells them apart."""
    if one.source is None or other.source is None or _end(one.target) != _end(other.target):
        return
    if _end(one.source) == _end(other.source):
        return
    here, there = ({*each.dbname_rewrite.values()} for each in (one, other))
    if here & there:
        yield warning(
            "merged-targets",
            f"{both} write databases of two sources into {', '.join(sorted(here & there))}: a row of one replaces"
            f" that of the"
            " other where keys are equal",
            "see that their keys cannot be equal (auto_increment_increment and _offset), or give them databases of"
            " their own",
        )


def _one_row_twice(both: str, one: Settings, other: Settings) -> Iterator[Finding]:
    """One source and one target: a table that a queue of each receives is applied twice, in no common order."""
    if one.source is None or other.source is None:
        return
    if (_end(one.source), _end(one.target)) != (_end(other.source), _end(other.target)):
        return
    for mine in one.queues:
        for theirs in other.queues:
            if _queue(one, mine) == _queue(other, theirs) or (mine.stream, one.state_schema) == (
                theirs.stream, other.state_schema,
            ):  # fmt: skip
                continue  # that is told by itself
            for key, key_there in product(mine.routing_keys, theirs.routing_keys):
                if (matches("topic", key, key_there) or matches("topic", key_there, key)) and _own_filters(one, other):
                    yield error(
                        "one-row-twice",
                        f"{both} replay one source into one target, and queue {mine.queue} (by {key}) and queue"
                        f" {theirs.queue} (by {key_there}) receive the same tables: each applies all their changes, in"
                        " no common order",
                        f"routing keys without a table in common, or include and exclude in both; {key_there!r} is"
                        " one to correct",
                    )
                    return


def _own_filters(one: Settings, other: Settings) -> bool:
    """Whether nothing tells apart what the two apply, as far as names do."""
    return (one.include, one.exclude, dict(one.dbname_rewrite)) == (
        other.include, other.exclude, dict(other.dbname_rewrite),
    )  # fmt: skip


def _end(server: TargetSettings) -> tuple[object, ...]:
    given = server.connect
    return given.get("unix_socket"), _machine(str(given.get("host", "localhost"))), given.get("port", 3306)


def _queue(settings: Settings, queue: QueueSettings) -> tuple[object, ...]:
    return _machine(settings.amqp.host), settings.amqp.port, settings.amqp.vhost, queue.queue


def _machine(host: str) -> str:
    """One word for all names of a machine."""
    return min(addresses_of(host))
