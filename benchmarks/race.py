"""All contestants on all workloads: interleaved rounds, each on a fresh target that is compared with the source."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import pymysql

from benchmarks import capture, child, limit, native
from benchmarks.engine import Engine
from benchmarks.generate import generate
from benchmarks.names import (
    CAPTURE,
    CAPTURE_BUNDLES,
    CAPTURE_RABBITMQ,
    DRAIN,
    DRAIN_QUORUM,
    ENGINE,
    ENGINE_BUNDLES,
    ENGINE_QUORUM,
    FOUR_QUEUES,
    LIMIT,
    MAIN,
    NATIVE,
    ORIGINAL,
    PUBLISH,
    STATE_NOT_WRITTEN,
    STATE_WRITTEN,
)
from benchmarks.native import PARALLEL, SINGLE, Mode
from benchmarks.publish import FramePublisher, declare, delete, depth, fill, read_bodies, read_bundles
from benchmarks.results import NO_TARGET, WITH_BINLOG, WITHOUT_BINLOG, Result
from benchmarks.rig import Prepared, Rig, read_state
from benchmarks.workload import DATABASE, Workload
from lab.mariadb import MariaDB
from lab.process import Process
from lab.rabbitmq import RabbitMQ

EVERYTHING = ("#",)
ORIGINAL_SHARE = 0.1
"""The original is given the first tenth of the changes: its rate does not depend on their number."""

NATIVE_MODES = {
    MAIN: (SINGLE, *PARALLEL),
    "hot": (SINGLE, Mode(4, "optimistic"), Mode(8, "optimistic"), Mode(4, "conservative"), Mode(8, "conservative")),
}
FEW_MODES = (SINGLE, Mode(4, "optimistic"), Mode(8, "conservative"))
BOTH_SETTINGS = (MAIN, "hot")

Say = Callable[[str], None]
FAILURES = (RuntimeError, TimeoutError, subprocess.SubprocessError, pymysql.Error)
"""What makes one contestant's run a failed one, rather than the whole benchmark."""


@dataclass(frozen=True)
class Entry:
    """One contestant in one setting: what to do, and the queue it needs filled before."""

    contestant: str
    setting: str
    run: Callable[[], Result]
    queue: str | None = None
    keys: tuple[tuple[str, str], ...] = ()
    """Queue and routing key where there are several queues."""
    in_bundles: bool = False
    """Whether the queue is filled with bundles."""


