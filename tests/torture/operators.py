"""What operators do under load: tables altered by hand, and what is parked by it retried, edited and skipped.

Each of these makes changes wait, has a worker die in the middle now and then, takes back what was done to the table,
and retries until nothing is parked any more.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pymysql

from tests.processes import REPOSITORY, wait_for
from tests.torture.rig import Rig, pick, send
from tests.torture.workload import QUEUES

RETRY_S = 600
MOST_EDITED = 6
PAUSE_SEEN_S = 3.0
"""Workers look once a second what is paused; one whose statement the target does not answer looks later."""
WAITS = (1146, 1205, 1213)
"""What a statement is told that has to wait for the workers: for their transactions, or until they have the table."""


def refuse_some_rows(rig: Rig, chance: random.Random) -> None:
    """A check at the target that every third row breaks; some messages are edited before they are retried."""
    table, column = chance.choice((("shop.orders", "FLOOR(sum)"), ("shop.pairs", "id"), ("parts.changing", "a")))
    with by_hand(rig, f"ALTER TABLE {table} ADD CONSTRAINT by_hand CHECK ({column} % 3 <> 0)",
                 f"ALTER TABLE {table} DROP CONSTRAINT by_hand"):  # fmt: skip
        let_it_work(rig, chance)
        edit_some(rig, chance)
    mend(rig)


def rename_a_column(rig: Rig, chance: random.Random) -> None:
    """Rows do not fit the table any more; then it has its column again."""
    with by_hand(rig, "ALTER TABLE shop.stock CHANGE n renamed INT NOT NULL",
                 "ALTER TABLE shop.stock CHANGE renamed n INT NOT NULL"):  # fmt: skip
        let_it_work(rig, chance)
    mend(rig)


def add_an_index(rig: Rig, chance: random.Random) -> None:
    """What harms no row: nothing may be parked by it for good."""
    with by_hand(rig, "ALTER TABLE parts.changing ADD INDEX by_hand (a)",
                 "ALTER TABLE parts.changing DROP INDEX by_hand"):  # fmt: skip
        let_it_work(rig, chance)
    mend(rig)


def skip_what_cannot_be_read(rig: Rig, chance: random.Random) -> None:
    """A message that is none of Maxwell's is parked, and given up."""
    message = {
        "type": "flood",
        "database": chance.choice(("shop", "logs")),
        "table": "x",
        "ts": chance.randint(1, 9**9),
    }
    rig.vhost.publish([json.dumps(message).encode()])
    wait_for(lambda: any(each["kind"] == "unreadable" for each in listed(rig)), what="the message", timeout_s=RETRY_S)
    for each in listed(rig):
        if each["kind"] == "unreadable":
            parked(rig, "skip", str(each["id"]), "--reason", "it is no message")


def pause_a_queue(rig: Rig, chance: random.Random) -> None:
    """Nothing of it is applied while it is paused, a killed worker included; then it goes on where it was."""
    stream = chance.choice(sorted(QUEUES))
    command(rig, "pause", stream, "--reason", "torture")
    try:
        wait_for(lambda: has_stopped(rig, stream), what=f"{stream} paused", timeout_s=RETRY_S)
        commits = commits_of(rig, stream)
        let_it_work(rig, chance)
        assert commits_of(rig, stream) == commits, f"{stream} went on while it was paused"
    finally:
        command(rig, "resume", stream)


def has_stopped(rig: Rig, stream: str) -> bool:
    """Whether nothing was committed for longer than a worker takes to see that it is paused."""
    before = commits_of(rig, stream)
    time.sleep(PAUSE_SEEN_S)
    return commits_of(rig, stream) == before


def commits_of(rig: Rig, stream: str) -> int:
    """How many transactions of the stream the target has committed."""
    with rig.target.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT commits FROM pydbsync.checkpoint WHERE stream = %s", (stream,))
        found = cursor.fetchone()
    return int(found[0]) if found else 0


def pause_schema_changes(rig: Rig, chance: random.Random) -> None:
    """What changes a table's schema waits, with its rows, until it is resumed."""
    table = chance.choice(("parts.changing", "shop.stock"))
    command(rig, "pause", "--ddl", table)
    try:
        let_it_work(rig, chance)
    finally:
        command(rig, "resume", "--ddl", table)
    mend(rig)


OPERATORS = {
    "operator: pause a queue": (pause_a_queue, 3),
    "operator: pause schema changes": (pause_schema_changes, 2),
    "operator: refuse some rows": (refuse_some_rows, 4),
    "operator: rename a column": (rename_a_column, 3),
    "operator: add an index": (add_an_index, 2),
    "operator: skip what cannot be read": (skip_what_cannot_be_read, 1),
}


@contextlib.contextmanager
def by_hand(rig: Rig, before: str, after: str) -> Any:
    """Between these two statements at the target. Rows that are there are not looked at."""
    run(rig, before)
    try:
        yield
    finally:
        run(rig, after)


def run(rig: Rig, sql: str) -> None:
    """One statement at the target, again where a worker's transaction is in the way."""

    def has_run() -> bool:
        try:
            with rig.target.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET check_constraint_checks = 0, lock_wait_timeout = 5")
                cursor.execute(sql)
        except pymysql.Error as exc:
            if exc.args[0] not in WAITS:
                raise
            return False
        return True

    wait_for(has_run, what=sql, timeout_s=RETRY_S)


def let_it_work(rig: Rig, chance: random.Random) -> None:
    """A moment of load, in which a worker may die."""
    time.sleep(chance.choice((0.2, 0.7, 1.5)))
    if chance.random() < 0.4:
        send(pick(chance, rig.workers()), signal.SIGKILL)
        time.sleep(chance.choice((0.1, 1.0)))
    rig.ensure_supervisors()


def edit_some(rig: Rig, chance: random.Random) -> None:
    """The same message with other spaces: a retry uses the operator's text."""
    inserts = [each for each in listed(rig) if each["kind"] == "insert"]
    for each in chance.sample(inserts, k=min(len(inserts), MOST_EDITED)):
        message = json.loads(parked(rig, "show", str(each["id"]), "--json").stdout)["message"]
        path = rig.folder / "edited.json"
        path.write_text(json.dumps(json.loads(message), ensure_ascii=False, indent=1))
        parked(rig, "edit", str(each["id"]), "--message-file", str(path))


def mend(rig: Rig) -> None:
    """Retry until nothing is parked: what is parked behind it meanwhile waits for the next retry."""

    def is_mended() -> bool:
        rig.ensure_supervisors()
        parked(rig, "retry")
        return not listed(rig)

    wait_for(is_mended, what="an empty list of parked changes", timeout_s=RETRY_S)


def listed(rig: Rig) -> list[dict[str, Any]]:
    """What is parked now."""
    return [json.loads(line) for line in parked(rig, "list", "--json").stdout.split("\n") if line]


def parked(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pydbsync parked …` as an operator calls it."""
    return command(rig, "parked", *arguments)


def command(rig: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pydbsync …` as an operator calls it."""
    words = [sys.executable, "-m", "pydbsync", *arguments, "--config", str(rig.operator_config)]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=RETRY_S, check=False)
