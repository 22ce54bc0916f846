"""What a person changes in a message is changed, and nothing else: the rest stays byte for byte."""

from __future__ import annotations

import pytest

from pydbsync.ui.fields import MOST_CHARACTERS, FieldError, editable, fields_of, from_form, with_fields

MESSAGE = (
    b'{"database":"d","table":"t","type":"update","ts":1700000000,"xid":18446744073709551615,'
    b'"data":{"id":18446744073709551615,"price":1.10,"big":123456789012345678901234567890.5e-3,"t":"a\\u00e9\\"\\\\/\\n",'
    b'"j":{"n": 12345678901234567890, "l":[1.0,1]},"none":null,"yes":true,"b":"AP8=","e":""},"old":{"price":1.1000}}'
)


def typed(message: bytes, **changes: tuple[str, str]) -> bytes:
    """As a browser sends it: every field, with those that a person has changed."""
    found = fields_of(message)
    assert found is not None
    return with_fields(
        message,
        {
            number: changes.get(f"{field.section}_{field.name}", (field.kind, from_form(field.text)))
            for number, field in enumerate(found)
        },
    )


def test_the_fields_are_read_with_their_kinds_and_all_digits() -> None:
    assert [(field.section, field.name, field.kind, field.text) for field in fields_of(MESSAGE) or []] == [
        ("data", "id", "number", "18446744073709551615"),
        ("data", "price", "number", "1.10"),
        ("data", "big", "number", "123456789012345678901234567890.5e-3"),
        ("data", "t", "text", 'aé"\\/\n'),
        ("data", "j", "json", '{"n": 12345678901234567890, "l":[1.0,1]}'),
        ("data", "none", "null", ""),
        ("data", "yes", "true", ""),
        ("data", "b", "text", "AP8="),
        ("data", "e", "text", ""),
        ("old", "price", "number", "1.1000"),
    ]


def test_what_nobody_has_changed_is_the_same_message() -> None:
    assert typed(MESSAGE) == MESSAGE


@pytest.mark.parametrize(
    ("field", "value", "before", "after"),
    [
        ("data_id", ("number", "9007199254740993"), b'"id":18446744073709551615', b'"id":9007199254740993'),
        ("data_price", ("number", " 2.50 "), b'"price":1.10,', b'"price":2.50,'),
        ("data_price", ("null", "1.10"), b'"price":1.10,', b'"price":null,'),
        ("data_price", ("text", "1.10"), b'"price":1.10,', b'"price":"1.10",'),
        ("old_price", ("number", "3"), b'"old":{"price":1.1000}', b'"old":{"price":3}'),
        ("data_j", ("json", "[1.0, 1e2]"), b'{"n": 12345678901234567890, "l":[1.0,1]}', b"[1.0, 1e2]"),
        ("data_none", ("text", "null"), b'"none":null', b'"none":"null"'),
        ("data_none", ("text", ""), b'"none":null', b'"none":""'),
        ("data_yes", ("false", ""), b'"yes":true', b'"yes":false'),
        ("data_b", ("text", "AA=="), b'"b":"AP8="', b'"b":"AA=="'),
        ("data_e", ("text", '"</textarea>\n\t'), b'"e":""', b'"e":"\\"</textarea>\\n\\t"'),
    ],
)  # fmt: skip
def test_one_field_is_changed_and_no_other(field: str, value: tuple[str, str], before: bytes, after: bytes) -> None:
    assert MESSAGE.count(before) == 1
    assert typed(MESSAGE, **{field: value}) == MESSAGE.replace(before, after)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (("number", "1,5"), "price: '1,5' is no number"),
        (("number", "NaN"), "price: 'NaN' is no number"),
        (("number", "0x10"), "is no number"),
        (("number", "01"), "is no number"),
        (("number", ""), "is no number"),
        (("json", "{'a': 1}"), "price: this is not JSON"),
        (("json", ""), "this is not JSON"),
        (("json", "1, 2"), "this is not JSON"),
        (("script", "1"), "no such kind"),
    ],
)
def test_what_cannot_stand_in_the_message_is_refused(value: tuple[str, str], says: str) -> None:
    with pytest.raises(FieldError, match=says.replace("(", r"\(")):
        typed(MESSAGE, data_price=value)


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(FieldError, match="other fields"):
        with_fields(MESSAGE, {10: ("number", "1")})


@pytest.mark.parametrize("raw", [b'"a\\r\\nb"', b'"\\u0000"', b'"\\ufffe"', b'"' + b"x" * 70_000 + b'"'])
def test_what_a_browser_would_not_carry_back_is_left_alone(raw: bytes) -> None:
    message = b'{"data":{"v":' + raw + b',"w":1}}'
    field = (fields_of(message) or [])[0]
    assert field.locked
    assert with_fields(message, {0: ("text", "other"), 1: ("number", "2")}) == b'{"data":{"v":' + raw + b',"w":2}}'


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"5", b'{"data":5}', b'{"type":"table-create"}', b"\xff"])
def test_what_is_no_row_has_no_fields(message: bytes) -> None:
    assert fields_of(message) is None
    with pytest.raises(FieldError):
        with_fields(message, {0: ("text", "x")})


def test_names_of_columns_are_written_back_as_they_are() -> None:
    message = '{"data":{"a\\"<b>é":1,"": 2}}'.encode()
    assert with_fields(message, {1: ("number", "3")}) == '{"data":{"a\\"<b>é":1,"":3}}'.encode()


def test_a_whole_text_is_offered_only_where_it_comes_back_as_it_is() -> None:
    assert editable("é\n".encode()) == "é\n"
    assert [editable(each) for each in (b"\xff", b"a\rb", b"\x00", b"x" * (MOST_CHARACTERS + 1))] == [None] * 4
