"""`python -m lab up|down|status|mysql [NAME …]`: the lab from the command line."""

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


def show_mysql() -> int:
    """Whether there is a MySQL for the tests' second leg: exit code 3 where there is none."""
    found = lab.find_mysqld()
    if found is None:
        print("No MySQL here: tests run on MariaDB alone. PYDBSYNC_MYSQL can name a folder with usr/sbin/mysqld.")
        return 3
    print(f"MySQL {found.version}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status", "mysql"))
    parser.add_argument("names", nargs="*", help=f"servers to start; default: {' '.join(lab.STANDARD)}")
    arguments = parser.parse_args()
    try:
        if arguments.action == "up":
            for server in lab.up_together(arguments.names or lab.STANDARD):
                print(f"{server.name:10} {server.url}")
        elif arguments.action == "down":
            print("stopped:", ", ".join(lab.down()) or "nothing was running")
        elif arguments.action == "mysql":
            return show_mysql()
        else:
            show_status()
    except lab.LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
