"""One look at both ends: where the target is not what the stream would have made of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from functools import partial

import msgspec

from pydbsync.apply.feeders import Feeders
from pydbsync.apply.tables.seen import DefinedThing
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError, OperationError, TransientError
from pydbsync.model import TableName
from pydbsync.ops.ddl_watch.databases import database_differences
from pydbsync.ops.ddl_watch.indexes import add_statement, drop_statement
from pydbsync.ops.ddl_watch.ledger import Difference
from pydbsync.ops.ddl_watch.marks import Marks
from pydbsync.ops.ddl_watch.rows import Remade, Suspects, rows_left
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.definition import TableStructure, read_definition
from pydbsync.ops.verify.matching import TableSides, open_sides
from pydbsync.ops.verify.pairs import Pairs, TablePair, find_pairs, names_of_both
from pydbsync.ops.verify.structure import structure_differences
from pydbsync.plan.ddl.tool_tables import ANY_TABLE
from pydbsync.plan.quoting import quote_name
from pydbsync.route.filters import Filters

_NAMED_PARTS = ("columns", "indexes", "foreign_keys", "checks")
log = logging.getLogger("pydbsync.ddl_watch")


class SeenDefinition(msgspec.Struct):
    """A source table as it was seen, with what has gone from it since and the target still has."""

    definition: TableStructure
    number: str
    """InnoDB's, which is another after a TRUNCATE, behind the server's id; empty where it is not known."""

    def is_other(self, number: str) -> bool:
        """Whether the table was made anew since; the numbers of two servers do not compare."""
        return self.number.partition(":")[0] == number.partition(":")[0] and self.number != number


class LookOutcome(msgspec.Struct):
    """What one look has found."""

    differences: list[Difference]
    seen: dict[DefinedThing, str]
    """What is to be remembered."""
    unseen: set[TableName]
    """Targets that could not be looked at, or whose difference is known for another reason."""
    databases: set[str]
    """Of the source."""
    left_out: str = ""
    """What was not looked for, and why."""
    has_numbers: bool = True
    """Whether the source shows InnoDB's numbers of its tables."""


