"""`python -m tests.torture`, with `--faults N`, `--redis`, `--opensearch`, `--verify N`, `--repair N`, `--tools N`,
`--switches N`, `--two-way`, `--bounds` or `--properties`.

Prints what is shown; exit code 1 if it failed."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import lab
from tests.servers import Endpoint
from tests.torture.run import torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="faults whose names contain this text; points of --switches")
    parser.add_argument(
        "--folder", type=Path, help="where logs go; kept. Default: a temporary one, kept when it failed"
    )
    parser.add_argument("--bounds", action="store_true", help="a huge transaction and a huge row in bounded memory")
    parser.add_argument(
        "--verify", type=int, nargs="?", const=2000, help="random tables, with damage that verify must find exactly"
    )
    parser.add_argument("--repair", type=int, nargs="?", const=2000, help="the same: equal after it, undone, and again")
    parser.add_argument("--properties", action="store_true", help="what holds for all values, by 2,000 random ones")
    parser.add_argument(
        "--tools", type=int, nargs="?", const=20, help="rounds of capture, copy, verify and repair under faults"
    )
    parser.add_argument(
        "--switches", type=int, nargs="?", const=1, help="rounds of cutover and rollback, killed at each step"
    )
    parser.add_argument("--source", help="of these: mysql://user:password@host:port")
    parser.add_argument("--target", help="the same; all databases of both are dropped")
    parser.add_argument("--redis", action="store_true", help="the sink of Redis instead of a MySQL")
    parser.add_argument(
        "--opensearch", action="store_true", help="that of OpenSearch, PYDBSYNC_OPENSEARCH=http://host:port"
    )
    parser.add_argument("--two-way", action="store_true", help="two servers that replicate each other")
    arguments = parser.parse_args()
    if arguments.bounds:
        from tests.torture.bounds import main as bounds

        return bounds()
    if arguments.properties:
        return properties(arguments.seed)
    if arguments.verify or arguments.repair or arguments.tools or arguments.switches:
        print(f"seed {arguments.seed}", flush=True)
        source, target = end("source", arguments.source), end("target", arguments.target)
        if arguments.verify:
            return verify(source, target, arguments.verify, arguments.seed)
        if arguments.tools:
            return tools(source, target, arguments.tools, arguments.seed)
        if arguments.switches:
            from tests.torture.switches import torture as torture_switches

            return torture_switches(
                source, target, rounds=arguments.switches, seed=arguments.seed, only=arguments.only, say=say
            )
        return repair(source, target, arguments.repair, arguments.seed)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="pydbsync-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {arguments.seed}; logs in {folder}", flush=True)
    if arguments.two_way:
        return two_way(folder, arguments.faults, arguments.seed, arguments.source, arguments.target)
    if arguments.redis:
        from tests.torture.redis import torture as torture_redis

        shown = torture_redis(folder, faults=arguments.faults, seed=arguments.seed, say=say)
        print(shown)
        return 0 if shown.is_equal else 1
    if arguments.opensearch:
        from tests.torture.search import torture as torture_search

        found = torture_search(folder, faults=arguments.faults, seed=arguments.seed, say=say)
        print(found)
        return 0 if found.is_equal else 1
    result = torture(folder, faults=arguments.faults, seed=arguments.seed, only=arguments.only, say=say)
    print(result)
    return 0 if result.is_equal else 1


def end(name: Literal["source", "target"], url: str | None) -> Endpoint:
    """The server at this URL, or of the environment's PYDBSYNC_TEST_MYSQL_…, or the lab's; without databases."""
    url = url or os.environ.get(f"PYDBSYNC_TEST_MYSQL_{name.upper()}")
    found = Endpoint.of_url(url) if url else Endpoint.of_lab(lab.up(name))
    if "MariaDB" in str(found.query("SELECT @@version")):
        found = replace(found, brand="mariadb")
    found.drop_databases()
    return found


def properties(seed: int) -> int:
    """The tests that `make test` runs with the same examples each time, with many and others."""
    print(f"seed {seed}", flush=True)
    options = ["--hypothesis-profile=long", f"--hypothesis-seed={seed}"]
    files = ["tests/unit", "tests/integration/test_random_tables.py", "tests/integration/test_copy_resume.py"]
    environment = {**os.environ, "PYDBSYNC_EXAMPLES": "300", "PYDBSYNC_SEED": str(seed)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, *files], env=environment, check=False
    ).returncode


def verify(source: Endpoint, target: Endpoint, rounds: int, seed: int) -> int:
    from tests.torture.comparisons import Fuzz

    wrong = Fuzz(source, target, seed=seed).run(rounds, say=say)
    print(f"{len(wrong)} WRONG" if wrong else f"{rounds} tables: every row that differs was found, and no other")
    return 1 if wrong else 0


def repair(source: Endpoint, target: Endpoint, rounds: int, seed: int) -> int:
    from tests.torture.repairs import Fuzz

    with tempfile.TemporaryDirectory(prefix="pydbsync-repairs-") as folder:
        fuzz = Fuzz(source, target, Path(folder), seed=seed)
        wrong = fuzz.run(rounds, say=say)
    told = f"{fuzz.tables} tables, {fuzz.changes} changes repaired, put back and repaired again: equal"
    print(f"{len(wrong)} WRONG" if wrong else told)
    return 1 if wrong else 0


def tools(source: Endpoint, target: Endpoint, rounds: int, seed: int) -> int:
    from tests.torture.tools import ToolFailed
    from tests.torture.tools import tools as torture_of_tools

    folder = Path(tempfile.mkdtemp(prefix="pydbsync-tools-"))
    failed = 0
    with torture_of_tools(source, target, folder, seed=seed, say=say) as found:
        for number in range(1, rounds + 1):
            try:
                found.round(faults=4)
            except ToolFailed as exc:
                failed += 1
                say(f"round {number}, files in {folder}: {exc}")
            say(f"{number} of {rounds} rounds, {sum(found.faults.values())} faults, {failed} failed")
        say(", ".join(f"{count} {name}" for name, count in sorted(found.faults.items())))
    return 1 if failed else 0


def two_way(folder: Path, faults: int, seed: int, source: str | None, target: str | None) -> int:
    from tests.servers import Vhost
    from tests.torture.two_way import torture as torture_both_ways

    broker = lab.up("rabbitmq")
    name = "torture-two-way"
    broker.delete_vhost(name)
    broker.create_vhost(name)
    shown = torture_both_ways(
        end("source", source), end("target", target), Vhost(broker, name), folder, faults=faults, seed=seed, say=say
    )
    print(shown)
    return 0 if shown.is_equal else 1


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
