"""The next numbers that tables and sequences give out: at the target none that the source has given out already.

Replay writes rows with the numbers they have. What was given out and has gone again before the target saw it, or was
changed by an UPDATE, raises the source's counter alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeVar

import msgspec

from pydbsync.apply.catalog import in_user_databases, look_up
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import OperationError, PermanentError
from pydbsync.model import TableName
from pydbsync.ops.servers import Servers
from pydbsync.plan.quoting import quote_name, quote_table

_RUN_OUT = 4084
_T = TypeVar("_T")

Targets = Callable[[TableName], Iterable[TableName]]
"""The target tables of a source table; none where it takes no part."""


class Counter(msgspec.Struct, frozen=True):
    """A table or sequence of the target that would give out numbers that the source has given out."""

    name: TableName
    kind: Literal["table", "sequence"]
    source_next: int
    target_next: int
    statement: str
    """What mends it at the target."""

    def __str__(self) -> str:
        what = "" if self.kind == "table" else "the sequence "
        return f"{what}{self.name} gives out {self.target_next} next, the source {self.source_next}: {self.statement}"


class _Sequence(msgspec.Struct, frozen=True):
    next_value: int
    increment: int
    round: int

    def is_behind(self, other: _Sequence) -> bool:
        if self.round != other.round:
            return self.round < other.round
        ahead = other.next_value - self.next_value
        return ahead < 0 if other.increment < 0 else ahead > 0


def _targets_of(settings: Settings) -> Targets:
    router = router_from(settings)

    def targets(name: TableName) -> Iterable[TableName]:
        if str(name) == settings.heartbeat_table or not router.takes(name):
            return ()
        return router.targets(name)

    return targets


def behind_of(settings: Settings, servers: Servers, *, is_closed: bool = False) -> list[Counter]:
    """As `counters_behind`, of all that takes part in a configuration."""
    targets = _targets_of(settings)
    return servers.source.call(
        lambda source: servers.target.call(lambda target: counters_behind(source, target, targets, is_closed=is_closed))
    )


def unseen_counters(settings: Settings, servers: Servers) -> list[TableName]:
    """Tables of the target whose numbers cannot be compared: they are not there, or not shown to a user without any
    right on them. Raises OperationError where the source shows no table that takes part."""
    targets = _targets_of(settings)
    at_source = servers.source.call(_shown_tables)
    if not any(True for name in at_source for _ in targets(name)):
        raise OperationError(
            "the source shows the user no table that takes part: grant it SELECT, or see include, exclude and"
            " dbname_rewrite"
        )
    given = servers.target.call(read_counters)
    return sorted(name for name in _routed(servers.source.call(read_counters), targets, max) if name not in given)


def _shown_tables(connection: Connection) -> list[TableName]:
    condition = in_user_databases("table_schema")
    found = look_up(connection, f"SELECT table_schema, table_name FROM information_schema.tables WHERE {condition}", ())
    return [TableName(str(database), str(table)) for database, table in found]


def counters_behind(
    source: Connection, target: Connection, targets: Targets, *, is_closed: bool = False
) -> list[Counter]:
    """All that must be raised at the target before it gives out numbers. Raises TransientError, PermanentError.

    `is_closed`: nobody takes numbers at the source any more, so that one may be taken to see where a sequence stands.
    """
    found: list[Counter] = []
    given = read_counters(target)
    for name, wanted in _routed(read_counters(source), targets, max).items():
        if name in given and given[name] < wanted:
            statement = f"ALTER TABLE {quote_table(name)} AUTO_INCREMENT = {wanted}"
            found.append(Counter(name, "table", wanted, given[name], statement))
    if source.dialect.is_mariadb and target.dialect.is_mariadb:
        there = read_sequences(target)
        at_source = read_sequences(source, is_closed=is_closed)
        for name, place in _routed(at_source, targets, _further).items():
            if name in there and there[name].is_behind(place):
                statement = f"SELECT SETVAL({quote_table(name)}, {place.next_value}, 0, {place.round})"
                found.append(Counter(name, "sequence", place.next_value, there[name].next_value, statement))
    return sorted(found, key=lambda counter: counter.name)


def raise_counters(target: Connection, counters: Iterable[Counter]) -> None:
    """Run their statements. A counter that has gone further meanwhile stays. Raises TransientError, PermanentError."""
    for counter in counters:
        if counter.kind == "sequence":
            target.rows(counter.statement)
        else:
            target.execute(counter.statement.encode())


def read_counters(connection: Connection) -> dict[TableName, int]:
    """The next number of every table that has a counter."""
    if not connection.dialect.is_mariadb and connection.dialect.version >= (8,):
        connection.execute("SET SESSION information_schema_stats_expiry = 0")  # else it is of yesterday
    found = look_up(
        connection,
        "SELECT c.table_schema, c.table_name, IFNULL(t.auto_increment, 1) FROM information_schema.columns c"
        " JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
        f" WHERE c.extra LIKE '%auto_increment%' AND {in_user_databases('c.table_schema')}"
        f" AND {in_user_databases('t.table_schema')}",
        (),
    )
    return {TableName(str(database), str(table)): int(number) for database, table, number in found}


_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}


def last_numbers(connection: Connection) -> dict[TableName, int]:
    """The greatest number that the type of each counter's column has; not of FLOAT and DOUBLE."""
    found = connection.rows(
        "SELECT table_schema, table_name, data_type, column_type FROM information_schema.columns"
        f" WHERE extra LIKE '%auto_increment%' AND {in_user_databases('table_schema')}"
    )
    return {
        TableName(str(database), str(table)): 2 ** (8 * _BYTES[str(kind)] - ("unsigned" not in str(whole).lower())) - 1
        for database, table, kind, whole in found
        if str(kind) in _BYTES
    }


