"""`make demo`: a recorded Maxwell stream passes RabbitMQ and pydbsync into MariaDB, and the result is compared."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lab
from lab.rehearsal.load import Load
from lab.rehearsal.memory import MemoryWatch
from lab.rehearsal.record import Record
from lab.rehearsal.stage import Stage
from lab.rehearsal.tables import TABLES, make_source
from lab.rehearsal.tools import Failed, Tools, wait_until_captured
from tests.corpus import STREAM
from tests.processes import REPOSITORY, sync_config, write_config
from tests.servers import Endpoint, Vhost
from tests.state import compare

VHOST = "demo"
QUEUE = "demo"
EXCHANGE = "maxwell.demo"
STATE_SCHEMA = "pydbsync_demo"
SHOWN_DIFFERENCES = 10
LIVE_ROWS = 20_000
LIVE_LOAD = 50
"""Transactions a second."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--rows", type=int, default=LIVE_ROWS, help="rows of the live source [default: %(default)s]")
    arguments = parser.parse_args()
    try:
        return run(arguments.rows)
    except lab.LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(live_rows: int) -> int:
    folder = lab.lab_root() / "demo"
    folder.mkdir(parents=True, exist_ok=True)

    say("Starting a private MariaDB and RabbitMQ")
    lab.up_together(("target", "rabbitmq"))
    target, broker = Endpoint.of_lab(lab.up("target")), lab.up("rabbitmq")
    vhost = Vhost(broker, VHOST)

    expected = STREAM.state
    begin_anew(target, vhost, [*expected, STATE_SCHEMA])
    config = write_config(
        sync_config(
            target,
            vhost,
            queues={QUEUE: ["#"]},
            exchange=(EXCHANGE, "topic"),
            state_schema=STATE_SCHEMA,
            log_file_prefix=str(folder / "%s.log"),
        ),
        folder / "config.py",
    )

    messages = STREAM.messages
    say(f"Publishing {len(messages):,} recorded messages of Maxwell to RabbitMQ")
    vhost.declare(QUEUE, exchange=EXCHANGE)
    vhost.publish(messages, exchange=EXCHANGE)

    summary_file = folder / "summary.json"
    summary_file.unlink(missing_ok=True)
    command = ["mysql_sync.py", "--config", str(config), "--until-drained", "--summary-json", str(summary_file)]
    say(f"python {' '.join(command)}")
    started = time.monotonic()
    exit_code = run_to_its_end([sys.executable, *command])
    seconds = time.monotonic() - started
    if exit_code != 0:
        print(f"demo: mysql_sync.py ended with exit code {exit_code}; its logs are in {folder}.", file=sys.stderr)
        return 1

    say("Comparing every table with the recorded state of the source")
    with target.connect() as connection:
        differences = compare(connection, expected)
    tables = [f"{database}.{table}" for database, content in expected.items() for table in content or {}]
    unequal = {line.split(": ")[0] for line in differences}
    equal = [table for table in tables if table not in unequal]
    for line in differences[:SHOWN_DIFFERENCES]:
        print(f"  {line[:200]}")

    summary: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
    print()
    changes = f"{summary['applied']:,} row changes, {summary['schema_changes']:,} schema changes"
    print(f"  changes       {changes}, applied {summary['rows_per_s']:,.0f} rows/s")
    print(f"  time          {seconds:.1f} s from start to end of mysql_sync.py")
    print(f"  tables equal  {len(equal)} of {len(tables)}")
    print()
    if differences:
        print(f"The target is NOT equal to the source: {len(differences)} differences, logs in {folder}.")
        return 1
    print()
    if not run_live(live_rows):
        return 1
    show_next_steps(target, config, databases=list(expected))
    return 0


def run_live(wanted: int) -> bool:
    """A source under load: captured without Maxwell, copied, replayed and verified while it changes."""
    stage = Stage.of_lab()
    live = Tools(stage.forth(), record=Record(), memory=MemoryWatch())
    load = None
    try:
        stage.begin_anew()
        with stage.source.connect() as connection:
            rows = make_source(connection, wanted)
        say(f"Live: a source MariaDB with {rows:,} rows in {len(TABLES)} tables, changing all the time")
        live.direction.prepare()
        live.capture.start()
        wait_until_captured(live)
        load = Load(stage.source, rows=wanted, seed=1, per_second=LIVE_LOAD)
        load.start()
        live.run("copy")
        live.replay.start()
        live.run("verify")
        load.stop()
        load.check()
        print(f"\n  verified      equal while {load.transactions:,} transactions came in\n")
    except (Failed, lab.LabError) as error:
        print(f"demo: {error}; what the tools said is in {stage.folder}", file=sys.stderr)
        return False
    finally:
        if load is not None:
            load.stop()
        live.stop()
    return True


def run_to_its_end(command: list[str]) -> int:
    """Run on this terminal. Ctrl-C reaches the program as well, which gets the time to stop in order."""
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def begin_anew(target: Endpoint, vhost: Vhost, databases: list[str]) -> None:
    """Remove what an earlier demo left: its databases, its checkpoint, its queue."""
    with target.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for name in databases:
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
    vhost.broker.delete_vhost(vhost.name)
    vhost.broker.create_vhost(vhost.name)


def show_next_steps(target: Endpoint, config: Path, *, databases: list[str]) -> None:
    login = f"-h{target.host} -P{target.port} -u{target.user} -p{target.password}"
    print("Everything is equal. To look further:")
    print(f"  mariadb {login} {databases[0]}")
    print(f"  cat {config}")
    print("  make test       all promises, tested on real servers")
    print("  make lab-down   stop the servers")


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
