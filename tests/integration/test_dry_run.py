"""`--dry-run` prints SQL that a server takes a line at a time, and that ends as the batches of a real run end.

The batches of test_corpus and these statements, one by one, give the same recorded state: so they are equal.
"""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pymysql
import pytest

from pydbsync.process.dry_run import dry_run
from tests.conftest import LEG, RunSync
from tests.corpus import STREAM, VERSIONS, Brand, Case, cases
from tests.integration.engine import settings_for
from tests.integration.test_corpus import NO_EQUIVALENT
from tests.matrices import LONG, thinned
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import sync_config
from tests.servers import Endpoint, Vhost
from tests.state import differences, read_state

OWN: Brand = "mysql" if LEG == "mysql" else "mariadb"
OTHER: Brand = "mariadb" if OWN == "mysql" else "mysql"
NOTE = "-- not run: "


def printed(target: Endpoint, file: Path, **options: Any) -> list[str]:
    """The lines of a dry run over a file of messages."""
    out = io.StringIO()
    assert dry_run(settings_for(target, **options), from_file=str(file), out=out) == 0
    return out.getvalue().removesuffix("\n").split("\n")  # U+2028 and its like stand in text


def of_case(target: Endpoint, case: Case, folder: Path) -> list[str]:
    file = folder / "messages.ndjson"
    file.write_bytes(b"".join(message + b"\n" for message in case.messages))
    return printed(target, file, source_server=VERSIONS[case.brand].replace("-", " "))


def run_lines(connection: pymysql.Connection[Any], lines: list[str]) -> None:
    """Each line is one statement, as `mysql` without a delimiter of its own reads it."""
    with connection.cursor() as cursor:
        for line in lines:
            if not line.startswith("--"):
                assert line.endswith(";"), line
                cursor.execute(line[:-1])


@pytest.fixture(scope="module")
def emptied(target: Endpoint) -> Endpoint:
    if target.server:
        target.server.start()
    target.drop_databases()
    return target


def is_quick(case: Case) -> bool:
    """What replay makes of the cases of both brands is in test_corpus.py: here is how it is printed."""
    return case.brand == OWN or case.name in NO_EQUIVALENT[OWN]


@pytest.mark.parametrize("case", thinned([*cases(OWN), *cases(OTHER)], is_quick), ids=str)
def test_the_printed_statements_give_the_recorded_state(emptied: Endpoint, case: Case, tmp_path: Path) -> None:
    crossed = case.brand != OWN
    exempt = NO_EQUIVALENT[OWN].get(case.name) if crossed else None
    with emptied.connect() as connection:
        run_lines(connection, ["SET foreign_key_checks = 0;"])
        run_lines(connection, [f"DROP DATABASE IF EXISTS `{database}`;" for database in case.state])
    lines = of_case(emptied, case, tmp_path)
    not_run = [line for line in lines if line.startswith(NOTE)]
    assert len(not_run) == (len(exempt.parked) if exempt else 0), not_run
    with emptied.connect(autocommit=False) as connection:
        run_lines(connection, lines)
        connection.commit()
        found = list(differences(case.state, read_state(connection, case.state), data_only=crossed))
    assert found == (list(exempt.differences) if exempt else [])


@LONG  # each recorded case is in the tests of this file, the stream in test_stream.py
@pytest.mark.mariadb
def test_the_long_stream_ends_as_recorded(emptied: Endpoint, tmp_path: Path) -> None:
    lines = of_case(emptied, STREAM, tmp_path)
    with emptied.connect(autocommit=False) as connection:
        run_lines(connection, lines)
        connection.commit()
        assert list(differences(STREAM.state, read_state(connection, STREAM.state), data_only=False)) == []


@pytest.fixture
def forms(tmp_path: Path) -> list[str]:
    """What a run without any server prints for two small tables, one without a key."""
    log = Binlog()
    keyed = "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(9))"
    keyless = "CREATE TABLE d.n (id INT, v VARCHAR(9))"
    messages = [
        *log.ddl("CREATE DATABASE d", "d"),
        *log.ddl(keyed, "d.t", columns=("id", "v"), key=("id",)),
        *log.ddl(keyless, "d.n", columns=("id", "v")),
        *log.transaction(insert("d.t", {"id": 1, "v": 'a"b\n'}), insert("d.n", {"id": 1, "v": None})),
        *log.transaction(update("d.t", {"id": 1, "v": "c"}, {"v": 'a"b\n'})),
        *log.transaction(update("d.t", {"id": 2, "v": "c"}, {"id": 1})),
        *log.transaction(update("d.n", {"id": 2, "v": None}, {"id": 1})),
        *log.transaction(delete("d.t", {"id": 2, "v": "c"}), delete("d.n", {"id": 2, "v": None})),
    ]
    file = tmp_path / "small.ndjson"
    file.write_bytes(b"\n".join(messages))
    nowhere = Endpoint("mariadb", "127.0.0.1", 1, "nobody", "")
    return printed(nowhere, file, source_server="mariadb 10.11")


def test_without_any_server_the_statements_have_the_original_s_forms(forms: list[str]) -> None:
    rows = [line for line in forms if not re.match(r"SET|CREATE|USE", line)]
    assert rows == [
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"a\\"b\\n");',
        "REPLACE INTO `d`.`n` (`id`, `v`) VALUES (1,null);",
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"c");',
        "DELETE IGNORE FROM `d`.`t` WHERE `id` = 1 LIMIT 1;",
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (2,"c");',
        "DELETE IGNORE FROM `d`.`n` WHERE `id` = 1 AND `v` IS NULL LIMIT 1;",
        "REPLACE INTO `d`.`n` (`id`, `v`) VALUES (2,null);",
        "DELETE IGNORE FROM `d`.`t` WHERE `id` = 2 LIMIT 1;",
        "DELETE IGNORE FROM `d`.`n` WHERE `id` = 2 AND `v` IS NULL LIMIT 1;",
    ]


@pytest.mark.mariadb
def test_the_mysql_client_takes_the_lines_too(forms: list[str], fresh_target: Endpoint, tmp_path: Path) -> None:
    script = tmp_path / "out.sql"
    script.write_text("\n".join(forms) + "\n", encoding="utf-8")
    with script.open("rb") as sql:
        done = subprocess.run(
            [
                "mariadb", "--no-defaults", "--host", fresh_target.host, "--port", str(fresh_target.port),
                "--user", fresh_target.user, f"--password={fresh_target.password}", "--default-character-set=utf8mb4",
            ],
            stdin=sql, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert fresh_target.query("SELECT (SELECT COUNT(*) FROM d.t), (SELECT COUNT(*) FROM d.n)") == [(0, 0)]


def test_messages_of_a_queue_are_printed_and_stay_in_it(
    fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync
) -> None:
    log = Binlog()
    vhost.declare("sync")
    sent = vhost.publish(
        [
            *log.ddl("CREATE DATABASE d", "d"),
            *log.ddl("CREATE TABLE d.t (id INT PRIMARY KEY)", "d.t", columns=("id",), key=("id",)),
            *log.each(insert("d.t", {"id": number}) for number in range(20)),
        ]
    )
    done = run_sync(sync_config(fresh_target, vhost, source_server="mariadb 10.11"), "--dry-run")
    assert done.exit_code == 0, done
    assert done.stdout.count("REPLACE INTO `d`.`t` (`id`) VALUES") == 20
    assert vhost.depth("sync") == sent
    assert fresh_target.databases() == []
