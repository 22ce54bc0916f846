"""The recipes of docs/operations.md, as they stand there."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from pydbsync.cli import main
from tests.comparing import QUICK, run_sql
from tests.integration.captured import Capture
from tests.integration.engine import replay
from tests.processes import REPOSITORY, write_config
from tests.servers import Endpoint

PAGE = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
RECIPES = PAGE.partition("\n## Recipes\n")[2].partition("\n## ")[0]


def recipe(title: str) -> list[str]:
    """The commands of pydbsync under a heading."""
    section = RECIPES.partition(f"### {title}\n")[2].partition("\n### ")[0]
    return [line.partition("#")[0].strip() for line in section.splitlines() if line.startswith("pydbsync ")]


def test_what_is_looked_at_during_a_long_snapshot_is_told(source: Endpoint) -> None:
    brand = {"mysql": "MySQL", "mariadb": "MariaDB"}[source.brand]
    (block,) = re.findall(rf"```sql\n-- {brand},.*\n([^`]*)```", RECIPES)
    statements = [sql for sql in block.replace("\n", " ").split(";") if sql.strip()]
    assert len(statements) == 3
    with source.connect() as other, other.cursor() as cursor:
        source.query("CREATE DATABASE IF NOT EXISTS kept")
        source.query("CREATE TABLE IF NOT EXISTS kept.t (id INT)")
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO kept.t VALUES (1)")
        assert [sql for sql in statements if not source.query(sql)] == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers at rest: nothing is waited for."""
    for command in ("verify", "repair"):
        monkeypatch.setattr(f"pydbsync.commands.{command}.SettleOptions", lambda **_: QUICK)


def run(words: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    """The exit code of a line of a recipe, run in this folder."""
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main([*words.split()[1:], *more])
    logging.getLogger("pydbsync").handlers.clear()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("quick")
def test_a_table_is_added_to_a_replay_that_runs(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, verified, repaired = recipe("Adding a table")
    run_sql(fresh_source, ["CREATE DATABASE shop", "CREATE TABLE shop.new (id INT PRIMARY KEY, v INT)"])
    capture = Capture(fresh_source, tmp_path)
    run_sql(fresh_source, ["INSERT INTO shop.new VALUES (1, 1), (2, 2)"])
    capture.read()  # what no queue has received
    ends = {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "log_file_prefix": "",
            "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"orders": ["#"]}}],
            "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1}}  # fmt: skip
    write_config(ends, tmp_path / "config.py")
    assert run(copied, tmp_path, monkeypatch) == 0
    assert fresh_target.query("SELECT * FROM shop.new") == []
    run_sql(fresh_source, ["INSERT INTO shop.new VALUES (3, 3)", "UPDATE shop.new SET v = 7 WHERE id = 1"])
    replay(fresh_target, capture.read(), stream="orders")
    assert run(verified, tmp_path, monkeypatch) == 1
    assert json.loads((tmp_path / "new.json").read_text())["finished_at"]
    assert run(repaired, tmp_path, monkeypatch, "--yes") == 0
    run(f"pydbsync repair --plan {tmp_path / 'new.sql'} --yes", tmp_path, monkeypatch)
    assert fresh_target.query("SELECT * FROM shop.new ORDER BY id") == [(1, 7), (2, 2), (3, 3)]


@pytest.mark.usefixtures("quick")
def test_a_second_source_is_merged_into_what_the_first_has_filled(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two databases of one server stand for two servers."""
    looked, _, verified, repaired, counted = recipe("Merging shards into one")
    for number in (1, 2):
        fresh_source.query(f"CREATE DATABASE crm{number}")
        run_sql(
            fresh_source,
            ["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)", f"INSERT INTO t VALUES ({number}, {number})"],
            database=f"crm{number}",
        )
    for number, name in ((1, "one"), (2, "two")):
        write_config(
            {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "log_file_prefix": "",
             "include": [f"crm{number}.*"], "dbname_rewrite": {f"crm{number}": "crm"},
             "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {name: ["#"]}}],
             "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1}},
            tmp_path / f"{name}.py",
        )  # fmt: skip
    as_python = {each: each.replace(".yaml", ".py") for each in (looked, verified, repaired, counted)}
    assert run("pydbsync copy --config one.py", tmp_path, monkeypatch) == 0
    assert run(as_python[looked], tmp_path, monkeypatch) == 2  # no broker here
    assert run(as_python[verified], tmp_path, monkeypatch) == 1
    run(as_python[repaired], tmp_path, monkeypatch, "--unproven")
    run("pydbsync repair --config two.py --plan two.sql --yes", tmp_path, monkeypatch)
    assert fresh_target.query("SELECT * FROM crm.t ORDER BY id") == [(1, 1), (2, 2)]
    assert run(as_python[counted], tmp_path, monkeypatch) == 0
