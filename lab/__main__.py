"""`python -m lab up|down|status [NAME …]`: the lab from the command line."""

from __future__ import annotations

import argparse
import sys

import lab


def show_status() -> None:
    known = {server.name: server for server in lab.servers()}
    for name in sorted({*known, *lab.STANDARD}):
        server = known.get(name)
        if server is None:
            print(f"{name:10} never started")
        elif server.is_up and server.process:
            print(f"{name:10} {server.url}  (pid {server.process.pid}, log {server.log})")
        else:
            print(f"{name:10} down  (log {server.log})")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("names", nargs="*", help=f"servers to start; default: {' '.join(lab.STANDARD)}")
    arguments = parser.parse_args()
    try:
        if arguments.action == "up":
            for server in lab.up_together(arguments.names or lab.STANDARD):
                print(f"{server.name:10} {server.url}")
        elif arguments.action == "down":
            print("stopped:", ", ".join(lab.down()) or "nothing was running")
        else:
            show_status()
    except lab.LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
