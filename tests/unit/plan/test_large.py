"""Large values: whatever the pieces are cut at, the literal has the value of the whole."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import DecodeError, PlanError
from pydbsync.model import NO_JSON, RowChange
from pydbsync.plan import batch, keyless, large, row_shape, row_statements
from pydbsync.plan.batch import RowBatch
from tests.unit.plan.tables import delete, insert, plan, table, update

TRICKY = st.text(alphabet=st.sampled_from(list("a\\\"'/é漢😀\n\f\0\x1au")), min_size=1, max_size=60)
UNESCAPED = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Every value is large, and cut each 16 bytes: a pair of surrogates has 12."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (large, row_shape, row_statements, keyless, batch):
            patch.setattr(module, "LARGE_BYTES", 1)
        patch.setattr(large, "_PIECE_BYTES", 16)
        yield


def value_of(literal: bytes) -> str:
    """The value of a string literal as MySQL reads it."""
    text = literal.decode("utf-8")
    assert text[0] == text[-1] == '"'
    assert not re.search(r'(?<!\\)(\\\\)*"', text[1:-1]), "a quote ends the literal early"
    return re.sub(r"\\(.)", lambda found: UNESCAPED.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)


def written(data: str, columns: str) -> bytes:
    """The literals of the columns behind `id` in the statement that writes this row."""
    one = RowBatch()
    one.add(insert(data), plan(table(f"id int, {columns}")))
    (statement,) = one.statements()
    head, _, values = statement.sql.partition(b" VALUES (1,")
    assert head.startswith(b"REPLACE INTO `d`.`t`")
    assert values.endswith(b")")
    return values[:-1]


@given(TRICKY, st.booleans())
def test_a_text_keeps_every_character(text: str, ascii_only: bool) -> None:
    token = json.dumps(text, ensure_ascii=ascii_only)
    literal = written(f'{{"id":1,"v":{token}}}', "v text")
    assert value_of(literal) == text


@given(st.recursive(TRICKY | st.integers() | st.none(), lambda each: st.lists(each) | st.dictionaries(TRICKY, each)))
def test_a_document_keeps_its_text(document: object) -> None:
    token = json.dumps(document, ensure_ascii=False)
    if token == "null":
        return
    literal = written(f'{{"id":1,"v":{token}}}', "v json")
    assert value_of(literal) == token


@given(st.binary(min_size=1, max_size=60))
def test_a_blob_keeps_every_byte(value: bytes) -> None:
    literal = written(f'{{"id":1,"v":"{base64.b64encode(value).decode()}"}}', "v blob")
    assert literal.startswith(b"_binary'")
    assert literal.endswith(b"'")
    assert value_of(b'"' + literal[8:-1].replace(b'"', b'\\"').decode("latin-1").encode() + b'"') == value.decode(
        "latin-1"
    )


@pytest.mark.parametrize("token", ['"AAAA!AAA"', '"AA==AAAA"', '"AAAAAAA"', '"AAAAAA==AAAA"', "123456789"])
def test_what_is_no_base64_is_refused(token: str) -> None:
    with pytest.raises(PlanError, match="base64"):
        written(f'{{"id":1,"v":{token}}}', "v blob")


def test_columns_of_all_kinds_stand_in_their_order() -> None:
    data = '{"id":1,"v":"abcdefghijkl","n":123456789012,"w":null,"b":"AAAA"}'
    literals = written(data, "v text, n bigint, w text, b blob")
    assert literals == b'"abcdefghijkl",123456789012,null,' + b"_binary'" + rb"\0\0\0" + b"'"


def test_a_large_row_has_a_statement_of_its_own_in_each_way_of_writing() -> None:
    change_of = {"insert": insert('{"id":1,"v":"abcdefghijkl"}'), "delete": delete('{"id":1,"v":"abcdefghijkl"}')}
    for mode, heads in (
        ("replace", [b"REPLACE INTO"]),
        ("upsert", [b"INSERT INTO"]),
        ("plain", [b"INSERT INTO", b"DELETE FROM"]),
    ):
        found = RowBatch()
        for each in list(change_of.values())[: len(heads)]:
            found.add(each, plan(apply_mode=mode))
        assert [statement.sql[:11].strip() for statement in found.statements()] == [head[:11] for head in heads]


def test_large_rows_without_a_key_are_counted_as_others_are() -> None:
    keyless = plan(table("v text", key=""))
    one, two = '{"v":"abcdefghijkl"}', '{"v":"abcdefghijkm"}'
    found = RowBatch()
    for each in (insert(one), insert(one), delete(one), update(two, '{"v":"abcdefghijkl"}'), insert(two)):
        found.add(each, keyless)
    assert [(statement.sql, statement.affected) for statement in found.statements()] == [
        (b'INSERT INTO `d`.`t` (`v`) VALUES ("abcdefghijkm")', 1)
    ] * 2


@given(TRICKY, st.integers(0, 400))
def test_a_cut_leaves_whole_characters_and_escapes_on_both_sides(text: str, at: int) -> None:
    inside = json.dumps(text).encode()[1:-1]
    end = large.whole_characters(inside[:at])
    assert json.loads(b'"' + inside[:end] + b'"') + json.loads(b'"' + inside[end:] + b'"') == text
    assert end > at - 12 or end >= len(inside) - 12


@pytest.mark.parametrize("size", [0, 2**20 - 3, 2**20 - 1, 2**20, 3 * 2**20])
def test_a_byte_that_is_no_utf8_is_found_wherever_it_stands(size: int) -> None:
    head = b'{"database":"d","table":"t","type":"insert","ts":1,"data":{"v":"'
    text = "é".encode() * (size // 2)
    good = decode_message(head + text + b'"}}')
    assert isinstance(good, RowChange)
    assert good.old is NO_JSON
    with pytest.raises(DecodeError, match=rf"byte 0xff at {len(head) + len(text)}"):
        decode_message(head + text + b"\xff" + b'"}}')