class Lookout:
    """Compares both ends by the routes of the configuration."""

    def __init__(self, settings: Settings, source: Server, target: Server) -> None:
        self._settings = settings
        self._source = source
        self._target = target
        self._router = router_from(settings)
        self._excluded = Filters(include=settings.ddl_watch.exclude) if settings.ddl_watch.exclude else None
        self._feeders = Feeders(schema=settings.state_schema)
        self._suspects: dict[TableName, Suspects] = {}
        self._remade: dict[TableName, Remade] = {}

    @property
    def remade(self) -> dict[TableName, Remade]:
        """The tables of the target whose rows are all asked for, or will be."""
        return {target: each for target, each in self._remade.items() if not each.is_over}

    def mark(self, marks: Marks) -> None:
        """A look is over, and the source was here behind it."""
        for each in self._remade.values():
            if each.marks is None or (not each.is_passed and each.marks.is_void(marks)):
                each.marks = marks

    def look(self, seen: Mapping[DefinedThing, str], only: Collection[TableName] | None) -> LookOutcome:
        """Look at these tables of the target, or at all. Raises ApplyError, Stopped."""
        settings = self._settings
        others = self._unknown_streams()
        found = find_pairs(settings, self._router, self._source, self._target, tables=(), is_shared=bool(others))
        numbers, parked = self._read_numbers(), self._read_parked()
        outcome = LookOutcome([], {}, set(), {part.name.database for pair in found.pairs for part in pair.sources})
        outcome.has_numbers = bool(numbers)  # there are always some of the server's own
        if others:
            outcome.left_out = f"rows of the target alone, since {', '.join(others[:3])} writes there too"
        for pair in (*found.pairs, *found.missing):
            if only is not None and pair.target not in only:
                continue
            names = tuple(part.name for part in pair.sources)
            is_made_other = any(part.route is not None and part.route.has_columns for part in pair.sources)
            if is_made_other or any(self._is_left_out(name) for name in names) or parked & set(names):
                outcome.unseen.add(pair.target)
            elif pair in found.missing:
                self._note_missing(pair, outcome)
            else:
                try:
                    self._compare(pair, seen, numbers, outcome)
                except OperationError as exc:  # dropped or altered while it was looked at
                    log.debug("%s is looked at later: %s", pair.label, exc)
                    outcome.unseen.add(pair.target)
        if only is None:
            compared = {pair.target for pair in found.pairs} - outcome.unseen
            self._remade = {target: each for target, each in self._remade.items() if target in compared}
        outcome.differences += self._extra(found, seen, parked)
        if (only is None or any(each.table == "*" for each in only)) and not self._is_skipped("alter-database"):
            tables: dict[str, list[TableName]] = {}
            for part in (part for pair in found.pairs for part in pair.sources):
                tables.setdefault(part.name.database, []).append(part.name)
            outcome.differences += database_differences(
                self._source, self._target, self._router, tables, seen, outcome.seen
            )
        return outcome

    def _is_left_out(self, name: TableName) -> bool:
        is_of_tool = self._settings.online_schema_change == "collapse" and ANY_TABLE.fullmatch(name.table) is not None
        return is_of_tool or (self._excluded is not None and self._excluded.takes(name))

    def _is_skipped(self, *kinds: str) -> bool:
        """Whether the configuration leaves such statements out, so that differences are by intention."""
        return any(self._settings.schema_changes[kind] == "skip" for kind in kinds)

    def _note_missing(self, pair: TablePair, outcome: LookOutcome) -> None:
        if self._is_skipped("create-table", "rename-table"):
            return
        names = tuple(part.name for part in pair.sources)
        remedy = "pydbsync copy " + " ".join(f"--tables '{name}'" for name in names)
        outcome.differences.append(Difference(pair.target, "table", "the target has no such table", names, remedy))

    def _extra(self, found: Pairs, seen: Mapping[DefinedThing, str], parked: set[TableName]) -> Iterator[Difference]:
        """Tables of the target that the source has had, and has no more."""
        if self._is_skipped("drop-table", "rename-table"):
            return
        for name in found.extra:
            origins = [TableName(database, name.table) for database in self._router.sources(name.database)]
            known = tuple(each for each in origins if DefinedThing("table", str(each)) in seen)
            if known and not parked & set(known) and not any(self._is_left_out(each) for each in known):
                yield Difference(
                    name, "table", "the source has no such table any more", known,
                    "look whether it was dropped or renamed at the source, and do the same at the target",
                )  # fmt: skip

    def _compare(
        self, pair: TablePair, seen: Mapping[DefinedThing, str], numbers: Mapping[str, str], outcome: LookOutcome
    ) -> None:
        sides = open_sides(pair, self._settings, self._source, self._target)
        source_names, target_names = names_of_both(self._source, self._target, self._router.rename_table)
        at_source = {
            schema.name: self._source.call(partial(read_definition, schema=schema, rename=source_names))
            for schema in sides.source_schemas
        }
        at_target = self._target.call(partial(read_definition, schema=sides.target_schema, rename=target_names))
        names = tuple(at_source)
        kept: dict[TableName, SeenDefinition] = {}
        new_numbers: dict[TableName, str] = {}
        for name, definition in at_source.items():
            former = _former(seen, name)
            number = numbers.get(f"{name.database}/{name.table}", "")
            if former is not None and former.is_other(number):
                new_numbers[name] = number
            known = _with_gone(definition, former.definition if former else None, at_target)
            outcome.differences += self._structure(sides, name, definition, _restricted(at_target, known), names)
            kept[name] = SeenDefinition(known, number or (former.number if former else ""))
        remade = None
        if (
            pair.is_complete
            and not outcome.left_out
            and not self._is_skipped("truncate-table")
            and not self._is_shared(pair.target)
        ):
            remade = self._made_anew(pair.target, new_numbers)
            outcome.differences += self._rows(sides, names, remade)
        is_settled = remade is None or (remade.is_over and pair.target not in self._suspects)
        for name, found in kept.items():
            earlier = _former(outcome.seen, name)  # where the source's table goes to several of the target
            former = _former(seen, name)
            if not is_settled and former is not None:
                found.number = former.number  # a restart begins again
            if earlier is not None:  # what any of them still has is remembered
                found.definition = _with_gone(found.definition, earlier.definition, earlier.definition)
                if found.number != earlier.number and former is not None:
                    found.number = former.number
            outcome.seen[DefinedThing("table", str(name))] = msgspec.json.encode(found).decode()

    def _made_anew(self, target: TableName, numbers: dict[TableName, str]) -> Remade | None:
        """What is known of the target's table, whose source tables have these new numbers."""
        remade = self._remade.get(target)
        if not numbers:
            self._remade.pop(target, None)
            return None
        if remade is None or remade.numbers != numbers:
            remade = self._remade[target] = Remade(numbers)
        return remade

    def _structure(
        self,
        sides: TableSides,
        name: TableName,
        definition: TableStructure,
        at_target: TableStructure,
        names: tuple[TableName, ...],
    ) -> Iterator[Difference]:
        if self._is_skipped("alter-table"):
            return
        target = sides.pair.target
        missing = {
            f"index {index} {text} is missing at the target": index
            for index, text in definition.indexes.items()
            if index not in at_target.indexes
        }
        gone = {
            f"index {index} {text} is at the target only": index
            for index, text in at_target.indexes.items()
            if index not in definition.indexes
        }
        for text in structure_differences(
            definition, at_target, across_brands=sides.across_brands, allows_own_columns=False
        ):
            sql = ""
            if text in missing:
                sql = add_statement(self._source, name, missing[text], target)
                clause = f"ADD INDEX {quote_name(missing[text])} …"
                remedy = f"{sql or f'ALTER TABLE {target} {clause} as at the source'}; at the target"
            elif text in gone:
                sql = drop_statement(target, gone[text]) if _may_go(sides, gone[text], at_target) else ""
                remedy = f"{drop_statement(target, gone[text])}; at the target, if it was dropped at the source"
            else:
                remedy = "run at the target what was run at the source; pydbsync verify shows both definitions"
            kind = "index" if text.startswith("index ") else "structure"
            if kind == "index" and self._is_skipped("create-index", "drop-index"):
                continue
            yield Difference(target, kind, text, names, remedy, sql=sql)

    def _rows(self, sides: TableSides, names: tuple[TableName, ...], remade: Remade | None) -> Iterator[Difference]:
        target = sides.pair.target
        found = rows_left(sides, self._suspects.get(target), remade)
        if found is None:
            self._suspects.pop(target, None)
            return
        self._suspects[target] = found
        globs = " ".join(f"--tables '{name}'" for name in names)
        yield Difference(
            target, "rows", "it has rows that the source has no more, as after a TRUNCATE at the source", names,
            f"pydbsync verify {globs} --report watch.json; pydbsync repair --report watch.json --plan watch.sql;"
            " read watch.sql; pydbsync repair --plan watch.sql",
            detail=found.text,
        )  # fmt: skip

    def _read_numbers(self) -> dict[str, str]:
        """InnoDB's numbers of the source's tables, which are others after a TRUNCATE (CREATE_TIME stays, MySQL 9.7 and
        MariaDB 10.11), by `database/table`; nothing without the right PROCESS."""
        table = "innodb_sys_tables" if self._source.dialect.is_mariadb else "innodb_tables"
        if not self._source.dialect.is_mariadb and self._source.dialect.version < (8,):
            table = "innodb_sys_tables"
        try:
            rows = self._source.rows(f"SELECT name, table_id FROM information_schema.{table} ORDER BY table_id")
        except TransientError:
            raise
        except ApplyError:
            return {}
        server = self._source.value("SELECT @@server_id")
        found: dict[str, str] = {}
        for name, number in rows:
            whole = str(name).partition("#")[0]  # a partition has a number of its own
            found[whole] = f"{found.get(whole, f'{server}:')} {number}"
        return found

    def _read_parked(self) -> set[TableName]:
        schema = quote_name(self._settings.state_schema)
        rows = self._target.rows(
            f"SELECT DISTINCT source_database, source_table FROM {schema}.`parked` WHERE status = 'parked'"
        )
        return {TableName(str(database), str(table)) for database, table in rows}

    def _is_shared(self, target: TableName) -> bool:
        """Whether streams of several sources write to the table."""
        return bool(self._target.call(lambda connection: self._feeders.others_in(connection, *target)))

    def _unknown_streams(self) -> list[str]:
        """Streams of other configurations that do not tell of which server their rows are: any table may be theirs."""
        schema = quote_name(self._settings.state_schema)
        ours = {queue.stream for queue in self._settings.queues} | {self._settings.stream}
        rows = self._target.rows(
            f"SELECT stream FROM {schema}.`checkpoint` WHERE binlog_base <> '' AND server_id IS NULL ORDER BY stream"
        )
        return [str(stream) for (stream,) in rows if str(stream) not in ours]


