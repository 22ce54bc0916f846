"""`pydbsync ui` where its libraries are not installed, and where it must not listen."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pydbsync.cli import application
from pydbsync.errors import OperationError
from tests.processes import write_config


def refused(folder: Path, *options: str, **ui: object) -> str:
    config = {"db_info": {"host": "127.0.0.1", "user": "u"}, "log_file_prefix": "", "ui": ui}
    file = write_config(config, folder / "config.py")
    done = CliRunner().invoke(application("ui"), ["ui", "--config", str(file), *options])
    assert isinstance(done.exception, OperationError)
    return str(done.exception)


@pytest.mark.parametrize("library", ["starlette", "uvicorn", "jinja2"])
def test_a_library_that_is_missing_is_named_with_the_way_to_install_it(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith(("pydbsync.ui", library)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert refused(tmp_path) == f"{library} is not installed: pip install 'pydbsync[ui]'"


def test_other_machines_are_not_served_without_a_token(tmp_path: Path) -> None:
    assert "needs a token; set ui.token_file" in refused(tmp_path, "--host", "0.0.0.0")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen at 127.0.0.1, port {port}: " in refused(tmp_path, "--port", str(port))


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("none", encoding="utf-8")
    assert "ui.certificate and ui.certificate_key cannot be used" in refused(tmp_path, certificate=str(file), port=0)
