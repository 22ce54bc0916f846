"""A plan of a cut-over is read whole or refused with its key, and the way back is made of the way forth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pydbsync.config.cutover_plan import back_of, load_plan
from pydbsync.config.file import load_settings
from pydbsync.errors import ConfigError

FORTH: dict[str, Any] = {
    "db_info": {"host": "new", "user": "sync", "password_env": "NEW"},
    "source_db_info": {"host": "old", "user": "sync", "password": "s3cret"},
    "rabbitmq_conn_info": {"host": "broker"},
    "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"shop": ["shop.*"], "rest": ["#"]}}],
    "exclude": ["shop.log"],
    "state_schema": "sync_state",
    "metrics_port": 9420,
}


def written(folder: Path, plan: dict[str, Any], forth: dict[str, Any] = FORTH) -> Path:
    (folder / "forth.yaml").write_text(yaml.safe_dump(forth))
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump({"name": "shop", "forth": "forth.yaml", **plan}))
    return file


def test_the_way_back_has_the_servers_exchanged_and_queues_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW", "other")
    plan = load_plan(written(tmp_path, {}))
    assert plan.forth == str(tmp_path / "forth.yaml")
    assert "s3cret" not in Path(plan.back).read_text()
    back, _ = load_settings(Path(plan.back))
    assert back.source is not None
    assert (back.source.address, back.target.address) == ("sync@new:3306", "sync@old:3306")
    assert [(queue.queue, queue.exchange, queue.routing_keys) for queue in back.queues] == [
        ("back.rest", "back.maxwell", ("#",)),
        ("back.shop", "back.maxwell", ("shop.*",)),
    ]
    assert back.exclude == ("shop.log", "sync_state.*")
    assert (back.state_schema, back.metrics_port) == ("sync_state", 0)


def test_a_way_back_that_was_edited_stays(tmp_path: Path) -> None:
    file = written(tmp_path, {})
    made = Path(load_plan(file).back)
    made.write_text("state_schema = 'mine'")
    load_plan(file)
    assert made.read_text() == "state_schema = 'mine'"


@pytest.mark.parametrize("key", ["dbname_rewrite", "sharding", "stream_names", "routes", "conflicts"])
def test_what_only_a_person_can_turn_round_is_refused(tmp_path: Path, key: str) -> None:
    written(tmp_path, {}, {**FORTH, key: {"a": "b"}})
    with pytest.raises(ConfigError, match=f"has {key}: write it"):
        back_of(str(tmp_path / "forth.yaml"))


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"verify": "some"}, "verify: expected full, none or since:COLUMN, got 'some'"),
        ({"verify": "since:"}, "verify: expected full, none or since:COLUMN"),
        ({"hooks": {"fence": "x"}}, "hooks: fence and unfence belong together"),
        ({"hooks": {"start": "x"}}, "hooks: start and stop belong together"),
        ({"hooks": {"swich": "x"}}, "hooks.swich: unknown key; did you mean 'switch'"),
        ({"limits": {"drain_s": 0}}, "limits.drain_s: expected seconds"),
        ({"name": "n" * 101}, "name: expected at most 100 characters"),
        ({"sessions": {"end": "some"}}, "sessions.end: expected all, none or users"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_key(tmp_path: Path, plan: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_plan(written(tmp_path, plan))
    assert says in str(refused.value)


def test_the_column_of_changed_rows_is_told(tmp_path: Path) -> None:
    assert load_plan(written(tmp_path, {"verify": "since:updated_at"})).since_column == "updated_at"
    assert load_plan(written(tmp_path, {})).since_column == ""
