"""The plan of a cut-over: two configurations, how the servers are closed and opened, hooks and time limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydbsync.config.file import read_config
from pydbsync.config.settings import Settings
from pydbsync.config.shapes import TEXTS
from pydbsync.config.values import FLAG, one_of, option, read_section, required, seconds, section_kind, text, whole
from pydbsync.errors import ConfigError

_NAME_LIMIT: Final = 100


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Shell commands of the operator; each is told by its environment what it is called for."""

    check: str = option("", text(), "a look of your own before it begins: another exit code than 0 stops it")
    fence: str = option("", text(), "closes the server that is left, instead of read_only")
    unfence: str = option("", text(), "opens it again, where `fence` was used")
    switch: str = option("", text(), "sends the applications to the other server: DNS, proxy, configuration")
    open: str = option("", text(), "opens the server that is gone to, instead of read_only")
    start: str = option("", text(), "starts capture and replay of a direction, instead of processes of our own")
    stop: str = option("", text(), "ends capture and replay of a direction, instead of SIGTERM")
    drill_kill: str = option("", text(), "kills the source, for `failover --drill` with this plan")
    drill_start: str = option("", text(), "starts the source again, likewise")


@dataclass(frozen=True, kw_only=True)
class StepLimits:
    """How long a step may take; what takes longer fails, and what was done is undone."""

    fence_s: float = option(30.0, seconds(0.1), "closing the server and ending its sessions", unit="seconds")
    drain_s: float = option(60.0, seconds(0.1), "until all that was written has been applied", unit="seconds")
    verify_s: float = option(600.0, seconds(0.1), "comparing", unit="seconds")
    stop_s: float = option(60.0, seconds(0.1), "ending capture and replay of the direction that is left",
                           unit="seconds")  # fmt: skip
    carry_s: float = option(60.0, seconds(0.1), "counters, triggers, events", unit="seconds")
    arm_s: float = option(60.0, seconds(0.1), "starting and proving the way back", unit="seconds")
    hook_s: float = option(60.0, seconds(0.1), "a hook", unit="seconds")
    lag_s: float = option(10.0, seconds(0), "the target may be further behind at most when a cut-over begins",
                          unit="seconds")  # fmt: skip
    verify_age_s: float = option(
        7 * 86_400.0, seconds(0, 366 * 86_400), "a comparison that was equal must be as new at most when a cut-over"
        " begins; 0 asks for none", unit="seconds",
    )  # fmt: skip
    transaction_s: float = option(
        60.0, seconds(0), "a transaction that has been open for longer with changed rows keeps a cut-over from"
        " beginning", unit="seconds",
    )  # fmt: skip
    watch_s: float = option(10.0, seconds(0), "what is watched after the opening", unit="seconds")


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Whose sessions are ended at the fence. Our own, replicas and the server's never are."""

    end: str = option("all", one_of("all", "none", "users"), "whose: all, none, or those of `users`")
    users: tuple[str, ...] = option((), TEXTS, "names of the users")
    keep: tuple[str, ...] = option((), TEXTS, "users whose sessions stay")


@dataclass(frozen=True, kw_only=True)
class CutoverPlan:
    """All of it. Files are meant from the folder of the plan on."""

    name: str = required(text(), "the plan's name, under which its steps are written down")
    forth: str = required(text(), "configuration of the direction from the old server to the new one")
    back: str = option("", text(), "configuration of the direction back; made from `forth` when not given")
    verify: str = option("full", text(), "full, none, or `COLUMN` as in since:COLUMN: only rows changed since the last"
                                         " comparison that was equal")  # fmt: skip
    verify_jobs: int = option(2, whole(1, 64), "tables that are compared at the same time")
    triggers: bool = option(True, FLAG, "triggers go along: they fire at one of the two servers at any time")
    events: bool = option(True, FLAG, "events go along: they run at one of the two servers at any time")
    programs: bool = option(True, FLAG, "views, routines and events that the other server lacks are made there")
    sessions: Sessions = option(Sessions(), section_kind(Sessions), "sessions that are ended at the fence")
    limits: StepLimits = option(StepLimits(), section_kind(StepLimits), "time limits")
    hooks: Hooks = option(Hooks(), section_kind(Hooks), "commands of the operator")
    bundle: bool = option(False, FLAG, "capture that we start publishes bundles")
    failover_gap: int = option(
        1000, whole(0, 2**31), "so many numbers of AUTO_INCREMENT are left out by a failover", unit="numbers"
    )
    log_folder: str = option("", text(), "where processes that we start write; the plan's folder when not given")

    @property
    def since_column(self) -> str:
        """The column of `verify: since:COLUMN`; empty for the other ways."""
        return self.verify.partition(":")[2] if self.verify.startswith("since:") else ""


