"""Steps of a cut-over in this process: a journal at a real server, a plan, and what the steps work with."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydbsync.config.cutover_plan import CutoverPlan, Hooks, StepLimits
from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.ops.cutover.journal import Command, CutoverJournal
from pydbsync.ops.cutover.work import CutoverWork, Direction
from tests.servers import Endpoint


def settings_of(target: Endpoint, source: Endpoint | None = None, **more: Any) -> Settings:
    """The configuration of one direction, without a broker."""
    given = {"db_info": target.db_info, **({"source_db_info": source.db_info} if source else {}), **more}
    return settings_from_mapping(given, require=("db_info",))[0]


def opened(target: Endpoint, plan: str = "shop") -> CutoverJournal:
    """A journal with a connection of its own."""
    return CutoverJournal(settings_of(target), plan)


def work_of(
    journal: CutoverJournal, *, forth: Settings | None = None, back: Settings | None = None,
    hooks: Mapping[str, str] = {}, command: Command = "cutover", told: list[str] | None = None, **limits: float,
) -> CutoverWork:  # fmt: skip
    """Of the run that is open, or of a new one."""
    plan = CutoverPlan(name="shop", forth="forth.py", hooks=Hooks(**hooks), limits=replace(StepLimits(), **limits))
    way = Direction("forth", forth or journal._settings, Path("forth.py"))
    row = journal.newest()
    if row is None or not row.is_open:
        row = journal.begin(command, turn=1, source="old", target="new")
    return CutoverWork(
        plan=plan, command=command, way=way, back=Direction("back", back or way.settings, Path("back.py")),
        journal=journal, row=row, tell=(told if told is not None else []).append, ask=lambda text: None,
        log=logging.getLogger("test"), facts=dict(row.facts), asked_to_stop=threading.Event(),
    )  # fmt: skip
