"""A wrong configuration or an unreachable server: one sentence that names the key, exit code 2, nothing consumed."""

from __future__ import annotations

import copy
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lab
from tests.commands import call
from tests.maxwell import Binlog, insert
from tests.processes import Finished, SyncProcess, sync_config, write_config
from tests.servers import Endpoint, Vhost


class Refused(NamedTuple):
    """One way to be wrong."""

    key: str
    sentence: str
    """A regular expression for the rest of the sentence."""
    change: Callable[[dict[str, Any], Path], object]


def _set(path: str, value: object) -> Callable[[dict[str, Any], Path], object]:
    def change(config: dict[str, Any], folder: Path) -> None:
        *outer, last = path.split(".")
        for name in outer:
            config = config[name]
        config[last] = value

    return change


def _remove(name: str) -> Callable[[dict[str, Any], Path], object]:
    return lambda config, folder: config.pop(name)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


REFUSED = {
    "missing key": Refused("db_info", "is missing: the target", _remove("db_info")),
    "missing queues": Refused("rabbitmq_queue_bind", "is missing", _remove("rabbitmq_queue_bind")),
    "unknown key": Refused("batch_row", "unknown key; .*batch_rows", _set("batch_row", 5)),
    "unknown keyword": Refused("db_info.pasword", "is no keyword of PyMySQL; .*password", _set("db_info.pasword", "x")),
    "wrong type": Refused("batch_rows", "expected .*, got 'many'", _set("batch_rows", "many")),
    "wrong type inside": Refused(
        r"rabbitmq_queue_bind\[0\]\.queues\.sync\[1\]",
        "expected a routing key",
        _set("rabbitmq_queue_bind", [{"exchange": ["x", "topic"], "queues": {"sync": ["#", 5]}}]),
    ),
    "wrong choice": Refused("on_error", "expected .*park.*stop.*, got 'ignore'", _set("on_error", "ignore")),
    "password given twice": Refused(
        "db_info", "the password is given more than once", _set("db_info.password_env", "HOME")
    ),
    "no such variable": Refused(
        "rabbitmq_conn_info.password_env",
        "the environment variable 'NOT_THERE' is not set",
        lambda config, folder: (
            config["rabbitmq_conn_info"].pop("password"),
            config["rabbitmq_conn_info"].update(password_env="NOT_THERE"),
        ),
    ),
    "no log folder": Refused(
        "log_file_prefix", ".* cannot be opened: No such file", _set("log_file_prefix", "/no/such/folder/%s.log")
    ),
    "wrong database password": Refused("db_info", ".*user or password is wrong", _set("db_info.password", "wr0ng")),
    "database server away": Refused("db_info", ".*cannot be reached", _set("db_info.port", closed_port())),
    "wrong broker password": Refused(
        r"rabbitmq_conn_info\.user", ".* refuses user 'app'", _set("rabbitmq_conn_info.password", "wr0ng")
    ),
    "broker away": Refused("rabbitmq_conn_info", ".+", _set("rabbitmq_conn_info.port", closed_port())),
    "no such vhost": Refused(r"rabbitmq_conn_info\.vhost", ".*'nowhere'", _set("rabbitmq_conn_info.vhost", "nowhere")),
    "port taken": Refused("metrics_port", ".*cannot be listened on", lambda config, folder: None),
    "no rights": Refused(
        "state_schema", ".*cannot be read, made or brought up to date in the target", _set("db_info.user", "powerless")
    ),
}
"""Each is the working configuration with one thing wrong."""


@pytest.fixture(scope="module")
def vhost_of_refusals(rabbitmq: lab.RabbitMQ) -> Iterator[Vhost]:
    rabbitmq.start()
    vhost = Vhost(rabbitmq, "test-refusals")
    rabbitmq.delete_vhost(vhost.name)
    rabbitmq.create_vhost(vhost.name)
    yield vhost
    rabbitmq.delete_vhost(vhost.name)


@pytest.fixture(scope="module")
def finished(
    target: Endpoint, vhost_of_refusals: Vhost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Finished]]:
    """All of them, in this process: it does not come to workers. A process is refused at the end of this file."""
    if target.server:
        target.server.start()
    target.drop_databases()
    target.query("DROP USER IF EXISTS powerless@'%'")
    target.query(f"CREATE USER powerless@'%' IDENTIFIED BY '{target.password}'")
    vhost_of_refusals.declare("sync")
    vhost_of_refusals.publish(Binlog().transaction(insert("d.t", {"id": 1})))
    good = sync_config(target, vhost_of_refusals)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        good_with_port = {**good, "metrics_port": taken.getsockname()[1]}
        found: dict[str, Finished] = {}
        for name, refused in REFUSED.items():
            folder = tmp_path_factory.mktemp("refused")
            config = copy.deepcopy(good_with_port if name == "port taken" else good)
            config["log_file_prefix"] = str(folder / "%s.log")
            refused.change(config, folder)
            path = write_config(config, folder / "config.py")
            done = call("run", "--config", str(path), "--until-drained")  # as mysql_sync.py does
            found[name] = Finished(done.returncode, done.stdout, done.stderr)
    yield found
    target.query("DROP USER powerless@'%'")


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_sentence_with_the_path_of_its_key(finished: dict[str, Finished], name: str) -> None:
    refused, done = REFUSED[name], finished[name]
    assert done.exit_code == 2, done
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if line.startswith("pydbsync: ")]
    assert len(said) == 1, done
    assert done.stderr.endswith(said[0] + "\n"), "it is the last word"
    assert re.match(rf"pydbsync: {refused.key}: {refused.sentence}", said[0]), said[0]
    assert "Traceback" not in done.stderr
    assert "wr0ng" not in done.stderr


def test_nothing_was_consumed_or_written(
    finished: dict[str, Finished], target: Endpoint, vhost_of_refusals: Vhost
) -> None:
    assert vhost_of_refusals.depth("sync") == 1
    assert set(target.databases()) <= {"pydbsync"}


def test_a_configuration_that_is_not_there_is_named(target: Endpoint, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    done = SyncProcess("mysql_sync.py", ["--config", str(path)], folder=tmp_path, environment={}).wait()
    assert done.exit_code == 2, done
    assert done.stderr == f"pydbsync: {path}: there is no such file; write one, or name another with --config\n"