class Race:
    """One call of the benchmark."""

    def __init__(self, rig: Rig, *, seed: int, only: Sequence[str], is_quick: bool, say: Say) -> None:
        self._rig = rig
        self._seed = seed
        self._only = tuple(only)
        self._is_quick = is_quick
        self._say = say
        self._round = 0

    def run(self, workloads: Sequence[Workload], rounds: int) -> Iterator[Result]:
        """Results as they come."""
        prepared = {w.name: self._prepare(w) for w in workloads}
        small = {
            w.name: self._prepare(w.scaled(ORIGINAL_SHARE))
            for w in workloads
            if w.name == MAIN and self._wants(ORIGINAL)
        }
        for self._round in range(1, rounds + 1):
            for workload in workloads:
                yield from self._run_workload(prepared[workload.name], small.get(workload.name))

    def _prepare(self, workload: Workload) -> Prepared:
        self._say(f"prepare {workload.name}: {workload.changes:,} changes")
        return self._rig.prepare(generate(workload, seed=self._seed, cache=self._rig.cache))

    def _wants(self, contestant: str) -> bool:
        return not self._only or any(word in contestant for word in self._only)

    def _run_workload(self, prepared: Prepared, small: Prepared | None) -> Iterator[Result]:
        entries = [e for e in self._entries(prepared, small) if self._wants(e.contestant)]
        # Another order in each round, so that no contestant always runs behind the same one.
        Random(self._round).shuffle(entries)
        self._fill(entries, prepared)
        for entry in entries:
            try:
                result = entry.run()
            except FAILURES as error:
                self._say(f"{entry.contestant} failed: {error}")
                facts = prepared.generated.facts
                result = Result(
                    facts.name, entry.contestant, entry.setting, self._round, facts.changes, 0.0, outcome="failed"
                )
            self._say(describe(result))
            # pydbsync binds its queues anew: from now on they would take what the next contestants publish.
            delete(self._rig.broker.url, queues_of([entry]))
            yield result

    def _fill(self, entries: Sequence[Entry], prepared: Prepared) -> None:
        """Publish once, and once more in bundles; every contestant's queue gets its copy."""
        url, messages, count = self._rig.broker.url, prepared.generated.messages, prepared.generated.facts.changes
        binds: dict[str, Sequence[str]] = {e.queue: EVERYTHING for e in entries if e.queue and not e.in_bundles}
        expected = dict.fromkeys(binds, count)
        for entry in entries:
            for queue, key in entry.keys:
                binds[queue] = (key,)
        if binds:
            quorum = [queue for queue in binds if "quorum" in queue]
            fill(url, read_bodies(messages), binds, expected=expected, quorum=quorum)
        for queue in [e.queue for e in entries if e.queue and e.in_bundles]:
            bundles = list(read_bundles(messages))
            fill(url, bundles, {queue: EVERYTHING}, expected={queue: len(bundles)})

    # -- who takes part ----------------------------------------------------------------------------------------------

    def _entries(self, prepared: Prepared, small: Prepared | None) -> Iterator[Entry]:
        name = prepared.generated.workload.name
        settings = (WITH_BINLOG, WITHOUT_BINLOG) if name in BOTH_SETTINGS else (WITH_BINLOG,)
        for setting in settings:
            yield self._engine_entry(prepared, setting)
            if name in BOTH_SETTINGS:
                yield self._engine_entry(prepared, setting, contestant=ENGINE_QUORUM, settings={"queue_type": "quorum"})
                yield replace(self._engine_entry(prepared, setting, contestant=ENGINE_BUNDLES), in_bundles=True)
            yield Entry(LIMIT, setting, partial(self._limit, prepared, setting))
            for mode in self._modes(name):
                yield Entry(NATIVE + mode.title, setting, partial(self._native, prepared, setting, mode))
        if name == MAIN:
            for contestant, queue in ((DRAIN, "bench.drain"), (DRAIN_QUORUM, "bench.drain.quorum")):
                yield Entry(contestant, NO_TARGET, partial(self._drain, prepared, contestant, queue), queue)
            yield self._four_queues_entry(prepared)
            for contestant in (CAPTURE, CAPTURE_RABBITMQ, CAPTURE_BUNDLES):
                yield Entry(contestant, NO_TARGET, partial(self._capture, prepared, contestant))
            yield Entry(PUBLISH, NO_TARGET, partial(self._publish, prepared))
        if name == MAIN and self._only:
            for contestant, interval_s in ((STATE_WRITTEN, 1), (STATE_NOT_WRITTEN, 0)):
                settings_given = {"state_interval_s": interval_s}
                entry = self._engine_entry(prepared, WITH_BINLOG, contestant=contestant, settings=settings_given)
                # In bundles the broker has little to do: what it holds in memory or not is more than what is measured.
                yield replace(entry, in_bundles=True)
        if small:
            yield Entry(ORIGINAL, WITH_BINLOG, partial(self._original, small))

    def _modes(self, workload: str) -> tuple[Mode, ...]:
        return FEW_MODES[:2] if self._is_quick else NATIVE_MODES.get(workload, FEW_MODES)

    def _engine_entry(
        self,
        prepared: Prepared,
        setting: str,
        *,
        contestant: str = ENGINE,
        settings: Mapping[str, object] | None = None,
    ) -> Entry:
        queue = f"bench.{contestant}.{setting}".replace(", ", ".").replace(" ", "-")
        run = partial(self._engine, prepared, contestant, setting, {queue: EVERYTHING}, settings or {})
        return Entry(contestant, setting, run, queue)

    def _four_queues_entry(self, prepared: Prepared) -> Entry:
        keys = {f"bench.pydbsync.{t}": f"{DATABASE}.{t}" for t in prepared.generated.facts.tables}
        binds = {queue: (key,) for queue, key in keys.items()}
        run = partial(self._engine, prepared, FOUR_QUEUES, WITH_BINLOG, binds, {})
        return Entry(FOUR_QUEUES, WITH_BINLOG, run, keys=tuple(keys.items()))

    # -- one run each ------------------------------------------------------------------------------------------------

    def _engine(
        self,
        prepared: Prepared,
        contestant: str,
        setting: str,
        queues: Mapping[str, Sequence[str]],
        settings: Mapping[str, object],
    ) -> Result:
        with self._rig.target(prepared.generated, binlog=setting == WITH_BINLOG) as target:
            engine = Engine(self._rig.broker, target, queues, self._rig.root / "engine", settings)
            with ServerCpu(self._rig.broker, target) as cpu:
                outcome = engine.run_until_drained()
            return self._result(prepared, contestant, setting, outcome, cpu, target)

    def _native(self, prepared: Prepared, setting: str, mode: Mode) -> Result:
        with (
            self._rig.source(prepared) as source,
            self._rig.target(prepared.generated, binlog=setting == WITH_BINLOG) as target,
        ):
            with ServerCpu(self._rig.broker, target) as cpu:
                outcome = alone(native.apply_relay_log(source, target, prepared, mode))
            return self._result(prepared, NATIVE + mode.title, setting, outcome, cpu, target)

    def _limit(self, prepared: Prepared, setting: str) -> Result:
        """Of the batch size that is quickest here; one that leaves a wrong target counts before all others."""
        tried = []
        for rows in limit.BATCH_ROWS[1:2] if self._is_quick else limit.BATCH_ROWS:
            tried.append(self._limit_of(prepared, setting, rows))
            self._say(f"{LIMIT}, {rows:,} changes a batch: {describe(tried[-1])}")
        return next((each for each in tried if each.is_bad), min(tried, key=lambda each: each.seconds))

    def _limit_of(self, prepared: Prepared, setting: str, rows: int) -> Result:
        sql = limit.batch_file(prepared.generated, rows, seed=self._seed)
        with self._rig.target(prepared.generated, binlog=setting == WITH_BINLOG) as target:
            with ServerCpu(self._rig.broker, target) as cpu:
                outcome = alone(limit.feed(target, sql))
            return self._result(prepared, LIMIT, setting, outcome, cpu, target)

    def _drain(self, prepared: Prepared, contestant: str, queue: str) -> Result:
        count = prepared.generated.facts.changes
        command = [sys.executable, "-m", "benchmarks.drain", "--amqp", self._rig.broker.url, "--queue", queue]
        with ServerCpu(self._rig.broker, None) as cpu:
            outcome = child.run([*command, "--count", str(count)])
        return self._result(prepared, contestant, NO_TARGET, outcome, cpu, None)

    def _capture(self, prepared: Prepared, contestant: str) -> Result:
        folder = self._rig.root / "capture"
        broker = None if contestant == CAPTURE else self._rig.broker
        queue = "bench.capture"
        if broker:
            declare(broker.url, {queue: EVERYTHING})
        with self._rig.source(prepared) as source, ServerCpu(self._rig.broker, source) as cpu:
            bundle = contestant == CAPTURE_BUNDLES
            outcome = capture.run_capture(source, prepared, folder, to=broker, bundle=bundle)
        result = self._result(prepared, contestant, NO_TARGET, outcome, cpu, None)
        if broker:
            if not result.is_bad:
                capture.fetch(broker, queue, depth(broker.url, queue), folder)
            delete(broker.url, [queue])
        if result.is_bad:
            return result
        is_same = capture.is_same(capture.messages_of(folder), prepared.generated.messages)
        return replace(result, outcome="equal" if is_same else "WRONG")

    def _publish(self, prepared: Prepared) -> Result:
        queue = "bench.publish"
        declare(self._rig.broker.url, {queue: EVERYTHING})
        with ServerCpu(self._rig.broker, None) as cpu:
            start = time.perf_counter()
            with FramePublisher(self._rig.broker.url, confirm=True) as publisher:
                publisher.publish(read_bodies(prepared.generated.messages))
            outcome = alone(time.perf_counter() - start)
        delete(self._rig.broker.url, [queue])
        return self._result(prepared, PUBLISH, NO_TARGET, outcome, cpu, None)

    def _original(self, prepared: Prepared) -> Result:
        queue = "bench.original"
        count = prepared.generated.facts.changes
        bodies = read_bodies(prepared.generated.messages)
        fill(self._rig.broker.url, bodies, {queue: EVERYTHING}, expected={queue: count})
        with self._rig.target(prepared.generated, binlog=True) as target:
            command = [sys.executable, "-m", "benchmarks.original", "--amqp", self._rig.broker.url, "--queue", queue]
            with ServerCpu(self._rig.broker, target) as cpu:
                outcome = child.run([*command, "--mysql", target.url, "--count", str(count)])
            delete(self._rig.broker.url, [queue])
            return self._result(prepared, ORIGINAL, WITH_BINLOG, outcome, cpu, target)

    def _result(
        self,
        prepared: Prepared,
        contestant: str,
        setting: str,
        outcome: child.Outcome,
        cpu: ServerCpu,
        target: MariaDB | None,
    ) -> Result:
        """The figures of a run; every contestant's result names its span `seconds`."""
        facts = prepared.generated.facts
        verdict = "-"
        if outcome.exit_code:
            self._say(f"{contestant} ended with exit code {outcome.exit_code}:\n{outcome.output[-3000:]}")
            verdict = "failed"
        elif target is not None:
            verdict = "equal" if read_state(target, facts.tables) == prepared.state else "WRONG"
        return Result(
            workload=facts.name,
            contestant=contestant,
            setting=setting,
            round=self._round,
            changes=facts.changes,
            seconds=0.0 if outcome.exit_code else outcome.seconds,
            process_s=outcome.wall_s,
            cpu_s=outcome.cpu_s,
            target_cpu_s=cpu.target_s,
            broker_cpu_s=cpu.broker_s,
            peak_rss_mb=outcome.peak_rss_bytes / 2**20,
            outcome=verdict,
        )


