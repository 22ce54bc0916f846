"""`python -m tests.torture.repairs --rounds N --seed S`: random tables and damage, repaired and put back."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import lab
from tests.repair_fuzz import Ends, fuzz
from tests.servers import Endpoint


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.repairs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--source", help="a MySQL, mysql://user:password@host:port; default: the lab's MariaDB")
    parser.add_argument("--target", help="the same for the target; all databases of both are dropped")
    arguments = parser.parse_args()
    source = Endpoint.of_url(arguments.source) if arguments.source else Endpoint.of_lab(lab.up("source"))
    target = Endpoint.of_url(arguments.target) if arguments.target else Endpoint.of_lab(lab.up("target"))
    for end in (source, target):
        end.drop_databases()
    began_at = time.monotonic()
    print(f"seed {arguments.seed}", flush=True)

    def say(number: int) -> None:
        if number % 10 == 0:
            print(f"{number:6} rounds, {time.monotonic() - began_at:.0f} s", flush=True)

    with tempfile.TemporaryDirectory(prefix="pydbsync-repairs-") as folder, Ends(source, target, Path(folder)) as ends:
        fuzz(ends, rounds=arguments.rounds, seed=arguments.seed, on_round=say)
        print(f"{arguments.rounds} rounds, {ends.changes} changes repaired, put back and repaired again: equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
