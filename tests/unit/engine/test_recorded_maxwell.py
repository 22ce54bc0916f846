"""A recorded stream of a server that replay writes to: a real Maxwell tells what was written there as it is read here,
and as the tests' hand-made messages tell it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.echoes import Echoes
from pydbsync.engine.gaps import TransactionWatch
from pydbsync.engine.marks import SentMarks
from pydbsync.model import Place, RowChange, SchemaChange
from tests.maxwell import Binlog, delete, insert, update

RECORDED = Path(__file__).parents[2] / "data" / "maxwell_two_way" / "messages.ndjson"
MESSAGES = RECORDED.read_bytes().rstrip(b"\n").split(b"\n")
OWN_ROWS = [
    ("t", "insert", 100), ("t", "insert", 101), ("t", "insert", 102), ("u", "insert", 100),
    ("keyless", "insert", 100), ("keyless", "insert", 100),
    ("t", "update", 100), ("t", "delete", 101), ("keyless", "delete", 100), ("t", "update", 109),
    ("old", "insert", 1), ("old", "insert", 2), ("old", "insert", 3), ("t", "insert", 300), ("t", "insert", 301),
    ("u", "bootstrap-insert", 1), ("u", "bootstrap-insert", 100), ("u", "bootstrap-insert", 200),
    ("u", "bootstrap-insert", 777),
]  # fmt: skip
"""What the application there has written, and what a bootstrap sent."""


def of_others(echoes: Echoes, messages: list[bytes]) -> tuple[list[Any], list[str]]:
    """The rows and the statements that are no echoes."""
    rows, statements = [], []
    for message in messages:
        change = decode_message(message)
        if isinstance(change, RowChange) and not echoes.is_echo(change):
            data = json.loads(bytes(change.data))
            rows.append((change.table, change.kind, data.get("id", data.get("a"))))
        elif isinstance(change, SchemaChange) and not echoes.is_echo_of_statement(change):
            statements.append(change.sql)
    return rows, statements


def test_what_others_have_written_is_told_from_echoes() -> None:
    marks = SentMarks("back", schema="pydbsync")
    rows, statements = of_others(Echoes("pydbsync", None, marks=marks), MESSAGES)
    assert rows == OWN_ROWS
    assert statements == [
        "ALTER TABLE d.u ADD c INT", "CREATE TABLE d.old (id INT PRIMARY KEY) ENGINE=MyISAM",
    ]  # fmt: skip
    assert marks.is_proven


@pytest.mark.parametrize("cut", range(0, len(MESSAGES), 7))
def test_a_restart_anywhere_tells_the_same(cut: int) -> None:
    first = Echoes("pydbsync", None)
    rows, _ = of_others(first, MESSAGES[:cut])
    again, _ = of_others(Echoes("pydbsync", first.to_json()), MESSAGES[cut:])
    assert rows + again == OWN_ROWS


def test_no_transaction_lacks_its_beginning() -> None:
    # All that was left out of the recording stood in transactions of its own.
    watch = TransactionWatch(Place(0, 0, -1))
    changes = [change for change in map(decode_message, MESSAGES) if isinstance(change, RowChange)]
    for change in changes:
        assert not watch.look_at(change)
        assert not watch.lacks_head


def form_of(message: bytes) -> tuple[str, frozenset[str]]:
    found = json.loads(message)
    return found["type"], frozenset(found) - {"thread_id"}


def test_messages_written_by_hand_have_the_form_of_real_ones() -> None:
    binlog = Binlog()
    by_hand = binlog.transaction(insert("d.t", {"id": 1}), update("d.t", {"id": 1}, {"id": 2}))
    by_hand += binlog.transaction(delete("d.t", {"id": 1}), insert("d.t", {"id": 1}))
    by_hand += binlog.bootstrap("d.u", [{"id": 1}])
    for sql in ("CREATE TABLE d.t (id INT)", "ALTER TABLE d.t ADD c INT", "DROP TABLE d.t"):
        by_hand += binlog.ddl(sql, "d.t")
    assert set(map(form_of, by_hand)) <= set(map(form_of, MESSAGES))
