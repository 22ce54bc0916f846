"""A setting that nobody reads would be a promise that nobody keeps."""

from __future__ import annotations

import ast
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import pydbsync
from pydbsync.config.alerts import AlertSettings, MailSettings, WebhookSettings
from pydbsync.config.conflicts import ConflictSettings
from pydbsync.config.search import SearchSettings, SearchTableSettings
from pydbsync.config.settings import AmqpSettings, QueueSettings, RetrySettings, Settings, ShardSettings, TlsSettings
from pydbsync.config.sinks import (
    NdjsonSettings,
    OwnSinkSettings,
    RedisSettings,
    RedisTableSettings,
    SentinelSettings,
)
from pydbsync.config.two_way import TwoWaySettings
from pydbsync.config.watching import DdlWatchSettings

PACKAGE = Path(pydbsync.__file__).parent


@cache
def attributes_read() -> set[str]:
    """Names behind a dot, in all modules but those that read the configuration."""
    return {
        node.attr
        for file in PACKAGE.rglob("*.py")
        if file.parent.name != "config"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


READ_AT_THE_START = {
    # Queues and shards hold them; Settings.detects_conflicts tells the last.
    Settings: {"queue_type", "queue_arguments", "stream_names", "corpmod", "sharding", "detect_conflicts"},
    QueueSettings: {"stream_name"},
    ShardSettings: {"instances"},
    ConflictSettings: {"policy"},  # other_policy tells it
    TwoWaySettings: {"source_state_schema"},  # Settings.source_state_schema tells it
}


SECTIONS = [
    Settings, AlertSettings, AmqpSettings, ConflictSettings, MailSettings, QueueSettings, RetrySettings, ShardSettings,
    TlsSettings, WebhookSettings, NdjsonSettings, OwnSinkSettings, RedisSettings, RedisTableSettings, SentinelSettings,
    TwoWaySettings, DdlWatchSettings,
    SearchSettings, SearchTableSettings,
]  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_read_by_what_it_is_for(section: type) -> None:
    names = {field.name for field in fields(section)} - READ_AT_THE_START.get(section, set())
    assert names - attributes_read() == set()
