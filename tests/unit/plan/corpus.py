"""The DDL messages of the corpus."""

from __future__ import annotations

import gzip
from functools import cache
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from pydbsync.decode.maxwell import decode_message
from pydbsync.model import SchemaChange
from pydbsync.plan.ddl.collations import StatementServer

CORPUS = Path(__file__).parents[2] / "data" / "corpus"


class Recorded(NamedTuple):
    source: StatementServer
    case: str
    change: SchemaChange
    siblings: tuple[SchemaChange, ...]
    """The other messages of the same statement."""


class RecordedCase(NamedTuple):
    name: str
    changes: tuple[Recorded, ...]

    def __str__(self) -> str:
        return self.name


def _bodies(path: Path) -> list[bytes]:
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).split(b"\n")


@cache
def recorded_schema_changes() -> list[Recorded]:
    """Every DDL message, with the server that wrote it and the name of its case."""
    found: list[Recorded] = []
    for path in sorted(CORPUS.rglob("messages.ndjson*")):
        source = (
            StatementServer("mysql", (9, 7, 4)) if "mysql-9.7" in path.parts else StatementServer("mariadb", (10, 11))
        )
        changes = [decode_message(body) for body in _bodies(path) if b'"sql"' in body]
        for _, group in groupby(
            (item for item in changes if isinstance(item, SchemaChange)), key=attrgetter("position")
        ):
            messages = tuple(group)
            case = str(path.parent.relative_to(CORPUS))
            found += [
                Recorded(source, case, message, tuple(other for other in messages if other is not message))
                for message in messages
            ]
    return found


def recorded_cases() -> list[RecordedCase]:
    """The same by cases: a test for each statement would cost more than what it tests."""
    grouped = groupby(recorded_schema_changes(), key=attrgetter("case"))
    return [RecordedCase(name, tuple(changes)) for name, changes in grouped]