def load_plan(path: Path) -> CutoverPlan:
    """Read the file; its paths are made whole. Raises ConfigError."""
    plan = read_section(CutoverPlan, read_config(path), "")
    if len(plan.name) > _NAME_LIMIT:
        raise ConfigError(f"expected at most {_NAME_LIMIT} characters", key="name")
    if plan.verify not in ("full", "none") and not plan.since_column:
        raise ConfigError(f"expected full, none or since:COLUMN, got {plan.verify!r}", key="verify")
    if bool(plan.hooks.fence) != bool(plan.hooks.unfence):
        raise ConfigError("fence and unfence belong together: one of them is missing", key="hooks")
    if bool(plan.hooks.start) != bool(plan.hooks.stop):
        raise ConfigError("start and stop belong together: one of them is missing", key="hooks")
    if bool(plan.hooks.drill_kill) != bool(plan.hooks.drill_start):
        raise ConfigError("drill_kill and drill_start belong together: one of them is missing", key="hooks")
    folder = path.resolve().parent
    forth = folder / plan.forth
    back = folder / plan.back if plan.back else _derived(folder / f"{path.stem}.back.py", forth)
    return replace(plan, forth=str(forth), back=str(back), log_folder=str(folder / (plan.log_folder or ".")))


def _derived(file: Path, forth: Path) -> Path:
    """A configuration of the way back beside the plan, which holds no secrets: it reads the other file."""
    if not file.exists():
        text = (
            '"""The way back of a cut-over, made from the configuration forth. Edit it, or name another one."""\n\n'
            "from pydbsync.config.cutover_plan import back_of\n\n"
            f"globals().update(back_of({str(forth)!r}))\n"
        )
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise ConfigError(
                f"the configuration of the way back cannot be written to {file} ({exc.strerror}): name one", key="back"
            ) from exc
    return file


def back_of(forth: str) -> dict[str, object]:
    """The same servers the other way round, over exchanges and queues of its own. Raises ConfigError where names are
    rewritten, rows split, or one side wins: only a person can say what the way back is then."""
    given = dict(read_config(Path(forth)))
    for key in ("dbname_rewrite", "sharding", "sink", "stream_names", "routes", "conflicts"):
        if given.get(key):
            raise ConfigError(f"the way back cannot be made from {forth}, which has {key}: write it", key="back")
    for key in ("db_info", "source_db_info", "rabbitmq_queue_bind"):
        if not given.get(key):
            raise ConfigError(f"is missing in {forth}", key=key)
    binds = []
    for bind in given["rabbitmq_queue_bind"]:  # type: ignore[attr-defined]
        (exchange, kind), queues = bind["exchange"], bind["queues"]
        binds.append(
            {"exchange": [f"back.{exchange}", kind], "queues": {f"back.{name}": keys for name, keys in queues.items()}}
        )
    schema = str(given.get("state_schema") or Settings().state_schema)
    return {
        **given,
        "db_info": given["source_db_info"],
        "source_db_info": given["db_info"],
        "rabbitmq_queue_bind": binds,
        "exclude": [*given.get("exclude", ()), f"{schema}.*"],  # type: ignore[misc]
        "source_server": "auto",
        "metrics_port": 0,
        "log_file_prefix": _log_prefix(str(given.get("log_file_prefix") or Settings().log_file_prefix)),
    }


def carried_of(forth: str, wins: str) -> dict[str, object]:
    """The configuration by which a failover carries over what a dead source had: each change is compared with the row
    that is there. `wins` is source or target; empty for what `conflicts` says, which parks where it says nothing."""
    given = dict(read_config(Path(forth)))
    given.pop("source_db_info", None)  # its other tables need not be fit for conflicts
    given.pop("two_way", None)
    return {
        **given,
        "detect_conflicts": "on",
        "conflicts": {"policy": f"{wins}_wins"} if wins else given.get("conflicts") or {"policy": "park"},
        "metrics_port": 0,
    }


DRILL_DATABASE: Final = "pydbsync_drill"
DRILL_STATE: Final = "pydbsync_drill_state"


def drilled_of(forth: str) -> dict[str, object]:
    """The same servers and broker for a drill, with a database, queues and a state schema of its own."""
    given = read_config(Path(forth))
    for key in ("db_info", "source_db_info", "rabbitmq_conn_info"):
        if not given.get(key):
            raise ConfigError(f"is missing in {forth}", key=key)
    return {
        **{name: given[name] for name in ("db_info", "source_db_info", "rabbitmq_conn_info")},
        "rabbitmq_queue_bind": [{"exchange": ["pydbsync_drill", "topic"], "queues": {"pydbsync_drill": ["#"]}}],
        "include": [f"{DRILL_DATABASE}.*", "pydbsync_heartbeat.*"],
        "state_schema": DRILL_STATE,
        "state_interval_s": 0.2,
        "consumer_poll_s": 0.05,
        "metrics_port": 0,
        "log_file_prefix": str(Path(forth).with_name("drill-%s.log")),
    }


def _log_prefix(forth: str) -> str:
    path = Path(forth)
    return str(path.with_name(f"back-{path.name}"))
