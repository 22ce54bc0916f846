"""The settings of sinks: every option is documented, and a mistake is named in one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from pydbsync.config.search import SearchSettings, SearchTableSettings
from pydbsync.config.settings import describe, settings_from_mapping
from pydbsync.config.sinks import NdjsonSettings, OwnSinkSettings, RedisSettings, RedisTableSettings, SentinelSettings
from pydbsync.config.values import options_of
from pydbsync.errors import ConfigError

DOCS = Path(__file__).parents[3] / "docs"
REDIS: dict[str, Any] = {"type": "redis", "tables": {"d.t": {"key": "t:{id}"}}}
SEARCH: dict[str, Any] = {"type": "opensearch", "tables": {"d.t": {"id": "{id}"}}}
QUEUES = [{"exchange": ["maxwell", "topic"], "queues": {"a": [], "b": []}}]


@pytest.mark.parametrize(
    ("page", "section", "prefix"),
    [
        ("sinks.md", NdjsonSettings, "sink."),
        ("sinks.md", OwnSinkSettings, "sink."),
        ("redis.md", RedisSettings, "sink."),
        ("redis.md", RedisTableSettings, "…."),
        ("opensearch.md", SearchSettings, "sink."),
        ("opensearch.md", SearchTableSettings, "…."),
    ],
)
def test_every_option_is_documented(page: str, section: type, prefix: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in options_of(section) if name != "type" and f"`{prefix}{name}`" not in text] == []


def test_sentinel_options_are_documented() -> None:
    text = (DOCS / "redis.md").read_text(encoding="utf-8")
    assert [name for name in options_of(SentinelSettings) if f"`{name}`" not in text] == []


MISTAKES: list[tuple[Any, str]] = [
    ({}, "sink.type: is missing: one of ndjson, redis, opensearch, elasticsearch, MODULE:CLASS"),
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
    ({"type": "elasticsearch"}, "sink.tables: is missing"),
    ({**SEARCH, "tables": {"d.t": {"id": "{a}", "nested": {}}}}, "sink.tables.d.t.nested: is refused: rows of another"),
    (
        {**SEARCH, "tables": {"d.t": {"id": "{a}", "columns": ["pydbsync"]}}},
        "sink.tables.d.t.columns: names",
    ),
    ({**SEARCH, "nodes": ["https://h:9200"]}, "sink.nodes[0]: expected host:port, got 'https://h:9200'; for https set"),
    ({**SEARCH, "nodes": ["h"]}, "sink.nodes[0]: expected host:port, got 'h'"),
    ({**SEARCH, "state_index": "Caps"}, "sink.state_index: expected a name that an index can have, got 'Caps'"),
    ({**SEARCH, "mark": "_id"}, "sink.mark: expected letters"),
    ({**SEARCH, "active_shards": 0}, "sink.active_shards: expected all, or a whole number"),
    ({**SEARCH, "user": "u"}, "sink.password: is missing: user and password belong together"),
    ({**SEARCH, "user": "u", "password": "a", "api_key": "b"}, "sink.api_key: is instead of user and password"),
    ({**SEARCH, "api_key": "a", "api_key_env": "B"}, "sink: the api key is given more than once"),
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


def test_secrets_of_a_search_are_masked_and_its_settings_reach_another_process(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("geheim\n")
    mapping = {"d.t": {"id": "{id}", "mapping": {"v": {"type": "keyword"}}}}
    for access in ({"api_key_file": str(tmp_path / "key")}, {"user": "u", "password": "geheim"}):
        settings, _ = settings_from_mapping({"sink": {**SEARCH, **access, "tables": mapping}}, require=("db_info",))
        assert {secret.reveal() for secret in settings.secrets()} == {"geheim"}
        assert "geheim" not in repr(settings) + "".join(describe(settings))
        assert pickle.loads(pickle.dumps(settings)) == settings
    assert describe(settings)[0] == "target: OpenSearch u@127.0.0.1:9200"
