"""Conditions: a row is found by its key or its whole image, and by nothing else, in every type of column."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.integration.engine import LOG, parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state


@pytest.fixture
def empty(fresh_target: Endpoint) -> Endpoint:
    """The target with an empty database `d`."""
    fresh_target.query("CREATE DATABASE d DEFAULT CHARACTER SET utf8mb4")
    return fresh_target


def rows(target: Endpoint, table: str = "d.t", columns: str = "*") -> Sequence[tuple[Any, ...]]:
    return target.query(f"SELECT {columns} FROM {table} ORDER BY 1")


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_a_float_or_a_small_decimal_is_a_key_like_any_other(empty: Endpoint, binlog: Binlog) -> None:
    empty.query("CREATE TABLE d.t (f FLOAT, n DECIMAL(65,30), v INT, PRIMARY KEY (f, n))")
    messages = [
        message.replace(b'"tiny"', b"1.00000000000000000000001E-7").replace(b'"near"', b"1.00000000000000000000002E-7")
        for message in binlog.each(
            [
                insert("d.t", {"f": 0.1, "n": "tiny", "v": 1}),
                insert("d.t", {"f": 0.1, "n": "near", "v": 2}),
                insert("d.t", {"f": 3.4028235e38, "n": 0, "v": 3}),
                delete("d.t", {"f": 0.1, "n": "tiny", "v": 1}),
                update("d.t", {"f": 16777216, "n": 0, "v": 3}, {"f": 3.4028235e38}),
            ]
        )
    ]
    replay(empty, messages, batch_rows=1, block=1)
    found = empty.query("SELECT CAST(f AS DOUBLE), CAST(n AS CHAR), v FROM d.t ORDER BY v")
    assert [(f, str(n), v) for f, n, v in found] == [
        (0.10000000149011612, "0.000000100000000000000000000002", 2),
        (16777216.0, "0.000000000000000000000000000000", 3),
    ]


LOOKALIKES: dict[str, tuple[str, list[Any]]] = {
    "case": ("VARCHAR(20) COLLATE utf8mb4_general_ci", ["a", "A", "á"]),
    "padding": ("VARCHAR(20) COLLATE utf8mb4_general_ci", ["x", "x ", "x  "]),
    "latin1": ("VARCHAR(20) CHARACTER SET latin1", ["é", "É", "e"]),
    "text": ("TEXT", ["a\\b", "a\\\\b", "a\nb", "a\x00b", '"', "'", "%", "\u2028", "😀"]),
    "null": ("INT", [None, 0, 1]),
    "float": ("FLOAT", [1.1, 1.1000001, -0.5]),
    "double": ("DOUBLE", [0.1, 0.30000000000000004, 1e308]),
    "binary": ("BINARY(4)", [b64(b"ab"), b64(b"ab\0\1"), ""]),
    "varbinary": ("VARBINARY(4)", [b64(b"ab"), b64(b"ab\0"), b64(b"AB")]),
    "bit": ("BIT(8)", [0, 1, 255]),
    "enum": ("ENUM('a','b','1','')", ["a", "1", "", None]),
    "set": ("SET('a','b','c')", [["a"], ["a", "b"], [], None]),
    "date": ("DATE", ["0000-00-00", "2024-02-29", None]),
    "datetime": ("DATETIME(3)", ["2024-01-01 00:00:00.001", "2024-01-01 00:00:00.002", "0000-00-00 00:00:00.000"]),
    "timestamp": ("TIMESTAMP(6) NULL", ["2024-01-01 00:00:00.000001", "2038-01-19 03:14:07.999999", None]),
    "year": ("YEAR", [1900, 2024, 1901]),
    "json": ("JSON", [{"a": 1}, {"a": "1"}, [1, 2], "x", 5]),
    "geometry": ("POINT", ["POINT (1 2)", "POINT (2 1)", None]),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_exactly_the_right_row_goes_where_there_is_no_key(empty: Endpoint, binlog: Binlog, name: str) -> None:
    kind, values = LOOKALIKES[name]
    empty.query(f"CREATE TABLE d.t (n INT, v {kind})")
    images = [{"n": 1, "v": value} for value in values]
    made = binlog.each([insert("d.t", image) for image in images for _ in range(2)])
    gone = binlog.each([delete("d.t", image) for image in images])
    moved = binlog.each([update("d.t", {"n": 10 + at, "v": value}, {"n": 1}) for at, value in enumerate(values)])
    replay(empty, made + gone + moved, batch_rows=1, block=1)
    assert parked(empty) == []
    assert [row[0] for row in rows(empty, columns="n")] == [10 + at for at in range(len(values))]
    # the last of each goes by its whole image, wherever it stands
    last = [delete("d.t", {"n": 10 + at, "v": value}) for at, value in enumerate(values)]
    replay(empty, binlog.each(reversed(last)))
    assert rows(empty) == []
    assert parked(empty) == []


ALIKE = ['{"p":1.0}', '{"p":1}', "[1,2]", "1.0", "1", '"1"', "100000000000000000000.0", '{"b":"\\u0001 é/","a":[]}']
SPELLED_OTHERWISE = ['{"p": 1.0}', ' {"p" : 1}', "[1, 2]", "1.0", "1", '"1"', "1e20", '{"b": "\\u0001 é/", "a": []}']


def test_documents_that_only_look_alike_are_told_apart_where_there_is_no_key(empty: Endpoint, binlog: Binlog) -> None:
    empty.query("CREATE TABLE d.t (j JSON, n INT)")
    for text in SPELLED_OTHERWISE:
        empty.query("INSERT INTO d.t VALUES (%s, 1)", text)
    left = [(json.loads(text), n) for text, n in empty.query("SELECT CAST(j AS CHAR), n FROM d.t")]
    for batch_rows, text in enumerate(ALIKE, start=1):
        gone = delete("d.t", {"j": "THE DOCUMENT", "n": 1})
        messages = [each.replace(b'"THE DOCUMENT"', text.encode()) for each in binlog.each([gone])]
        replay(empty, messages, batch_rows=batch_rows % 2 + 1, stream=f"s{batch_rows}")
        assert parked(empty) == []
        found = [(json.loads(text), n) for text, n in empty.query("SELECT CAST(j AS CHAR), n FROM d.t")]
        del left[0]
        assert repr(sorted(found, key=repr)) == repr(sorted(left, key=repr))
    assert left == []


@pytest.mark.mariadb
def test_of_equal_documents_the_one_goes_that_is_spelled_as_in_the_stream(empty: Endpoint, binlog: Binlog) -> None:
    empty.query("CREATE TABLE d.t (j JSON)")
    spelled = ['{"a":1}', '{"a": 1}', '{ "a":1}']
    for text in (*spelled, *spelled):
        empty.query("INSERT INTO d.t VALUES (%s)", text)
    gone = delete("d.t", {"j": "THE DOCUMENT"})
    messages = [each.replace(b'"THE DOCUMENT"', spelled[1].encode()) for each in binlog.each([gone])]
    replay(empty, messages)
    assert sorted(text for (text,) in rows(empty)) == sorted([*spelled, spelled[0], spelled[2]])


RESPELLED = [
    ('{"p":1.0}', '{"p":1}'), ("1.0", "1"), ("1", "1.0"), ('[1,{"a":[2.0]}]', '[1.0,{"a":[2]}]'),
    ("1e20", "100000000000000000000.0"), ('"1.0"', '"1"'), ("[true]", "[1]"), ('{"p":1.0}', '{"p":2}'), ("null", "1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "key", "more"),
    [
        ("upsert", "id INT PRIMARY KEY", ""),
        ("plain", "id INT PRIMARY KEY", ""),
        ("upsert", "id INT PRIMARY KEY, UNIQUE (other)", ""),
        ("replace", "id INT", ""),
        ("upsert", "id INT PRIMARY KEY", ", ours INT DEFAULT 7"),
    ],
)
def test_a_document_in_which_a_number_changes_its_form_alone_is_written(
    empty: Endpoint, binlog: Binlog, mode: str, key: str, more: str
) -> None:
    empty.query(f"CREATE TABLE d.t ({key}, j JSON NOT NULL, other INT{more})")

    def changed(*documents: str) -> list[bytes]:
        """One update of each row for each pair of these."""
        found = []
        for number, pair in enumerate(RESPELLED):
            spelled = [pair[int(each)] if each.isdigit() else each for each in documents]
            for before, after in itertools.pairwise(spelled):
                [message] = binlog.each([update("d.t", {"id": number, "j": "AFTER", "other": number}, {"j": "BEFORE"})])
                found.append(message.replace(b'"AFTER"', after.encode()).replace(b'"BEFORE"', before.encode()))
        return found

    made = []
    for number, (before, _) in enumerate(RESPELLED):
        [message] = binlog.each([insert("d.t", {"id": number, "j": "THE DOCUMENT", "other": number})])
        made.append(message.replace(b'"THE DOCUMENT"', before.encode()))
    replay(empty, made, apply_mode=mode, lossy_values="off")
    empty.query("CREATE TABLE d.printed (n INT PRIMARY KEY, j JSON NOT NULL)")
    for number, (_, after) in enumerate(RESPELLED):
        empty.query("INSERT INTO d.printed VALUES (%s, %s)", number, after)
    wanted = empty.query("SELECT CAST(j AS CHAR) FROM d.printed ORDER BY n")
    print_all = "SELECT CAST(j AS CHAR) FROM d.t ORDER BY id"
    replay(empty, changed("0", "1"), apply_mode=mode, lossy_values="off")
    assert [json.loads(text) for (text,) in empty.query(print_all)] == [json.loads(text) for (text,) in wanted]
    assert [repr(json.loads(text)) for (text,) in empty.query(print_all)] == [
        repr(json.loads(text)) for (text,) in wanted
    ]
    replay(empty, changed("1", '{"x":9}', "0", "1", '{"x":9}', "0"), apply_mode=mode, lossy_values="off")
    replay(empty, changed("0", '{"x":9}', "1"), apply_mode=mode, lossy_values="off")
    assert [repr(json.loads(text)) for (text,) in empty.query(print_all)] == [
        repr(json.loads(text)) for (text,) in wanted
    ]
    # one by one, as behind a refusal
    refused = binlog.each([insert("d.t", {"id": 99, "j": "x", "nothing": 1})]) if more else []
    replay(empty, [*changed("1", "0"), *refused, *changed("0", "1")], apply_mode=mode, lossy_values="off", batch_rows=1)
    assert [repr(json.loads(text)) for (text,) in empty.query(print_all)] == [
        repr(json.loads(text)) for (text,) in wanted
    ]
    if more:
        assert empty.query("SELECT DISTINCT ours FROM d.t") == [(7,)]


def test_plain_mode_says_where_the_target_is_not_as_the_source_was(empty: Endpoint, binlog: Binlog) -> None:
    empty.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    replay(empty, binlog.each([insert("d.t", {"id": n, "v": 1}) for n in range(1, 4)]), apply_mode="plain")
    empty.query("DELETE FROM d.t WHERE id = 1")
    empty.query("INSERT INTO d.t VALUES (7, 7)")
    wrong = [update("d.t", {"id": 1, "v": 2}, {"v": 1}), insert("d.t", {"id": 7, "v": 1})]
    right = [update("d.t", {"id": 2, "v": 2}, {"v": 1}), update("d.t", {"id": 3, "v": 1}, {"v": 0})]
    replay(empty, binlog.each([*wrong, *right]), apply_mode="plain")
    assert rows(empty) == [(2, 2), (3, 1), (7, 7)]
    reasons = [each.reason for each in parked(empty)]
    assert "1 row(s) should match but 0 do" in reasons[0]
    assert "Duplicate entry" in reasons[1]


def test_rows_that_are_to_go_and_are_not_there_are_told(
    empty: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    empty.query("CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    gone = [delete("d.t", {"id": n, "v": 1}) for n in range(1, 5)]
    with caplog.at_level("WARNING", LOG.name):
        replay(empty, binlog.each([insert("d.t", {"id": n, "v": 1}) for n in range(1, 6)]))
        replay(empty, binlog.each([gone[0], insert("d.t", {"id": 6, "v": 1}), delete("d.t", {"id": 6, "v": 1})]))
        assert caplog.text == ""
        empty.query("DELETE FROM d.t WHERE id IN (3, 5)")
        replay(empty, binlog.each([*gone[1:], update("d.t", {"id": 9, "v": 1}, {"id": 5})]))
    assert rows(empty) == [(9, 1)]
    assert "d.t: 2 of 4 rows that the source has deleted or given another key were not there" in caplog.text
