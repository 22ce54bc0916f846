"""Keys of Redis: two rows never have one key, and what a template cannot promise is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.config.settings import settings_from_mapping
from pydbsync.errors import ConfigError
from pydbsync.model import TableName
from pydbsync.sinks.redis.client import mark_key
from pydbsync.sinks.redis.shapes import RedisShapes
from pydbsync.sinks.templates import KeyTemplate

TABLE = TableName("shop", "users")
VALUES = st.one_of(st.none(), st.text(alphabet=st.sampled_from("ab1:%{}-N\n é"), max_size=4), st.text(max_size=4))


def key(text: str, **values: str | None) -> str:
    return KeyTemplate(text, where="key").key(TABLE, values)


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("user:{id}", {"id": "7"}, "user:7"),
        ("user:{id}", {"id": "550e8400-e29b-41d4-a716-446655440000"}, "user:550e8400-e29b-41d4-a716-446655440000"),
        ("user:{id}", {"id": "a:b"}, "user:a:b"),
        ("t:{a}:{b}", {"a": "1", "b": "11"}, "t:1:11"),
        ("t:{a}:{b}", {"a": "a:b", "b": "c"}, "t:a%3Ab:c"),
        ("t:{a}--{b}", {"a": "1-", "b": "2"}, "t:1%2D--2"),
        ("t:{a}:{b}", {"a": None, "b": "%N"}, "t:%N:%25N"),
        ("{@database}:{@table}:{id}", {"id": "1"}, "shop:users:1"),
        ("orders:{{{user}}}:{id}", {"user": "7", "id": "9"}, "orders:{7}:9"),
        ("orders:{{{user}}}:{id}", {"user": "}", "id": "9"}, "orders:{%7D}:9"),
        ("orders:{{{user}}}:{id}", {"user": "", "id": "9"}, "orders:{%E}:9"),
        ("orders:{{{user}}}:{id}", {"user": "%E", "id": ""}, "orders:{%25E}:"),
        ("user:{id}", {"id": "é"}, "user:é"),
        ("user:{id}", {"id": "a\nb"}, "user:a%0Ab"),
    ],
)
def test_a_key_is_the_template_with_its_columns(template: str, values: dict[str, str | None], expected: str) -> None:
    assert key(template, **values) == expected


@pytest.mark.parametrize("template", ["t:{a}:{b}", "{a}x{b}", "{a}%{b}", "{{{a}}}:{b}", "{a}N{b}"])
@given(one=st.tuples(VALUES, VALUES), other=st.tuples(VALUES, VALUES))
def test_two_rows_never_have_one_key(
    template: str, one: tuple[str | None, str | None], other: tuple[str | None, str | None]
) -> None:
    same = key(template, a=one[0], b=one[1]) == key(template, a=other[0], b=other[1])
    assert same == (one == other)


@pytest.mark.parametrize("template", ["t:{a}:{b}", "{@table}:{a}-{b}", "{{{a}}}:{b}", "{a}:N:{b}", "{a}:A3:{b}"])
@given(values=st.tuples(VALUES, VALUES))
def test_keys_of_a_table_are_told_from_others(template: str, values: tuple[str | None, str | None]) -> None:
    made = KeyTemplate(template, where="key")
    found = made.key(TABLE, {"a": values[0], "b": values[1]})
    assert made.reader(TABLE).fullmatch(found)
    assert found.startswith(made.head(TABLE))
    assert not made.reader(TABLE).fullmatch(f"x{found}") or not made.literals[0]


@pytest.mark.parametrize(("template", "value"), [("{a}:N:{b}", None), ("{a}:A3:{b}", ":"), ("{a}3{b}", "3")])
def test_what_is_escaped_is_never_taken_for_what_stands_between(template: str, value: str | None) -> None:
    made = KeyTemplate(template, where="key")
    assert made.reader(TABLE).fullmatch(made.key(TABLE, {"a": value, "b": "x"}))


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("user", "has no column"),
        ("{@table}", "has no column"),
        ("{a}{b}", "needs a text between {a} and {b}"),
        ("{a", "has a single {"),
        ("a}:{b}", "has a single }"),
        ("{@tabel}:{a}", "not {@tabel}"),
        ("{{{a}}}:{{{b}}}", "room for one hash tag"),
        ("}}{a}:{{", "room for one hash tag"),
        ("a:{{}}:{a}", "room for one hash tag"),
    ],
)
def test_a_template_that_cannot_keep_rows_apart_is_refused(template: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"^key: ") as caught:
        KeyTemplate(template, where="key")
    assert sentence in str(caught.value)


def shapes(tables: dict[str, str]) -> RedisShapes:
    sink = {"type": "redis", "tables": {name: {"key": template} for name, template in tables.items()}}
    settings, _ = settings_from_mapping({"sink": sink}, require=("db_info",))
    return RedisShapes(settings.sink, lambda name: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tables",
    [
        {"d.a": "a:{id}", "d.b": "b:{id}"},
        {"d.*": "{@database}:{@table}:{id}", "e.*": "{@database}:{@table}:{x}:{y}"},
        {"d.*": "{@database}:{@table}:{id}", "d.a": "{@database}:{@table}:{x}"},
        {"d.a": "{@database}:{@table}:{id}", "d.b": "x:{id}"},
    ],
)
def test_templates_that_keep_tables_apart_are_taken(tables: dict[str, str]) -> None:
    shapes(tables)


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"d.a": "a:{id}", "d.b": "a:{id}"}, "could meet"),
        ({"d.a": "a:{id}", "d.b": "a:{id}:{x}"}, "could meet"),
        ({"d.a": "{id}", "d.b": "b:{id}"}, "could meet"),
        ({"d.*": "d:{id}"}, "needs {@table}"),
        ({"*.t": "{@table}:{id}"}, "needs {@database}"),
        ({"d.*": "{@table}:{id}", "d.a": "x:{id}"}, "could meet"),
        ({"d.a": "pydbsync:{id}"}, "what the keys of pydbsync itself begin with"),
    ],
)
def test_templates_by_which_tables_could_meet_are_refused(tables: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shapes(tables)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("row_key", ["user:7", "a:{7}:b", "{7}", key("a:{{{a}}}:b", a="")])
def test_a_mark_is_in_the_slot_of_its_key(row_key: str) -> None:
    from redis.crc import key_slot

    mark = mark_key("p:", row_key, has_hash_tag="{" in row_key)
    assert key_slot(mark.encode()) == key_slot(row_key.encode())
    assert mark != row_key
