"""The settings of sinks: every option is documented, and a mistake is named in one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from pydbsync.config.settings import describe, settings_from_mapping
from pydbsync.config.sinks import NdjsonSettings, OwnSinkSettings, RedisSettings, RedisTableSettings, SentinelSettings
from pydbsync.config.values import options_of
from pydbsync.errors import ConfigError

DOCS = Path(__file__).parents[3] / "docs"
REDIS: dict[str, Any] = {"type": "redis", "tables": {"d.t": {"key": "t:{id}"}}}
QUEUES = [{"exchange": ["maxwell", "topic"], "queues": {"a": [], "b": []}}]


@pytest.mark.parametrize(
    ("page", "section", "prefix"),
    [
        ("sinks.md", NdjsonSettings, "sink."),
        ("sinks.md", OwnSinkSettings, "sink."),
        ("redis.md", RedisSettings, "sink."),
        ("redis.md", RedisTableSettings, "…."),
    ],
)
def test_every_option_is_documented(page: str, section: type, prefix: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in options_of(section) if name != "type" and f"`{prefix}{name}`" not in text] == []


def test_sentinel_options_are_documented() -> None:
    text = (DOCS / "redis.md").read_text(encoding="utf-8")
    assert [name for name in options_of(SentinelSettings) if f"`{name}`" not in text] == []


MISTAKES: list[tuple[Any, str]] = [
    ({}, "sink.type: is missing: one of ndjson, redis, MODULE:CLASS"),
    ({"type": "rediss"}, "sink.type: unknown type 'rediss'; did you mean 'redis'?"),
    ({"type": "ndjson"}, "sink.path: is missing"),
    ({"type": "ndjson", "path": "-"}, "sink.state: is missing: standard output has no place"),
    ({"type": "ndjson", "path": "x", "stat": "y"}, "sink.stat: unknown key; did you mean 'state'?"),
    ({"type": "a:B"}, "sink.state: is missing"),
    ({"type": "redis"}, "sink.tables: is missing"),
    ({"type": "redis", "tables": {}}, "sink.tables: expected at least one table"),
    ({"type": "redis", "tables": {"t": {"key": "{id}"}}}, "sink.tables.t: expected database.table"),
    ({"type": "redis", "tables": {"d.t": {}}}, "sink.tables.d.t.key: is missing"),
    ({"type": "redis", "tables": {"d.t": {"key": "{a}", "as": "set"}}}, "sink.tables.d.t.as: expected hash, json"),
    ({"type": "redis", "tables": {"d.t": {"key": "{a}", "as": "string"}}}, "sink.tables.d.t.value: is missing"),
    ({"type": "redis", "tables": {"d.t": {"key": "{a}", "value": "a"}}}, "sink.tables.d.t.value: is only for"),
    ({**REDIS, "cluster": True, "db": 1}, "sink.db: a cluster has neither"),
    ({**REDIS, "sentinel": {"service": "m", "nodes": ["h"]}}, "sink.sentinel.nodes[0]: expected host:port, got 'h'"),
    ({**REDIS, "prefix": "a{b}"}, "sink.prefix: expected text without braces"),
    ({**REDIS, "password": "a", "password_env": "B"}, "sink: the password is given more than once"),
]


@pytest.mark.parametrize(("sink", "sentence"), MISTAKES, ids=[sentence for _, sentence in MISTAKES])
def test_a_mistake_is_named_in_one_sentence(sink: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from_mapping({"sink": sink}, require=("db_info",))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("sink", [{"type": "ndjson", "path": "x"}, {"type": "a:B", "state": "x"}])
def test_several_queues_never_write_one_file(sink: Any) -> None:
    with pytest.raises(ConfigError, match="2 queues would write one file: put %s"):
        settings_from_mapping({"sink": sink, "rabbitmq_queue_bind": QUEUES}, require=())
    named = {name: value.replace("x", "x%s") for name, value in sink.items()}
    settings_from_mapping({"sink": named, "rabbitmq_queue_bind": QUEUES}, require=())


def test_passwords_of_a_sink_are_secrets_and_settings_reach_another_process() -> None:
    sentinel = {"service": "m", "nodes": ["h:1"], "password": "geheim1"}
    settings, _ = settings_from_mapping(
        {"sink": {**REDIS, "password": "geheim2", "user": "u", "sentinel": sentinel}}, require=("db_info",)
    )
    assert {secret.reveal() for secret in settings.secrets()} == {"geheim1", "geheim2"}
    assert "geheim" not in repr(settings) + "".join(describe(settings))
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert describe(settings)[0] == "target: Redis u@master m of sentinels"
