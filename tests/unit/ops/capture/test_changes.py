"""Events become transactions: what is given out together, what is taken back, and the place behind which to go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from pydbsync.errors import OperationError, StopError
from pydbsync.ops.capture.batch import ChangesSettings
from pydbsync.ops.capture.binlog import kinds as k
from pydbsync.ops.capture.binlog.reader import BinlogPlace, Event
from pydbsync.ops.capture.changes import Changes
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.history.follow import FollowedSchema, Snapshot, StatementSession
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.route.filters import Filters

INT = 3
FILE = "b.000001"
SERVER = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def never(*_: object) -> Any:
    raise AssertionError("no character set has to be asked for")


class Binlog:
    """Events one behind the other, each of 100 bytes, as a source would write them, and what became of them."""

    def __init__(self, *, gtids: str = "", is_transactional: bool = True, **settings: Any) -> None:
        schema = FollowedSchema(Snapshot(databases=(("d", "utf8mb4"), ("e", "utf8mb4"))), brand="mysql")
        for name in ("d.t", "e.t"):
            sql = f"CREATE TABLE {name} (id INT PRIMARY KEY)"
            schema.apply(parse_statement(sql, brand="mysql"), StatementSession("d"))
        found = ChangesSettings(**{"is_mariadb": False, "filters": Filters(exclude=["e.*"]), **settings})
        self.changes = Changes(
            found, schema, Charsets(never), BinlogPlace(FILE, 4, gtids), is_transactional=lambda name: is_transactional
        )
        self.end = 4
        self.messages: list[dict[str, Any]] = []

    def write(self, kind: int, body: bytes = b"", file: str = FILE, *, flags: int = 0) -> list[dict[str, Any]]:
        """The messages that the event completes."""
        start, self.end = self.end, self.end + 100
        batches = self.changes.take(Event(kind, 1000, 1, start, self.end, body, flags), file)
        found = [json.loads(body) for batch in batches for body in batch.bodies]
        self.messages += found
        return found

    def query(self, sql: str, database: str = "d", *, is_begun: bool = True) -> list[dict[str, Any]]:
        """`is_begun`: a GTID event stands before it, or before its transaction."""
        if is_begun and not self.changes._is_open:
            self.changes.take(Event(k.ANONYMOUS_GTID, 1000, 1, self.end, self.end, b""), FILE)
        head = (9).to_bytes(4, "little") + bytes(4) + bytes([len(database)]) + bytes(4)
        return self.write(k.QUERY, head + database.encode() + b"\0" + sql.encode())

    def rows(self, *numbers: int, database: str = "d") -> list[dict[str, Any]]:
        """Inserted into the table t of one INT."""
        name = b"\1" + database.encode() + b"\0\1t\0"
        number = {"d": 1, "e": 2}[database].to_bytes(6, "little")
        given = self.write(k.TABLE_MAP, number + b"\1\0" + name + bytes([1, INT, 0, 0]))
        images = b"".join(b"\0" + each.to_bytes(4, "little") for each in numbers)
        return given + self.write(k.WRITE_V2, number + b"\1\0\2\0" + b"\1\xff" + images)

    def commit(self, xid: int = 5) -> list[dict[str, Any]]:
        return self.write(k.XID, xid.to_bytes(8, "little"))

    def gtid(self, number: int) -> None:
        assert self.write(k.GTID, b"\1" + bytes.fromhex(SERVER.replace("-", "")) + number.to_bytes(8, "little")) == []

    @property
    def place(self) -> tuple[str, int, str]:
        place = self.changes.place
        return place.file, place.offset, place.gtids


def ids(messages: Iterable[dict[str, Any]]) -> list[int]:
    return [message["data"]["id"] for message in messages]


def test_nothing_is_given_out_before_the_commit_and_the_place_stays_before_it() -> None:
    binlog = Binlog()
    assert binlog.query("BEGIN") == []
    assert binlog.rows(1, 2) == []
    assert binlog.rows(3) == []
    assert binlog.place == (FILE, 4, "")
    given = binlog.commit(xid=7)
    assert ids(given) == [1, 2, 3]
    assert [(each["xid"], each.get("xoffset"), each.get("commit")) for each in given] == [
        (7, 0, None),
        (7, 1, None),
        (7, None, True),
    ]
    assert binlog.place == (FILE, binlog.end, "")
    assert (binlog.changes.counts.rows, binlog.changes.counts.transactions) == (3, 1)


def test_rows_of_tables_that_are_left_out_are_no_transaction() -> None:
    binlog = Binlog()
    binlog.query("BEGIN")
    binlog.rows(1, database="e")
    assert binlog.commit() == []
    assert binlog.changes.counts.transactions == 0
    assert binlog.place == (FILE, binlog.end, "")


def test_a_gtid_counts_when_its_transaction_is_over() -> None:
    binlog = Binlog(gtids=f"{SERVER}:1-4")
    binlog.gtid(5)
    binlog.query("BEGIN")
    binlog.rows(1)
    assert binlog.place[2] == f"{SERVER}:1-4"
    (given,) = binlog.commit()
    assert given["gtid"] == f"{SERVER}:5"
    assert binlog.place[2] == f"{SERVER}:1-5"


def test_what_was_rolled_back_to_a_savepoint_is_not_given_out() -> None:
    binlog = Binlog()
    binlog.query("BEGIN")
    binlog.rows(1)
    binlog.query("SAVEPOINT `a`")
    binlog.rows(2)
    binlog.query("SAVEPOINT b")
    binlog.rows(3)
    binlog.query("ROLLBACK TO `a`")
    binlog.rows(4)
    assert ids(binlog.commit()) == [1, 4]
    with pytest.raises(StopError, match="savepoint that the transaction has not"):
        binlog.query("ROLLBACK TO a")


def test_a_rollback_gives_out_nothing_and_goes_on_behind() -> None:
    binlog = Binlog()
    binlog.query("BEGIN")
    binlog.rows(1)
    assert binlog.query("ROLLBACK") == []
    assert binlog.place == (FILE, binlog.end, "")


def test_a_prepared_transaction_is_given_out_at_its_commit_and_the_place_waits_for_it() -> None:
    binlog = Binlog()
    binlog.query("XA START X'61',X'',1")
    binlog.rows(1)
    binlog.query("XA END X'61',X'',1")
    binlog.write(k.XA_PREPARE, b"\0" + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4) + b"a")
    before = binlog.place
    assert binlog.changes.end is None
    binlog.query("BEGIN")
    binlog.rows(2)
    assert ids(binlog.commit()) == [2]
    assert binlog.place == before
    assert ids(binlog.query("XA COMMIT X'61',X'',1")) == [1]
    assert binlog.place == (FILE, binlog.end, "")
    assert binlog.changes.end == BinlogPlace(FILE, binlog.end)
    with pytest.raises(StopError, match=r"prepared before the place where capture began.*--skip-at"):
        binlog.query("XA COMMIT X'61',X'',1")


def test_a_savepoint_inside_a_prepared_transaction_is_no_end_of_it() -> None:
    binlog = Binlog(gtids=f"{SERVER}:1-4")
    begun = binlog.place
    binlog.gtid(5)
    binlog.query("XA START X'61',X'',1")
    binlog.rows(1)
    binlog.query("SAVEPOINT `s`")
    binlog.rows(2)
    binlog.query("ROLLBACK TO `s`")
    assert binlog.place == begun
    binlog.query("XA END X'61',X'',1")
    binlog.write(k.XA_PREPARE, b"\0" + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4) + b"a")
    assert binlog.place == begun
    binlog.gtid(6)
    assert ids(binlog.query("XA COMMIT X'61',X'',1")) == [1]
    assert binlog.place == (FILE, binlog.end, f"{SERVER}:1-6")


def test_a_statement_changes_what_rows_behind_it_are_read_by() -> None:
    binlog = Binlog()
    (created,) = binlog.query("ALTER TABLE t RENAME COLUMN id TO number")
    assert (created["type"], created["database"], created["table"]) == ("table-alter", "d", "t")
    binlog.query("BEGIN")
    binlog.rows(1)
    (row,) = binlog.commit()
    assert row["data"] == {"number": 1}
    assert binlog.changes.counts.schema_changes == 1


@pytest.mark.parametrize("sql", ["INSERT INTO t VALUES (1)", "FROBNICATE t", "SELECT f()"])
def test_what_may_have_changed_rows_stops_and_can_be_left_out_by_its_place(sql: str) -> None:
    binlog = Binlog()
    with pytest.raises(StopError, match=rf"what stands at {FILE}:4 cannot be published.*--skip-at {FILE}:4"):
        binlog.query(sql)
    chosen = Binlog(skip_at=frozenset({f"{FILE}:4"}))
    assert chosen.query(sql) == []
    assert chosen.changes.counts.skipped_statements == 1
    assert chosen.place == (FILE, chosen.end, "")
    with pytest.raises(StopError, match=f"{FILE}:104"):
        chosen.query(sql)


@pytest.mark.parametrize("sql", ["BEGIN", "XA START X'61',X'',1", "TRUNCATE TABLE t"])
def test_a_place_behind_the_gtid_of_a_transaction_is_refused(sql: str) -> None:
    with pytest.raises(OperationError, match=f"{FILE}:4, where capture began, lies inside a transaction"):
        Binlog().query(sql, is_begun=False)


@pytest.mark.parametrize("next_file", [True, False])
def test_a_transaction_without_an_end_is_no_change(next_file: bool) -> None:
    """A source that crashed while it wrote it leaves its first events in the file."""
    binlog = Binlog(gtids=f"{SERVER}:1-4")
    binlog.gtid(5)
    binlog.query("BEGIN")
    binlog.rows(1)
    binlog.query("SAVEPOINT s")
    if next_file:
        assert binlog.write(k.ROTATE, (4).to_bytes(8, "little") + b"b.000002", file="b.000002") == []
        assert binlog.place == ("b.000002", 4, f"{SERVER}:1-4")
    assert binlog.write(k.GTID, b"\1" + bytes.fromhex(SERVER.replace("-", "")) + (5).to_bytes(8, "little")) == []
    binlog.query("BEGIN")
    binlog.rows(2)
    given = binlog.commit(xid=7)
    assert [(each["data"]["id"], each["gtid"], each.get("xoffset")) for each in given] == [(2, f"{SERVER}:5", None)]
    assert binlog.place[2] == f"{SERVER}:1-5"
    with pytest.raises(StopError, match="savepoint that the transaction has not"):
        binlog.query("ROLLBACK TO s")


def test_what_tables_without_transactions_took_of_a_transaction_without_an_end_is_given_out() -> None:
    binlog = Binlog(is_transactional=False)
    binlog.query("BEGIN")
    binlog.rows(1)
    assert ids(binlog.write(k.ANONYMOUS_GTID)) == [1]


def test_a_new_file_is_gone_on_with_where_it_says() -> None:
    binlog = Binlog()
    binlog.write(k.ROTATE, (4).to_bytes(8, "little") + b"b.000002", file="b.000002")
    assert binlog.place == ("b.000002", 4, "")


def test_an_event_that_nobody_knows_stops() -> None:
    with pytest.raises(StopError, match="event of type 250, which is not known"):
        Binlog().write(250)


def test_an_event_is_passed_over_that_says_so_itself() -> None:
    """Amazon Aurora writes such ones of kind 100 between a GTID and the BEGIN."""
    binlog = Binlog()
    binlog.write(k.ANONYMOUS_GTID)
    assert binlog.write(100, b"*" * 900, flags=0x80) == []
    binlog.query("BEGIN")
    binlog.rows(1)
    binlog.write(100, b"*", flags=0x80)
    assert ids(binlog.commit()) == [1]
    binlog.write(100, b"*", flags=0x80)
    assert binlog.place == (FILE, binlog.end, "")
