"""A rehearsal: everything of a cut-over but the switch, measured, with what the write stop would be and what would stop
it. Nothing is closed, started for good, or sent anywhere."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError, PydbsyncError
from pydbsync.ops.copy.programs import read_triggers
from pydbsync.ops.counters import behind_of
from pydbsync.ops.cutover.carry import reported
from pydbsync.ops.cutover.check import MayBegin, doctor_errors
from pydbsync.ops.cutover.comparison import compare
from pydbsync.ops.cutover.events import enabled_events
from pydbsync.ops.cutover.fence import beat, not_passed, source_place
from pydbsync.ops.cutover.journal import CutoverJournal
from pydbsync.ops.cutover.programs import inventory_of, programs_at, read_all
from pydbsync.ops.cutover.sessions import privileged
from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, Direction, StepFailed
from pydbsync.ops.servers import Server
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_name

_POLL_S = 0.01
_SAMPLE_S = 0.5


class Measured(msgspec.Struct, frozen=True):
    """One part of the write stop, measured several times."""

    name: str
    says: str
    seconds: tuple[float, ...]
    source: str = "measured"
    """measured, or of an earlier cut-over's journal."""

    @property
    def middle(self) -> float:
        """The median."""
        found = sorted(self.seconds)
        half = len(found) // 2
        return found[half] if len(found) % 2 else (found[half - 1] + found[half]) / 2


class RehearsalSample(msgspec.Struct, frozen=True):
    """What the workers said at a moment of the rehearsal."""

    at_s: float
    lag_s: float
    rows_per_s: float
    depth: float


class Rehearsal(msgspec.Struct):
    """All that was found."""

    plan: str
    source: str
    target: str
    started_at: str
    seconds: float = 0.0
    parts: list[Measured] = []
    stops: list[str] = []
    """What would keep a cut-over from taking place."""
    notes: list[str] = []
    """What a person should know before."""
    steps: list[tuple[str, str, str]] = []
    """(name, what it does, its undo)"""
    samples: list[RehearsalSample] = []

    @property
    def predicted_s(self) -> float:
        """The write stop that is to be expected."""
        return sum(part.middle for part in self.parts)

    @property
    def range_s(self) -> tuple[float, float]:
        """From the best of each part to the worst of each."""
        return sum(min(part.seconds) for part in self.parts), sum(max(part.seconds) for part in self.parts)


def rehearse(work: CutoverWork, steps: Sequence[CutoverStep], *, drains: int, verifies: int) -> Rehearsal:
    """Measure. Raises Stopped, TransientError where a server stays away."""
    way = work.way
    began = time.monotonic()
    found = Rehearsal(
        work.plan.name, way.source, way.target, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        steps=[(step.name, step.says, step.undo_says) for step in steps],
    )  # fmt: skip
    sampler = Sampler(work, found.samples)
    sampler.start()
    try:
        with work.within(24 * 3600, "verify_s"):
            _look(work, found)
            if not found.stops:
                _measure(work, found, drains=drains, verifies=verifies)
    finally:
        sampler.end()
    found.seconds = round(time.monotonic() - began, 2)
    return found


def _look(work: CutoverWork, found: Rehearsal) -> None:
    way, servers = work.way, work.servers()
    work.tell("doctor, rights, what is parked, what is behind")
    # How old the last comparison is says nothing: one is made here.
    found.stops += MayBegin(asks_age=False).look(work)
    # What fires at the server that is left goes along.
    moves = (
        ("target-triggers", work.plan.triggers), ("target-events", work.plan.events),
        # It begins anew with workers of its own: how those of an earlier turn ended says nothing.
        ("worker-error", not work.is_two_way), ("gaps", not work.is_two_way),
    )  # fmt: skip
    found.stops += doctor_errors(work.back, but=frozenset(name for name, does in moves if does))
    found.notes += _attempt("events", lambda: [
        f"would run at {way.target}, and no more at {way.source}: the events {listed('.'.join(e) for e in events)}"
        for events in [enabled_events(servers.source, way.settings)] if events
    ])  # fmt: skip
    found.notes += _attempt("triggers", lambda: _triggers(work))
    found.notes += _attempt("programs", lambda: _programs(work))
    found.notes += _attempt("accounts", lambda: reported(way, servers.source, servers.target))
    if servers.source.dialect.is_mariadb and not work.plan.hooks.fence:
        found.notes.append(f"these may write at {way.source} when it is closed: {listed(privileged(servers.source))}")
    if not work.plan.hooks.switch:
        found.notes.append("the plan has no hook `switch`: the applications are to be sent elsewhere by hand, which the"
                           " write stop then contains")  # fmt: skip


def _attempt(what: str, ask: Callable[[], list[str]]) -> list[str]:
    try:
        return ask()
    except ApplyError as exc:
        return [f"{what} cannot be looked at: {exc}"]


def _triggers(work: CutoverWork) -> list[str]:
    found = work.servers().source.call(lambda source: read_triggers(source, inventory_of(work.way, source).tables))
    if not found:
        return []
    return [f"{counted(len(found), 'trigger')} would move to {work.way.target}: {listed(each.name for each in found)}"]


