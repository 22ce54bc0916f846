"""Both ends of a repair and its files, for tests that break rows on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydbsync.config.settings import Settings
from pydbsync.ops.repair.plan import RepairPlan
from pydbsync.ops.repair.run import Repair, RepairOptions, RepairOutcome
from pydbsync.ops.verify.report import VerifyReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from tests.comparing import LOG, QUICK, run_sql, settings_for
from tests.servers import Endpoint
from tests.state import differences, read_state

T = TypeVar("T")

OPTIONS = RepairOptions(settle=QUICK, takes_unproven=True)


def change(server: Endpoint, *statements: str) -> None:
    """Run them in the database `shop`."""
    run_sql(server, statements, database="shop")


class Bench:
    """Both ends' database `shop`, and the files of a repair."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path, **options: Any) -> None:
        self.source, self.target, self.folder = source, target, folder
        self.settings: Settings = settings_for(source, target, **options)
        self.report = folder / "report.json"
        self.plan = folder / "plan.sql"

    def verify(self) -> VerifyReport:
        options = VerifyOptions(settle=QUICK, report=self.report, data_only=True)
        return Verification(self.settings, options, stop=threading.Event(), log=LOG).run()

    def different(self) -> dict[str, int]:
        return {str(table.target): table.different for table in self.verify().tables if table.different}

    def make_plan(self, options: RepairOptions = OPTIONS) -> RepairPlan:
        self.verify()
        return self.with_repair(options, lambda repair: repair.make_plan(self.report, self.plan))

    def apply(self, options: RepairOptions = OPTIONS) -> RepairOutcome:
        return self.with_repair(options, lambda repair: repair.apply(self.plan))

    def undo(self, options: RepairOptions = OPTIONS) -> RepairOutcome:
        return self.with_repair(options, lambda repair: repair.undo(self.plan))

    def with_repair(self, options: RepairOptions, work: Callable[[Repair], T]) -> T:
        with Repair(self.settings, options, stop=threading.Event(), log=LOG) as repair:
            return work(repair)

    def options(self) -> list[str]:
        """Of the command, with a configuration that is written for it."""
        config = self.folder / "config.py"
        ends = f"db_info = {self.target.db_info}\nsource_db_info = {self.source.db_info}\n"
        config.write_text(f"{ends}log_file_prefix = ''\n")
        return ["--config", str(config), "--plan", str(self.plan), "--wait-s", "0"]

    def states(self) -> tuple[Any, Any]:
        found = []
        for end in (self.source, self.target):
            with end.connect() as connection:
                found.append(read_state(connection, ["shop"]))
        return found[0], found[1]

    def is_equal(self) -> bool:
        return list(differences(*self.states(), data_only=True)) == []
