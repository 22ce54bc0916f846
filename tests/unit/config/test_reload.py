"""What a running worker takes over of another configuration, and what is named as waiting for a restart."""

from __future__ import annotations

import dataclasses

from pydbsync.config.reload import RELOADED, reload_settings
from pydbsync.config.settings import Settings, settings_from_mapping


def test_what_can_be_taken_over_is_and_the_rest_is_named_by_its_keys() -> None:
    former, _ = settings_from_mapping({"batch_rows": 5, "timestamp_offset": "+01:00"}, require=())
    found, _ = settings_from_mapping(
        {"db_info": {"host": "h", "user": "u"}, "batch_rows": 6, "prefetch": 7, "exclude": ["a.b"]}, require=()
    )
    reload = reload_settings(former, found)
    assert reload.changed == ("timestamp_offset", "exclude", "batch_rows")
    assert reload.needs_restart == ("db_info", "prefetch")
    assert reload.settings == dataclasses.replace(
        former, batch_rows=6, exclude=("a.b",), timestamp_offset_s=found.timestamp_offset_s
    )


def test_the_same_configuration_changes_nothing() -> None:
    settings, _ = settings_from_mapping({"batch_rows": 5}, require=())
    assert reload_settings(settings, settings) == (settings, (), ())


def test_only_settings_are_named() -> None:
    assert {each.name for each in dataclasses.fields(Settings)} >= RELOADED
