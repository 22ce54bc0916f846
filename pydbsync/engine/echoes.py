"""What comes back of our own replay in the other direction: told by the marks at the head of its transactions.

Whoever of pydbsync writes rows at a server first changes a row of its state schema there, in the same transaction: the
checkpoint row (replay), or a row of `mark` (the tools). A schema change has a row of the journal, or of `mark`, that is
committed before it and closed behind it. In the stream of that server these rows come first, so that what follows of
the transaction, and the statement, are known for an echo. Nothing else tells one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from pydbsync.engine.marks import SentMarks
from pydbsync.errors import StopError
from pydbsync.model import RowChange, SchemaChange
from pydbsync.plan.agreement import Word, word_of
from pydbsync.plan.ddl.same_statement import statement_digest

MARK_TABLES: Final = ("checkpoint", "mark", "schema_change")
"""The tables of the state schema of which each queue must have every row."""


class _CheckpointImage(msgspec.Struct):
    stream: str
    commits: int = 0
    echoes: str | None = None
    """In a mark of our own, the commits of each stream that had been counted before it."""
    server_id: int | None = None
    server_ids: str = ""


class _JournalRow(msgspec.Struct):
    """A row of the journal of schema changes, or of `mark`."""

    statement_hash: str = ""
    writer: str = ""
    number: int = 0
    status: str = "intent"
    default_database: str | None = None
    statement: str | None = None
    word: str | None = None
    """What the other direction's replay says of a row that was in conflict."""


_BEGINS_WITHIN_S: Final = 60
"""A tool that is killed before its statement takes back no announcement, and nobody else does: an equal statement that
begins later is another one. (What replay has announced it ends itself, at its next start.)"""
_decode_checkpoint = msgspec.json.Decoder(_CheckpointImage).decode
_decode_statement = msgspec.json.Decoder(_JournalRow).decode


class _Announced(msgspec.Struct, omit_defaults=True):
    """A schema change that is about to be run at the source."""

    database: str | None
    digests: list[str]
    until: int | None = None
    """Of a tool, the last second of the source in which it may begin."""


class EchoState(msgspec.Struct, omit_defaults=True):
    """What is kept of it with the place, as JSON in the checkpoint row."""

    transaction: str = ""
    """The transaction with a mark whose end has not come."""
    announced: dict[str, _Announced] = {}
    is_proven: bool = False
    """Whether a mark of our own has come through the queue."""
    untold: str = ""
    """The transaction of which the first rows did not come."""


_decode_state = msgspec.json.Decoder(EchoState).decode
_decode_counted = msgspec.json.Decoder(dict[str, int]).decode


