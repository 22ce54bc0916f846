"""Capture that dies between any two of its commits loses nothing, and what comes twice is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydbsync.ops.capture import StateTable
from pydbsync.ops.capture.history import state
from tests.integration.captured import Capture, run
from tests.servers import Endpoint


class Crash(BaseException):
    """Stands for SIGKILL: nothing but what gives connections and files back runs behind it."""


STEPS = (
    "INSERT INTO shop.t VALUES (1, 'a')", "ALTER TABLE shop.t ADD n INT FIRST", "INSERT INTO shop.t VALUES (5, 2, 'b')",
    "FLUSH BINARY LOGS", "ALTER TABLE shop.t DROP COLUMN v", "INSERT INTO shop.t VALUES (6, 3)",
    "RENAME TABLE shop.t TO shop.u", "INSERT INTO shop.u VALUES (7, 4)",
)  # fmt: skip


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Die at the kill point of this number, counted from 1; the points that were passed."""
    passed: list[str] = []

    def kill_point(name: str) -> None:
        passed.append(name)
        if len(passed) == number:
            raise Crash(name)

    monkeypatch.setattr(state, "kill_point", kill_point)
    return passed


@pytest.mark.parametrize("by_gtid", [False, True])
def test_a_capture_that_dies_at_each_of_its_commits_goes_on(
    fresh_source: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_gtid: bool
) -> None:
    shop = fresh_source
    shop.query("RESET BINARY LOGS AND GTIDS" if shop.brand == "mysql" else "RESET MASTER")
    run(shop, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(9))"])
    whole = Capture(shop, tmp_path / "whole", by_gtid=by_gtid)
    dying = [Capture(shop, tmp_path / str(number), by_gtid=by_gtid, checkpoint_s=0.0) for number in range(1, 12)]
    for capture in (whole, *dying):
        capture.file.parent.mkdir()
        capture.read()
    run(shop, STEPS)
    wanted = whole.read()
    assert len(wanted) == 7
    seen: set[str] = set()
    for number, capture in enumerate(dying, start=1):
        for _ in range(3):  # again at the same point of what is left
            passed = crash_at(monkeypatch, number)
            try:
                capture.read()
            except Crash as exc:
                seen.add(str(exc))
                assert len(passed) == number
        monkeypatch.undo()
        capture.read()
        got = capture.file.read_bytes().split(b"\n")[:-1]
        assert list(dict.fromkeys(got)) == wanted, number
    assert seen == {"before-place", "after-place", "after-schema-entry"}


def test_a_capture_with_its_state_in_tables_that_dies_goes_on(fresh_source: Endpoint, tmp_path: Path) -> None:
    shop = fresh_source
    run(shop, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(9))"])
    given = {"exclude": ("kept.*", "kept")}
    (tmp_path / "whole").mkdir()
    whole = Capture(shop, tmp_path / "whole", **given)
    dying = Capture(shop, tmp_path, state=StateTable(connect=shop.db_info, schema="kept"), checkpoint_s=3600.0, **given)
    for capture in (whole, dying):
        capture.read()
    place = shop.query("SELECT place FROM kept.capture_place")
    run(shop, STEPS)
    wanted = whole.read()
    dying.read()
    # As if it had died after all of it was published, and before the place was stored.
    shop.query("UPDATE kept.capture_place SET place = %s", place[0][0])
    dying.read()
    got = dying.file.read_bytes().split(b"\n")[:-1]
    assert got == wanted * 2
