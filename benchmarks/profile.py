"""Where the time of one run goes: `python -m benchmarks.profile [WORKLOAD]` (needs py-spy).

Samples every thread of every pydbsync process, leaves out those that wait, and adds the others up by stage. The CPU
time of broker and target stands beside them. The flame graph is kept as .lab/bench/profile.svg.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.child import Outcome, run
from benchmarks.engine import Engine
from benchmarks.generate import generate
from benchmarks.names import MAIN
from benchmarks.publish import delete, fill, read_bodies
from benchmarks.race import ServerCpu
from benchmarks.rig import Rig
from benchmarks.workload import WORKLOADS
from lab.state import lab_root

QUEUE = "bench.profile"
SAMPLES_A_SECOND = 250
OWN_STAGES = ("source", "decode", "route", "plan", "apply")
LIBRARIES = {"pika": "source (pika)", "pymysql": "apply (PyMySQL)"}
WAITS = ("poll", "select", "wait", "accept", "readinto", "_wait_for_answer", "recv_bytes")
"""Functions that ask the kernel to wait; on a busy machine py-spy takes some of their threads for running ones."""
START_UP, REST = "imports and start", "worker and supervisor"
FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("workload", nargs="?", choices=sorted(WORKLOADS), default=MAIN)
    parser.add_argument("--top", type=int, default=25, help="functions to list")
    options = parser.parse_args()
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if not spy:
        print("py-spy is not installed: pip install '.[bench]' brings it")
        return 2
    rig = Rig(lab_root() / "bench")
    rig.broker.start()
    try:
        stacks = profile(rig, spy, options.workload)
    finally:
        rig.broker.stop()
    show(stacks, top=options.top)
    return 0


def profile(rig: Rig, spy: str, name: str) -> Mapping[str, int]:
    """Samples by stack, innermost frame last."""
    generated = generate(WORKLOADS[name], seed=1, cache=rig.cache)
    rig.prepare(generated)
    raw = rig.root / "profile.raw"
    for way, output in (("raw", raw), ("flamegraph", rig.root / "profile.svg")):
        record = [spy, "record", "--subprocesses", "--rate", str(SAMPLES_A_SECOND), "--format", way]
        fill(
            rig.broker.url, read_bodies(generated.messages), {QUEUE: ("#",)}, expected={QUEUE: generated.facts.changes}
        )
        with rig.target(generated, binlog=True) as target:
            engine = Engine(rig.broker, target, {QUEUE: ("#",)}, rig.root / "engine", {})
            command = [*record, "--output", str(output), "--", *engine.command(), "--until-drained"]
            with ServerCpu(rig.broker, target) as cpu:
                outcome = run(command, result_option="--summary-json", folder=engine.folder)
        if outcome.exit_code:
            raise RuntimeError(f"pydbsync under py-spy ended with {outcome.exit_code}:\n{outcome.output[-2000:]}")
        if way == "raw":
            describe(outcome, cpu, generated.facts.changes)
    delete(rig.broker.url, [QUEUE])
    print(f"flame graph: {rig.root / 'profile.svg'}")
    stacks: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[stack] += int(count)
    return stacks


def describe(outcome: Outcome, cpu: ServerCpu, changes: int) -> None:
    print(f"{changes:,} changes in {outcome.seconds:.2f} s under py-spy; CPU microseconds a change:")
    for who, seconds in (("target", cpu.target_s), ("broker", cpu.broker_s)):
        print(f"  {who:28}{seconds / changes * 1e6:6.1f}")


def show(stacks: Mapping[str, int], *, top: int) -> None:
    total = sum(stacks.values())
    by_stage: Counter[str] = Counter()
    by_function: Counter[str] = Counter()
    for stack, count in stacks.items():
        frames = stack.split(";")
        if is_wait(frames[-1]) or len(frames) == 1:
            total -= count
            continue
        by_stage[stage_of(frames)] += count
        by_function[re.sub(r":\d+\)$", ")", frames[-1])] += count
    print(f"\nshare of {total:,} samples of pydbsync's own processes, by stage")
    for name, count in by_stage.most_common():
        print(f"  {name:28}{count / total:6.1%}")
    print("\nby function, without what it calls")
    for name, count in by_function.most_common(top):
        print(f"  {count / total:6.1%}  {name}")


def is_wait(frame: str) -> bool:
    match = FRAME.match(frame)
    return match is not None and match["function"].rpartition(".")[2] in WAITS


def stage_of(frames: Iterable[str]) -> str:
    """The stage of the innermost frame that belongs to one; a wait in a library counts for its stage."""
    outer = list(frames)
    if any("_find_and_load" in frame for frame in outer):
        return START_UP
    for frame in reversed(outer):
        match = FRAME.match(frame)
        parts = Path(match["file"]).parts if match else ()
        if "pydbsync" in parts:
            folder = parts[len(parts) - 1 - parts[::-1].index("pydbsync") + 1]
            return folder if folder in OWN_STAGES else REST
        for library, stage in LIBRARIES.items():
            if library in parts:
                return stage
    return REST


if __name__ == "__main__":
    sys.exit(main())
