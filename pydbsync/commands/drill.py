"""`python -m pydbsync failover --drill`: on the lab of the repository, or on servers that a plan names for it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

import pydbsync
from pydbsync.commands.shared import confirm, print_json
from pydbsync.config.cutover_plan import DRILL_DATABASE, CutoverPlan, load_plan
from pydbsync.errors import OperationError
from pydbsync.ops.cutover.drill import ENDINGS, Drill, Ending, report

VHOST = "drill"


def run_drill(plan: Path | None, *, yes: bool, as_json: bool) -> int:
    """Both endings; the exit code."""

    def tell(text: str) -> None:
        typer.echo(text, err=as_json)

    drill, folder = _on_lab(tell) if plan is None else drill_of(plan, tell, yes=yes)
    began = time.monotonic()
    endings: list[Ending] = []
    for name, options in ENDINGS.items():
        endings.append(drill.run(name, options))
        tell(str(endings[-1]))
    file = folder / "failover-drill.md"
    file.write_text(report(endings, time.monotonic() - began), encoding="utf-8")
    if as_json:
        print_json(endings)
    else:
        tell(f"report: {file}")
    return 0 if all(each.is_well for each in endings) else 1


def _on_lab(tell: Callable[[str], None]) -> tuple[Drill, Path]:
    """The private servers of the repository, as `make demo` has them."""
    root = Path(pydbsync.__file__).resolve().parents[1]
    if not (root / "lab" / "__init__.py").is_file():
        raise OperationError(
            "the lab is a part of the repository, and pydbsync was installed without it: call this in a checkout, or"
            " give a plan with the hooks drill_kill and drill_start"
        )
    sys.path.insert(0, str(root))
    lab: Any = importlib.import_module("lab")
    tell("starting a private pair of servers and a broker")
    try:
        lab.up_together(("source", "target", "rabbitmq"))
        source, target, broker = lab.up("source"), lab.up("target"), lab.up("rabbitmq")
    except lab.LabError as exc:
        raise OperationError(f"the lab does not start: {exc}") from exc
    broker.delete_vhost(VHOST)
    broker.create_vhost(VHOST)
    folder: Path = lab.lab_root() / "drill"
    folder.mkdir(parents=True, exist_ok=True)
    forth = folder / "lab.py"
    forth.write_text(
        "".join(
            f"{name} = {dict(host=each.host, port=each.port, user=each.user, password=each.password, **more)!r}\n"
            for name, each, more in (
                ("source_db_info", source, {}),
                ("db_info", target, {}),
                ("rabbitmq_conn_info", broker, {"vhost": VHOST}),
            )
        ),
        encoding="utf-8",
    )
    return Drill(forth, folder, kill=source.kill, start=source.start, tell=tell), folder


def drill_of(path: Path, tell: Callable[[str], object], *, yes: bool) -> tuple[Drill, Path]:
    """With the servers of a plan for drills, and the folder of its files. Raises OperationError, ConfigError."""
    plan = load_plan(path)
    if not plan.hooks.drill_kill:
        raise OperationError(
            f"a drill kills the source, and {path} has no hooks drill_kill and drill_start: it is no plan of a drill;"
            " without a plan the drill is one on the lab"
        )
    if not yes:
        confirm(
            f"kill the source of {plan.forth} twice, close both servers for writes, and drop their databases"
            f" {DRILL_DATABASE}*?", "failover: no drill",
        )  # fmt: skip
    folder = path.resolve().parent / f"{plan.name}-drill"
    kill, start = _shell(plan, "drill_kill"), _shell(plan, "drill_start")
    return Drill(Path(plan.forth), folder, kill=kill, start=start, tell=tell), folder


def _shell(plan: CutoverPlan, name: str) -> Callable[[], None]:
    """The command; it has done its work when the server is down, or answers."""

    def run() -> None:
        done = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", str(getattr(plan.hooks, name))], stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise OperationError(f"the hook {name} ended with exit code {done.returncode}")

    return run
