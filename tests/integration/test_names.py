"""No statement that is generated depends on what users call their columns: every word of it is a column's name here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pydbsync.apply.patient_connection import PatientConnection
from pydbsync.plan.quoting import quote_name
from tests.comparing import compare, run_sql, settings_for
from tests.integration.copying import copy
from tests.repairing import Bench
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

SHARDING = {"databases": ["d"], "column": "corp", "modulo": 3, "instances": 1}
WORD = re.compile(r"@?[A-Za-z_][A-Za-z_0-9]*")
COMPOUND = re.compile(r"[A-Z_]+\((?:`[^`]*`|[^()`]|\([^()]*\))*\)")
ALIASES = ("digest", "bucket", "shard", "n", "total", "t", "v", "`", "HEX(`b`)", "CAST(`a` AS CHAR)")
"""What earlier statements used as aliases, and the names that a server gives to what is selected."""
PLAIN = """
CREATE DATABASE d CHARACTER SET utf8mb4;
CREATE TABLE d.k (a INT, b VARCHAR(9), corp INT);
CREATE TABLE d.p (b VARCHAR(9), a INT, corp INT, f DOUBLE, j JSON, u VARCHAR(9) UNIQUE, PRIMARY KEY (b, a));
INSERT INTO d.k VALUES (1, 'x', 1), (1, 'y', 2);
INSERT INTO d.p VALUES ('x', 1, 1, 0.5, '[1]', 'u'), ('y', 1, 2, 0.5, '[1]', 'w')
"""


@pytest.fixture
def bench(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Bench:
    return Bench(fresh_source, fresh_target, tmp_path, include=["d.*"])


def words_of(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every word and call in the statements of a sharded copy, of verify, and of repair and its reverse."""
    said: list[str] = []
    original = PatientConnection._execute_command

    def record(self: Any, command: int, sql: Any) -> None:
        said.append(bytes(sql).decode("utf-8", "replace") if not isinstance(sql, str) else sql)
        original(self, command, sql)

    with monkeypatch.context() as patched:
        patched.setattr(PatientConnection, "_execute_command", record)
        run_sql(bench.source, PLAIN)
        sharded = settings_for(bench.source, bench.target, include=["d.*"], sharding=SHARDING, db_corpmod=0)
        copy(sharded, streams=("file",), trust_stream=True)
        compare(sharded)
        copy(bench.settings, streams=("file",), trust_stream=True, existing="drop", overwrite_checkpoint=True)
        run_sql(bench.target, ["UPDATE d.k SET b = 'z'", "UPDATE d.p SET j = '[2]', u = CONCAT(u, '1')"])
        bench.make_plan()
        bench.apply()
        bench.undo()
        bench.plan.unlink()
    about_rows = [sql for sql in said if re.search(r"`d\d?`\.`", sql)]
    words = {word for sql in about_rows for pattern in (WORD, COMPOUND) for word in pattern.findall(sql)}
    return {word for word in words if len(word) <= 64}


def named_tables(names: Iterable[str]) -> list[str]:
    """Tables with a column of each name, without and with a key, and rows for each."""
    kinds = ("INT", "VARCHAR(3) CHARACTER SET ascii")
    listed = [
        f"{quote_name(name)} {kinds[number % 2]} NOT NULL DEFAULT 1"
        for number, name in enumerate(names)
        if name not in ("corp", "last")
    ]
    keys = [quote_name(name) for name in ("HEX(`b`)", "b", "digest", "bucket", "shard")]
    statements = ["CREATE DATABASE d CHARACTER SET utf8mb4"]
    for table, key in (("k", ""), ("p", f", PRIMARY KEY ({', '.join(keys)})")):
        statements.append(f"CREATE TABLE d.{table} ({', '.join(listed)}, corp INT, last VARCHAR(9){key})")
        columns = ", ".join([*keys, "corp", "last"])
        statements.append(
            f"INSERT INTO d.{table} ({columns}) VALUES (1, 1, 1, 1, 1, 1, 'x'), (10, 9, 1, 1, 1, 2, 'y'),"
            " (2, 1, 1, 1, 2, 3, 'z'), (1, 1, 1, 2, 1, 0, 'same')"
        )
    return statements


def test_every_word_of_a_generated_statement_may_be_the_name_of_a_column(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {word.lower(): word for word in (*words_of(bench, monkeypatch), *ALIASES, "a", "b")}
    assert words.keys() >= {"count", "sha2", "hex(`b`)", "group", "order", "delete"}
    source, target = bench.source, bench.target
    for end in (source, target):
        end.drop_databases()
    run_sql(source, named_tables(sorted(words.values())))

    sharded = settings_for(source, target, include=["d.*"], sharding=SHARDING, db_corpmod=0)
    copy(sharded, streams=("file",), trust_stream=True)
    for shard, wanted in enumerate([("same", "z"), ("same", "x"), ("same", "y")]):
        for table in ("k", "p"):
            found = target.query(f"SELECT last FROM d{shard}.{table} ORDER BY last")
            assert tuple(row[0] for row in found) == wanted, f"d{shard}.{table}"
    assert {report.status for report in compare(sharded).values()} == {"equal"}

    copy(bench.settings, streams=("file",), trust_stream=True, existing="drop", overwrite_checkpoint=True)
    assert {report.status for report in compare(bench.settings).values()} == {"equal"}
    for table in ("k", "p"):
        run_sql(target, [f"UPDATE d.{table} SET last = 'WRONG' WHERE last IN ('x', 'same')"])
    assert {name: report.different for name, report in compare(bench.settings).items()} == {"d.k": 4, "d.p": 2}
    bench.make_plan()
    done = bench.apply()
    assert (done.refused, done.different) == ((), 0)
    assert {report.status for report in compare(bench.settings).values()} == {"equal"}
