"""How the state schema came to be what it is: numbered migrations, each of them steps that can be taken twice.

To change the state schema, append a migration; never edit one that was released. DDL commits by itself, and a start can
be killed between any two statements: so a step looks first whether it is done. `Table` and `Columns` do so by
themselves, and both brands take what they say (ADD COLUMN IF NOT EXISTS is MariaDB's alone). `RowsChange` must be a
statement that changes nothing when it runs again; it runs until its migration is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from pydbsync.apply.ddl.copy_rows import COPY_ROWS
from pydbsync.apply.tables.conflict import CONFLICT_TABLES
from pydbsync.apply.tables.cutover import CUTOVER_TABLES
from pydbsync.apply.tables.first import FIRST_TABLES
from pydbsync.apply.tables.mark import MARK_TABLE
from pydbsync.apply.tables.operator import FEEDER, OPERATOR_TABLES
from pydbsync.apply.tables.progress import FINDINGS_TABLE, PROGRESS_TABLES
from pydbsync.apply.tables.seen import SEEN_TABLES
from pydbsync.apply.tables.told import TOLD_TABLE
from pydbsync.plan.quoting import quote_name

_KEY = re.compile(r"(?:UNIQUE )?KEY (\w+) \(")
_PRIMARY = "PRIMARY KEY ("
_TYPE = re.compile(r"\w+(?:\([^)]*\))?(?: UNSIGNED)?")
_CHARSET = re.compile(r"CHARACTER SET (\w+)")
_COLLATION = re.compile(r"COLLATE (\w+)")
_NOT_NULL = re.compile(r"NOT NULL|PRIMARY KEY")


class PresentSchema(NamedTuple):
    """What the state schema has: (table, column) and (table, key), in lower case."""

    columns: frozenset[tuple[str, str]]
    keys: frozenset[tuple[str, str]]

    def has_table(self, name: str) -> bool:
        """Whether the table is there."""
        return any(table == name for table, _ in self.columns)


class Table(NamedTuple):
    """A table. An earlier form of it, with fewer columns, is completed."""

    name: str
    definition: str
    """A column or a key a line, as in CREATE TABLE. A column that an earlier form may lack is NULL or has a default, or
    a `RowsChange` fills it."""


class Columns(NamedTuple):
    """Columns and keys that a table was given later, spelled as in `Table`."""

    name: str
    definition: str


class RowsChange(NamedTuple):
    """A statement about rows, with `{schema}` for the schema's quoted name."""

    sql: str


MigrationStep: TypeAlias = Table | Columns | RowsChange


class Migration(NamedTuple):
    """One version of the state schema."""

    version: int
    says: str
    """What is new, in one sentence."""
    steps: tuple[MigrationStep, ...]


MIGRATIONS = (
    Migration(
        1,
        "The tables of checkpoints, parked changes, schema changes, copies and repairs.",
        (
            *(Table(name, definition) for name, definition in FIRST_TABLES.items()),
            # Of a copy that an earlier pydbsync began: it knew one snapshot, and added no keys behind the rows.
            RowsChange("UPDATE {schema}.copy_run SET latest = start WHERE latest = ''"),
            RowsChange("UPDATE {schema}.copy_run SET before_latest = '{{}}' WHERE before_latest = ''"),
            RowsChange("UPDATE {schema}.copy_made SET late_keys = '[]' WHERE late_keys = ''"),
        ),
    ),
    Migration(
        2,
        "Workers and tools write what they are doing.",
        tuple(Table(name, definition) for name, definition in PROGRESS_TABLES.items()),
    ),
    Migration(
        3,
        "Many parked changes are found by table, place and age; what an operator has asked of the workers, and did.",
        (
            Columns(
                "parked",
                """
                KEY status (status, id),
                KEY by_table (status, source_database, source_table, target_database),
                KEY place (stream, `position`(64)),
                KEY age (status, parked_at)
                """,
            ),
            *(Table(name, definition) for name, definition in OPERATOR_TABLES.items()),
        ),
    ),
    Migration(
        4,
        "Replay in both directions: marks at the head of what tools write, and what a stream knows of them.",
        (
            Columns("checkpoint", "echoes LONGTEXT CHARACTER SET utf8mb4 NULL"),
            Table("mark", MARK_TABLE),
        ),
    ),
    Migration(
        5,
        "Which streams feed which tables of the target.",
        (Table("feeder", FEEDER),),
    ),
    Migration(
        6,
        "What the source was seen to have, by which the watch over its schema knows what came and went.",
        tuple(Table(name, definition) for name, definition in SEEN_TABLES.items()),
    ),
    Migration(
        7,
        "Conflicts are written down: changes that did not find the target's row as the source's was.",
        tuple(Table(name, definition) for name, definition in CONFLICT_TABLES.items()),
    ),
    Migration(
        8,
        "A cut-over writes down its steps.",
        tuple(Table(name, definition) for name, definition in CUTOVER_TABLES.items()),
    ),
    Migration(
        9,
        "Parked changes of tables that have another name at the target say which.",
        (
            Columns(
                "parked",
                "target_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT ''",
            ),
        ),
    ),
    Migration(
        10,
        "The differences that the last comparisons found.",
        (Table("task_findings", FINDINGS_TABLE),),
    ),
    Migration(
        11,
        "Parked messages that could not be read say what format they came in.",
        (Columns("parked", "input_format VARCHAR(16) CHARACTER SET ascii NOT NULL DEFAULT 'maxwell'"),),
    ),
    Migration(
        12,
        "A worker shows the other end what decides its conflicts.",
        (Columns("worker", "conflict_rule TEXT CHARACTER SET utf8mb4 NULL"),),
    ),
    Migration(
        13,
        "The rows of the copies of online schema changes are kept until their swap.",
        (Table("copy_rows", COPY_ROWS),),
    ),
    Migration(
        14,
        "A stream remembers which server of the target it was written to.",
        (Columns("stream_origin", "server VARCHAR(64) CHARACTER SET ascii NOT NULL DEFAULT ''"),),
    ),
    Migration(
        15,
        "Parked changes are counted from a key alone, however many and however long they are.",
        (
            Columns(
                "parked",
                "KEY counts (status, stream, source_database, source_table, code, behind, parked_at)",
            ),
        ),
    ),
    Migration(
        16,
        "A worker writes how often its batches were how late, of which an alert rule asks the tail.",
        (Columns("worker", "commit_lag TEXT CHARACTER SET ascii NULL"),),
    ),
    Migration(
        17,
        "Two ends agree on rows that were in conflict: what they say to each other, and what has no answer yet.",
        (Columns("mark", "word LONGTEXT CHARACTER SET utf8mb4 NULL"), Table("told", TOLD_TABLE)),
    ),
    Migration(
        18,
        "A stream remembers what tells the newest changes from those of a source that was reset.",
        (Columns("checkpoint", "recent LONGTEXT CHARACTER SET utf8mb4 NULL"),),
    ),
)

