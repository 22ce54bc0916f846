"""JSON between MySQL and MariaDB, where it is text: copy, replay, verify and repair take a document for the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.comparing import compare
from tests.integration.captured import Capture
from tests.integration.copying import copy
from tests.integration.engine import parked, replay
from tests.repairing import Bench, change

DOCUMENTS = (
    '{"p": 1}',
    '{"p": 1.0}',
    "[1, 2]",
    "5",
    "[0.10000000000000001, 1.2345678901234567, 4.94065645841247e-324, -0.0]",
    "[18446744073709551615, 18446744073709551616, -9223372036854775809]",
    "[1e20, 0.1, 1.25e-7, 123456789012345678]",
    '{"longer": "é 😀 \\\\u0001 \\\\n / \\\\"", "b": {"z": [], "a": {}}}',
    '"text"',
)


@pytest.fixture(params=["mysql to mariadb", "mariadb to mysql"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    ends = [f"{brand}_{role}" for brand, role in zip(request.param.split(" to "), ("source", "target"), strict=True)]
    source, target = (
        request.getfixturevalue(name.removesuffix("_target") if "mariadb" in name else name) for name in ends
    )
    for end in (source, target):
        end.drop_databases()
    return Bench(source, target, tmp_path)


@pytest.mark.mysql
@pytest.mark.parametrize("key", ["PRIMARY KEY (id)", "KEY (id)"])
def test_documents_are_copied_changed_and_repaired(bench: Bench, tmp_path: Path, key: str) -> None:
    source, target = bench.source, bench.target
    capture = Capture(source, tmp_path, exact=True)
    capture.read()
    source.query("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    change(source, f"CREATE TABLE n (id INT NOT NULL, d JSON, {key})")
    for turn in range(3):
        for number, document in enumerate(DOCUMENTS, start=1):
            change(source, f"INSERT INTO n VALUES ({10 * turn + number}, '{document}')")
    if source.brand == "mysql":
        change(source, "INSERT INTO n SELECT 90, JSON_ARRAY(CAST(1.50 AS DECIMAL(9,2)), DATE'2020-01-01')")
    else:
        change(source, 'INSERT INTO n VALUES (90, \'{"b" :1,\\n"a":2, "b": 3}\')')
    copy(bench.settings, streams=("file",), trust_stream=True)
    assert bench.different() == {}
    change(source, "UPDATE n SET id = id + 100 WHERE id < 10", "DELETE FROM n WHERE id BETWEEN 10 AND 19")
    change(source, "UPDATE n SET id = 190 WHERE id = 90", "UPDATE n SET d = JSON_SET(d, '$.q', 1.0) WHERE id = 21")
    replay(target, capture.read(), stream="file", lossy_values="off", source_server=f"{source.brand} 10.11.0")
    assert parked(target) == []
    assert bench.different() == {}
    change(
        target,
        "UPDATE n SET d = '{\"p\": 1.0}' WHERE id = 101",
        "DELETE FROM n WHERE id IN (22, 24)",
        "INSERT INTO n VALUES (22, '{\"p\": 1}'), (24, '5.0')",
        "DELETE FROM n WHERE id > 120",
        "INSERT INTO n SELECT id + 1000, d FROM n WHERE id < 103",
    )
    broken = bench.different()
    assert broken.keys() == {"shop.n"}
    plan = bench.make_plan()
    assert plan.left_out == ()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert {table.status for table in compare(bench.settings, data_only=True).values()} == {"equal"}
    assert bench.undo().refused == ()
    assert bench.different() == broken
