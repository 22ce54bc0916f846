"""No row is applied before a mark has come through the queue, and none that stands behind one that has not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import pytest

from pydbsync.decode.maxwell import decode_changes, decode_message
from pydbsync.engine.echoes import Echoes
from pydbsync.engine.marks import ProvenSource, SentMarks
from pydbsync.errors import StopError
from pydbsync.model import Delivery, RowChange
from pydbsync.source.memory import MemorySource
from tests.maxwell import Binlog, Step, delete, insert, update

LOG = logging.getLogger("tests.marks")


@pytest.fixture
def marks() -> SentMarks:
    return SentMarks("back", schema="pydbsync")


def own(binlog: Binlog, marks: SentMarks, number: int, *, without: str = "") -> list[bytes]:
    """The messages of a mark that the worker has written."""
    steps: list[Step] = []
    for table, key in (("checkpoint", "stream"), ("schema_change", "statement_hash")):
        row = {key: marks.writer, "status": "skipped", "statement": ""}
        steps += [insert(f"pydbsync.{table}", row), delete(f"pydbsync.{table}", row)]
    steps.append(update("pydbsync.mark", {"writer": marks.writer, "number": number}, {"number": number - 1}))
    return binlog.transaction(*(step for step in steps if step.table != f"pydbsync.{without}"))


def rows(binlog: Binlog, count: int) -> list[bytes]:
    return binlog.each([insert("d.t", {"id": number}) for number in range(count)])


def proven(messages: list[bytes], marks: SentMarks, *, most: int = 100) -> ProvenSource:
    source = MemorySource(messages, block=1)
    found = ProvenSource(source, marks, decode=decode_changes, most=most, most_bytes=10**6, log=LOG)
    found.open(threading.Event())
    return found


def take_all(source: ProvenSource, times: int) -> list[Sequence[Delivery]]:
    return [source.take(timeout_s=0) for _ in range(times)]


def follow(echoes: Echoes, messages: list[bytes]) -> None:
    for message in messages:
        change = decode_message(message)
        assert isinstance(change, RowChange)
        echoes.is_echo(change)


def read_all(reader: ProvenSource | Echoes, messages: list[bytes]) -> None:
    if isinstance(reader, Echoes):
        follow(reader, messages)
    else:
        take_all(reader, len(messages))


def test_rows_are_held_until_a_mark_has_come_and_then_come_in_order(binlog: Binlog, marks: SentMarks) -> None:
    messages = rows(binlog, 2) + own(binlog, marks, 1) + rows(binlog, 1)
    source = proven(messages, marks)
    assert marks.is_following
    taken = take_all(source, len(messages) + 1)
    first = next(number for number, each in enumerate(taken) if each)
    assert first == len(messages) - 2, "the row of the table `mark`, which is the last of the transaction"
    assert [each.tag for block in taken for each in block] == list(range(1, len(messages) + 1))
    assert not source.is_drained(), "nothing has judged the mark yet"
    echoes = Echoes("pydbsync", None, marks=marks)
    follow(echoes, messages)
    assert source.is_drained()
    again = SentMarks("back", schema="pydbsync")
    Echoes("pydbsync", echoes.to_json(), marks=again)
    assert again.lets_through, "what was proven once is kept"


@pytest.mark.parametrize("is_clean", [True, False])
def test_rows_before_a_mark_pass_where_pydbsync_has_written_nothing_yet(
    binlog: Binlog, marks: SentMarks, is_clean: bool
) -> None:
    source = proven(rows(binlog, 1), marks)
    marks.sent(1, binlog.ts, is_clean=is_clean)
    assert bool(source.take(timeout_s=0)) is is_clean


def test_a_mark_of_replay_lets_rows_through(binlog: Binlog, marks: SentMarks) -> None:
    mark = binlog.transaction(update("pydbsync.checkpoint", {"stream": "forth", "commits": 2}, {"commits": 1}))
    source = proven(rows(binlog, 1) + mark, marks)
    assert [len(each) for each in take_all(source, 2)] == [0, 2]


def test_no_mark_among_what_can_be_held_stops(binlog: Binlog, marks: SentMarks) -> None:
    source = proven(rows(binlog, 5), marks, most=3)
    with pytest.raises(StopError, match="among the first 3 messages"):
        take_all(source, 5)


def test_a_source_at_which_no_mark_can_be_written_stops(binlog: Binlog, marks: SentMarks) -> None:
    source = proven(rows(binlog, 5), marks)
    marks.refusal = "INSERT command denied"
    with pytest.raises(StopError, match="INSERT command denied"):
        source.take(timeout_s=0)


@pytest.mark.parametrize("is_held", [True, False])
def test_a_row_that_was_made_behind_a_mark_that_has_not_come_stops(
    binlog: Binlog, marks: SentMarks, is_held: bool
) -> None:
    before = rows(binlog, 1)
    marks.sent(1, binlog.ts, is_clean=False)
    binlog.ts += 2
    after = rows(binlog, 1)
    source = proven(before + after, marks)
    with pytest.raises(StopError, match=r"d\.t at .* pydbsync\.checkpoint, pydbsync\.mark and pydbsync\.schema_change"):
        read_all(source if is_held else Echoes("pydbsync", None, marks=marks), before + after)


def test_a_mark_that_has_come_is_waited_for_no_more(binlog: Binlog, marks: SentMarks) -> None:
    echoes = Echoes("pydbsync", None, marks=marks)
    follow(echoes, own(binlog, marks, 1))
    marks.sent(1, binlog.ts, is_clean=False)  # it has come before the writer has said so
    assert not marks.is_under_way
    marks.sent(2, binlog.ts, is_clean=False)
    follow(echoes, own(binlog, marks, 1))  # an older one again
    assert marks.is_under_way
    follow(echoes, own(binlog, marks, 2))
    binlog.ts += 60
    follow(echoes, rows(binlog, 1))


def test_a_made_up_time_is_no_proof(binlog: Binlog, marks: SentMarks) -> None:
    marks.sent(1, binlog.ts, is_clean=False)
    binlog.ts += 10**8  # SET timestamp
    follow(Echoes("pydbsync", None, marks=marks), rows(binlog, 1))


@pytest.mark.parametrize("table", ["checkpoint", "schema_change"])
def test_a_mark_of_which_a_table_is_missing_stops(binlog: Binlog, marks: SentMarks, table: str) -> None:
    with pytest.raises(StopError, match=rf"rows of pydbsync\.{table} do not come through this queue"):
        follow(Echoes("pydbsync", None, marks=marks), own(binlog, marks, 1, without=table))


@pytest.mark.parametrize(
    ("server_id", "server_ids", "is_refused"),
    [(1, "", False), (3, "", True), (3, "1,3", False), (3, "4,3", True), (None, "", False), (9, "", False)],
)
def test_replay_into_the_source_from_a_third_server_stops(
    binlog: Binlog, server_id: int | None, server_ids: str, is_refused: bool
) -> None:
    row = {"stream": "other", "commits": 1, "server_id": server_id, "server_ids": server_ids}
    echoes = Echoes("pydbsync", None, server_ids={1, 9})
    messages = binlog.transaction(update("pydbsync.checkpoint", row, {"commits": 0}))
    if not is_refused:
        follow(echoes, messages)
        return
    with pytest.raises(StopError, match=r"'other' replays changes of server 3 .* the target is server 1, 9: .* ring"):
        follow(echoes, messages)