class ServerCpu:
    """CPU seconds that the servers use while the block runs."""

    def __init__(self, broker: RabbitMQ, target: MariaDB | None) -> None:
        self._broker = broker.process
        self._target = target.process if target else None
        self.broker_s = 0.0
        self.target_s = 0.0

    def __enter__(self) -> ServerCpu:
        self.broker_s, self.target_s = -self._used(self._broker), -self._used(self._target)
        return self

    def __exit__(self, *_: object) -> None:
        self.broker_s += self._used(self._broker)
        self.target_s += self._used(self._target)

    @staticmethod
    def _used(process: Process | None) -> float:
        return child.cpu_seconds(process.pid) if process else 0.0


def alone(seconds: float) -> child.Outcome:
    """The outcome of something that is no process of ours."""
    return child.Outcome(0, seconds, 0.0, 0, {"seconds": seconds}, "")


def queues_of(entries: Sequence[Entry]) -> list[str]:
    return [e.queue for e in entries if e.queue] + [queue for e in entries for queue, _ in e.keys]


def describe(result: Result) -> str:
    memory = f", {result.peak_rss_mb:.0f} MB" if result.peak_rss_mb else ""
    return (
        f"{time.strftime('%H:%M:%S')}  {result.workload:14}{result.contestant:32}{result.setting:11}"
        f"{result.rate:10,.0f} rows/s in {result.seconds:6.2f} s{memory}  {result.outcome}"
    )
