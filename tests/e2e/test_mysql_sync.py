"""`python mysql_sync.py` as a person runs it: real processes, real queues, signals, exit codes and logs."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import call
from tests.conftest import RunSync, StartSync
from tests.matrices import LONG
from tests.maxwell import Binlog, insert, update
from tests.processes import REPOSITORY, SyncProcess, sync_config, wait_for, write_config
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.kept_state

CREATE = "CREATE TABLE t (id INT, v VARCHAR(20))"
"""Without a key: what is applied twice is seen."""


def table(binlog: Binlog, name: str = "d.t", sql: str = CREATE) -> list[bytes]:
    database, table = name.split(".")
    return binlog.ddl(f"CREATE DATABASE {database}", database) + binlog.ddl(sql.replace(" t ", f" {table} "), name)


def inserts(binlog: Binlog, count: int, name: str = "d.t") -> list[bytes]:
    return binlog.each([insert(name, {"id": n, "v": "x"}) for n in range(count)])


def count(target: Endpoint, name: str = "d.t") -> int:
    exists = target.query(
        "SELECT 1 FROM information_schema.tables WHERE CONCAT(table_schema, '.', table_name) = %s", name
    )
    return int(target.query(f"SELECT COUNT(*) FROM {name}")[0][0]) if exists else 0


def figures(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


# -- queues ----------------------------------------------------------------------------------------------------------


def test_workers_run_the_code_of_the_folder_that_was_started(
    fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync, tmp_path: Path
) -> None:
    """Not that of another pydbsync, which is installed or in the current folder."""
    vhost.declare("sync")
    shutil.copytree(REPOSITORY / "pydbsync", tmp_path / "pydbsync")
    script, marks = str(shutil.copy(REPOSITORY / "mysql_sync.py", tmp_path)), tmp_path / "marks"
    worker = tmp_path / "pydbsync" / "process" / "worker.py"
    mark = f"\nwith open({str(marks)!r}, 'a') as marks:\n    marks.write(open('/proc/self/cmdline').read())\n"
    worker.write_text(worker.read_text(encoding="utf-8") + mark, encoding="utf-8")
    finished = run_sync(sync_config(fresh_target, vhost), "--until-drained", script=script)
    assert finished.exit_code == 0, finished
    assert "multiprocessing.forkserver" in marks.read_text()


def test_several_queues_are_followed_by_a_process_each_with_a_log_of_its_own(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, run_sync: RunSync, tmp_path: Path
) -> None:
    orders, users, rest = Binlog(), Binlog(), Binlog()
    queues = {"orders": ["shop.orders"], "users": ["crm.users", "crm.groups"], "a/b c": ["*.*"]}
    config = sync_config(
        fresh_target,
        vhost,
        queues=queues,
        log_file_prefix=str(tmp_path / "maxwell_%s.log"),
        log_level="debug",
        include=["shop.*", "crm.*", "else.*"],
        exclude=["shop.secret*"],
    )
    for queue, keys in queues.items():
        vhost.declare(queue, routing_keys=keys if queue != "a/b c" else ["else.*", "shop.secret"])
    fresh_target.query("CREATE DATABASE shop")
    fresh_target.query("CREATE DATABASE crm")
    fresh_target.query("CREATE DATABASE `else`")
    for name in ("shop.orders", "crm.users", "crm.groups", "`else`.x"):
        fresh_target.query(f"CREATE TABLE {name} (id INT, v VARCHAR(20))")
    vhost.publish(inserts(orders, 30, "shop.orders"))
    vhost.publish(inserts(users, 20, "crm.users") + inserts(users, 10, "crm.groups"))
    vhost.publish(inserts(rest, 5, "else.x") + inserts(rest, 5, "shop.secret"))
    finished = run_sync(config, "--until-drained", "--summary-json", str(tmp_path / "figures.json"))
    assert finished.exit_code == 0, finished
    counts = [count(fresh_target, name) for name in ("shop.orders", "crm.users", "crm.groups")]
    assert counts == [30, 20, 10]
    assert fresh_target.query("SELECT COUNT(*) FROM `else`.x") == [(5,)]
    assert figures(tmp_path / "figures.json")["applied"] == 65
    assert figures(tmp_path / "figures.json")["parked"] == 0
    logs = {path.name for path in tmp_path.glob("maxwell_*.log")}
    assert logs == {"maxwell_main.log", "maxwell_orders.log", "maxwell_users.log", "maxwell_a%2Fb c.log"}
    main = (tmp_path / "maxwell_main.log").read_text()
    for line in (
        "target: M", "queue orders: from exchange maxwell (topic) by shop.orders",
        "queue users: from exchange maxwell (topic) by crm.users, crm.groups",
        "tables: shop.*, crm.*, else.*, without shop.secret*", "applied 65 row changes and 0 schema changes",
    ):  # fmt: skip
        assert line in main
    assert fresh_target.query("SELECT COUNT(*) FROM pydbsync.checkpoint") == [(3,)]


def test_a_queue_with_other_arguments_is_used_as_it_is_with_a_warning(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, run_sync: RunSync
) -> None:
    vhost.declare("sync", arguments={"x-max-priority": 5})
    vhost.publish(table(binlog) + inserts(binlog, 3))
    finished = run_sync(sync_config(fresh_target, vhost), "--until-drained")
    assert finished.exit_code == 0, finished
    assert count(fresh_target) == 3
    assert "WARNING" in finished.stderr
    assert "'sync'" in finished.stderr


def test_queues_and_bindings_are_made_where_they_are_missing(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, start_sync: StartSync
) -> None:
    process = start_sync(sync_config(fresh_target, vhost, queues={"made": ["d.*", "d."]}, exchange=("made", "topic")))
    wait_for(lambda: "made" in process.stderr and _consumers(vhost, "made"), what="the queue and its consumer")
    vhost.publish(table(binlog) + inserts(binlog, 3), exchange="made")
    vhost.publish(inserts(Binlog(base="other"), 3, "elsewhere.t"), exchange="made")
    wait_for(lambda: count(fresh_target) == 3, what="the rows")
    assert process.stop().exit_code == 0
    assert vhost.depth("made") == 0
    assert fresh_target.databases() == ["d", "pydbsync"]


def _consumers(vhost: Vhost, queue: str) -> int:
    try:
        return vhost.consumers(queue)
    except Exception:
        return 0


# -- names -----------------------------------------------------------------------------------------------------------


def shard_messages(binlog: Binlog) -> list[bytes]:
    """A sharded database in the forms of the original: rows with the column, without it, with 0, moving ones."""
    create = "CREATE TABLE {} (id INT PRIMARY KEY, f_corp_id INT)"
    messages = binlog.ddl("CREATE DATABASE d_ec_crm", "d_ec_crm")
    messages += binlog.ddl(create.format("t"), "d_ec_crm.t")
    messages += binlog.ddl("CREATE TABLE plain (id INT PRIMARY KEY)", "d_ec_crm.plain")
    messages += binlog.each([insert("d_ec_crm.t", {"id": n, "f_corp_id": n}) for n in range(20)])
    messages += binlog.each([insert("d_ec_crm.plain", {"id": 1})])
    messages += binlog.transaction(update("d_ec_crm.t", {"id": 1, "f_corp_id": 133}, {"f_corp_id": 1}))
    return messages


def test_binlog_consumer_splits_by_the_column_and_the_way_back_joins_again(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, run_sync: RunSync
) -> None:
    sharding = {"databases": ["d_ec_crm"], "column": "f_corp_id", "modulo": 8, "instances": 4}
    queues = {f"i{instance}": ["d_ec_crm.*"] for instance in range(4)}
    for queue, keys in queues.items():
        vhost.declare(queue, routing_keys=keys)
    vhost.publish(shard_messages(binlog))
    for instance in (1, 3):
        config = sync_config(
            fresh_target, vhost, queues={f"i{instance}": ["d_ec_crm.*"]}, sharding=sharding, db_corpmod=instance
        )
        finished = run_sync(config, "--until-drained", script="binlog_consumer.py")
        assert finished.exit_code == 0, finished
    assert fresh_target.databases() == ["d_ec_crm1", "d_ec_crm3", "d_ec_crm5", "d_ec_crm7", "pydbsync"]
    ids = {
        shard: [row[0] for row in fresh_target.query(f"SELECT id FROM d_ec_crm{shard}.t ORDER BY id")]
        for shard in (1, 3, 5, 7)
    }
    assert ids == {1: [0, 9, 17], 3: [0, 3, 11, 19], 5: [0, 1, 5, 13], 7: [0, 7, 15]}
    assert all(count(fresh_target, f"d_ec_crm{shard}.plain") == 1 for shard in (1, 3, 5, 7))

    # the way back: the shards are sources now, and one database the target
    back = Binlog(base="back")
    vhost.declare("back", exchange="back")
    rows = fresh_target.query(
        "SELECT 1, id, f_corp_id FROM d_ec_crm1.t UNION ALL SELECT 3, id, f_corp_id FROM d_ec_crm3.t"
    )
    fresh_target.query("CREATE DATABASE joined")
    fresh_target.query("CREATE TABLE joined.t (id INT PRIMARY KEY, f_corp_id INT)")
    vhost.publish(
        back.each([insert(f"d_ec_crm{shard}.t", {"id": id_, "f_corp_id": corp}) for shard, id_, corp in rows]),
        exchange="back",
    )
    config = sync_config(
        fresh_target,
        vhost,
        queues={"back": ["#"]},
        exchange=("back", "topic"),
        sharding=sharding,
        db_corpmod=1,
        dbname_rewrite={"d_ec_crm1": "joined", "d_ec_crm3": "joined"},
    )
    finished = run_sync(config, "--until-drained", script="binlog_consumer.py")
    assert finished.exit_code == 0, finished
    assert [row[0] for row in fresh_target.query("SELECT id FROM joined.t ORDER BY id")] == [0, 3, 9, 11, 17, 19]
    assert "direction: rollback" in finished.stderr


def test_several_sources_are_rewritten_to_one_target(fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync) -> None:
    sources = {f"q{n}": (Binlog(base=f"s{n}"), f"dbtest{n}") for n in range(2)}
    for queue, (binlog, database) in sources.items():
        vhost.declare(queue, routing_keys=[f"{database}.#"])
        vhost.publish(table(binlog, f"{database}.t") + inserts(binlog, 10, f"{database}.t"))
    config = sync_config(
        fresh_target,
        vhost,
        queues={queue: [f"{database}.#"] for queue, (_, database) in sources.items()},
        dbname_rewrite={"dbtest0": "dbtest", "dbtest1": "dbtest"},
    )
    finished = run_sync(config, "--until-drained")
    assert finished.exit_code == 0, finished
    assert "database dbtest0 -> dbtest" in finished.stderr
    assert fresh_target.databases() == ["dbtest", "pydbsync"]
    assert count(fresh_target, "dbtest.t") == 20


# -- stopping and dying ----------------------------------------------------------------------------------------------


def under_load(
    target: Endpoint, vhost: Vhost, binlog: Binlog, start_sync: StartSync, *, rows: int = 2_500
) -> tuple[SyncProcess, dict[str, Any], list[bytes]]:
    """A run that is in the middle of many one-row transactions, and its configuration without a limit."""
    messages = table(binlog) + inserts(binlog, rows)
    config = sync_config(target, vhost, batch_rows=10)  # small: what is left takes long, and costs little
    vhost.declare("sync")
    vhost.publish(messages)
    process = start_sync({**config, "target_rows_per_s": rows // 2})
    wait_for(lambda: count(target) > 0, what="the first rows")
    return process, config, messages


@pytest.mark.parametrize("how", ["SIGTERM", pytest.param("SIGINT", marks=LONG), "Ctrl-C"])
def test_a_stop_finishes_the_transaction_acknowledges_it_and_loses_nothing(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, start_sync: StartSync, run_sync: RunSync, how: str
) -> None:
    process, config, messages = under_load(fresh_target, vhost, binlog, start_sync)
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send(getattr(signal, how))
    finished = process.wait()
    assert finished.exit_code == 0, finished
    assert "killed" not in finished.stderr, "no worker had to be killed"
    assert "Traceback" not in finished.stderr
    applied = count(fresh_target)
    assert 0 < applied < len(messages) - 2
    assert vhost.depth("sync") == len(messages) - 2 - applied, "what is committed is acknowledged, and nothing else"
    again = run_sync(config, "--until-drained")
    assert again.exit_code == 0, again
    assert count(fresh_target) == len(messages) - 2
    assert "0 duplicates left out" in again.stderr


def test_a_worker_that_dies_is_started_again_and_says_so(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, start_sync: StartSync
) -> None:
    process, _, messages = under_load(fresh_target, vhost, binlog, start_sync)
    [worker] = process.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: count(fresh_target) == len(messages) - 2, what="all rows")
    assert "worker of sync was ended by signal 9; it is started again in " in process.stderr
    finished = process.stop()
    assert finished.exit_code == 0, finished
    assert re.search(r"sync: applied \d+, \d+ rows/s, lag \d+ d, queue depth ", finished.stderr), finished
    assert count(fresh_target) == len(messages) - 2
    assert vhost.depth("sync") == 0


def test_nothing_is_applied_twice_when_the_process_that_workers_are_forked_from_is_killed(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, start_sync: StartSync, run_sync: RunSync
) -> None:
    """The supervisor then takes the worker for dead; the one it starts waits until the first has left the queue."""
    process, config, messages = under_load(fresh_target, vhost, binlog, start_sync)
    workers = process.workers()
    [server] = process.fork_servers()
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: set(process.workers()) - set(workers), what="another worker")
    wait_for(lambda: count(fresh_target) == len(messages) - 2, what="all rows")
    finished = process.stop()
    assert finished.exit_code == 0, finished
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), what="the end of the first worker")
    again = run_sync(config, "--until-drained")
    assert again.exit_code == 0, again
    assert count(fresh_target) == len(messages) - 2


def test_workers_end_when_their_supervisor_is_killed(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, start_sync: StartSync, run_sync: RunSync
) -> None:
    process, config, messages = under_load(fresh_target, vhost, binlog, start_sync)
    workers = process.workers()
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), what="the end of the workers")
    finished = run_sync(config, "--until-drained")
    assert finished.exit_code == 0, finished
    assert count(fresh_target) == len(messages) - 2


def test_a_stop_by_policy_ends_with_exit_code_3(
    fresh_target: Endpoint, vhost: Vhost, binlog: Binlog, run_sync: RunSync
) -> None:
    vhost.declare("sync")
    wrong = binlog.transaction
    vhost.publish(table(binlog) + inserts(binlog, 2) + wrong(insert("d.unknown", {"id": 1})) + inserts(binlog, 2))
    finished = run_sync(sync_config(fresh_target, vhost, on_error="stop", batch_rows=1))
    assert finished.exit_code == 3, finished
    assert "the target has no table d.unknown; nothing after it was applied (on_error is stop)" in finished.stderr
    assert count(fresh_target) <= 2
    assert vhost.depth("sync") >= 3


# -- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file_config(fresh_target: Endpoint) -> dict[str, Any]:
    """Nothing but a target: no broker is needed."""
    return {"db_info": fresh_target.db_info}


RunFile = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_file(file_config: dict[str, Any], tmp_path: Path) -> RunFile:
    """`pydbsync run` with these words, in this process: it starts no workers."""
    config = str(write_config({**file_config, "log_file_prefix": ""}, tmp_path / "file_config.py"))
    return lambda *words: call("run", *words, "--config", config)


def test_a_file_is_replayed_once_under_its_stream_name(
    fresh_target: Endpoint, binlog: Binlog, run_file: RunFile, tmp_path: Path
) -> None:
    path, packed, out = tmp_path / "messages.ndjson", tmp_path / "messages.ndjson.gz", tmp_path / "figures.json"
    messages = table(binlog) + inserts(binlog, 5)
    path.write_bytes(b"\n".join(messages))
    packed.write_bytes(gzip.compress(b"\n".join(messages) + b"\n"))
    found = []
    for arguments in (["--from", str(path)], ["--from", str(packed)], ["--from", str(path), "--stream", "other"]):
        finished = run_file(*arguments, "--summary-json", str(out))
        assert finished.returncode == 0, finished
        found.append((figures(out)["applied"], figures(out)["duplicates"], count(fresh_target)))
    assert found == [(5, 0, 5), (0, 7, 5), (5, 0, 10)]
    streams = fresh_target.query("SELECT stream FROM pydbsync.checkpoint ORDER BY stream")
    assert streams == [("file",), ("other",)]


def test_a_damaged_file_ends_the_run_with_one_sentence_and_goes_on_once_it_is_whole(
    fresh_target: Endpoint, binlog: Binlog, run_file: RunFile, tmp_path: Path
) -> None:
    path = tmp_path / "messages.ndjson.gz"
    first, rest = table(binlog) + inserts(binlog, 5), inserts(binlog, 5)
    whole = gzip.compress(b"\n".join(first) + b"\n") + gzip.compress(b"\n".join(rest) + b"\n")
    path.write_bytes(whole[:-12])
    finished = run_file("--from", str(path))
    assert finished.returncode == 3, finished
    assert finished.stderr.count("cannot be read beyond line") == 1, finished
    applied = count(fresh_target)
    assert applied >= 5
    path.write_bytes(whole)
    assert run_file("--from", str(path)).returncode == 0
    assert count(fresh_target) == 10


def test_standard_input_and_the_package_are_ways_to_run(
    fresh_target: Endpoint, binlog: Binlog, file_config: dict[str, Any], tmp_path: Path
) -> None:
    config = tmp_path / "sync.yaml"
    config.write_text(yaml.safe_dump({**file_config, "log_file_prefix": ""}))
    messages = b"\n".join(table(binlog) + inserts(binlog, 5))
    path = tmp_path / "messages.ndjson"
    path.write_bytes(messages)
    for command, standard_input in (
        (["mysql_sync.py", "--from", "-"], messages),
        (["-m", "pydbsync", "replay", "-", "--stream", "b"], messages),
    ):
        done = subprocess.run(
            [sys.executable, *command, "--config", str(config)],
            cwd=REPOSITORY,
            input=standard_input,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    for words in (("replay", str(path), "--stream", "c"), ("run", "--from", str(path), "--stream", "d")):
        assert call(*words, "--config", str(config)).returncode == 0
    assert count(fresh_target) == 20


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_passwords_from_environment_and_file_are_never_shown(
    fresh_target: Endpoint,
    vhost: Vhost,
    binlog: Binlog,
    run_sync: RunSync,
    tmp_path: Path,
    secret_user: Callable[[str], None],
) -> None:
    password = "S3cr3t/p@ss%word"
    secret_user(password)
    (tmp_path / "password").write_text(password + "\n")
    config = sync_config(fresh_target, vhost, log_level="debug", log_file_prefix=str(tmp_path / "%s.log"))
    broker = config["rabbitmq_conn_info"].pop("password")
    config["rabbitmq_conn_info"]["password_env"] = "TEST_BROKER_PASSWORD"
    config["db_info"] = {**config["db_info"], "user": "secretive", "password_file": str(tmp_path / "password")}
    del config["db_info"]["password"]
    vhost.declare("sync")
    vhost.publish(table(binlog) + inserts(binlog, 3) + [b"poison"])
    path = tmp_path / "sync.yml"
    path.write_text(yaml.safe_dump(config))
    finished = run_sync(path, "--until-drained", environment={"TEST_BROKER_PASSWORD": broker})
    assert finished.exit_code == 0, finished
    assert count(fresh_target) == 3
    shown = finished.stderr + finished.stdout + "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert "maxwell" in shown
    assert password not in shown
    assert "secretive@127.0.0.1" in shown


@pytest.fixture
def secret_user(fresh_target: Endpoint) -> Any:
    """Makes the user `secretive` with a password."""

    def make(password: str) -> None:
        fresh_target.query("DROP USER IF EXISTS secretive@'%'")
        fresh_target.query(f"CREATE USER secretive@'%' IDENTIFIED BY '{password}'")
        fresh_target.query("GRANT ALL ON *.* TO secretive@'%'")

    yield make
    fresh_target.query("DROP USER IF EXISTS secretive@'%'")
