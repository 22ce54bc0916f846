"""Which changes of a stream the replay of the other direction has made: told by the marks before them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.echoes import Echoes
from pydbsync.engine.gaps import TransactionWatch
from pydbsync.engine.marks import SentMarks, writer_of
from pydbsync.errors import StopError
from pydbsync.model import Place, RowChange, SchemaChange
from tests.maxwell import Binlog, Step, delete, insert, update

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def mark(commits: int = 1, stream: str = "forth") -> Step:
    return update("pydbsync.checkpoint", {"stream": stream, "commits": commits}, {"commits": commits - 1})


def tool(**data: Any) -> Step:
    return insert("pydbsync.mark", {"writer": "7", "number": 1, "tool": "repair", **data})


def journal(status: str, statement: str, digest: str = "h") -> Step:
    return insert(
        "pydbsync.schema_change",
        {"statement_hash": digest, "status": status, "statement": statement, "default_database": "d"},
    )


def row(number: int) -> Step:
    return insert("d.t", {"id": number})


def told(echoes: Echoes, messages: Iterable[bytes]) -> list[bool]:
    """Of each change whether it is an echo, or a row that only says something."""
    found = []
    for message in messages:
        change = decode_message(message)
        if isinstance(change, RowChange):
            found.append(echoes.is_echo(change))
        elif isinstance(change, SchemaChange):
            found.append(echoes.is_echo_of_statement(change))
    return found


@pytest.fixture(params=["", UUID], ids=["xid", "gtid"])
def binlog(request: pytest.FixtureRequest) -> Binlog:
    return Binlog(uuid=request.param)


def test_rows_behind_a_mark_are_echoes_up_to_the_end_of_their_transaction(binlog: Binlog) -> None:
    echoes = Echoes("pydbsync", None)
    messages = binlog.transaction(row(1), row(2)) + binlog.transaction(mark(), row(3), row(4))
    messages += binlog.transaction(row(5)) + binlog.transaction(tool(), row(6)) + binlog.transaction(mark(2))
    messages += binlog.transaction(row(7))
    expected = [False, False, True, True, True, False, True, True, True, False]
    assert told(echoes, messages) == expected


def test_a_transaction_whose_end_goes_to_another_queue_ends_with_the_next_one(binlog: Binlog) -> None:
    echoes = Echoes("pydbsync", None)
    messages = binlog.transaction(mark(), row(1), row(2))[:-1] + binlog.transaction(row(3))
    assert told(echoes, messages) == [True, True, False]


def test_a_transaction_of_the_same_number_in_another_file_is_another_one() -> None:
    # A server that is started anew counts its transactions from the beginning, and its binlog goes on in another file.
    before, after = Binlog(), Binlog()
    after.file = 2
    messages = before.transaction(mark(), row(1), row(2))[:-1] + after.transaction(row(3))
    assert told(Echoes("pydbsync", None), messages) == [True, True, False]


@pytest.mark.parametrize("cut", range(8))
def test_a_restart_anywhere_goes_on_in_the_transaction(binlog: Binlog, cut: int) -> None:
    messages = binlog.transaction(row(1)) + binlog.transaction(mark(), row(2), row(3), row(4))
    messages += binlog.ddl("ALTER TABLE t ADD c INT", "d.t") + binlog.transaction(row(5))
    expected = [False, True, True, True, True, False, False]
    first = Echoes("pydbsync", None)
    found = told(first, messages[:cut])
    assert found + told(Echoes("pydbsync", first.to_json()), messages[cut:]) == expected


def test_rows_of_a_bootstrap_end_no_transaction(binlog: Binlog) -> None:
    first, *rest = binlog.transaction(mark(), row(1), row(2))
    bootstrap = binlog.bootstrap("d.other", [{"id": 1}])
    assert told(Echoes("pydbsync", None), [first, *bootstrap, *rest]) == [True, False, True, True]


@pytest.mark.parametrize("by_hand", [
    update("pydbsync.checkpoint", {"stream": "forth", "commits": 7, "owner_info": "me"}, {"owner_info": ""}),
    delete("pydbsync.checkpoint", {"stream": "gone", "commits": 7}),
    delete("pydbsync.mark", {"writer": "7", "number": 1, "tool": "repair"}),
    update("pydbsync.mark", {"writer": "7", "number": 1, "tool": "x"}, {"tool": "repair"}),
])  # fmt: skip
def test_what_an_operator_changes_in_a_mark_by_hand_marks_nothing(binlog: Binlog, by_hand: Step) -> None:
    messages = binlog.transaction(mark(7)) + binlog.transaction(by_hand, row(1), row(2)) + binlog.transaction(mark(8))
    assert told(Echoes("pydbsync", None), messages) == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("sql", "name"), [("DROP DATABASE pydbsync", "pydbsync"), ("DROP TABLE mark", "pydbsync.mark")]
)
def test_where_the_state_schema_is_dropped_by_hand_nothing_stays_announced(binlog: Binlog, sql: str, name: str) -> None:
    echoes = Echoes("pydbsync", None)
    told(echoes, binlog.transaction(mark(7), journal("intent", "ALTER TABLE t ADD c INT")))
    told(echoes, binlog.ddl("DROP TABLE IF EXISTS proof_x", "pydbsync.proof_x"))
    assert told(Echoes("pydbsync", echoes.to_json()), binlog.ddl("ALTER TABLE t ADD c INT", "d.t")) == [True]
    assert told(echoes, binlog.ddl(sql, name)) == [True]
    assert told(echoes, binlog.ddl("ALTER TABLE t ADD c INT", "d.t")) == [False]
    assert told(echoes, binlog.transaction(mark(9))) == [True]


def test_other_rows_of_the_state_schema_mark_nothing(binlog: Binlog) -> None:
    messages = binlog.transaction(insert("pydbsync.worker", {"stream": "forth"}), row(1))
    assert told(Echoes("pydbsync", None), messages) == [True, False]


def test_a_state_schema_of_another_name_is_none(binlog: Binlog) -> None:
    assert told(Echoes("sync_state", None), binlog.transaction(mark(), row(1))) == [False, False]


def test_a_statement_is_an_echo_between_its_intent_and_its_end(binlog: Binlog) -> None:
    sql = "ALTER TABLE t ADD c INT"
    logged = "ALTER TABLE `d`.`t` ADD c INT"
    echoes = Echoes("pydbsync", None)
    assert told(echoes, binlog.ddl(sql, "d.t")) == [False]
    assert told(echoes, binlog.transaction(mark(), journal("intent", sql))) == [True, True]
    again = Echoes("pydbsync", echoes.to_json())
    for each in (echoes, again):
        assert told(each, binlog.ddl("ALTER TABLE t ADD other INT", "d.t")) == [False]
        assert told(each, binlog.ddl(logged, "d.t")) == [True]
        assert told(each, binlog.transaction(mark(2), journal("done", sql))) == [True, True]
        assert told(each, binlog.ddl(sql, "d.t")) == [False]


def test_what_was_run_instead_of_the_statement_is_an_echo_too(binlog: Binlog) -> None:
    echoes = Echoes("pydbsync", None)
    told(echoes, binlog.transaction(journal("intent", "ALTER TABLE t ADD c INT, ADD d INT")))
    told(echoes, binlog.transaction(journal("intent", "ALTER TABLE t ADD d INT")))
    assert told(echoes, binlog.ddl("ALTER TABLE t ADD d INT", "d.t")) == [True]


def test_a_tool_announces_its_statement_with_its_mark(binlog: Binlog) -> None:
    echoes = Echoes("pydbsync", None)
    told(echoes, binlog.transaction(tool(statement="DROP TABLE d.t", default_database=None)))
    assert told(echoes, binlog.ddl("DROP TABLE `d`.`t` /* generated by server */", "d.t")) == [True]
    told(echoes, binlog.transaction(tool(statement=None)))
    assert told(echoes, binlog.ddl("DROP TABLE `d`.`t` /* generated by server */", "d.t")) == [False]


def test_a_lost_mark_stops_and_what_comes_again_does_not(binlog: Binlog) -> None:
    echoes = Echoes("pydbsync", None)
    told(echoes, binlog.transaction(mark(6)) + binlog.transaction(mark(7)) + binlog.transaction(mark(2, "other")))
    told(echoes, binlog.transaction(mark(6)) + binlog.transaction(mark(7)) + binlog.transaction(mark(3, "other")))
    with pytest.raises(StopError, match=r"'forth' .* commit 7 came, and then commit 9"):
        told(echoes, binlog.transaction(mark(9)))


def test_a_lost_mark_of_a_tool_stops(binlog: Binlog) -> None:
    echoes = Echoes("pydbsync", None)
    told(echoes, binlog.transaction(tool(number=4)) + binlog.transaction(tool(number=5), row(1)))
    told(echoes, binlog.transaction(tool(number=4)) + binlog.transaction(tool(number=9, writer="8")))
    with pytest.raises(StopError, match=r"a tool's connection \(7\) mark 4 came, and then mark 6"):
        told(echoes, binlog.transaction(tool(number=6)))


def own(echoes: Mapping[str, int]) -> Step:
    text = msgspec.json.encode(echoes).decode()
    return insert("pydbsync.checkpoint", {"stream": writer_of("back"), "echoes": text})


def test_a_lost_mark_is_found_by_the_next_one_of_our_own(binlog: Binlog) -> None:
    marks = SentMarks("back", schema="pydbsync")
    echoes = Echoes("pydbsync", None, marks=marks)
    # What was counted before anything came is where the counting begins.
    told(echoes, binlog.transaction(own({"forth": 6, "other": 2})) + binlog.transaction(mark(7), row(1)))
    told(echoes, binlog.transaction(own({"forth": 6, "other": 2})) + binlog.transaction(own({"forth": 7})))
    with pytest.raises(StopError, match=r"'forth' .* commit 7 came, and 8 were made"):
        told(echoes, binlog.transaction(own({"forth": 8})))
    with pytest.raises(StopError, match=r"'other' .* commit 2 came, and then commit 4"):
        told(echoes, binlog.transaction(mark(4, "other")))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_nobody_can_tell_of_rows_whose_transaction_came_without_its_beginning(binlog: Binlog, cut: int) -> None:
    messages = binlog.transaction(mark(), row(1), row(2), row(3))[1:] + binlog.transaction(row(4), row(5))
    echoes, watch = Echoes("pydbsync", None), TransactionWatch(Place(0, 0, -1))
    found = []
    for number, message in enumerate(messages):
        if number == cut:
            echoes = Echoes("pydbsync", echoes.to_json())
        change = decode_message(message)
        assert isinstance(change, RowChange)
        watch.look_at(change)
        assert not echoes.is_echo(change)
        found.append(echoes.is_untold(change, lacks_head=watch.lacks_head and number < cut))
    assert found == [True, True, True, False, False]


def test_a_mark_whose_transaction_nothing_tells_stops() -> None:
    change = RowChange(kind="update", database="pydbsync", table="checkpoint", ts=1, data=b'{"stream":"s"}')  # type: ignore[arg-type]
    with pytest.raises(StopError, match="output_xoffset=true"):
        Echoes("pydbsync", None).is_echo(change)