def _former(seen: Mapping[DefinedThing, str], name: TableName) -> SeenDefinition | None:
    try:
        return msgspec.json.decode(seen.get(DefinedThing("table", str(name)), ""), type=SeenDefinition)
    except msgspec.DecodeError:  # it was not seen, or by another version
        return None


def _may_go(sides: TableSides, index: str, at_target: TableStructure) -> bool:
    """Whether the target finds its rows without this index as well."""
    return index != "PRIMARY" and bool(sides.target_schema.primary_key or not at_target.indexes[index].startswith("u"))


def _restricted(target: TableStructure, known: TableStructure) -> TableStructure:
    """The target without what the source never had: that is its own."""
    parts: dict[str, object] = {
        part: {name: each for name, each in getattr(target, part).items() if _has(getattr(known, part), name)}
        for part in _NAMED_PARTS
    }
    return msgspec.structs.replace(target, **parts)


def _with_gone(source: TableStructure, former: TableStructure | None, target: TableStructure) -> TableStructure:
    """The source's definition, with what it had and the target still has."""
    if former is None:
        return source
    parts: dict[str, object] = {
        part: {
            **{
                name: each
                for name, each in getattr(former, part).items()
                if not _has(getattr(source, part), name) and _has(getattr(target, part), name)
            },
            **getattr(source, part),
        }
        for part in _NAMED_PARTS
    }
    return msgspec.structs.replace(source, **parts)


def _has(names: Collection[str], name: str) -> bool:
    return name in names or any(each.lower() == name.lower() for each in names)