def read_sequences(connection: Connection, *, is_closed: bool = False) -> dict[TableName, _Sequence]:
    """MariaDB's sequences, each with the next value that no session has taken for itself.

    Where that is past the end (a thousand are taken at once, unless CACHE says otherwise), all that the server still
    holds would be left out, and a sequence that has numbers be taken for one that has run out, or begins anew. With
    `is_closed` one number is taken instead.
    """
    names = connection.rows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SEQUENCE'"
        f" AND {in_user_databases('table_schema')}"
    )
    found = {}
    for database, table in names:
        name = TableName(str(database), str(table))
        sql = (
            "SELECT next_not_cached_value, increment, cycle_count, minimum_value, maximum_value FROM"
            f" {quote_table(name)}"
        )
        value, increment, cycles, least, most = connection.rows(sql)[0]
        if is_closed and not least <= value <= most and (taken := _taken(connection, name)) is not None:
            value, cycles = taken + increment, connection.rows(sql)[0][2]
        found[name] = _Sequence(int(value), int(increment), int(cycles))
    return found


def _taken(connection: Connection, name: TableName) -> int | None:
    """A number of the sequence; None where it has run out."""
    try:
        return int(connection.value(f"SELECT NEXTVAL({quote_table(name)})"))
    except PermanentError as exc:
        if exc.code != _RUN_OUT:
            raise
        return None


class PlacedSequence(NamedTuple):
    """A sequence, and how far the columns that take their numbers from it have come."""

    name: TableName
    next_value: int
    increment: int
    round: int
    least: int
    most: int
    last: int | None
    """The furthest number of those columns."""

    def behind(self, gap: int) -> int:
        """Its next number when so many are left out, within its bounds."""
        begin = self.next_value
        if self.last is not None:
            further = max if self.increment > 0 else min
            begin = further(begin, self.last + self.increment)
        return max(self.least, min(self.most, begin + gap * self.increment))


def placed_sequences(connection: Connection) -> list[PlacedSequence]:
    """All of a MariaDB."""
    found = []
    for name, place in sorted(read_sequences(connection).items()):
        least, most = connection.rows(f"SELECT minimum_value, maximum_value FROM {quote_table(name)}")[0]
        default = f"nextval({quote_table(name)})"
        columns = connection.rows(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns WHERE"
            f" {in_user_databases('table_schema')} AND REPLACE(LOWER(column_default), ' ', '') = LOWER(%s)", (default,),
        )  # fmt: skip
        order = "MAX" if place.increment > 0 else "MIN"
        numbers = [
            int(number)
            for database, table, column in columns
            for (number,) in connection.rows(
                f"SELECT {order}({quote_name(str(column))}) FROM {quote_table(TableName(str(database), str(table)))}"
            )
            if number is not None
        ]
        last = (max if place.increment > 0 else min)(numbers, default=None)
        found.append(PlacedSequence(name, place.next_value, place.increment, place.round, int(least), int(most), last))
    return found


def _further(one: _Sequence, other: _Sequence) -> _Sequence:
    return other if one.is_behind(other) else one


def _routed(found: Mapping[TableName, _T], targets: Targets, higher: Callable[[_T, _T], _T]) -> dict[TableName, _T]:
    """By their names at the target; of several sources that come to one table, the highest."""
    routed: dict[TableName, _T] = {}
    for name, value in found.items():
        for target in targets(name):
            routed[target] = higher(routed[target], value) if target in routed else value
    return routed
