"""The policies of conflicts: every mistake is one sentence with the path of its key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.errors import ConfigError


def load(conflicts: dict[str, Any], **options: Any) -> Settings:
    return settings_from_mapping({"detect_conflicts": "on", "conflicts": conflicts, **options}, require=())[0]


def test_policies_are_read_by_glob() -> None:
    settings = load({"prefer": "source", "tables": {"shop.*": "newest:updated_at", "*.*": "park"}})
    assert [(glob, str(policy)) for glob, policy in settings.conflicts.tables.items()] == [
        ("shop.*", "newest:updated_at"), ("*.*", "park"),
    ]  # fmt: skip
    assert str(settings.conflicts.other_policy) == "prefer"


@pytest.mark.parametrize(
    ("conflicts", "key", "says"),
    [
        ({"policy": "prefer"}, "conflicts.prefer", "is missing: conflicts.policy is 'prefer'"),
        ({"policy": "park", "tables": {"a.b": "larger:n"}}, "conflicts.prefer", "conflicts.tables.a.b is 'larger:n'"),
        ({"prefer": "me"}, "conflicts.prefer", "expected source or target"),
        ({"prefer": "source", "policy": "newest"}, "conflicts.policy", "expected 'newest:COLUMN'"),
        ({"prefer": "source", "policy": "park:n"}, "conflicts.policy", "expected 'park' alone"),
        ({"prefer": "source", "policy": "latest:n"}, "conflicts.policy", "unknown policy 'latest'"),
        ({"prefer": "source", "tables": {"shop": "park"}}, "conflicts.tables.shop", "write 'shop.*'"),
        ({"prefer": "source", "tables": {"shop.*": 3}}, "conflicts.tables.shop.*", "expected a policy such as"),
    ],
)
def test_what_cannot_be_is_refused(conflicts: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(conflicts)
    assert caught.value.key == key
    assert says in str(caught.value)


def test_nothing_has_to_be_preferred_where_no_policy_asks_or_nobody_looks() -> None:
    assert load({"policy": "source_wins", "tables": {"a.*": "park"}}).detects_conflicts
    assert not settings_from_mapping({}, require=())[0].detects_conflicts
    assert str(load({}).conflicts.other_policy) == "park"


def test_another_target_than_mysql_has_no_rows_to_compare_with() -> None:
    with pytest.raises(ConfigError, match="only a MySQL or MariaDB target"):
        load({"prefer": "source"}, sink={"type": "ndjson", "path": "x"})


def test_two_ends_cannot_both_take_what_the_other_has() -> None:
    both = {"two_way": True, "source_db_info": {"host": "a", "user": "u", "password": "p"}}
    with pytest.raises(ConfigError, match="would leave each with the other's row") as caught:
        load({"prefer": "source", "tables": {"shop.*": "source_wins"}}, **both)
    assert caught.value.key == "conflicts.tables.shop.*"
    assert load({"prefer": "source"}, detect_conflicts="auto", **both).detects_conflicts


@pytest.mark.parametrize(
    ("here", "there", "says"),
    [
        ({"prefer": "source"}, {"prefer": "target"}, ""),
        ({"prefer": "source"}, {"prefer": "source"}, "each prefers another server"),
        ({"prefer": "source"}, {"prefer": "target", "policy": "park"}, "'prefer' here and 'park' there"),
        ({"prefer": "source", "tables": {"a.*": "park"}}, {"prefer": "target"}, "conflicts.tables is"),
        ({}, {}, ""),
    ],
)
def test_policies_that_contradict_each_other_are_told(here: dict[str, Any], there: dict[str, Any], says: str) -> None:
    found = load(here).conflicts.contradicts(load(there).conflicts.to_json(), has_other_names=False)
    assert says in found
    assert bool(says) == bool(found)


def test_an_end_that_does_not_talk_of_rows_in_conflict_is_told_where_a_side_is_preferred() -> None:
    there = json.loads(load({"prefer": "target"}).conflicts.to_json())
    del there["talks"]  # as older versions show it
    found = load({"prefer": "source"}).conflicts.contradicts(json.dumps(there), has_other_names=False)
    assert "the pydbsync there is of another version" in found
    parks = json.dumps({**there, "prefer": None, "policy": "park"})
    assert load({}).conflicts.contradicts(parks, has_other_names=False) == ""