class Echoes:
    """Follows the marks of one stream; is shown every row of it, and every schema change, in order."""

    def __init__(
        self, schema: str, state: str | None, *, marks: SentMarks | None = None, server_ids: Collection[int] = ()
    ) -> None:
        """`schema` is the state schema of the source; `state` what `to_json` has given; `marks` are those that are
        written to prove the way; `server_ids` are of the target: where they are given, the other direction's replay
        must come from there."""
        self._schema = schema
        self._marks = marks or SentMarks("", schema=schema)
        self._server_ids = server_ids
        found = _decode_state(state) if state else EchoState()
        self._transaction = found.transaction
        self._announced = found.announced
        self._untold = found.untold
        self._marks.is_proven = self._marks.is_proven or found.is_proven
        self.word: Word | None = None
        """What the last row has said of a row that was in conflict."""
        self._came: set[str] = set()
        """The tables of which a row of our own mark has come."""
        self._commits: dict[str, int] = {}
        """Of each stream of the other direction, how many commits its last mark has counted."""
        self._tools: dict[str, int] = {}
        """Of each connection of a tool, the number of its last mark."""

    def to_json(self) -> str:
        """What has to be kept with the place."""
        state = EchoState(self._transaction, self._announced, self._marks.is_proven, self._untold)
        return str(msgspec.json.encode(state), "utf-8")

    def is_state(self, change: RowChange | SchemaChange) -> bool:
        """Whether it is a row of the state schema itself, which says something and is never replayed."""
        return change.database == self._schema

    def is_echo(self, change: RowChange) -> bool:
        """Whether this row, the next one of the stream, was written by pydbsync or says that rows are. Raises StopError
        where that cannot be told."""
        if change.database == self._schema:
            self.word = None
            self._take_state(change)
            return True
        if self._marks.due < change.ts and self._marks.is_missing(change):
            raise self._marks.missing(change)
        if not self._transaction or change.kind == "bootstrap-insert":
            # Maxwell prints a bootstrap from another thread, in between.
            return False
        if self._transaction != _transaction_of(change):
            self._transaction = ""  # its last row went to another queue
            return False
        if change.commit:
            self._transaction = ""
        return True

    def is_untold(self, change: RowChange, *, lacks_head: bool) -> bool:
        """Whether nobody can tell of this row, which is no echo by what has come, if it is one: rows are missing where
        the mark of its transaction would stand."""
        transaction = _transaction_of(change)
        if lacks_head and change.kind != "bootstrap-insert":
            self._untold = transaction
        is_untold = bool(transaction) and self._untold == transaction
        if self._untold and (change.commit or not is_untold):
            self._untold = ""
        return is_untold

    def is_echo_of_statement(self, change: SchemaChange) -> bool:
        """Whether this schema change was run by pydbsync."""
        self._transaction = ""
        if change.database == self._schema:
            if change.kind == "database-drop" or (change.kind == "table-drop" and change.table in MARK_TABLES):
                # By hand: what stood there is taken back by nobody, and is counted from the beginning.
                self._announced.clear()
                self._commits.clear()
                self._tools.clear()
            return True
        found: dict[str | None, str] = {}
        for announced in self._announced.values():
            if announced.until is not None and change.ts > announced.until:
                continue
            database = announced.database
            if database not in found:
                found[database] = statement_digest(change.sql, database)
            if found[database] in announced.digests:
                return True
        return False

    def _take_state(self, change: RowChange) -> None:
        if change.table not in MARK_TABLES:
            return
        if change.table != "schema_change":
            transaction = _transaction_of(change)
            if not transaction:
                raise StopError(
                    f"a row of {self._schema}.{change.table} came without xid and gtid: nothing tells which rows are"
                    " of its transaction (two_way). Set output_xoffset=true, output_commit_info=true and"
                    " output_binlog_position=true for Maxwell; the table must be of InnoDB"
                )
            self._transaction = "" if change.commit or not _counts(change) else transaction
        try:
            if change.table == "checkpoint":
                self._count(change)
            else:
                self._take_statement(change)
        except msgspec.MsgspecError as exc:
            raise StopError(
                f"a row of {self._schema}.{change.table} at {change.position} is not as pydbsync writes it (two_way):"
                f" {exc}"
            ) from exc

    def _take_statement(self, change: RowChange) -> None:
        row = _decode_statement(change.data)
        key = row.statement_hash or row.writer
        if key == self._marks.writer:
            self._take_own(change.table, row.number)
            return
        if row.writer:
            self._count_tool(row, change)
        if row.word is not None and change.kind != "delete":
            self.word = word_of(row.word)
            return
        if row.statement is None or row.status != "intent" or change.kind == "delete":
            self._announced.pop(key, None)
            return
        digest = statement_digest(row.statement, row.default_database)
        announced = self._announced.get(key)
        if row.writer:
            self._announced[key] = _Announced(row.default_database, [digest], change.ts + _BEGINS_WITHIN_S)
        elif announced is None or announced.database != row.default_database:
            self._announced[key] = _Announced(row.default_database, [digest])
        elif digest not in announced.digests:
            announced.digests.append(digest)

    def _count(self, change: RowChange) -> None:
        """Each commit of the other direction is counted in its mark: a number that was left out is a lost mark."""
        row = _decode_checkpoint(change.data)
        if row.stream == self._marks.writer:
            if row.echoes:
                self._compare_counts(_decode_counted(row.echoes), change)
            self._take_own(change.table, 0)
            return
        self._refuse_another(row)
        last = self._commits.get(row.stream)
        self._commits[row.stream] = row.commits
        if last is not None and row.commits > last + 1:
            raise self._lost(
                f"of the stream {row.stream!r} of the other direction commit {last} came, and then commit"
                f" {row.commits}",
                change,
            )

    def _compare_counts(self, counted: dict[str, int], change: RowChange) -> None:
        """Those that our own mark has counted before it must have come: also where none follows for a long time."""
        for stream, commits in counted.items():
            last = self._commits.setdefault(stream, commits)
            if last < commits:
                raise self._lost(
                    f"of the stream {stream!r} of the other direction commit {last} came, and {commits} were made",
                    change,
                )

    def _count_tool(self, row: _JournalRow, change: RowChange) -> None:
        """The marks of a tool's connection are numbered too."""
        last = self._tools.get(row.writer)
        self._tools[row.writer] = row.number
        if last is not None and row.number > last + 1:
            raise self._lost(
                f"of a tool's connection ({row.writer}) mark {last} came, and then mark {row.number}", change
            )

    def _lost(self, what: str, change: RowChange) -> StopError:
        return StopError(
            f"marks are missing: {what} at {change.position}; what lies between may have been applied here as if others"
            f" had written it. See that every message of {self._schema} ({', '.join(MARK_TABLES)}) reaches this queue,"
            " then `pydbsync verify`; a start goes on behind it"
        )

    def _take_own(self, table: str, number: int) -> None:
        """A row of a mark of our own; that of the table `mark` is the last one."""
        self._came.add(table)
        if table != "mark":
            return
        missing = [each for each in MARK_TABLES if each not in self._came]
        self._came.clear()
        if missing:
            raise StopError(
                f"the rows of {', '.join(f'{self._schema}.{each}' for each in missing)} do not come through this queue"
                " (two_way), though those of others do: bind it to all three, and let Maxwell's filters pass them"
            )
        self._marks.came(number)

    def _refuse_another(self, row: _CheckpointImage) -> None:
        """Raises StopError where replay at the source comes from another server than our target: its rows would be
        taken for echoes, and be missing here."""
        if not self._server_ids or row.server_id is None:
            return
        other = another_server(row.stream, row.server_id, row.server_ids, self._server_ids)
        if other:
            raise StopError(other)


