"""A first configuration: written, never over another one, and tried on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pydbsync.cli import application
from pydbsync.config.file import load_settings
from pydbsync.ops.init import PASSWORDS
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.mariadb


@pytest.fixture(autouse=True)
def _no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PASSWORDS.values():
        monkeypatch.setenv(name, "")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(application("init"), ["init", *arguments])


def urls(source: Endpoint, target: Endpoint, vhost: Vhost) -> list[str]:
    amqp = f"amqp://{vhost.broker.user}:{vhost.broker.password}@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"
    return ["--target", target.url, "--source", source.url, "--rabbitmq", amqp]


@pytest.mark.parametrize("name", ["config.py", "config.yaml"])
def test_what_is_written_is_read_back_and_holds_no_password(
    source: Endpoint, target: Endpoint, vhost: Vhost, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    done = run(*urls(source, target, vhost), "--file", str(file), "--queue", "q", "--routing-key", "shop.*")
    assert done.exit_code == 0, done.output
    text = file.read_text(encoding="utf-8")
    assert "# " in text
    assert "password_env" in text
    assert f":{target.password}@" not in text
    settings, warnings = load_settings(file)
    assert not warnings
    assert (settings.target.address, settings.amqp.vhost) == (f"app@127.0.0.1:{target.port}", vhost.name)
    assert [(each.queue, each.routing_keys) for each in settings.queues] == [("q", ("shop.*",))]
    for statement in ("GRANT SELECT, INSERT, UPDATE, DELETE", "REPLICATION SLAVE", "rabbitmqctl set_permissions"):
        assert statement in done.output


def test_nothing_is_written_over(source: Endpoint, target: Endpoint, vhost: Vhost, tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text("mine", encoding="utf-8")
    done = run(*urls(source, target, vhost), "--file", str(file))
    assert "writes over nothing" in str(done.exception)
    assert file.read_text(encoding="utf-8") == "mine"


def test_maxwells_own_file_gives_source_and_broker_and_is_looked_at(
    source: Endpoint, target: Endpoint, vhost: Vhost, tmp_path: Path
) -> None:
    properties = tmp_path / "config.properties"
    properties.write_text(
        f"host=127.0.0.1\nport={source.port}\nuser=app\npassword=app\nproducer=rabbitmq\nrabbitmq_host=127.0.0.1\n"
        f"rabbitmq_port={vhost.broker.port}\nrabbitmq_user=app\nrabbitmq_pass=app\nrabbitmq_virtual_host={vhost.name}\n"
        "schema_database=mx\noutput_ddl=true\n",
        encoding="utf-8",
    )
    file = tmp_path / "config.yaml"
    done = run("--maxwell", str(properties), "--target", target.url, "--file", str(file))
    assert done.exit_code == 2
    assert "output_xoffset=true in config.properties" in done.output
    settings, _ = load_settings(file)
    assert settings.source is not None
    assert (settings.source.address, settings.maxwell_database) == (f"app@127.0.0.1:{source.port}", "mx")


def test_a_server_that_refuses_is_said_and_the_file_is_there(
    source: Endpoint, target: Endpoint, vhost: Vhost, tmp_path: Path
) -> None:
    file = tmp_path / "config.py"
    wrong = target.url.replace(":app@", ":wrong@")
    done = run(*urls(source, target, vhost), "--target", wrong, "--file", str(file))
    assert done.exit_code == 2
    assert "user or password is wrong" in done.output
    assert file.exists()


def test_without_a_terminal_a_missing_answer_is_named(tmp_path: Path) -> None:
    done = run("--file", str(tmp_path / "c.py"))
    assert "--target is missing" in str(done.exception)
    assert not (tmp_path / "c.py").exists()
