"""Where a capture without a state begins: a place of the binlog and the source's tables as they were there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from pydbsync.errors import PlanError
from pydbsync.gtids import GtidSet
from pydbsync.model import TableName
from pydbsync.ops.capture.binlog import kinds as k
from pydbsync.ops.capture.binlog.gtids import read_gtid, read_previous_gtids, read_tagged_gtid
from pydbsync.ops.capture.binlog.query import parse_query
from pydbsync.ops.capture.binlog.reader import BinlogPlace, BinlogReader
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.history.follow import FollowedSchema, Snapshot
from pydbsync.ops.capture.history.spelling import spell_by_default
from pydbsync.ops.capture.history.state import Beginning
from pydbsync.ops.capture.source import SourceFacts, SourceServer
from pydbsync.places import parse_position
from pydbsync.plan.ddl.recognise import Recognised, recognise
from pydbsync.plan.ddl.statement import Statement, parse_statement

log = logging.getLogger("pydbsync.capture")

_ATTEMPTS: Final = 5
OpenReader = Callable[[BinlogPlace], BinlogReader]
"""Opens a reader that stops at the end of the binlog."""


def begin_now(server: SourceServer, facts: SourceFacts, charsets: Charsets, read: OpenReader) -> Beginning:
    """Begin at the end of the binlog. The catalogue is read again if DDL came in between."""
    for attempt in range(1, _ATTEMPTS + 1):
        place = server.head(facts.brand)
        beginning = _begin(server, facts, charsets, read, place)
        if not beginning.snapshot.uncertain:
            break
        log.info("the source's tables changed while they were read (attempt %d)", attempt)
    return beginning


def begin_at(
    server: SourceServer, facts: SourceFacts, charsets: Charsets, read: OpenReader, place: BinlogPlace
) -> Beginning:
    """Begin at an earlier place. Tables whose DDL lies behind it are uncertain: of them the catalogue tells nothing."""
    return _begin(server, facts, charsets, read, place)


def gtids_at(server: SourceServer, facts: SourceFacts, read: OpenReader, file: str, offset: int) -> str:
    """The GTIDs that lie before a place. They are needed only to change to `by_gtid` later."""
    if facts.brand == "mariadb":
        return str(server.rows("SELECT BINLOG_GTID_POS(%s, %s)", (file, offset))[0][0] or "")
    reader = read(BinlogPlace(file, 4))
    gtids = GtidSet()
    try:
        for event in reader.events():
            if reader.file != file or event.start >= offset:
                break
            if event.kind == k.PREVIOUS_GTIDS:
                gtids = GtidSet(read_previous_gtids(event.body))
            elif event.kind == k.GTID:
                gtids.add(read_gtid(event.body))
            elif event.kind == k.GTID_TAGGED:
                gtids.add(read_tagged_gtid(event.body))
    finally:
        reader.close()
    return str(gtids)


def _begin(
    server: SourceServer, facts: SourceFacts, charsets: Charsets, read: OpenReader, place: BinlogPlace
) -> Beginning:
    databases = tuple(server.databases())
    sequences = tuple(server.sequences())
    known = FollowedSchema(
        Snapshot(tuple(server.tables(facts.brand)), databases), fold_names=facts.fold_names, brand=facts.brand
    )
    end = server.head(facts.brand)
    uncertain: set[TableName] = set()
    made: set[str] = set()
    if (place.file, place.offset) == (end.file, end.offset):
        reader = read(BinlogPlace(place.file, place.offset))
        place = place._replace(mark=reader.begins_at.mark)
        reader.close()
    else:
        reader = read(place)
        try:
            place = reader.begins_at
            for found, database in _statements(reader, end, facts, charsets):
                try:
                    statement = parse_statement(found.sql, brand=facts.brand)
                except PlanError as exc:
                    log.warning("a statement between the first place and the present one cannot be read: %s", exc)
                    uncertain |= known.named_in(found.tokens)
                    continue
                uncertain |= set(map(known.folded, _tables_of(statement, database)))
                if statement.action == "create-database":
                    named = known.folded(TableName(statement.names[0].database or "", ""))
                    if statement.if_not_exists:  # it may have been there before
                        uncertain.add(named)
                    elif named not in uncertain:
                        made.add(named.database)
        finally:
            reader.close()
    return Beginning(
        identity=facts.identity,
        place=place,
        snapshot=Snapshot(
            tables=tuple(
                table for name, table in known.tables.items() if name not in uncertain and name.database not in made
            ),
            databases=tuple(database for database in known.databases.items() if database[0] not in made),
            sequences=sequences,
            uncertain=tuple(sorted(name for name in uncertain if name.database not in made)),
        ),
    )


def _statements(
    reader: BinlogReader, end: BinlogPlace, facts: SourceFacts, charsets: Charsets
) -> Iterator[tuple[Recognised, str]]:
    """DDL on tables and databases from the reader's place up to `end`, with each session's default database."""
    file, number = reader.file, file_number(reader.file)
    last_number = file_number(end.file)
    for event in reader.events():
        if event.start < 0:  # made up by the server for this connection, as the rotation into the next file
            continue
        if reader.file != file:
            file, number = reader.file, file_number(reader.file)
        if number > last_number or (number == last_number and event.start >= end.offset):
            return
        if event.kind not in (k.QUERY, k.MARIADB_QUERY_COMPRESSED):
            continue
        query = parse_query(event.body, is_compressed=event.kind == k.MARIADB_QUERY_COMPRESSED)
        if query.raw in (b"BEGIN", b"COMMIT"):
            continue
        found = recognise(spell_by_default(query.sql(charsets, facts.collations), query.sql_mode), facts.brand)
        if found.kind == "ddl":
            yield found, query.database


def file_number(file: str) -> int:
    """Of a binlog file: 7 of `binlog.000007`."""
    return parse_position(f"{file}:0")[1]


def _tables_of(statement: Statement, database: str) -> set[TableName]:
    """The tables whose columns the statement may have changed."""
    if statement.temporary or statement.action in ("truncate-table", "create-index", "drop-index"):
        return set()
    names = [name for item in statement.items for name in (item.before, item.after) if name is not None]
    return {TableName(name.database if name.database is not None else database, name.table or "") for name in names}
