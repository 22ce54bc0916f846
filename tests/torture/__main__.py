"""`python -m tests.torture`, with `--faults N`, `--verify N` or `--bounds`: prints what is shown; exit code 1 if it
failed."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.torture.run import torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="faults whose names contain this text")
    parser.add_argument(
        "--folder", type=Path, help="where logs go; kept. Default: a temporary one, kept when it failed"
    )
    parser.add_argument("--bounds", action="store_true", help="a huge transaction and a huge row in bounded memory")
    parser.add_argument(
        "--verify", type=int, nargs="?", const=2000, help="random tables, with damage that verify must find exactly"
    )
    arguments = parser.parse_args()
    if arguments.bounds:
        from tests.torture.bounds import main as bounds

        return bounds()
    if arguments.verify:
        return verify(arguments.verify, arguments.seed)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="pydbsync-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {arguments.seed}; logs in {folder}", flush=True)
    result = torture(folder, faults=arguments.faults, seed=arguments.seed, only=arguments.only, say=say)
    print(result)
    return 0 if result.is_equal else 1


def verify(rounds: int, seed: int) -> int:
    """On the lab's MariaDB servers, or the MySQL servers that the environment names."""
    from tests.torture.comparisons import Fuzz, ends

    print(f"seed {seed}", flush=True)
    wrong = Fuzz(*ends(), seed=seed).run(rounds, say=say)
    print("\n".join(wrong) or f"{rounds} tables: every row that differs was found, and no other")
    return 1 if wrong else 0


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