def another_server(stream: str, server_id: int, server_ids: str, own: Collection[int]) -> str:
    """What to say of replay into the source that comes from another server than the target, whose numbers are `own`;
    empty where it comes from there. `server_ids` are all that have come in the stream, with commas."""
    if not {server_id, *(int(each) for each in server_ids.split(",") if each)}.isdisjoint(own):
        return ""
    return (
        f"the stream {stream!r} replays changes of server {server_id} into the source, and the target is server"
        f" {', '.join(map(str, sorted(own)))}: replay in both directions is between two servers, a ring or a star of"
        " more is refused (two_way). Is it the same server after a fail-over, name its former number in"
        " two_way.target_server_ids"
    )


def _counts(change: RowChange) -> bool:
    """Whether the row of a mark was written as pydbsync writes it, which counts each: what an operator changes in one
    by hand marks nothing, and what else is in his transaction is carried over."""
    if change.kind != "update":
        return change.kind == "insert"
    return (b'"commits"' if change.table == "checkpoint" else b'"number"') in bytes(change.old)


def _transaction_of(change: RowChange) -> str:
    """Tells the transaction of a row from the others near it: the numbers alone begin again when a server is started
    anew, with another file. Empty for what has no transaction."""
    if change.gtid is None and change.xid is None:
        return ""
    file = (change.position or "").rpartition(":")[0]
    return f"{file} {change.xid} {change.gtid or ''}"