VERSION_TABLE = Table(
    "schema_version",
    """
        version INT UNSIGNED NOT NULL PRIMARY KEY,
        says VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL,
        made_by VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL,
        made_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
    """,
)


def newest_version(migrations: Iterable[Migration] = MIGRATIONS) -> int:
    """The version that this pydbsync works with."""
    return max(migration.version for migration in migrations)


def statements(
    schema: str,
    step: MigrationStep,
    found: PresentSchema,
    *,
    later: Iterable[MigrationStep] = (),
    is_recorded: bool = False,
) -> Iterator[str]:
    """What the step still has to run: nothing, or one statement. A table that is made gets the columns of `later` steps
    at once, so that a new state schema needs no right to ALTER."""
    if isinstance(step, RowsChange):
        if not is_recorded:
            yield step.sql.format(schema=quote_name(schema))
        return
    name = f"{quote_name(schema)}.{quote_name(step.name)}"
    lines = _lines_of(step, found, later)
    if isinstance(step, Table) and not found.has_table(step.name):
        lines.sort(key=_is_key)
        yield f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(lines)}) ENGINE=InnoDB"
        return
    missing = [f"ADD {line}" for line in lines if not _is_there(step.name, line, found)]
    if missing:
        yield f"ALTER TABLE {name} {', '.join(missing)}"


def taken(step: Table | Columns, found: PresentSchema, *, later: Iterable[MigrationStep] = ()) -> PresentSchema:
    """What there is once the statement of the step has run, by its text."""
    lines = _lines_of(step, found, later)
    columns = {(step.name, line.split(" ", maxsplit=1)[0].lower()) for line in lines if not _is_key(line)}
    keys = {(step.name, key[1].lower()) for line in lines if (key := _KEY.match(line))}
    return PresentSchema(found.columns | columns, found.keys | keys)


def missing_columns(step: Table | Columns, found: PresentSchema) -> list[str]:
    """The columns of a step, in a table that is there, that are not."""
    return [
        line.split(" ", maxsplit=1)[0].strip("`")
        for line in _lines(step.definition)
        if not _is_key(line) and not _is_there(step.name, line, found)
    ]


class ColumnMade(NamedTuple):
    """How a column is made: its type as information_schema has it but for widths that mean nothing, and the rest of
    what it holds and how it compares."""

    type: str
    charset: str
    collation: str
    is_null: bool
    line: str
    """As in CREATE TABLE."""


def made_columns() -> dict[tuple[str, str], ColumnMade]:
    """Each column of the state schema, by table and name."""
    found = {}
    for migration in MIGRATIONS:
        for step in migration.steps:
            if isinstance(step, RowsChange):
                continue
            for line in _lines(step.definition):
                if not _is_key(line):
                    name, _, rest = line.partition(" ")
                    found[step.name, name.strip("`").lower()] = _made(rest, line)
    return found


def plain_type(text: str) -> str:
    """A type without the widths of whole numbers, which newer servers leave out."""
    lower = re.sub(r",\s+", ",", text.lower().strip())
    return re.sub(r"^((?:tiny|small|medium|big)?int)\(\d+\)", r"\1", "tinyint" if lower == "boolean" else lower)


def _made(rest: str, line: str) -> ColumnMade:
    kind = _TYPE.match(rest)
    charset, collation = _CHARSET.search(rest), _COLLATION.search(rest)
    return ColumnMade(
        plain_type(kind[0] if kind else ""), charset[1] if charset else "", collation[1] if collation else "",
        _NOT_NULL.search(rest) is None, line,
    )  # fmt: skip


def _lines_of(step: Table | Columns, found: PresentSchema, later: Iterable[MigrationStep]) -> list[str]:
    lines = _lines(step.definition)
    if isinstance(step, Table) and not found.has_table(step.name):
        for other in later:
            if isinstance(other, Columns) and other.name == step.name:
                lines += _lines(other.definition)
    return lines


def _lines(definition: str) -> list[str]:
    return [line.strip().rstrip(",") for line in definition.strip().splitlines()]


def _is_key(line: str) -> bool:
    return line.startswith(_PRIMARY) or _KEY.match(line) is not None


def _is_there(table: str, line: str, found: PresentSchema) -> bool:
    if line.startswith(_PRIMARY):
        return True
    if key := _KEY.match(line):
        return (table, key[1].lower()) in found.keys
    return (table, line.split(" ", maxsplit=1)[0].lower()) in found.columns