def _programs(work: CutoverWork) -> list[str]:
    servers, router = work.servers(), router_from(work.way.settings)
    there = programs_at(servers.target)
    missing = [
        f"{each.kind} {each.name}"
        for each in servers.source.call(lambda source: read_all(source, inventory_of(work.way, source)))
        if any((each.kind, database, each.name.table) not in there for database in router.databases(each.name.database))
    ]
    return [f"these would be made at {work.way.target}: {listed(missing)}"] if missing else []


def _measure(work: CutoverWork, found: Rehearsal, *, drains: int, verifies: int) -> None:
    work.tell(f"{drains} drains: a change written now, until every queue has applied it")
    found.parts.append(Measured("drain", "until every queue is applied up to the fence",
                                tuple(_drain(work) for _ in range(drains))))  # fmt: skip
    if work.plan.verify != "none":
        work.tell(f"{verifies} comparisons, as the plan says")
        times = []
        for _ in range(verifies):
            began = time.monotonic()
            try:
                work.tell(f"    {compare(work, is_live=True)}")
            except StepFailed as exc:
                found.stops.append(str(exc))
                return
            times.append(time.monotonic() - began)
        found.parts.append(Measured("verify", "comparing", tuple(times)))
        if max(times) > work.plan.limits.verify_s:
            found.stops.append(f"a comparison took {max(times):.0f} s, more than limits.verify_s")
    work.tell("what replay does not carry")
    began = time.monotonic()
    behind = behind_of(work.way.settings, work.servers())
    found.parts.append(Measured("carry", "counters, triggers, views, routines, events", (time.monotonic() - began,)))
    if behind:
        found.notes.append(f"would be raised: {counted(len(behind), 'counter')}")
    work.tell("how long capture of the way back takes to be at work")
    found.parts.append(Measured("arm", "starting capture of the way back", tuple(_arm(work.back) for _ in range(2))))
    known = _from_journal(work.journal, work.plan.name)
    for name, says, otherwise in (
        ("fence", "closing the server, ending sessions", (0.1, 0.5)),
        ("stop", "workers look once a second whether they are paused", (0.2, 1.5)),
        ("switch", "the hook", ()),
        ("open", "opening the other server", (0.05, 0.2)),
    ):
        times = known.get(name, list(otherwise))
        if times:
            source = "of earlier cut-overs" if name in known else "assumed"
            found.parts.append(Measured(name, says, tuple(times), source))
        else:
            found.notes.append("the hook `switch` is not called by a rehearsal, and its time is not in the prediction")
    if _is_late(found, "drain", work.plan.limits.drain_s):
        found.stops.append("a drain took longer than limits.drain_s")


def _is_late(found: Rehearsal, name: str, limit_s: float) -> bool:
    return any(part.name == name and max(part.seconds) > limit_s for part in found.parts)


def _drain(work: CutoverWork) -> float:
    beat(work, work.way)
    place, began = source_place(work, work.way), time.monotonic()
    while not_passed(work, work.way, place):
        work.wait(_POLL_S)
    return time.monotonic() - began


def _arm(back: Direction) -> float:
    """A capture that reads what is in the binlog now, to nowhere: its start is that of the real one."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pydbsync-rehearsal-") as folder:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pydbsync", "capture", "--config", str(back.config), "--to",
             str(Path(folder) / "nowhere"), "--state", folder, "--name", "rehearsal", "--until-end"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise StepFailed(f"capture of the way back cannot begin: {done.stderr.strip()[-1000:]}")
    return time.monotonic() - began


def _from_journal(journal: CutoverJournal, plan: str) -> dict[str, list[float]]:
    schema = quote_name(journal.schema)
    found: dict[str, list[float]] = {}
    for name, seconds in journal.connection.rows(
        f"SELECT s.name, TIMESTAMPDIFF(MICROSECOND, s.begun_at, s.ended_at) / 1e6 FROM {schema}.cutover_step s"
        f" JOIN {schema}.cutover_run r ON r.id = s.run_id WHERE r.plan = %s AND r.state = 'done' AND s.state = 'done'"
        " ORDER BY r.id DESC LIMIT 60",
        (plan,),
    ):
        found.setdefault(str(name), []).append(float(seconds))
    return found


class Sampler:
    """Looks at the workers of the direction twice a second, from a connection of its own."""

    def __init__(self, work: CutoverWork, samples: list[RehearsalSample]) -> None:
        self._settings = work.way.settings
        self._samples = samples
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Take one last look."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        target = self._settings.target
        server = Server(target.connect_keywords(), key=target.key, retry=self._settings.retry, stop=threading.Event())
        began = time.monotonic()
        try:
            while not self._over.wait(_SAMPLE_S):
                rows = server.rows(
                    "SELECT MAX(lag_s), SUM(rows_per_s), SUM(depth) FROM"
                    f" {quote_name(self._settings.state_schema)}.worker WHERE stream IN %s"
                    " AND written_at > CURRENT_TIMESTAMP(6) - INTERVAL 10 SECOND",
                    (tuple(queue.stream for queue in self._settings.queues) or ("",),),
                )
                lag, rate, depth = rows[0]
                self._samples.append(
                    RehearsalSample(
                        round(time.monotonic() - began, 2), float(lag or 0), float(rate or 0), float(depth or 0)
                    )
                )
        except PydbsyncError:
            return  # a plot that ends is no reason to end a rehearsal
        finally:
            server.close()
