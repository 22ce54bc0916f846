"""What cut-overs of a state schema have come to, and how long the way back would take now."""

from __future__ import annotations

from pydbsync.apply.connection import Connection, connection_for_questions
from pydbsync.apply.tables.progress import FRESH
from pydbsync.config.settings import Settings
from pydbsync.errors import PydbsyncError
from pydbsync.ops.cutover.journal import RunRow, read_runs
from pydbsync.ops.status.facts import Cutover, Status
from pydbsync.ops.words import seconds
from pydbsync.plan.quoting import quote_name

_ANSWER_S = 4.0
_LEVEL_S = 2.0
"""A worker writes its lag once a second: what is less says nothing."""


def read_cutovers(settings: Settings, target: Connection, status: Status) -> None:
    """Those of plans that end or begin here. The other server is asked only where there is one to tell of."""
    here = read_runs(target, settings.state_schema)
    source, there = None, []
    if settings.source is not None and (here or status.queues):
        try:
            source = connection_for_questions(settings.source, answer_s=_ANSWER_S)
            there = read_runs(source, settings.state_schema)
        except PydbsyncError:
            source = None
    newest: dict[str, tuple[RunRow, bool]] = {}
    for runs, is_here in ((here, True), (there, False)):
        for run in runs:
            if run.state == "undone":
                continue
            if run.plan not in newest or run.turn > newest[run.plan][0].turn:
                newest[run.plan] = (run, is_here)
    for run, is_here in newest.values():
        found = Cutover(
            plan=run.plan, command=run.command, state=run.state, source=run.source, target=run.target,
            started=run.started, write_stop_s=run.facts.get("write_stop_s"),
            ended_streams=list(run.facts.get("streams", ())) if is_here else [],
        )  # fmt: skip
        if run.state == "done":
            _look_back(found, run, source if is_here else target)
        status.cutovers.append(found)
    if source is not None:
        source.close()


def _look_back(found: Cutover, run: RunRow, server: Connection | None) -> None:
    """`server` is the one that was left, where the way back writes."""
    back = run.facts.get("back")
    if server is None or not back:
        found.way_back = "how far the way back is cannot be seen from here (source_db_info)"
        return
    lags = {
        str(stream): None if lag is None else float(lag)
        for stream, lag in server.rows(
            f"SELECT stream, lag_s FROM {quote_name(back['schema'])}.worker WHERE stream IN %s AND state IN"
            f" ('following', 'stalled') AND {FRESH}",
            (tuple(back["streams"]),),
        )
    }
    parked = int(server.value(
        f"SELECT COUNT(*) FROM {quote_name(back['schema'])}.parked WHERE status = 'parked' AND stream IN %s",
        (tuple(back["streams"]),),
    ))  # fmt: skip
    if parked:
        found.is_level = False
        found.way_back = f"{parked:,} changes of the way back are parked: a rollback is refused until they are settled"
        return
    missing = [stream for stream in back["streams"] if stream not in lags]
    if missing:
        found.is_level = False
        found.way_back = f"no worker follows {', '.join(missing)}: what is written meanwhile waits, and a rollback too"
        return
    if run.facts.get("back_capture") and not server.value(
        f"SELECT COUNT(*) FROM {quote_name(back['schema'])}.task WHERE kind = 'capture' AND ended_at IS NULL"
        f" AND {FRESH}"
    ):
        found.is_level = False
        found.way_back = "no capture of the way back runs: what is written meanwhile waits, and a rollback too"
        return
    lag = max((each or 0.0 for each in lags.values()), default=0.0)
    found.is_level = lag < _LEVEL_S
    found.rollback_s = round((found.write_stop_s or 0.0) + (0.0 if found.is_level else lag), 2)
    how_far = "level" if found.is_level else f"{seconds(lag)} behind"
    found.way_back = (
        f"{how_far}; a rollback now would stop writing for about {seconds(found.rollback_s)} and lose nothing"
    )
