"""What `routes` may say, and what is refused with its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pydbsync.config.origins import show_settings
from pydbsync.config.settings import Settings, describe, settings_from_mapping
from pydbsync.errors import ConfigError

KEY = "0123456789abcdef-secret"
MASKS = {"mask": {"email": {"fake": "email"}, "id": "hash", "iban": None, "city": {"constant": "x"}}}

TWO_WAY = {"two_way": True, "source_db_info": {"host": "a", "user": "u"}, "conflicts": {"prefer": "source"}}
ONE_WAY: list[tuple[str, dict[str, Any]]] = [
    ("columns.leave_out", {"columns": {"leave_out": ["a"]}}),
    ("columns.add", {"columns": {"rename": {"b": "c"}, "add": {"a": 1}}}),
    ("columns.mask", {"columns": {"mask": {"a": None}}}),
    ("where", {"where": "a = 1"}),
]


def load(routes: Any, **more: Any) -> Settings:
    given = {"db_info": {"host": "h", "user": "u"}, "routes": routes, **more}
    return settings_from_mapping(given, require=("db_info",))[0]


def test_a_route_is_read_whole() -> None:
    route = {
        "table": "shop.orders_*", "to": "archive.orders", "apply_mode": "upsert", "where": "a = 1",
        "columns": {"leave_out": ["Note"], "rename": {"A": "b"}, "add": {"shard": 3,
        "s": {"value": None, "type": "INT"}}, **MASKS},
    }  # fmt: skip
    (found,) = load([route], mask_key={"key": KEY}).routes
    assert (found.table, found.to, found.apply_mode) == ("shop.orders_*", "archive.orders", "upsert")
    assert (found.leave_out, dict(found.rename)) == (frozenset({"note"}), {"a": "b"})
    assert {name: (each.value, each.type) for name, each in found.add.items()} == {"shard": (3, ""), "s": (None, "INT")}
    assert {name: each.kind for name, each in found.mask.items()} == {
        "email": "fake", "id": "hash", "iban": "null", "city": "constant",
    }  # fmt: skip
    assert found.condition == "a = 1"
    assert not found.is_by_history
    assert found.changes_rows


def test_what_only_renames_goes_both_ways() -> None:
    (found,) = load([{"table": "d.t", "to": "d.s", "columns": {"rename": {"a": "b"}}}], **TWO_WAY).routes
    assert found.changes_rows
    assert not found.no_way_back


def test_conditions_of_some_kinds_leave_the_others_without_one() -> None:
    (found,) = load([{"table": "d.t", "where": {"delete": "FALSE", "update_new": "a > 1"}}]).routes
    assert dict(found.where) == {"delete": "FALSE", "update_new": "a > 1"}
    assert found.is_by_history
    assert found.condition == ""


@pytest.mark.parametrize(
    ("route", "more", "key", "why"),
    [
        ({"to": "a.b"}, {}, "routes[0].table", "is missing"),
        ({"table": "d"}, {}, "routes[0].table", "expected database.table"),
        ({"table": "d.t"}, {}, "routes[0]", "changes nothing"),
        ({"table": "d.t", "to": "x"}, {}, "routes[0].to", "expected database.table"),
        ({"table": "d.t", "to": "x.y_*"}, {}, "routes[0].to", "or '*' for the name as it is"),
        ({"table": "d.t", "to": "*.*"}, {}, "routes[0].to", "renames nothing"),
        ({"table": "d.t", "tu": "x.y"}, {}, "routes[0].tu", "known are: apply_mode"),
        ({"table": "d.t", "where": "NOW() > a"}, {}, "routes[0].where", "the function NOW()"),
        ({"table": "d.t", "where": {"update": "a"}}, {}, "routes[0].where.update", "did you mean"),
        ({"table": "d.t", "where": {"insert": "a /"}}, {}, "routes[0].where.insert", "div_precision"),
        ({"table": "d.t", "apply_mode": "insert"}, {}, "routes[0].apply_mode", "expected replace"),
        ({"table": "d.t", "columns": MASKS}, {}, "routes[0].columns.mask.email", "without a key"),
        ({"table": "d.t", "columns": {"mask": {"a": "md5"}}}, {}, "routes[0].columns.mask.a", "expected null, hash"),
        ({"table": "d.t", "columns": {"mask": {"a": {"fake": "nose"}}}}, {},
         "routes[0].columns.mask.a.fake", "known are"),
        ({"table": "d.t", "columns": {"mask": {"a": {"hash": {"key": "short"}}}}}, {},
         "routes[0].columns.mask.a.hash.key", "16 bytes"),
        ({"table": "d.t", "columns": {"mask": {"a": {"constant": 1.5}}}}, {},
         "routes[0].columns.mask.a.constant", "in quotes"),
        ({"table": "d.t", "columns": {"leave_out": ["a"], "mask": {"A": None}}}, {},
         "routes[0].columns", "is left out"),
        ({"table": "d.t", "columns": {"rename": {"a": "c"}, "add": {"C": 1}}}, {}, "routes[0].columns", "two columns"),
        ({"table": "d.t", "to": "a.b"}, {"sink": {"type": "ndjson", "path": "x"}}, "routes[0].to", "leave it out"),
        ({"table": "d.t", "apply_mode": "plain"}, {"sink": {"type": "ndjson", "path": "x"}}, "routes[0].apply_mode",
         "leave it out"),
        ({"table": "d.t", "where": "a = 1"}, {"sink": {"type": "ndjson", "path": "x"}}, "source_db_info", "types"),
        ({"table": "d*.t", "to": "a.b"}, {"sharding": {"databases": ["d1"]}, "db_corpmod": 0},
         "routes[0].table", "sharding"),
        *(({"table": "d.t", **route}, TWO_WAY, f"routes[0].{key}", "cannot come back") for key, route in ONE_WAY),
        ({"table": "d.t_*", "to": "d.one"}, TWO_WAY, "routes[0].to", "cannot merge tables"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_key(route: Any, more: Any, key: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([route], **more)
    assert caught.value.key == key
    assert why in str(caught.value)


def test_keys_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASK_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY}2\n")
    masks = {"a": {"hash": {"key_env": "MASK_KEY"}}, "b": {"fake": "name", "key_file": str(tmp_path / "key")}}
    (found,) = load([{"table": "d.t", "columns": {"mask": masks}}]).routes
    assert [each.key.reveal() for each in found.mask.values() if each.key] == [KEY, f"{KEY}2"]


def test_no_key_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        f"db_info: {{host: h, user: u}}\nmask_key: {{key: {KEY}}}\nroutes:\n"
        f"  - {{table: d.t, columns: {{mask: {{a: {{hash: {{key: {KEY}2}}}}, b: hash}}}}}}\n"
    )
    settings = load(
        [{"table": "d.t", "columns": {"mask": {"a": {"hash": {"key": f"{KEY}2"}}, "b": "hash"}}}], mask_key={"key": KEY}
    )
    shown = {each.key: each for each in show_settings(file, settings)}
    assert KEY not in f"{shown}{describe(settings)}{settings!r}"
    assert shown["mask_key"].value == "***"
    assert shown["mask_key"].origin == f"{file}:2"
    assert shown["routes"].value == "d.t, a masked (hash), b masked (hash)"
    assert {each.reveal() for each in settings.secrets()} >= {KEY, f"{KEY}2"}
