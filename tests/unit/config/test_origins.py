from __future__ import annotations

from pathlib import Path

import pytest

from pydbsync.config.file import load_settings
from pydbsync.config.origins import show_settings

PYTHON = """\
from secrets_local import queue as _queue
db_info = {
    "host": "db1", "user": "u",
    "password": "hunter2",
}
rabbitmq_conn_info = {"host": "mq", "user": "q", "password_env": "MQ_WORD", "tls": {"verify": False}}
rabbitmq_queue_bind = [
    {"exchange": ["maxwell", "topic"],
     "queues": {"q1": ["#"]}},
]
queue_type = _queue
batch_rows = 7
"""
YAML = """\
db_info:
  host: db1
  user: u
  password_file: {word}
rabbitmq_conn_info: {{host: mq, user: q, password_env: MQ_WORD}}
rabbitmq_queue_bind:
  - exchange: [maxwell, topic]
    queues:
      q1: ['#']
batch_rows: 7
alerts:
  webhooks: [{{url: 'https://hooks.example/T0KEN', form: slack}}]
"""


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, tuple[str, str]]]:
    monkeypatch.setenv("MQ_WORD", "hunter3")
    (tmp_path / "word").write_text("hunter4", encoding="utf-8")
    (tmp_path / "secrets_local.py").write_text("queue = 'quorum'\n", encoding="utf-8")
    found = {}
    for name, text in (("c.py", PYTHON), ("c.yaml", YAML.format(word=tmp_path / "word"))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        settings, _ = load_settings(tmp_path / name)
        rows = show_settings(tmp_path / name, settings)
        found[name] = {row.key: (row.value, row.origin.replace(f"{tmp_path}/", "")) for row in rows}
    return found


def test_each_value_names_its_line_or_where_it_comes_from(shown: dict[str, dict[str, tuple[str, str]]]) -> None:
    python = shown["c.py"]
    assert python["db_info.host"] == ("db1", "c.py:3")
    assert python["db_info.password"] == ("***", "c.py:4")
    assert python["db_info.charset"] == ("utf8mb4", "decided by pydbsync")
    assert python["rabbitmq_conn_info.password"] == ("***", "environment variable MQ_WORD (c.py:6)")
    assert python["rabbitmq_conn_info.tls.verify"] == ("false", "c.py:6")
    assert python["rabbitmq_queue_bind: q1"] == ("exchange maxwell (topic), #; stream q1", "c.py:9")
    assert python["queue_type"] == ("quorum", "c.py:11")
    assert python["batch_rows"] == ("7", "c.py:12")
    assert python["batch_bytes"] == ("8MiB", "default")
    assert python["source_db_info"] == ("not set", "default")
    yaml = shown["c.yaml"]
    assert yaml["db_info.password"][0] == "***"
    assert yaml["db_info.password"][1] == "file word (c.yaml:4)"
    assert yaml["rabbitmq_queue_bind: q1"][1] == "c.yaml:9"
    assert yaml["batch_rows"] == ("7", "c.yaml:10")


def test_no_secret_is_shown(shown: dict[str, dict[str, tuple[str, str]]]) -> None:
    text = repr(shown)
    for secret in ("hunter2", "hunter3", "hunter4", "T0KEN"):
        assert secret not in text
